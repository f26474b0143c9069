//! One demand gives the same passes and request times in the engine loop, as token ids, and in the
//! simulator, as symbolic prompts.

use std::collections::HashMap;
use std::convert::Infallible;

use proptest::prelude::*;
use weir_cluster::ClusterConfig;
use weir_engine::OffloadConfig;
use weir_model::prompt::token_id;
use weir_model::{ContentId, Nanos, Prompt, RequestRow, StepRow, Tokens};
use weir_router::{IndexConfig, Normalization, PolicyConfig, ScorerWeights};
use weir_serve::engine_loop::{EngineLoop, NewRequest};
use weir_serve::interner::{AnswerVocabulary, Interner};
use weir_serve::metrics::FinishedRequest;
use weir_serve::requests::Watcher;
use weir_sim::{Recorder, World, WorldConfig};
use weir_workload::config::{Count, Draw, Length, SharedPrefix};
use weir_workload::{Demand, Load, Ramp, SessionSlot, Source, SourceOptions, WorkloadConfig, open};

use crate::fixture::{cluster, lmcache_with_store, native};

/// Prompts use lower ids, answers higher ones, so none begin alike.
const PROMPT_IDS: u32 = 100_000;

#[derive(Default)]
struct Simulated {
    requests: Vec<RequestRow>,
    steps: Vec<StepRow>,
}

impl Recorder for Simulated {
    type Error = Infallible;
    fn request(&mut self, row: &RequestRow) -> Result<(), Infallible> {
        self.requests.push(row.clone());
        Ok(())
    }
    fn step(&mut self, row: &StepRow) -> Result<(), Infallible> {
        self.steps.push(*row);
        Ok(())
    }
}

#[derive(Default)]
struct Observed {
    steps: Vec<StepRow>,
    ended: Vec<(u64, FinishedRequest)>,
    tokens: HashMap<u64, Vec<Nanos>>,
}

impl Watcher for Observed {
    fn pass(&mut self, step: &StepRow) {
        self.steps.push(*step);
    }
    fn token(&mut self, at: Nanos, tag: u64) {
        self.tokens.entry(tag).or_default().push(at);
    }
    fn ended(&mut self, tag: u64, _replica: u16, request: &FinishedRequest) {
        self.ended.push((tag, *request));
    }
}

fn source(seed: u64, prefixes: u64, turns: u32) -> Source {
    let workload = WorkloadConfig::SharedPrefix(SharedPrefix {
        prefixes: Count::Absolute(prefixes),
        draw: Draw::Uniform,
        prefix_tokens: 512,
        turns,
        prompt_tokens: Length::Uniform { min: 10, max: 90 },
        output_tokens: Length::Uniform { min: 1, max: 60 },
        think: Nanos::from_millis(30),
    });
    let options = SourceOptions {
        seed,
        max_model_len: Tokens(4096),
        trace_speed: 1.0,
        trace_folder: ".".into(),
    };
    open(&workload, &options).expect("the fixture is valid")
}

fn simulate(cluster: &ClusterConfig, load: Load, most: u64, mut source: Source) -> Simulated {
    let config = WorldConfig {
        engine: cluster.engine.clone(),
        timing: cluster.timing.clone(),
        offload: cluster.offload.clone(),
        router: cluster.router.clone(),
        replicas: cluster.replicas,
        load,
        duration: None,
        warmup: Nanos::ZERO,
        drain: Nanos::from_secs(30),
        max_requests: Some(most),
    };
    let mut rows = Simulated::default();
    let world = World::new(config, &mut source, &mut rows).expect("the fixture is valid");
    world.run(|_, _| true).expect("nothing can fail").expect("nobody stops it");
    rows
}

/// Quotes answers by the token ids it received.
struct Client {
    answers: HashMap<ContentId, ContentId>,
    /// Otherwise it invents the answers.
    quotes: bool,
}

impl Client {
    fn ids(&self, prompt: &Prompt, interner: &Interner) -> Vec<u32> {
        let mut ids = Vec::new();
        for piece in prompt.pieces() {
            let range = piece.start..piece.start + piece.len;
            match self.answers.get(&piece.content).filter(|_| self.quotes) {
                Some(answer) => ids.extend(range.map(|at| interner.answer_token(*answer, at))),
                None => ids.extend(range.map(|at| token_id(piece.content, at, PROMPT_IDS))),
            }
        }
        ids
    }
}

struct LiveRequest {
    id: u64,
    slot: SessionSlot,
    turn: u32,
    due: Nanos,
}

