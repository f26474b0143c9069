//! A store connection: greeting, control commands, and the state of a pipeline on it.

use std::io::{IoSlice, IoSliceMut};
use std::time::Instant;

use weir_http::TlsClient;

use super::address::{Address, StoreEndpoint};
use super::command::{argument, array, command};
use super::error::RespError;
use super::pipeline::Pipe;
use super::refusal::ErrorReply;
use super::reply::{Decoder, ProtocolError};
use super::value::{Builder, Value};
use super::wire::Wire;

/// Bytes of one read without a destination block.
pub(crate) const INBOX_BYTES: usize = 16 << 10;
/// A database number beyond every server's limit.
const NO_DATABASE: &[u8] = b"2147483647";

/// Unusable after any error: replies could be matched with other requests.
#[derive(Debug)]
pub(crate) struct StoreConnection {
    pub(super) wire: Wire,
    pub(super) decoder: Decoder,
    pub(super) inbox: Box<[u8]>,
    pub(super) pipe: Pipe,
    is_broken: bool,
}

impl StoreConnection {
    pub(crate) fn open(
        address: &Address,
        endpoint: &StoreEndpoint,
        tls: Option<&TlsClient>,
        deadline: Instant,
    ) -> Result<Self, RespError> {
        let mut connection = Self {
            wire: Wire::open(endpoint, tls, deadline)?,
            decoder: Decoder::new(),
            inbox: vec![0; INBOX_BYTES].into_boxed_slice(),
            pipe: Pipe::default(),
            is_broken: false,
        };
        connection.greet(address, deadline)?;
        Ok(connection)
    }

    fn greet(&mut self, address: &Address, deadline: Instant) -> Result<(), RespError> {
        let user = address.user.as_deref().unwrap_or("default").as_bytes();
        let password = address.password.as_ref().map(|secret| secret.reveal().as_bytes());
        let hello = match password {
            Some(password) => self.call(&[b"HELLO", b"3", b"AUTH", user, password], deadline)?,
            None => self.call(&[b"HELLO", b"3"], deadline)?,
        };
        if let Value::Error(text) = hello {
            if ErrorReply::of(text.as_bytes()) == ErrorReply::Password {
                return Err(self.not_let_in(address, &text));
            }
            // A server without HELLO or RESP3 speaks RESP2, which is enough for blocks.
            if let Some(password) = password {
                let arguments: &[&[u8]] = match &address.user {
                    Some(_) => &[b"AUTH", user, password],
                    None => &[b"AUTH", password],
                };
                if let Value::Error(text) = self.call(arguments, deadline)? {
                    // A server without the command repeats its arguments.
                    let secret = String::from_utf8_lossy(password);
                    return Err(self.not_let_in(address, &text.replace(&*secret, "***")));
                }
            }
        }
        // The name appears in CLIENT LIST; servers without names work as well.
        self.call(&[b"CLIENT", b"SETNAME", b"weir"], deadline)?;
        if address.database != 0 {
            self.select(address.database, deadline)?;
        }
        Ok(())
    }

    /// A refused login. Servers with users have an error code for it; others complain about the
    /// argument count or the password.
    fn not_let_in(&self, address: &Address, words: &str) -> RespError {
        let has_users = words.starts_with("WRONGPASS") || words.starts_with("NOAUTH");
        if address.user.is_none() || has_users {
            return RespError::refused(self.place(), words);
        }
        RespError::of_kind(self.place(), words, ErrorReply::NoUsers)
    }

    /// Selects a database. A server without databases accepts every number and shows the same keys
    /// in all, so an impossible number is tried first.
    fn select(&mut self, database: u32, deadline: Instant) -> Result<(), RespError> {
        let answer = self.call(&[b"SELECT", NO_DATABASE], deadline)?;
        let database = database.to_string();
        self.demand(&[b"SELECT", database.as_bytes()], deadline)?;
        if matches!(answer, Value::Error(_)) {
            return Ok(());
        }
        let words =
            format!("it accepts any database number, so {database} does not keep keys apart");
        Err(RespError::of_kind(self.place(), &words, ErrorReply::NoDatabases))
    }

