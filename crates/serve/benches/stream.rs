//! Streamed tokens per second of a server in instant mode over loopback, with the server pinned to
//! core 0 and the client to core 1.
//!
//! `cargo bench -p weir-serve --bench stream -- [streams] [tokens] [seconds]` prints tokens per
//! second of wall time and per second of the server thread's CPU time. The second figure is
//! the one to quote from a machine that others use too.
//!
//! `cargo bench -p weir-serve --bench stream -- pace [streams] [tokens]` runs passes of 10 ms in
//! real time and prints how far the gaps between tokens, as the client observes them, are from
//! that. A second line leaves out the passes in which server or client waited for a core
//! (`/proc/self/task/*/schedstat`), so other programs do not disturb it.

#![expect(clippy::print_stdout, reason = "the figures are the bench's output")]

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_cluster::ClusterConfig;
use weir_engine::{EngineConfig, TimingConfig};
use weir_model::Nanos;
use weir_router::{PolicyConfig, RouterConfig};
use weir_serve::{ServeConfig, Server, TimeMode};

const PACE: Nanos = Nanos::from_millis(10);

fn config(paced: bool) -> ServeConfig {
    let cluster = ClusterConfig {
        engine: EngineConfig {
            block_size: 16,
            blocks: 1 << 18,
            max_num_seqs: 4096,
            max_num_batched_tokens: 1 << 20,
            max_model_len: 32_768,
            prefix_caching: true,
            watermark: 0.0,
            kv_bytes_per_token: 131_072,
        },
        timing: TimingConfig::Fixed { base: PACE, per_token: Nanos::ZERO },
        offload: None,
        router: RouterConfig { policy: PolicyConfig::LeastLoaded, seed: 0 },
        replicas: 1,
        kv_events: false,
    };
    let mut config = ServeConfig::new(cluster, "bench");
    config.time = if paced { TimeMode::Real } else { TimeMode::Instant };
    config.core = Some(0);
    config
}

