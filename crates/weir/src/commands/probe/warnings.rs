//! Warnings on a probe's figures.

use weir_model::{Bytes, COLD_SHARE, LoadedFrom};
use weir_probe::figures::PointResult;
use weir_probe::server::{Shared, Traffic};
use weir_probe::session::label;
use weir_probe::{ProbeConfig, Report, Work};
use weir_spec::catalogue::profile_file::ProfileKind;

use super::summary::figure;

/// Share of the time outside the tier's calls without a warning.
const LARGE_OUTSIDE: f64 = 0.2;
/// Foreign CPUs without a warning.
const QUIET_CPUS: f64 = 0.5;
/// Percent between repeats without a warning.
const WIDE_SPREAD: f64 = 20.0;
/// Percent of error of a link's batch times without a warning.
const POOR_FIT: f64 = 25.0;

pub(super) fn of(report: &Report, config: &ProbeConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    let points = &report.measured.points;
    for result in points {
        let trouble = result.outcomes.trouble();
        if !trouble.is_empty() {
            let point = label(&result.point);
            warnings.push(format!("{point}: not all blocks ended well: {trouble}"));
        }
        let all_there = result.hit_share.is_some_and(|share| share.median >= 0.99);
        let loaded = result.batch_blocks(true).filter(|_| all_there);
        if let Some(blocks) = loaded.filter(|blocks| *blocks < 0.99 * f64::from(result.point.depth))
        {
            warnings.push(format!(
                "{}: batches had {} blocks: the working set has fewer than the depth; enlarge \
                 --working-set",
                label(&result.point),
                figure(blocks)
            ));
        }
        let missed = result.hit_share.filter(|share| share.median < 0.99);
        if let (Work::Read, Some(share)) = (result.point.work, missed) {
            warnings.push(format!(
                "{}: only {:.0} % were there; rates count what was moved",
                label(&result.point),
                100.0 * share.median
            ));
        }
    }
    warnings.extend(origins(report, config));
    if points.is_empty() {
        return warnings;
    }
    let runs = || points.iter().flat_map(|result| &result.repeats);
    let spreads = points.iter().filter_map(|result| result.spread_percent(result.main()?));
    let wide = spreads.fold(0.0, f64::max);
    if wide > WIDE_SPREAD {
        warnings.push(format!(
            "repeats of a point lie up to {wide:.0} % apart: measure longer or on a quieter machine"
        ));
    }
    let foreign = runs().filter_map(|run| run.foreign_cpus).fold(0.0, f64::max);
    if foreign > QUIET_CPUS {
        warnings.push(format!(
            "others kept up to {foreign:.1} CPUs busy meanwhile: on a loaded machine figures \
             are lower bounds"
        ));
    }
    warnings.extend(other_clients(points));
    let outside = runs().map(|run| run.outside_share).fold(0.0, f64::max);
    if outside > LARGE_OUTSIDE {
        warnings.push(format!(
            "up to {:.0} % of the threads' time went into stamping and comparing blocks, outside \
             the measured time: with several threads the tier was that much less busy",
            100.0 * outside
        ));
    }
    let error = report.fit.as_ref().and_then(|fit| fit.rms_error_percent);
    if let Some(percent) = error.filter(|percent| *percent > POOR_FIT) {
        warnings.push(format!(
            "the link describes the batch times only to {percent:.0} %: what a simulation makes of \
             it may be as far off"
        ));
    }
    if config.repeats < 3 {
        warnings.push("fewer than three repeats say little about the spread".to_owned());
    }
    warnings
}

/// Other clients of the store during the measurement.
fn other_clients(points: &[PointResult]) -> Option<String> {
    let runs = points.iter().flat_map(|result| &result.repeats);
    let shared = runs.filter_map(|run| run.shared).filter(Shared::has_others);
    let (server, own) = shared.fold(<(Traffic, Traffic)>::default(), |(server, own), one| {
        (server.plus(one.server), own.plus(one.own))
    });
    (server != Traffic::default()).then(|| {
        format!(
            "other clients used the store meanwhile: it moved {} in {} commands, of which at most \
             {} in {} commands were the probe's; the server's CPU and its share of the time are of \
             all clients",
            Bytes(server.bytes),
            server.commands,
            Bytes(own.bytes),
            own.commands
        )
    })
}

/// Whether figures of a disk come from the disk.
fn origins(report: &Report, config: &ProbeConfig) -> Vec<String> {
    let is_cold = report.tier.settings.contains_key("cold");
    let loads = report
        .measured
        .points
        .iter()
        .filter_map(|result| Some((label(&result.point), result.loaded_from?)));
    let mut warnings = Vec::new();
    for (label, from) in loads.clone().filter(|(_, from)| is_cold && !from.is_cold()) {
        let share = from
            .device_percent()
            .map_or("an unknown share".to_owned(), |percent| format!("{percent:.0} %"));
        warnings.push(format!(
            "{label}: not cold: {share} of the loaded bytes came from the device, below {:.0} %; \
             this is no figure of the disk",
            100.0 * COLD_SHARE
        ));
    }
    let cached = |(_, from): &(String, LoadedFrom)| *from == LoadedFrom::PageCache;
    if !is_cold && config.works.iter().any(|work| work.reads()) && loads.clone().any(|l| cached(&l))
    {
        warnings.push(
            "loads came out of memory (page cache), not from the device: they are not figures \
             of the disk; probe with --cold, or with a working set larger than the memory"
                .to_owned(),
        );
    }
    let is_disk = report.tier.kind == ProfileKind::Disk;
    if is_disk && loads.clone().any(|(_, from)| from == LoadedFrom::Memory) {
        warnings.push(format!(
            "{} is in memory: what it loads comes from no device",
            report.tier.place
        ));
    }
    warnings
}
