//! Figures of a run: the server's, the tool's, and the difference.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use weir_bench_load::truth::Served;

use crate::own::{Key, Own, Request};
use crate::processes::Samples;
use crate::server::Truth;

/// Absent figures are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    TokensPerS,
    /// CPU time of the tool's processes, from the server's first request to its last token.
    CpuSPerMillionTokens,
    MemoryMib,
    /// Mean under load, as the server counted.
    InFlight,
    Requests,
    Connections,
    StartUpS,
    /// Share of its core.
    ServerBusy,
    ForeignCores,
    TrueTtftMeanMs,
    TrueTtftP99Ms,
    TrueItlMs,
    TrueGapP99Ms,
    /// Paced: delay of the server's tokens, 99th percentile.
    ServerLateP99Ms,
    ReportedTtftMeanMs,
    ReportedTtftP99Ms,
    ReportedItlMs,
    ReportedGapP99Ms,
    ReportedTokensPerS,
    ReportedFailed,
    /// 1 where the tool reports that it was the limit.
    Refused,
    /// Reported less true, mean over requests.
    TtftErrorMeanMs,
    /// Reported less true: 99th percentile over matched requests, else difference of percentiles.
    TtftErrorP99Ms,
    ItlErrorMs,
    /// Share of the tool's requests that were found in the server's log.
    Matched,
    /// Share of matched requests whose stated bound covers the true error.
    Coverage,
    /// The same where the server's own write of the first token does not count as error.
    CoverageBesideWrite,
    BoundMeanMs,
    BoundP99Ms,
}

pub(crate) type Figures = BTreeMap<Figure, f64>;

