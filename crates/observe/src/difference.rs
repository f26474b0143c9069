//! The change between two snapshots of one endpoint.
//!
//! Differences are taken series by series, before any sum: a sum over labels could grow despite a
//! restart. A restart is an error, because the counts before it are lost. Its signs are a value
//! that fell, a missing series, and a changed `_created` or `process_start_time_seconds`.
//!
//! A series only in the second snapshot began at zero: client libraries make it at the first
//! increment (OpenTelemetry) or with its labels (Prometheus).
//! series of a counter at its first increment (OpenTelemetry) or with its labels (Prometheus).

use weir_model::Nanos;

use crate::exposition::Kind;
use crate::labels::Labels;
use crate::selection::without_suffix;
use crate::snapshot::{SeriesOf, Snapshot, named};

const START_TIME: &str = "process_start_time_seconds";

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GapError {
    #[error(
        "{endpoint}: {evidence}: the process restarted inside the window, or several answer there \
         in turns, so what was counted is not known; name the metrics of each process, look for the \
         cause in their logs and run the cell again"
    )]
    Restarted { endpoint: String, evidence: String },
    #[error("{endpoint}: `{series}` is {value}, and must be a count; report it to its authors")]
    NotFinite { endpoint: String, series: String, value: f64 },
    #[error("snapshots of `{before}` and `{after}` cannot be compared: {detail}")]
    Unrelated { before: String, after: String, detail: &'static str },
}

#[derive(Debug, Clone, Copy)]
pub struct SnapshotDifference<'a> {
    before: &'a Snapshot,
    after: &'a Snapshot,
}

impl<'a> SnapshotDifference<'a> {
    /// An error for different endpoints, the wrong order, or a restart in between.
    pub fn new(before: &'a Snapshot, after: &'a Snapshot) -> Result<Self, GapError> {
        let unrelated = |detail| GapError::Unrelated {
            before: before.endpoint.clone(),
            after: after.endpoint.clone(),
            detail,
        };
        if before.endpoint != after.endpoint {
            return Err(unrelated("they are of different endpoints"));
        }
        if after.at < before.at {
            return Err(unrelated("the second was taken before the first"));
        }
        let started = (before.gauge_sum(START_TIME, &[]), after.gauge_sum(START_TIME, &[]));
        if let (Some(first), Some(second)) = started
            && first != second
        {
            let evidence = format!("`{START_TIME}` went from {first} to {second}");
            return Err(GapError::Restarted { endpoint: after.endpoint.clone(), evidence });
        }
        Ok(Self { before, after })
    }

    pub fn endpoint(&self) -> &'a str {
        &self.after.endpoint
    }

    /// Gauges are read from it.
    pub const fn after(&self) -> &'a Snapshot {
        self.after
    }

    pub fn speaks_of(&self, prefix: &str) -> bool {
        self.after.samples().any(|(name, _)| name.starts_with(prefix))
    }

    pub fn span(&self) -> Nanos {
        self.after.at.since(self.before.at).unwrap_or_default()
    }

    /// Growth of a counter over all series with these labels. None without the counter or such
    /// series; zero when it is declared without series. `_total` may be left out of the name.
    pub fn counter(&self, name: &str, filter: &[(&str, &str)]) -> Result<Option<f64>, GapError> {
        let grown = self.counter_by(name, filter)?;
        Ok(grown.map(|series| series.iter().fold(0.0, |sum, (_, value)| sum + value)))
    }

    pub fn counter_by(
        &self,
        name: &str,
        filter: &[(&str, &str)],
    ) -> Result<Option<Vec<(&'a Labels, f64)>>, GapError> {
        let Some(name) = self.counter_name(name) else {
            let declared = self.after.kind(name) == Some(Kind::Counter);
            return Ok(declared.then(Vec::new));
        };
        let grown = self.grown(&name, filter)?;
        Ok((!grown.is_empty()).then_some(grown))
    }

    /// The name in either snapshot, with or without `_total`.
    fn counter_name(&self, name: &str) -> Option<String> {
        let has =
            |name: &str| self.after.series(name).is_some() || self.before.series(name).is_some();
        if has(name) {
            return Some(name.to_owned());
        }
        let other = match name.strip_suffix("_total") {
            Some(bare) => bare.to_owned(),
            None => format!("{name}_total"),
        };
        has(&other).then_some(other)
    }

    fn grown(
        &self,
        name: &str,
        filter: &[(&str, &str)],
    ) -> Result<Vec<(&'a Labels, f64)>, GapError> {
        let none = SeriesOf::new();
        let first = self.before.series(name).unwrap_or(&none);
        let second = self.after.series(name);
        let gone = first.keys().find(|labels| {
            labels.matches(filter) && second.is_none_or(|series| !series.contains_key(labels))
        });
        if let Some(labels) = gone {
            return Err(self.restarted(&format!("`{}` is gone", named(name, labels))));
        }
        let created = self.created(name);
        let mut grown = Vec::new();
        for (labels, &after) in second.into_iter().flatten() {
            if !labels.matches(filter) {
                continue;
            }
            let before = first.get(labels).copied();
            for value in [before, Some(after)].into_iter().flatten() {
                if !value.is_finite() {
                    let series = named(name, labels);
                    let endpoint = self.after.endpoint.clone();
                    return Err(GapError::NotFinite { endpoint, series, value });
                }
            }
            if let Some(before) = before
                && after < before
            {
                let series = named(name, labels);
                return Err(self.restarted(&format!("`{series}` fell from {before} to {after}")));
            }
            if let Some((first, second)) = created
                && let (Some(was), Some(is)) = (first.get(labels), second.get(labels))
                && was != is
            {
                let series = named(name, labels);
                return Err(self.restarted(&format!(
                    "`{series}` was created at {is} s, and before that at {was} s"
                )));
            }
            grown.push((labels, after - before.unwrap_or(0.0)));
        }
        Ok(grown)
    }

    /// In both snapshots.
    fn created(&self, name: &str) -> Option<(&'a SeriesOf, &'a SeriesOf)> {
        let name = format!("{}_created", without_suffix(name));
        Some((self.before.series(&name)?, self.after.series(&name)?))
    }

    fn restarted(&self, evidence: &str) -> GapError {
        GapError::Restarted { endpoint: self.after.endpoint.clone(), evidence: evidence.to_owned() }
    }
}
