//! Signals of a cell from the simulation's counters.

use weir_cluster::{Cluster, Placement};
use weir_model::{Request, SignalKind, SignalSource, Signals, TierKind, Tokens};
use weir_router::RouterStats;
use weir_tier::chunk_cache::ChunkCache;

use crate::config::WorldConfig;
use crate::unlimited::UnlimitedTiers;

const SOURCE: &str = "simulator";

#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    external_query_tokens: u64,
    lookup_hit_tokens: [u64; 4],
    stored_bytes: u64,
    loaded_bytes: u64,
    evicted_bytes: [u64; 4],
    /// By tier; local tiers count at the nearest.
    refused: [u64; 4],
    gpu_evicted_bytes: u64,
    preemptions: u64,
    index_events: u64,
    index_lookups: u64,
    index_hits: u64,
}

#[derive(Debug, Clone)]
struct WindowEnd {
    totals: Totals,
    stats: RouterStats,
    tiers: [Option<TierUse>; 4],
}

/// Over all replicas.
#[derive(Debug, Clone, Copy, Default)]
struct TierUse {
    capacity_bytes: u64,
    used_bytes: u64,
    chunks: u64,
}

/// Requests due in the window, from their first token on.
#[derive(Debug, Clone, Copy, Default)]
struct MeasuredTokens {
    prompt: u64,
    seen: u64,
    cached: [u64; 4],
    eligible: u64,
}

pub(crate) struct CellCounters {
    block_bytes: u64,
    has_offload: bool,
    unlimited: Option<UnlimitedTiers>,
    start: Option<Totals>,
    end: Option<WindowEnd>,
    started: MeasuredTokens,
    decisions: Vec<u64>,
    routed: f64,
    uniform: f64,
    best: f64,
    replicas: u16,
    has_index: bool,
}

impl CellCounters {
    pub(crate) fn new(config: &WorldConfig) -> Self {
        Self {
            block_bytes: config.engine.kv_bytes_per_token * u64::from(config.engine.block_size),
            has_offload: config.offload.is_some(),
            unlimited: config
                .offload
                .as_ref()
                .map(|offload| UnlimitedTiers::new(offload, config.replicas)),
            start: None,
            end: None,
            started: MeasuredTokens::default(),
            decisions: vec![0; usize::from(config.replicas)],
            routed: 0.0,
            uniform: 0.0,
            best: 0.0,
            replicas: config.replicas,
            has_index: matches!(
                config.router.policy,
                weir_router::PolicyConfig::PrecisePrefix { .. }
            ),
        }
    }

    pub(crate) const fn is_open(&self) -> bool {
        self.start.is_some()
    }

    pub(crate) fn open(&mut self, cluster: &mut Cluster) {
        let stats = cluster.router_stats();
        self.start = Some(self.totals(cluster, &stats));
    }

    /// Ends the window once.
    pub(crate) fn close(&mut self, cluster: &mut Cluster) {
        if self.end.is_some() {
            return;
        }
        if !self.is_open() {
            self.open(cluster);
        }
        let stats = cluster.router_stats();
        let totals = self.totals(cluster, &stats);
        self.end = Some(WindowEnd {
            totals,
            stats,
            tiers: TierKind::ALL.map(|tier| tier_use(cluster, tier)),
        });
    }

    /// Measured set, with at least two replicas.
    pub(crate) fn decision(&mut self, placement: &Placement) {
        self.decisions[usize::from(placement.replica)] += 1;
        self.routed += f64::from(placement.routed_hit);
        self.uniform += f64::from(placement.uniform_hit);
        self.best += f64::from(placement.best_hit);
    }

