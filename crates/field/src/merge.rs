//! Rows of all shards as the rows of one load.
//!
//! They come in order of end, as far as each shard's are. Each is held against the prompt that
//! the plan has at its place: an agent that generated another load, or another's shard, is found by
//! its first row.

use std::collections::HashMap;
use std::iter::Peekable;

use weir_load::Sink;
use weir_model::{Prompt, RequestRow, ShardCause};
use weir_record::RecordError;
use weir_workload::{Session, SessionSource};

/// Prompts of the load, made again as rows need them.
pub(crate) struct Prompts<'s, S> {
    source: &'s mut S,
    shards: u32,
    position: u64,
    last: Option<u64>,
    /// Of which not all rows have come, with their shard and the number of missing rows.
    open: HashMap<u64, (Session, u32, usize)>,
}

impl<'s, S: SessionSource> Prompts<'s, S> {
    pub(crate) fn new(source: &'s mut S, shards: u32) -> Self {
        Self { source, shards, position: 0, last: None, open: HashMap::new() }
    }

    /// None where the plan has another at the row's place.
    fn of(&mut self, row: &RequestRow, shard: u32) -> Option<Prompt> {
        // Ids of sessions rise.
        while self.last.is_none_or(|last| last < row.session) {
            let session = self.source.next_session()?;
            self.last = Some(session.id);
            let shard = (self.position % u64::from(self.shards)) as u32;
            self.position += 1;
            let turns = session.turns.len();
            self.open.insert(session.id, (session, shard, turns));
        }
        let (session, own, left) = self.open.get_mut(&row.session)?;
        let prompt = session.turns.get(row.turn as usize)?.prompt.clone();
        if *own != shard || prompt.digest() != row.prompt_id {
            return None;
        }
        *left -= 1;
        if *left == 0 {
            self.open.remove(&row.session);
        }
        Some(prompt)
    }

    /// Reads a trace on, so that what it left out at its end is counted.
    fn close(self) {
        if self.source.is_finite() {
            let _ = self.source.next_session();
        }
    }
}

/// Why rows could not be merged; with the shard where it is one's.
pub(crate) enum MergeError {
    Shard(usize, ShardCause),
    Record(RecordError),
    Sink(String),
}

/// `numbers`: of each shard's replicas, in the cell.
pub(crate) fn rows<S: SessionSource>(
    shards: Vec<impl Iterator<Item = Result<RequestRow, RecordError>>>,
    numbers: &[Vec<Option<u16>>],
    mut prompts: Prompts<'_, S>,
    sink: &mut dyn Sink,
) -> Result<(), MergeError> {
    let mut shards: Vec<Peekable<_>> = shards.into_iter().map(Iterator::peekable).collect();
    while let Some(shard) = first(&mut shards) {
        let Some(row) = shards[shard].next() else { break };
        let mut row = row.map_err(MergeError::Record)?;
        let other = |row: &RequestRow| {
            MergeError::Shard(shard, ShardCause::OtherRows { request: row.request })
        };
        let prompt = prompts.of(&row, shard as u32).ok_or_else(|| other(&row))?;
        row.shard = Some(shard as u16);
        row.replica = row.replica.and_then(|there| *numbers[shard].get(usize::from(there))?);
        sink.row(row, &prompt).map_err(MergeError::Sink)?;
    }
    prompts.close();
    Ok(())
}

