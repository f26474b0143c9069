//! What ran in an arm and not in all of them.

use crate::likeness::SoftwareNote;
use crate::words::difference::name;

/// The file's settings of an arm's processes, and the facts in which arms differ; no full stops.
pub(super) fn of_arm(note: &SoftwareNote, arm: &str) -> Vec<String> {
    let Some(software) = note.arms.iter().find(|known| known.arm == arm) else {
        return Vec::new();
    };
    let mut lines: Vec<String> =
        software.added().map(|added| format!("From the file: {added}")).into_iter().collect();
    let shown = |kind| Some(format!("{} {}", name(kind), software.shown(kind)?));
    let facts: Vec<String> = note.differing().into_iter().filter_map(shown).collect();
    if !facts.is_empty() {
        lines.push(format!("Runs, otherwise than other arms: {}", facts.join(", ")));
    }
    lines
}
