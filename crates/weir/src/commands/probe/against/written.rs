use std::fmt::Write as _;

use weir_probe::against::Facet;
use weir_probe::{ProbeTarget, Report};
use weir_report::tables::{Table, text, wrapped};

use super::super::asked::Asked;
use super::super::{engine, summary};
use super::prices::PricePair;
use super::times::{Face, Faced, Times};
use super::{Assertion, Judged};
use weir_probe::session::label;
use weir_spec::catalogue::profile_file::ProfileKind;

pub(super) fn planned(sides: &[Asked; 2], claims: &[Assertion]) -> String {
    let mut out = String::new();
    for (name, side) in ["A", "B"].iter().zip(sides) {
        out += &wrapped(&format!("{name}: {}", described(side)), "  ");
        for point in side.config.points() {
            out += &wrapped(&label(&point), "    ");
        }
        out += &summary::bytes(side, "    ");
    }
    for claim in claims {
        out += &wrapped(&format!("claim: {claim} times B"), "  ");
    }
    let config = &sides[0].config;
    let words = format!("each on both sides in turn: {}", summary::unmeasured(config, 2, 0));
    out + &wrapped(&words, "  ")
}

fn described(side: &Asked) -> String {
    let (target, lines) = (target(&side.target), &side.options.lines.text);
    if lines.is_empty() { target } else { format!("{target}, with {}", lines.join("; ")) }
}

/// Without secrets.
pub(super) fn target(target: &ProbeTarget) -> String {
    match target {
        ProbeTarget::Memory => "memory".to_owned(),
        ProbeTarget::Disk(folder) => format!("disk:{}", folder.display()),
        ProbeTarget::Store(address) => summary::without_secrets(address),
        ProbeTarget::Started(product) => format!("{}, started by Weir", product.name()),
    }
}

pub(super) fn written(
    reports: &[Report; 2],
    rows: &[Faced],
    judged: &[Judged],
    prices: Option<&PricePair>,
) -> String {
    let mut out = String::new();
    for (name, report) in ["A", "B"].iter().zip(reports) {
        let _ = write!(out, "{name}: {}", summary::facts(report));
    }
    out.push('\n');
    if rows.is_empty() {
        out += "  No point was measured on both sides.\n";
    } else {
        out += &points(rows);
        out += &lookups(rows, reports);
    }
    if let Some(prices) = prices {
        out += &prices.written(rows, &[&reports[0].measured, &reports[1].measured]);
    }
    out += &rulings(judged);
    for (name, report) in ["A", "B"].iter().zip(reports) {
        out += &engine::table(report, &format!("{name}: "));
    }
    for (name, report) in ["A", "B"].iter().zip(reports) {
        for warning in &report.warnings {
            out += &wrapped(&format!("warning: {name}: {warning}"), "  ");
        }
    }
    out
}

fn points(rows: &[Faced]) -> String {
    let repeats = rows.iter().map(|row| row.times.pairs).max().unwrap_or(0);
    let title = format!(
        "A against B in turns, {}; GB/s are medians, the ratio A / B is that of the means with its \
         95 % interval",
        summary::many(repeats, "repeat")
    );
    let heads =
        ["side", "point", ">A GB/s", "A from", ">B GB/s", "B from", ">A / B", "95 % interval"];
    let mut table = Table::new(&title, &heads);
    for row in rows.iter().filter(|row| row.facet != Facet::Lookup) {
        let Faced { facet, a, b, times, means: _ } = row;
        let from = |from: Option<_>| from.map_or(String::new(), |from| format!("{from}"));
        table.rows.push(vec![
            facet.name().into(),
            row.label().into(),
            summary::figure(a.rate.median).into(),
            from(a.from).into(),
            summary::figure(b.rate.median).into(),
            from(b.from).into(),
            summary::figure(times.ratio).into(),
            times.range().into(),
        ]);
    }
    text(&table)
}

/// Lookups of keys, as an engine makes before it loads.
fn lookups(rows: &[Faced], [a, b]: &[Report; 2]) -> String {
    let mut rows = rows.iter().filter(|row| row.facet == Facet::Lookup).peekable();
    if rows.peek().is_none() {
        return String::new();
    }
    let title = "Lookups in turns; keys per second are medians, and so A / B above 1 is A faster";
    let heads = ["lookup", ">A keys/s", "A from", ">B keys/s", "B from", ">A / B", "95 % interval"];
    let mut table = Table::new(title, &heads);
    for row in rows {
        let from = |face: &Face, report: &Report| match face.from {
            Some(from) => from.to_string(),
            None if report.tier.kind == ProfileKind::Disk => summary::INDEX.to_owned(),
            None => String::new(),
        };
        table.rows.push(vec![
            row.label().into(),
            summary::figure(row.a.rate.median).into(),
            from(&row.a, a).into(),
            summary::figure(row.b.rate.median).into(),
            from(&row.b, b).into(),
            summary::figure(row.times.ratio).into(),
            row.times.range().into(),
        ]);
    }
    format!("\n{}", text(&table))
}

fn rulings(judged: &[Judged]) -> String {
    if judged.is_empty() {
        return String::new();
    }
    let title = "Claims about A / B, over all points (the geometric mean of each repeat)";
    let mut table = Table::new(title, &["claim", ">A / B", "95 % interval", "verdict"]);
    for one in judged {
        let figure = |of: fn(&Times) -> String| one.times.as_ref().map_or("-".to_owned(), of);
        table.rows.push(vec![
            one.claim.clone().into(),
            figure(|times| summary::figure(times.ratio)).into(),
            figure(Times::range).into(),
            one.ruling.to_string().into(),
        ]);
    }
    format!("\n{}", text(&table))
}
