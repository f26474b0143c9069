//! Rows of a live cell on their way to its table, with the sums that its signals need.

use weir_load::Sink;
use weir_model::{Nanos, RequestRow};
use weir_observe::signals::Asked;
use weir_record::CellWriter;

/// Writes rows and adds up what was asked in the window.
pub(crate) struct Rows<'a> {
    writer: &'a mut CellWriter,
    window: (Nanos, Nanos),
    block_tokens: u32,
    pub(crate) asked: Asked,
    /// Sum of the residence times of the requests that ended in the window, and their number.
    pub(crate) residence: (u128, u64),
}

impl<'a> Rows<'a> {
    pub(crate) fn new(
        writer: &'a mut CellWriter,
        window: (Nanos, Nanos),
        block_tokens: u32,
    ) -> Self {
        Self { writer, window, block_tokens, asked: Asked::default(), residence: (0, 0) }
    }
}

impl Sink for Rows<'_> {
    fn row(&mut self, row: RequestRow) -> Result<(), String> {
        self.asked.add(&row, self.window, self.block_tokens);
        if self.window.0 <= row.end && row.end < self.window.1 {
            self.residence.0 += u128::from((row.end - row.start).0);
            self.residence.1 += 1;
        }
        self.writer.push_request(&row).map_err(|error| error.to_string())
    }
}
