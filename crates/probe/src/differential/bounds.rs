//! Time breakdown as intervals: bounds that differences between runs prove.
//!
//! All runs move the same blocks with the same threads and batches, and each adds one thing to the
//! one before: *copy* (memory to memory), *raw* (the same bytes over the same kind of connection),
//! *null* (a server that speaks the protocol and keeps nothing), *tier*. Let `T` be seconds per GB
//! of such a run, and `P` the busy time per GB of a part.
//!
//! Parts overlap: while the server sends one block, the client copies another. Two rules hold for
//! any overlap. Adding a part lengthens a run by at most the part's busy time, so
//! `P >= T(with) - T(without)`: the lower bounds. A part that only computes is busy for at most its
//! CPU time, which differences of CPU time give, and for at most the whole run: the upper bounds.
//! Lower bounds take the smallest `T(with)` and the largest `T(without)` of the repeats, upper
//! bounds the opposite.
//!
//! Assumptions: the kernel's copy out of a socket costs what a copy in memory costs, and sockets of
//! a null or raw server cost what the store's cost. If the store handles its sockets worse, that is
//! part of its server's time.
//!
//! A server whose storage engine counts its own time (`STATS` of Kvrocks) is split further. The
//! engine's calls, and its file reads within them, are busy for at most their reported time. The
//! remainder of `T(tier) - T(null)` is the rest of the server, assuming that it waits only for its
//! clients.
//!
//! Bounds are of the part's contribution to the wall time, so they never exceed the run's own time.
//!
//! If runs contradict each other (one that does less took longer), or a lower bound exceeds its
//! upper one, an assumption does not hold: the part is unknown and the contradiction is reported.
//! The same applies if the parts of a server do not add up to the time that it added.

use serde::Serialize;
use weir_model::LoadedFrom;

use super::behind::Behind;
use super::clash::{Clash, RunKind};
use crate::statistics::Repeated;

/// Share of the run's time by which bounds may cross and still count as noise that the few repeats
/// did not show.
const NOISE: f64 = 0.05;

/// Allowed relative difference between the runs and the row that they explain.
const APART: f64 = 0.25;

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Layer {
    /// All threads together.
    pub s_per_gb: Repeated,
    /// CPU seconds per GB of this process.
    pub client_cpu: Option<Repeated>,
    /// CPU seconds per GB of the peer.
    pub server_cpu: Option<Repeated>,
}

