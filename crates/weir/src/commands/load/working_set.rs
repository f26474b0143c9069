//! `--working-set`: one load over different amounts of repeated prompts.

use weir_model::SignalKind;
use weir_record::CellStatus;
use weir_report::metric::metric;
use weir_report::results::{CellResult, Results};
use weir_report::statistics::{change_percent, mean};
use weir_report::tables::Table;
use weir_spec::{Plan, Spec};
use weir_workload::WorkloadConfig;
use weir_workload::config::{Count, SharedPrefix};

/// In the order of the flag.
pub(super) struct WorkingSets {
    sets: Vec<WorkingSet>,
    /// Tokens of one engine's GPU cache; None where no set depends on it.
    held: Option<u64>,
    prefix_tokens: u32,
}

#[derive(Debug, Clone, Copy)]
struct WorkingSet {
    times: f64,
    /// 0: none are shared.
    prefixes: u64,
}

impl WorkingSets {
    pub(super) fn of(spec: &Spec, plan: &Plan) -> Option<Self> {
        let (sets, WorkloadConfig::SharedPrefix(of)) =
            (spec.working_sets.as_ref()?, &spec.workload)
        else {
            return None;
        };
        let levels = &plan.deployments[0].levels;
        let per_set = levels.len() / sets.0.len();
        let prefixes = |level: usize| match &levels[level].workload {
            WorkloadConfig::SharedPrefix(SharedPrefix {
                prefixes: Count::Absolute(prefixes),
                prefix_tokens: 1..,
                ..
            }) => *prefixes,
            _ => 0,
        };
        let each = sets.0.iter().enumerate();
        let sets =
            each.map(|(at, times)| WorkingSet { times: *times, prefixes: prefixes(at * per_set) });
        let (sets, held) = (sets.collect(), spec.engine.kv_tokens);
        Some(Self { sets, held, prefix_tokens: of.prefix_tokens })
    }

    pub(super) fn sentence(&self) -> String {
        let one = |set: &WorkingSet| match set.prefixes {
            0 => format!("working set {}: no prefix is shared", set.times),
            1 => format!("working set {}: 1 prefix of {} tokens", set.times, self.prefix_tokens),
            more => {
                format!(
                    "working set {}: {more} prefixes of {} tokens",
                    set.times, self.prefix_tokens
                )
            }
        };
        let sets: Vec<String> = self.sets.iter().map(one).collect();
        let held = self.held.map_or_else(String::new, |held| {
            format!("The GPU cache of one engine holds {held} tokens. ")
        });
        format!("{held}With {}.", sets.join("; "))
    }

    /// Each against the first at the same load; None for a single one.
    pub(super) fn table(&self, results: &Results<'_>) -> Option<Table> {
        if self.sets.len() < 2 {
            return None;
        }
        let levels = &results.plan.deployments[0].levels;
        let per_set = levels.len() / self.sets.len();
        let heads = [
            "level",
            ">prefixes",
            ">asked before %",
            ">tok/s",
            ">change %",
            ">TTFT p50 ms",
            ">change %",
        ];
        let title = format!(
            "Working sets, against {} times the GPU cache at the same load",
            self.sets[0].times
        );
        let mut table = Table::new(&title, &heads);
        for (index, level) in levels.iter().enumerate() {
            let set = self.sets[index / per_set];
            let (here, first) = (Means::of(results, index), Means::of(results, index % per_set));
            let change = |of: fn(&Means) -> Option<f64>| match (of(&here), of(&first)) {
                (Some(here), Some(first)) if index >= per_set => change_percent(first, here)
                    .map_or_else(String::new, |percent| format!("{percent:+.1}")),
                _ => String::new(),
            };
            let value = |of: fn(&Means) -> Option<f64>, digits: usize| {
                of(&here).map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
            };
            table.rows.push(vec![
                level.name.as_str().into(),
                set.prefixes.to_string().into(),
                value(|means| means.asked_before, 1).into(),
                value(|means| means.tokens_per_s, 0).into(),
                change(|means| means.tokens_per_s).into(),
                value(|means| means.ttft_ms, 2).into(),
                change(|means| means.ttft_ms).into(),
            ]);
        }
        Some(table)
    }
}

/// Over the repeats of a level whose figures count; None where no repeat has a value.
struct Means {
    /// Percent of the prompt tokens that an earlier prompt had: how much of the set was repeated.
    asked_before: Option<f64>,
    tokens_per_s: Option<f64>,
    ttft_ms: Option<f64>,
}

impl Means {
    fn of(results: &Results<'_>, level: usize) -> Self {
        let cells: Vec<&CellResult> = results
            .cells
            .iter()
            .filter(|result| results.plan.cells[result.cell].level == level)
            .filter(|result| result.record.status == CellStatus::Complete)
            .filter(|result| result.refusal().is_none())
            .collect();
        let mean_of = |key: &str| {
            // Bounds are not compared.
            let of = metric(key)?;
            mean(&cells.iter().filter_map(|result| of.exact(result)).collect::<Vec<_>>())
        };
        // Both from the load generator's count.
        let asked = |result: &&CellResult| {
            result.evidence.as_ref()?.signals.of_prompts(SignalKind::SeenTokens)
        };
        let sums: Option<Vec<(f64, f64)>> = cells.iter().map(asked).collect();
        let asked_before = sums.and_then(|sums| {
            let prompt: f64 = sums.iter().map(|(_, prompt)| prompt).sum();
            let seen: f64 = sums.iter().map(|(seen, _)| seen).sum();
            (prompt > 0.0).then(|| 100.0 * seen / prompt)
        });
        Self {
            asked_before,
            tokens_per_s: mean_of("output_tokens_per_s"),
            ttft_ms: mean_of("ttft_p50_ms"),
        }
    }
}
