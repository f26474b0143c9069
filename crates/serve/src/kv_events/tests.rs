//! Frames against those captured from vLLM, byte for byte.

use std::collections::HashMap;
use std::time::Duration;

use weir_model::{ContentId, KvChange, KvEvent, Mechanism, Piece, Prompt, TierKind};
use zeromq::{DealerSocket, Socket as _, SocketRecv as _, SocketSend as _, SubSocket, ZmqMessage};

use super::*;
use crate::token_ids::TokenIds;

const PLAIN: &str = include_str!("../../tests/fixtures/vllm-0.32.0/kv-events.jsonl");
const OFFLOAD: &str = include_str!("../../tests/fixtures/vllm-0.32.0/kv-events-offload.jsonl");
const DESCRIBED: &str = include_str!("../../tests/fixtures/vllm-0.32.0/kv-events-described.jsonl");
const ARRAYS: &str = include_str!("../../tests/fixtures/vllm-0.32.0/kv-events-array.jsonl");
const REPLAY: &str = include_str!("../../tests/fixtures/vllm-0.32.0/kv-replay.jsonl");

/// Contents with their tokens and salts.
#[derive(Default)]
struct Book {
    tokens: HashMap<ContentId, Vec<u32>>,
    salts: HashMap<ContentId, String>,
}

impl TokenIds for Book {
    fn append_token_ids(&self, pieces: &[Piece], ids: &mut Vec<u32>) -> bool {
        let before = ids.len();
        for piece in pieces {
            let Some(tokens) = self.tokens.get(&piece.content) else {
                ids.truncate(before);
                return false;
            };
            ids.extend(&tokens[piece.start as usize..(piece.start + piece.len) as usize]);
        }
        true
    }

    fn cache_salt(&self, path: &[Piece]) -> Option<&str> {
        self.salts.get(&path.first()?.content).map(String::as_str)
    }
}

const PROMPT: ContentId = ContentId(1);
const ANSWER: ContentId = ContentId(2);
const SALTED: ContentId = ContentId(3);

fn book() -> Book {
    let mut book = Book::default();
    book.tokens.insert(PROMPT, (10..110).collect());
    // The 40 tokens of the captured request, as far as they fill blocks.
    let answer = [3095, 3220, 2955].into_iter().chain([3947; 25]).collect();
    book.tokens.insert(ANSWER, answer);
    book.tokens.insert(SALTED, (10..80).collect());
    book.salts.insert(SALTED, "weir".to_owned());
    for start in [10, 300, 600, 900] {
        book.tokens.insert(ContentId(u64::from(start)), (start..start + 130).collect());
    }
    book
}

fn event(change: KvChange, tier: TierKind, path: &[Piece], from: u32, to: u32) -> KvEvent {
    KvEvent {
        change,
        tier,
        path: Prompt::new(path.iter().copied()),
        from_token: from,
        to_token: to,
    }
}

fn stored(content: ContentId, to: u32) -> KvEvent {
    event(KvChange::Stored, TierKind::Gpu, &[Piece::new(content, to)], 0, to)
}

fn cleared() -> KvEvent {
    event(KvChange::Cleared, TierKind::Gpu, &[], 0, 0)
}

/// The batches of `kv-events.jsonl`.
fn plain_story() -> Vec<Vec<KvEvent>> {
    let decoded = [Piece::new(PROMPT, 100), Piece::new(ANSWER, 28)];
    vec![
        vec![stored(PROMPT, 96)],
        vec![event(KvChange::Stored, TierKind::Gpu, &decoded, 96, 128)],
        vec![stored(SALTED, 64)],
        vec![cleared(), stored(PROMPT, 32)],
    ]
}

