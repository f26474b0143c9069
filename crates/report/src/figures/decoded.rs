//! Which passes gave which requests their tokens, in simulation.

use std::collections::BTreeMap;

use weir_model::StepRow;

use super::columns::RequestColumns;

/// Per pass, in the order given: how many requests of `picks` got a token after their first one.
///
/// A request decodes in every pass of its replica after the one of its first token, until it is
/// complete. Preemption is ignored: the number of tokens is right, but those after the pause count
/// early.
pub(super) fn decoded(
    columns: &RequestColumns,
    steps: &[StepRow],
    picks: impl Fn(usize) -> bool,
) -> Vec<u64> {
    // Per replica: the places of its passes, in order of their numbers.
    let mut places: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
    for (place, step) in steps.iter().enumerate() {
        places.entry(step.replica).or_default().push(place);
    }
    let mut changes: BTreeMap<u16, Vec<i64>> =
        places.iter().map(|(replica, passes)| (*replica, vec![0; passes.len() + 1])).collect();
    for row in (0..columns.len()).filter(|&row| picks(row)) {
        let Some(replica) = columns.replica[row] else { continue };
        let (Some(changes), Some(passes)) = (changes.get_mut(&replica), places.get(&replica))
        else {
            continue;
        };
        let after_first = columns.first_step[row] + 1;
        let from = passes.partition_point(|&place| steps[place].step < after_first);
        let tokens = columns.output_tokens[row].saturating_sub(1) as usize;
        changes[from] += 1;
        changes[from.saturating_add(tokens).min(passes.len())] -= 1;
    }
    let mut brought = vec![0; steps.len()];
    for (replica, passes) in &places {
        let mut under_way = 0;
        for (place, change) in passes.iter().zip(&changes[replica]) {
            under_way += change;
            brought[*place] = u64::try_from(under_way).unwrap_or(0);
        }
    }
    brought
}
