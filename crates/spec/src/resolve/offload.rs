use std::path::Path;

use weir_engine::{LoadMode, OffloadConfig};
use weir_model::{Bytes, Mechanism, Nanos, Software, TierKind};
use weir_tier::EvictionPolicy;
use weir_tier::config::{LinkConfig, StoreConfig, TierConfig};

use super::deployment::Point;
use super::engine::Engine;
use super::{HOUR, SECOND, check_span};
use crate::catalogue::links::{self, COPY_ISSUE, LinkProfile};
use crate::catalogue::presets::{self, ChunkLength, OffloadPreset, Preset};
use crate::catalogue::profile_file::{self, LinkProfileFile, ProfileKind};
use crate::document::EqualResources;
use crate::document::arm::{ArmSection, DiskSection, LinkSection, LoadWhen, StoreSection};
use crate::document::local::LmcacheMode;
use crate::error::SpecError;
use crate::kv_pool::offloaded;
use crate::plan::{self, Hardware};
use weir_model::quantity::Size;

const LONGEST_COPY: Nanos = Nanos::from_millis(10);
/// Per chunk.
const MOST_COPIES: u32 = 1 << 16;
/// Pass time per stored block in vLLM before 0.12. Fitted on the four native rows of the published
/// evaluation: 217, 210, 183 and 122 us per new block for models of 28, 36, 40 and 64 layers. It
/// does not grow with the layers, hence not with the copies: it is the connector's own work per
/// block.
const STORE_COST_PER_BLOCK_BEFORE_12: Nanos = Nanos::from_micros(190);
const LARGEST_CHUNK: u32 = 1 << 16;
/// LMCache queries its Redis client one key after another.
const LOOKUP_PER_KEY: Nanos = Nanos(100_000);

#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// Link profiles are relative to it.
    pub(super) base: &'a Path,
    pub(super) engine: &'a Engine,
    pub(super) hardware: &'a Hardware,
    pub(super) point: Point,
    pub(super) equal: Option<&'a EqualResources>,
    pub(super) local: bool,
}

impl Place<'_> {
    /// In the bytes that the mechanism needs for its tokens.
    fn bytes(&self, size: Size, offload: &OffloadConfig) -> Bytes {
        size.resolve(self.engine.config.block_size, |tokens| offload.kept(tokens))
    }

    /// Default mode. A real stack runs the server; inside an engine without a GPU LMCache does
    /// nothing, and with states the engine does not start.
    fn lmcache_mode(&self) -> LmcacheMode {
        let starts = offloaded::without_hybrid_manager(&self.engine.model).is_some();
        if self.local || self.hardware.is_processor() || !starts {
            LmcacheMode::Server
        } else {
            LmcacheMode::InProcess
        }
    }

    fn lmcache_ranks(&self) -> u32 {
        plan::lmcache_ranks(&self.engine.model, self.point.tensor_parallel)
    }

    /// All ranks of a replica copy at once, each over its own link. With latent attention each
    /// copies the whole, or one does for all.
    fn host_link(&self) -> LinkConfig {
        let whole = self.engine.model.kv_is_replicated();
        let ranks = if whole { 1.0 } else { f64::from(self.point.tensor_parallel) };
        let rate = self.hardware.accelerator.host_link_gb_per_s * 1e9 * ranks;
        LinkConfig {
            base_latency: Nanos::ZERO,
            per_copy: COPY_ISSUE,
            read_bytes_per_s: rate,
            write_bytes_per_s: rate,
            lanes: 1,
        }
    }
}

pub(super) fn resolve(
    name: &str,
    preset: &Preset,
    section: &ArmSection,
    place: &Place<'_>,
) -> Result<Option<OffloadConfig>, SpecError> {
    refuse_foreign(name, preset, section)?;
    let Some(of) = &preset.offload else { return Ok(None) };
    let chunk_tokens = chunk_tokens(name, of, section, place)?;
    let mechanism = mechanism_of(of, section, place);
    let mut offload = behaviour(mechanism, chunk_tokens, place);
    offload.tiers = tiers(name, of, section, &offload, place)?;
    offload.store = store(name, of, section, &offload, place)?;
    offload.prompt_only = section.prompt_only.unwrap_or(offload.prompt_only);
    if let Some(cost) = section.store_cost_per_chunk {
        check_span(&format!("arms.{name}.store_cost_per_chunk"), cost.0, SECOND)?;
        offload.store_cost_per_chunk = cost.0;
    }
    offload.copies_per_chunk = section.copies_per_chunk.unwrap_or(offload.copies_per_chunk);
    offload.load = section.load.map_or(offload.load, |when| match when {
        LoadWhen::Async => LoadMode::Async,
        LoadWhen::InPass => LoadMode::InPass,
    });
    if let Some(equal) = place.equal {
        let bytes = place.bytes(equal.bytes, &offload);
        equalize(name, &mut offload, bytes)?;
    }
    check(name, &offload)?;
    Ok(Some(offload))
}

