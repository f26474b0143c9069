//! The CSV of the published vLLM + `LMCache` scripts: seconds with six decimals, completed requests
//! only. `avg_itl` is the mean gap between stream events, or empty. `gen_len` is the number of
//! tokens, where the scripts count stream events.

use std::io::Write;

use weir_model::Outcome;

use super::sample::{Seen, exported};
use super::{Export, ExportError, ExportInput};

const COLUMNS: [&str; 8] =
    ["request_id", "label", "prompt_len", "gen_len", "total_len", "ttft", "e2e", "avg_itl"];

pub(super) fn write(input: &ExportInput<'_>, out: &mut dyn Write) -> Result<(), ExportError> {
    let format = Export::ScriptCsv.name();
    let failed = |error: csv::Error| match error.into_kind() {
        csv::ErrorKind::Io(source) => ExportError::Write { format, source },
        kind => ExportError::Unwritable { format, why: format!("{kind:?}") },
    };
    let mut file = csv::Writer::from_writer(out);
    file.write_record(COLUMNS).map_err(failed)?;
    for row in exported(input)? {
        let row = row?;
        if row.outcome != Outcome::Done {
            continue;
        }
        let seen = Seen::of(&row);
        let seconds = |ns: f64| format!("{:.6}", ns / 1e9);
        let gaps: f64 = row.chunk_gaps.iter().map(|gap| gap.0 as f64).sum();
        let mean_gap = match row.chunk_gaps.len() {
            0 => String::new(),
            count => seconds(gaps / count as f64),
        };
        file.write_record([
            &row.request.to_string(),
            input.level,
            &seen.prompt.to_string(),
            &seen.output.to_string(),
            &(u64::from(seen.prompt) + u64::from(seen.output)).to_string(),
            &seen.ttft().map_or_else(String::new, |ns| seconds(ns as f64)),
            &seconds(seen.latency() as f64),
            &mean_gap,
        ])
        .map_err(failed)?;
    }
    file.flush().map_err(|source| ExportError::Write { format, source })
}
