//! `weir calibrate`: the constants of the timing model from a recording.

use weir_model::RequestRow;
use weir_model::quantity::Span;
use weir_record::{CellReader, RunFolder};
use weir_report::calibration::{Calibration, Sample, calibrate, samples};
use weir_report::results::{Results, Why};
use weir_report::words::{self, refusal_words};
use weir_spec::Plan;
use weir_spec::plan::{ArmRole, Deployment};

use crate::cli::CalibrateArgs;
use crate::exit::{Exit, Mistake};
use crate::printer::Printer;
use crate::results;

/// Larger median errors are reported as bad.
const BAD: f64 = 0.15;

pub(crate) fn run(args: &CalibrateArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let run = RunFolder::open_read_only(&args.run)?;
    let plan: Plan = run.plan()?;
    let name = run.path().display().to_string();
    let refused = |why: &str| Mistake(format!("{name}: {why}"));
    if plan.target.live().is_none() {
        let why = "it was simulated and would give its own constants back; name a recording of a \
                   live target";
        return Err(refused(why).into());
    }
    let results = results::read(&run, &plan, printer)?;
    let mut documents = Vec::new();
    for (index, deployment) in plan.deployments.iter().enumerate() {
        let usable = usable(&results, index).map_err(|why| refused(&why))?;
        let (mut found, mut all) = (Vec::new(), 0);
        for path in &usable {
            let (more, rows) = of_cell(&run, &plan, path)?;
            found.extend(more);
            all += rows;
        }
        let place = format!("{} on {}", deployment.model.name, deployment.label);
        let fit = calibrate(&found, all).map_err(|error| refused(&format!("{place}: {error}")))?;
        for warning in warnings(&fit) {
            printer.note(&format!("{place}: {warning}"));
        }
        let source = format!(
            "{place}, vLLM {}\n# from {} of {name} (plan {})",
            deployment.vllm,
            cells(usable.len()),
            run.header().plan_hash
        );
        documents.push(document(&source, deployment, &fit));
    }
    printer.result(&documents.join("---\n"))?;
    Ok(Exit::Done)
}

fn cells(count: usize) -> String {
    if count == 1 { "the no-offload cell".into() } else { format!("{count} no-offload cells") }
}

/// Cells of a deployment without offloading that count, or the reason for none.
fn usable(results: &Results<'_>, deployment: usize) -> Result<Vec<String>, String> {
    let of = &results.plan.deployments[deployment];
    let is_plain = |arm: usize| {
        let arm = &of.arms[arm];
        let is_control = matches!(arm.role, ArmRole::Control | ArmRole::ControlAgain);
        is_control && arm.offload.is_none()
    };
    let (mut paths, mut others) = (Vec::new(), Vec::new());
    for (index, cell) in results.plan.cells.iter().enumerate() {
        if cell.deployment != deployment || !is_plain(cell.arm) {
            continue;
        }
        match results.cells.iter().find(|result| result.cell == index) {
            Some(result) if result.counts() => paths.push(cell.path.clone()),
            Some(result) => {
                let certificate = result.record.figures.certificate.as_ref();
                let why = certificate
                    .and_then(refusal_words)
                    .or_else(|| result.why().map(Why::words))
                    .map_or_else(String::new, |why| format!(" ({why})"));
                let verdict = words::verdict(&result.verdict());
                others.push(format!("{} is {verdict}{why}", cell.path));
            }
            None => others.push(format!("{} has not run", cell.path)),
        }
    }
    let place = format!("{} on {}", of.model.name, of.label);
    match (paths.is_empty(), others.is_empty()) {
        (false, _) => Ok(paths),
        (true, true) => Err(format!(
            "{place}: the plan has no arm without offloading; record one with `arms: [no-offload]`"
        )),
        (true, false) => Err(format!(
            "{place}: no cell without offloading counts: {}; run it again",
            others.join("; ")
        )),
    }
}

/// Samples of a cell's requests, and the number of requests.
fn of_cell(run: &RunFolder, plan: &Plan, path: &str) -> anyhow::Result<(Vec<Sample>, usize)> {
    let reader = CellReader::open(run, path)?;
    let rows: Vec<RequestRow> = reader.rows()?.collect::<Result<_, _>>()?;
    let cell = plan.cells.iter().find(|cell| cell.path == path);
    let Some(cell) = cell else { return Ok((Vec::new(), 0)) };
    let deployment = &plan.deployments[cell.deployment];
    let last_end = rows.iter().map(|row| row.end).max().unwrap_or_default();
    let window = deployment.levels[cell.level].window(last_end);
    let budget = deployment.engine.max_num_batched_tokens;
    Ok((samples(&rows, window, budget), rows.len()))
}

fn warnings(fit: &Calibration) -> Vec<String> {
    let mut warnings = Vec::new();
    let of = [
        ("all requests", Some(fit.first_error.0)),
        ("prompts that were computed whole", fit.bias.0),
        ("prompts that the GPU's cache held for the larger part", fit.bias.1),
    ];
    for (which, error) in of {
        if let Some(error) = error.filter(|error| error.abs() > BAD) {
            warnings.push(format!(
                "the fit is bad: of {which}, the median error of the time to the first token is \
                 {:.0} %; record on an idle machine, with lengths as in the runs to be predicted",
                error * 100.0
            ));
        }
    }
    warnings
}

fn document(source: &str, deployment: &Deployment, fit: &Calibration) -> String {
    let bias = |name: &str, bias: Option<f64>| {
        bias.map_or_else(String::new, |bias| format!("{name} {:+.0} %", bias * 100.0))
    };
    let context = fit.context_ns.map_or_else(String::new, |ns| {
        format!("# Each token of context adds {ns:.0} ns to it, which `fixed` leaves out.\n")
    });
    let (low, median, high) = fit.token_s;
    format!(
        "# {source}:\n\
         # {} requests that ran alone and computed {} to {} tokens, at most {} per pass.\n\
         # First token: off by {:.0} % (median), {:.0} % (90th percentile){}{}.\n\
         # Next tokens: {:.2} ms ({:.2} to {:.2} ms, 10th to 90th percentile).\n\
         {context}\
         # Not for a comparison with these cells: they agree by construction.\n\
         engine:\n  timing:\n    fixed: {{base: {}, per_token: {}}}\n",
        fit.requests,
        fit.computed.0,
        fit.computed.1,
        deployment.engine.max_num_batched_tokens,
        fit.first_error.0 * 100.0,
        fit.first_error.1 * 100.0,
        bias("; prompts computed whole", fit.bias.0),
        bias(", mostly from the cache", fit.bias.1),
        median * 1e3,
        low * 1e3,
        high * 1e3,
        Span(fit.base),
        Span(fit.per_token),
    )
}
