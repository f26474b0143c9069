//! Time that the proxy adds to a token, beside a bare proxy loop that copies bytes.
//!
//! `cargo bench -p weir-proxy --bench added -- [streams] [seconds] [rounds]`: the upstream writes
//! the time into each frame just before it sends it, and the client subtracts it from the time at
//! which it has read it. Upstream and client share core 1, the proxy has core 0. Each stream gets a
//! frame every 50 ms, and a new request after 40 frames. The ways take turns; the best round of
//! each is printed, because other programs use the machine too. So is the CPU time of the proxy's
//! thread, which they disturb least: per frame, with the requests' share.

#![expect(clippy::print_stdout, reason = "the figures are the bench's output")]

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use weir_http::url::Url;
use weir_proxy::{Proxy, ProxyConfig};
use weir_router::{IndexConfig, Normalization, PolicyConfig, RouterConfig, ScorerWeights};

const PACE: Duration = Duration::from_millis(50);
const FRAMES: u32 = 40;
const PROMPT_TOKENS: u32 = 1600;
/// Names of the forwarding threads.
const BARE: &str = "bare";
const ROUTE: &str = "weir-route";
const PAGE: &str = "vllm:num_requests_waiting 0\nvllm:kv_cache_usage_perc 0.5\n";

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn nanos() -> u64 {
    START.elapsed().as_nanos() as u64
}

fn runtime() -> Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime")
}

fn pin_to(core: usize) {
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core);
    // A machine of one core has no second one.
    let _ = rustix::thread::sched_setaffinity(None, &cores);
}

/// The head's end and the body's length, once the head is whole.
fn head(bytes: &[u8]) -> Option<(usize, usize)> {
    let end = bytes.windows(4).position(|it| it == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).expect("a head is text").to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    Some((end, length.map_or(0, |it| it.trim().parse().expect("a number"))))
}

/// Reads one request; false at the end of the connection.
async fn read_request(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> bool {
    bytes.clear();
    loop {
        if head(bytes).is_some_and(|(end, length)| bytes.len() >= end + length) {
            return true;
        }
        if stream.read_buf(bytes).await.unwrap_or(0) == 0 {
            return false;
        }
    }
}

async fn serve_upstream(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut bytes = Vec::new();
    while read_request(&mut stream, &mut bytes).await {
        if bytes.starts_with(b"GET") {
            let length = PAGE.len();
            let page = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{PAGE}");
            let _ = stream.write_all(page.as_bytes()).await;
            continue;
        }
        let mut text = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                        transfer-encoding: chunked\r\n\r\n"
            .to_owned();
        let mut ticks = tokio::time::interval(PACE);
        for frame in 0..FRAMES {
            ticks.tick().await;
            let data = format!("data: {:020}\n\n", nanos());
            let _ = write!(text, "{:x}\r\n{data}\r\n", data.len());
            if frame + 1 == FRAMES {
                text.push_str("0\r\n\r\n");
            }
            if stream.write_all(text.as_bytes()).await.is_err() {
                return;
            }
            text.clear();
        }
    }
}

/// Copies bytes both ways, one upstream connection per client connection.
async fn serve_bare(mut stream: TcpStream, upstream: SocketAddr) {
    let _ = stream.set_nodelay(true);
    let Ok(mut onward) = TcpStream::connect(upstream).await else { return };
    let _ = onward.set_nodelay(true);
    let _ = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
}

async fn accept_all<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    serve: impl Fn(TcpStream) -> F,
) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream));
    }
}

#[derive(Debug, Default)]
struct Delays {
    /// From the request to the first frame, nanoseconds.
    first: Vec<u64>,
    /// Of each frame on its way.
    frames: Vec<u64>,
}

async fn stream(address: SocketAddr, number: u32, until: Instant) -> Delays {
    let mut delays = Delays::default();
    // Streams begin at different times.
    tokio::time::sleep(PACE * (number % 64) / 64).await;
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.set_nodelay(true).expect("a fresh socket takes options");
    let ids: Vec<String> =
        (0..PROMPT_TOKENS).map(|at| ((number * 31 + at) % 150_000).to_string()).collect();
    let body = format!("{{\"model\":\"m\",\"prompt\":[{}],\"stream\":true}}", ids.join(","));
    let length = body.len();
    let request = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: bench\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    let mut buffer = Vec::with_capacity(64 << 10);
    while Instant::now() < until {
        let sent = nanos();
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let (mut at, mut count) = (0, 0);
        buffer.clear();
        while count < FRAMES || !buffer.ends_with(b"0\r\n\r\n") {
            let read = stream.read_buf(&mut buffer).await.expect("it answers");
            assert!(read > 0, "the connection stays");
            let now = nanos();
            while let Some(found) = buffer[at..].windows(6).position(|it| it == b"data: ") {
                let begin = at + found + 6;
                let Some(digits) = buffer.get(begin..begin + 20) else { break };
                let digits = std::str::from_utf8(digits).ok().and_then(|it| it.parse().ok());
                let stamp: u64 = digits.expect("twenty digits");
                if count == 0 {
                    delays.first.push(now - sent);
                }
                delays.frames.push(now - stamp);
                at = begin + 20;
                count += 1;
            }
        }
    }
    delays
}

