//! The tables of one model on one kind of hardware.

use std::fmt::Write;

use weir_model::{TierKind, Verdict};
use weir_spec::cost::CostBasis;

use super::{Table, TableCell, Tone, marked_tokens};
use crate::comparison::{DeploymentComparison, GroupNote, LevelDelta};
use crate::metric::{COST, GOODPUT, GOODPUT_SHARE, Metric, metric};
use crate::numerals;
use crate::precision::{Bound, bound};
use crate::results::CellResult;
use crate::words;

type Print = fn(f64) -> String;

/// Besides the deciding one.
const LEVEL_METRICS: [(&str, Print); 4] = [
    ("output_tokens_per_s", numerals::plain),
    ("ttft_p50_ms", numerals::millis),
    ("itl_mean_ms", numerals::millis),
    ("external_hit_percent", numerals::plain),
];

fn shown(group: &GroupNote, key: &str, print: Print) -> TableCell {
    if let Some(estimate) = group.metrics.get(key) {
        let figure = print(estimate.mean);
        return match key {
            "output_tokens_per_s" => marked_tokens(group.answers.as_ref(), figure).into(),
            _ => figure.into(),
        };
    }
    let Some(bound) = group.bounds.get(key) else { return "-".into() };
    TableCell { text: bound_text(bound, print), tone: Tone::Out }
}

fn verdict_tone(group: &GroupNote) -> Tone {
    if group.counted < group.planned || group.planned == 0 {
        Tone::Out
    } else if group.verdict.all(is_overhead) {
        Tone::Weak
    } else if group.verdict.all(|verdict| *verdict == Verdict::Effective) {
        Tone::Good
    } else {
        Tone::Plain
    }
}

const fn is_overhead(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::OverheadOnly(_))
}

/// "-" where no repeat has run.
fn short_verdict(group: &GroupNote) -> &'static str {
    let mut words = group.verdict.that_ran().map(Verdict::word);
    let Some(first) = words.next() else { return "-" };
    if words.all(|word| word == first) { first } else { "mixed" }
}

fn verdict_cell(group: &GroupNote) -> TableCell {
    TableCell { text: group.verdict.words(), tone: verdict_tone(group) }
}

fn change_cell(metric: &Metric, delta: Option<&LevelDelta>) -> TableCell {
    let Some(change) = delta.and_then(|delta| delta.change.as_ref()) else {
        return "".into();
    };
    let gain = metric.better.gain(change.percent);
    let tone = match delta.is_some_and(|delta| delta.distinguishable) {
        false => Tone::Weak,
        true if gain > 0.0 => Tone::Good,
        true => Tone::Bad,
    };
    let mut text = numerals::change(change);
    if delta.is_some_and(|delta| delta.is_partial) {
        let _ = match change.pairs {
            1 => write!(text, " (1 pair)"),
            pairs => write!(text, " ({pairs} pairs)"),
        };
    }
    TableCell { text, tone }
}

/// Arm by level: throughput, the change of the deciding metric, latencies, verdict.
pub fn level_table(of: &DeploymentComparison) -> Table {
    let deciding = of.deciding();
    let title = deciding.map_or(String::new(), |metric| {
        format!("Arms by level; change: {} against the control at the same level", metric.title)
    });
    let heads =
        ["arm", "level", ">tok/s", ">change", ">TTFT p50", ">ITL mean", ">ext hit %", "verdict"];
    let mut table = Table::new(&title, &heads);
    for arm in &of.arms {
        for (place, level) in of.levels.iter().enumerate() {
            let Some(group) = of.group(&arm.name, &level.name) else {
                continue;
            };
            let name = if place == 0 { arm.name.as_str() } else { "" };
            let mut row: Vec<TableCell> = vec![name.into(), level.name.as_str().into()];
            row.extend(LEVEL_METRICS.map(|(key, print)| shown(group, key, print)));
            let change = deciding.map_or(TableCell::default(), |metric| {
                change_cell(metric, of.change(&arm.name, metric.key, &level.name))
            });
            row.insert(3, change);
            row.push(verdict_cell(group));
            table.rows.push(row);
        }
    }
    table
}