fn request(tokens: u32, number: u32) -> String {
    let ids: Vec<String> = (0..32).map(|at| (1000 + number * 32 + at).to_string()).collect();
    let body = format!(
        "{{\"model\":\"bench\",\"prompt\":[{}],\"max_tokens\":{tokens},\"stream\":true}}",
        ids.join(",")
    );
    format!(
        "POST /v1/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Reads streams on one connection until `until`, at least one. Returns the number of frames, and
/// per gap its end and its nanoseconds.
async fn reader(
    address: SocketAddr,
    tokens: u32,
    number: u32,
    until: Instant,
) -> (u64, Vec<(Instant, u64)>) {
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    stream.set_nodelay(true).expect("a fresh socket takes options");
    let request = request(tokens, number);
    let mut buffer = vec![0u8; 256 << 10];
    let (mut frames, mut gaps) = (0, Vec::new());
    loop {
        stream.write_all(request.as_bytes()).await.expect("the server reads");
        let mut before: Option<Instant> = None;
        loop {
            let read = stream.read(&mut buffer).await.expect("the server answers");
            let now = Instant::now();
            assert!(read > 0, "the server keeps the connection");
            // Frames that straddle two reads are counted by their last 3 bytes, so a few in a
            // million are missed.
            let ends = memchr::memmem::find_iter(&buffer[..read], b"}\n\n").count() as u64;
            frames += ends;
            if ends > 0 {
                let since = before.replace(now).map(|it| now.duration_since(it).as_nanos() as u64);
                gaps.extend(since.map(|gap| (now, gap)));
                // Frames of one read have no gap between them.
                gaps.extend(std::iter::repeat_n((now, 0), ends as usize - 1));
            }
            if buffer[..read].ends_with(b"0\r\n\r\n") {
                break;
            }
        }
        if Instant::now() >= until {
            return (frames, gaps);
        }
    }
}

/// Sums over the threads with one of these names: nanoseconds on a CPU and waiting for one.
fn schedstat(names: &[&str]) -> (u64, u64) {
    let mut sum = (0, 0);
    for task in std::fs::read_dir("/proc/self/task").expect("Linux has /proc").flatten() {
        let read = |name: &str| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        if names.iter().any(|name| read("comm").trim().starts_with(name)) {
            let schedstat = read("schedstat");
            let mut fields = schedstat.split_whitespace().map_while(|it| it.parse::<u64>().ok());
            sum.0 += fields.next().unwrap_or(0);
            sum.1 += fields.next().unwrap_or(0);
        }
    }
    sum
}

const SERVER: &str = "weir-serve";
/// The kernel names the bench's own threads after its file.
const CLIENT: &str = "stream-";

fn server_seconds() -> f64 {
    schedstat(&[SERVER]).0 as f64 / 1e9
}

/// Samples once per pass how long server and client have waited for a core.
async fn watch_contention(over: &std::cell::Cell<bool>) -> Vec<(Instant, u64)> {
    let mut seen = Vec::new();
    while !over.get() {
        seen.push((Instant::now(), schedstat(&[SERVER, CLIENT]).1));
        tokio::time::sleep(Duration::from_nanos(PACE.0)).await;
    }
    seen
}

/// In nanoseconds. A shorter wait disturbs no figure.
const WAITED: u64 = 100_000;

/// The gaps that ended outside of waits for a core and not within two passes after one.
fn undisturbed(gaps: &[(Instant, u64)], seen: &[(Instant, u64)]) -> Vec<u64> {
    let disturbed: Vec<Instant> =
        seen.windows(2).filter(|two| two[1].1 - two[0].1 > WAITED).map(|two| two[0].0).collect();
    let after = Duration::from_nanos(4 * PACE.0);
    let is_free = |at: &Instant| {
        let index = disturbed.partition_point(|it| it <= at);
        index.checked_sub(1).is_none_or(|last| *at > disturbed[last] + after)
    };
    gaps.iter().filter(|(at, _)| is_free(at)).map(|(_, gap)| *gap).collect()
}

fn print_errors(what: &str, gaps: &[u64]) {
    if gaps.is_empty() {
        println!("{what}: no gaps");
        return;
    }
    let mut errors: Vec<u64> = gaps.iter().map(|gap| gap.abs_diff(PACE.0)).collect();
    errors.sort_unstable();
    let at = |share: f64| errors[(share * (errors.len() - 1) as f64) as usize] as f64 / 1e6;
    println!(
        "{what}: {} gaps off 10 ms by p50 {:.3} ms, p90 {:.3}, p99 {:.3}, p99.9 {:.3}, most {:.3}",
        errors.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}

fn main() {
    let paced = std::env::args().any(|argument| argument == "pace");
    let numbers: Vec<u64> = std::env::args().filter_map(|it| it.parse().ok()).collect();
    let given = |at: usize, default: u64| numbers.get(at).copied().unwrap_or(default);
    // `cargo test` only checks that this runs.
    let is_measured = std::env::args().any(|argument| argument == "--bench");
    let (streams, tokens) = (given(0, 64), given(1, if is_measured { 1024 } else { 64 }));
    let span =
        Duration::from_secs(if paced { 0 } else { given(2, if is_measured { 5 } else { 1 }) });
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    let server = Server::start(config(paced), listener).expect("the configuration is sound");
    let address = server.addr;
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(1);
    rustix::thread::sched_setaffinity(None, &cores).expect("the machine has two cores");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime needs little");
    let (before, start) = (server_seconds(), Instant::now());
    let until = start + span;
    let (mut frames, mut gaps) = (0, Vec::new());
    let over = std::cell::Cell::new(false);
    let seen = runtime.block_on(async {
        let readers: Vec<_> = (0..streams)
            .map(|number| tokio::spawn(reader(address, tokens as u32, number as u32, until)))
            .collect();
        let reading = async {
            for reader in readers {
                let (count, own) = reader.await.expect("readers do not panic");
                frames += count;
                gaps.extend(own);
            }
            over.set(true);
        };
        tokio::join!(watch_contention(&over), reading).0
    });
    let (wall, busy) = (start.elapsed().as_secs_f64(), server_seconds() - before);
    println!(
        "{streams} streams x {tokens} tokens: {frames} frames in {wall:.2} s = {:.0}/s; server \
         {busy:.2} s of CPU time = {:.0}/s per core, {:.2} us per token",
        frames as f64 / wall,
        frames as f64 / busy,
        busy * 1e6 / frames as f64
    );
    if paced {
        print_errors("all", &gaps.iter().map(|(_, gap)| *gap).collect::<Vec<_>>());
        print_errors("nobody waited for a core", &undisturbed(&gaps, &seen));
    }
    server.shutdown().expect("the server ends cleanly");
}
