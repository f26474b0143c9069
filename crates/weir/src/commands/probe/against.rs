//! `weir probe A --against B`: two tiers in turns, the ratio of their figures, and claims about it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;

use anyhow::Context;
use serde_json::{Value, json};
use weir_probe::against::{Contest, Facet, pairs, pairs_over_points};
use weir_probe::claim::{Assertion, Ruling};
use weir_probe::session::{Step, label};
use weir_probe::{ConfigLines, Measured, PointResult, Report, Target};
use weir_report::statistics::paired_change;
use weir_report::tables::{Table, text, wrapped};

use super::asked::{self, Asked};
use super::outputs::unwritable;
use super::summary;
use crate::cli::ProbeArgs;
use crate::exit::{Exit, Mistake};
use crate::host;
use crate::interrupt::{Interrupt, Waiting};
use crate::printer::Printer;
use crate::progress::Progress;

/// How many times A's figure is B's.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Times {
    /// The ratio of the means over the repeats.
    ratio: f64,
    /// Its 95 % interval; nothing with one repeat.
    interval: Option<(f64, f64)>,
    /// Repeats that it rests on.
    pairs: usize,
}

impl Times {
    /// Of pairs (A, B): the ratio estimator that compares arms.
    fn of(pairs: &[(f64, f64)]) -> Option<Self> {
        let turned: Vec<(f64, f64)> = pairs.iter().map(|(a, b)| (*b, *a)).collect();
        let change = paired_change(&turned)?;
        let times = |percent: f64| 1.0 + percent / 100.0;
        let interval = change.interval.map(|of| (times(of.low).max(0.0), times(of.high)));
        Some(Self { ratio: times(change.percent), interval, pairs: change.pairs })
    }

    fn json(&self) -> Value {
        let Self { ratio, interval, pairs } = self;
        json!({"ratio": ratio, "interval": interval, "pairs": pairs})
    }

    fn range(&self) -> String {
        self.interval.map_or("-".to_owned(), |(low, high)| {
            format!("{} to {}", summary::figure(low), summary::figure(high))
        })
    }
}

/// A point of both sides.
#[derive(Debug)]
struct Faced<'a> {
    facet: Facet,
    a: &'a PointResult,
    b: &'a PointResult,
    times: Times,
}

/// A claim and what the figures say of it.
#[derive(Debug)]
struct Judged {
    claim: String,
    ruling: Ruling,
    times: Option<Times>,
}

/// All of it.
fn document(reports: &[Report; 2], points: &[Faced<'_>], judged: &[Judged]) -> Value {
    let [a, b] = reports;
    let points = points.iter().map(|point| {
        let mut fields = point.times.json();
        fields["facet"] = point.facet.name().into();
        fields["a"] = label(&point.a.point).into();
        fields["b"] = label(&point.b.point).into();
        fields
    });
    let claims = judged.iter().map(|one| {
        let times = one.times.as_ref().map(Times::json);
        json!({"claim": one.claim, "ruling": one.ruling, "times": times})
    });
    let (points, claims): (Vec<Value>, Vec<Value>) = (points.collect(), claims.collect());
    json!({"a": a, "b": b, "points": points, "claims": claims})
}

pub(super) fn run(args: &ProbeArgs, against: &str, printer: &mut Printer) -> anyhow::Result<Exit> {
    let claims: Vec<Assertion> =
        args.against.claim.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    let sides = [asked::asked(args, None)?, asked::asked(args, Some(against))?];
    check(&sides)?;
    if args.dry_run {
        printer.result(&planned(&sides, &claims))?;
        return Ok(Exit::Done);
    }
    let json = args.outputs.json.as_ref().map(|path| {
        File::create(path).with_context(|| unwritable(path)).map(|file| (path.clone(), file))
    });
    let json = json.transpose()?;
    let interrupt = Interrupt::listen(Waiting::Point, printer.is_quiet())?;
    let started = host::now();
    let [mut first, mut second] = [
        weir_probe::subject(&sides[0].target, &sides[0].options)?,
        weir_probe::subject(&sides[1].target, &sides[1].options)?,
    ];
    let total = Contest::steps(&sides[0].config);
    let progress = Progress::of("runs", total, printer, false);
    let stop = || interrupt.is_set();
    let mut step = |step: Step<'_>| {
        if step.done > 0 {
            progress.cell_done(step.next, printer);
        } else {
            printer.note(&summary::announced(&sides[0].config, step.expected));
            progress.now(step.next);
        }
    };
    let configs = [&sides[0].config, &sides[1].config];
    let contest = Contest::new(configs, [&mut *first, &mut *second], &stop, &mut step)?;
    let measured = contest.run();
    progress.finish();
    let measured = measured?;
    let judged: Vec<Judged> = claims.iter().map(|claim| judge(claim, &measured)).collect();
    let [a, b] = measured;
    let exits = [super::exit(&a, printer), super::exit(&b, printer)];
    let is_clean = exits.iter().all(|exit| *exit == Exit::Done);
    let exit = if is_clean { Exit::Done } else { Exit::DoneWithFaults };
    let mut reports = [
        super::report(&sides[0], a, first.facts(), started.clone()),
        super::report(&sides[1], b, second.facts(), started),
    ];
    for (report, side) in reports.iter_mut().zip(&sides) {
        let found = summary::warnings(report, &side.config);
        report.warnings.extend(found);
    }
    let points = faced(&reports);
    printer.result(&written(&reports, &points, &judged))?;
    if let Some((path, mut file)) = json {
        let document = document(&reports, &points, &judged);
        let mut bytes = serde_json::to_vec_pretty(&document).context("the results as JSON")?;
        bytes.push(b'\n');
        file.write_all(&bytes).with_context(|| unwritable(&path))?;
        printer.note(&format!("results: {}", path.display()));
    }
    Ok(exit)
}

