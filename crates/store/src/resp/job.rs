//! Jobs of a tier as commands: `SET`, `GET`, and commands with a numeric answer.

use std::time::Duration;

use super::command::{argument, argument_head, array, decimal};
use super::layout::{KeyLayout, KeyPart};
use super::pipeline::{BulkBody, CommandReply, Job};
use super::refusal::ErrorReply;
use crate::tier::{ChunkHash, Get, Loaded, Put, Stored, TierFault};

/// Longest key written without growing a buffer; longer ones work too.
const KEY_BYTES: usize = 256;

/// A block's outcome until its command runs, and if the deadline passes before.
pub(super) const PENDING_PUT: Stored = Stored::Failed(TierFault::Timeout);
pub(super) const PENDING_GET: Loaded = Loaded::Failed(TierFault::Timeout);

/// Appends a key with its head, without an intermediate buffer.
fn key_argument(layout: &KeyLayout, hash: &ChunkHash, out: &mut Vec<u8>) {
    // The head needs the key's length, which is known only after writing; the key is short, so it
    // is moved.
    let at = out.len();
    layout.key(hash, KeyPart::Value, out);
    let length = out.len() - at;
    argument_head(out, length);
    let head = out.len() - at - length;
    out[at..].rotate_right(head);
    out.extend_from_slice(b"\r\n");
}

pub(super) struct PutJob<'a, 'b> {
    pub(super) layout: &'a KeyLayout,
    pub(super) puts: &'a [Put<'b>],
    pub(super) ttl: Option<Duration>,
    pub(super) outcomes: &'a mut [Stored],
}

impl PutJob<'_, '_> {
    fn outcome(&mut self, command: u32) -> &mut Stored {
        &mut self.outcomes[command as usize]
    }
}

impl Job for PutJob<'_, '_> {
    fn commands(&self) -> u32 {
        self.puts.len() as u32
    }

    fn wants(&self, command: u32) -> bool {
        self.outcomes[command as usize] == PENDING_PUT
    }

    fn key(&self, command: u32, out: &mut Vec<u8>) {
        self.layout.key(&self.puts[command as usize].key, KeyPart::Value, out);
    }

    fn head(&self, command: u32, out: &mut Vec<u8>) {
        let put = &self.puts[command as usize];
        out.reserve(KEY_BYTES);
        array(out, if self.ttl.is_some() { 5 } else { 3 });
        argument(out, b"SET");
        key_argument(self.layout, &put.key, out);
        argument_head(out, put.bytes.len() + self.layout.trailer_bytes());
    }

    fn payload(&self, command: u32) -> &[u8] {
        self.puts[command as usize].bytes
    }

    fn tail(&self, command: u32, out: &mut Vec<u8>) {
        let put = &self.puts[command as usize];
        self.layout.trailer(&put.key, put.bytes, out);
        out.extend_from_slice(b"\r\n");
        if let Some(ttl) = self.ttl {
            argument(out, b"EX");
            let seconds = ttl.as_secs().max(1);
            argument_head(out, seconds.ilog10() as usize + 1);
            decimal(out, seconds);
            out.extend_from_slice(b"\r\n");
        }
    }

    fn answer(&mut self, command: u32, answer: CommandReply<'_>) {
        *self.outcome(command) = match answer {
            CommandReply::Status => Stored::Stored,
            CommandReply::Refused(ErrorReply::Full) => Stored::Full,
            CommandReply::Refused(refusal) => Stored::Failed(refusal.fault()),
            _ => Stored::Failed(TierFault::Protocol),
        };
    }

    fn fail(&mut self, command: u32, fault: TierFault) {
        *self.outcome(command) = Stored::Failed(fault);
    }
}

pub(super) struct GetJob<'a, 'b> {
    pub(super) layout: &'a KeyLayout,
    pub(super) gets: &'a mut [Get<'b>],
    pub(super) outcomes: &'a mut [Loaded],
}

impl Job for GetJob<'_, '_> {
    fn commands(&self) -> u32 {
        self.gets.len() as u32
    }