pub(crate) fn of(truth: &Truth, own: &Own, samples: &Samples) -> Figures {
    let mut figures = Figures::new();
    let mut put = |figure, value: Option<f64>| {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            figures.insert(figure, value);
        }
    };
    let run = &truth.run;
    let (from, to) = (run.first_request_ns, run.last_token_ns);
    let seconds = to.saturating_sub(from) as f64 / 1e9;
    let between = |quantity: fn(&crate::processes::Sample) -> u64| {
        Some((samples.at(to, quantity)? - samples.at(from, quantity)?) / 1e9)
    };
    let cpu_s = between(|sample| sample.processor_ns);
    let steady = run.steady();
    let rate = steady.map_or(run.tokens as f64 / seconds, |steady| steady.tokens as f64);
    put(Figure::TokensPerS, Some(rate));
    put(Figure::InFlight, steady.map(|steady| steady.in_flight));
    put(Figure::CpuSPerMillionTokens, cpu_s.map(|cpu_s| cpu_s / (run.tokens as f64 / 1e6)));
    put(Figure::MemoryMib, Some(samples.peak_resident() as f64 / f64::from(1 << 20)));
    put(Figure::Requests, Some(run.complete as f64));
    put(Figure::Connections, Some(run.connections as f64));
    let started = samples.0.first().map(|sample| from.saturating_sub(sample.at_ns) as f64 / 1e9);
    put(Figure::StartUpS, started);
    let server_s = run.processor_ns as f64 / 1e9;
    put(Figure::ServerBusy, Some(server_s / seconds));
    let others = || {
        let known = cpu_s? + server_s + between(|sample| sample.driver_ns)?;
        Some(((between(|sample| sample.machine_ns)? - known) / seconds).max(0.0))
    };
    put(Figure::ForeignCores, others());

    let complete = truth.rows.iter().filter(|row| row.complete);
    let true_ttft = sorted(complete.map(true_first_token_ns));
    let (true_mean, true_p99) = (mean(&true_ttft), quantile(&true_ttft, 0.99));
    put(Figure::TrueTtftMeanMs, Some(true_mean / 1e6));
    put(Figure::TrueTtftP99Ms, Some(true_p99 / 1e6));
    put(Figure::TrueItlMs, Some(run.gap_mean_ns / 1e6));
    put(Figure::TrueGapP99Ms, Some(run.gap_p99_ns as f64 / 1e6));
    put(Figure::ServerLateP99Ms, Some(run.late_p99_ns as f64 / 1e6));
    put(Figure::ReportedTtftMeanMs, own.ttft_mean_ms);
    put(Figure::ReportedTtftP99Ms, own.ttft_p99_ms);
    put(Figure::ReportedItlMs, own.itl_mean_ms);
    put(Figure::ReportedGapP99Ms, own.gap_p99_ms);
    put(Figure::ReportedTokensPerS, own.tokens_per_s);
    put(Figure::ReportedFailed, own.failed);
    put(Figure::Refused, own.refused.as_ref().map(|_| 1.0));
    put(Figure::ItlErrorMs, own.itl_mean_ms.map(|itl| itl - run.gap_mean_ns / 1e6));

    let pairs = matched(&truth.rows, &own.requests);
    put(Figure::Matched, Some(pairs.len() as f64 / own.requests.len() as f64));
    if pairs.is_empty() {
        put(Figure::TtftErrorMeanMs, own.ttft_mean_ms.map(|mean| mean - true_mean / 1e6));
        put(Figure::TtftErrorP99Ms, own.ttft_p99_ms.map(|p99| p99 - true_p99 / 1e6));
        return figures;
    }
    let error =
        |(request, row): &(&Request, &Served)| request.first_token_ns - true_first_token_ns(row);
    let errors = sorted(pairs.iter().map(error));
    put(Figure::TtftErrorMeanMs, Some(mean(&errors) / 1e6));
    put(Figure::TtftErrorP99Ms, Some(quantile(&errors, 0.99) / 1e6));
    let bounds = Bounds::of(&pairs);
    put(Figure::Coverage, bounds.map(|bounds| bounds.coverage));
    put(Figure::CoverageBesideWrite, bounds.map(|bounds| bounds.beside_write));
    put(Figure::BoundMeanMs, bounds.map(|bounds| bounds.mean_ns / 1e6));
    put(Figure::BoundP99Ms, bounds.map(|bounds| bounds.p99_ns / 1e6));
    figures
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// From the request's arrival in the server's kernel to the first token's write.
fn true_first_token_ns(row: &Served) -> f64 {
    row.first_token_after_arrival_ns() as f64
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Bounds {
    coverage: f64,
    beside_write: f64,
    mean_ns: f64,
    p99_ns: f64,
}

impl Bounds {
    fn of(pairs: &[(&Request, &Served)]) -> Option<Self> {
        let mut bounds = Vec::new();
        let (mut covered, mut beside_write) = (0_u64, 0_u64);
        for (request, row) in pairs {
            let bound = request.bound_ns?;
            let error = request.first_token_ns - true_first_token_ns(row);
            // The token reached the client's kernel at some time during the server's write.
            let write = row.first_taken_ns.saturating_sub(row.first_token_ns) as f64;
            covered += u64::from(error.abs() <= bound);
            beside_write += u64::from(error - write <= bound && error >= -bound);
            bounds.push(bound);
        }
        bounds.sort_by(f64::total_cmp);
        let count = pairs.len() as f64;
        Some(Self {
            coverage: covered as f64 / count,
            beside_write: beside_write as f64 / count,
            mean_ns: mean(&bounds),
            p99_ns: quantile(&bounds, 0.99),
        })
    }
}

fn matched<'a>(rows: &'a [Served], requests: &'a [Request]) -> Vec<(&'a Request, &'a Served)> {
    let by_id: HashMap<&str, &Served> =
        rows.iter().map(|row| (row.request_id.as_str(), row)).collect();
    let by_answer: HashMap<u64, &Served> = rows.iter().map(|row| (row.request, row)).collect();
    let by_number: HashMap<u64, &Served> =
        rows.iter().filter_map(|row| Some((last_number(&row.request_id)?, row))).collect();
    let by_key = requests.iter().filter_map(|request| {
        let row = match &request.key {
            Key::Sent(id) => by_id.get(id.as_str()),
            Key::Answer(number) => by_answer.get(number),
            Key::SentNumber(number) => by_number.get(number),
            Key::Order => None,
        };
        Some((request, *row?))
    });
    let by_key: Vec<_> = by_key.collect();
    if !by_key.is_empty() {
        return by_key;
    }
    // Without ids: in order, if both have the same number of complete answers.
    let mut rows: Vec<&Served> = rows.iter().filter(|row| row.complete).collect();
    if rows.len() != requests.len() {
        return Vec::new();
    }
    let mut requests: Vec<&Request> = requests.iter().collect();
    rows.sort_by_key(|row| row.arrived_ns);
    requests.sort_by_key(|request| request.start_ns);
    requests.into_iter().zip(rows).collect()
}

