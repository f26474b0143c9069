//! Link profiles in files: one's own disk or store, as `weir probe --profile` measured it.
//!
//! A `profile:` that ends in `.yaml` or `.yml` or has a slash is such a file; every other value is
//! a name of [`links`](super::links).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weir_model::{Bytes, Nanos};
use weir_tier::LinkConfig;

use crate::document::read_yaml;
use crate::error::SpecError;
use weir_model::quantity::Span;

pub const PROFILE_FORMAT: u32 = 1;
/// A profile has some thirty lines.
const LARGEST_FILE: u64 = 1 << 20;
const LONGEST: Nanos = Nanos::from_secs(3600);
const LONGEST_PER_BLOCK: Nanos = Nanos::from_secs(1);
/// A larger number is a mistake.
const MOST_LANES: u32 = 1 << 16;

weir_model::words! {
    pub enum ProfileKind {
        /// For people; no section of an experiment takes it.
        Memory = "memory",
        Disk = "disk",
        /// For `store: {profile: FILE}`.
        Store = "store",
    }
}

/// A transfer takes `latency + per_block * blocks + bytes / rate`. All of it but the latency
/// occupies a lane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileFigures {
    /// From the tier, all lanes together.
    pub read_gb_per_s: f64,
    /// To the tier, all lanes together.
    pub write_gb_per_s: f64,
    pub latency: Span,
    /// In addition to the block's bytes.
    pub per_block: Span,
    /// Transfers at once, each at its share of the rate.
    pub lanes: u32,
    pub lookup_latency: Span,
    /// In addition, per key of a lookup.
    pub lookup_per_key: Span,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileFit {
    pub points: u32,
    /// Root mean square of the relative errors. None where there are no more points than figures,
    /// whose fit is exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rms_error_percent: Option<f64>,
    /// Largest spread of a point's repeats, relative to its median. None without repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread_percent: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkProfileFile {
    pub format: u32,
    pub kind: ProfileKind,
    /// `redis`, `valkey`, `kvrocks`, `disk` or `memory`.
    pub product: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Address or folder, without secrets.
    pub place: String,
    pub measured: String,
    pub weir: String,
    pub command: String,
    /// With several sizes, the largest.
    pub block_bytes: Bytes,
    /// Of the loaded bytes, at the point with the least. None where it is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_percent: Option<f64>,
    /// Whether the measured folder is in memory, so that there is no device.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_memory: bool,
    /// Other conditions of the figures: settings of the store, the disk's access mode.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    pub figures: ProfileFigures,
    pub fit: ProfileFit,
}

/// Read before the rest, so that a later format is reported as such.
#[derive(Deserialize)]
struct Versioned {
    format: Option<u32>,
}

/// False for a name of the catalogue.
pub fn is_file(profile: &str) -> bool {
    let end = Path::new(profile).extension();
    profile.contains('/')
        || end
            .is_some_and(|end| end.eq_ignore_ascii_case("yaml") || end.eq_ignore_ascii_case("yml"))
}

