//! Columns of the CSV files and keys of `summary.json`, each with its unit and meaning.

use std::fmt::Write;

use crate::metric::METRICS;
use crate::tables::{columns_of, definitions_table, markdown};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// Empty for words.
    pub unit: String,
    pub meaning: String,
}

fn column(name: &str, unit: &str, meaning: &str) -> Column {
    Column { name: name.to_owned(), unit: unit.to_owned(), meaning: meaning.to_owned() }
}

fn columns(list: &[(&str, &str, &str)]) -> Vec<Column> {
    list.iter().map(|(name, unit, meaning)| column(name, unit, meaning)).collect()
}

fn metric_columns() -> impl Iterator<Item = Column> {
    METRICS.iter().map(|metric| column(metric.key, metric.unit, metric.definition))
}

/// `<model>_<arm>_metrics.csv`: one row per cell, whether it counts or not.
pub fn cell_columns() -> Vec<Column> {
    let mut all = columns(&[
        ("model", "", "Model, as in the plan."),
        ("hardware", "", "Label of the hardware."),
        ("arm", "", "Arm."),
        ("level", "", "Level."),
        ("load", "", "The level's load in words."),
        ("repeat", "", "Repeat, from 0."),
        ("seed", "", "Seed of the workload, equal for all arms of a level and repeat."),
        ("verdict", "", "Verdict with its reason; `not run` for a cell without result."),
        ("counts", "", "`yes` where the row enters means, differences and peaks, else `no`."),
        ("attempts", "count", "Attempts the cell took."),
    ]);
    all.extend(metric_columns());
    all
}

/// `all_peak_metrics.csv`: one row per model, hardware and arm.
pub fn peak_columns() -> Vec<Column> {
    let mut all = columns(&[
        ("model", "", "Model, as in the plan."),
        ("hardware", "", "Label of the hardware."),
        ("arm", "", "Arm."),
        (
            "peak_level",
            "",
            "Level of the arm's highest mean output throughput; empty where no cell \
          counts.",
        ),
        ("peak_output_tokens_per_s", "tok/s", "Mean over repeats at that level."),
        (
            "peak_low",
            "tok/s",
            "Lower end of the 95 % interval of the bootstrap of the selection; \
          empty with one repeat.",
        ),
        ("peak_high", "tok/s", "Its upper end."),
        ("peak_level_share", "ratio", "Share of the bootstrap replicates in which this level won."),
        ("repeats", "count", "Repeats that count at that level."),
        ("control", "", "Arm it is compared with."),
        ("control_peak_level", "", "Level of the control's peak."),
        ("change_percent", "%", "100 x (peak / control's peak - 1)."),
        ("change_low", "%", "Lower end of its 95 % interval (bootstrap of both selections)."),
        ("change_high", "%", "Its upper end."),
        ("note", "", "Levels left out; whether the levels of both peaks differ."),
    ]);
    all.extend(metric_columns().map(|metric| Column {
        meaning: format!("At the peak's level, mean over repeats. {}", metric.meaning),
        ..metric
    }));
    all
}

/// `performance_comparisons.csv`: one row per arm, control, metric and level.
pub fn change_columns() -> Vec<Column> {
    columns(&[
        ("model", "", "Model, as in the plan."),
        ("hardware", "", "Label of the hardware."),
        ("arm", "", "Arm."),
        ("control", "", "Arm it is compared with."),
        ("level", "", "Level, equal for both."),
        ("metric", "", "Key of the metric."),
        ("unit", "", "Unit of the two means."),
        ("better", "", "Which direction is an improvement: `higher` or `lower`."),
        ("control_mean", "", "The control's mean over the pairs of repeats."),
        ("arm_mean", "", "The arm's mean over the pairs of repeats."),
        ("change_percent", "%", "100 x (arm_mean / control_mean - 1)."),
        (
            "change_low",
            "%",
            "Lower end of its 95 % interval (t over paired repeats); empty with \
          one pair.",
        ),
        ("change_high", "%", "Its upper end."),
        ("pairs", "count", "Repeats that count in both arms."),
        (
            "noise_floor_percent",
            "%",
            "Largest difference of one repeat of the A/A arm in this metric at this \
             level; empty without A/A arm.",
        ),
        (
            "distinguishable",
            "",
            "`yes` where the change is above the noise floor and its interval \
          excludes zero.",
        ),
        ("arm_verdict", "", "Verdict of the arm's repeats."),
        ("note", "", "Why there is no change, or which repeats were left out."),
    ])
}

