//! `weir explain`: what happened in a run, in words.

use std::collections::BTreeMap;

use weir_deploy::{Emptied, EmptiedCount, Emptiness, Started};
use weir_lab::live::Journal;
use weir_model::Note;
use weir_record::RunFolder;
use weir_report::comparison::Comparison;
use weir_report::explanation::{CellNotes, Scope, explain};
use weir_report::results::Results;
use weir_spec::Plan;
use weir_spec::plan::Deployment;

use crate::cli::ExplainArgs;
use crate::exit::{Exit, Mistake};
use crate::printer::Printer;
use crate::results;

pub(crate) fn run(args: &ExplainArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let run = RunFolder::open_read_only(&args.run)?;
    let plan: Plan = run.plan()?;
    let arms = |of: &Deployment| of.arms.iter().map(|arm| arm.name.clone()).collect();
    let levels = |of: &Deployment| of.levels.iter().map(|level| level.name.clone()).collect();
    check(&run, &plan, "arm", args.arm.as_deref(), arms)?;
    check(&run, &plan, "level", args.level.as_deref(), levels)?;
    let results = results::read(&run, &plan, printer)?;
    if results.cells.is_empty() {
        let folder = run.path().display();
        printer.note(&format!(
            "{folder}: no cell has run yet; `weir run --resume {folder}` runs them"
        ));
    }
    let told = told(&run, &results);
    let comparison = Comparison::of(&results)?;
    let scope = Scope { arm: args.arm.as_deref(), level: args.level.as_deref() };
    printer.result(&explain(&results, &comparison, &told, scope)?)?;
    Ok(Exit::Done)
}

/// Refuses a name that no deployment of the plan has.
fn check(
    run: &RunFolder,
    plan: &Plan,
    what: &str,
    asked: Option<&str>,
    names: impl Fn(&Deployment) -> Vec<String>,
) -> Result<(), Mistake> {
    let mut known: Vec<String> = plan.deployments.iter().flat_map(names).collect();
    known.dedup();
    let Some(asked) = asked.filter(|asked| known.iter().all(|name| name != asked)) else {
        return Ok(());
    };
    let mut each: Vec<&str> = Vec::new();
    for name in &known {
        if !each.contains(&name.as_str()) {
            each.push(name);
        }
    }
    Err(Mistake(format!(
        "{}: no {what} `{asked}`; the run has {}",
        run.path().display(),
        each.join(", ")
    )))
}

/// From `trial.json` of live cells. An unreadable journal is a note: the cells have the rest.
fn told(run: &RunFolder, results: &Results<'_>) -> BTreeMap<usize, CellNotes> {
    let mut all = BTreeMap::new();
    if results.plan.target.live().is_none() {
        return all;
    }
    for result in &results.cells {
        let Ok(folder) = run.cell_folder(&result.record.path) else { continue };
        if !folder.join("trial.json").exists() {
            continue;
        }
        let told = match Journal::read(&folder) {
            Ok(journal) => of_journal(&journal),
            Err(error) => {
                CellNotes { notes: vec![Note::Error(error.to_string())], ..CellNotes::default() }
            }
        };
        all.insert(result.cell, told);
    }
    all
}

fn of_journal(journal: &Journal) -> CellNotes {
    CellNotes {
        started: journal.started.as_ref().map_or_else(Vec::new, started),
        prepared: prepared(&journal.caches),
        notes: journal.notes.clone(),
    }
}

/// A sentence for each state of the caches: counted empty, not empty, only answered, unknown.
fn prepared(caches: &[Emptied]) -> Vec<String> {
    let all = |title: &str, is_it: fn(Emptiness) -> bool| {
        let parts: Vec<String> =
            caches.iter().filter(|cache| is_it(cache.known)).map(counted).collect();
        (!parts.is_empty()).then(|| format!("{title}: {}", parts.join(", ")))
    };
    [
        all("counted, and empty", |known| known.is_empty() == Some(true)),
        all("counted, and not empty", |known| known.is_empty() == Some(false)),
        all("said to be empty, and not counted", |known| known == Emptiness::Answered),
        all("not known to be empty", |known| known == Emptiness::Unknown),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn counted(cache: &Emptied) -> String {
    let place = &cache.place;
    let before = cache.before.map_or_else(String::new, |before| format!(", {before} before"));
    match cache.known {
        Emptiness::Counted(EmptiedCount::Objects(left)) => {
            format!("{place} ({left} objects{before})")
        }
        Emptiness::Counted(EmptiedCount::Files(left)) => format!("{place} ({left} files{before})"),
        Emptiness::Counted(EmptiedCount::Keys(left)) => format!("{place} ({left} keys{before})"),
        Emptiness::Counted(EmptiedCount::Served { asked, served }) => {
            format!("{place} (served {served} of {asked} tokens that it had held)")
        }
        Emptiness::Answered | Emptiness::Unknown => place.clone(),
    }
}

/// One sentence per part: "vllm-0 0.32.0, 12,800 KV tokens, connector X".
fn started(started: &Started) -> Vec<String> {
    let mut sentences = Vec::new();
    let versions: Vec<String> =
        started.versions.iter().map(|(package, version)| format!("{package} {version}")).collect();
    if !versions.is_empty() {
        sentences.push(format!("installed: {}", versions.join(", ")));
    }
    for (part, facts) in &started.facts {
        let mut words = Vec::new();
        words.extend(facts.version.as_ref().map(|version| format!("version {version}")));
        words.extend(facts.kv_tokens.map(|tokens| format!("{tokens} KV tokens")));
        words.extend(facts.blocks.map(|blocks| format!("{blocks} blocks")));
        if !facts.connectors.is_empty() {
            words.push(format!("loaded {}", facts.connectors.join(" and ")));
        }
        if !words.is_empty() {
            sentences.push(format!("{part}: {}", words.join(", ")));
        }
        sentences.extend(facts.warnings.iter().map(|line| format!("{part} warned: {line}")));
    }
    sentences
}
