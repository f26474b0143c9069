//! The results of a probe: one JSON document, and one CSV row per point.

use serde::Serialize;
use weir_model::{Bytes, LoadedFrom};
use weir_spec::catalogue::profile_file::{
    LinkProfileFile, PROFILE_FORMAT, ProfileFigures, ProfileFit, ProfileKind,
};

use crate::config::Work;
use crate::engine_work::EngineWork;
use crate::error::ProbeError;
use crate::figures::{PointResult, SidePoint};
use crate::fit::{self, LookupTime};
use crate::session::ProbeMeasurements;
use crate::statistics::Repeated;
use crate::subject::TierFacts;

pub const REPORT_FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recompute {
    pub hardware: String,
    pub tensor_parallel: u32,
    pub prefix_tokens: u32,
    /// Time to compute it alone on the engine, by the timing model, seconds.
    pub compute_s: f64,
    /// GB/s above which loading takes less time.
    pub break_even_gb_per_s: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelFacts {
    pub name: String,
    /// Over all ranks.
    pub kv_bytes_per_token: Bytes,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub format: u32,
    pub weir: String,
    pub command: String,
    /// UTC.
    pub started: String,
    pub tier: TierFacts,
    pub model: Option<ModelFacts>,
    pub recompute: Option<Recompute>,
    /// Hit share of a trace on a tier without limits.
    pub trace_best_hit_share: Option<f64>,
    pub measured: ProbeMeasurements,
    pub link: Option<ProfileFigures>,
    pub fit: Option<ProfileFit>,
    pub warnings: Vec<String>,
}

impl Report {
    /// An error when the points do not determine the link.
    pub fn fit_link(&mut self) -> Result<(), ProbeError> {
        if self.measured.interrupted || self.measured.failed.is_some() {
            let problem = "the probe ended before all was measured".to_owned();
            return Err(ProbeError::Fit { problem, remedy: "let it end".to_owned() });
        }
        let observed = fit::observations(&self.measured.points);
        let (figures, quality) = fit::fit(&observed, &self.measured.lookups)?;
        self.link = Some(figures);
        self.fit = Some(quality);
        Ok(())
    }

    /// The block size of lookups and profiles.
    pub fn largest_block(&self) -> Bytes {
        let blocks = self.measured.points.iter().map(|result| result.point.block.bytes);
        blocks.max().unwrap_or_default()
    }

    /// None before [`Report::fit_link`].
    pub fn profile(&self) -> Option<LinkProfileFile> {
        let loads = || {
            let points = self.measured.points.iter();
            let reads = points.filter(|result| result.point.work == Work::Read);
            reads.filter_map(|result| result.loaded_from)
        };
        let shares = loads().filter_map(LoadedFrom::device_percent);
        Some(LinkProfileFile {
            format: PROFILE_FORMAT,
            kind: self.tier.kind,
            product: self.tier.product.clone(),
            version: self.tier.version.clone(),
            place: self.tier.place.clone(),
            measured: self.started.clone(),
            weir: self.weir.clone(),
            command: self.command.clone(),
            block_bytes: self.largest_block(),
            device_percent: shares.min_by(f64::total_cmp).map(f64::round),
            in_memory: loads().any(|from| from == LoadedFrom::Memory)
                && self.tier.kind == ProfileKind::Disk,
            settings: self.tier.settings.clone(),
            figures: self.link.clone()?,
            fit: self.fit.clone()?,
        })
    }

    /// One row per point and side.
    pub fn csv(&self) -> Result<Vec<u8>, csv::Error> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(COLUMNS)?;
        for result in &self.measured.points {
            for (name, side) in [("read", &result.read), ("write", &result.write)] {
                if let Some(side) = side {
                    writer.write_record(row(result, name, side))?;
                }
            }
        }
        for time in &self.measured.lookups {
            writer.write_record(lookup_row(time, self.largest_block()))?;
        }
        writer.into_inner().map_err(|error| error.into_error().into())
    }
}

fn lookup_row(time: &LookupTime, block: Bytes) -> Vec<String> {
    let micros = |seconds: f64| (seconds * 1e6).to_string();
    let value = |column: &str| match column {
        "work" | "side" => "lookup".to_owned(),
        "block_bytes" => block.0.to_string(),
        "threads" => "1".to_owned(),
        "depth" => time.keys.to_string(),
        "repeats" => time.asked.to_string(),
        "batch_p50_us" => micros(time.seconds),
        "batch_max_us" => micros(time.longest_s),
        "device_percent" => {
            time.device_bytes_per_byte.map_or(String::new(), |share| (100.0 * share).to_string())
        }
        other => of_engine(time.engine.as_ref(), other),
    };
    COLUMNS.iter().map(|column| value(column)).collect()
}

