//! The mechanism's signals from the counters of the window.

use weir_deploy::{Front, Site, TierReaders, Tiers};
use weir_model::{Note, SignalKind, SignalSource, Signals, Software, TierKind};
use weir_observe::signals::{
    AnsweredBy, AskedLoad, EventBytes, LMCACHE_SERVER_FAMILIES, Objects, StoredChunk, add_choices,
    add_client, add_kv_events, add_lmcache_in_process, add_lmcache_server, add_router, add_store,
    add_vllm, add_weir,
};
use weir_observe::{GapError, SnapshotDifference};
use weir_spec::plan::{Arm, ClientOptions, Deployment};

use crate::live::origin;
use crate::live::window_counters::WindowCounters;

pub(crate) struct WindowSignals {
    pub(crate) signals: Signals,
    /// Before anything else is added to them.
    pub(crate) counted_prompts: Option<f64>,
}

/// What the load generator saw.
#[derive(Clone, Copy)]
pub(crate) struct SeenLoad<'a> {
    pub(crate) asked: &'a AskedLoad,
    pub(crate) answered: &'a AnsweredBy,
}

/// Counters at the window's ends, and their arm.
pub(crate) struct WindowSources<'a> {
    pub(crate) deployment: &'a Deployment,
    pub(crate) arm: &'a Arm,
    pub(crate) site: &'a Site,
    pub(crate) client: &'a ClientOptions,
    /// Processes that read the blocks of the farthest tier.
    pub(crate) readers: Option<&'a TierReaders>,
    pub(crate) counters: &'a WindowCounters,
}

