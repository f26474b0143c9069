use weir_model::Mechanism;

use super::*;
use weir_router::config::Normalization;

fn config(policy: PolicyConfig, index: IndexStore) -> PickerConfig {
    PickerConfig {
        policy,
        model: "Qwen/Qwen3-8B".to_owned(),
        replicas: PickedReplicas {
            addresses: vec![Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)],
            port: 8000,
            events_port: 5557,
        },
        index,
        tokenizer_socket: PathBuf::from("/run/tok.sock"),
        endpoints_file: PathBuf::from("/run/endpoints.json"),
        ports: PickerPorts { grpc: 9002, health: 9003, metrics: 9090 },
        pods: None,
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

fn approximate() -> PolicyConfig {
    PolicyConfig::ApproximatePrefix {
        weights: ScorerWeights::default(),
        block_tokens: 64,
        lru_blocks_per_replica: 31_250,
        max_prefix_tokens: 131_072,
        scrape_interval: PolicyConfig::SCRAPE_INTERVAL,
    }
}

fn plugin<'a>(document: &'a Value, kind: &str) -> Option<&'a Value> {
    document["plugins"].as_array()?.iter().find(|plugin| plugin["type"] == kind)
}

#[test]
fn each_product_has_the_key_that_its_release_reads() {
    let address = "redis://127.0.0.1:6390".to_owned();
    let of = |product, release| {
        let index = IndexStore::Server { product, address: address.clone() };
        config(precise(), index).document(release).unwrap()
    };
    let at = |document: &Value, kind: &str| {
        plugin(document, kind).unwrap()["parameters"]["indexerConfig"]["kvBlockIndexConfig"].clone()
    };
    let old = at(&of(Product::Valkey, PickerRelease::Scheduler), "precise-prefix-cache-scorer");
    assert_eq!(old["valkeyConfig"]["address"], address);
    let old = at(&of(Product::Redis, PickerRelease::Scheduler), "precise-prefix-cache-scorer");
    assert_eq!(old["redisConfig"]["address"], address);
    let new = at(&of(Product::Valkey, PickerRelease::Router), "precise-prefix-cache-producer");
    assert_eq!(new["redisConfig"]["address"], address);
    assert!(new.get("valkeyConfig").is_none() && new.get("inMemoryConfig").is_none());
}

#[test]
fn every_medium_of_an_engine_has_its_weight() {
    for (release, kind) in [
        (PickerRelease::Scheduler, "precise-prefix-cache-scorer"),
        (PickerRelease::Router, "precise-prefix-cache-producer"),
    ] {
        let document = config(precise(), IndexStore::Memory).document(release).unwrap();
        let indexer = &plugin(&document, kind).unwrap()["parameters"]["indexerConfig"];
        let weights = indexer["kvCacheBackendConfigs"].as_array().unwrap();
        let of = |medium: &str| {
            let found = weights.iter().find(|backend| backend["name"] == medium);
            found.unwrap()["weight"].as_f64()
        };
        let media = Mechanism::Native.traits().events.iter().map(|of| of.medium.to_lowercase());
        assert!(media.into_iter().all(|medium| of(&medium) == Some(0.8)), "{weights:?}");
        assert_eq!(of("gpu"), Some(1.0));
    }
}

#[test]
fn a_precise_index_of_the_new_router_is_bound_to_scorer_tokens_and_events() {
    let document = config(precise(), IndexStore::Memory).document(PickerRelease::Router).unwrap();
    let scorer = plugin(&document, "prefix-cache-scorer").unwrap();
    assert_eq!(
        scorer["parameters"]["prefixMatchInfoProducerName"],
        "precise-prefix-cache-producer"
    );
    assert!(plugin(&document, "token-producer").is_some());
    let sources = document["dataLayer"]["sources"].as_array().unwrap();
    let bound = sources.iter().any(|source| {
        source["pluginRef"] == "endpoint-notification-source"
            && source["extractors"][0]["pluginRef"] == "precise-prefix-cache-producer"
    });
    assert!(bound, "{document}");
}