/// `replicas.csv`, live targets with several replicas: one row per arm, level and replica.
pub fn replica_columns() -> Vec<Column> {
    columns(&[
        ("model", "", "Model, as in the plan."),
        ("hardware", "", "Label of the hardware."),
        ("arm", "", "Arm."),
        ("level", "", "Level."),
        ("replica", "", "Address of the replica, as the responses name it."),
        ("completed", "count", "Completed requests of the measured set that it answered."),
        ("share_percent", "%", "Their share of those of all replicas."),
        ("prompt_tokens", "tokens", "Their prompt tokens."),
        ("hit_tokens", "tokens", "Those of them that a cache served, by the answers."),
        ("hit_percent", "%", "Hit tokens / prompt tokens."),
        (
            "mean_waiting",
            "count",
            "Requests that waited in it, mean over the window; empty where its metrics were not \
             read.",
        ),
    ])
}

/// `outputs.csv`, live targets: one row per arm and level whose answers were compared.
pub fn output_columns() -> Vec<Column> {
    columns(&[
        ("model", "", "Model, as in the plan."),
        ("hardware", "", "Label of the hardware."),
        ("arm", "", "Arm; the control itself has no row."),
        ("level", "", "Level."),
        (
            "compared",
            "count",
            "Answers, over all repeats, that both the arm and the control gave in full to equal \
             prompts.",
        ),
        ("mismatches", "count", "Those of them whose digests differ."),
        ("mismatch_percent", "%", "100 x mismatches / compared."),
        ("floor_compared", "count", "Compared answers of the A/A arm; empty without A/A arm."),
        ("floor_mismatches", "count", "Those of them whose digests differ."),
        (
            "p_value",
            "ratio",
            "Largest p value of the tests (Fisher's exact test against the A/A arm at this level \
             and at its worst one, exact binomial test against 5 %), times the arms and levels \
             judged; at most 1.",
        ),
        (
            "outcome",
            "",
            "`noise-floor` (the A/A arm), `agrees`, `above-floor`, `corrupt`, `undecided` (fewer \
             than 20 answers to compare) or `not-judged`.",
        ),
        ("note", "", "Why, or what to know."),
    ])
}

/// `prediction.csv`: one row per arm, level and quantity.
pub fn prediction_columns() -> Vec<Column> {
    columns(&[
        ("model", "", "Model, as in the plan."),
        ("hardware", "", "Label of the hardware."),
        ("arm", "", "Arm."),
        ("level", "", "Level."),
        ("repeats", "count", "Repeats with equal seeds that count in both runs."),
        ("sequential", "", "`yes` where one request ran at a time: one user, one replica."),
        (
            "quantity",
            "",
            "`prompt_tokens`, `hit_tokens_gpu`, `hit_tokens_host`, `hit_tokens_disk`, \
             `hit_tokens_remote`, `hit_tokens_all_tiers`, or the key of a metric; \
             `hit_tokens_host_lookups` and so on where LMCache's server looked up what the GPU has \
             too.",
        ),
        ("unit", "", "Unit of predicted, measured and difference."),
        ("predicted", "", "In the simulated run: tokens over all repeats, means of metrics."),
        ("measured", "", "In the live run; empty where it was not observable."),
        ("difference", "", "Measured - predicted."),
        (
            "difference_percent",
            "%",
            "Hits: measured minus predicted share of the run's own prompt tokens, percentage \
             points. Prompt tokens: 100 x (measured / predicted - 1). Metrics: the prediction's \
             error, 100 x (predicted / measured - 1).",
        ),
        (
            "tolerance_percent",
            "%",
            "Hits: what `difference_percent` may be; 0 where they must be equal to the token. \
             Empty where nothing is asked.",
        ),
        ("holds", "", "`yes` or `no` where something is asked."),
    ])
}

/// The CSV of two runs compared.
pub fn run_columns() -> Vec<Column> {
    columns(&[
        ("model", "", "Model, as in the plan."),
        ("hardware", "", "Label of the hardware."),
        ("arm", "", "Arm."),
        ("level", "", "Level."),
        ("metric", "", "Key of the metric."),
        ("unit", "", "Unit of the two means."),
        (
            "first",
            "",
            "Mean in the first run over the pairs, without pairs over all repeats that count; empty \
             where nothing counts.",
        ),
        ("second", "", "Mean in the second run, likewise."),
        ("change_percent", "%", "100 x (second / first - 1)."),
        (
            "change_low",
            "%",
            "Lower end of its 95 % interval (t over paired repeats); empty without two pairs.",
        ),
        ("change_high", "%", "Its upper end."),
        ("pairs", "count", "Repeats with equal seeds that count in both runs."),
        ("note", "", "Verdicts where they differ; whether repeats could not be paired."),
    ])
}