    fn wants(&self, command: u32) -> bool {
        self.outcomes[command as usize] == PENDING_GET
    }

    fn key(&self, command: u32, out: &mut Vec<u8>) {
        self.layout.key(&self.gets[command as usize].key, KeyPart::Value, out);
    }

    fn head(&self, command: u32, out: &mut Vec<u8>) {
        out.reserve(KEY_BYTES);
        array(out, 2);
        argument(out, b"GET");
        key_argument(self.layout, &self.gets[command as usize].key, out);
    }

    fn bytes(&self, command: u32) -> usize {
        self.gets[command as usize].into.len()
    }

    fn body(&self, command: u32, length: u64) -> BulkBody {
        let block = self.bytes(command);
        let wanted = block + self.layout.trailer_bytes();
        if length == wanted as u64 { BulkBody::Take(block) } else { BulkBody::PassOver }
    }

    fn block(&mut self, command: u32) -> &mut [u8] {
        self.gets[command as usize].into
    }

    fn answer(&mut self, command: u32, answer: CommandReply<'_>) {
        let get = &self.gets[command as usize];
        let fits = |rest: &[u8]| self.layout.trailer_fits(&get.key, get.into, rest);
        self.outcomes[command as usize] = match answer {
            CommandReply::Body(rest) if fits(rest) => Loaded::Hit,
            CommandReply::Body(_)
            | CommandReply::WrongLength
            | CommandReply::Refused(ErrorReply::WrongType) => Loaded::Corrupt,
            CommandReply::Null => Loaded::Miss,
            CommandReply::Refused(refusal) => Loaded::Failed(refusal.fault()),
            _ => Loaded::Failed(TierFault::Protocol),
        };
    }

    fn fail(&mut self, command: u32, fault: TierFault) {
        self.outcomes[command as usize] = Loaded::Failed(fault);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// Does not renew the chunk.
    Exists,
    /// Renews the chunk.
    Touch,
    /// Frees the memory on another server thread.
    Unlink,
    Del,
}

impl Question {
    const fn word(self) -> &'static [u8] {
        match self {
            Self::Exists => b"EXISTS",
            Self::Touch => b"TOUCH",
            Self::Unlink => b"UNLINK",
            Self::Del => b"DEL",
        }
    }

    pub(super) const fn older(self) -> Self {
        match self {
            Self::Exists | Self::Touch => Self::Exists,
            Self::Unlink | Self::Del => Self::Del,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Pending,
    Known(bool),
    Unknown,
    Failed(TierFault),
}

pub(super) struct AskJob<'a, K: Fn(u32, &mut Vec<u8>)> {
    pub(super) question: Question,
    pub(super) key: K,
    pub(super) answers: &'a mut [Asked],
}

impl<K: Fn(u32, &mut Vec<u8>)> Job for AskJob<'_, K> {
    fn commands(&self) -> u32 {
        self.answers.len() as u32
    }

    fn wants(&self, command: u32) -> bool {
        self.answers[command as usize] == Asked::Pending
    }

    fn key(&self, command: u32, out: &mut Vec<u8>) {
        (self.key)(command, out);
    }

    fn head(&self, command: u32, out: &mut Vec<u8>) {
        array(out, 2);
        argument(out, self.question.word());
        let at = out.len();
        (self.key)(command, out);
        let length = out.len() - at;
        argument_head(out, length);
        let head = out.len() - at - length;
        out[at..].rotate_right(head);
        out.extend_from_slice(b"\r\n");
    }

    fn answer(&mut self, command: u32, answer: CommandReply<'_>) {
        self.answers[command as usize] = match answer {
            CommandReply::Integer(count) => Asked::Known(count > 0),
            CommandReply::Refused(ErrorReply::UnknownCommand) => Asked::Unknown,
            CommandReply::Refused(refusal) => Asked::Failed(refusal.fault()),
            _ => Asked::Failed(TierFault::Protocol),
        };
    }

    fn fail(&mut self, command: u32, fault: TierFault) {
        self.answers[command as usize] = Asked::Failed(fault);
    }
}
