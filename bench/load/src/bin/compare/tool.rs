//! The tools: their command lines and results.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::case::{Case, PROMPT_TOKENS, Pace};
use crate::own::{self, Own};
use crate::weir_rows;

/// Split into words before the placeholders are filled.
const WEIR: &str = "load {url} --model {model} --users {streams} --prompt-tokens {prompt_tokens} \
                    --output-tokens {output_tokens} --duration {duration_s}s --out {out}/run";
/// For the mock and all tools.
const MODEL: &str = "mock";
/// Assumed rate for the number of requests of peers without a duration.
const ASSUMED_TOKENS_PER_S: f64 = 100_000.0;

#[derive(Debug, Clone)]
pub(crate) struct Tool {
    pub(crate) name: String,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Bare,
    Weir,
    Guidellm,
    Aiperf,
    /// A command of the user's.
    Peer(String),
}

/// The practical limit, which all ratios refer to.
pub(crate) const BARE: &str = "bare";
pub(crate) const WEIR_NAME: &str = "weir";

/// Programs and data of the tools.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) weir: PathBuf,
    /// The folder that `scripts/peers/clients` prints.
    pub(crate) clients: PathBuf,
    /// A tokenizer for Hugging Face's loaders.
    pub(crate) tokenizer: PathBuf,
}

pub(crate) struct Job<'a> {
    pub(crate) places: &'a Places,
    pub(crate) case: Case,
    pub(crate) url: &'a str,
    pub(crate) duration_s: f64,
    pub(crate) out: &'a Path,
}

impl Tool {
    pub(crate) fn named(name: &str) -> Result<Self> {
        let kind = match name {
            BARE => Kind::Bare,
            WEIR_NAME => Kind::Weir,
            "guidellm" => Kind::Guidellm,
            "aiperf" => Kind::Aiperf,
            _ => anyhow::bail!("no tool is named {name}: bare, weir, guidellm, aiperf, or --peer"),
        };
        Ok(Self { name: name.to_owned(), kind })
    }

    /// From `NAME=COMMAND`.
    pub(crate) fn peer(text: &str) -> Result<Self> {
        let (name, command) =
            text.split_once('=').with_context(|| format!("--peer {text}: not NAME=COMMAND"))?;
        ensure!(command.contains("{url}"), "--peer {name}: the command has no {{url}}");
        Ok(Self { name: name.trim().to_owned(), kind: Kind::Peer(command.to_owned()) })
    }

    /// Slow tools run only in the first and the paced tables.
    pub(crate) fn is_slow(&self) -> bool {
        matches!(self.kind, Kind::Guidellm | Kind::Aiperf)
    }

    /// Whether it needs [`Places::tokenizer`].
    pub(crate) fn needs_tokenizer(&self) -> bool {
        self.is_slow()
    }

    /// Why it cannot run here.
    pub(crate) fn missing(&self, places: &Places) -> Option<String> {
        let (path, remedy) = match self.kind {
            Kind::Bare => (sibling("bare").ok()?, "build bench/load"),
            Kind::Weir => (places.weir.clone(), "run `make build`"),
            Kind::Guidellm => (self.client(places), "run scripts/peers/clients guidellm"),
            Kind::Aiperf => (self.client(places), "run scripts/peers/clients aiperf"),
            Kind::Peer(_) => return None,
        };
        (!path.is_file()).then(|| format!("{} is not there: {remedy}", path.display()))
    }

    fn client(&self, places: &Places) -> PathBuf {
        places.clients.join(&self.name).join("bin").join(&self.name)
    }

    pub(crate) fn command(&self, job: &Job<'_>) -> Result<Command> {
        let mut command = match &self.kind {
            Kind::Bare => bare(job)?,
            Kind::Weir => {
                let mut command = Command::new(&job.places.weir);
                command.args(WEIR.split_whitespace().map(|word| job.fill(word)));
                command
            }
            Kind::Guidellm => guidellm(&self.client(job.places), job),
            Kind::Aiperf => aiperf(&self.client(job.places), job),
            Kind::Peer(text) => {
                let mut command = Command::new("/bin/sh");
                command.arg("-c").arg(job.fill(text));
                command
            }
        };
        command.current_dir(job.out);
        Ok(command)
    }

    /// Its results of the run.
    pub(crate) fn own(&self, job: &Job<'_>) -> Result<Own> {
        match self.kind {
            Kind::Bare => own::of_bare(&job.out.join("bare.json"), &job.out.join("bare.csv")),
            Kind::Weir => {
                let run = job.out.join("run");
                let requests = weir_rows::requests(&run)?;
                Ok(Own { requests, ..own::of_weir(&weir_rows::cell(&run)?)? })
            }
            Kind::Guidellm => own::of_guidellm(&job.out.join("report.json")),
            Kind::Aiperf => own::of_aiperf(&job.out.join("aiperf")),
            Kind::Peer(_) => Ok(own::of_any_vllm(job.out).unwrap_or_default()),
        }
    }
}