impl Layer {
    fn cpu(&self) -> Option<Repeated> {
        let (client, server) = (self.client_cpu?, self.server_cpu?);
        Some(Repeated {
            median: client.median + server.median,
            low: client.low + server.low,
            high: client.high + server.high,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Layers {
    #[serde(rename = "memory")]
    Memory { copy: Layer, tier: Layer },
    #[serde(rename = "disk")]
    Disk {
        copy: Layer,
        /// The file's bytes with direct access alone; None without direct access.
        device: Option<Layer>,
        tier: Layer,
        /// What it waits for when it does not compute.
        behind: Behind,
    },
    #[serde(rename = "store")]
    Store {
        copy: Layer,
        /// The same bytes over the same kind of connection; None for another machine, which has no
        /// peer for them.
        raw: Option<Layer>,
        /// A server without a keyspace; None likewise.
        null: Option<Layer>,
        tier: Layer,
        /// Whether the store keeps values in memory only, so that its work is computing.
        in_memory: bool,
        /// Times reported by the store's engine, if any.
        inside: Option<Inside>,
    },
}

/// Busy times of a store's engine by its own clock, seconds per GB summed over threads.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Inside {
    pub engine: Repeated,
    pub files: Option<FileReads>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FileReads {
    /// Seconds per GB.
    pub s_per_gb: Repeated,
    pub from: LoadedFrom,
    /// Whether only the calls read files: the time includes compactions' reads.
    pub in_calls_alone: bool,
}

/// Possible range, seconds per GB.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PartTime {
    pub low: f64,
    pub high: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TimeShare {
    pub name: &'static str,
    #[serde(flatten)]
    pub time: Option<PartTime>,
    pub low_formula: String,
    pub high_formula: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bounds {
    /// Seconds per GB of the tier's run.
    pub total: Repeated,
    pub parts: Vec<TimeShare>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clashes: Vec<Clash>,
    /// The dominant part, or that the runs do not show it.
    pub sentence: String,
}

pub fn bounds(layers: &Layers) -> Bounds {
    let split = match layers {
        Layers::Memory { copy, tier } => memory(copy, tier),
        Layers::Disk { copy, device, tier, behind } => disk(copy, device.as_ref(), tier, *behind),
        Layers::Store { copy, raw: Some(raw), null: Some(null), tier, in_memory, inside } => {
            let mut split = store(copy, raw, null, tier);
            server(&mut split, null, tier, *in_memory, inside.as_ref());
            split
        }
        Layers::Store { copy, tier, .. } => far_store(copy, tier),
    };
    let sentence = sentence(split.total.median, &split.parts);
    let Split { total, parts, clashes } = split;
    Bounds { total, parts, clashes, sentence }
}

impl Bounds {
    /// `row` was measured before. If it differs by more than the spreads and a quarter, no part of
    /// it is known to be the largest.
    #[must_use]
    pub(crate) fn beside(mut self, row: Repeated) -> Self {
        let runs = self.total;
        let spread = runs.low > row.high || row.low > runs.high;
        let larger = runs.median.max(row.median);
        if spread && larger > (1.0 + APART) * runs.median.min(row.median) {
            let (runs_s_per_gb, row_s_per_gb) = (runs.median, row.median);
            self.clashes.push(Clash::Row { runs_s_per_gb, row_s_per_gb });
            "The runs do not say what is largest in the row.".clone_into(&mut self.sentence);
        }
        self
    }
}

struct Split {
    total: Repeated,
    parts: Vec<TimeShare>,
    clashes: Vec<Clash>,
}

impl Split {
    const fn of(tier: &Layer) -> Self {
        Self { total: tier.s_per_gb, parts: Vec::new(), clashes: Vec::new() }
    }

    /// Seconds per GB.
    fn noise(&self) -> f64 {
        NOISE * self.total.median
    }

    /// Whether a run is consistent with one that does the same and more.
    fn fits(&mut self, less: (RunKind, Repeated), more: (RunKind, Repeated)) -> bool {
        let fits = less.1.low <= more.1.high + self.noise();
        if !fits {
            self.clashes.push(Clash::Runs {
                less: less.0,
                less_s_per_gb: less.1.median,
                more: more.0,
                more_s_per_gb: more.1.median,
            });
        }
        fits
    }

    /// A part between bounds that are clamped to the run's time. Bounds that cross by more than
    /// noise are dropped, and so are those of inconsistent runs.
    fn part(&mut self, name: &'static str, low: (f64, &str), high: (f64, &str), fits: bool) {
        let (least, most) = (low.0.max(0.0), high.0.min(self.total.high));
        let apart = least - most;
        if fits && apart > self.noise() {
            let (low, high) = (least, most.max(0.0));
            self.clashes.push(Clash::Bounds { part: name, low, high });
        }
        let within = |value: f64| value.clamp(0.0, self.total.high);
        let time = (fits && apart <= self.noise())
            .then(|| PartTime { low: within(least.min(most)), high: within(most.max(least)) });
        let (low_formula, high_formula) = (low.1.to_owned(), high.1.to_owned());
        self.parts.push(TimeShare { name, time, low_formula, high_formula });
    }
}

/// A thread's copy and its bookkeeping are sequential.
fn memory(copy: &Layer, tier: &Layer) -> Split {
    let mut split = Split::of(tier);
    let (copy, tier) = (copy.s_per_gb, tier.s_per_gb);
    let fits = split.fits((RunKind::Copy, copy), (RunKind::Tier, tier));
    // If noise made the copy slower than the tier, only the tier's time is proven.
    split.part("client copy", (copy.low.min(tier.low), "T(copy)"), (copy.high, "T(copy)"), fits);
    split.part(
        "tier's own work",
        (tier.low - copy.high, "T(tier) - T(copy)"),
        (tier.high - copy.low, "T(tier) - T(copy)"),
        fits,
    );
    split
}

fn disk(copy: &Layer, device: Option<&Layer>, tier: &Layer, behind: Behind) -> Split {
    let mut split = Split::of(tier);
    let total = tier.s_per_gb;
    let cpu = tier.client_cpu.unwrap_or(total);
    // A device alone that is slower than the tier bounds nothing.
    let device = device
        .filter(|device| split.fits((RunKind::Device, device.s_per_gb), (RunKind::Tier, total)));
    let at_most =
        device.map_or((total.high, "T(tier)"), |device| (device.s_per_gb.high, "T(device)"));
    let by_difference = device.map_or((0.0, "0: no run of the device alone"), |device| {
        (total.low - device.s_per_gb.high, "T(tier) - T(device)")
    });
    let copied = (copy.s_per_gb.high, "T(copy)");
    split.part("client copy", (0.0, "0: may overlap, or be none"), copied, true);
    split.part("client software", by_difference, (cpu.high, "CPU(client)"), true);
    split.part(behind.name(), (total.low - cpu.high, "T(tier) - CPU(client)"), at_most, true);
    split
}

fn store(copy: &Layer, raw: &Layer, null: &Layer, tier: &Layer) -> Split {
    let mut split = Split::of(tier);
    let (c, r, n, t) = (copy.s_per_gb, raw.s_per_gb, null.s_per_gb, tier.s_per_gb);
    let copy_fits = split.fits((RunKind::Copy, c), (RunKind::Tier, t));
    let null_fits = split.fits((RunKind::Null, n), (RunKind::Tier, t));
    let raw_fits = split.fits((RunKind::Raw, r), (RunKind::Null, n));
    // A difference below zero shows the measurement error: no smaller bound is proven.
    let protocol_cpu = null.cpu().zip(raw.cpu()).map(|(null, raw)| (null.high - raw.low).abs());
    let protocol_high = protocol_cpu
        .map_or((n.high, "T(null)"), |cpu| (cpu.min(n.high), "CPU(null) - CPU(raw), both sides"));
    let copied = (c.high, "T(copy)");
    split.part("client copy", (0.0, "0: may overlap the transfer"), copied, copy_fits);
    let (low, high) = ((r.low - c.high, "T(raw) - T(copy)"), (r.high, "T(raw)"));
    split.part("network and sockets", low, high, raw_fits && null_fits);
    let low = (n.low - r.high, "T(null) - T(raw)");
    split.part("wire protocol", low, protocol_high, raw_fits && null_fits);
    split
}

/// The time that a server adds to a null server: one part, or with engine times the rest of the
/// server, the engine, and its file reads. Together they lengthen the run by at most the sum of
/// their busy times, so each has at least the remainder after the others' upper bounds.
fn server(split: &mut Split, null: &Layer, tier: &Layer, in_memory: bool, inside: Option<&Inside>) {
    let (total, null_total) = (tier.s_per_gb, null.s_per_gb);
    let fits = null_total.low <= total.high + split.noise();
    let added = total.low - null_total.high;
    let computed =
        tier.server_cpu.zip(null.server_cpu).map(|(tier, null)| (tier.high - null.low).abs());
    let Some(Inside { engine, files }) = inside else {
        let high = match computed {
            Some(cpu) if in_memory => (cpu, "CPU(store) - CPU(null store)"),
            _ => (total.high, "T(tier)"),
        };
        split.part("server", (added, "T(tier) - T(null)"), high, fits);
        return;
    };
    // Outside of its engine a server computes or waits for its clients.
    let outside = computed.map_or((total.high, "T(tier)"), |cpu| {
        (cpu.min(total.high), "CPU(store) - CPU(null store)")
    });
    let read = files.map_or(0.0, |files| files.s_per_gb.high);
    let own = match files {
        Some(files) if files.in_calls_alone => {
            (engine.high - files.s_per_gb.low, "its clock: calls - file reads")
        }
        _ => (engine.high, "its clock: calls"),
    };
    let at_most = outside.0 + own.0.max(0.0) + read;
    let adds_up = added - at_most <= split.noise();
    if fits && !adds_up {
        split.clashes.push(Clash::Unexplained { at_most, added });
    }
    let (fits, rest) = (fits && adds_up, "T(tier) - T(null) - others");
    split.part("server without RocksDB", (added - engine.high, rest), outside, fits);
    split.part("RocksDB", (added - outside.0 - read, rest), own, fits);
    if let Some(files) = files {
        let low = (added - outside.0 - own.0.max(0.0), rest);
        let high = (files.s_per_gb.high, "its clock: file reads");
        split.part(Behind::of_loads(files.from).name(), low, high, fits);
    }
}

/// Time outside this process's computing belongs to the network and the server together.
fn far_store(copy: &Layer, tier: &Layer) -> Split {
    let mut split = Split::of(tier);
    let total = tier.s_per_gb;
    let cpu = tier.client_cpu.unwrap_or(total);
    let overlapped = (0.0, "0: may overlap the transfer");
    let fits = split.fits((RunKind::Copy, copy.s_per_gb), (RunKind::Tier, total));
    split.part("client copy", overlapped, (copy.s_per_gb.high, "T(copy)"), fits);
    split.part("client in all", overlapped, (cpu.high, "CPU(client)"), true);
    let (low, high) = ((total.low - cpu.high, "T(tier) - CPU(client)"), (total.high, "T(tier)"));
    split.part("network and server", low, high, true);
    split
}

/// What the intervals prove about the largest part. An unknown part may have all.
fn sentence(total: f64, parts: &[TimeShare]) -> String {
    let percent = |seconds: f64| (100.0 * seconds / total.max(f64::MIN_POSITIVE)).min(100.0);
    let at_least = |part: &TimeShare| part.time.map_or(0.0, |time| time.low);
    let at_most = |part: &TimeShare| part.time.map_or(total, |time| time.high);
    let Some(most) = parts.iter().max_by(|a, b| at_least(a).total_cmp(&at_least(b))) else {
        return "No part was measured.".to_owned();
    };
    let rest = parts.iter().filter(|part| part.name != most.name);
    let next = rest.max_by(|a, b| at_most(a).total_cmp(&at_most(b)));
    let range = |part: &TimeShare| match part.time {
        Some(PartTime { low, high }) => {
            format!("{:.0} to {:.0} % of the time", percent(low), percent(high))
        }
        None => "an unknown share".to_owned(),
    };
    let low = at_least(most);
    match next {
        Some(next) if low > at_most(next) => {
            let (most_name, next_name) = (most.name, next.name);
            let is = if low > total / 2.0 { "dominates" } else { "is the largest part" };
            format!("{most_name} {is}: {}; {next_name} has {}.", range(most), range(next))
        }
        _ if low > total / 2.0 => {
            format!("{} dominates: at least {:.0} % of the time.", most.name, percent(low))
        }
        Some(next) if low > 0.0 => format!(
            "The runs do not say what is largest: {} has {}, {} {}.",
            most.name,
            range(most),
            next.name,
            range(next)
        ),
        _ => "The runs do not say what is largest: every part may be small.".to_owned(),
    }
}

#[cfg(test)]
mod tests;
