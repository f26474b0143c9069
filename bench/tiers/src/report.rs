//! Tables and bars, as text and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::figures::{Bar, Case, Entry, Sample, Way, ratio};
use crate::table;

const NOTES: &str = "\
GB: 10^9 bytes. GB/s: the median, and the range over the rounds; LMCache's from the durations that
it states. CPU: processor seconds per GB, of the client's whole process and of the server's;
LMCache's from its first round to its last, without its start and without the zeros that it writes
into its buffers before it loads. Weir/it, limit/it: GB/s of Weir, and of the limit, over those of
the row; CPU Weir/it: that of Weir's client over the row's: medians of the ratios of each round.
Allocations: of a call of Weir's after warm-up, and for each block more.";

pub(crate) fn text(cases: &[Case]) -> String {
    let mut text = String::new();
    // Writing to a text cannot fail.
    for case in cases {
        let _ = writeln!(text, "{}", case_text(case));
    }
    let _ = writeln!(text, "{NOTES}\n");
    text + &bars_text(cases)
}

fn case_text(case: &Case) -> String {
    let header = [
        &case.name,
        "GB/s",
        "range",
        "client CPU",
        "server CPU",
        "Weir/it",
        "limit/it",
        "CPU Weir/it",
    ];
    let ways = Way::BOTH.into_iter();
    let rows = ways.flat_map(|way| case.entries.iter().map(move |entry| row(case, entry, way)));
    let mut text = table::text(&header, &rows.collect::<Vec<_>>());
    for entry in &case.entries {
        if let Some(why) = &entry.absent {
            let _ = writeln!(text, "  {}: {why}", entry.name);
        }
    }
    for note in &case.notes {
        let _ = writeln!(text, "  {note}");
    }
    if let Some(allocations) = case.allocations {
        for way in Way::BOTH {
            let found = allocations[way as usize];
            let (call, block) = (found.per_call, found.per_block);
            let _ = writeln!(text, "  allocations of a {way}: {call} a call, {block} a block more");
        }
    }
    let (disturbed, all) = case.disturbed();
    if disturbed > 0 {
        let _ = writeln!(text, "  DISTURBED: others used the machine in {disturbed} of {all} runs");
    }
    text
}

fn row(case: &Case, entry: &Entry, way: Way) -> Vec<String> {
    let name = format!("  {way} {}", entry.name);
    let Some(rate) = entry.median(way, rate_of) else {
        let word = if entry.absent.is_some() { "absent" } else { "stopped" };
        return vec![name, word.to_owned()];
    };
    let (low, high) = entry.range(way).unwrap_or((rate, rate));
    let over = |over: Option<&Entry>, figure: fn(&Sample) -> Option<f64>| {
        let over = over.filter(|over| over.name != entry.name)?;
        ratio(over, entry, way, figure)
    };
    vec![
        name,
        format!("{rate:.2}"),
        format!("{low:.2}-{high:.2}"),
        cell(entry.median(way, client_of), 3),
        cell(entry.median(way, |sample| sample.server_s_per_gb), 3),
        cell(over(case.weir(), rate_of), 2),
        cell(over(case.limit(), rate_of), 2),
        cell(over(case.weir(), client_of), 2),
    ]
}

#[expect(clippy::unnecessary_wraps, reason = "figures may be unknown, this one is not")]
const fn rate_of(sample: &Sample) -> Option<f64> {
    Some(sample.gb_per_s)
}

const fn client_of(sample: &Sample) -> Option<f64> {
    sample.client_s_per_gb
}

fn cell(value: Option<f64>, digits: usize) -> String {
    match value {
        Some(value) if value.is_finite() && value != 0.0 => format!("{value:.digits$}"),
        _ => "-".to_owned(),
    }
}

fn bars_text(cases: &[Case]) -> String {
    let bars: Vec<Bar> = cases.iter().flat_map(Case::bars).collect();
    let row = |bar: &Bar| {
        let value = bar.value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
        let verdict = match (bar.value, bar.met) {
            (None, _) => "NOT MEASURED",
            (Some(_), true) => "met",
            (Some(_), false) => "SHORT",
        };
        vec![bar.what.clone(), value, bar.limit.clone(), verdict.to_owned()]
    };
    let rows: Vec<Vec<String>> = bars.iter().map(row).collect();
    let met = bars.iter().filter(|bar| bar.met).count();
    let table = table::text(&["bars", "value", "bar", ""], &rows);
    format!("{table}\n{met} of {} bars met\n", bars.len())
}

pub(crate) fn json(heading: &str, cases: &[Case]) -> Value {
    let bars: Vec<Bar> = cases.iter().flat_map(Case::bars).collect();
    json!({ "heading": heading, "cases": cases, "bars": bars })
}

#[cfg(test)]
mod tests {
    use super::text;
    use crate::figures::{Case, Demand, Entry, Sample};

    #[test]
    fn the_absent_has_a_row_with_its_reason() {
        let sample = Sample {
            gb_per_s: 2.0,
            client_s_per_gb: Some(0.25),
            server_s_per_gb: None,
            foreign_cores: Some(0.9),
        };
        let entry = |name: &str, demand, rounds, absent: Option<&str>| {
            let (name, absent) = (name.to_owned(), absent.map(str::to_owned));
            Entry { name, demand, rounds, absent }
        };
        let demand = Some(Demand { rate: Some(0.9), processor: None, is_limit: false });
        let (name, notes) = ("case".to_owned(), vec!["a note".to_owned()]);
        let entries = vec![
            entry("Weir", None, vec![[sample; 2]], None),
            entry("limit", demand, vec![[sample; 2]], None),
            entry("peer", demand, Vec::new(), Some("not installed: install it")),
        ];
        let text = text(&[Case { name, notes, entries, allocations: None }]);
        assert!(text.contains("  peer: not installed: install it\n"), "{text}");
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("case, get: GB/s over limit 1.00 >= 0.9 met"), "{text}");
        assert!(text.contains("NOT MEASURED") && text.contains("2 of 4 bars met"), "{text}");
        assert!(text.contains("DISTURBED: others used the machine in 4 of 4 runs"), "{text}");
    }
}
