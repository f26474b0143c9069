//! KV events with gaps, repeats and rubbish, from a publisher of our own.

use weir_serve::TimeMode;
use weir_service::suite::{eventually, metric};
use zeromq::{PubSocket, Socket as _, SocketSend as _, ZmqMessage};

use crate::fixture::{config, engine, listener, precise, start, url};

/// `[0, [["BlockStored", [hash], parent, [16 ids], 16]]]`.
fn stored(hash: u8, parent: u8) -> Vec<u8> {
    let mut bytes = vec![0x92, 0, 0x91, 0x95, 0xab];
    bytes.extend_from_slice(b"BlockStored");
    bytes.extend_from_slice(&[0x91, hash, parent, 0xdc, 0, 16]);
    bytes.extend((0..16).map(|at| hash + at));
    bytes.push(16);
    bytes
}

#[test]
fn gaps_repeats_and_rubbish_are_counted() {
    let server = weir_serve::Server::start(engine(100, TimeMode::Instant), listener());
    let server = server.expect("it starts");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let (mut socket, endpoint) = runtime.block_on(async {
        let mut socket = PubSocket::new();
        let endpoint = socket.bind("tcp://127.0.0.1:0").await.expect("a free port");
        (socket, endpoint)
    });
    let mut config = config(vec![url(server.addr)], precise());
    config.kv_events = vec![endpoint.to_string()];
    let proxy = start(config);
    let count = |name: &str| metric(proxy.addr, &format!("weir_route_{name}"));
    let mut send = |topic: &str, number: u64, payload: Vec<u8>| {
        let mut message = ZmqMessage::from(topic.to_owned());
        message.push_back(number.to_be_bytes().to_vec().into());
        message.push_back(payload.into());
        runtime.block_on(async {
            socket.send(message).await.expect("it sends");
            // The socket writes in a task.
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        });
    };
    let mut number = 0;
    eventually("a subscriber", || {
        number += 1;
        send("", number, stored(1, 0));
        count("event_batches_total") > 0.0
    });
    eventually("a key", || count("index_keys") == 1.0);
    send("", number + 3, stored(2, 1));
    send("", number + 3, stored(3, 1));
    send("", number + 4, vec![0xc1]);
    send("", number + 5, stored(4, 99));
    eventually("an orphan", || count("orphan_events_total") == 1.0);
    assert_eq!(count("lost_batches_total"), 2.0);
    assert_eq!(count("repeated_batches_total"), 1.0);
    assert_eq!(count("unreadable_batches_total"), 1.0);
    assert_eq!(count("index_keys"), 2.0);
    // Another numbering, of another topic, is no gap.
    send("kv@10.9.9.9:1@tiny", 70, stored(5, 0));
    eventually("one more key", || count("index_keys") == 3.0);
    assert_eq!(count("lost_batches_total"), 2.0);
    // A number that starts again is that of a new process.
    send("", 0, stored(6, 0));
    eventually("an empty index, and one key", || count("index_keys") == 1.0);
}
