//! Weir's required figures, relative to the practical limit and the peers of the same run.

use serde::Serialize;

use crate::case::{Case, Group};
use crate::figures::{Figure, Figures};
use crate::results::Results;
use crate::tool::{BARE, WEIR_NAME};

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Bar {
    pub(crate) case: String,
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) limit: String,
    pub(crate) met: bool,
}

pub(crate) fn all(results: &Results) -> Vec<Bar> {
    results.cases().into_iter().flat_map(|case| of_case(results, case)).collect()
}

fn of_case(results: &Results, case: Case) -> Vec<Bar> {
    let Some(weir) = results.medians(case, WEIR_NAME) else { return Vec::new() };
    let bare = results.medians(case, BARE);
    let over = |other: Option<&Figures>, figure| Some(weir.get(&figure)? / other?.get(&figure)?);
    let over_bare = |figure| over(bare.as_ref(), figure);
    let own = |figure| weir.get(&figure).copied();
    let mut bars = Holder { case, bars: Vec::new() };
    let many = case.streams >= 64;
    if case.group() != Group::Paced && many {
        let rate = over_bare(Figure::TokensPerS);
        bars.at_least("tokens/s over bare", rate, 0.9);
        let cpu = over_bare(Figure::CpuSPerMillionTokens);
        bars.at_most("CPU per token over bare", cpu, 1.15);
        for peer in ["guidellm", "aiperf"] {
            let peer_figures = results.medians(case, peer);
            let rate = over(peer_figures.as_ref(), Figure::TokensPerS);
            bars.at_least(&format!("tokens/s over {peer}"), rate, 20.0);
        }
    }
    if case.group() == Group::Paced {
        let error = own(Figure::TtftErrorMeanMs).map(f64::abs);
        match case.streams {
            1 => bars.at_most("TTFT error mean, ms", error, 0.3),
            512 => {
                bars.at_most("TTFT error mean, ms", error, 1.0);
                let p99 = over_bare(Figure::TtftErrorP99Ms);
                bars.at_most("TTFT error p99 over bare", p99, 1.1);
            }
            4096 => {
                let share = own(Figure::InFlight).map(|mean| mean / f64::from(case.streams));
                bars.at_least("in flight over configured", share, 0.99);
                bars.at_most("failed requests", own(Figure::ReportedFailed), 0.0);
            }
            _ => {}
        }
        bars.at_most("ITL error, ms", own(Figure::ItlErrorMs).map(f64::abs), 0.01);
        if many {
            let cpu = over_bare(Figure::CpuSPerMillionTokens);
            bars.at_most("CPU per token over bare", cpu, 1.15);
        }
        bars.at_least("stated bound covers, share", own(Figure::Coverage), 0.99);
    }
    if case.streams <= 512 {
        bars.at_most("peak memory, MiB", own(Figure::MemoryMib), 60.0);
    }
    bars.bars
}

struct Holder {
    case: Case,
    bars: Vec<Bar>,
}

impl Holder {
    fn at_least(&mut self, what: &str, value: Option<f64>, bar: f64) {
        self.push(what, value, format!(">= {bar}"), |value| value >= bar);
    }

    fn at_most(&mut self, what: &str, value: Option<f64>, bar: f64) {
        self.push(what, value, format!("<= {bar}"), |value| value <= bar);
    }

    /// Unknown figures are not judged.
    fn push(&mut self, what: &str, value: Option<f64>, limit: String, meets: impl Fn(f64) -> bool) {
        if let Some(value) = value {
            let (case, what) = (self.case.name(), what.to_owned());
            self.bars.push(Bar { case, what, value, limit, met: meets(value) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::all;
    use crate::case::{Case, Pace};
    use crate::figures::{Figure, Figures};
    use crate::results::Results;

    #[test]
    fn bars_are_met_or_short_and_the_unknown_is_not_judged() {
        let case = Case { pace: Pace::Unpaced { burst: 1 }, streams: 64, output_tokens: 128 };
        let mut results = Results::default();
        results.add(case, "bare", Figures::from([(Figure::TokensPerS, 100.0)]));
        let weir = [(Figure::TokensPerS, 95.0), (Figure::MemoryMib, 61.0)];
        results.add(case, "weir", Figures::from(weir));
        results.add(case, "aiperf", Figures::from([(Figure::TokensPerS, 4.0)]));
        let bars = all(&results);
        let said: Vec<_> = bars.iter().map(|bar| (bar.what.as_str(), bar.met)).collect();
        let expected = [
            ("tokens/s over bare", true),
            ("tokens/s over aiperf", true),
            ("peak memory, MiB", false),
        ];
        assert_eq!(said, expected);
    }
}