impl WindowSources<'_> {
    /// LMCache's objects in this arm; None for other mechanisms.
    fn objects(&self) -> Option<Objects> {
        let offload = self.arm.offload.as_ref()?;
        (offload.traits().software == Software::Lmcache).then_some(Objects {
            chunk_tokens: offload.chunk_tokens,
            chunk_bytes: offload.chunk_bytes.kept,
            // Latents are replicated: the first rank's copy stands for all.
            ranks: if self.deployment.model.kv_is_replicated() {
                1
            } else {
                self.deployment.tensor_parallel
            },
            second_level: offload.farthest().filter(|tier| *tier != TierKind::Host),
        })
    }

    /// Signals of tiers with real bytes, and of the store behind them.
    fn add_tiers(
        &self,
        windows: &[SnapshotDifference<'_>],
        signals: &mut Signals,
    ) -> Vec<GapError> {
        let Some(chunk) = self.stored_chunk() else { return Vec::new() };
        let gaps = match self.site.tiers() {
            Some(_) => add_weir(windows, chunk.tokens, chunk.model_bytes, signals),
            None => Vec::new(),
        };
        if let (Some((before, after)), Some(store)) = (&self.counters.store, self.site.store()) {
            add_store(store.product(), (before, after), chunk, signals);
        }
        gaps
    }

    /// A chunk of the arm's mechanism, and the bytes moved for it.
    fn stored_chunk(&self) -> Option<StoredChunk> {
        let offload = self.arm.offload.as_ref()?;
        let model_bytes = offload.chunk_bytes.kept;
        let moved_bytes = self.site.tiers().map_or(model_bytes, Tiers::block_bytes);
        Some(StoredChunk { tokens: offload.chunk_tokens, model_bytes, moved_bytes })
    }

    /// The plan's sizes and the disk's contents, where Weir started the processes.
    fn add_local(&self, signals: &mut Signals) {
        let (Some(local), Some(offload)) = (self.site.processes(), &self.arm.offload) else {
            return;
        };
        let source = "the plan, as it was started";
        let largest = offload.capacities().map(|(_, bytes)| bytes.0).max().unwrap_or(0);
        signals.add(SignalKind::TierCapacityBytes, largest as f64, source);
        for (tier, bytes) in offload.capacities() {
            signals.add_of(tier, SignalKind::TierCapacityBytes, bytes.0 as f64, source);
        }
        if let (Some(tier), Some(refused)) = (offload.farthest(), self.counters.refused)
            && refused > 0
        {
            let source = SignalSource::of("logs").metric("batches that were not stored");
            signals.add_of(tier, SignalKind::StoreFailures, refused as f64, source);
        }
        if let Some(contents) = local.disk_contents() {
            let source = |of: &str| SignalSource::of("the disk tier's folder").metric(of);
            signals.add(SignalKind::DiskFiles, contents.files as f64, source("files"));
            let bytes = contents.bytes as f64;
            let source = source("bytes of the files");
            signals.add_of(TierKind::Disk, SignalKind::TierUsedBytes, bytes, source);
        }
    }

    /// Who says which replica answered.
    fn named_by(&self) -> SignalSource {
        let is_replica = |url: String| self.site.replicas().contains(&url);
        let mut doors = self.site.doors().iter().map(|door| door.url().address());
        if doors.all(is_replica) {
            return SignalSource::of("the endpoints asked");
        }
        SignalSource::of("the responses").metric(self.site.replica_header(self.client))
    }

    fn add_events(&self, signals: &mut Signals, notes: &mut Vec<Note>) {
        let Some((before, after)) = &self.counters.events else { return };
        let engine = self.deployment.engine_of(self.arm);
        let block = u64::from(engine.block_size) * engine.kv_bytes_per_token;
        let offload = self.arm.offload.as_ref();
        let chunk = offload.map_or(block, |offload| offload.chunk_bytes.kept);
        let chunk_tokens = offload.map_or(engine.block_size, |offload| offload.chunk_tokens);
        let promotes = offload.is_some_and(|offload| offload.tiers.len() > 1);
        let bytes = EventBytes { block, chunk, chunk_tokens, promotes };
        notes.extend(add_kv_events((before, after), bytes, signals).map(Note::from));
    }

    /// A note says which counters are missing.
    pub(crate) fn signals(&self, seen: SeenLoad<'_>, notes: &mut Vec<Note>) -> WindowSignals {
        let SeenLoad { asked, answered } = seen;
        let mut signals = Signals::default();
        // First: they are of the measured set.
        let replicas = self.site.replicas().len().max(self.deployment.replicas as usize);
        add_choices(answered, replicas, &self.named_by(), &mut signals);
        let differences = self.counters.differences(notes);
        // Each part has its own counters: an engine has none of a server's.
        let of = |prefix| -> Vec<SnapshotDifference<'_>> {
            differences.iter().filter(|window| window.speaks_of(prefix)).copied().collect()
        };
        let engines = of("vllm:");
        let mut gaps = add_vllm(&engines, &mut signals);
        let counted_prompts = signals.get(SignalKind::PromptTokens);
        if let Some(objects) = self.objects() {
            gaps.extend(add_lmcache_server(&of(LMCACHE_SERVER_FAMILIES), &objects, &mut signals));
            gaps.extend(add_lmcache_in_process(&engines, &objects, &mut signals));
        }
        gaps.extend(self.add_tiers(&engines, &mut signals));
        if let (Some(readers), Some(chunk)) = (self.readers, self.stored_chunk()) {
            notes.extend(origin::add(readers, self.counters.device_read, chunk, &mut signals));
        }
        self.add_local(&mut signals);
        self.add_events(&mut signals, notes);
        gaps.extend(add_router(&differences, &mut signals));
        if let Some((product, counts)) = self.site.front().and_then(Front::index_counts)
            && let Some(keys) = counts.keys
        {
            let source = SignalSource::of(product.name()).metric("DBSIZE");
            signals.add(SignalKind::IndexKeys, keys as f64, source);
        }
        notes.extend(gaps.iter().map(|gap| Note::Error(gap.to_string())));
        add_client(asked, self.arm.is_gpu_only(), &mut signals);
        if signals.get(SignalKind::Replicas).is_none() {
            let replicas = self.site.replicas().len().max(self.site.endpoints().len()) as f64;
            signals.add(SignalKind::Replicas, replicas, "the endpoints given");
        }
        WindowSignals { signals, counted_prompts }
    }
}
