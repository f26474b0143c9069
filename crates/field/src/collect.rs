//! Reports and rows of all shards, once their loads have ended.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use weir_http::request::Method;
use weir_load::{LoadConfig, LoadError, LoadReport, ReplicaNames, ShardReport, Sink, unix_ns_at};
use weir_model::{LoadNote, Nanos, ShardCause};
use weir_record::RequestFile;
use weir_workload::SessionSource;

use crate::channel::CallBody;
use crate::error::OfferError;
use crate::field::{Field, Hand, Offered, ShardRecord};
use crate::level::{Clocks, PATIENCE};
use crate::merge::{self, MergeError, Prompts};
use crate::message::{AgentReport, path};
use crate::offset::Offset;
use crate::order::digest_file;

/// Of one request for rows.
const PART_BYTES: u64 = 8 << 20;
/// Files that come with another checksum are fetched again.
const ATTEMPTS: u32 = 2;
/// A thread that begins later has sent its first requests late.
const LATE_MAX: Nanos = Nanos::from_millis(250);
/// From here on, the order of requests of different shards is doubtful where it matters.
const BOUND_TO_FLAG: Nanos = Nanos::from_millis(5);

pub(crate) fn offered<S: SessionSource>(
    field: &Field,
    config: &LoadConfig,
    clocks: &Clocks,
    prompts: Prompts<'_, S>,
    sink: &mut dyn Sink,
) -> Result<Offered, OfferError> {
    let folder = tempfile::tempdir().map_err(|error| OfferError::File {
        path: std::env::temp_dir(),
        problem: error.to_string(),
    })?;
    let file = |index: usize| folder.path().join(format!("rows-{index}.parquet"));
    let reports = field.each(|index, hand| collect(hand, &file(index)))?;
    for (index, report) in reports.iter().enumerate() {
        if let Some(cause) = unfit(report) {
            return Err(field.failure(index, cause).into());
        }
    }
    let mut names = ReplicaNames::new(&config.replicas);
    let numbers: Vec<_> =
        reports.iter().map(|report| names.renumber(&report.load.replicas)).collect();
    let rows: Result<Vec<_>, _> =
        (0..reports.len()).map(|index| RequestFile::read(&file(index))).collect();
    merge::rows(rows?, &numbers, prompts, sink).map_err(|error| match error {
        MergeError::Shard(index, cause) => OfferError::Shard(field.failure(index, cause)),
        MergeError::Record(error) => OfferError::Record(error),
        MergeError::Sink(error) => OfferError::Load(LoadError::Sink(error)),
    })?;
    let loads: Vec<ShardReport> = reports.iter().map(|report| report.load.clone()).collect();
    // Everything else beside the load is timed by the field's clock.
    let started_unix_ns = unix_ns_at(clocks.start);
    let report = LoadReport { started_unix_ns, ..LoadReport::of(config, &loads) };
    let shards: Vec<ShardRecord> = field
        .hands
        .iter()
        .zip(reports)
        .zip(&clocks.offsets)
        .map(|((hand, report), offsets)| record(config, hand, report, *offsets))
        .collect();
    let flagged = shards.iter().enumerate().filter(|(_, shard)| shard.clock_bound > BOUND_TO_FLAG);
    let notes = flagged.map(|(index, shard)| {
        LoadNote::ClockBound { shard: index as u32, bound: shard.clock_bound }.into()
    });
    let notes = notes.collect();
    Ok(Offered { report, shards, notes })
}

fn record(
    config: &LoadConfig,
    hand: &Hand,
    report: AgentReport,
    (before, after): (Offset, Offset),
) -> ShardRecord {
    let own = LoadReport::of(config, std::slice::from_ref(&report.load));
    ShardRecord {
        agent: hand.name.clone(),
        host: hand.hello.host.clone(),
        requests: report.rows,
        clock_offset_ns: before.offset_ns,
        clock_drift_ns: before.drift_ns(after),
        clock_bound: before.bound_until(after),
        begun_late: report.load.begun_late,
        sha256: report.sha256,
        group: report.group,
        certificate: own.certificate,
    }
}

/// Why its load was another than the one that was ordered.
fn unfit(report: &AgentReport) -> Option<ShardCause> {
    let late = report.load.begun_late;
    if late > LATE_MAX {
        return Some(ShardCause::BegunLate { late, most: LATE_MAX });
    }
    match (report.group.throttled_periods, report.group.oom_kills) {
        (Some(periods @ 1..), _) => Some(ShardCause::Throttled { periods }),
        (_, Some(kills @ 1..)) => Some(ShardCause::OutOfMemory { kills }),
        _ => None,
    }
}

fn collect(hand: &Hand, file: &Path) -> Result<AgentReport, ShardCause> {
    let answer = hand.channel.lock().get(path::REPORT, PATIENCE).map_err(Hand::silent)?;
    let report: AgentReport = answer.read().map_err(ShardCause::Refused)?;
    for _ in 0..ATTEMPTS {
        fetch_rows(hand, report.bytes, file)?;
        let found = digest_file(file).map_err(|error| ShardCause::Refused(error.to_string()))?;
        if found == (report.bytes, report.sha256.clone()) {
            return Ok(report);
        }
    }
    Err(ShardCause::Damaged)
}

/// In parts: one that broke off is asked for again, and not what came before.
fn fetch_rows(hand: &Hand, size: u64, file: &Path) -> Result<(), ShardCause> {
    let failed = |error: std::io::Error| {
        ShardCause::Refused(format!("its rows cannot be kept in {}: {error}", file.display()))
    };
    let mut out = File::create(file).map_err(failed)?;
    let mut have = 0;
    while have < size {
        let last = (have + PART_BYTES).min(size) - 1;
        let range = [("Range", format!("bytes={have}-{last}"))];
        let answer = hand
            .channel
            .lock()
            .call(Method::Get, path::ROWS, &range, CallBody::None, PATIENCE)
            .map_err(Hand::silent)?;
        if !answer.is_good() {
            return Err(ShardCause::Refused(answer.words()));
        }
        if answer.body.len() as u64 != last - have + 1 {
            return Err(ShardCause::Damaged);
        }
        out.write_all(&answer.body).map_err(failed)?;
        have = last + 1;
    }
    Ok(())
}
