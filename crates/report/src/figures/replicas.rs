//! What each replica answered.

use weir_model::Window;
use weir_record::ReplicaFigures;

use super::columns::RequestColumns;

/// Completed requests of the measured set, by the number of their replica; without addresses. Empty
/// where no replica is known.
pub(super) fn replicas(columns: &RequestColumns, window: Window) -> Vec<ReplicaFigures> {
    let mut replicas: Vec<ReplicaFigures> = Vec::new();
    for row in 0..columns.len() {
        let Some(replica) = columns.replica[row].map(usize::from) else { continue };
        if !columns.is_done(row) || !columns.is_measured(row, window) {
            continue;
        }
        if replica >= replicas.len() {
            replicas.resize(replica + 1, ReplicaFigures::default());
        }
        let of = &mut replicas[replica];
        let hits = columns.gpu_hit_tokens[row].saturating_add(columns.external_hit_tokens[row]);
        of.completed += 1;
        of.prompt_tokens += u64::from(columns.prompt_tokens[row]);
        of.hit_tokens += u64::from(hits);
    }
    replicas
}
