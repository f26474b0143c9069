//! `weir probe A --against B`: two tiers in turns, the ratio of their figures, and claims about it.

mod files;
mod prices;
mod times;
mod written;

use std::time::Instant;

use weir_model::Product;

use weir_probe::against::{Contest, Facet};
use weir_probe::claim::{Assertion, Ruling};
use weir_probe::session::ProbeStep;
use weir_probe::{ConfigLines, ProbeMeasurements, ProbeTarget, Work};

use self::prices::PricePair;
use self::times::{Times, faced};
use super::asked::{self, Asked};
use super::outputs::Outputs;
use super::summary;
use crate::cli::ProbeArgs;
use crate::exit::{Exit, Mistake};
use crate::interrupt::{Interrupt, Waiting};
use crate::printer::Printer;
use crate::progress::Counter;

#[derive(Debug)]
struct Judged {
    claim: String,
    ruling: Ruling,
    times: Option<Times>,
}

pub(super) fn run(args: &ProbeArgs, against: &str, printer: &mut Printer) -> anyhow::Result<Exit> {
    let claims: Vec<Assertion> =
        args.against.claim.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    let prices = PricePair::of(&args.against)?;
    let sides = [asked::asked(args, None)?, asked::asked(args, Some(against))?];
    check(&sides)?;
    check_claims(&claims, &sides[0].config.works)?;
    super::outputs::check(args, &sides[0].config)?;
    // Before the measurement, which must not end in an unwritable file.
    let outputs = Outputs::tried(&args.outputs)?;
    if args.dry_run {
        for side in &sides {
            weir_probe::subject::check(&side.target, &side.options, &side.config)?;
        }
        printer.result(&written::planned(&sides, &claims))?;
        return Ok(Exit::Done);
    }
    let interrupt = Interrupt::listen(Waiting::Point, printer.is_quiet())?;
    let started = weir_lab::host::now();
    let [mut first, mut second] = [
        weir_probe::subject(&sides[0].target, &sides[0].options)?,
        weir_probe::subject(&sides[1].target, &sides[1].options)?,
    ];
    let total = Contest::steps(&sides[0].config);
    let progress = Counter::of("runs", total, printer, false);
    let stop = || interrupt.is_set();
    let began = Instant::now();
    let mut step =
        |step: ProbeStep<'_>| super::tell(step, (&sides[0].config, began), &progress, printer);
    let configs = [&sides[0].config, &sides[1].config];
    let contest = Contest::new(configs, [&mut *first, &mut *second], &stop, &mut step)?;
    let measured = contest.run();
    progress.finish();
    let [a, b] = measured?;
    let judged: Vec<Judged> = claims.iter().map(|claim| judge(claim, &[&a, &b])).collect();
    let exits = [super::exit(&a, printer), super::exit(&b, printer)];
    let is_clean = exits.iter().all(|exit| *exit == Exit::Done);
    let exit = if is_clean { Exit::Done } else { Exit::DoneWithFaults };
    let mut reports = [
        super::report(&sides[0], a, first.facts(), started.clone()),
        super::report(&sides[1], b, second.facts(), started),
    ];
    for (report, side) in reports.iter_mut().zip(&sides) {
        let found = super::warnings::of(report, &side.config);
        report.warnings.extend(found);
    }
    let (rows, prices) = (faced(&reports), prices.as_ref());
    printer.result(&written::written(&reports, &rows, &judged, prices))?;
    if reports.iter().all(|report| report.measured.points.is_empty()) {
        outputs.leave(printer);
        return Ok(exit);
    }
    let names = [&*reports[0].tier.product, &*reports[1].tier.product];
    let document = files::document(&reports, &rows, &judged, prices);
    outputs.json(serde_json::to_vec_pretty(&document), printer)?;
    outputs.csv(|| files::table(&rows, prices), printer)?;
    outputs.plots(|| files::plots(&rows, names), printer)?;
    Ok(exit)
}

/// Refuses sides that cannot be compared.
fn check(sides: &[Asked; 2]) -> anyhow::Result<()> {
    if let [ProbeTarget::Store(first), ProbeTarget::Store(second)] =
        [&sides[0].target, &sides[1].target]
        && first == second
    {
        let why = format!(
            "--against: both sides are the same store, and would find each other's blocks; give \
             another one, or {} to be started",
            Product::choice()
        );
        return Err(Mistake(why).into());
    }
    for side in sides {
        let ConfigLines { text, flag, side: name } = &side.options.lines;
        if let Some(line) = text.first()
            && !matches!(side.target, ProbeTarget::Started(_))
        {
            return Err(Mistake(format!(
                "--{flag}: `{line}` is for {name}, {}: only a server that Weir starts takes lines \
                 of a configuration; name {}, or leave it out",
                written::target(&side.target),
                Product::choice()
            ))
            .into());
        }
    }
    Ok(())
}

/// Refuses claims about what is not measured.
fn check_claims(claims: &[Assertion], works: &[Work]) -> anyhow::Result<()> {
    let Some(claim) = claims.iter().find(|claim| !claim.facet.is_measured_by(works)) else {
        return Ok(());
    };
    let (names, facet) = (summary::works(works), claim.facet.name());
    let remedy = match claim.facet {
        Facet::Read | Facet::Lookup => "add `read` to --mix",
        Facet::Write => "add `write` to --mix",
    };
    let why = format!(
        "--claim: `{claim}`: {facet} is not measured with --mix {names}; {remedy}, or leave the \
         claim out"
    );
    Err(Mistake(why).into())
}

fn judge(claim: &Assertion, measured: &[&ProbeMeasurements; 2]) -> Judged {
    let times = Times::over_points(measured, claim.facet);
    let ruling = claim.judge(times.as_ref().and_then(|times| times.interval));
    Judged { claim: claim.to_string(), ruling, times }
}