/// With the row that ended first; of equal ones the lowest shard. One that cannot be read comes at
/// once.
fn first<I: Iterator<Item = Result<RequestRow, RecordError>>>(
    shards: &mut [Peekable<I>],
) -> Option<usize> {
    let mut best: Option<(usize, u64)> = None;
    for (index, rows) in shards.iter_mut().enumerate() {
        let Some(row) = rows.peek() else { continue };
        let end = row.as_ref().map_or(0, |row| row.end.get());
        if best.is_none_or(|(_, first)| end < first) {
            best = Some((index, end));
        }
    }
    best.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use weir_model::{ContentId, Nanos, Outcome, Piece, Tokens};
    use weir_workload::Turn;

    use super::*;

    struct Given(std::vec::IntoIter<Session>);

    impl SessionSource for Given {
        fn next_session(&mut self) -> Option<Session> {
            self.0.next()
        }
        fn is_finite(&self) -> bool {
            true
        }
    }

    fn prompt(session: u64) -> Prompt {
        Prompt::new([Piece::new(ContentId(session), 8)])
    }

    /// Ids with gaps: a trace leaves requests out.
    fn sessions(count: u64) -> Given {
        let turn = |id| Turn {
            prompt: prompt(id),
            output_tokens: Tokens(4),
            output: ContentId(99),
            seen_tokens: Tokens::ZERO,
            after: Vec::new(),
            think: Nanos::ZERO,
        };
        let session = |id| Session { id: id * 3, start: None, turns: vec![turn(id * 3)] };
        Given((0..count).map(session).collect::<Vec<_>>().into_iter())
    }

    fn row(session: u64, end: u64) -> RequestRow {
        RequestRow {
            request: session,
            session,
            turn: 0,
            prompt_id: prompt(session).digest(),
            replica: Some(1),
            due: Nanos::ZERO,
            start: Nanos::ZERO,
            connected: None,
            first_byte: None,
            first_token: None,
            end: Nanos(end),
            prompt_tokens: Tokens(8),
            output_tokens: Tokens(4),
            seen_tokens: Tokens::ZERO,
            cached_tokens: [Tokens::ZERO; 4],
            preemptions: 0,
            first_step: 0,
            chunk_gaps: Vec::new(),
            events_per_read: None,
            outcome: Outcome::Done,
            error: None,
            output_digest: None,
            error_bound: Nanos::ZERO,
            hits: None,
            shard: None,
        }
    }

    #[derive(Default)]
    struct Kept(Vec<(u64, Option<u16>, Option<u16>)>);

    impl Sink for Kept {
        fn row(&mut self, row: RequestRow, prompt: &Prompt) -> Result<(), String> {
            assert_eq!(prompt.digest(), row.prompt_id);
            self.0.push((row.session, row.shard, row.replica));
            Ok(())
        }
    }

    fn merged(shards: [Vec<RequestRow>; 2]) -> Result<Kept, (usize, ShardCause)> {
        let mut source = sessions(6);
        let prompts = Prompts::new(&mut source, 2);
        let shards = shards.map(|rows| rows.into_iter().map(Ok)).into_iter().collect();
        let numbers = [vec![Some(0), Some(7)], vec![Some(0), None]];
        let mut kept = Kept::default();
        match rows(shards, &numbers, prompts, &mut kept) {
            Ok(()) => Ok(kept),
            Err(MergeError::Shard(shard, cause)) => Err((shard, cause)),
            Err(MergeError::Record(_) | MergeError::Sink(_)) => panic!("another error"),
        }
    }

    #[test]
    fn rows_come_in_order_of_end_with_their_shard_and_replica() {
        let kept = merged([vec![row(6, 5), row(0, 9)], vec![row(3, 4), row(9, 9)]]);
        let seven = Some(7);
        let expected =
            [(3, Some(1), None), (6, Some(0), seven), (0, Some(0), seven), (9, Some(1), None)];
        assert_eq!(kept.ok().map(|kept| kept.0), Some(expected.to_vec()));
    }

    #[test]
    fn rows_of_another_load_are_found() {
        let other = |request| Some((1, ShardCause::OtherRows { request }));
        // Of the other shard; of a session that is not there; of another prompt; twice.
        assert_eq!(merged([vec![], vec![row(0, 1)]]).err(), other(0));
        assert_eq!(merged([vec![], vec![row(4, 1)]]).err(), other(4));
        assert_eq!(merged([vec![], vec![row(300, 1)]]).err(), other(300));
        let wrong = RequestRow { prompt_id: 1, ..row(3, 1) };
        assert_eq!(merged([vec![], vec![wrong]]).err(), other(3));
        assert_eq!(merged([vec![], vec![row(3, 1), row(3, 2)]]).err(), other(3));
    }
}