/// They would be ignored.
fn refuse_foreign(name: &str, preset: &Preset, section: &ArmSection) -> Result<(), SpecError> {
    let refuse = |key: &str, what: &str, remedy: &str| {
        let problem = format!("the preset `{}` {what}", preset.name);
        Err(SpecError::value(format!("arms.{name}.{key}"), problem, remedy))
    };
    if preset.offload.is_none() {
        for (key, given) in [
            ("bytes", section.bytes.is_some()),
            ("chunk_tokens", section.chunk_tokens.is_some()),
            ("policy", section.policy.is_some()),
            ("prompt_only", section.prompt_only.is_some()),
            ("load", section.load.is_some()),
            ("store_cost_per_chunk", section.store_cost_per_chunk.is_some()),
            ("copies_per_chunk", section.copies_per_chunk.is_some()),
            ("link", section.link.is_some()),
        ] {
            if given {
                return refuse(key, "does not offload", "remove it, or use `native-offload`");
            }
        }
    }
    let has_disk = preset.offload.is_some_and(|of| of.disk.is_some());
    if section.disk.is_some() && !has_disk {
        return refuse("disk", "has no disk", "remove it, or use `lmcache-disk` or `native-fs`");
    }
    let has_store = preset.offload.is_some_and(|of| of.store.is_some());
    if section.store.is_some() && !has_store {
        return refuse("store", "has no remote store", "remove it, or use `lmcache-redis`");
    }
    Ok(())
}

pub(super) fn mechanism_of(
    of: &OffloadPreset,
    section: &ArmSection,
    place: &Place<'_>,
) -> Mechanism {
    match of.software {
        Software::Vllm => Mechanism::Native,
        Software::Lmcache => match section.lmcache_mode.unwrap_or_else(|| place.lmcache_mode()) {
            LmcacheMode::InProcess => Mechanism::Lmcache,
            LmcacheMode::Server => Mechanism::LmcacheServer,
        },
    }
}

fn chunk_tokens(
    name: &str,
    of: &OffloadPreset,
    section: &ArmSection,
    place: &Place<'_>,
) -> Result<u32, SpecError> {
    let block_size = place.engine.config.block_size;
    let default = match of.chunk {
        ChunkLength::Blocks(blocks) => block_size * blocks,
        ChunkLength::Tokens(tokens) => tokens.next_multiple_of(block_size.max(1)),
    };
    let equal = place.equal.and_then(|equal| equal.chunk_tokens);
    let chunk = equal.or(section.chunk_tokens).unwrap_or(default);
    let key = match equal {
        Some(_) => "equal_resources.chunk_tokens".to_owned(),
        None => format!("arms.{name}.chunk_tokens"),
    };
    if chunk > LARGEST_CHUNK {
        return Err(SpecError::value(
            key,
            format!("{chunk} tokens are too many"),
            format!("write at most {LARGEST_CHUNK}"),
        ));
    }
    if chunk == 0 || !chunk.is_multiple_of(block_size) {
        return Err(SpecError::value(
            key,
            format!("{chunk} tokens are not whole blocks of {block_size}"),
            format!("write a multiple of {block_size}"),
        ));
    }
    Ok(chunk)
}

/// Before the arm's own parameters.
fn behaviour(mechanism: Mechanism, chunk_tokens: u32, place: &Place<'_>) -> OffloadConfig {
    let version = place.engine.version;
    let blocks = chunk_tokens / place.engine.config.block_size;
    let pool = &place.engine.pool;
    let hybrid = offloaded::keeps_hybrid_manager(mechanism, version);
    let rule = offloaded::rule(pool, mechanism, hybrid);
    let ranks = place.point.tensor_parallel;
    let chunk_bytes = offloaded::chunk_bytes(&place.engine.model, ranks, pool, rule, chunk_tokens);
    let load = if mechanism.traits().load_holds_pass { LoadMode::InPass } else { LoadMode::Async };
    if mechanism.traits().software == Software::Lmcache {
        return OffloadConfig {
            mechanism,
            chunk_tokens,
            chunk_bytes,
            prompt_only: true,
            load,
            // `wait_for_save` at the end of the forward pass issues one copy.
            store_cost_per_chunk: COPY_ISSUE,
            // A kernel gathers the chunk from the layers.
            copies_per_chunk: 1,
            tiers: Vec::new(),
            store: None,
        };
    }
    // Until 0.11 keys and values lay in one tensor per layer, each block in 2 x layers pieces;
    // since 0.12 a block is contiguous over all layers.
    let per_layer = if place.engine.model.latent.is_some() { 1 } else { 2 };
    let scattered = per_layer * place.engine.model.layers;
    OffloadConfig {
        mechanism,
        chunk_tokens,
        chunk_bytes,
        prompt_only: version.at_least(14),
        load,
        store_cost_per_chunk: if version.at_least(12) {
            Nanos::ZERO
        } else {
            STORE_COST_PER_BLOCK_BEFORE_12 * u64::from(blocks)
        },
        copies_per_chunk: blocks * if version.at_least(12) { 1 } else { scattered },
        tiers: Vec::new(),
        store: None,
    }
}

