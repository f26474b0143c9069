use std::fmt::Write;

use weir_engine::timing::validation::{
    CAPACITY_L40S, CAPACITY_MODELS, CAPACITY_POOL_TOKENS, CAPACITY_POOL_TOKENS_PRESSURE,
    CapacityRow, OFFLOAD_HITS_H100, OFFLOAD_TTFT_H100, SHARED_PREFIX_L40S, ServingRow,
};

use super::cells::{Cells, Lab};

/// By `GuideLLM`'s definition, as in the tables that it measured.
const THROUGHPUT: &str = "guidellm_output_tokens_per_s";

struct Row {
    name: String,
    published: f64,
    predicted: f64,
    fitted: bool,
}

/// In one unit.
pub(super) struct Table {
    title: String,
    unit: &'static str,
    /// Errors are differences of percentages, not ratios.
    in_points: bool,
    rows: Vec<Row>,
}

impl Table {
    fn new(title: &str, unit: &'static str) -> Self {
        Self { title: title.to_owned(), unit, in_points: false, rows: Vec::new() }
    }

    fn push(&mut self, name: String, published: f64, predicted: f64, fitted: bool) {
        self.rows.push(Row { name, published, predicted, fitted });
    }

    fn error(&self, row: &Row) -> f64 {
        if self.in_points {
            row.predicted - row.published
        } else {
            100.0 * (row.predicted / row.published - 1.0)
        }
    }

    /// With mean errors over all rows, and over those without a fitted constant.
    pub(super) fn text(&self) -> String {
        let sign = if self.in_points { "points" } else { "%" };
        let mut out = format!("{} [{}]\n", self.title, self.unit);
        for row in &self.rows {
            let mark = if row.fitted { "fitted" } else { "" };
            let _ = writeln!(
                out,
                "  {:<58} published {:>9.1}  predicted {:>9.1}  error {:>+7.1} {sign:<6} {mark}",
                row.name,
                row.published,
                row.predicted,
                self.error(row),
            );
        }
        for (label, only_new) in [("all rows", false), ("rows not fitted", true)] {
            let errors: Vec<f64> = self
                .rows
                .iter()
                .filter(|row| !only_new || !row.fitted)
                .map(|row| self.error(row).abs())
                .collect();
            if !errors.is_empty() {
                let mean = errors.iter().sum::<f64>() / errors.len() as f64;
                let count = errors.len();
                let _ = writeln!(out, "  mean absolute error, {label}: {mean:.1} {sign} ({count})");
            }
        }
        if self.in_points {
            let right = self.rows.iter().filter(|row| row.published * row.predicted > 0.0).count();
            let _ = writeln!(out, "  right sign: {right} of {}", self.rows.len());
        }
        out
    }
}

/// `GuideLLM`, which measured these tables, starts all users at once.
const GUIDELLM_START: &str = "load.ramp=0s";

/// One long prefix shared by all prompts (published evaluation, 2x L40S).
pub(super) fn shared_prefix(lab: &Lab) -> anyhow::Result<Vec<Table>> {
    let file = "examples/published-evaluation.yaml";
    let two = lab.run("shared-prefix", file, &[GUIDELLM_START.to_owned()])?;
    let one = lab.run(
        "shared-prefix-tp1",
        file,
        &[
            "models=[Qwen/Qwen3-14B]".to_owned(),
            "hardware=1x-l40s".to_owned(),
            "engine.tensor_parallel=1".to_owned(),
            "arms=[no-offload]".to_owned(),
            "load.users=[100]".to_owned(),
            "overrides={}".to_owned(),
            GUIDELLM_START.to_owned(),
        ],
    )?;
    let title = "One shared prefix, 2x L40S, vLLM 0.11.2: ";
    let mut throughput = Table::new(&format!("{title}output throughput"), "tok/s");
    let mut ttft = Table::new(&format!("{title}mean TTFT"), "ms");
    let mut itl = Table::new(&format!("{title}mean ITL"), "ms");
    let mut cost = Table::new(&format!("{title}cost of native offloading"), "% of throughput");
    cost.in_points = true;
    for row in &SHARED_PREFIX_L40S {
        let cells = if row.tensor_parallel == 1 { &one } else { &two };
        compare_serving(cells, row, &mut throughput, &mut ttft, &mut itl)?;
        let control = SHARED_PREFIX_L40S.iter().find(|other| {
            other.arm == "no-offload" && (other.model, other.users) == (row.model, row.users)
        });
        if let ("native-offload", Some(control)) = (row.arm, control) {
            let change = |with: f64, without: f64| 100.0 * (with / without - 1.0);
            let level = format!("c{}", row.users);
            let of = |arm| cells.figure((row.model, "", arm, &level), THROUGHPUT);
            let predicted = change(of(row.arm)?, of("no-offload")?);
            let published = change(row.output_tokens_per_s, control.output_tokens_per_s);
            cost.push(format!("{} c{}", row.model, row.users), published, predicted, row.fitted);
        }
    }
    Ok(vec![throughput, ttft, itl, cost])
}

