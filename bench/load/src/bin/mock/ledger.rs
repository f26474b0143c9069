//! The mock's log: requests, and tokens and requests in flight over time.

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use weir_bench_load::machine::processor_ns;
use weir_bench_load::truth::{Run, SLICE_NS, Served, Slice};

/// Largest value of the histograms.
const LONGEST_NS: u64 = 3_600_000_000_000;

pub(crate) struct Ledger {
    rows: Vec<Served>,
    run: Run,
    gaps: Histogram<u64>,
    late: Histogram<u64>,
    in_flight: u64,
    /// End of the time that the slices cover.
    counted_until_ns: u64,
    processor_at_first_ns: u64,
}

impl Ledger {
    pub(crate) fn new() -> Result<Self> {
        let histogram =
            || Histogram::new_with_bounds(1, LONGEST_NS, 3).context("histogram of times");
        Ok(Self {
            rows: Vec::new(),
            run: Run::default(),
            gaps: histogram()?,
            late: histogram()?,
            in_flight: 0,
            counted_until_ns: 0,
            processor_at_first_ns: 0,
        })
    }

    pub(crate) fn connected(&mut self) -> u64 {
        self.run.connections += 1;
        self.run.connections - 1
    }

    pub(crate) fn began(&mut self, now: u64) -> u64 {
        if self.run.requests == 0 {
            self.run.first_request_ns = now;
            self.counted_until_ns = now;
            self.processor_at_first_ns = processor_ns();
        }
        self.count_until(now);
        self.in_flight += 1;
        self.run.in_flight_max = self.run.in_flight_max.max(self.in_flight);
        self.run.requests += 1;
        self.run.requests - 1
    }

    /// Called before a write.
    pub(crate) fn tokens(&mut self, row: &mut Served, count: u32, now: u64) {
        if row.tokens == 0 {
            row.first_token_ns = now;
        } else {
            let gap = now.saturating_sub(row.last_token_ns);
            row.max_gap_ns = row.max_gap_ns.max(gap);
            self.gaps.saturating_record(gap.max(1));
        }
        for _ in 1..count {
            self.gaps.saturating_record(1);
        }
        row.last_token_ns = now;
        row.tokens += count;
        self.run.tokens += u64::from(count);
        self.run.last_token_ns = now;
        self.slice(now).tokens += u64::from(count);
    }

    pub(crate) fn late(&mut self, by_ns: u64) {
        self.late.saturating_record(by_ns.max(1));
    }

    pub(crate) fn stalled(&mut self) {
        self.run.stalls += 1;
    }

    /// Also for a client that left.
    pub(crate) fn ended(&mut self, mut row: Served, complete: bool, now: u64) {
        self.count_until(now);
        self.in_flight -= 1;
        self.run.complete += u64::from(complete);
        self.run.processor_ns = processor_ns() - self.processor_at_first_ns;
        row.complete = complete;
        if row.tokens > 1 {
            row.mean_gap_ns = (row.last_token_ns - row.first_token_ns) / u64::from(row.tokens - 1);
        }
        self.rows.push(row);
    }

    pub(crate) fn run(&mut self, now: u64) -> Run {
        if self.run.requests > 0 {
            self.count_until(now);
        }
        self.run.gap_mean_ns = self.gaps.mean();
        self.run.gap_p99_ns = self.gaps.value_at_quantile(0.99);
        self.run.late_mean_ns = self.late.mean();
        self.run.late_p99_ns = self.late.value_at_quantile(0.99);
        self.run.clone()
    }

    pub(crate) fn csv(&self) -> Result<Vec<u8>> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for row in &self.rows {
            writer.serialize(row).context("the log")?;
        }
        writer.into_inner().context("the log")
    }

    pub(crate) fn requests(&self) -> u64 {
        self.run.requests
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    pub(crate) fn tokens_so_far(&self) -> u64 {
        self.run.tokens
    }

    fn slice(&mut self, now: u64) -> &mut Slice {
        let index = (now.saturating_sub(self.run.first_request_ns) / SLICE_NS) as usize;
        if index >= self.run.slices.len() {
            self.run.slices.resize(index + 1, Slice::default());
        }
        &mut self.run.slices[index]
    }

    fn count_until(&mut self, now: u64) {
        let mut from = self.counted_until_ns;
        while from < now && self.in_flight > 0 {
            let into = from.saturating_sub(self.run.first_request_ns) % SLICE_NS;
            let until = now.min(from + SLICE_NS - into);
            let weight = (until - from) as f64 / SLICE_NS as f64;
            let in_flight = self.in_flight as f64;
            self.slice(from).in_flight += in_flight * weight;
            from = until;
        }
        self.counted_until_ns = now;
    }
}

#[cfg(test)]
mod tests {
    use weir_bench_load::truth::{SLICE_NS, Served};

    use super::Ledger;

    #[test]
    fn slices_hold_what_was_in_flight() {
        let mut ledger = Ledger::new().expect("a ledger");
        let start = 7 * SLICE_NS;
        ledger.began(start);
        ledger.began(start + SLICE_NS / 2);
        let mut row = Served::default();
        ledger.tokens(&mut row, 1, start + SLICE_NS);
        ledger.tokens(&mut row, 2, start + 2 * SLICE_NS);
        ledger.ended(row, true, start + 2 * SLICE_NS);
        ledger.ended(Served::default(), false, start + 2 * SLICE_NS);
        let run = ledger.run(start + 5 * SLICE_NS);
        let in_flight: Vec<f64> = run.slices.iter().map(|slice| slice.in_flight).collect();
        let tokens: Vec<u64> = run.slices.iter().map(|slice| slice.tokens).collect();
        assert!((in_flight[0] - 1.5).abs() < 1e-9 && (in_flight[1] - 2.0).abs() < 1e-9);
        assert_eq!(tokens, [0, 1, 2]);
        assert_eq!((run.requests, run.complete, run.tokens, run.in_flight_max), (2, 1, 3, 2));
        let text = String::from_utf8(ledger.csv().expect("CSV")).expect("text");
        let mut rows = csv::Reader::from_reader(text.as_bytes());
        let rows: Vec<Served> = rows.deserialize().map(|row| row.expect("a row")).collect();
        assert_eq!(rows[0].tokens, 3);
        assert_eq!(rows[0].mean_gap_ns, SLICE_NS / 2);
        assert_eq!(rows[0].max_gap_ns, SLICE_NS);
    }
}