    pub(crate) fn place(&self) -> &str {
        self.wire.place()
    }

    /// Whether the server, or a proxy to it, is on this machine.
    pub(super) fn is_local(&self) -> bool {
        self.wire.is_local()
    }

    pub(crate) fn is_fresh(&self) -> bool {
        !self.is_broken && self.decoder.is_between_replies() && self.wire.is_quiet()
    }

    pub(super) const fn give_up(&mut self) {
        self.is_broken = true;
    }

    pub(crate) const fn is_broken(&self) -> bool {
        self.is_broken
    }

    pub(super) fn protocol(&self, error: &ProtocolError) -> RespError {
        RespError::Protocol { place: self.place().to_owned(), why: error.to_string() }
    }

    /// Sends a command and waits for its reply, possibly an error reply.
    pub(crate) fn call(
        &mut self,
        arguments: &[&[u8]],
        deadline: Instant,
    ) -> Result<Value, RespError> {
        let mut out = Vec::new();
        command(&mut out, arguments);
        let outcome = self.exchange(&out, 1, deadline);
        self.is_broken |= outcome.is_err();
        outcome.map(|mut values| values.pop().unwrap_or(Value::Null))
    }

    /// Sends a command; an error reply becomes `Err`.
    pub(crate) fn demand(
        &mut self,
        arguments: &[&[u8]],
        deadline: Instant,
    ) -> Result<Value, RespError> {
        match self.call(arguments, deadline)? {
            Value::Error(text) => Err(RespError::refused(self.place(), &text)),
            value => Ok(value),
        }
    }

    /// Sends commands together and waits for all replies, among them possibly error replies.
    pub(super) fn call_all(
        &mut self,
        commands: &[Vec<Vec<u8>>],
        deadline: Instant,
    ) -> Result<Vec<Value>, RespError> {
        let mut out = Vec::new();
        for arguments in commands {
            array(&mut out, arguments.len());
            for bytes in arguments {
                argument(&mut out, bytes);
            }
        }
        let outcome = self.exchange(&out, commands.len(), deadline);
        self.is_broken |= outcome.is_err();
        outcome
    }

    /// Replies are read while commands are written, so that two full buffers cannot deadlock.
    fn exchange(
        &mut self,
        out: &[u8],
        replies: usize,
        deadline: Instant,
    ) -> Result<Vec<Value>, RespError> {
        let doing = "waiting for the answer to a command";
        let mut sent = 0;
        let mut builder = Builder::default();
        let mut values = Vec::with_capacity(replies);
        while values.len() < replies {
            let mut stuck = true;
            if sent < out.len() || self.wire.wants_flush() {
                let moved = self.wire.send(&[IoSlice::new(&out[sent..])])?;
                sent += moved.bytes;
                stuck = !moved.more;
            }
            let moved = self.wire.receive(&mut [IoSliceMut::new(&mut self.inbox)])?;
            self.take(moved.bytes, &mut builder, &mut values)?;
            if values.len() == replies {
                break;
            }
            let writes = sent < out.len() || self.wire.wants_flush();
            if Instant::now() >= deadline {
                return Err(RespError::Timeout { place: self.place().to_owned(), doing });
            }
            if !moved.more && (stuck || !writes) {
                self.wire.wait(true, writes, deadline, doing)?;
            }
        }
        if values.len() > replies {
            let error = ProtocolError::Unexpected("more replies than commands");
            return Err(self.protocol(&error));
        }
        Ok(values)
    }

    fn take(
        &mut self,
        bytes: usize,
        builder: &mut Builder,
        values: &mut Vec<Value>,
    ) -> Result<(), RespError> {
        let mut input = &self.inbox[..bytes];
        loop {
            let step = self.decoder.next(&mut input);
            let value = match step {
                Ok(None) => return Ok(()),
                Ok(Some(event)) => builder.push(event),
                Err(error) => Err(error),
            };
            match value {
                Ok(value) => values.extend(value),
                Err(error) => return Err(self.protocol(&error)),
            }
        }
    }
}