/// Columns of the CSV file; units are suffixes.
pub const COLUMNS: [&str; 42] = [
    "work",
    "side",
    "block_bytes",
    "chunk_tokens",
    "threads",
    "depth",
    "repeats",
    "gb_per_s",
    "gb_per_s_low",
    "gb_per_s_high",
    "blocks_per_s",
    "tokens_per_s",
    "batch_mean_us",
    "batch_p50_us",
    "batch_p90_us",
    "batch_p99_us",
    "batch_p999_us",
    "batch_max_us",
    "block_p50_us",
    "block_p99_us",
    "hit_percent",
    "client_cpu_s_per_gb",
    "server_cpu_s_per_gb",
    "device_percent",
    "loaded_from",
    "misses",
    "full",
    "corrupt",
    "wrong",
    "failed",
    "rocksdb_memtable_percent",
    "rocksdb_block_cache_percent",
    "rocksdb_read_bytes_per_byte",
    "rocksdb_blob_read_bytes_per_byte",
    "rocksdb_log_bytes_per_byte",
    "rocksdb_flushed_bytes_per_byte",
    "rocksdb_compacted_bytes_per_byte",
    "rocksdb_stalls",
    "rocksdb_stall_s",
    "rocksdb_get_s_per_gb",
    "rocksdb_write_s_per_gb",
    "rocksdb_file_read_s_per_gb",
];

/// The columns of a store's `RocksDB` work; empty if unknown.
fn of_engine(engine: Option<&EngineWork>, column: &str) -> String {
    let Some(work) = engine else { return String::new() };
    let value = match column {
        "rocksdb_memtable_percent" => work.memtable_percent,
        "rocksdb_block_cache_percent" => work.block_cache_percent,
        "rocksdb_read_bytes_per_byte" => work.read_per_byte,
        "rocksdb_blob_read_bytes_per_byte" => work.blob_read_per_byte,
        "rocksdb_log_bytes_per_byte" => work.log_per_byte,
        "rocksdb_flushed_bytes_per_byte" => work.flushed_per_byte,
        "rocksdb_compacted_bytes_per_byte" => work.compacted_per_byte,
        "rocksdb_stalls" => work.stalls.map(|stalls| stalls as f64),
        "rocksdb_stall_s" => work.stall_s,
        "rocksdb_get_s_per_gb" => work.get_s_per_gb,
        "rocksdb_write_s_per_gb" => work.write_s_per_gb,
        "rocksdb_file_read_s_per_gb" => work.file_read_s_per_gb,
        _ => None,
    };
    value.map_or(String::new(), |value| value.to_string())
}

fn row(result: &PointResult, name: &str, side: &SidePoint) -> Vec<String> {
    let point = &result.point;
    let median = |value: &Repeated| value.median.to_string();
    let known = |value: Option<Repeated>| value.map_or(String::new(), |value| median(&value));
    let hits = result.hit_share.map(|share| share.map(|share| 100.0 * share));
    let outcomes = &result.outcomes;
    let device = result.loaded_from.filter(|_| name == "read");
    let mut cells = vec![
        point.work.name(),
        name.to_owned(),
        point.block.bytes.0.to_string(),
        point.block.tokens.map_or(String::new(), |tokens| tokens.to_string()),
        point.threads.to_string(),
        point.depth.to_string(),
        result.repeats.len().to_string(),
        median(&side.gb_per_s),
        side.gb_per_s.low.to_string(),
        side.gb_per_s.high.to_string(),
        median(&side.blocks_per_s),
        known(side.tokens_per_s),
        median(&side.batch_us.mean),
        median(&side.batch_us.p50),
        known(side.batch_us.p90),
        known(side.batch_us.p99),
        known(side.batch_us.p999),
        median(&side.batch_us.max),
        median(&side.block_us.p50),
        known(side.block_us.p99),
        known(hits),
        known(result.client_cpu_s_per_gb),
        known(result.server_cpu_s_per_gb),
        device.and_then(LoadedFrom::device_percent).map_or(String::new(), |p| p.to_string()),
        device.map_or(String::new(), |from| from.name().to_owned()),
        outcomes.misses.to_string(),
        outcomes.full.to_string(),
        outcomes.corrupt.to_string(),
        outcomes.wrong.to_string(),
        outcomes.failed().to_string(),
    ];
    let rest = COLUMNS.iter().skip(cells.len());
    cells.extend(rest.map(|column| of_engine(result.engine.as_ref(), column)));
    cells
}
