//! The lateness and load of a live cell's generator, and the error of latencies that follows.

use std::fmt::Write;

use weir_model::{Certificate, Nanos, Refusal};

use super::{Table, TableCell, Tone};
use crate::comparison::{CertificateNote, DeploymentComparison, GroupNote};
use crate::metric::{METRICS, Metric};
use crate::numerals;
use crate::precision::{default_words, most_words};
use crate::words::refusal::{lateness_remedy, refusal_cause, refusal_remedy};
use crate::words::refusal_words;

fn noted(of: &DeploymentComparison) -> impl Iterator<Item = (&GroupNote, &CertificateNote)> {
    of.groups.iter().flat_map(|group| group.certificates.iter().map(move |note| (group, note)))
}

/// None without live cells.
pub fn generator_sentence(of: &DeploymentComparison) -> Option<String> {
    let accepted: Vec<&Certificate> = noted(of)
        .map(|(_, note)| &note.certificate)
        .filter(|certificate| certificate.refused.is_none())
        .collect();
    let refused = noted(of).count() - accepted.len();
    if accepted.is_empty() && refused == 0 {
        return None;
    }
    let worst = |bound: fn(&Certificate) -> Nanos| {
        accepted.iter().map(|certificate| bound(certificate)).max().unwrap_or_default()
    };
    let mut sentence = String::new();
    if !accepted.is_empty() {
        let busiest = accepted.iter().map(|certificate| certificate.busy_share).fold(0.0, f64::max);
        sentence = format!(
            "Load generator: in 99 % of requests the shown TTFT is at most {} longer than the \
             server's, its own sending included; in 99 % of gaps it is wrong by at most {}, either \
             way; its busiest worker used {:.0} % of a CPU (the worst of {} cells).",
            numerals::millis(worst(|seen| seen.first_token_bound.p99).as_millis_f64()),
            numerals::millis(worst(|seen| seen.gap_bound.p99).as_millis_f64()),
            100.0 * busiest,
            accepted.len()
        );
    }
    if refused > 0 {
        let space = if sentence.is_empty() { "" } else { " " };
        let _ = write!(
            sentence,
            "{space}{refused} of {} cells are refused, because the generator itself was the limit: \
             their times are upper bounds and their throughput is a lower bound.",
            accepted.len() + refused
        );
    }
    Some(sentence)
}

/// The worst of a group's repeats, quantity by quantity.
struct Worst<'g> {
    arm: &'g str,
    level: &'g str,
    busy_share: f64,
    times: [Nanos; 4],
    offered: f64,
    delivered: f64,
    refused: usize,
    repeats: usize,
}

impl<'g> Worst<'g> {
    fn of(group: &'g GroupNote) -> Option<Self> {
        let seen = || group.certificates.iter().map(|note| &note.certificate);
        // The least delivered share; a generator cannot deliver much more than offered.
        let (offered, delivered) = seen()
            .map(|certificate| (certificate.offered, certificate.delivered))
            .min_by(|a, b| (a.1 - a.0).total_cmp(&(b.1 - b.0)))?;
        Some(Self {
            arm: &group.arm,
            level: &group.level,
            busy_share: seen().map(|certificate| certificate.busy_share).fold(0.0, f64::max),
            times: TIMES.map(|time| seen().map(time).max().unwrap_or_default()),
            offered,
            delivered,
            refused: seen().filter(|certificate| certificate.refused.is_some()).count(),
            repeats: group.certificates.len(),
        })
    }
}

/// Sent late, read late, TTFT error, gap error.
const TIMES: [fn(&Certificate) -> Nanos; 4] = [
    |seen| seen.send_lag.p99,
    |seen| seen.read_lag.p99,
    |seen| seen.first_token_bound.p99,
    |seen| seen.gap_bound.p99,
];

/// Per arm and level the worst of its repeats.
pub fn generator_short_table(of: &DeploymentComparison) -> Table {
    let title = "Load generator, worst of the repeats (99th percentiles; errors are upper bounds)";
    let heads = [
        "arm",
        "level",
        ">busy %",
        ">sent late",
        ">read late",
        ">TTFT error",
        ">gap error",
        ">offered",
        ">delivered",
        "refused",
    ];
    let mut table = Table::new(title, &heads);
    let mut last = "";
    for worst in of.groups.iter().filter_map(Worst::of) {
        let arm = if worst.arm == last { "" } else { worst.arm };
        last = worst.arm;
        let mut row: Vec<TableCell> =
            vec![arm.into(), worst.level.into(), numerals::plain(100.0 * worst.busy_share).into()];
        row.extend(worst.times.map(|time| numerals::millis(time.as_millis_f64()).into()));
        row.push(numerals::plain(worst.offered).into());
        row.push(numerals::plain(worst.delivered).into());
        row.push(match worst.refused {
            0 => "".into(),
            refused => format!("{refused} of {}", worst.repeats).into(),
        });
        table.rows.push(row);
    }
    table
}

