use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use weir_load::{TlsConfig, Url};
use weir_model::{Nanos, Outcome, RequestRow};

use crate::server::*;

/// One connection, with a self-signed certificate.
fn server() -> (SocketAddr, String, JoinHandle<usize>) {
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let session = ServerConnection::new(Arc::new(config)).unwrap();
        serve(StreamOwned::new(session, socket))
    });
    (address, certificate.pem(), thread)
}

/// Returns the number of requests until the client disconnects.
fn serve(stream: StreamOwned<ServerConnection, TcpStream>) -> usize {
    let mut reader = BufReader::new(stream);
    let mut number = 0;
    loop {
        let mut head = String::new();
        loop {
            let before = head.len();
            match reader.read_line(&mut head) {
                Ok(0) | Err(_) => return number,
                Ok(_) if &head[before..] == "\r\n" => break,
                Ok(_) => {}
            }
        }
        let mut asked = Asked { number, connection: 0, head, body: serde_json::Value::Null };
        let length = asked.header("content-length").unwrap().parse().unwrap();
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        asked.body = serde_json::from_slice(&body).unwrap();
        let answer = whole(&asked);
        // One TLS record per piece.
        for piece in answer.as_bytes().chunks(100) {
            reader.get_mut().write_all(piece).unwrap();
        }
        reader.get_mut().flush().unwrap();
        number += 1;
    }
}

fn rows_over(tls: TlsConfig, address: SocketAddr, prompt_tokens: u32) -> Vec<RequestRow> {
    let mut config = config(address);
    config.endpoints = vec![Url::parse(&format!("https://{address}")).unwrap()];
    config.tls = tls;
    let sessions: Vec<weir_workload::Session> = (0..3)
        .map(|id| weir_workload::Session {
            id,
            start: None,
            turns: vec![turn(&[piece(id, prompt_tokens)], piece(90 + id, 4), &[], Nanos::ZERO)],
        })
        .collect();
    play(&config, Given(sessions.into_iter())).0
}

#[test]
fn answers_over_tls_are_the_same_and_connections_are_kept() {
    for prompt_tokens in [8, 1_000_000] {
        let (address, pem, server) = server();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), pem).unwrap();
        let trust = TlsConfig { ca_file: Some(file.path().to_owned()), insecure: false };
        let rows = rows_over(trust, address, prompt_tokens);
        assert_eq!(server.join().unwrap(), 3);
        for row in &rows {
            assert_eq!((row.outcome, row.chunk_gaps.len()), (Outcome::Done, 3), "{:?}", row.error);
            assert_eq!(row.prompt_tokens.get(), prompt_tokens);
        }
        let opened = rows.iter().filter(|row| row.connected.is_some()).count();
        assert_eq!(opened, 1);
    }
}

#[test]
fn a_certificate_that_nobody_trusts_is_a_failure_with_its_cause() {
    let (address, _, server) = server();
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let other = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), other).unwrap();
    let trust = TlsConfig { ca_file: Some(file.path().to_owned()), insecure: false };
    let mut config = config(address);
    config.endpoints = vec![Url::parse(&format!("https://{address}")).unwrap()];
    config.tls = trust;
    let (rows, _) = play(&config, single_turns(1, 4));
    let error = rows[0].error.as_deref().unwrap();
    assert!(error.starts_with("tls: the certificate of 127.0.0.1 is not trusted"), "{error}");
    assert_eq!(server.join().unwrap(), 0);
}

#[test]
fn tls_to_a_plain_server_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        let _ = socket.read_to_end(&mut Vec::new());
    });
    let mut config = config(address);
    config.endpoints = vec![Url::parse(&format!("https://{address}")).unwrap()];
    config.tls = TlsConfig { ca_file: None, insecure: true };
    let (rows, _) = play(&config, single_turns(1, 4));
    server.join().unwrap();
    let error = rows[0].error.as_deref().unwrap();
    assert!(error.starts_with("tls: 127.0.0.1 does not speak TLS on this port"), "{error}");
}