fn load(address: SocketAddr, streams: u32, seconds: u64) -> Delays {
    runtime().block_on(async {
        let until = Instant::now() + Duration::from_secs(seconds);
        let tasks: Vec<_> =
            (0..streams).map(|it| tokio::spawn(stream(address, it, until))).collect();
        let mut all = Delays::default();
        for task in tasks {
            let delays = task.await.expect("no stream panics");
            all.first.extend(delays.first);
            all.frames.extend(delays.frames);
        }
        all
    })
}

#[derive(Debug, Clone, Copy)]
struct Quantiles {
    p50: f64,
    p99: f64,
}

impl Quantiles {
    const WORST: Self = Self { p50: f64::INFINITY, p99: f64::INFINITY };

    /// Microseconds.
    fn of(values: &mut [u64]) -> Self {
        values.sort_unstable();
        let at = |share: f64| values[((values.len() - 1) as f64 * share) as usize] as f64 / 1e3;
        Self { p50: at(0.5), p99: at(0.99) }
    }

    fn best(self, other: Self) -> Self {
        if other.p99 < self.p99 { other } else { self }
    }
}

/// CPU time of this process's thread of that name, nanoseconds.
fn cpu_of(name: &str) -> Option<u64> {
    let tasks = std::fs::read_dir("/proc/self/task").ok()?;
    let mut folders = tasks.filter_map(|task| Some(task.ok()?.path()));
    let is_it = |folder: &std::path::PathBuf| {
        std::fs::read_to_string(folder.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    };
    let stat = std::fs::read_to_string(folders.find(is_it)?.join("schedstat")).ok()?;
    stat.split(' ').next()?.parse().ok()
}

/// Its own thread on core 0, for as long as the process runs.
fn bare(upstream: SocketAddr) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    listener.set_nonblocking(true).expect("a fresh socket takes options");
    let run = move || {
        pin_to(0);
        runtime().block_on(async {
            let listener = TcpListener::from_std(listener).expect("a listener");
            accept_all(listener, move |stream| serve_bare(stream, upstream)).await;
        });
    };
    std::thread::Builder::new().name(BARE.to_owned()).spawn(run).expect("a thread");
    address
}

fn upstream() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    listener.set_nonblocking(true).expect("a fresh socket takes options");
    std::thread::spawn(move || {
        pin_to(1);
        runtime().block_on(async {
            let listener = TcpListener::from_std(listener).expect("a listener");
            accept_all(listener, serve_upstream).await;
        });
    });
    address
}

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|it| it.parse().ok()).collect();
    let of = |at: usize, default| numbers.get(at).copied().unwrap_or(default);
    let (streams, seconds, rounds) = (of(0, 512) as u32, of(1, 5), of(2, 3));
    let replicas = [upstream(), upstream()];
    let bare = bare(replicas[0]);
    let urls = replicas.map(|it| Url::parse(&format!("http://{it}")).expect("an address"));
    let policy = PolicyConfig::PrecisePrefix {
        weights: ScorerWeights::default(),
        normalization: Normalization::MinMax,
        block_tokens: 16,
        index: IndexConfig::default(),
        scrape_interval: PolicyConfig::SCRAPE_INTERVAL,
    };
    let mut config = ProxyConfig::new(urls.to_vec(), RouterConfig { policy, seed: 0 });
    // Nobody publishes there.
    config.kv_events = vec!["tcp://127.0.0.1:1".to_owned()];
    config.core = Some(0);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let proxy = Proxy::start(config, listener).expect("the configuration is sound");
    pin_to(1);
    let ways = [("direct", replicas[0]), ("bare proxy", bare), ("weir route", proxy.addr)];
    let threads = [None, Some(BARE), Some(ROUTE)];
    let mut best = [[Quantiles::WORST; 2]; 3];
    let mut least = [f64::INFINITY; 3];
    for _ in 0..rounds {
        for (way, (_, address)) in ways.iter().enumerate() {
            let cpu = || threads[way].and_then(cpu_of);
            let before = cpu();
            let mut delays = load(*address, streams, seconds);
            if let (Some(before), Some(after)) = (before, cpu()) {
                let each = (after - before) as f64 / 1e3 / delays.frames.len() as f64;
                least[way] = least[way].min(each);
            }
            best[way][0] = best[way][0].best(Quantiles::of(&mut delays.first));
            best[way][1] = best[way][1].best(Quantiles::of(&mut delays.frames));
        }
    }
    println!("{streams} streams, a frame every {PACE:?} each; microseconds");
    println!(
        "{:<12} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "", "first p50", "p99", "frame p50", "p99", "CPU/frame"
    );
    for (((name, _), [first, frames]), cpu) in ways.iter().zip(best).zip(least) {
        let cpu = if cpu.is_finite() { format!("{cpu:.2}") } else { String::new() };
        println!(
            "{name:<12} {:>10.0} {:>10.0} {:>10.0} {:>10.0} {cpu:>10}",
            first.p50, first.p99, frames.p50, frames.p99
        );
    }
    let [_, [bare_first, bare_frames], [first, frames]] = best;
    println!(
        "beyond the bare proxy, p99: first frame {:+.0} us, x {:.2}; frame {:+.0} us, x {:.2}",
        first.p99 - bare_first.p99,
        first.p99 / bare_first.p99,
        frames.p99 - bare_frames.p99,
        frames.p99 / bare_frames.p99
    );
}