impl Job<'_> {
    fn fill(&self, text: &str) -> String {
        let places = [
            ("{url}", self.url.to_owned()),
            ("{model}", MODEL.to_owned()),
            ("{streams}", self.case.streams.to_string()),
            ("{prompt_tokens}", PROMPT_TOKENS.to_string()),
            ("{output_tokens}", self.case.output_tokens.to_string()),
            ("{requests}", self.requests().to_string()),
            ("{duration_s}", self.duration_s.to_string()),
            ("{out}", self.out.display().to_string()),
            ("{tokenizer}", self.places.tokenizer.display().to_string()),
        ];
        places.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    /// About as many requests as fit into the duration, at least two per stream.
    fn requests(&self) -> u64 {
        let streams = f64::from(self.case.streams);
        let tokens = f64::from(self.case.output_tokens);
        let requests = match self.case.pace {
            Pace::Unpaced { .. } => self.duration_s * ASSUMED_TOKENS_PER_S / tokens,
            Pace::Paced { every_ms } => {
                let request_s = 0.1 + f64::from(every_ms) / 1e3 * (tokens - 1.0);
                streams * (self.duration_s / request_s).round()
            }
        };
        requests.max(2.0 * streams) as u64
    }
}

fn bare(job: &Job<'_>) -> Result<Command> {
    let mut command = Command::new(sibling("bare")?);
    command.arg(job.url).args([
        "--streams",
        &job.case.streams.to_string(),
        "--prompt-tokens",
        &PROMPT_TOKENS.to_string(),
        "--output-tokens",
        &job.case.output_tokens.to_string(),
        "--duration-s",
        &job.duration_s.to_string(),
        "--out",
        "bare.csv",
        "--json",
        "bare.json",
    ]);
    Ok(command)
}

fn guidellm(program: &Path, job: &Job<'_>) -> Command {
    let Job { url, case, duration_s, places, .. } = job;
    let tokens = case.output_tokens;
    let mut command = Command::new(program);
    command.arg("run").args([
        "--backend",
        &format!("kind=openai_http,target={url},model={MODEL}"),
        "--profile",
        &format!("kind=concurrent,streams={}", case.streams),
        "--constraint",
        &format!("kind=max_duration,seconds={duration_s}"),
        "--tokenizer",
        &format!("kind=hf_auto,model={}", places.tokenizer.display()),
        "--data",
        &format!("kind=synthetic_text,prompt_tokens={PROMPT_TOKENS},output_tokens={tokens}"),
        "--output",
        "kind=json,path=report.json",
        "--disable-console",
    ]);
    command
}

fn aiperf(program: &Path, job: &Job<'_>) -> Command {
    let mut command = Command::new(program);
    command.args(["profile", "--model", MODEL, "--url", job.url]);
    command.args(["--endpoint-type", "chat", "--streaming", "--use-server-token-count"]);
    command.arg("--tokenizer").arg(&job.places.tokenizer);
    command.args(["--concurrency", &job.case.streams.to_string()]);
    command.args(["--benchmark-duration", &job.duration_s.to_string()]);
    command.args(["--prompt-input-tokens-mean", &PROMPT_TOKENS.to_string()]);
    command.args(["--prompt-output-tokens-mean", &job.case.output_tokens.to_string()]);
    command.args(["--output-artifact-dir", "aiperf", "--ui", "none"]);
    command.args(["--no-gpu-telemetry", "--no-server-metrics"]);
    command
}

/// A binary that was built together with this one.
pub(crate) fn sibling(name: &str) -> Result<PathBuf> {
    let this = env::current_exe().context("the path of this binary is unknown")?;
    Ok(this.with_file_name(name))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{Job, Places, Tool};
    use crate::case::{Case, Pace};

    #[test]
    fn a_peers_command_is_filled_in() {
        let places = Places {
            weir: PathBuf::new(),
            clients: PathBuf::new(),
            tokenizer: PathBuf::from("/tokenizer"),
        };
        let case = Case { pace: Pace::Paced { every_ms: 10 }, streams: 64, output_tokens: 128 };
        let job = Job {
            places: &places,
            case,
            url: "http://127.0.0.1:1",
            duration_s: 20.0,
            out: Path::new("/out"),
        };
        let tool = Tool::peer("x=run {url} -c {streams} -n {requests} > {out}/x").expect("a peer");
        let command = tool.command(&job).expect("a command");
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        // 20 s hold 15 requests of 1.37 s.
        assert_eq!(words[1], "run http://127.0.0.1:1 -c 64 -n 960 > /out/x");
        assert!(Tool::peer("x=run").is_err());
        assert!(Tool::peer("run {url}").is_err());
        assert!(Tool::named("ab").is_err());
    }
}
