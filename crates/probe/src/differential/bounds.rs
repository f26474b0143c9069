//! Where the time goes, as intervals: what differences between runs prove, and no more.
//!
//! All runs move the same blocks with the same threads and batches, and each has what the one
//! before has and one thing more: *copy* (memory to memory), *raw* (the same bytes over the same
//! kind of connection), *null* (a server that speaks the protocol and keeps nothing), *tier*. Let
//! `T` be seconds per GB of such a run, and `P` the busy time per GB of a part.
//!
//! Parts overlap: while the server sends one block, the client copies another. Two things hold
//! whatever overlaps. Adding a part lengthens a run by at most the part's busy time, so
//! `P >= T(with) - T(without)`: the lower bounds. And a part that only computes is busy for at most
//! the CPU time that it used, which differences of CPU time give, and for at most the
//! whole run: the upper bounds. Repeats enter with their ends: lower bounds take the smallest
//! `T(with)` and the largest `T(without)`, upper bounds the other way round.
//!
//! What this takes for granted: that the kernel's copy out of a socket costs what a copy in memory
//! costs, and that a null or raw server's sockets cost what the store's cost. Where the store
//! handles its own sockets worse than they do, that is part of what is called its server.
//!
//! A server whose storage engine counts its own time (`STATS` of Kvrocks) is split further: the
//! engine's calls, and its reads of files within them, are busy for at most what it says, and what
//! they do not account for of `T(tier) - T(null)` is the rest of the server. That takes for granted
//! that the rest waits for nothing but its clients.
//!
//! Bounds are of the part's contribution to the wall time, so they never exceed the run's own time.
//!
//! Where runs contradict each other (one that does less took longer), or a lower bound lies above
//! its upper one, something that is taken for granted does not hold: the part is unknown then, and
//! the contradiction is told. So it is where the parts of a server do not add up to what it added.

use serde::Serialize;
use weir_model::LoadedFrom;

use super::behind::Behind;
use super::clash::{Clash, RunKind};
use crate::statistics::Repeated;

/// Share of the run's time by which bounds may lie on the wrong side of each other, and still be
/// taken for noise that the few repeats did not show.
const NOISE: f64 = 0.05;

/// Share by which the runs may differ from the row that they explain.
const APART: f64 = 0.25;

/// One kind of run at one point.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Layer {
    /// Seconds per GB of all threads together.
    pub s_per_gb: Repeated,
    /// CPU seconds per GB of this process.
    pub client_cpu: Option<Repeated>,
    /// CPU seconds per GB of the peer.
    pub server_cpu: Option<Repeated>,
}

impl Layer {
    /// CPU time on both sides, where both are known.
    fn cpu(&self) -> Option<Repeated> {
        let (client, server) = (self.client_cpu?, self.server_cpu?);
        Some(Repeated {
            median: client.median + server.median,
            low: client.low + server.low,
            high: client.high + server.high,
        })
    }
}

/// The runs at one point, as far as they could be made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Layers {
    /// A tier in this process's memory.
    #[serde(rename = "memory")]
    Memory { copy: Layer, tier: Layer },
    #[serde(rename = "disk")]
    Disk {
        copy: Layer,
        /// The file's bytes with direct access and nothing else; nothing where the file system
        /// has no direct access.
        device: Option<Layer>,
        tier: Layer,
        /// What it waits for where it does not compute.
        behind: Behind,
    },
    /// A store behind a connection.
    #[serde(rename = "store")]
    Store {
        copy: Layer,
        /// The same bytes over a connection of the same kind; nothing for another machine, where
        /// nobody answers them.
        raw: Option<Layer>,
        /// A server without a keyspace; likewise.
        null: Option<Layer>,
        tier: Layer,
        /// Whether the store keeps values in memory alone: then its work is computing.
        in_memory: bool,
        /// What the store's engine says of its own time; nothing where it says nothing.
        inside: Option<Inside>,
    },
}

/// Busy times of a store's storage engine by its own clock, seconds per GB summed over threads.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Inside {
    /// In its reads, or in its writes.
    pub engine: Repeated,
    pub files: Option<FileReads>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FileReads {
    /// Seconds per GB.
    pub s_per_gb: Repeated,
    /// Where the bytes came from.
    pub from: LoadedFrom,
    /// Whether nothing but the calls read files: compactions' reads are in the time too.
    pub in_calls_alone: bool,
}

/// Seconds per GB that a part can have.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PartTime {
    pub low: f64,
    pub high: f64,
}

/// A part of the way and how much of the time it can have.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TimeShare {
    pub name: &'static str,
    /// Its time; nothing where runs contradict each other about it.
    #[serde(flatten)]
    pub time: Option<PartTime>,
    /// How the lower bound was made.
    pub low_formula: String,
    /// How the upper bound was made.
    pub high_formula: String,
}

/// The parts of a point, and what they say together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bounds {
    /// Seconds per GB of the tier's run.
    pub total: Repeated,
    pub parts: Vec<TimeShare>,
    /// What cannot be true together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clashes: Vec<Clash>,
    /// What dominates, or that the runs do not say.
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
    /// Holds the runs against the tier's row, which was measured before them: where both lie apart
    /// by more than their spreads and a quarter, no part of the row is known to be the largest.
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

/// Parts as they are found.
struct Split {
    total: Repeated,
    parts: Vec<TimeShare>,
    clashes: Vec<Clash>,
}

impl Split {
    const fn of(tier: &Layer) -> Self {
        Self { total: tier.s_per_gb, parts: Vec::new(), clashes: Vec::new() }
    }

    /// Less than this is noise, seconds per GB.
    fn noise(&self) -> f64 {
        NOISE * self.total.median
    }

    /// Whether a run fits one that does the same and more; if not, that is told.
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

    /// A part between bounds that are brought into the run's time. Bounds that are further on the
    /// wrong sides of each other than noise puts them are no bounds, and so are those of runs that
    /// do not fit.
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

/// A thread's copy and its bookkeeping come one after the other.
fn memory(copy: &Layer, tier: &Layer) -> Split {
    let mut split = Split::of(tier);
    let (copy, tier) = (copy.s_per_gb, tier.s_per_gb);
    let fits = split.fits((RunKind::Copy, copy), (RunKind::Tier, tier));
    // Where noise made the copy slower than the tier, no more than the tier's time is proven.
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
    // A device alone that is slower than the tier on it bounds nothing.
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
    // A difference below zero says that the runs are not one in the other to within its size: then
    // no more is proven than that.
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

/// What a server adds to one that keeps nothing: one part, or where its engine tells its own time,
/// the rest of the server, the engine, and its reads of files. Together they lengthen the run by
/// at most the sum of their busy times, so each has at least what the others cannot have.
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
    // Outside of its engine a server computes, and waits for its clients alone.
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

/// Of a store on another machine: what is not this process's computing is the network's and the
/// server's together.
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

/// What the intervals prove about the largest part. A part of which nothing is known may have all.
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