/// Keys of `summary.json`, nested ones with dots.
const SUMMARY_KEYS: &[(&str, &str, &str)] = &[
    ("format", "", "Version of the file's own format."),
    ("experiment, run, plan_hash, target, seed, repeats, versions", "", "Where it comes from."),
    ("simulated", "", "True where figures are predictions."),
    ("cells", "count", "Cells planned, run, and counted."),
    ("doubt", "", "What intervals mean in this run."),
    ("traces", "", "How the traces were read, and why so."),
    ("warnings", "", "What to know before reading on."),
    ("origins", "", "Values that are not defaults, with where they come from."),
    ("deployments[].model, .hardware", "", "Model and hardware."),
    (
        "deployments[].decision",
        "",
        "The sentence, the recommended arms with their levels and gains, what each level says \
         about each arm (`standings`: gain, loss, or why it says nothing), and what to change where \
         nothing acted.",
    ),
    ("deployments[].deciding_metric", "", "Key of the metric that decides."),
    ("deployments[].cells_run", "count", "Cells that have run, and cells planned."),
    (
        "deployments[].cost_basis",
        "",
        "Kinds of tiers that have a price and are in the costs, and those that have none.",
    ),
    ("deployments[].max_error", "", "The largest error of the client that the user accepts."),
    ("deployments[].noise_floor", "%", "The A/A arm's largest differences by metric and level."),
    (
        "deployments[].peaks[]",
        "",
        "Per arm: peak of output throughput with its level, interval and \
      the shares of the bootstrap of the selection; change against the control's peak.",
    ),
    (
        "deployments[].groups[]",
        "",
        "Per arm and level: verdict, explanation, repeats that count, \
      mean and interval of each metric (keys as in the CSV files); of live targets, bounds of \
         metrics that have no mean, and the load generator's certificate.",
    ),
    ("deployments[].deltas[]", "%", "Per arm, control and metric: the change at each level."),
    (
        "deployments[].outputs[]",
        "",
        "Live targets, per arm and level: answers compared with the control's, mismatches, the A/A \
         arm's, p value and outcome (as in `outputs.csv`).",
    ),
    (
        "deployments[].balance[]",
        "",
        "Live targets with several replicas, per arm and level: what each answered (as in \
         `replicas.csv`).",
    ),
    (
        "prediction",
        "",
        "With `weir report --prediction`: the simulated run beside this one, per arm and level (as \
         in `prediction.csv`).",
    ),
];

/// `analysis/columns.md`, also part of the documentation.
pub fn columns_reference() -> String {
    let mut out = String::from(
        "# Files of analysis/\n\nCells that do not count (void, corrupt, failed, refused, \
         unverified, not run) are listed with their verdict and enter no mean, difference or peak. Empty fields \
         mean \"no value\", never zero. Numbers are written so that reading them back gives the \
         same bits. Nothing depends on the time of day: the same run gives the same bytes.\n\n\
         Figures speak of the measured set: the requests that were due in the measured window, \
         whatever came of them and whenever they ended. Rates count what came inside the window. \
         docs/definitions.md of Weir has the rules in full.\n",
    );
    let parts = [
        ("all_peak_metrics.csv", peak_columns()),
        ("performance_comparisons.csv", change_columns()),
        ("<model>_<arm>_metrics.csv", cell_columns()),
        ("outputs.csv", output_columns()),
        ("replicas.csv", replica_columns()),
        ("prediction.csv (`weir report --prediction`)", prediction_columns()),
        ("runs compared (`weir compare`)", run_columns()),
    ];
    for (file, columns) in parts {
        let rows: Vec<(String, String, String)> =
            columns.into_iter().map(|column| (column.name, column.unit, column.meaning)).collect();
        let _ = write!(out, "\n## {}\n\n", file.replace('<', "&lt;"));
        out += &markdown(&columns_of("", &rows));
    }
    let keys: Vec<(String, String, String)> = SUMMARY_KEYS
        .iter()
        .map(|(key, unit, meaning)| ((*key).to_owned(), (*unit).to_owned(), (*meaning).to_owned()))
        .collect();
    out += "\n## summary.json\n\n";
    out += &markdown(&columns_of("", &keys));
    out += "\n## Definitions of metrics\n\n";
    out += &markdown(&definitions_table(""));
    out
}
