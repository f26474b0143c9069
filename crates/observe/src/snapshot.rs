//! The values of one source at one moment, by name and labels, as exposed.

use std::collections::BTreeMap;

use weir_model::Nanos;

use crate::clock::UnixNanos;
use crate::exposition::{Exposition, ExpositionError, Format, Kind, Line, text_of};
use crate::labels::Labels;
use crate::selection::Selection;

pub type SeriesOf = BTreeMap<Labels, f64>;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("{endpoint}: {error}; check that this address is a metrics endpoint")]
    Unreadable { endpoint: String, error: ExpositionError },
    #[error(
        "{endpoint}: `{series}` stands there twice; its sum would be wrong, report it to the \
         exporter's authors"
    )]
    Twice { endpoint: String, series: String },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// A URL or a name.
    pub endpoint: String,
    /// The middle of the scrape.
    pub at: UnixNanos,
    /// Length of the scrape; the moment is uncertain by half of it.
    pub took: Nanos,
    samples: BTreeMap<String, SeriesOf>,
    kinds: BTreeMap<String, Kind>,
}

impl Snapshot {
    /// Keeps the families of the selection.
    pub fn parse(
        endpoint: &str,
        (at, took): (UnixNanos, Nanos),
        body: &[u8],
        format: Format,
        selection: &Selection,
    ) -> Result<Self, SnapshotError> {
        let unreadable = |error| SnapshotError::Unreadable { endpoint: endpoint.to_owned(), error };
        let text = text_of(body).map_err(unreadable)?;
        let mut snapshot = Self {
            endpoint: endpoint.to_owned(),
            at,
            took,
            samples: BTreeMap::new(),
            kinds: BTreeMap::new(),
        };
        for line in Exposition::new(text, format) {
            match line.map_err(unreadable)? {
                Line::Type { family, kind } if selection.keeps(family) => {
                    snapshot.kinds.insert(family.to_owned(), kind);
                }
                Line::Sample(sample) if selection.keeps(sample.name) => {
                    snapshot.insert(sample.name, Labels::of(&sample.labels), sample.value)?;
                }
                _ => {}
            }
        }
        Ok(snapshot)
    }

    fn insert(&mut self, name: &str, labels: Labels, value: f64) -> Result<(), SnapshotError> {
        let series = match self.samples.get_mut(name) {
            Some(series) => series,
            None => self.samples.entry(name.to_owned()).or_default(),
        };
        if series.contains_key(&labels) {
            let series = named(name, &labels);
            return Err(SnapshotError::Twice { endpoint: self.endpoint.clone(), series });
        }
        series.insert(labels, value);
        Ok(())
    }

    pub fn series(&self, name: &str) -> Option<&SeriesOf> {
        self.samples.get(name)
    }

    pub fn samples(&self) -> impl Iterator<Item = (&str, &SeriesOf)> {
        self.samples.iter().map(|(name, series)| (name.as_str(), series))
    }

    /// Declared, or with samples.
    pub fn speaks_of(&self, prefix: &str) -> bool {
        let declared = self.kinds.keys().chain(self.samples.keys());
        declared.into_iter().any(|name| name.starts_with(prefix))
    }

    /// By the name of a family or sample. Prometheus text declares counters with `_total`,
    /// `OpenMetrics` without.
    pub fn kind(&self, name: &str) -> Option<Kind> {
        let base = || {
            ["_total", "_bucket", "_sum", "_count", "_gsum", "_gcount", "_info"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .and_then(|family| self.kinds.get(family))
        };
        let total = || self.kinds.get(&format!("{name}_total"));
        self.kinds.get(name).or_else(base).or_else(total).copied()
    }

    /// The sum over the series with these labels.
    pub fn gauge_sum(&self, name: &str, filter: &[(&str, &str)]) -> Option<f64> {
        let series = self.samples.get(name).into_iter().flatten();
        let with = series.filter(|(labels, _)| labels.matches(filter));
        let finite = with.map(|(_, value)| *value).filter(|value| value.is_finite());
        finite.reduce(|sum, value| sum + value)
    }
}

pub(crate) fn named(name: &str, labels: &Labels) -> String {
    if labels.is_empty() { name.to_owned() } else { format!("{name}{{{labels}}}") }
}