/// The batches of `kv-events-offload.jsonl`: prompts of four full blocks in a pool of eight, over a
/// host tier for twelve.
fn crowded_story() -> Vec<Vec<KvEvent>> {
    let span = |change, tier, start: u64, blocks: std::ops::Range<u32>| {
        let path = [Piece::new(ContentId(start), blocks.end * 32)];
        event(change, tier, &path, blocks.start * 32, blocks.end * 32)
    };
    let store = |start| span(KvChange::Stored, TierKind::Gpu, start, 0..4);
    let remove = |start, blocks| span(KvChange::Removed, TierKind::Gpu, start, blocks);
    let keep = |start| vec![span(KvChange::Stored, TierKind::Host, start, 0..4)];
    let drop_kept = |start| span(KvChange::Removed, TierKind::Host, start, 0..4);
    vec![
        vec![store(10)],
        keep(10),
        vec![remove(10, 3..4), store(300)],
        keep(300),
        vec![remove(10, 0..3), remove(300, 3..4), store(600)],
        keep(600),
        vec![remove(300, 0..3)],
        vec![store(10), remove(600, 3..4)],
        vec![remove(600, 0..3), remove(10, 3..4), store(900), drop_kept(300)],
        keep(900),
    ]
}

fn form(layout: Layout) -> EventForm {
    form_of(layout, Mechanism::Native, 32, false)
}

fn form_of(
    layout: Layout,
    mechanism: Mechanism,
    chunk_tokens: u32,
    self_describing: bool,
) -> EventForm {
    let tiers = Some(TierForm { mechanism, chunk_tokens, self_describing });
    EventForm { hash_seed: Some("0".to_owned()), layout, tiers, ..EventForm::new(32) }
}

