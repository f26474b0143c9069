use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::bars::{self, Bar};
use crate::case::{Case, Group};
use crate::figures::{self, Figure, Figures};
use crate::table;
use crate::tool::BARE;

/// Foreign load of a disturbed run.
const DISTURBED_CORES: f64 = 0.1;

pub(crate) fn is_disturbed(run: &Figures) -> bool {
    run.get(&Figure::ForeignCores).is_some_and(|cores| *cores > DISTURBED_CORES)
}

/// Whether the tool reported itself as the limit.
pub(crate) fn is_refused(run: &Figures) -> bool {
    run.contains_key(&Figure::Refused)
}

/// Of one tool on one case.
#[derive(Debug)]
struct Entry {
    case: Case,
    tool: String,
    runs: Vec<Figures>,
    failures: Vec<String>,
}

impl Entry {
    /// Without runs that the tool refused itself.
    fn accepted(&self) -> Vec<Figures> {
        self.runs.iter().filter(|run| !is_refused(run)).cloned().collect()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Results(Vec<Entry>);

/// Head, figure, and format.
type Column = (&'static str, Figure, fn(f64) -> String);

impl Results {
    fn entry(&mut self, case: Case, tool: &str) -> &mut Entry {
        let known = self.0.iter().position(|entry| entry.case == case && entry.tool == tool);
        let place = known.unwrap_or_else(|| {
            let (runs, failures) = (Vec::new(), Vec::new());
            self.0.push(Entry { case, tool: tool.to_owned(), runs, failures });
            self.0.len() - 1
        });
        &mut self.0[place]
    }

    pub(crate) fn add(&mut self, case: Case, tool: &str, figures: Figures) {
        self.entry(case, tool).runs.push(figures);
    }

    pub(crate) fn add_failure(&mut self, case: Case, tool: &str, why: String) {
        self.entry(case, tool).failures.push(why);
    }

    /// True when no run gave figures.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|entry| entry.runs.is_empty())
    }

    /// In the order of their first runs.
    pub(crate) fn cases(&self) -> Vec<Case> {
        let mut cases: Vec<Case> = Vec::new();
        for entry in &self.0 {
            if !cases.contains(&entry.case) {
                cases.push(entry.case);
            }
        }
        cases
    }

    /// Over the runs that the tool did not refuse itself.
    pub(crate) fn medians(&self, case: Case, tool: &str) -> Option<Figures> {
        let entry = self.0.iter().find(|entry| entry.case == case && entry.tool == tool)?;
        let accepted = entry.accepted();
        (!accepted.is_empty()).then(|| figures::medians(&accepted))
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for group in Group::ALL {
            let columns = columns(group);
            let header: Vec<&str> = ["streams x tokens, tool"]
                .into_iter()
                .chain(columns.iter().map(|(head, ..)| *head))
                .chain(["rate/bare", "CPU/bare"])
                .collect();
            let rows = self.rows(group, &columns);
            if !rows.is_empty() {
                let table = table::text(&header, &rows);
                // Writing to a text cannot fail.
                let _ = writeln!(text, "{}\n{table}", group.title());
            }
        }
        text + &self.bars_text() + &self.disturbed_text()
    }

    /// Runs with foreign load: their figures are too bad.
    fn disturbed_text(&self) -> String {
        let runs: Vec<&Figures> = self.0.iter().flat_map(|entry| &entry.runs).collect();
        let disturbed = runs.iter().filter(|run| is_disturbed(run)).count();
        if disturbed == 0 {
            return String::new();
        }
        format!(
            "\nDISTURBED: during {disturbed} of {} runs others used more than {DISTURBED_CORES} \
             cores. Repeat on an idle machine.\n",
            runs.len()
        )
    }

    fn rows(&self, group: Group, columns: &[Column]) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        for case in self.cases().into_iter().filter(|case| case.group() == group) {
            rows.push(vec![format!("{} x {}", case.streams, case.output_tokens)]);
            let bare = self.medians(case, BARE);
            for entry in self.0.iter().filter(|entry| entry.case == case) {
                let accepted = entry.accepted();
                let refused = entry.runs.len() - accepted.len();
                let mark = match refused {
                    0 => String::new(),
                    _ => format!(" ({refused} of {} refused)", entry.runs.len()),
                };
                let mut row = vec![format!("  {}{mark}", entry.tool)];
                if entry.runs.is_empty() {
                    row.push("failed".to_owned());
                    rows.push(row);
                    continue;
                }
                // The server's figures also stand where the tool was the limit.
                let shown = if accepted.is_empty() { &entry.runs } else { &accepted };
                let figures = figures::medians(shown);
                row.extend(columns.iter().map(|(_, figure, write)| {
                    figures.get(figure).map_or_else(|| "-".to_owned(), |value| write(*value))
                }));
                for figure in [Figure::TokensPerS, Figure::CpuSPerMillionTokens] {
                    let ratio = bare
                        .as_ref()
                        .and_then(|bare| Some(figures.get(&figure)? / bare.get(&figure)?));
                    row.push(ratio.map_or_else(|| "-".to_owned(), ratio_text));
                }
                rows.push(row);
            }
        }
        rows
    }

    fn bars_text(&self) -> String {
        let bars = bars::all(self);
        if bars.is_empty() {
            return String::new();
        }
        let row = |bar: &Bar| {
            let verdict = if bar.met { "met" } else { "SHORT" };
            vec![
                format!("{}: {}", bar.case, bar.what),
                number(bar.value),
                bar.limit.clone(),
                verdict.to_owned(),
            ]
        };
        let rows: Vec<_> = bars.iter().map(row).collect();
        let met = bars.iter().filter(|bar| bar.met).count();
        format!(
            "Bars: {met} of {} met\n{}",
            bars.len(),
            table::text(&["", "value", "bar", ""], &rows)
        )
    }

    /// Every run by itself.
    pub(crate) fn json(&self, machine: &Value) -> Value {
        let entries: Vec<Value> = self
            .0
            .iter()
            .map(|entry| {
                json!({
                    "case": entry.case.name(),
                    "streams": entry.case.streams,
                    "output_tokens": entry.case.output_tokens,
                    "every_ms": entry.case.every_ms(),
                    "tool": entry.tool,
                    "median": figures::medians(&entry.runs),
                    "runs": entry.runs,
                    "failures": entry.failures,
                })
            })
            .collect();
        json!({ "machine": machine, "results": entries, "bars": bars::all(self) })
    }
}

fn columns(group: Group) -> Vec<Column> {
    let mut columns: Vec<Column> = vec![
        ("tokens/s", Figure::TokensPerS, table::whole),
        ("CPU s/M tokens", Figure::CpuSPerMillionTokens, number),
        ("MiB", Figure::MemoryMib, number),
        ("in flight", Figure::InFlight, number),
    ];
    if group == Group::Paced {
        columns.extend::<[Column; 8]>([
            ("true TTFT", Figure::TrueTtftMeanMs, number),
            ("error mean", Figure::TtftErrorMeanMs, signed),
            ("p99", Figure::TtftErrorP99Ms, signed),
            ("true ITL", Figure::TrueItlMs, |value| format!("{value:.3}")),
            ("error", Figure::ItlErrorMs, |value| format!("{value:+.3}")),
            ("gap p99 (true)", Figure::TrueGapP99Ms, number),
            ("said", Figure::ReportedGapP99Ms, number),
            ("bound covers", Figure::Coverage, |value| format!("{:.2} %", value * 100.0)),
        ]);
    } else {
        columns.push(("says tokens/s", Figure::ReportedTokensPerS, table::whole));
        columns.push(("TTFT error mean", Figure::TtftErrorMeanMs, signed));
    }
    columns.push(("server busy", Figure::ServerBusy, |value| format!("{value:.2}")));
    columns.push(("foreign", Figure::ForeignCores, |value| format!("{value:.2}")));
    columns
}

/// About three digits.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => table::whole(value),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn signed(value: f64) -> String {
    let sign = if value < 0.0 { "" } else { "+" };
    format!("{sign}{}", number(value))
}

