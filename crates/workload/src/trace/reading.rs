//! What a trace with hash ids does not state: the tokens of a block, and the unit of its times.
//!
//! Both are given, or follow from evidence; nothing is assumed. A request of `n` tokens with `k`
//! ids has blocks of `b` tokens with `ceil(n / b) = k`. That gives a range of sizes per request,
//! and the size must lie in all of them. Where several do, only the layout of a published data set,
//! recognised by exactly its fields, decides. Numbers do not show a unit: it is the published
//! layout's or must be given, unless it does not matter.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use weir_model::Nanos;

use super::mooncake::{Row, Rows, Stamp};
use crate::config::{TimeUnit, TraceFile, TraceFormat};
use crate::error::WorkloadError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    pub block_tokens: u32,
    pub unit: TimeUnit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TraceLayout {
    /// Mooncake's FAST'25 release: blocks of 512 tokens, whole milliseconds. Source: its README.
    Mooncake,
    /// Alibaba's Qwen-Bailian traces: blocks of 16 tokens, seconds. Source: README of
    /// `alibaba-edu/qwen-bailian-usagetraces-anon`.
    QwenBailian,
}

impl TraceLayout {
    const ALL: [Self; 2] = [Self::Mooncake, Self::QwenBailian];

    const fn scale(self) -> Scale {
        match self {
            Self::Mooncake => Scale { block_tokens: 512, unit: TimeUnit::Ms },
            Self::QwenBailian => Scale { block_tokens: 16, unit: TimeUnit::S },
        }
    }

    /// In addition to those that every row needs.
    const fn more_fields(self) -> &'static [&'static str] {
        match self {
            Self::Mooncake => &[],
            Self::QwenBailian => &["chat_id", "parent_chat_id", "type", "turn"],
        }
    }

    /// True where a file has exactly its fields, and its block size fits.
    fn is(self, seen: &Seen) -> bool {
        let more = self.more_fields();
        seen.other_keys.iter().eq(more.iter().copied().collect::<BTreeSet<_>>())
            && seen.fits.contains(self.scale().block_tokens)
    }

    /// Mooncake has no fractions of a millisecond.
    fn has_times_of(self, seen: &Seen) -> bool {
        self != Self::Mooncake || seen.all_whole
    }
}

impl fmt::Display for TraceLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mooncake => "Mooncake",
            Self::QwenBailian => "Qwen-Bailian",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    Given,
    /// No other value fits all requests.
    OnlyFit,
    /// From the published data set with exactly these fields.
    Published(TraceLayout),
    AllAtOnce,
    /// The load does not replay the trace's times.
    Unused,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceReading {
    pub path: String,
    /// Includes those that the context cannot hold.
    pub requests: u64,
    pub block_tokens: u32,
    pub block_basis: Basis,
    pub time_unit: TimeUnit,
    pub unit_basis: Basis,
    /// From the first request to the last, at the trace's own speed. None where its times are not
    /// replayed.
    pub span: Option<Nanos>,
}

impl TraceReading {
    /// Reads a trace to its end or limit. None for a format whose files state everything.
    /// `is_timed` is false where the load does not replay the times. A relative path starts at
    /// `folder`.
    pub fn of(
        file: &TraceFile,
        folder: &Path,
        is_timed: bool,
    ) -> Result<Option<Self>, WorkloadError> {
        if file.format != TraceFormat::Mooncake {
            return Ok(None);
        }
        let path = folder.join(&file.path);
        let seen = Seen::of(file, &path)?;
        if seen.requests == 0 {
            return Err(WorkloadError::Empty { path });
        }
        let layout = TraceLayout::ALL.into_iter().find(|layout| layout.is(&seen));
        let (block_tokens, block_basis) = match (file.block_tokens, layout) {
            (Some(tokens), _) => (tokens, Basis::Given),
            (None, _) if seen.fits.is_one() => (seen.fits.least, Basis::OnlyFit),
            (None, Some(layout)) => (layout.scale().block_tokens, Basis::Published(layout)),
            (None, None) => return Err(seen.ambiguous(&path)),
        };
        let published = layout.filter(|layout| layout.has_times_of(&seen));
        let (time_unit, unit_basis) = match (file.time_unit, published) {
            (Some(unit), _) => (unit, Basis::Given),
            (None, Some(layout)) => (layout.scale().unit, Basis::Published(layout)),
            (None, None) if !is_timed => (TimeUnit::Ms, Basis::Unused),
            (None, None) if seen.is_at_once() => (TimeUnit::Ms, Basis::AllAtOnce),
            (None, None) => return Err(seen.unit_unknown(&path, block_tokens)),
        };
        let span = seen.span(time_unit).filter(|_| unit_basis != Basis::Unused);
        Ok(Some(Self {
            path: file.path.clone(),
            requests: seen.requests,
            block_tokens,
            block_basis,
            time_unit,
            unit_basis,
            span,
        }))
    }