fn frame(line: &str) -> Vec<Vec<u8>> {
    let parts: Vec<String> = serde_json::from_str(line).unwrap();
    let byte = |text: &[u8]| u8::from_str_radix(std::str::from_utf8(text).unwrap(), 16).unwrap();
    parts.iter().map(|part| part.as_bytes().chunks(2).map(byte).collect()).collect()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Nine bytes after the array's head.
fn seconds(payload: &[u8]) -> f64 {
    f64::from_be_bytes(payload[2..10].try_into().unwrap())
}

fn assert_story(story: &[Vec<KvEvent>], form: &EventForm, lines: &[&str]) {
    assert_eq!(story.len(), lines.len());
    let book = book();
    let mut expander = form.expander();
    for (index, (batch, line)) in story.iter().zip(lines).enumerate() {
        let captured = &frame(line)[2];
        let mut events = Vec::new();
        for event in batch {
            expander.expand(event, &book, &mut events);
        }
        let mut payload = Vec::new();
        encode_batch(&mut payload, form.layout, seconds(captured), &events, 0);
        if batch.iter().any(is_kept) {
            assert_same_events(&events, form.layout, captured);
        } else {
            assert_eq!(hex(&payload), hex(captured), "batch {index}: {events:?}");
        }
    }
    assert_eq!(expander.lost(), 0);
}

fn is_kept(event: &KvEvent) -> bool {
    event.tier != TierKind::Gpu && event.change == KvChange::Stored
}

/// vLLM announces chunks that are stored together in the order of a Python set.
fn assert_same_events(events: &[Event], layout: Layout, captured: &[u8]) {
    let encoded = |events: &[Event]| {
        let mut payload = Vec::new();
        encode_batch(&mut payload, layout, seconds(captured), events, 0);
        payload
    };
    let whole = encoded(events);
    assert_eq!(whole.len(), captured.len(), "{events:?}");
    let (head, end) = (encoded(&[]).len() - 1, captured.len() - 1);
    assert_eq!(hex(&whole[..head]), hex(&captured[..head]));
    let mut rest = captured[head..end].to_vec();
    for event in events {
        let alone = encoded(std::slice::from_ref(event));
        let event_bytes = &alone[head..alone.len() - 1];
        let at = rest.windows(event_bytes.len()).position(|window| window == event_bytes);
        let at = at.unwrap_or_else(|| panic!("{event:?} was not captured: {}", hex(captured)));
        rest.drain(at..at + event_bytes.len());
    }
    assert!(rest.is_empty(), "{}", hex(&rest));
}

#[test]
fn prompt_decode_salt_and_reset_equal_the_captured_bytes() {
    let lines: Vec<&str> = PLAIN.lines().collect();
    assert_story(&plain_story(), &form(Layout::Map), &lines);
}

#[test]
fn removals_and_the_host_tier_equal_the_captured_bytes() {
    let lines: Vec<&str> = OFFLOAD.lines().collect();
    assert_story(&crowded_story(), &form(Layout::Map), &lines);
}

#[test]
fn chunks_that_describe_themselves_equal_the_captured_bytes() {
    let lines: Vec<&str> = DESCRIBED.lines().collect();
    let mut story = crowded_story();
    let again = vec![cleared(), story[0][0].clone()];
    story.extend([again, story[1].clone()]);
    assert_story(&story, &form_of(Layout::Map, Mechanism::Native, 64, true), &lines);
}

#[test]
fn the_older_layout_equals_what_vllms_encoder_writes() {
    let lines: Vec<&str> = ARRAYS.lines().collect();
    let (plain, offload) = lines.split_at(PLAIN.lines().count());
    assert_story(&plain_story(), &form(Layout::Array), plain);
    assert_story(&crowded_story(), &form(Layout::Array), offload);
}

#[test]
fn of_other_tiers_nothing_is_published() {
    let path = [Piece::new(PROMPT, 64)];
    for (tiers, tier) in [
        (None, TierKind::Host),
        (form_of(Layout::Map, Mechanism::Lmcache, 64, true).tiers, TierKind::Host),
        (form_of(Layout::Map, Mechanism::LmcacheServer, 64, true).tiers, TierKind::Host),
        (form_of(Layout::Map, Mechanism::Native, 64, true).tiers, TierKind::Remote),
    ] {
        let mut expander = EventForm { tiers, ..form(Layout::Map) }.expander();
        let mut events = Vec::new();
        for change in [KvChange::Stored, KvChange::Removed, KvChange::Cleared] {
            expander.expand(&event(change, tier, &path, 0, 64), &book(), &mut events);
        }
        assert_eq!((events.len(), expander.lost()), (0, 0));
    }
}

/// Removals are published after the interner forgot the tokens; unnamed blocks are counted.
#[test]
fn hashes_outlive_their_token_ids() {
    let mut expander = form(Layout::Map).expander();
    let (mut events, nothing) = (Vec::new(), Book::default());
    expander.expand(&stored(PROMPT, 96), &book(), &mut events);
    let path = [Piece::new(PROMPT, 96)];
    let removal = event(KvChange::Removed, TierKind::Gpu, &path, 32, 96);
    events.clear();
    expander.expand(&removal, &nothing, &mut events);
    assert_eq!(events.len(), 2);
    expander.expand(&stored(SALTED, 64), &nothing, &mut events);
    assert_eq!((events.len(), expander.lost()), (2, 1));
    let mut tail_only = Book::default();
    tail_only.tokens.insert(PROMPT, (10..110).collect());
    let next = event(KvChange::Stored, TierKind::Gpu, &path, 32, 64);
    expander.expand(&next, &tail_only, &mut events);
    assert_eq!(events.len(), 3);
    expander.expand(&cleared(), &nothing, &mut events);
    let removal = event(KvChange::Removed, TierKind::Gpu, &path, 32, 64);
    expander.expand(&removal, &nothing, &mut events);
    assert_eq!((events.len(), expander.lost()), (4, 2));
}

const PATIENCE: Duration = Duration::from_secs(20);

fn config(endpoint: &str, keep: usize) -> PublisherConfig {
    PublisherConfig {
        endpoint: endpoint.to_owned(),
        replay_endpoint: None,
        buffer_steps: keep,
        topic: "kv@test".to_owned(),
    }
}

fn port(endpoint: &str) -> &str {
    endpoint.rsplit_once(':').map_or("", |(_, port)| port)
}

/// A PUB socket does not report its subscribers, so this publishes until one receives.
async fn first_heard(publisher: &mut Publisher, subscriber: &mut SubSocket) -> ZmqMessage {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        assert!(tokio::time::Instant::now() < deadline, "nothing heard");
        publisher.publish(1.0, vec![Event::Cleared]);
        let heard = tokio::time::timeout(Duration::from_millis(20), subscriber.recv()).await;
        if let Ok(message) = heard {
            return message.unwrap();
        }
    }
}

fn sequence(message: &ZmqMessage) -> u64 {
    u64::from_be_bytes(message.get(1).unwrap()[..].try_into().unwrap())
}