    pub(crate) fn started(
        &mut self,
        replica: u16,
        request: &Request,
        cached: [Tokens; 4],
        block_tokens: u32,
        is_measured: bool,
    ) {
        let prompt = request.prompt.tokens().0;
        let gpu_hit = cached[TierKind::Gpu.index()].0;
        let eligible = if let Some(unlimited) = &mut self.unlimited {
            unlimited.started(replica, request, gpu_hit)
        } else {
            // A mechanism serves whole blocks, and at least one token is computed.
            let most = request.seen_tokens.0.min(prompt.saturating_sub(1));
            (most / block_tokens * block_tokens).saturating_sub(gpu_hit)
        };
        if !is_measured {
            return;
        }
        self.started.eligible += u64::from(eligible);
        self.started.prompt += u64::from(prompt);
        self.started.seen += u64::from(request.seen_tokens.0);
        for (sum, tokens) in self.started.cached.iter_mut().zip(cached) {
            *sum += u64::from(tokens.0);
        }
    }

    pub(crate) fn ended(&mut self, replica: u16, request: &Request) {
        if let Some(unlimited) = &mut self.unlimited {
            unlimited.ended(replica, request);
        }
    }

    fn totals(&self, cluster: &Cluster, stats: &RouterStats) -> Totals {
        let mut totals = Totals {
            index_events: stats.index_events,
            index_lookups: stats.lookups,
            index_hits: stats.lookup_hits,
            ..Totals::default()
        };
        for replica in cluster.replicas() {
            let counters = replica.counters();
            totals.external_query_tokens += counters.external_query_tokens;
            for (total, found) in
                totals.lookup_hit_tokens.iter_mut().zip(counters.lookup_hit_tokens)
            {
                *total += found;
            }
            totals.stored_bytes += counters.stored_bytes;
            totals.loaded_bytes += counters.loaded_bytes;
            totals.refused[TierKind::Host.index()] += counters.refused_chunks;
            totals.preemptions += counters.preemptions;
            totals.gpu_evicted_bytes += replica.engine().pool().evicted_blocks() * self.block_bytes;
            if let Some(offload) = replica.engine().offload() {
                for tier in TierKind::ALL {
                    let evicted = offload.cache(tier).map_or(0, ChunkCache::evicted);
                    totals.evicted_bytes[tier.index()] += evicted * offload.chunk_bytes().0;
                }
            }
        }
        if let Some(store) = cluster.store() {
            totals.evicted_bytes[TierKind::Remote.index()] +=
                store.cache().evicted() * store.chunk_bytes().0;
            totals.refused[TierKind::Remote.index()] += store.refused();
        }
        totals
    }

    /// Hits of the measured set, counters of the window.
    pub(crate) fn signals(&mut self, cluster: &mut Cluster) -> Signals {
        self.close(cluster);
        let start = self.start.unwrap_or_default();
        let Some(end) = self.end.clone() else { return Signals::default() };
        let now = end.totals;
        let mut signals = Signals::default();
        let mut add = |kind, value: u64| signals.add(kind, value as f64, SOURCE);
        let started = &self.started;
        let external: u64 = started.cached[TierKind::Host.index()..].iter().sum();
        add(SignalKind::PromptTokens, started.prompt);
        add(SignalKind::SeenTokens, started.seen);
        add(SignalKind::GpuHitTokens, started.cached[TierKind::Gpu.index()]);
        add(SignalKind::EligibleTokens, started.eligible);
        add(SignalKind::ExternalHitTokens, external);
        add(SignalKind::Preemptions, now.preemptions - start.preemptions);
        add(SignalKind::GpuEvictedBytes, now.gpu_evicted_bytes - start.gpu_evicted_bytes);
        add(SignalKind::Replicas, u64::from(self.replicas));
        if self.has_offload {
            let queried = now.external_query_tokens - start.external_query_tokens;
            add(SignalKind::ExternalQueryTokens, queried);
            for tier in &TierKind::ALL[1..] {
                add(SignalKind::hits_of(*tier), started.cached[tier.index()]);
            }
            add(SignalKind::StoredBytes, now.stored_bytes - start.stored_bytes);
            add(SignalKind::LoadedBytes, now.loaded_bytes - start.loaded_bytes);
        }
        add_tiers(&mut signals, &end, &start);
        add_lookups(&mut signals, cluster, &now, &start);
        self.add_routing(&mut signals, &end.stats, &now, &start);
        signals
    }