fn has(of: &DeploymentComparison, key: &str) -> bool {
    of.groups.iter().any(|group| group.metrics.contains_key(key) || group.bounds.contains_key(key))
}

/// Goodput and cost of arms at levels, where objectives or prices were given; else without rows.
pub fn value_table(of: &DeploymentComparison) -> Table {
    let (goodput, cost) = (of.deciding_metric == GOODPUT, has(of, COST));
    let basis = cost_words(&of.cost_basis);
    let title = match (goodput, cost) {
        (true, true) => {
            format!("Goodput, cost ({basis}), and changes against the control at the same level")
        }
        (true, false) => "Goodput and its change against the control at the same level".to_owned(),
        _ => format!("Cost ({basis}) and its change against the control at the same level"),
    };
    let price = format!(">{} per 1M tok", of.currency);
    let mut heads = vec!["arm", "level"];
    if goodput {
        heads.extend([">good req/s", ">change", ">good %"]);
    }
    if cost {
        heads.extend([price.as_str(), ">change"]);
    }
    let mut table = Table::new(&title, &heads);
    if !(goodput || cost) {
        return table;
    }
    let percent: Print = |share| numerals::plain(100.0 * share);
    for arm in &of.arms {
        let mut told = false;
        for level in &of.levels {
            let Some(group) = of.group(&arm.name, &level.name) else { continue };
            if group.metrics.is_empty() && group.bounds.is_empty() {
                continue;
            }
            let name = if told { "" } else { arm.name.as_str() };
            told = true;
            let mut row: Vec<TableCell> = vec![name.into(), level.name.as_str().into()];
            let change = |key: &str| {
                let delta = of.change(&arm.name, key, &level.name);
                metric(key).map_or_else(TableCell::default, |metric| change_cell(metric, delta))
            };
            if goodput {
                row.push(shown(group, GOODPUT, numerals::plain));
                row.push(change(GOODPUT));
                row.push(shown(group, GOODPUT_SHARE, percent));
            }
            if cost {
                row.push(shown(group, COST, numerals::plain));
                row.push(change(COST));
            }
            table.rows.push(row);
        }
    }
    table
}

/// What costs contain: "GPU hours, host memory; without the store, which has no price".
fn cost_words(basis: &CostBasis) -> String {
    let name = |kind: &TierKind| match kind {
        TierKind::Gpu => "GPU memory",
        TierKind::Host => "host memory",
        TierKind::Disk => "disk",
        TierKind::Remote => "the store",
    };
    let names = |kinds: &[TierKind]| kinds.iter().map(name).collect::<Vec<_>>().join(" and ");
    let held = match basis.priced.as_slice() {
        [] => "GPU hours alone".to_owned(),
        priced => format!("GPU hours, {}", names(priced)),
    };
    match basis.unpriced.as_slice() {
        [] => held,
        unpriced => format!("{held}; no price is given for {}", names(unpriced)),
    }
}

/// A figure of one live cell: its value, or the bound where it is no more than that.
pub fn figure_text(result: &CellResult, key: &str, print: impl Fn(f64) -> String) -> String {
    let Some(metric) = metric(key) else { return String::new() };
    if result.refusal().is_none()
        && let Some(value) = metric.exact(result)
    {
        return print(value);
    }
    match (bound(metric, result), (metric.of)(result)) {
        (Some(bound), _) => bound_text(&bound, print),
        (None, Some(value)) => print(value),
        (None, None) => "-".to_owned(),
    }
}

