//! Simulated requests per second on the published evaluation's workload: one prefix of 10,000
//! tokens, 141 in, 128 out, 500 users, fixed pass times. Rows are dropped; the binary's benches
//! include recording.
//!
//! Then routing: 16 replicas, 2,000 prefixes of 8,192 tokens, 8 turns, by chance and by a precise
//! index, and the ratio of the two.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use weir_engine::{EngineConfig, TimingConfig};
use weir_model::{Nanos, RequestRow, StepRow, Tokens};
use weir_router::{IndexConfig, Normalization, PolicyConfig, RouterConfig, ScorerWeights};
use weir_sim::{Load, Recorder, World, WorldConfig};
use weir_workload::config::{Count, Draw, Length, SharedPrefix};
use weir_workload::{Ramp, SourceOptions, WorkloadConfig, open};

struct Dropped(u64);

impl Recorder for Dropped {
    type Error = Infallible;
    fn request(&mut self, row: &RequestRow) -> Result<(), Infallible> {
        self.0 += row.end.0;
        Ok(())
    }
    fn step(&mut self, row: &StepRow) -> Result<(), Infallible> {
        self.0 += row.end.0;
        Ok(())
    }
}

struct Case {
    policy: PolicyConfig,
    replicas: u16,
    users: u32,
    requests: u64,
    prefixes: u64,
    prefix_tokens: u32,
    turns: u32,
}

fn one_prefix(requests: u64, prefix_tokens: u32) -> Case {
    Case {
        policy: PolicyConfig::LeastLoaded,
        replicas: 1,
        users: 500,
        requests,
        prefixes: 1,
        prefix_tokens,
        turns: 1,
    }
}

fn routed(policy: PolicyConfig) -> Case {
    Case {
        policy,
        replicas: 16,
        users: 640,
        requests: 20_000,
        prefixes: 2_000,
        prefix_tokens: 8_192,
        turns: 8,
    }
}

fn precise() -> PolicyConfig {
    PolicyConfig::PrecisePrefix {
        weights: ScorerWeights::default(),
        normalization: Normalization::MinMax,
        block_tokens: 16,
        index: IndexConfig::default(),
        scrape_interval: PolicyConfig::SCRAPE_INTERVAL,
    }
}

fn simulate(case: &Case) -> u64 {
    let config = WorldConfig {
        engine: EngineConfig {
            block_size: 16,
            blocks: 24_419,
            max_num_seqs: 1024,
            max_num_batched_tokens: 2048,
            max_model_len: 40_960,
            prefix_caching: true,
            watermark: 0.0,
            kv_bytes_per_token: 147_456,
        },
        timing: TimingConfig::Fixed {
            base: Nanos::from_millis(20),
            per_token: Nanos::from_micros(10),
        },
        offload: None,
        router: RouterConfig { policy: case.policy.clone(), seed: 1 },
        replicas: case.replicas,
        load: Load::Users(Ramp::new(case.users, Nanos::ZERO)),
        duration: None,
        warmup: Nanos::ZERO,
        drain: Nanos::from_secs(30),
        max_requests: Some(case.requests),
    };
    let workload = WorkloadConfig::SharedPrefix(SharedPrefix {
        prefixes: Count::Absolute(case.prefixes),
        draw: Draw::Uniform,
        prefix_tokens: case.prefix_tokens,
        turns: case.turns,
        prompt_tokens: Length::Fixed(141),
        output_tokens: Length::Fixed(128),
        think: Nanos::ZERO,
    });
    let options = SourceOptions {
        seed: 889,
        max_model_len: Tokens(40_960),
        trace_speed: 1.0,
        trace_folder: ".".into(),
    };
    let mut source = open(&workload, &options).expect("the workload is valid");
    let mut rows = Dropped(0);
    let world = World::new(config, &mut source, &mut rows).expect("the world is valid");
    world.run(|_, _| true).expect("nothing can fail");
    rows.0
}

/// Flat in the number of requests.
#[divan::bench(args = [10_000, 100_000, 1_000_000], sample_count = 5)]
fn requests(bencher: divan::Bencher, requests: u64) {
    bencher
        .counter(divan::counter::ItemsCount::new(requests))
        .bench(|| simulate(&one_prefix(requests, 10_000)));
}

/// Flat in the length of the shared prefix (in blocks of 16).
#[divan::bench(args = [1_000, 10_000, 30_000], sample_count = 5)]
fn prefix_tokens(bencher: divan::Bencher, tokens: u32) {
    bencher
        .counter(divan::counter::ItemsCount::new(100_000u64))
        .bench(|| simulate(&one_prefix(100_000, tokens)));
}

/// Both arms in turn, so that a busy machine slows both.
#[allow(clippy::print_stdout, reason = "the ratio is the result")]
fn routing() {
    let arms = [routed(PolicyConfig::Random), routed(precise())];
    let mut best = [Duration::MAX; 2];
    for _ in 0..5 {
        for (arm, best) in arms.iter().zip(&mut best) {
            let start = Instant::now();
            divan::black_box(simulate(arm));
            *best = start.elapsed().min(*best);
        }
    }
    let [random, precise] = best.map(|time| time.as_secs_f64());
    let per_request = 1e6 / arms[0].requests as f64;
    println!(
        "routing: random {:.1} us, precise {:.1} us per request, ratio {:.2}",
        random * per_request,
        precise * per_request,
        precise / random
    );
}

fn main() {
    divan::main();
    // Not in a test run.
    if std::env::args().any(|argument| argument == "--bench") {
        routing();
    }
}