impl LinkProfileFile {
    pub fn read(path: &Path) -> Result<Self, SpecError> {
        let failed =
            |source| SpecError::Read { what: "the link profile", path: path.to_owned(), source };
        let long = std::fs::metadata(path).map_err(failed)?.len();
        if long > LARGEST_FILE {
            let problem = format!("{} are too large for a link profile", Bytes(long));
            return Err(refused(path, problem, "check the path"));
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        Self::parse(&text, path)
    }

    pub fn parse(text: &str, path: &Path) -> Result<Self, SpecError> {
        let file = path.display().to_string();
        let versioned: Versioned = read_yaml(text, &file)?;
        match versioned.format {
            Some(PROFILE_FORMAT) => {}
            Some(other) => {
                let problem = format!("format {other} of link profiles is not known here");
                let remedy = format!(
                    "this Weir reads format {PROFILE_FORMAT}; measure it again with `weir probe \
                     --profile`"
                );
                return Err(refused(path, problem, &remedy));
            }
            None => {
                let remedy = "write one with `weir probe TARGET --profile FILE.yaml`";
                return Err(refused(path, "a link profile must have a `format`", remedy));
            }
        }
        let profile: Self = read_yaml(text, &file)?;
        profile.check(path)?;
        Ok(profile)
    }

    pub fn to_yaml(&self) -> Result<String, SpecError> {
        let text = serde_saphyr::to_string(self).map_err(|error| {
            SpecError::value("profile", error.to_string(), "report this as a defect")
        })?;
        Ok(format!(
            "# A link profile of `weir probe`: use it as `{{profile: FILE}}` of an arm's {}.\n{text}",
            if self.kind == ProfileKind::Disk { "`disk`" } else { "`store`" },
        ))
    }

    pub fn link(&self) -> LinkConfig {
        LinkConfig {
            base_latency: self.figures.latency.0,
            per_copy: self.figures.per_block.0,
            read_bytes_per_s: self.figures.read_gb_per_s * 1e9,
            write_bytes_per_s: self.figures.write_gb_per_s * 1e9,
            lanes: self.figures.lanes,
        }
    }

    fn check(&self, path: &Path) -> Result<(), SpecError> {
        let figures = &self.figures;
        for (key, rate) in
            [("read_gb_per_s", figures.read_gb_per_s), ("write_gb_per_s", figures.write_gb_per_s)]
        {
            if !(rate > 0.0 && rate < 1e6) {
                let problem = format!("figures.{key}: {rate} is not a bandwidth");
                return Err(refused(path, problem, "write GB/s above 0"));
            }
        }
        for (key, span, longest) in [
            ("latency", figures.latency, LONGEST),
            ("per_block", figures.per_block, LONGEST_PER_BLOCK),
            ("lookup_latency", figures.lookup_latency, LONGEST),
            ("lookup_per_key", figures.lookup_per_key, LONGEST_PER_BLOCK),
        ] {
            if span.0 > longest {
                let problem = format!("figures.{key}: {span} is too long");
                return Err(refused(path, problem, &format!("write at most {longest}")));
            }
        }
        if !(1..=MOST_LANES).contains(&figures.lanes) {
            let problem = format!("figures.lanes: {} lanes", figures.lanes);
            let remedy = format!("write a number from 1 to {MOST_LANES}");
            return Err(refused(path, problem, &remedy));
        }
        Ok(())
    }
}

fn refused(path: &Path, problem: impl Into<String>, remedy: &str) -> SpecError {
    SpecError::LinkProfile {
        path: PathBuf::from(path),
        problem: problem.into(),
        remedy: remedy.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> LinkProfileFile {
        LinkProfileFile {
            format: PROFILE_FORMAT,
            kind: ProfileKind::Store,
            product: "redis".to_owned(),
            version: Some("7.0.15".to_owned()),
            place: "redis://127.0.0.1:6379".to_owned(),
            measured: "2026-11-20T15:30:00Z".to_owned(),
            weir: "0.1.0".to_owned(),
            command: "weir probe redis://127.0.0.1:6379 --profile my-redis.yaml".to_owned(),
            block_bytes: Bytes(2 << 20),
            device_percent: Some(3.0),
            in_memory: false,
            settings: BTreeMap::from([("maxmemory-policy".to_owned(), "allkeys-lru".to_owned())]),
            figures: ProfileFigures {
                read_gb_per_s: 2.25,
                write_gb_per_s: 1.5,
                latency: Span(Nanos(81_250)),
                per_block: Span(Nanos(4_001)),
                lanes: 2,
                lookup_latency: Span(Nanos::from_micros(60)),
                lookup_per_key: Span(Nanos(1_500)),
            },
            fit: ProfileFit {
                points: 12,
                rms_error_percent: Some(3.25),
                spread_percent: Some(4.5),
            },
        }
    }

    fn refusal(text: &str) -> String {
        LinkProfileFile::parse(text, Path::new("my.yaml")).unwrap_err().to_string()
    }

    #[test]
    fn what_is_written_is_read() {
        let profile = sample();
        let text = profile.to_yaml().unwrap();
        assert_eq!(LinkProfileFile::parse(&text, Path::new("my.yaml")).unwrap(), profile, "{text}");
        assert_eq!(profile.link().read_bytes_per_s, 2.25e9);
        assert_eq!(profile.link().per_copy, Nanos(4_001));
    }

    #[test]
    fn other_formats_and_impossible_figures_are_named() {
        let text = sample().to_yaml().unwrap();
        let later = refusal(&text.replace("format: 1", "format: 2"));
        assert_eq!(
            later,
            "my.yaml: format 2 of link profiles is not known here; this Weir reads format 1; \
             measure it again with `weir probe --profile`"
        );
        let none = refusal(&text.replace("format: 1\n", ""));
        assert!(none.contains("must have a `format`"), "{none}");
        let rate = refusal(&text.replace("read_gb_per_s: 2.25", "read_gb_per_s: 0.0"));
        assert!(rate.contains("figures.read_gb_per_s: 0 is not a bandwidth"), "{rate}");
        let lanes = refusal(&text.replace("lanes: 2", "lanes: 0"));
        assert!(lanes.contains("figures.lanes: 0 lanes"), "{lanes}");
        let key = refusal(&text.replace("lanes: 2", "lines: 2"));
        assert!(
            key.starts_with("my.yaml:")
                && key.contains("unknown key `figures.lines` (did you mean `lanes`?)"),
            "{key}"
        );
    }

    #[test]
    fn names_and_files_are_told_apart() {
        assert!(is_file("my-redis.yaml") && is_file("profiles/mine") && is_file("A.YML"));
        assert!(!is_file("redis") && !is_file("nvme-gen4"));
    }
}
