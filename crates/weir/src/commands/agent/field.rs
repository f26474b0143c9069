//! `weir agent field`: an experiment beside the engines, with agents that dial.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use weir_field::{Desk, Field, Token};
use weir_lab::{Ended, Planned, folder, host};
use weir_record::RunFolder;
use weir_report::terminal;
use weir_spec::Plan;

use crate::cli::AgentFieldArgs;
use crate::exit::{Exit, Mistake};
use crate::interrupt::{Interrupt, Waiting};
use crate::planned::planned;
use crate::printer::Printer;
use crate::results::conclude;
use crate::run_progress::RunProgress;

pub(super) fn run(args: &AgentFieldArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let token = Token::given(args.token_file.as_deref())?;
    let listener = TcpListener::bind(&args.listen).with_context(|| {
        format!("cannot listen on {}; give --listen HOST:PORT with a free port", args.listen)
    })?;
    let address = listener.local_addr().context("cannot read the listener's address")?;
    let interrupt = Interrupt::listen(Waiting::Cells, printer.is_quiet())?;
    let (run, plan) = opened(args)?;
    let desk = Arc::new(Desk::new(run.path(), plan.cells.len()));
    printer.result(&format!("{address}  field of {}\n", run.path().display()))?;
    let patience = Duration::from_nanos(args.timeout.0.0);
    let stopped = || interrupt.is_set();
    let agents = usize::from(args.agents);
    let name = format!("{:016x}", host::nonce());
    let served = Some(Arc::clone(&desk));
    let (token, name) = (token.as_ref(), name.as_str());
    let mut field = Field::gather(listener, agents, token, name, patience, &stopped, served)?;
    let progress = RunProgress::new(interrupt.clone(), printer.is_quiet());
    let ended = weir_lab::run(&plan, &run, 1, Some(&field), &progress, progress.stop());
    field.let_go();
    desk.end(ended.as_ref().err().map(ToString::to_string));
    let exit = ended.map_err(anyhow::Error::from).and_then(|Ended { sweep, analysis }| {
        let summary = terminal::summary(&analysis.comparison);
        let exit = conclude(&run, &analysis, &summary, printer)?;
        Ok(if sweep.is_stopped { Exit::DoneWithFaults } else { exit })
    });
    if !desk.wait_left(Duration::from_nanos(args.keep.0.0), &stopped) {
        printer.note("nobody fetched the run and let the field go; the folder stays");
    }
    exit
}

/// A new run, or the one that a field before left in the folder.
fn opened(args: &AgentFieldArgs) -> anyhow::Result<(RunFolder, Plan)> {
    let Planned { text, mut plan } = planned(&args.experiment)?;
    if plan.target.endpoint().is_none() {
        let message = "target: agents can load an endpoint only; write `target: {endpoint: ...}`";
        return Err(Mistake(message.to_owned()).into());
    }
    let out: &Path = &args.out;
    if RunFolder::open_read_only(out).is_ok() {
        return Ok(folder::resume(out, Some(plan))?);
    }
    plan.check_complete()?;
    plan.salt_prompts(host::nonce());
    let run = folder::create(out, &weir_spec::recorded_text(&text), &plan)?;
    Ok((run, plan))
}
