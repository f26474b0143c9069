//! A small live driver that steps the cluster to its clock and submits arrivals. If it steps at
//! every moment, its results equal the world's.

use weir_cluster::{Cluster, ClusterConfig, Finished, Observer};
use weir_model::{Nanos, StepRow};
use weir_workload::{Demand, SessionSlot, SessionSource, SourceOptions, open};

use crate::fixture::{lmcache_with_store, native, run, workload, world};

/// Sessions and turns by tag, the passes, and ends since the last step.
#[derive(Default)]
struct Seen {
    flights: Vec<(SessionSlot, u32)>,
    ended: Vec<u64>,
    steps: Vec<StepRow>,
    tokens: u64,
}

impl Observer for Seen {
    const TOKENS: bool = true;

    fn token(&mut self, _at: Nanos, _tag: u64) {
        self.tokens += 1;
    }
    fn pass(&mut self, step: &StepRow) {
        self.steps.push(*step);
    }
    fn finished(&mut self, _at: Nanos, tag: u64, _finished: &Finished) {
        self.ended.push(tag);
    }
}

fn drive<S: SessionSource>(mut cluster: Cluster, mut demand: Demand<S>) -> Seen {
    let mut seen = Seen::default();
    while let Some(now) = cluster.next_at().into_iter().chain(demand.next_at()).min() {
        while cluster.next_at().is_some_and(|at| at <= now) {
            cluster.step(&mut seen);
        }
        for tag in std::mem::take(&mut seen.ended) {
            let (slot, turn) = seen.flights[tag as usize];
            demand.ended(slot, turn, now);
        }
        while let Some(due) = demand.pop(now) {
            seen.flights.push((due.slot, due.request.turn));
            cluster.submit(now, due.request.id, due.request, &mut seen);
        }
    }
    seen
}

#[test]
fn a_driver_of_demand_and_cluster_sees_the_passes_of_the_world() {
    let offloads = [None, Some(native(3000)), Some(lmcache_with_store(2000, 9000))];
    for (seed, offload) in (1..).zip(offloads) {
        let mut config = world(150, 12, 200);
        config.offload = offload;
        config.replicas = 2;
        let workload = workload(5, 512, 2);
        let (kept, summary) = run(config.clone(), &workload, seed);
        let options = SourceOptions {
            seed,
            max_model_len: weir_model::Tokens(config.engine.max_model_len),
            trace_speed: 1.0,
            trace_folder: ".".into(),
        };
        let source = open(&workload, &options).expect("the fixture is valid");
        let cluster = ClusterConfig {
            engine: config.engine,
            timing: config.timing,
            offload: config.offload,
            router: config.router,
            replicas: config.replicas,
            kv_events: false,
        };
        let cluster = Cluster::new(cluster).expect("the fixture is valid");
        let seen = drive(cluster, Demand::new(config.load, source, config.max_requests));
        assert_eq!(seen.flights.len() as u64, summary.issued);
        assert_eq!(seen.steps, kept.steps);
        let tokens: u64 = kept.requests.iter().map(|row| u64::from(row.output_tokens.0)).sum();
        assert_eq!(seen.tokens, tokens);
    }
}
