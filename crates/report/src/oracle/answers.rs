//! The answers of a cell, as digests, and their mismatches with another cell's.

use std::collections::HashMap;

use weir_model::Outcome;
use weir_record::{CellTables, RecordError, RequestColumn, RequestTable};
use weir_spec::plan::{ArmRole, Cell, Plan};

use crate::results::{AnswerCount, CellResult};

#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// (session, turn) -> (prompt id, digest of the answer): some 50 bytes per request.
    by_turn: HashMap<(u64, u32), (u64, u64)>,
}

impl Answers {
    pub const STORED: &'static [RequestColumn] = &[
        RequestColumn::Session,
        RequestColumn::Turn,
        RequestColumn::PromptId,
        RequestColumn::Outcome,
        RequestColumn::OutputDigest,
    ];

    pub fn add_table(&mut self, table: &RequestTable) {
        for row in completed(table) {
            if let Some(digest) = table.output_digest[row] {
                let place = (table.session[row], table.turn[row]);
                self.by_turn.insert(place, (table.prompt_id[row], digest));
            }
        }
    }

    /// Compares a part of another cell's rows. Lengths need no comparison: the digest covers them.
    pub fn compare(&self, table: &RequestTable) -> AnswerCount {
        let mut count = AnswerCount::default();
        for row in completed(table) {
            let Some(digest) = table.output_digest[row] else {
                count.without_digest += 1;
                continue;
            };
            let place = (table.session[row], table.turn[row]);
            match self.by_turn.get(&place) {
                Some((prompt, _)) if *prompt != table.prompt_id[row] => count.other_prompts += 1,
                Some((_, expected)) => {
                    count.compared += 1;
                    count.mismatches += u64::from(*expected != digest);
                }
                None => {}
            }
        }
        count
    }
}

/// Counts each cell's mismatches with the control's cell of the same level and repeat, which had
/// the same requests. Holds the digests of one cell at a time.
pub fn compare_answers(
    plan: &Plan,
    tables: &[CellTables],
    results: &mut [CellResult],
) -> Result<(), RecordError> {
    let role = |cell: &Cell| plan.deployments[cell.deployment].arms[cell.arm].role;
    let place = |cell: &Cell| (cell.deployment, cell.level, cell.repeat);
    for control in 0..results.len() {
        let asked = &plan.cells[results[control].cell];
        if role(asked) != ArmRole::Control {
            continue;
        }
        let mut answers = Answers::default();
        for group in tables[control].request_groups(Answers::STORED)? {
            answers.add_table(&group?);
        }
        for (result, tables) in results.iter_mut().zip(tables) {
            let cell = &plan.cells[result.cell];
            if result.record.path == asked.path || place(cell) != place(asked) {
                continue;
            }
            let mut count = AnswerCount::default();
            for group in tables.request_groups(Answers::STORED)? {
                count = count.and(answers.compare(&group?));
            }
            result.answers = Some(count);
        }
    }
    Ok(())
}

fn completed(table: &RequestTable) -> impl Iterator<Item = usize> + '_ {
    (0..table.outcome.len()).filter(|row| table.outcome[*row] == Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(u64, u32, u64, Option<u64>, Outcome)]) -> RequestTable {
        let mut table = RequestTable::default();
        for (session, turn, prompt, digest, outcome) in rows {
            table.session.push(*session);
            table.turn.push(*turn);
            table.prompt_id.push(*prompt);
            table.output_digest.push(*digest);
            table.outcome.push(*outcome);
        }
        table
    }

    #[test]
    fn only_answers_to_the_same_prompt_are_compared() {
        let done = Outcome::Done;
        let mut control = Answers::default();
        control.add_table(&table(&[(0, 0, 1, Some(7), done), (0, 1, 2, Some(8), done)]));
        control.add_table(&table(&[
            (1, 0, 3, Some(9), done),
            (2, 0, 4, None, done),
            (3, 0, 5, Some(1), Outcome::Unfinished),
        ]));
        let seen = control.compare(&table(&[
            (0, 0, 1, Some(7), done),
            // It quotes another answer.
            (0, 1, 22, Some(8), done),
            (1, 0, 3, Some(99), done),
            // The control has no digest, did not end, or had no such request.
            (2, 0, 4, Some(5), done),
            (3, 0, 5, Some(2), done),
            (4, 0, 6, Some(2), done),
            (1, 1, 7, None, done),
            (0, 0, 1, Some(77), Outcome::Failed),
        ]));
        let expected =
            AnswerCount { compared: 2, mismatches: 1, other_prompts: 1, without_digest: 1 };
        assert_eq!(seen, expected);
        assert_eq!(seen.rate(), Some(0.5));
        assert_eq!(AnswerCount::default().rate(), None);
        assert_eq!(seen.and(seen).compared, 4);
    }
}