    fn add_routing(
        &self,
        signals: &mut Signals,
        stats: &RouterStats,
        now: &Totals,
        start: &Totals,
    ) {
        let choices: u64 = self.decisions.iter().sum();
        signals.add(SignalKind::RoutingChoices, choices as f64, SOURCE);
        if choices > 0 {
            let most = self.decisions.iter().max().copied().unwrap_or(0);
            let share = most as f64 * 100.0 / choices as f64;
            signals.add(SignalKind::RoutingMaxSharePercent, share, SOURCE);
            signals.add(SignalKind::RoutedHitTokens, self.routed, SOURCE);
            signals.add(SignalKind::UniformHitTokens, self.uniform, SOURCE);
            signals.add(SignalKind::BestHitTokens, self.best, SOURCE);
        }
        if self.has_index {
            let events = now.index_events - start.index_events;
            signals.add(SignalKind::IndexEvents, events as f64, SOURCE);
            signals.add(SignalKind::IndexKeys, stats.index_keys as f64, SOURCE);
            let lookups = now.index_lookups - start.index_lookups;
            signals.add(SignalKind::IndexLookups, lookups as f64, SOURCE);
            let hits = now.index_hits - start.index_hits;
            signals.add(SignalKind::IndexHits, hits as f64, SOURCE);
        }
    }
}

/// Lookups from the first token on, which also count the GPU's tokens.
fn add_lookups(signals: &mut Signals, cluster: &Cluster, now: &Totals, start: &Totals) {
    let mut mechanisms = cluster.replicas().filter_map(|replica| replica.engine().offload());
    if mechanisms.all(|offload| offload.config().traits().looks_behind_gpu()) {
        return;
    }
    for tier in &TierKind::ALL[1..] {
        let found = |totals: &Totals| totals.lookup_hit_tokens[tier.index()];
        let more = found(now) - found(start);
        signals.add(SignalKind::hits_of(*tier), more as f64, SignalSource::of(SOURCE).at_lookup());
    }
}

fn add_tiers(signals: &mut Signals, end: &WindowEnd, start: &Totals) {
    for tier in &TierKind::ALL[1..] {
        let Some(tier_use) = end.tiers[tier.index()] else { continue };
        let mut add = |kind, value: u64| signals.add_of(*tier, kind, value as f64, SOURCE);
        let grown =
            |of: fn(&Totals) -> [u64; 4]| of(&end.totals)[tier.index()] - of(start)[tier.index()];
        add(SignalKind::EvictedBytes, grown(|totals| totals.evicted_bytes));
        add(SignalKind::TierCapacityBytes, tier_use.capacity_bytes);
        add(SignalKind::TierUsedBytes, tier_use.used_bytes);
        match tier {
            TierKind::Remote => {
                add(SignalKind::StoreFailures, grown(|totals| totals.refused));
                signals.add(SignalKind::StoreKeys, tier_use.chunks as f64, SOURCE);
            }
            TierKind::Host => add(SignalKind::StoreFailures, grown(|totals| totals.refused)),
            TierKind::Disk => signals.add(SignalKind::DiskFiles, tier_use.chunks as f64, SOURCE),
            TierKind::Gpu => {}
        }
    }
}

/// None without this tier.
fn tier_use(cluster: &Cluster, tier: TierKind) -> Option<TierUse> {
    let local = cluster.replicas().filter_map(|replica| {
        let offload = replica.engine().offload()?;
        Some((offload.cache(tier)?, offload.chunk_bytes().0))
    });
    let remote = cluster.store().filter(|_| tier == TierKind::Remote);
    let remote = remote.map(|store| (store.cache(), store.chunk_bytes().0));
    local.chain(remote).fold(None, |tier_use: Option<TierUse>, (cache, bytes)| {
        let tier_use = tier_use.unwrap_or_default();
        Some(TierUse {
            capacity_bytes: tier_use.capacity_bytes + u64::from(cache.capacity()) * bytes,
            used_bytes: tier_use.used_bytes + u64::from(cache.used()) * bytes,
            chunks: tier_use.chunks + u64::from(cache.used()),
        })
    })
}