fn bound_text(bound: &Bound, print: impl Fn(f64) -> String) -> String {
    match bound {
        Bound::AtMost { value } => format!("<= {}", print(*value)),
        Bound::AtLeast { value } => format!(">= {}", print(*value)),
        Bound::Within { value, margin } => format!("{} ± {}", print(*value), print(*margin)),
    }
}

/// Arm by level: controls with their value in the deciding metric, other arms with their change and
/// the first letter of their verdict.
pub fn compact_table(of: &DeploymentComparison) -> Table {
    let title = of.deciding().map_or(String::new(), |metric| {
        format!(
            "{} ({} at controls; other arms: change in % against the control at the same level; e \
             effective, o overhead only)",
            metric.title, metric.unit
        )
    });
    let mut heads = vec!["arm".to_owned()];
    heads.extend(of.levels.iter().map(|level| format!(">{}", level.name)));
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    let mut table = Table::new(&title, &heads);
    for arm in &of.arms {
        let mut row: Vec<TableCell> = vec![arm.name.as_str().into()];
        for level in &of.levels {
            let group = of.group(&arm.name, &level.name);
            row.push(
                group.map_or("".into(), |group| compact_cell(of, arm.control.is_none(), group)),
            );
        }
        table.rows.push(row);
    }
    table
}

fn compact_cell(of: &DeploymentComparison, is_control: bool, group: &GroupNote) -> TableCell {
    if group.counted == 0 {
        return TableCell { text: short_verdict(group).to_owned(), tone: Tone::Out };
    }
    if is_control {
        return shown(group, of.deciding_metric, numerals::plain);
    }
    let change = of.change(&group.arm, of.deciding_metric, &group.level);
    let Some(change) = change.and_then(|delta| delta.change.as_ref()) else {
        return short_verdict(group).into();
    };
    let all = |is_it: fn(&Verdict) -> bool| group.verdict.all(is_it);
    let mark = if all(|verdict| *verdict == Verdict::Control) {
        " "
    } else if all(|verdict| *verdict == Verdict::Effective) {
        "e"
    } else if all(is_overhead) {
        "o"
    } else {
        "?"
    };
    format!("{} {mark}", numerals::points(change.percent)).into()
}

/// Per arm its peak, with the level, the interval of the choice and latencies there.
pub fn peak_table(of: &DeploymentComparison) -> Table {
    let title = "Peaks of output throughput; peak change: against the control's peak (intervals cover \
                 the choice of level)";
    let heads = [
        "arm",
        ">peak tok/s",
        ">95 % interval",
        "at",
        ">peak change",
        ">TTFT p50",
        ">TPOT mean",
        "note",
    ];
    let mut table = Table::new(title, &heads);
    for row in &of.peaks {
        let Some((peak, level)) = row.peak.as_ref().zip(row.level.as_ref()) else {
            let mut cells: Vec<TableCell> = vec![row.arm.as_str().into()];
            cells.extend((0..6).map(|_| TableCell::from("-")));
            cells.push(TableCell { text: row.note.clone(), tone: Tone::Out });
            table.rows.push(cells);
            continue;
        };
        let interval = peak.interval.map_or("one repeat".to_owned(), |interval| {
            format!("{} to {}", numerals::plain(interval.low), numerals::plain(interval.high))
        });
        let change = row.change.map_or(String::new(), |change| {
            numerals::with_doubt(change.percent, change.interval.as_ref())
        });
        let group = of.group(&row.arm, level);
        let latency = |key| group.map_or("-".into(), |group| shown(group, key, numerals::millis));
        let mut notes: Vec<String> = row
            .rivals
            .iter()
            .map(|(level, share)| format!("{level} wins in {:.0} %", 100.0 * share))
            .collect();
        notes.extend((!row.note.is_empty()).then(|| row.note.clone()));
        table.rows.push(vec![
            row.arm.as_str().into(),
            numerals::plain(peak.value).into(),
            interval.into(),
            level.as_str().into(),
            change.into(),
            latency("ttft_p50_ms"),
            latency("tpot_mean_ms"),
            notes.join("; ").into(),
        ]);
    }
    table
}