fn tiers(
    name: &str,
    of: &OffloadPreset,
    section: &ArmSection,
    offload: &OffloadConfig,
    place: &Place<'_>,
) -> Result<Vec<TierConfig>, SpecError> {
    let ranks = match of.software {
        Software::Vllm => 1,
        Software::Lmcache => place.lmcache_ranks(),
    };
    let default = of.host * u64::from(ranks);
    let host = TierConfig {
        kind: TierKind::Host,
        capacity: section.bytes.map_or(default, |size| place.bytes(size, offload)),
        policy: section.policy.unwrap_or(EvictionPolicy::Lru),
        link: laid_over(place.host_link(), section.link.as_ref()),
    };
    let Some(by_default) = of.disk else { return Ok(vec![host]) };
    let nothing = DiskSection::default();
    let disk = section.disk.as_ref().unwrap_or(&nothing);
    let key = format!("arms.{name}.disk.profile");
    let written = disk.profile.as_deref().unwrap_or("nvme-gen4");
    let measured = match file(written, ProfileKind::Disk, place)? {
        Some(file) => file.link(),
        None => profile(&links::DISKS, written, &key)?.link(),
    };
    Ok(vec![
        host,
        TierConfig {
            kind: TierKind::Disk,
            capacity: disk.bytes.map_or(by_default.capacity, |size| place.bytes(size, offload)),
            policy: disk.policy.unwrap_or(by_default.policy),
            link: laid_over(measured, disk.link.as_ref()),
        },
    ])
}

fn store(
    name: &str,
    of: &OffloadPreset,
    section: &ArmSection,
    offload: &OffloadConfig,
    place: &Place<'_>,
) -> Result<Option<StoreConfig>, SpecError> {
    let Some(product) = of.store else { return Ok(None) };
    let nothing = StoreSection::default();
    let written = section.store.as_ref().unwrap_or(&nothing);
    let key = format!("arms.{name}.store.profile");
    let named = written.profile.as_deref().unwrap_or(product.name());
    let measured = match file(named, ProfileKind::Store, place)? {
        Some(file) => Measured {
            link: file.link(),
            lookup_latency: file.figures.lookup_latency.0,
            lookup_per_key: file.figures.lookup_per_key.0,
        },
        None => Measured::of(profile(&links::STORES, named, &key)?),
    };
    // Stores that can evict run with an LRU policy over all keys.
    let evicts = product.traits().evicts;
    let policy = if evicts { EvictionPolicy::Lru } else { EvictionPolicy::None };
    let client = written.client_gb_per_s.map_or(measured.link.read_bytes_per_s, |gb| gb * 1e9);
    check_rate(&format!("arms.{name}.store.client_gb_per_s"), client / 1e9)?;
    Ok(Some(StoreConfig {
        product,
        capacity: written.bytes.map_or(presets::STORE_BYTES, |size| place.bytes(size, offload)),
        policy: written.policy.unwrap_or(policy),
        link: laid_over(measured.link, written.link.as_ref()),
        client_bytes_per_s: client,
        lookup_latency: written.lookup_latency.map_or(measured.lookup_latency, |span| span.0),
        lookup_per_key: written.lookup_per_key.map_or(measured.lookup_per_key, |span| span.0),
    }))
}

struct Measured {
    link: LinkConfig,
    lookup_latency: Nanos,
    lookup_per_key: Nanos,
}

impl Measured {
    fn of(profile: &LinkProfile) -> Self {
        Self {
            link: profile.link(),
            lookup_latency: profile.latency,
            lookup_per_key: LOOKUP_PER_KEY,
        }
    }
}

/// The product that the profile file of an arm's store measured.
pub(super) fn measured_on(
    section: &ArmSection,
    place: &Place<'_>,
) -> Result<Option<String>, SpecError> {
    let named = section.store.as_ref().and_then(|store| store.profile.as_deref());
    let Some(named) = named else { return Ok(None) };
    Ok(file(named, ProfileKind::Store, place)?.map(|profile| profile.product))
}

