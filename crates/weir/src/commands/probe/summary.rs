//! What `weir probe` prints.

use std::fmt::Write;
use std::time::Duration;

use weir_model::Bytes;
use weir_probe::config::PointLimits;
use weir_probe::differential::PartTime;
use weir_probe::figures::PointResult;
use weir_probe::fit::LookupTime;
use weir_probe::report::Recompute;
use weir_probe::session::{TimeBreakdown, label};
use weir_probe::volume::{buffer_bytes, stored};
use weir_probe::{ProbeConfig, ProbeSession, ProbeTarget, Report, Work};
use weir_report::inputs::trace_sentence;
use weir_report::numerals::whole;
use weir_report::tables::{Table, TableCell, text, wrapped};
use weir_spec::catalogue::profile_file::ProfileKind;

use super::asked::Asked;
use super::engine;

const SMALLEST_PLAIN: f64 = 1e-6;
/// In the place of a tier's lookup.
pub(super) const INDEX: &str = "index in memory";

/// As a profile quotes it: without passwords of addresses.
pub(super) fn command() -> String {
    let words = std::env::args().skip(1).map(|word| without_secrets(&word));
    format!("weir {}", words.collect::<Vec<_>>().join(" "))
}

/// Removes user and password of an address.
pub(super) fn without_secrets(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else { return word.to_owned() };
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://...@{host}"),
        None => word.to_owned(),
    }
}

/// Points, time and bytes of a planned probe.
pub(super) fn planned(asked: &Asked, differential: bool) -> String {
    let config = &asked.config;
    let heads = ["work", ">block", ">tokens", ">threads", ">depth", ">batch"];
    let mut table = Table::new("Points", &heads);
    for point in config.points() {
        table.rows.push(vec![
            point.work.name().into(),
            point.block.bytes.to_string().into(),
            point.block.tokens.map_or(String::new(), |tokens| tokens.to_string()).into(),
            point.threads.to_string().into(),
            point.depth.to_string().into(),
            Bytes(point.batch_bytes()).to_string().into(),
        ]);
    }
    let mut out = text(&table);
    out.push('\n');
    out += &bytes(asked, "  ");
    if let Some(reading) = &asked.reading {
        out += &wrapped(&trace_sentence(reading), "  ");
    }
    for (_, trace) in &asked.traces {
        let words = format!(
            "trace: {} requests for {} chunks; a tier without limits would hit {:.1} %",
            trace.requests(),
            trace.asked(),
            100.0 * trace.best_hit_share()
        );
        out += &wrapped(&words, "  ");
    }
    let compared = if differential { ProbeSession::compared(config) } else { 0 };
    out += &wrapped(&unmeasured(config, 1, compared), "  ");
    out
}

/// Bytes that a probe stores and needs.
pub(super) fn bytes(asked: &Asked, indent: &str) -> String {
    let (config, mut out) = (&asked.config, String::new());
    for block in &config.blocks {
        let working = match asked.traces.iter().find(|(size, _)| size == block) {
            Some((_, trace)) => Ok(trace.distinct().len() as u64),
            None => config.working_set.blocks(block.bytes, capacity(asked)),
        };
        let words = working.map_or_else(
            |why| why.to_string(),
            |blocks| {
                format!(
                    "blocks of {}: {blocks} different ones, {}; buffers of {}",
                    block.bytes,
                    Bytes(blocks.saturating_mul(block.bytes.0)),
                    buffer_bytes(config, block.bytes),
                )
            },
        );
        out += &wrapped(&words, indent);
    }
    let first = config.blocks.first().filter(|_| asked.traces.is_empty());
    if let Some(block) = first
        && let Ok(working) = config.working_set.blocks(block.bytes, capacity(asked))
    {
        let words = format!(
            "stored: up to {} at once, the working set and a lap of new blocks; how many laps \
             depends on the speed of the tier",
            stored(config, block.bytes, working)
        );
        out += &wrapped(&words, indent);
    }
    out
}

/// Of a tier that Weir makes.
fn capacity(asked: &Asked) -> Option<Bytes> {
    match asked.target {
        ProbeTarget::Memory | ProbeTarget::Disk(_) | ProbeTarget::Started(_) => {
            Some(asked.options.capacity)
        }
        ProbeTarget::Store(_) => None,
    }
}