/// Verdicts, arm by level.
pub fn verdict_matrix(of: &DeploymentComparison) -> Table {
    let mut heads = vec!["arm"];
    heads.extend(of.levels.iter().map(|level| level.name.as_str()));
    let mut table = Table::new("Verdicts", &heads);
    for arm in &of.arms {
        let mut row: Vec<TableCell> = vec![arm.name.as_str().into()];
        row.extend(of.levels.iter().map(|level| {
            of.group(&arm.name, &level.name).map_or(TableCell::default(), verdict_cell)
        }));
        table.rows.push(row);
    }
    table
}

pub fn equal_level_table(of: &DeploymentComparison, arm: &str, control: &str) -> Table {
    let mut heads = vec!["metric"];
    let levels: Vec<String> = of.levels.iter().map(|level| format!(">{}", level.name)).collect();
    heads.extend(levels.iter().map(String::as_str));
    let mut table = Table::new(&format!("{arm} against {control} at the same level"), &heads);
    for delta in of.deltas.iter().filter(|delta| delta.arm == arm && delta.control == control) {
        let Some(metric) = metric(delta.metric) else {
            continue;
        };
        let mut row: Vec<TableCell> = vec![metric.title.into()];
        for level in &of.levels {
            let at = delta.levels.iter().find(|seen| seen.level == level.name);
            let mut cell = change_cell(metric, at);
            if cell.text.is_empty() {
                cell = TableCell { text: "-".to_owned(), tone: Tone::Out };
            }
            row.push(cell);
        }
        table.rows.push(row);
    }
    table
}

/// The arms with their description and the predicted place of the working set.
pub fn arms_table(of: &DeploymentComparison) -> Table {
    let mut table = Table::new("Arms", &["arm", "compared with", "what it is", "predicted"]);
    for arm in &of.arms {
        // Runs of levels with the same forecast are told once, by first and last level.
        let mut runs: Vec<(&GroupNote, &GroupNote)> = Vec::new();
        for group in of.groups.iter().filter(|group| group.arm == arm.name) {
            match runs.last_mut() {
                Some((first, last)) if first.prediction == group.prediction => *last = group,
                _ => runs.push((group, group)),
            }
        }
        let run_words = |(first, last): &(&GroupNote, &GroupNote)| {
            let to = if first.level == last.level {
                String::new()
            } else {
                format!(" to {}", last.level)
            };
            let predicted = first.prediction.as_ref().map_or_else(String::new, |of| {
                format!("{}, working set {}", words::verdict(&of.verdict), of.regime.name())
            });
            format!("{}{to}: {predicted}", first.level)
        };
        let predicted: Vec<String> = runs.iter().map(run_words).collect();
        table.rows.push(vec![
            arm.name.as_str().into(),
            arm.control.as_deref().unwrap_or("(control)").into(),
            arm.description.as_str().into(),
            predicted.join("; ").into(),
        ]);
    }
    table
}

pub fn explanations_table(of: &DeploymentComparison) -> Table {
    let mut table = Table::new("Why", &["arm", "level", "verdict", "basis", "why"]);
    for group in &of.groups {
        let basis = if group.predicted { "predicted" } else { "observed" };
        let basis = if group.explanation.is_empty() { "" } else { basis };
        table.rows.push(vec![
            group.arm.as_str().into(),
            group.level.as_str().into(),
            verdict_cell(group),
            basis.into(),
            why_text(group).into(),
        ]);
    }
    table
}

fn why_text(group: &GroupNote) -> String {
    let sentences = group.notes.iter().chain(&group.remedy).map(|sentence| format!("{sentence}."));
    let explained = (!group.explanation.is_empty()).then(|| group.explanation.clone());
    explained.into_iter().chain(sentences).collect::<Vec<_>>().join(" ")
}