/// None for a name of the catalogue.
fn file(
    name: &str,
    wanted: ProfileKind,
    place: &Place<'_>,
) -> Result<Option<LinkProfileFile>, SpecError> {
    if !profile_file::is_file(name) {
        return Ok(None);
    }
    let path = place.base.join(name);
    let profile = LinkProfileFile::read(&path)?;
    if profile.kind == wanted {
        return Ok(Some(profile));
    }
    Err(SpecError::LinkProfile {
        path,
        problem: format!("it describes a {}, not a {}", profile.kind, wanted),
        remedy: "name a profile of the right kind".to_owned(),
    })
}

fn profile(
    profiles: &'static [LinkProfile],
    name: &str,
    key: &str,
) -> Result<&'static LinkProfile, SpecError> {
    links::find(profiles, name).ok_or_else(|| {
        let known = profiles.iter().map(|profile| profile.name);
        SpecError::unknown(key, "profile", name, "arms", known)
    })
}

fn laid_over(link: LinkConfig, section: Option<&LinkSection>) -> LinkConfig {
    let Some(section) = section else { return link };
    LinkConfig {
        base_latency: section.latency.map_or(link.base_latency, |span| span.0),
        per_copy: section.per_copy.map_or(link.per_copy, |span| span.0),
        read_bytes_per_s: section.read_gb_per_s.map_or(link.read_bytes_per_s, |gb| gb * 1e9),
        write_bytes_per_s: section.write_gb_per_s.map_or(link.write_bytes_per_s, |gb| gb * 1e9),
        lanes: section.lanes.unwrap_or(link.lanes),
    }
}

/// Gives an arm the bytes that all arms have: the last tier gets what host memory leaves.
fn equalize(name: &str, offload: &mut OffloadConfig, bytes: Bytes) -> Result<(), SpecError> {
    let behind = offload.tiers.len() > 1 || offload.store.is_some();
    let host = offload.tiers.first().map_or(Bytes::ZERO, |tier| tier.capacity);
    if !behind {
        if let Some(tier) = offload.tiers.first_mut() {
            tier.capacity = bytes;
        }
        return Ok(());
    }
    if host >= bytes {
        return Err(SpecError::value(
            "equal_resources.bytes",
            format!("{bytes} leave nothing behind the {host} of host memory of the arm `{name}`"),
            format!("raise it, or lower arms.{name}.bytes"),
        ));
    }
    let rest = bytes.saturating_sub(host);
    match (&mut offload.store, offload.tiers.last_mut()) {
        (Some(store), _) => store.capacity = rest,
        (None, Some(tier)) => tier.capacity = rest,
        (None, None) => {}
    }
    Ok(())
}

fn check(name: &str, offload: &OffloadConfig) -> Result<(), SpecError> {
    let chunk = Bytes(offload.chunk_bytes.kept);
    let local = offload.tiers.iter().map(|tier| {
        let key = if tier.kind == TierKind::Host { "" } else { "disk." };
        (key, tier.capacity, &tier.link)
    });
    let remote = offload.store.iter().map(|store| ("store.", store.capacity, &store.link));
    for (part, capacity, link) in local.chain(remote) {
        if capacity < chunk {
            return Err(SpecError::value(
                format!("arms.{name}.{part}bytes"),
                format!(
                    "{capacity} are less than one chunk of {} tokens, which has {chunk}",
                    offload.chunk_tokens
                ),
                "raise it, or lower chunk_tokens",
            ));
        }
        check_rate(&format!("arms.{name}.{part}link.read_gb_per_s"), link.read_bytes_per_s / 1e9)?;
        check_rate(
            &format!("arms.{name}.{part}link.write_gb_per_s"),
            link.write_bytes_per_s / 1e9,
        )?;
        check_span(&format!("arms.{name}.{part}link.latency"), link.base_latency, HOUR)?;
        check_span(&format!("arms.{name}.{part}link.per_copy"), link.per_copy, LONGEST_COPY)?;
        if link.lanes == 0 {
            let key = format!("arms.{name}.{part}link.lanes");
            return Err(SpecError::value(key, "0 lanes", "write a number above 0"));
        }
    }
    if let Some(store) = &offload.store {
        check_span(&format!("arms.{name}.store.lookup_latency"), store.lookup_latency, HOUR)?;
        check_span(&format!("arms.{name}.store.lookup_per_key"), store.lookup_per_key, SECOND)?;
    }
    if !(1..=MOST_COPIES).contains(&offload.copies_per_chunk) {
        return Err(SpecError::value(
            format!("arms.{name}.copies_per_chunk"),
            format!("{} copies", offload.copies_per_chunk),
            format!("write a number from 1 to {MOST_COPIES}"),
        ));
    }
    Ok(())
}

fn check_rate(key: &str, gb_per_s: f64) -> Result<(), SpecError> {
    if gb_per_s > 0.0 && gb_per_s < 1e6 {
        return Ok(());
    }
    Err(SpecError::value(key, format!("{gb_per_s} is not a bandwidth"), "write GB/s above 0"))
}