/// Rows are in order of end.
fn drive(
    cluster: &ClusterConfig,
    load: Load,
    most: u64,
    source: Source,
    quotes: bool,
) -> (Vec<(LiveRequest, FinishedRequest)>, Observed) {
    let answers = AnswerVocabulary::Range { first: PROMPT_IDS, span: 50_000 };
    let interner = Interner::new(answers, u64::MAX);
    let mut engines = EngineLoop::new(cluster.clone(), interner, false, Observed::default())
        .expect("the fixture is valid");
    let mut demand = Demand::new(load, source, Some(most));
    let mut client = Client { answers: HashMap::new(), quotes };
    let mut live: HashMap<u64, LiveRequest> = HashMap::new();
    let mut ended = Vec::new();
    loop {
        let event = engines.next_at();
        let due = demand.next_at();
        if let Some(event) = event.filter(|event| due.is_none_or(|due| *event <= due)) {
            if demand.is_served() {
                break;
            }
            engines.advance(event);
        } else if let Some(moment) = due {
            // Requests of one moment arrive together.
            while let Some(due) = demand.pop(moment) {
                let request = due.request;
                let ids = client.ids(&request.prompt, engines.interner());
                let new = NewRequest {
                    ids,
                    salt: String::new(),
                    seed: 0,
                    output_tokens: request.output_tokens.0,
                    session: request.session,
                    streams: true,
                };
                let submitted = engines.submit(due.at, &new);
                client.answers.insert(request.output, submitted.answer);
                let it =
                    LiveRequest { id: request.id, slot: due.slot, turn: request.turn, due: due.at };
                live.insert(submitted.tag(), it);
            }
        } else {
            break;
        }
        for (tag, finished) in std::mem::take(&mut engines.watcher_mut().ended) {
            let it = live.remove(&tag).expect("only live requests end");
            assert_eq!(
                engines.watcher_mut().tokens.remove(&tag).map_or(0, |at| at.len()),
                finished.output_tokens.0 as usize,
                "every token was reported"
            );
            demand.ended(it.slot, it.turn, finished.ended);
            ended.push((it, finished));
        }
    }
    assert!(live.is_empty(), "every request ends");
    assert_eq!(engines.in_flight(), 0);
    let observed = std::mem::take(engines.watcher_mut());
    (ended, observed)
}

fn offloads() -> impl Strategy<Value = Option<OffloadConfig>> {
    prop_oneof![
        Just(None),
        (0u64..6000).prop_map(|tokens| Some(native(tokens))),
        (0u64..4000, 0u64..9000).prop_map(|(host, store)| Some(lmcache_with_store(host, store))),
    ]
}

fn policies() -> impl Strategy<Value = PolicyConfig> {
    let weights = ScorerWeights::default();
    prop_oneof![
        Just(PolicyConfig::Random),
        Just(PolicyConfig::RoundRobin),
        Just(PolicyConfig::LeastLoaded),
        Just(PolicyConfig::ApproximatePrefix {
            weights,
            block_tokens: 64,
            lru_blocks_per_replica: 100,
            max_prefix_tokens: 8192,
            scrape_interval: PolicyConfig::SCRAPE_INTERVAL,
        }),
        Just(PolicyConfig::PrecisePrefix {
            weights,
            normalization: Normalization::MinMax,
            block_tokens: 16,
            index: IndexConfig::default(),
            scrape_interval: PolicyConfig::SCRAPE_INTERVAL,
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn the_engine_loop_decides_as_the_simulator_does(
        offload in offloads(),
        policy in policies(),
        replicas in 1u16..4,
        blocks in 70u32..300,
        users in 1u32..30,
        prefixes in 1u64..8,
        turns in 1u32..4,
        seed in 0u64..1000,
    ) {
        let mut config = cluster(blocks);
        config.offload = offload;
        config.router.policy = policy;
        config.replicas = replicas;
        let load = Load::Users(Ramp::new(users, Nanos::from_millis(40)));
        let simulated =
            simulate(&config, load.clone(), 120, source(seed, prefixes, turns));
        let (ended, observed) = drive(&config, load, 120, source(seed, prefixes, turns), true);
        prop_assert_eq!(observed.steps, simulated.steps);
        prop_assert_eq!(ended.len(), simulated.requests.len());
        for ((request, finished), row) in ended.iter().zip(&simulated.requests) {
            prop_assert_eq!(request.id, row.request);
            prop_assert_eq!(request.due, row.due);
            prop_assert_eq!(finished.prompt_tokens, row.prompt_tokens);
            prop_assert_eq!(finished.output_tokens, row.output_tokens);
            prop_assert_eq!(Some(finished.first_token), row.first_token);
            prop_assert_eq!(finished.ended, row.end);
            prop_assert_eq!(finished.preemptions, row.preemptions);
            let cached: Tokens = row.cached_tokens.iter().copied().sum();
            prop_assert_eq!(finished.cached_tokens, cached);
        }
    }
}

/// The comparison must detect one reused answer.
#[test]
fn a_client_that_does_not_quote_answers_gives_other_passes() {
    let config = cluster(300);
    let load = Load::Users(Ramp::new(4, Nanos::ZERO));
    let simulated = simulate(&config, load.clone(), 60, source(3, 2, 3));
    let (_, quoting) = drive(&config, load.clone(), 60, source(3, 2, 3), true);
    assert_eq!(quoting.steps, simulated.steps);
    let (_, inventing) = drive(&config, load, 60, source(3, 2, 3), false);
    assert_ne!(inventing.steps, simulated.steps);
}