async fn replay(endpoint: &str, start: u64) -> Vec<Vec<Vec<u8>>> {
    let mut dealer = DealerSocket::new();
    dealer.connect(endpoint).await.unwrap();
    let mut request = ZmqMessage::from(bytes::Bytes::new());
    request.push_back(bytes::Bytes::copy_from_slice(&start.to_be_bytes()));
    dealer.send(request).await.unwrap();
    let mut replies = Vec::new();
    loop {
        let reply = tokio::time::timeout(PATIENCE, dealer.recv()).await.unwrap().unwrap();
        let frames: Vec<Vec<u8>> = reply.into_vec().iter().map(|part| part.to_vec()).collect();
        let is_end = frames[2] == [0xff; 8];
        replies.push(frames);
        if is_end {
            return replies;
        }
    }
}

#[tokio::test]
async fn batches_are_numbered_heard_and_replayed() {
    let form = form(Layout::Map);
    // The port may be taken before it is bound, behind the rank that is added to it.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut config = config("tcp://*:0", 3);
    config.replay_endpoint = Some(format!("tcp://*:{}", free - 2));
    let replayed = format!("tcp://127.0.0.1:{free}");
    let mut publisher = Publisher::open(&config, &form, 2).await.unwrap();
    let mut subscriber = SubSocket::new();
    let address = format!("tcp://127.0.0.1:{}", port(publisher.endpoint()));
    subscriber.connect(&address).await.unwrap();
    subscriber.subscribe("kv@").await.unwrap();
    let mut last = sequence(&first_heard(&mut publisher, &mut subscriber).await);
    publisher.publish(1.0, Vec::new());
    for _ in 0..5 {
        publisher.publish(2.5, vec![Event::Cleared]);
    }
    let end = publisher.batches() - 1;
    while last < end {
        let message = tokio::time::timeout(PATIENCE, subscriber.recv()).await.unwrap().unwrap();
        assert_eq!(message.get(0).unwrap().as_ref(), b"kv@test");
        assert_eq!(sequence(&message), last + 1);
        last += 1;
    }
    // Three batches are kept.
    let captured_end = frame(REPLAY.lines().last().unwrap());
    for (start, count) in [(0, 3), (end - 1, 2), (end + 1, 0)] {
        let replies = replay(&replayed, start).await;
        assert_eq!(replies.len(), count + 1, "from {start}");
        assert_eq!(replies.last(), Some(&captured_end));
        for (index, reply) in replies[..count].iter().enumerate() {
            let number = end + 1 - count as u64 + index as u64;
            assert_eq!(reply[..3], [vec![], b"kv@test".to_vec(), number.to_be_bytes().to_vec()]);
            assert_eq!(seconds(&reply[3]).to_bits(), 2.5_f64.to_bits());
            assert_eq!(reply[3].last(), Some(&2), "the rank");
        }
    }
    assert_eq!(publisher.dropped(), 0);
    publisher.close().await;
}

#[tokio::test]
async fn a_connecting_publisher_finds_its_subscriber_again() {
    let mut subscriber = SubSocket::new();
    let bound = subscriber.bind("tcp://127.0.0.1:0").await.unwrap().to_string();
    subscriber.subscribe("").await.unwrap();
    let form = form(Layout::Map);
    let mut publisher = Publisher::open(&config(&bound, 10), &form, 0).await.unwrap();
    let before = sequence(&first_heard(&mut publisher, &mut subscriber).await);
    drop(subscriber);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut subscriber = loop {
        let mut again = SubSocket::new();
        if again.bind(&bound).await.is_ok() {
            break again;
        }
        assert!(tokio::time::Instant::now() < deadline, "{bound} stays taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    subscriber.subscribe("").await.unwrap();
    assert!(sequence(&first_heard(&mut publisher, &mut subscriber).await) > before);
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let endpoint = format!("tcp://*:{}", taken.local_addr().unwrap().port());
    let form = EventForm::new(16);
    let error = Publisher::open(&config(&endpoint, 1), &form, 0).await.unwrap_err().to_string();
    assert!(error.contains(port(&endpoint)) && !error.contains('\n'), "{error}");
}