    pub const fn scale(&self) -> Scale {
        Scale { block_tokens: self.block_tokens, unit: self.time_unit }
    }
}

/// Range of possible block sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fits {
    least: u32,
    most: u32,
}

impl Fits {
    const ALL: Self = Self { least: 1, most: u32::MAX };

    /// Sizes with `ceil(tokens / b) = ids`.
    fn of(tokens: u32, ids: u32) -> Self {
        let most = match ids {
            0 => 0,
            1 => u32::MAX,
            // The next larger size would need one block less.
            _ => tokens.div_ceil(ids - 1) - 1,
        };
        Self { least: tokens.div_ceil(ids.max(1)), most }
    }

    fn and(self, other: Self) -> Self {
        Self { least: self.least.max(other.least), most: self.most.min(other.most) }
    }

    const fn contains(self, size: u32) -> bool {
        self.least <= size && size <= self.most
    }

    const fn is_one(self) -> bool {
        self.least == self.most
    }
}

#[derive(Debug)]
struct Seen {
    requests: u64,
    fits: Fits,
    /// Keys that rows do not need.
    other_keys: BTreeSet<String>,
    /// No time has a decimal point.
    all_whole: bool,
    ends: Option<(Stamp, Stamp)>,
}

impl Seen {
    fn of(file: &TraceFile, path: &Path) -> Result<Self, WorkloadError> {
        let mut rows = Rows::open(path)?;
        let mut seen = Self {
            requests: 0,
            fits: Fits::ALL,
            other_keys: BTreeSet::new(),
            all_whole: true,
            ends: None,
        };
        while file.limit.is_none_or(|limit| seen.requests < limit)
            && let Some(row) = rows.next_row()?
        {
            match file.block_tokens {
                Some(given) => rows.check_blocks(&row, given)?,
                None => seen.fit(&row).map_err(|problem| rows.error(problem))?,
            }
            seen.requests += 1;
            seen.all_whole &= matches!(row.timestamp, Stamp::Whole(_));
            let first = seen.ends.map_or(row.timestamp, |(first, _)| first);
            seen.ends = Some((first, row.timestamp));
        }
        if let Some(given) = file.block_tokens {
            seen.fits = Fits { least: given, most: given };
        }
        let needed = ["timestamp", "input_length", "output_length", "hash_ids"];
        seen.other_keys =
            rows.keys().iter().filter(|k| !needed.contains(&k.as_str())).cloned().collect();
        Ok(seen)
    }

    fn fit(&mut self, row: &Row) -> Result<(), String> {
        let (tokens, ids) = (row.input_length, row.hash_ids.len());
        let own = Fits::of(tokens, u32::try_from(ids).unwrap_or(u32::MAX));
        let both = self.fits.and(own);
        if both.least <= both.most {
            self.fits = both;
            return Ok(());
        }
        let why = if own.least > own.most {
            "which no block size gives".to_owned()
        } else {
            format!("but the lines before it have blocks of {} tokens", self.fits)
        };
        Err(format!("has {ids} hash_ids for input_length {tokens}, {why}"))
    }

    fn is_at_once(&self) -> bool {
        self.span(TimeUnit::Ns) == Some(Nanos::ZERO)
    }

    /// None where the times are out of range or order, for which the source has the better error.
    fn span(&self, unit: TimeUnit) -> Option<Nanos> {
        let (first, last) = self.ends?;
        let span = last.ns(unit.ns())? - first.ns(unit.ns())?;
        u64::try_from(span).ok().map(Nanos)
    }

    fn ambiguous(&self, path: &Path) -> WorkloadError {
        WorkloadError::BlockTokensUnknown {
            path: path.to_owned(),
            requests: self.requests,
            fits: self.fits.to_string(),
        }
    }

    fn unit_unknown(&self, path: &Path, block_tokens: u32) -> WorkloadError {
        let why = if !self.other_keys.is_empty() {
            let names: Vec<&str> = self.other_keys.iter().map(String::as_str).take(4).collect();
            format!("it has fields beyond Mooncake's ({})", names.join(", "))
        } else if self.all_whole {
            format!("its blocks have {block_tokens} tokens and not Mooncake's 512")
        } else {
            "Mooncake's times are whole milliseconds, and these are fractions".to_owned()
        };
        WorkloadError::TimeUnitUnknown { path: path.to_owned(), why }
    }
}

impl fmt::Display for Fits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.most {
            u32::MAX => write!(f, "{} or more", self.least),
            _ if self.is_one() => write!(f, "{}", self.least),
            most => write!(f, "{} to {most}", self.least),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sizes_that_fit_are_those_that_fit() {
        for tokens in 1..=70 {
            for ids in 0..=80 {
                let fits = Fits::of(tokens, ids);
                for size in 1..=100 {
                    let is_fit = tokens.div_ceil(size) == ids;
                    assert_eq!(fits.contains(size), is_fit, "{tokens} tokens, {ids} ids, {size}");
                }
            }
        }
    }
}
