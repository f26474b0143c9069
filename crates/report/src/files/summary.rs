//! `analysis/summary.json`.

use crate::comparison::Comparison;
use crate::error::ReportError;

/// With the keys of `columns.md` and a line feed at the end.
pub fn summary_json(of: &Comparison) -> Result<Vec<u8>, ReportError> {
    let failed = |source| ReportError::Json { file: "summary.json", source };
    let mut bytes = serde_json::to_vec_pretty(of).map_err(failed)?;
    bytes.push(b'\n');
    Ok(bytes)
}