fn compare_serving(
    cells: &Cells,
    row: &ServingRow,
    throughput: &mut Table,
    ttft: &mut Table,
    itl: &mut Table,
) -> anyhow::Result<()> {
    let level = format!("c{}", row.users);
    // The llm-d rows changed a key that is ignored: they repeat the control.
    let is_again = row.arm.starts_with("llm-d");
    let arm = if is_again { "no-offload" } else { row.arm };
    let of = |column| cells.figure((row.model, "", arm, &level), column);
    let note = if is_again { " (A/A in truth)" } else { "" };
    let tp = row.tensor_parallel;
    let name = format!("{} tp{tp} c{} {}{note}", short(row.model), row.users, row.arm);
    let predicted = of(THROUGHPUT)?;
    throughput.push(name.clone(), row.output_tokens_per_s, predicted, row.fitted);
    if let Some(published) = row.ttft_ms {
        // No constant was fitted to TTFT, but the rows were known.
        ttft.push(name.clone(), published, of("guidellm_ttft_mean_ms")?, row.fitted);
    }
    if let Some(published) = row.itl_ms {
        itl.push(name, published, of("guidellm_itl_mean_ms")?, row.fitted);
    }
    Ok(())
}

/// Runs whose prefixes do not fit the GPU.
pub(super) fn capacity_bound(lab: &Lab) -> anyhow::Result<Vec<Table>> {
    let title = "Two prefixes per user, 2x L40S: ";
    let mut throughput = Table::new(&format!("{title}peak output throughput"), "tok/s");
    let mut gain = Table::new(&format!("{title}gain of offloading"), "% of throughput");
    gain.in_points = true;
    let mut controls: Vec<(CapacityRow, usize, f64)> = Vec::new();
    for (index, row) in CAPACITY_L40S.iter().enumerate() {
        let is_again = row.arm.starts_with("llm-d");
        for (place, model) in CAPACITY_MODELS.iter().enumerate() {
            let control = controls.iter().find(|(of, at, _)| {
                (of.vllm, *at) == (row.vllm, place)
                    && of.gpu_memory_utilization == row.gpu_memory_utilization
            });
            // The llm-d rows repeat the control.
            let predicted = match control {
                Some((_, _, without)) if is_again => *without,
                _ => capacity_cell(lab, index, row, place)?,
            };
            let published = row.output_tokens_per_s[place];
            let name = capacity_name(row, place);
            throughput.push(name.clone(), published, predicted, row.fitted);
            // A connector defect (vllm-project/vllm#44294) puts the native 8B rows below what the
            // hardware allows; they measure no prediction.
            let is_defect = row.arm == "native-offload" && model.ends_with("-8B");
            match control {
                Some((of, _, without)) if !is_again && !is_defect => {
                    let published = 100.0 * (published / of.output_tokens_per_s[place] - 1.0);
                    gain.push(name, published, 100.0 * (predicted / without - 1.0), row.fitted);
                }
                Some(_) => {}
                None => controls.push((*row, place, predicted)),
            }
        }
    }
    Ok(vec![throughput, gain])
}

fn capacity_name(row: &CapacityRow, place: usize) -> String {
    let size = match (row.arm, row.host_blocks[place]) {
        ("native-offload", blocks) => format!(" {blocks} blocks"),
        (arm, _) if arm.starts_with("llm-d") => " (A/A in truth)".to_owned(),
        _ => String::new(),
    };
    let (model, gmu) = (short(CAPACITY_MODELS[place]), row.gpu_memory_utilization[place]);
    format!("{model} gmu{gmu} {}{size}, {}", row.arm, row.vllm)
}

