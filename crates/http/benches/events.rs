//! Time per event of the splitter, beside a bare search for the empty line as lower bound. Items
//! are events.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use memchr::memmem;
use weir_http::{EventSplitter, Limits, ResponseParser};

fn main() {
    divan::main();
}

/// As from an OpenAI-compatible server: 210 bytes with the empty line.
fn event() -> Vec<u8> {
    let mut event = Vec::from(
        &b"data: {\"id\":\"cmpl-0123456789abcdef0123456789abcdef\",\"object\":\"text_completion\",\
           \"created\":1760000000,\"model\":\"Qwen/Qwen3-8B\",\"choices\":[{\"index\":0,\"text\":\" tok"[..],
    );
    let end = b"\",\"logprobs\":null,\"finish_reason\":null}]}\n\n";
    event.resize(210 - end.len(), b'e');
    event.extend(end);
    assert_eq!(event.len(), 210);
    event
}

const PER_FEED: [usize; 2] = [1, 64];

#[divan::bench(args = PER_FEED)]
fn splitter(bencher: Bencher<'_, '_>, events: usize) {
    let bytes = event().repeat(events);
    let mut splitter = EventSplitter::new(1 << 20);
    bencher.counter(ItemsCount::new(events)).bench_local(|| {
        let mut sum = 0;
        splitter
            .feed(black_box(&bytes), &mut |event: &[u8]| sum += event.len())
            .expect("an event within the limit");
        sum
    });
}

#[divan::bench(args = PER_FEED)]
fn bare_memmem(bencher: Bencher<'_, '_>, events: usize) {
    let bytes = event().repeat(events);
    let finder = memmem::Finder::new(b"\n\n");
    bencher.counter(ItemsCount::new(events)).bench_local(|| {
        let mut sum = 0;
        let mut start = 0;
        for end in finder.find_iter(black_box(&bytes)) {
            sum += black_box(&bytes[start..end]).len();
            start = end + 2;
        }
        sum
    });
}

/// Each event is a chunk, as servers send them.
#[divan::bench(args = PER_FEED)]
fn chunks_and_splitter(bencher: Bencher<'_, '_>, events: usize) {
    let bytes = [b"d2\r\n", &event()[..], b"\r\n"].concat().repeat(events);
    let mut parser = ResponseParser::new(Limits::default());
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    parser.feed(head, &mut |_| {}).expect("a valid head");
    let mut splitter = EventSplitter::new(1 << 20);
    bencher.counter(ItemsCount::new(events)).bench_local(|| {
        let mut sum = 0;
        let mut failed = false;
        let fed = parser.feed(black_box(&bytes), &mut |span: &[u8]| {
            failed |= splitter.feed(span, &mut |event: &[u8]| sum += event.len()).is_err();
        });
        assert!(fed.is_ok() && !failed, "valid chunks and events");
        sum
    });
}

/// Each event comes in two reads, the only case that copies.
#[divan::bench]
fn splitter_halves(bencher: Bencher<'_, '_>) {
    let bytes = event();
    let (first, second) = bytes.split_at(100);
    let mut splitter = EventSplitter::new(1 << 20);
    bencher.counter(ItemsCount::new(1usize)).bench_local(|| {
        let mut sum = 0;
        for half in [first, second] {
            splitter
                .feed(black_box(half), &mut |event: &[u8]| sum += event.len())
                .expect("an event within the limit");
        }
        sum
    });
}