#[test]
fn the_gateway_has_an_approximate_index_by_a_producer_and_no_precise_one() {
    let document =
        config(approximate(), IndexStore::Memory).document(PickerRelease::Gateway).unwrap();
    let producer = plugin(&document, "approx-prefix-cache-producer").unwrap();
    assert_eq!(producer["parameters"]["maxPrefixBlocksToMatch"], 2048);
    assert!(plugin(&document, "prefix-cache-scorer").unwrap().get("parameters").is_none());
    let refused = config(precise(), IndexStore::Memory).document(PickerRelease::Gateway);
    assert!(matches!(refused, Err(ConfigError::Unsupported { .. })));
    let policy = config(PolicyConfig::RoundRobin, IndexStore::Memory);
    assert!(matches!(policy.document(PickerRelease::Scheduler), Err(ConfigError::Policy(_))));
}

#[test]
fn weights_of_zero_leave_a_scorer_out() {
    let mut policy = approximate();
    if let PolicyConfig::ApproximatePrefix { weights, .. } = &mut policy {
        *weights = ScorerWeights { queue: 0.0, kv_usage: 1.0, prefix: 3.0, no_hit_lru: 0.0 };
    }
    let document = config(policy, IndexStore::Memory).document(PickerRelease::Scheduler).unwrap();
    assert!(plugin(&document, "queue-scorer").is_none());
    let profile = document["schedulingProfiles"][0]["plugins"].as_array().unwrap();
    let weights: Vec<(&str, f64)> = profile
        .iter()
        .filter_map(|entry| Some((entry["pluginRef"].as_str()?, entry["weight"].as_f64()?)))
        .collect();
    assert_eq!(weights, [("prefix-cache-scorer", 3.0), ("kv-cache-utilization-scorer", 1.0)]);
}

#[test]
fn what_a_release_does_not_do_is_refused() {
    let with = |change: fn(&mut Normalization, &mut IndexConfig, &mut ScorerWeights)| {
        let mut policy = precise();
        if let PolicyConfig::PrecisePrefix { weights, normalization, index, .. } = &mut policy {
            change(normalization, index, weights);
        }
        config(policy, IndexStore::Memory)
    };
    let share = with(|normalization, _, _| *normalization = Normalization::Share);
    assert_eq!(
        share.document(PickerRelease::Scheduler).unwrap_err().to_string().split(';').next(),
        Some(&*format!("{} has no `normalization: share`", PickerRelease::Scheduler.name()))
    );
    assert!(share.document(PickerRelease::Router).is_ok());
    let counted = with(|_, index, _| index.counts_stores = true);
    assert!(counted.document(PickerRelease::Scheduler).is_err());
    let cold = with(|_, _, weights| weights.no_hit_lru = 0.5);
    assert!(cold.document(PickerRelease::Router).is_err());
    let document = cold.document(PickerRelease::Scheduler).unwrap();
    let parameters = &plugin(&document, "no-hit-lru-scorer").unwrap()["parameters"];
    assert_eq!(parameters["prefixPluginName"], "precise-prefix-cache-scorer");
}

#[test]
fn gauges_are_read_as_often_as_the_policy_says() {
    let flag = |policy| {
        let args = config(policy, IndexStore::Memory).arguments(PickerRelease::Scheduler, "/c");
        let at = args.iter().position(|arg| arg == "--refresh-metrics-interval")?;
        Some(args[at + 1].clone())
    };
    assert_eq!(flag(precise()), Some("50000us".to_owned()));
    let mut always = approximate();
    if let PolicyConfig::ApproximatePrefix { scrape_interval, .. } = &mut always {
        *scrape_interval = Nanos::ZERO;
    }
    assert_eq!(flag(always), Some("1000us".to_owned()));
    assert_eq!(flag(PolicyConfig::Random), None);
}

#[test]
fn only_the_old_pickers_ask_for_a_namespace() {
    let config = config(precise(), IndexStore::Memory);
    let old = config.arguments(PickerRelease::Scheduler, "/run/picker.json");
    assert!(old.windows(2).any(|pair| pair == ["--pool-namespace", "default"]), "{old:?}");
    let new = config.arguments(PickerRelease::Router, "/run/picker.json");
    assert!(!new.contains(&"--pool-namespace".to_owned()), "{new:?}");
}