fn last_number(id: &str) -> Option<u64> {
    let digits = id.bytes().rev().take_while(u8::is_ascii_digit).count();
    id[id.len() - digits..].parse().ok()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// By rank; NaN without values.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}

pub(crate) fn medians(runs: &[Figures]) -> Figures {
    let mut values: BTreeMap<Figure, Vec<f64>> = BTreeMap::new();
    for (figure, value) in runs.iter().flatten() {
        values.entry(*figure).or_default().push(*value);
    }
    values.into_iter().map(|(figure, values)| (figure, crate::table::median(&values))).collect()
}

#[cfg(test)]
mod tests {
    use weir_bench_load::truth::Served;

    use super::{Bounds, last_number, matched, quantile};
    use crate::own::{Key, Request};

    fn row(request: u64, id: &str, arrived_ns: u64) -> Served {
        Served {
            request,
            request_id: id.to_owned(),
            arrived_ns,
            first_token_ns: arrived_ns + 100,
            first_taken_ns: arrived_ns + 105,
            complete: true,
            ..Served::default()
        }
    }

    fn request(key: Key, start_ns: u64) -> Request {
        Request { key, start_ns, first_token_ns: 110.0, bound_ns: Some(10.0) }
    }

    #[test]
    fn requests_are_matched_by_what_identifies_them() {
        let rows = [row(0, "weir-7-1", 50), row(1, "weir-7-0", 60), row(2, "", 70)];
        for (key, expected) in
            [(Key::Sent("weir-7-0".to_owned()), 1), (Key::SentNumber(1), 0), (Key::Answer(2), 2)]
        {
            let requests = [request(key, 0)];
            let pairs = matched(&rows, &requests);
            assert_eq!(pairs.len(), 1);
            assert_eq!(pairs[0].1.request, expected);
        }
        let requests = [request(Key::Order, 9), request(Key::Order, 7), request(Key::Order, 8)];
        let pairs = matched(&rows, &requests);
        assert_eq!((pairs[0].0.start_ns, pairs[0].1.request), (7, 0));
        assert!(matched(&rows, &requests[..2]).is_empty());
        assert_eq!(
            (last_number("a-012"), last_number("a"), last_number("")),
            (Some(12), None, None)
        );
    }

    #[test]
    fn coverage_counts_errors_within_the_bound() {
        let row = row(0, "", 0);
        let at = |first_token_ns| Request { first_token_ns, ..request(Key::Order, 0) };
        let requests = [at(110.0), at(114.0), at(116.0), at(89.0)];
        let pairs: Vec<_> = requests.iter().map(|request| (request, &row)).collect();
        let bounds = Bounds::of(&pairs).expect("bounds");
        assert!((bounds.coverage - 0.25).abs() < 1e-9);
        assert!((bounds.beside_write - 0.5).abs() < 1e-9);
        assert!((quantile(&[1.0, 2.0, 3.0], 0.99) - 3.0).abs() < 1e-9);
        assert!(quantile(&[], 0.99).is_nan());
    }
}