/// What cannot be put side by side.
fn check(sides: &[Asked; 2]) -> anyhow::Result<()> {
    if let [Target::Store(first), Target::Store(second)] = [&sides[0].target, &sides[1].target]
        && first == second
    {
        let why = "--against: both sides are the same store, and would find each other's blocks; \
                   give another one, or `redis`, `valkey` or `kvrocks` to be started";
        return Err(Mistake(why.to_owned()).into());
    }
    for side in sides {
        let ConfigLines { text, flag } = &side.options.lines;
        if !text.is_empty() && !matches!(side.target, Target::Started(_)) {
            return Err(Mistake(format!(
                "--{flag}: only a server that Weir starts takes lines of a configuration: `redis`, \
                 `valkey` or `kvrocks`"
            ))
            .into());
        }
    }
    Ok(())
}

fn planned(sides: &[Asked; 2], claims: &[Assertion]) -> String {
    let mut out = String::new();
    for (name, side) in ["A", "B"].iter().zip(sides) {
        out += &wrapped(&format!("{name}: {}", described(side)), "  ");
        for point in side.config.points() {
            out += &wrapped(&label(&point), "    ");
        }
    }
    for claim in claims {
        out += &wrapped(&format!("claim: {claim} times B"), "  ");
    }
    let config = &sides[0].config;
    let words = format!("{}, each on both sides in turn", summary::points_and_repeats(config));
    out + &wrapped(&words, "  ")
}

fn described(side: &Asked) -> String {
    let target = match &side.target {
        Target::Memory => "memory".to_owned(),
        Target::Disk(folder) => format!("disk:{}", folder.display()),
        Target::Store(address) => summary::without_secrets(address),
        Target::Started(product) => format!("{}, started by Weir", product.name()),
    };
    let lines = &side.options.lines.text;
    if lines.is_empty() { target } else { format!("{target}, with {}", lines.join("; ")) }
}

fn faced(reports: &[Report; 2]) -> Vec<Faced<'_>> {
    let [first, second] = reports;
    let points = first.measured.points.iter().zip(&second.measured.points);
    points
        .flat_map(|(a, b)| {
            Facet::ALL.into_iter().filter_map(move |facet| {
                let times = Times::of(&pairs(a, b, facet))?;
                Some(Faced { facet, a, b, times })
            })
        })
        .collect()
}

fn judge(claim: &Assertion, measured: &[Measured; 2]) -> Judged {
    let times = Times::of(&pairs_over_points(measured, claim.facet));
    let ruling = claim.judge(times.and_then(|times| times.interval));
    Judged { claim: claim.to_string(), ruling, times }
}

fn written(reports: &[Report; 2], points: &[Faced<'_>], judged: &[Judged]) -> String {
    let mut out = String::new();
    for (name, report) in ["A", "B"].iter().zip(reports) {
        let _ = write!(out, "{name}: {}", summary::facts(report));
    }
    out.push('\n');
    let repeats = points.iter().map(|point| point.times.pairs).max().unwrap_or(0);
    let title = format!(
        "A against B in turns, {repeats} repeats; GB/s are medians, the ratio A / B is that of the \
         means with its 95 % interval"
    );
    let heads =
        ["side", "point", ">A GB/s", "A from", ">B GB/s", "B from", ">A / B", "95 % interval"];
    let mut table = Table::new(&title, &heads);
    for Faced { facet, a, b, times } in points {
        let rate = |result: &PointResult| {
            let side = match facet {
                Facet::Read => result.read.as_ref(),
                Facet::Write => result.write.as_ref(),
            };
            side.map_or("-".to_owned(), |side| summary::figure(side.gb_per_s.median))
        };
        let from = |result: &PointResult| {
            let from = result.loaded_from.filter(|_| *facet == Facet::Read);
            from.map_or(String::new(), |from| from.to_string())
        };
        let (own, other) = (label(&a.point), label(&b.point));
        // With blocks of their own, both sides' points are named.
        let both = if own == other { own } else { format!("{own} / {other}") };
        table.rows.push(vec![
            facet.name().into(),
            both.into(),
            rate(a).into(),
            from(a).into(),
            rate(b).into(),
            from(b).into(),
            summary::figure(times.ratio).into(),
            times.range().into(),
        ]);
    }
    out += &text(&table);
    out += &rulings(judged);
    for (name, report) in ["A", "B"].iter().zip(reports) {
        for warning in &report.warnings {
            out += &wrapped(&format!("warning: {name}: {warning}"), "  ");
        }
    }
    out
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_that_of_the_means_with_the_interval_of_changes() {
        // A is B and a half in every repeat, while repeats differ by a factor of 3.
        let even = Times::of(&[(1.5, 1.0), (3.0, 2.0), (4.5, 3.0)]).unwrap();
        let (low, high) = even.interval.unwrap();
        assert!((even.ratio - 1.5).abs() < 1e-9 && (high - low).abs() < 1e-9, "{even:?}");
        assert_eq!(Times::of(&[(3.0, 2.0)]).unwrap().interval, None);
        assert_eq!(Times::of(&[]), None);
        let noisy = Times::of(&[(1.0, 1.0), (3.0, 1.0), (0.1, 1.0)]).unwrap();
        let (low, high) = noisy.interval.unwrap();
        assert!(low >= 0.0 && low < noisy.ratio && noisy.ratio < high, "{noisy:?}");
    }
}
