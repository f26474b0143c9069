//! `weir agent load`: a part of somebody else's load.

use std::net::TcpListener;

use anyhow::Context;
use weir_field::{Agent, AgentEnd, AgentOptions, Token};
use weir_http::Url;

use crate::cli::AgentLoadArgs;
use crate::exit::{Exit, Mistake};
use crate::printer::Printer;

/// Of an indexed Kubernetes Job.
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";

pub(super) fn run(args: &AgentLoadArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let token = Token::given(args.token_file.as_deref())?;
    let is_once = args.once || args.field.is_some();
    let index = index(args)?;
    let maker = weir_lab::live::make_prompts;
    let agent = Agent::new(AgentOptions { token, is_once, index, maker })?;
    let end = if let Some(field) = &args.field {
        let url = Url::parse(field).map_err(|error| {
            Mistake(format!("--field {field}: {error}; write http://HOST:PORT"))
        })?;
        if url.scheme_is_tls {
            return Err(Mistake(format!("--field {field}: the control channel has no TLS")).into());
        }
        agent.dial(&url)?
    } else {
        let listener = TcpListener::bind(&args.listen).with_context(|| {
            format!("cannot listen on {}; give --listen HOST:PORT with a free port", args.listen)
        })?;
        let address = listener.local_addr().context("cannot read the listener's address")?;
        printer.result(&format!("{address}  agent\n"))?;
        agent.listen(&listener)?
    };
    Ok(match end {
        AgentEnd::Dismissed => Exit::Done,
        AgentEnd::Forsaken => {
            printer.note("no field asked for long: the agent ends");
            Exit::Environment
        }
    })
}

fn index(args: &AgentLoadArgs) -> Result<Option<u32>, Mistake> {
    let given = std::env::var(INDEX_VARIABLE).ok().filter(|_| args.field.is_some());
    match (args.index, given) {
        (Some(index), _) => Ok(Some(index)),
        (None, Some(text)) => match text.parse() {
            Ok(index) => Ok(Some(index)),
            Err(_) => Err(Mistake(format!("{INDEX_VARIABLE} is {text:?}: a number is expected"))),
        },
        (None, None) => Ok(None),
    }
}
