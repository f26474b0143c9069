//! One run: a fresh server, one tool, and the results of both.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::case::Case;
use crate::figures::{self, Figures};
use crate::processes::{Samples, Tree};
use crate::server::Server;
use crate::tool::{Job, Places, Tool};

/// Of the tool's processes.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOG_LINES: usize = 8;

pub(crate) struct Setting<'a> {
    pub(crate) places: Places,
    pub(crate) server_core: usize,
    pub(crate) client_core: usize,
    pub(crate) duration_s: f64,
    /// Beyond the duration.
    pub(crate) patience: Duration,
    pub(crate) stop: &'a AtomicBool,
}

/// The tool's files stay in `folder`.
pub(crate) fn run(setting: &Setting, case: Case, tool: &Tool, folder: &Path) -> Result<Figures> {
    fs::create_dir_all(folder).with_context(|| format!("{} not made", folder.display()))?;
    let server = Server::start(case, setting.server_core, folder)?;
    let job = Job {
        places: &setting.places,
        case,
        url: &server.url,
        duration_s: setting.duration_s,
        out: folder,
    };
    let log = folder.join("output.txt");
    let file = File::create(&log).with_context(|| format!("{} not made", log.display()))?;
    let others = BTreeSet::from([server.pid()]);
    let mut tree =
        Tree::start(tool.command(&job)?, setting.client_core, setting.server_core, file, others)?;
    let watched = watch(setting, &mut tree);
    tree.end();
    let (samples, was_well) = watched?;
    let own = tool.own(&job);
    // A tool may fail by its own criteria after it wrote its results: they count.
    let own = match (own, was_well) {
        (Ok(own), _) => own,
        (Err(error), true) => return Err(error),
        (Err(_), false) => bail!("{} failed:\n{}", tool.name, last_lines(&log)),
    };
    let truth = server.truth()?;
    if truth.run.tokens == 0 {
        bail!("{} got no token:\n{}", tool.name, last_lines(&log));
    }
    Ok(figures::of(&truth, &own, &samples))
}

fn watch(setting: &Setting, tree: &mut Tree) -> Result<(Samples, bool)> {
    let limit = Duration::from_secs_f64(setting.duration_s) + setting.patience;
    let start = Instant::now();
    let mut samples = Samples::default();
    loop {
        // The end is checked before the last sample, which then includes everything.
        let ended = tree.ended()?;
        samples.0.push(tree.sample());
        if let Some(was_well) = ended {
            return Ok((samples, was_well));
        }
        if setting.stop.load(Ordering::Relaxed) {
            bail!("stopped");
        }
        if start.elapsed() > limit {
            bail!("did not end within {:.0} s", limit.as_secs_f64());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn last_lines(log: &Path) -> String {
    let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let shown = &lines[lines.len().saturating_sub(LOG_LINES)..];
    shown.iter().flat_map(|line| ["    ", line, "\n"]).collect()
}
