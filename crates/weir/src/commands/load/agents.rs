//! Who generates the load: processes of this machine, or agents on others.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::Context;
use weir_field::{Division, Field, Token};
use weir_lab::host;
use weir_spec::Plan;
use weir_spec::plan::LevelLoad;

use crate::cli::SeveralArgs;
use crate::interrupt::Interrupt;
use crate::printer::Printer;

enum Who {
    Processes,
    Listening(Vec<String>),
    Dialing { at: String, patience: Duration },
}

pub(super) struct Several {
    who: Who,
    count: usize,
    token: Option<Token>,
}

impl Several {
    /// None where this process generates the load.
    pub(super) fn of(args: &SeveralArgs) -> anyhow::Result<Option<Self>> {
        let (who, count) = match (args.processes, args.gather) {
            (Some(count), _) => (Who::Processes, usize::from(count)),
            (None, Some(count)) => {
                let patience = Duration::from_nanos(args.gather_timeout.0.0);
                (Who::Dialing { at: args.gather_at.clone(), patience }, usize::from(count))
            }
            (None, None) if args.agents.is_empty() => return Ok(None),
            (None, None) => (Who::Listening(args.agents.clone()), args.agents.len()),
        };
        let token = match who {
            Who::Processes => None,
            _ => Token::given(args.agent_token_file.as_deref())?,
        };
        Ok(Some(Self { who, count, token }))
    }

    /// Before the first request.
    pub(super) fn check(&self, plan: &Plan) -> anyhow::Result<()> {
        for level in plan.deployments.iter().flat_map(|deployment| &deployment.levels) {
            let users = match level.load {
                LevelLoad::Users(users) => Some(users),
                _ => None,
            };
            let (max_requests, workload) = (level.max_requests, &level.workload);
            Division { users, max_requests, workload }
                .check(self.count)
                .with_context(|| format!("level {}", level.name))?;
        }
        Ok(())
    }

    pub(super) fn words(&self) -> String {
        let count = self.count;
        match &self.who {
            Who::Processes => format!("{count} processes of this machine"),
            Who::Listening(agents) => format!("the agents {}", agents.join(", ")),
            Who::Dialing { at, .. } => format!("{count} agents that dial {at}"),
        }
    }

    pub(super) fn field(self, stop: &Interrupt, printer: &mut Printer) -> anyhow::Result<Field> {
        let run = format!("{:016x}", host::nonce());
        let (token, stopped) = (self.token.as_ref(), || stop.is_set());
        Ok(match self.who {
            Who::Processes => {
                let program = std::env::current_exe().context("cannot find this program's file")?;
                Field::here(&program, self.count, &run, &stopped)?
            }
            Who::Listening(agents) => Field::dial(&agents, token, &run)?,
            Who::Dialing { at, patience } => {
                let listener = TcpListener::bind(&at).with_context(|| {
                    format!("cannot listen on {at}; give --gather-at HOST:PORT with a free port")
                })?;
                printer.note(&format!("waiting for {} agents on {at}", self.count));
                Field::gather(listener, self.count, token, &run, patience, &stopped, None)?
            }
        })
    }
}
