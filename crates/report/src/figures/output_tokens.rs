//! Output tokens inside the window, from any source of token times.

use weir_model::{Nanos, Outcome, Window};

/// By the outcome of their requests.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct OutputTokens {
    pub(super) completed: u64,
    pub(super) failed: u64,
    pub(super) open: u64,
}

impl OutputTokens {
    pub(super) fn add(&mut self, outcome: Outcome, tokens: u64) {
        *match outcome {
            Outcome::Done => &mut self.completed,
            Outcome::Failed => &mut self.failed,
            Outcome::Unfinished => &mut self.open,
        } += tokens;
    }
}

/// The index of the batch (equal part of the window); None outside of the window.
pub(super) fn batch_of(at: Nanos, window: Window, batches: usize) -> Option<usize> {
    if batches == 0 || !window.contains(at) {
        return None;
    }
    let since = u128::from((at - window.start).0);
    Some((since * batches as u128 / u128::from(window.length().0)) as usize)
}