/// Points and expected time, from a few operations of the tier and the time of its opening.
pub(super) fn announced(
    config: &ProbeConfig,
    expected: Option<Duration>,
    opening: Duration,
) -> String {
    let many = points_and_repeats(config);
    let opened = if opening >= Duration::from_secs(1) {
        format!(", after {:.0} s in which it was opened and tried", opening.as_secs_f64())
    } else {
        String::new()
    };
    match expected {
        Some(expected) => {
            let seconds = expected.as_secs_f64();
            let digits = usize::from(seconds < 9.95);
            format!("{many}, about {seconds:.digits$} s{opened}")
        }
        None => format!("{many}, {} at most each{opened}", seconds(config.limits.duration)),
    }
}

/// The same before tiers are opened, without their rates. `compared`: differential runs.
pub(super) fn unmeasured(config: &ProbeConfig, tiers: u32, compared: usize) -> String {
    let PointLimits { duration, warmup, .. } = config.limits;
    let runs = config.points().len() as f64 * f64::from(config.repeats);
    let own = f64::from(tiers) * runs * (duration + warmup).as_secs_f64();
    // Four kinds of runs of half the time each.
    let measured = own + compared as f64 * 2.0 * duration.as_secs_f64();
    format!(
        "{}, at least {measured:.0} s in all: {measured:.0} s of measured time; filling, lookups \
         and emptying come on top, and the probe announces them after a few operations of the tier",
        points_and_repeats(config)
    )
}

pub(super) fn points_and_repeats(config: &ProbeConfig) -> String {
    let (points, repeats) = (config.points().len(), config.repeats as usize);
    format!("{}, {}", many(points, "point"), many(repeats, "repeat"))
}

/// So many of something.
/// As in `--mix`.
pub(super) fn works(works: &[Work]) -> String {
    works.iter().map(|work| work.name()).collect::<Vec<_>>().join(",")
}

