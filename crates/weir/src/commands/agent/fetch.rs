//! `weir agent fetch`: the run of a field, to this machine.

use weir_field::{RunFetch, RunPhase, RunState, Token};
use weir_http::Url;

use crate::cli::AgentFetchArgs;
use crate::exit::{Exit, Mistake};
use crate::interrupt::{Interrupt, Waiting};
use crate::printer::Printer;

pub(super) fn run(args: &AgentFetchArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let url = Url::parse(&args.url)
        .map_err(|error| Mistake(format!("{}: {error}; write http://HOST:PORT", args.url)))?;
    if url.scheme_is_tls {
        return Err(Mistake(format!("{url}: the control channel has no TLS")).into());
    }
    let token = Token::given(args.token_file.as_deref())?;
    let interrupt = Interrupt::listen(Waiting::Cells, printer.is_quiet())?;
    let mut fetch = RunFetch::new(&url, token.as_ref());
    let mut told = None;
    let mut seen = |state: &RunState| {
        if told != Some(state.done) {
            told = Some(state.done);
            printer.note(&format!("{} of {} cells", state.done, state.cells));
        }
    };
    let state = fetch.wait(&mut seen, &|| interrupt.is_set())?;
    let files = fetch.files(&args.out)?;
    if !args.keep {
        fetch.leave()?;
    }
    printer.result(&format!("{files} files fetched into {}\n", args.out.display()))?;
    if let Some(problem) = &state.problem {
        printer.note(&format!("the run ended early: {problem}"));
    }
    Ok(if state.phase == RunPhase::Done { Exit::Done } else { Exit::DoneWithFaults })
}
