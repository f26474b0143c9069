//! Where the prompt tokens of each level came from.

use weir_record::CellStatus;

use super::{Table, TableCell};
use crate::numerals;
use crate::results::{CellResult, Results};
use crate::sources::{Seen, TokenSources};

/// One table over all levels; a level that was not measured is left out. None without levels.
pub fn token_sources_table(results: &Results<'_>) -> Option<Table> {
    let complete = |result: &&CellResult| result.record.status == CellStatus::Complete;
    let rows: Vec<(&str, TokenSources)> = results
        .in_order()
        .into_iter()
        .filter(complete)
        .filter_map(|result| {
            let cell = &results.plan.cells[result.cell];
            let level = &results.plan.deployments[cell.deployment].levels[cell.level].name;
            // The tiers of a deployment that is measured as it is are unknown.
            Some((level.as_str(), TokenSources::of(&Seen::of(&[result]), false, None)?))
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