/// Peak of the tokens of finished requests over the duration, as published. The pool has the
/// tokens that the engine reported.
fn capacity_cell(lab: &Lab, index: usize, row: &CapacityRow, place: usize) -> anyhow::Result<f64> {
    let model = CAPACITY_MODELS[place];
    let bytes = row.host_blocks[place];
    let arm = match row.arm {
        "no-offload" => "no-offload".to_owned(),
        arm @ ("lmcache-redis" | "lmcache-valkey") => {
            format!("{{preset: {arm}, bytes: {bytes} blocks, store: {{bytes: 512MB}}}}")
        }
        arm => format!("{{preset: {arm}, bytes: {bytes} blocks}}"),
    };
    let gmu = row.gpu_memory_utilization[place];
    let pool = if gmu == 0.9 { CAPACITY_POOL_TOKENS } else { CAPACITY_POOL_TOKENS_PRESSURE };
    let cells = lab.run(
        &format!("capacity-{index}-{place}"),
        "examples/capacity-bound.yaml",
        &[
            format!("models=[{model}]"),
            format!("engine.vllm={}", row.vllm),
            format!("engine.gpu_memory_utilization={gmu}"),
            format!("engine.kv_tokens={}", pool[place]),
            format!("arms=[{arm}]"),
            "load.users=[1,50,100]".to_owned(),
            "overrides={}".to_owned(),
            GUIDELLM_START.to_owned(),
        ],
    )?;
    cells.peak((model, "", row.arm), "completed_output_tokens_per_s")
}

/// Short prompts with a share in host memory.
pub(super) fn prefill_hits(lab: &Lab) -> anyhow::Result<Table> {
    let title = "Prompts of 512 tokens, a share of them in host memory, H100, Llama-3.1-8B";
    let mut table = Table::new(title, "prompt tok/s");
    for row in &OFFLOAD_HITS_H100 {
        // Whole blocks; at 0 % no prefix repeats, at 100 % the last block is computed.
        let shared = (512 * row.hit_percent / 100 / 16 * 16).clamp(16, 496);
        let prefixes = if row.hit_percent == 0 { 10_000_000 } else { 1000 };
        let cells = lab.run(
            &format!("hits-{}", row.hit_percent),
            "validation/prefill-hits.yaml",
            &[
                format!("workload.shared-prefix.prefixes={prefixes}"),
                format!("workload.shared-prefix.prefix_tokens={shared}"),
                format!("workload.shared-prefix.prompt_tokens={}", 512 - shared),
            ],
        )?;
        let cell = ("meta-llama/Llama-3.1-8B", "1x-h100", "native-offload", "c128");
        let predicted = cells.figure(cell, "prompt_tokens_per_s")?;
        let name = format!("{} % in host memory", row.hit_percent);
        table.push(name, row.prompt_tokens_per_s, predicted, row.fitted);
    }
    Ok(table)
}

/// One request, computed or loaded from host memory.
pub(super) fn offload_ttft(lab: &Lab) -> anyhow::Result<Table> {
    let mut table = Table::new("One request, H100, Llama-3.1-8B: median TTFT", "ms");
    for row in &OFFLOAD_TTFT_H100 {
        let tokens = row.prompt_tokens;
        let cells = lab.run(
            &format!("ttft-{tokens}"),
            "validation/offload-ttft.yaml",
            &[
                format!("engine.max_model_len={}", tokens + 64),
                format!("engine.kv_tokens={}", tokens + 80),
                format!("workload.shared-prefix.prefix_tokens={}", tokens - 16),
            ],
        )?;
        let of =
            |arm| cells.figure(("meta-llama/Llama-3.1-8B", "1x-h100", arm, "c1"), "ttft_p50_ms");
        table.push(
            format!("{tokens} tokens computed"),
            row.computed_ms,
            of("no-offload")?,
            row.fitted,
        );
        table.push(
            format!("{tokens} tokens loaded"),
            row.loaded_ms,
            of("native-offload")?,
            row.fitted,
        );
    }
    Ok(table)
}

fn short(model: &str) -> &str {
    model.rsplit('/').next().unwrap_or(model)
}
