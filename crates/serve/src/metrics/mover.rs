//! Families beside vLLM's: real tiers and their failures. Bytes are the bytes moved, after scaling.

use super::page::{Family, Labels, Page};
use crate::mover::{Mover, TierState, fault_names};

const fn family(name: &'static str, help: &'static str) -> Family {
    Family { name, help }
}

const BYTE_SCALE: Family = family("weir_byte_scale", "Bytes moved per byte of the model's KV.");
const BLOCK_BYTES: Family = family("weir_tier_block_bytes", "Bytes moved for one chunk.");
const BLOCKS: Family = family("weir_tier_blocks", "Blocks, by what became of them in the tier.");
const BYTES: Family = family("weir_tier_bytes", "Bytes moved to (store) and from (load) the tier.");
const SECONDS: Family = family("weir_tier_seconds", "Time in transfers, over all workers.");
const FAULTS: Family = family("weir_tier_faults", "Blocks and calls that failed, by cause.");
const MOVER_EVENTS: Family =
    family("weir_carrier_events", "What went wrong on the way to the tiers.");

type Figures = fn(&TierState, u64) -> Vec<(&'static str, f64)>;

pub(crate) fn page(mover: &Mover, created: f64) -> String {
    let mut page = Page::new(created);
    page.gauge(BYTE_SCALE, vec![(Labels::new(), mover.config().byte_scale)]);
    page.gauge(BLOCK_BYTES, vec![(Labels::new(), mover.config().block_bytes as f64)]);
    page.counter(BLOCKS, by_tier(mover, "outcome", blocks));
    page.counter(BYTES, by_tier(mover, "direction", bytes));
    page.counter(SECONDS, by_tier(mover, "direction", seconds));
    page.counter(FAULTS, by_tier(mover, "fault", faults));
    let labelled = |(event, count): (&str, u64)| (vec![("event", event.to_owned())], count as f64);
    page.counter(MOVER_EVENTS, mover.failures().into_iter().map(labelled).collect());
    page.finish()
}

fn by_tier(mover: &Mover, label: &'static str, of: Figures) -> Vec<(Labels, f64)> {
    let mut series = Vec::new();
    for tier in mover.tiers() {
        for (name, value) in of(&tier, mover.config().block_bytes as u64) {
            let tier = ("tier", tier.kind.name().to_owned());
            series.push((vec![tier, (label, name.to_owned())], value));
        }
    }
    series
}

fn blocks(tier: &TierState, _: u64) -> Vec<(&'static str, f64)> {
    let counters = &tier.counters;
    vec![
        ("stored", counters.stored as f64),
        ("present", counters.present as f64),
        ("full", counters.full as f64),
        ("hit", counters.hits as f64),
        ("miss", counters.misses as f64),
        ("corrupt", counters.corrupt as f64),
    ]
}

fn bytes(tier: &TierState, block: u64) -> Vec<(&'static str, f64)> {
    let bytes = |blocks: u64| (blocks * block) as f64;
    vec![("store", bytes(tier.counters.stored)), ("load", bytes(tier.counters.hits))]
}

fn seconds(tier: &TierState, _: u64) -> Vec<(&'static str, f64)> {
    vec![("store", tier.store_seconds), ("load", tier.load_seconds)]
}

fn faults(tier: &TierState, _: u64) -> Vec<(&'static str, f64)> {
    fault_names().zip(tier.counters.faults.map(|count| count as f64)).collect()
}
