//! Simulated requests per second on the published evaluation's workload: one prefix of 10,000
//! tokens, 141 in, 128 out, 500 users, fixed pass times. Rows are dropped; the binary's benches
//! include recording.

use std::convert::Infallible;

use weir_engine::{EngineConfig, TimingConfig};
use weir_model::{Nanos, RequestRow, StepRow, Tokens};
use weir_router::{PolicyConfig, RouterConfig};
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

fn simulate(requests: u64, prefix_tokens: u32) -> u64 {
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
        router: RouterConfig { policy: PolicyConfig::LeastLoaded, seed: 1 },
        replicas: 1,
        load: Load::Users(Ramp::new(500, Nanos::ZERO)),
        duration: None,
        warmup: Nanos::ZERO,
        drain: Nanos::from_secs(30),
        max_requests: Some(requests),
    };
    let workload = WorkloadConfig::SharedPrefix(SharedPrefix {
        prefixes: Count::Absolute(1),
        draw: Draw::Uniform,
        prefix_tokens,
        turns: 1,
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
    bencher.counter(divan::counter::ItemsCount::new(requests)).bench(|| simulate(requests, 10_000));
}

/// Flat in the length of the shared prefix (in blocks of 16).
#[divan::bench(args = [1_000, 10_000, 30_000], sample_count = 5)]
fn prefix_tokens(bencher: divan::Bencher, tokens: u32) {
    bencher
        .counter(divan::counter::ItemsCount::new(100_000u64))
        .bench(|| simulate(100_000, tokens));
}

fn main() {
    divan::main();
}