pub(super) fn many(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn seconds(duration: Duration) -> String {
    format!("{} s", figure(duration.as_secs_f64()))
}

/// Target and settings of a probe.
pub(super) fn facts(report: &Report) -> String {
    let tier = &report.tier;
    let version = tier.version.as_ref().map_or(String::new(), |version| format!(" {version}"));
    let mut out = format!("{}{version}, {}\n", tier.product, tier.place);
    for (key, value) in &tier.settings {
        let _ = writeln!(out, "  {key:<22} {value}");
    }
    out
}

pub(super) fn of(report: &Report) -> String {
    let mut out = facts(report);
    out.push('\n');
    if report.measured.points.is_empty() {
        return out + "  No point was measured.\n";
    }
    out += &text(&points(report));
    out += &engine::table(report, "");
    for found in &report.measured.breakdowns {
        out.push('\n');
        out += &breakdown(found);
    }
    if let Some(link) = &report.link {
        let error = report.fit.as_ref().and_then(|fit| fit.rms_error_percent);
        let fit = error.map_or_else(
            || {
                "how well it describes the batch times is unknown (-): it has as many figures as \
                 there are points"
                    .to_owned()
            },
            |percent| format!("it describes the batch times to {} %", figure(percent)),
        );
        let words = format!(
            "Link: {} GB/s read, {} GB/s write, latency {}, {} per block, {}; lookup {} and {} per key; \
             {fit}.",
            figure(link.read_gb_per_s),
            figure(link.write_gb_per_s),
            link.latency.0,
            link.per_block.0,
            many(link.lanes as usize, "lane"),
            link.lookup_latency.0,
            link.lookup_per_key.0,
        );
        out.push('\n');
        out += &wrapped(&words, "  ");
    }
    if let Some(share) = report.trace_best_hit_share {
        let words = format!("A tier without limits would hit {:.1} % of the trace.", 100.0 * share);
        out += &wrapped(&words, "  ");
    }
    for sentence in model(report) {
        out += &wrapped(&sentence, "  ");
    }
    for warning in &report.warnings {
        out += &wrapped(&format!("warning: {warning}"), "  ");
    }
    out
}

fn points(report: &Report) -> Table {
    let repeats = report.measured.points.iter().map(|point| point.repeats.len()).max();
    let title = format!(
        "Median of {}; times of batches in ms; client and server: CPU seconds per GB",
        many(repeats.unwrap_or(0), "repeat"),
    );
    let has_server = report.measured.points.iter().any(|point| point.server_cpu_s_per_gb.is_some());
    let mut heads = vec![
        "work",
        ">block",
        ">threads",
        ">depth",
        ">GB/s",
        ">spread %",
        ">p50",
        ">p99",
        ">p99.9",
        ">max",
        ">hit %",
        ">client",
    ];
    if has_server {
        heads.push(">server");
    }
    heads.push("loads from");
    let mut table = Table::new(&title, &heads);
    for result in &report.measured.points {
        let both = result.read.is_some() && result.write.is_some();
        for (name, side) in [("load", &result.read), ("store", &result.write)] {
            let Some(side) = side else { continue };
            let point = &result.point;
            let work = point.work.name();
            let millis = |value: weir_probe::statistics::Repeated| figure(value.median / 1e3);
            let enough = |value: Option<weir_probe::statistics::Repeated>| {
                value.map_or_else(|| "-".to_owned(), millis)
            };
            let known = |value: Option<weir_probe::statistics::Repeated>| {
                value.map_or(String::new(), |value| figure(value.median))
            };
            let side_is_load = name == "load";
            let hits = result.hit_share.filter(|_| side_is_load);
            let mut row = vec![
                if both { format!("{work} {name}") } else { work }.into(),
                point.block.bytes.to_string().into(),
                point.threads.to_string().into(),
                point.depth.to_string().into(),
                figure(side.gb_per_s.median).into(),
                result
                    .spread_percent(side)
                    .map_or("-".to_owned(), |percent| format!("{percent:.0}"))
                    .into(),
                millis(side.batch_us.p50).into(),
                enough(side.batch_us.p99).into(),
                enough(side.batch_us.p999).into(),
                millis(side.batch_us.max).into(),
                hits.map_or(String::new(), |share| format!("{:.1}", 100.0 * share.median)).into(),
                known(result.client_cpu_s_per_gb).into(),
            ];
            if has_server {
                row.push(known(result.server_cpu_s_per_gb).into());
            }
            let from = result.loaded_from.filter(|_| side_is_load);
            row.push(from.map_or(String::new(), |from| from.to_string()).into());
            table.rows.push(row);
        }
    }
    table.rows.extend(lookups(report, has_server));
    table
}

/// Lookups of keys, in batches of blocks.
fn lookups(report: &Report, has_server: bool) -> Vec<Vec<TableCell>> {
    let row = |time: &LookupTime| {
        let millis = |seconds: f64| figure(1e3 * seconds);
        // Most tiers read no value for a lookup.
        let read = time.device_bytes_per_byte.filter(|share| *share >= 0.005);
        let from = match read {
            Some(share) => format!("device {:.0} %", 100.0 * share),
            None if report.tier.kind == ProfileKind::Disk => INDEX.to_owned(),
            None => String::new(),
        };
        let mut row = vec![
            "lookup".to_owned(),
            report.largest_block().to_string(),
            "1".to_owned(),
            time.keys.to_string(),
            String::new(),
            String::new(),
            millis(time.seconds),
            String::new(),
            String::new(),
            millis(time.longest_s),
            String::new(),
            String::new(),
        ];
        if has_server {
            row.push(String::new());
        }
        row.push(from);
        row.into_iter().map(TableCell::from).collect()
    };
    report.measured.lookups.iter().map(row).collect()
}

fn breakdown(found: &TimeBreakdown) -> String {
    let total = found.bounds.total.median;
    let title = format!(
        "Where the time goes, ms per GB: {} (differential runs: {} in all; the row: {})",
        label(&found.point),
        figure(1e3 * total),
        figure(1e3 * found.row_s_per_gb.median)
    );
    let heads = ["part", ">at least", ">at most", ">% of time", "from"];
    let mut table = Table::new(&title, &heads);
    for part in &found.bounds.parts {
        let percent = |seconds: f64| (100.0 * seconds / total).min(100.0);
        let known =
            |of: &dyn Fn(&PartTime) -> String| part.time.as_ref().map_or("-".to_owned(), of);
        table.rows.push(vec![
            part.name.into(),
            known(&|time| figure(1e3 * time.low)).into(),
            known(&|time| figure(1e3 * time.high)).into(),
            known(&|time| format!("{:.0} to {:.0}", percent(time.low), percent(time.high))).into(),
            format!("{} ... {}", part.low_formula, part.high_formula).into(),
        ]);
    }
    let mut out = text(&table);
    out += &wrapped(&capitalised(&found.bounds.sentence), "  ");
    for clash in &found.bounds.clashes {
        out += &wrapped(&format!("{clash}."), "  ");
    }
    out
}

/// Tokens per second, and whether loading is faster than computing.
fn model(report: &Report) -> Vec<String> {
    let Some(model) = &report.model else { return Vec::new() };
    let best = |work: Work| {
        let of_work = report.measured.points.iter().filter(|result| result.point.work == work);
        of_work.max_by(|a, b| rate(a).total_cmp(&rate(b)))
    };
    let mut sentences = Vec::new();
    let tokens = |result: &PointResult| rate(result) * 1e9 / model.kv_bytes_per_token.0 as f64;
    let read = best(Work::Read).or_else(|| best(Work::Engine));
    let mut words = format!("{}: {} per token.", model.name, model.kv_bytes_per_token);
    if let Some(read) = read {
        let _ = write!(words, " Loads up to {} tokens/s", whole(tokens(read)));
        if let Some(write) = best(Work::Write) {
            let _ = write!(words, ", stores up to {} tokens/s", whole(tokens(write)));
        }
        words.push('.');
    }
    sentences.push(words);
    if let (Some(recompute), Some(read)) = (&report.recompute, read) {
        sentences.push(against_computing(recompute, rate(read), tokens(read)));
    }
    sentences
}

fn against_computing(of: &Recompute, gb_per_s: f64, tokens_per_s: f64) -> String {
    let load_s = f64::from(of.prefix_tokens) / tokens_per_s;
    let (faster, times) = if load_s < of.compute_s {
        ("loading", of.compute_s / load_s)
    } else {
        ("computing", load_s / of.compute_s)
    };
    let mut words = format!(
        "{} tokens: loaded in {} s at {} GB/s, computed in {} s on {} (TP {}, the timing model's \
         figure): {faster} takes {} times less time.",
        of.prefix_tokens,
        figure(load_s),
        figure(gb_per_s),
        figure(of.compute_s),
        of.hardware,
        of.tensor_parallel,
        figure(times),
    );
    if let Some(rate) = of.break_even_gb_per_s {
        let _ = write!(words, " Loading takes less from {} GB/s on.", figure(rate));
    }
    words
}

fn rate(result: &PointResult) -> f64 {
    result.main().map_or(0.0, |side| side.gb_per_s.median)
}

pub(super) fn figure(value: f64) -> String {
    let size = value.abs();
    match () {
        () if !value.is_finite() => "-".to_owned(),
        () if size >= 99.95 => format!("{value:.0}"),
        () if size >= 9.995 => format!("{value:.1}"),
        () if size >= 0.9995 || size == 0.0 => format!("{value:.2}"),
        () if size >= 0.09995 => format!("{value:.3}"),
        () if size >= SMALLEST_PLAIN => {
            // The zeros before the first digit, and three digits.
            let digits = 2 + (-size.log10()).ceil() as usize;
            format!("{value:.digits$}")
        }
        () => format!("{value:.2e}"),
    }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_has_three_digits_however_small() {
        for (value, text) in [
            (1234.5, "1234"),
            (12.34, "12.3"),
            (1.234, "1.23"),
            (0.0, "0.00"),
            (0.1234, "0.123"),
            (0.09999, "0.100"),
            (0.012_34, "0.0123"),
            (0.000_321, "0.000321"),
            (-0.001, "-0.00100"),
            (1.234e-7, "1.23e-7"),
            (f64::NAN, "-"),
        ] {
            assert_eq!(figure(value), text);
        }
    }
}