/// Refused levels and figures that are bounds, with what to do, a sentence per kind of cause; and
/// the user's largest error.
pub fn generator_notes(of: &DeploymentComparison) -> Vec<String> {
    let mut notes = refusals(of);
    notes.extend(bounds(of));
    if let Some(most) = of.max_error {
        notes.push(format!("largest error of the client that is accepted: {}.", most_words(most)));
    }
    notes
}

fn bounds(of: &DeploymentComparison) -> Vec<String> {
    // Per list of metrics and remedy: the groups.
    let mut kinds: Vec<(Vec<&str>, &str, Vec<String>)> = Vec::new();
    for group in of.groups.iter().filter(|group| group.counted > 0) {
        let is_time = |metric: &&Metric| metric.compared && group.bounds.contains_key(metric.key);
        let titles: Vec<&str> = METRICS.iter().filter(is_time).map(|metric| metric.title).collect();
        let Some(note) = group.certificates.first().filter(|_| !titles.is_empty()) else {
            continue;
        };
        let open = of.levels.iter().any(|level| level.name == group.level && level.open_loop);
        let remedy = lateness_remedy(note.certificate.lateness(), !open);
        let place = format!("{} at {}", group.arm, group.level);
        match kinds.iter_mut().find(|(seen, held, _)| *seen == titles && *held == remedy) {
            Some((.., places)) => places.push(place),
            None => kinds.push((titles, remedy, vec![place])),
        }
    }
    let sentence = |(titles, remedy, places): (Vec<&str>, &str, Vec<String>)| {
        format!(
            "shown as bounds and not compared: {} of {} (the client's error is above {}). What \
             helps: {remedy}.",
            titles.join(", "),
            places.join(", "),
            of.max_error.map_or_else(default_words, most_words)
        )
    };
    kinds.into_iter().map(sentence).collect()
}

fn refusals(of: &DeploymentComparison) -> Vec<String> {
    let mut kinds: Vec<(Refusal, Vec<String>)> = Vec::new();
    for group in &of.groups {
        let Some(refusal) = group.certificates.iter().find_map(|note| note.certificate.refused)
        else {
            continue;
        };
        let place = format!("{} at {}", group.arm, group.level);
        let is_same = |seen: &Refusal| {
            std::mem::discriminant(seen) == std::mem::discriminant(&refusal)
                && refusal_remedy(seen) == refusal_remedy(&refusal)
        };
        match kinds.iter_mut().find(|(seen, _)| is_same(seen)) {
            Some((_, places)) => places.push(place),
            None => kinds.push((refusal, vec![place])),
        }
    }
    let sentence = |(refusal, places): (Refusal, Vec<String>)| {
        let first = if places.len() > 1 { "first: " } else { "" };
        let (cause, remedy) = (refusal_cause(&refusal), refusal_remedy(&refusal));
        format!("refused: {} ({first}{cause}). What helps: {remedy}.", places.join(", "))
    };
    kinds.into_iter().map(sentence).collect()
}

/// Per live cell: lateness, error bounds, load offered and delivered; refused ones with the reason.
pub fn generator_table(of: &DeploymentComparison) -> Table {
    let title = "Load generator (99th percentiles; errors are upper bounds)";
    let heads = [
        "arm",
        "level",
        ">repeat",
        ">busy %",
        ">sent late",
        ">read late",
        ">TTFT error",
        ">gap error",
        ">offered",
        ">delivered",
        "note",
    ];
    let mut table = Table::new(title, &heads);
    for (group, CertificateNote { repeat, certificate }) in noted(of) {
        let mut row: Vec<TableCell> = vec![
            group.arm.as_str().into(),
            group.level.as_str().into(),
            repeat.to_string().into(),
            numerals::plain(100.0 * certificate.busy_share).into(),
        ];
        row.extend(TIMES.map(|time| numerals::millis(time(certificate).as_millis_f64()).into()));
        row.push(numerals::plain(certificate.offered).into());
        row.push(numerals::plain(certificate.delivered).into());
        row.push(note(certificate));
        table.rows.push(row);
    }
    table
}

fn note(certificate: &Certificate) -> TableCell {
    if let Some(why) = refusal_words(certificate) {
        return TableCell { text: format!("refused: {why}"), tone: Tone::Out };
    }
    let mut notes = Vec::new();
    if !certificate.kernel_stamps {
        notes.push("stamped after each read".to_owned());
    }
    if certificate.starved > Nanos::ZERO {
        let waited = numerals::millis(certificate.starved.as_millis_f64());
        notes.push(format!("{waited} without a prepared prompt"));
    }
    notes.join("; ").into()
}
