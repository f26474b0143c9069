use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use weir_bench_load::truth::{Run, Served};

use crate::case::{Case, FIRST_MS, Pace};

/// Ends with this value, and with this process.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    log: PathBuf,
    summary: PathBuf,
}

pub(crate) struct Truth {
    pub(crate) run: Run,
    pub(crate) rows: Vec<Served>,
}

impl Server {
    pub(crate) fn start(case: Case, core: usize, folder: &Path) -> Result<Self> {
        let binary = crate::tool::sibling("mock")?;
        let (log, summary) = (folder.join("truth.csv"), folder.join("truth.json"));
        let mut command = Command::new(&binary);
        command.args(["--core", &core.to_string(), "--until-stdin-closes", "--log"]).arg(&log);
        command.arg("--summary").arg(&summary);
        match case.pace {
            Pace::Unpaced { burst } => command.args(["--burst", &burst.to_string()]),
            Pace::Paced { every_ms } => {
                let (first, every) = (FIRST_MS.to_string(), every_ms.to_string());
                command.args(["--first-ms", &first, "--every-ms", &every])
            }
        };
        // A pipe that closes when this process ends, however it ends.
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} could not be started", binary.display()))?;
        let mut line = String::new();
        let output = child.stdout.take().context("the mock has no output")?;
        BufReader::new(output).read_line(&mut line).context("the mock's first line")?;
        let address = line.trim().strip_prefix("listening on ").map(str::to_owned);
        let mut server = Self { child, url: String::new(), log, summary };
        let address = address.with_context(|| format!("the mock did not start: {line}"))?;
        server.url = format!("http://{address}");
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn truth(mut self) -> Result<Truth> {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            kill_process(pid, Signal::TERM).context("the mock could not be ended")?;
        }
        let status = self.child.wait().context("the mock's end")?;
        ensure!(status.success(), "the mock ended with {status}");
        let text = fs::read(&self.summary)
            .with_context(|| format!("{} is missing", self.summary.display()))?;
        let run = serde_json::from_slice(&text)
            .with_context(|| format!("{} is no summary", self.summary.display()))?;
        let mut reader = csv::Reader::from_path(&self.log)
            .with_context(|| format!("{} is missing", self.log.display()))?;
        let rows = reader
            .deserialize()
            .collect::<Result<_, _>>()
            .with_context(|| format!("{} is no log", self.log.display()))?;
        Ok(Truth { run, rows })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After `truth` both do nothing: the process is reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