fn ratio_text(value: f64) -> String {
    format!("{} x", number(value))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{Results, number, signed};
    use crate::case::{Case, Pace};
    use crate::figures::{Figure, Figures};

    #[test]
    fn tables_hold_medians_ratios_and_failures() {
        let case = Case { pace: Pace::Unpaced { burst: 1 }, streams: 64, output_tokens: 128 };
        let mut results = Results::default();
        for rate in [100.0, 300.0, 200.0] {
            results.add(case, "bare", Figures::from([(Figure::TokensPerS, rate)]));
        }
        results.add(case, "other", Figures::from([(Figure::TokensPerS, 50.0)]));
        results.add_failure(case, "broken", "it broke".to_owned());
        let text = results.text();
        assert!(text.contains("64 x 128"), "{text}");
        let line = |name: &str| text.lines().find(|line| line.trim().starts_with(name));
        assert!(line("bare").is_some_and(|line| line.contains("200")), "{text}");
        assert!(line("other").is_some_and(|line| line.contains("0.250 x")), "{text}");
        assert!(line("broken").is_some_and(|line| line.contains("failed")), "{text}");
        let refused = Figures::from([(Figure::TokensPerS, 70.0), (Figure::Refused, 1.0)]);
        results.add(case, "weir", refused);
        let text = results.text();
        assert!(text.contains("weir (1 of 1 refused)"), "{text}");
        assert!(results.medians(case, "weir").is_none(), "no bar is met by a refused run");
        let json = results.json(&Value::Null);
        assert_eq!(json["results"][0]["median"]["tokens_per_s"], 200.0);
        assert_eq!(json["results"][2]["failures"][0], "it broke");
    }

    #[test]
    fn numbers_have_about_three_digits() {
        let said = [0.0, 0.1234, 1.234, 12.34, 1234.5].map(number);
        assert_eq!(said, ["0.00", "0.123", "1.23", "12.3", "1,234"]);
        assert_eq!((signed(1.0), signed(-1.0)), ("+1.00".to_owned(), "-1.00".to_owned()));
    }
}
