//! A mark of a store's user: one key that expires, so that a killed user does not lock out others.
//!
//! `SET NX PX` decides between two simultaneous users. All other steps are a read and a later write
//! without a lock: the mark names a user and does not protect bytes.

use std::time::{Duration, Instant};

use super::connection::StoreConnection;
use super::error::RespError;
use super::fleet::Fleet;
use super::refusal::ErrorReply;
use super::value::Value;

/// One key for the whole database: users with different keys still share its memory.
pub const MARK_KEY: &str = "weir:run";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Marked {
    /// The mark is set for the requested time.
    Own,
    Other(String),
}

/// Sets the mark, or renews an equal one. `over` is a stale mark to replace.
pub(super) fn set(
    fleet: &Fleet,
    mark: &str,
    over: Option<&str>,
    life: Duration,
    deadline: Instant,
) -> Result<Marked, RespError> {
    let life = life.as_millis().to_string();
    at_home(fleet, deadline, |connection| {
        let first: [&[u8]; 6] =
            [b"SET", MARK_KEY.as_bytes(), mark.as_bytes(), b"NX", b"PX", life.as_bytes()];
        let reply = connection.call(&first, deadline)?;
        if reply != Value::Null {
            return Ok(Reply::of(reply, Marked::Own));
        }
        let there = connection.call(&[b"GET", MARK_KEY.as_bytes()], deadline)?;
        match there {
            Value::Text(text) => {
                let text = String::from_utf8_lossy(&text).into_owned();
                if text != mark && over != Some(text.as_str()) {
                    return Ok(Reply::Done(Marked::Other(text)));
                }
            }
            // It expired between the two commands.
            Value::Null => {}
            other => return Ok(Reply::of(other, Marked::Own)),
        }
        let again: [&[u8]; 5] =
            [b"SET", MARK_KEY.as_bytes(), mark.as_bytes(), b"PX", life.as_bytes()];
        Ok(Reply::of(connection.call(&again, deadline)?, Marked::Own))
    })
}

pub(super) fn get(fleet: &Fleet, deadline: Instant) -> Result<Option<String>, RespError> {
    at_home(fleet, deadline, |connection| {
        let there = connection.call(&[b"GET", MARK_KEY.as_bytes()], deadline)?;
        Ok(match there {
            Value::Text(text) => Reply::Done(Some(String::from_utf8_lossy(&text).into_owned())),
            other => Reply::of(other, None),
        })
    })
}

pub(super) fn remove(fleet: &Fleet, mark: &str, deadline: Instant) -> Result<(), RespError> {
    if get(fleet, deadline)?.as_deref() != Some(mark) {
        return Ok(());
    }
    at_home(fleet, deadline, |connection| {
        Ok(Reply::of(connection.call(&[b"DEL", MARK_KEY.as_bytes()], deadline)?, ()))
    })
}

enum Reply<T> {
    Done(T),
    Refused(String),
}

impl<T> Reply<T> {
    fn of(answer: Value, done: T) -> Self {
        match answer {
            Value::Error(text) => Self::Refused(text),
            _ => Self::Done(done),
        }
    }
}

/// On the server that owns the key: the only one, or the master that does not redirect.
fn at_home<T>(
    fleet: &Fleet,
    deadline: Instant,
    mut work: impl FnMut(&mut StoreConnection) -> Result<Reply<T>, RespError>,
) -> Result<T, RespError> {
    let mut outcome = None;
    fleet.visit(deadline, |connection| {
        if matches!(outcome, Some(Ok(_))) {
            return Ok(());
        }
        match work(connection)? {
            Reply::Done(done) => outcome = Some(Ok(done)),
            Reply::Refused(words) => {
                let moved = matches!(
                    ErrorReply::of(words.as_bytes()),
                    ErrorReply::Moved { .. } | ErrorReply::Ask { .. }
                );
                if !moved || outcome.is_none() {
                    outcome = Some(Err(RespError::refused(connection.place(), &words)));
                }
            }
        }
        Ok(())
    })?;
    outcome.expect("an address has at least one server")
}
