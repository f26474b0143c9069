//! `weir tokenizer`: tokens of prompts, for an endpoint picker in the same pod.

use std::time::Duration;

use weir_deploy::DeployError;
use weir_http::Url;
use weir_picker::Services;

use crate::cli::TokenizerArgs;
use crate::exit::Exit;
use crate::interrupt::{Interrupt, Waiting};
use crate::printer::Printer;

const LOOK: Duration = Duration::from_millis(100);

pub(crate) fn run(args: &TokenizerArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let urls = args.engines.iter().map(|text| Url::parse(text).map_err(DeployError::from));
    let urls = urls.collect::<Result<Vec<Url>, _>>()?;
    let interrupt = Interrupt::listen(Waiting::Cells, printer.is_quiet())?;
    let services = Services::tokenizer(urls, &args.model, &args.socket);
    let services = services.map_err(DeployError::from)?;
    printer.result(&format!("tokens of {} at {}", args.model, args.socket.display()))?;
    while !interrupt.is_set() {
        std::thread::sleep(LOOK);
    }
    drop(services);
    Ok(Exit::Done)
}
