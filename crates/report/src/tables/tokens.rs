//! Where the prompt tokens of each level came from.

use weir_model::SignalKind;
use weir_record::CellStatus;

use super::{Table, TableCell};
use crate::explanation::account::split;
use crate::explanation::sources::Seen;
use crate::numerals;
use crate::results::{CellResult, Results};

/// Prompt tokens of a cell by where they came from. What is unknown is not computed from the rest.
#[derive(Debug, Clone, Default, PartialEq)]
struct TokenSources {
    prompt: f64,
    gpu: Option<f64>,
    /// By tier, where that is told.
    tiers: Vec<(&'static str, f64)>,
    /// From tiers behind the GPU, where it is not told which.
    behind: Option<f64>,
    /// From some cache, where it is not told which.
    cached: Option<f64>,
    computed: Option<f64>,
}

impl TokenSources {
    fn of(result: &CellResult) -> Option<Self> {
        let seen = Seen::of(&[result]);
        let get = |kind| seen.get(kind);
        let prompt = get(SignalKind::PromptTokens).filter(|tokens| *tokens > 0.0)?;
        let (gpu, served) = (get(SignalKind::GpuHitTokens), get(SignalKind::ExternalHitTokens));
        let none = Self { prompt, ..Self::default() };
        Some(match (gpu, served) {
            (Some(gpu), Some(served)) => {
                let tiers = split(&seen, Some(served)).unwrap_or_default();
                let behind = tiers.is_empty().then_some(served);
                let computed = Some((prompt - gpu - served).max(0.0));
                Self { gpu: Some(gpu), tiers, behind, computed, ..none }
            }
            (Some(gpu), None) => Self { gpu: Some(gpu), ..none },
            (None, _) => {
                let cached = get(SignalKind::CachedTokens);
                let computed = cached.map(|cached| (prompt - cached).max(0.0));
                Self { cached, computed, ..none }
            }
        })
    }

    fn unknown(&self) -> f64 {
        let tiers: f64 = self.tiers.iter().map(|(_, tokens)| tokens).sum();
        let known = [self.gpu, self.behind, self.cached, self.computed];
        (self.prompt - tiers - known.into_iter().flatten().sum::<f64>()).max(0.0)
    }
}

/// The table over all levels of a run; a level that was not measured is left out. Nothing where
/// there is no such level.
pub fn token_sources_table(results: &Results<'_>) -> Option<Table> {
    let mut cells: Vec<&CellResult> = results.cells.iter().collect();
    cells.sort_by_key(|result| {
        let cell = &results.plan.cells[result.cell];
        (cell.deployment, cell.level, cell.arm, cell.repeat)
    });
    let complete = |result: &&CellResult| result.record.status == CellStatus::Complete;
    let rows: Vec<(&str, TokenSources)> = cells
        .into_iter()
        .filter(complete)
        .filter_map(|result| {
            let cell = &results.plan.cells[result.cell];
            let level = &results.plan.deployments[cell.deployment].levels[cell.level].name;
            Some((level.as_str(), TokenSources::of(result)?))
        })
        .collect();
    let mut tiers: Vec<&'static str> = Vec::new();
    for (name, _) in rows.iter().flat_map(|(_, sources)| &sources.tiers) {
        if !tiers.contains(name) {
            tiers.push(name);
        }
    }
    let has_behind = rows.iter().any(|(_, sources)| sources.behind.is_some_and(|of| of > 0.0));
    let has_cached = rows.iter().any(|(_, sources)| sources.cached.is_some());
    let mut heads = vec!["level".to_owned(), ">tokens".to_owned(), ">GPU cache".to_owned()];
    heads.extend(tiers.iter().map(|tier| format!(">{tier}")));
    heads.extend(has_behind.then(|| ">tiers".to_owned()));
    heads.extend(has_cached.then(|| ">some cache".to_owned()));
    heads.extend([">computed".to_owned(), ">unknown".to_owned()]);
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    let title = "Where prompt tokens came from, % of them in the window";
    let mut table = Table::new(title, &heads);
    for (level, sources) in &rows {
        let share = |part: Option<f64>| -> TableCell {
            part.map_or_else(
                || "-".to_owned(),
                |part| format!("{:.1}", 100.0 * part / sources.prompt),
            )
            .into()
        };
        let tier = |name: &str| sources.tiers.iter().find(|(of, _)| *of == name).map(|(_, n)| *n);
        let mut row = vec![(*level).into(), numerals::whole(sources.prompt).into()];
        row.push(share(sources.gpu));
        row.extend(tiers.iter().map(|name| share(tier(name))));
        row.extend(has_behind.then(|| share(sources.behind)));
        row.extend(has_cached.then(|| share(sources.cached)));
        row.extend([share(sources.computed), share(Some(sources.unknown()))]);
        table.rows.push(row);
    }
    (!table.rows.is_empty()).then_some(table)
}
