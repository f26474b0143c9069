//! Going through the keys of a layout with `SCAN`. Never `FLUSHALL`, never `KEYS`: a store may have
//! other users.

use std::time::Instant;

use xxhash_rust::xxh3::xxh3_64;

use super::connection::Connection;
use super::error::RespError;
use super::fleet::Fleet;
use super::job::{AskJob, Asked, Question};
use super::layout::{Layout, Part};
use super::pipeline::{Errand, drive};
use super::refusal::Refusal;
use super::value::Value;

/// Keys that a server looks at per call: a millisecond or so, in which it does nothing else.
const PAGE: &[u8] = b"1000";
/// Keys that are told apart: eight bytes of memory each. Above this, keys that `SCAN` gives twice
/// are counted twice.
const DISTINCT_MAX: usize = 1 << 24;

/// What is done with a page of keys, on the connection that they came from.
type Work<'a> = &'a mut dyn FnMut(&mut Connection, &[Vec<u8>]) -> Result<(), RespError>;

/// Hands every page of keys of this layout to `work`. A key may come more than once.
fn scan(
    connection: &mut Connection,
    layout: &Layout,
    deadline: Instant,
    work: Work<'_>,
) -> Result<(), RespError> {
    let pattern = layout.pattern();
    let mut cursor = b"0".to_vec();
    loop {
        let command: [&[u8]; 6] = [b"SCAN", &cursor, b"MATCH", &pattern, b"COUNT", PAGE];
        let reply = connection.demand(&command, deadline)?;
        let Value::Array(mut parts) = reply else { return Err(odd(connection)) };
        let (Some(Value::Array(keys)), Some(Value::Text(next)), true) =
            (parts.pop(), parts.pop(), parts.is_empty())
        else {
            return Err(odd(connection));
        };
        let keys: Vec<Vec<u8>> = keys
            .into_iter()
            .filter_map(|key| match key {
                Value::Text(key) if layout.parse(&key).is_some() => Some(key),
                _ => None,
            })
            .collect();
        if !keys.is_empty() {
            work(connection, &keys)?;
        }
        if next == b"0" {
            return Ok(());
        }
        cursor = next;
    }
}

fn odd(connection: &Connection) -> RespError {
    RespError::Protocol {
        place: connection.place().to_owned(),
        why: "the answer to SCAN is none".to_owned(),
    }
}

/// Chunks of this layout, and one of their keys.
pub(super) fn count(
    fleet: &Fleet,
    layout: &Layout,
    deadline: Instant,
) -> Result<(u64, Option<String>), RespError> {
    let mut total = 0;
    let mut example = None;
    fleet.visit(deadline, |connection| {
        let mut seen: Vec<u64> = Vec::new();
        let mut beyond = 0;
        scan(connection, layout, deadline, &mut |_, keys| {
            // A chunk of two keys is there when its metadata is.
            let counted = if layout.has_metadata() { Part::Metadata } else { Part::Value };
            let chunks =
                keys.iter().filter(|key| matches!(layout.parse(key), Some((_, p)) if p == counted));
            for key in chunks {
                example.get_or_insert_with(|| String::from_utf8_lossy(key).into_owned());
                if seen.len() < DISTINCT_MAX {
                    seen.push(xxh3_64(key));
                } else {
                    beyond += 1;
                }
            }
            Ok(())
        })?;
        seen.sort_unstable();
        seen.dedup();
        total += seen.len() as u64 + beyond;
        Ok(())
    })?;
    Ok((total, example))
}

/// Removes all keys of this layout.
pub(super) fn clear(
    fleet: &Fleet,
    layout: &Layout,
    is_old: bool,
    deadline: Instant,
) -> Result<(), RespError> {
    fleet.visit(deadline, |connection| {
        let mut question = Question::Unlink;
        if is_old {
            question = question.older();
        }
        scan(connection, layout, deadline, &mut |connection, keys| {
            if unlink(connection, question, keys, deadline)? {
                return Ok(());
            }
            question = question.older();
            unlink(connection, question, keys, deadline).map(|_| ())
        })
    })
}

/// Removes keys; false where the server does not have the command.
fn unlink(
    connection: &mut Connection,
    question: Question,
    keys: &[Vec<u8>],
    deadline: Instant,
) -> Result<bool, RespError> {
    let mut answers = vec![Asked::Pending; keys.len()];
    let key = |index: u32, out: &mut Vec<u8>| out.extend_from_slice(&keys[index as usize]);
    let errands = (0..keys.len() as u32).map(|command| Errand { command, asking: false });
    connection.pipe.load(errands);
    let mut job = AskJob { question, key, answers: &mut answers };
    drive(std::slice::from_mut(connection), &mut job, deadline);
    if let Some(error) = connection.pipe.error.take() {
        return Err(error);
    }
    if answers.contains(&Asked::Unknown) {
        return Ok(false);
    }
    // A key of a slot that is moving, or a user who may not remove.
    let left = answers.iter().filter(|answer| !matches!(answer, Asked::Known(_))).count();
    if left > 0 {
        if let Some(words) = connection.pipe.refused.take() {
            return Err(RespError::refused(connection.place(), &words));
        }
        return Err(RespError::Refused {
            place: connection.place().to_owned(),
            why: format!("{left} keys could not be removed"),
            remedy: "look whether the cluster is moving slots",
            refusal: Refusal::Other,
        });
    }
    Ok(true)
}
