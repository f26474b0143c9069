use std::collections::BTreeMap;

use weir_load::Sink;
use weir_model::{Outcome, Prompt, RequestRow, Window};
use weir_observe::signals::{AnsweredBy, AskedLoad};
use weir_record::CellWriter;

use crate::live::choices::Choices;
use crate::live::foreign::EdgeRequests;
use crate::live::stalls::Flow;
use crate::live::steady::Pace;
use crate::residence::Residence;

/// Bounds the memory where a server gives each failure its own text.
const CAUSES_KEPT: usize = 1000;
const CAUSES_SHOWN: usize = 3;

/// Writes rows and sums up the load.
pub(crate) struct Rows<'a> {
    writer: &'a mut CellWriter,
    window: Window,
    block_tokens: u32,
    choices: Option<Choices<'a>>,
    pub(crate) answered: AnsweredBy,
    pub(crate) asked: AskedLoad,
    pub(crate) at_edges: EdgeRequests,
    pub(crate) residence: Residence,
    pub(crate) pace: Pace,
    pub(crate) flow: Flow,
    /// With the count of each.
    failures: BTreeMap<String, u64>,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(
        writer: &'a mut CellWriter,
        window: Window,
        block_tokens: u32,
        choices: Option<Choices<'a>>,
    ) -> Self {
        Self {
            writer,
            window,
            block_tokens,
            choices,
            answered: AnsweredBy::default(),
            asked: AskedLoad::default(),
            at_edges: EdgeRequests::default(),
            residence: Residence::default(),
            pace: Pace::default(),
            flow: Flow::default(),
            failures: BTreeMap::new(),
        }
    }
}

impl Rows<'_> {
    /// The most frequent, one sentence each.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut causes: Vec<(&String, &u64)> = self.failures.iter().collect();
        causes.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
        let sentence =
            |(cause, times): (&String, &u64)| format!("{times} requests failed: {cause}");
        causes.into_iter().take(CAUSES_SHOWN).map(sentence).collect()
    }
}

impl Sink for Rows<'_> {
    fn row(&mut self, row: RequestRow, prompt: &Prompt) -> Result<(), String> {
        let hits = self.choices.and_then(|choices| choices.hits(&row, prompt));
        let row = RequestRow { hits, ..row };
        self.answered.add(&row, self.window);
        self.asked.add(&row, self.window, self.block_tokens);
        self.at_edges.add(&row, self.window);
        self.pace.add(&row);
        self.flow.add(&row);
        self.residence.add(&row, self.window);
        if let Some(cause) = row.error.as_ref().filter(|_| row.outcome == Outcome::Failed)
            && (self.failures.len() < CAUSES_KEPT || self.failures.contains_key(cause))
        {
            *self.failures.entry(cause.clone()).or_default() += 1;
        }
        self.writer.push_request(&row).map_err(|error| error.to_string())
    }
}
