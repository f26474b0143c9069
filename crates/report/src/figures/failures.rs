//! Why requests of the measured set failed.

use std::collections::BTreeMap;

use weir_model::{FailureCause, Outcome, Window};
use weir_record::{RequestColumn, RequestTable};

/// Bounds memory where a server gives each failure its own words.
const CAUSES_KEPT: usize = 1000;
const CAUSES_SHOWN: usize = 3;

#[derive(Debug, Default)]
pub struct Failures(BTreeMap<String, u64>);

impl Failures {
    pub const COLUMNS: &'static [RequestColumn] =
        &[RequestColumn::Due, RequestColumn::Outcome, RequestColumn::Error];

    /// The table must hold [`Failures::COLUMNS`].
    pub fn add_table(&mut self, table: &RequestTable, window: Window) {
        for row in 0..table.len() {
            let is_counted =
                table.outcome[row] == Outcome::Failed && window.measures(table.due[row]);
            let Some(cause) = table.error[row].as_ref().filter(|_| is_counted) else { continue };
            if let Some(times) = self.0.get_mut(cause) {
                *times += 1;
            } else if self.0.len() < CAUSES_KEPT {
                self.0.insert(cause.clone(), 1);
            }
        }
    }

    pub fn commonest(self) -> Vec<FailureCause> {
        let mut causes: Vec<FailureCause> =
            self.0.into_iter().map(|(cause, requests)| FailureCause { cause, requests }).collect();
        causes.sort_by_key(|cause| std::cmp::Reverse(cause.requests));
        causes.truncate(CAUSES_SHOWN);
        causes
    }
}
