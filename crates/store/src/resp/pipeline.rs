//! Many commands on one connection. Replies are read while commands are written, so that two full
//! buffers cannot deadlock. Block bytes move directly between memory and socket; only the text
//! around them is buffered.

use std::io::{IoSlice, IoSliceMut};
use std::time::Instant;

use rustix::event::PollFd;
use smallvec::SmallVec;

use super::command::command;
use super::connection::StoreConnection;
use super::error::RespError;
use super::refusal::ErrorReply;
use super::reply::{ProtocolError, ReplyEvent};
use super::wire::{interest, wait};
use crate::tier::TierFault;

/// Most unanswered commands, since the server buffers their replies.
const COMMANDS_MAX: usize = 512;
/// Most block bytes in flight: what stays in the caches of client and server while passing the
/// buffers between them. Of 128 KiB to 4 MiB this was the fastest for values of 64 KiB, by a
/// quarter (`cargo bench -p weir-store --bench resp` with each).
const OPEN_BYTES_MAX: usize = 512 << 10;
/// Commands in flight whatever their size: one is served while the next one arrives.
const OPEN_MIN: usize = 2;
const TEXT_BYTES: usize = 32 << 10;
/// Pieces per write; the system takes up to 1024.
const PIECES: usize = 64;
/// Bytes after a body that are read together with it: CR LF and the next reply's head. More would
/// be bytes of the next block, which then need a copy.
const BEHIND_BODY: usize = 64;
/// Bytes of a body that are not the block's: a checksum.
pub(crate) const ASIDE_BYTES_MAX: usize = 128;

#[derive(Debug)]
pub(crate) enum CommandReply<'a> {
    Status,
    Integer(i64),
    Null,
    /// The bytes of the received body after the block.
    Body(&'a [u8]),
    WrongLength,
    Refused(ErrorReply),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BulkBody {
    /// This many bytes go into the block, the rest aside.
    Take(usize),
    /// Discarded: no block has this length.
    PassOver,
}

pub(crate) trait Job {
    fn commands(&self) -> u32;
    fn wants(&self, command: u32) -> bool;
    /// The key by which a cluster routes the command.
    fn key(&self, command: u32, out: &mut Vec<u8>);
    fn head(&self, command: u32, out: &mut Vec<u8>);
    fn payload(&self, _command: u32) -> &[u8] {
        &[]
    }
    fn tail(&self, _command: u32, _out: &mut Vec<u8>) {}
    /// Block bytes that it moves, either way.
    fn bytes(&self, command: u32) -> usize {
        self.payload(command).len()
    }
    /// Destination of a body of this length. At most [`ASIDE_BYTES_MAX`] go aside; the block is not
    /// longer than the body, and [`block`](Self::block) has its length.
    fn body(&self, _command: u32, _length: u64) -> BulkBody {
        BulkBody::PassOver
    }
    fn block(&mut self, _command: u32) -> &mut [u8] {
        &mut []
    }
    fn answer(&mut self, command: u32, answer: CommandReply<'_>);
    fn fail(&mut self, command: u32, fault: TierFault);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PendingCommand {
    pub(crate) command: u32,
    /// `ASKING` precedes it.
    pub(crate) asking: bool,
}

#[derive(Debug)]
pub(crate) struct Redirect {
    pub(crate) command: u32,
    pub(crate) refusal: ErrorReply,
}

#[derive(Debug, Clone, Copy)]
enum Piece {
    Text(usize),
    Payload(u32),
}

#[derive(Debug, Clone, Copy, Default)]
struct Receipt {
    block: usize,
    aside: usize,
    at: usize,
    passed_over: bool,
    is_error: bool,
}

#[derive(Debug)]
pub(crate) struct Pipe {
    pub(super) commands: Vec<PendingCommand>,
    begun: usize,
    answered: usize,
    asking_answered: bool,
    open_bytes: usize,
    text: Vec<u8>,
    pieces: Vec<Piece>,
    piece: usize,
    text_at: usize,
    piece_at: usize,
    receipt: Receipt,
    aside: [u8; ASIDE_BYTES_MAX],
    pub(super) redirects: Vec<Redirect>,
    pub(super) error: Option<RespError>,
    /// The text of the first refusal, without redirects and unknown commands, which are handled.
    pub(super) refused: Option<String>,
    /// More can be read or written without waiting.
    is_ready: bool,
}

impl Default for Pipe {
    fn default() -> Self {
        Self {
            commands: Vec::new(),
            begun: 0,
            answered: 0,
            asking_answered: false,
            open_bytes: 0,
            text: Vec::new(),
            pieces: Vec::new(),
            piece: 0,
            text_at: 0,
            piece_at: 0,
            receipt: Receipt::default(),
            aside: [0; ASIDE_BYTES_MAX],
            redirects: Vec::new(),
            error: None,
            refused: None,
            is_ready: false,
        }
    }
}

impl Pipe {
    pub(super) fn load(&mut self, commands: impl IntoIterator<Item = PendingCommand>) {
        self.commands.clear();
        self.commands.extend(commands);
        (self.begun, self.answered, self.open_bytes) = (0, 0, 0);
        self.asking_answered = false;
        self.text.clear();
        self.pieces.clear();
        (self.piece, self.text_at, self.piece_at) = (0, 0, 0);
        self.redirects.clear();
        self.error = None;
        self.refused = None;
        self.is_ready = false;
    }

    pub(super) const fn has_answers(&self) -> bool {
        self.answered > 0 || self.asking_answered
    }

    pub(super) fn unanswered(&self) -> &[PendingCommand] {
        &self.commands[self.answered..]
    }

    fn is_running(&self) -> bool {
        self.error.is_none() && self.answered < self.commands.len()
    }

    /// A server that gets several commands together answers them together.
    fn may_begin(&self) -> bool {
        let open = self.begun - self.answered;
        self.begun < self.commands.len()
            && (open < OPEN_MIN
                || (open <= COMMANDS_MAX / 2 && self.open_bytes <= OPEN_BYTES_MAX / 2))
    }

    fn may_go_on(&self, job: &dyn Job) -> bool {
        let Some(pending) = self.commands.get(self.begun) else { return false };
        let open = self.begun - self.answered;
        let bytes = self.open_bytes + job.bytes(pending.command);
        open < OPEN_MIN || (open < COMMANDS_MAX && bytes <= OPEN_BYTES_MAX)
    }

    fn has_output(&self) -> bool {
        self.piece < self.pieces.len()
    }

    fn refill(&mut self, job: &dyn Job) {
        self.text.clear();
        self.pieces.clear();
        (self.piece, self.text_at, self.piece_at) = (0, 0, 0);
        while self.text.len() < TEXT_BYTES && self.pieces.len() + 3 <= PIECES && self.may_go_on(job)
        {
            let pending = self.commands[self.begun];
            if pending.asking {
                command(&mut self.text, &[b"ASKING"]);
            }
            job.head(pending.command, &mut self.text);
            if !job.payload(pending.command).is_empty() {
                self.pieces.push(Piece::Text(self.text.len()));
                self.pieces.push(Piece::Payload(pending.command));
            }
            job.tail(pending.command, &mut self.text);
            self.open_bytes += job.bytes(pending.command);
            self.begun += 1;
        }
        let covered = self.pieces.iter().rev().find_map(|piece| match piece {
            Piece::Text(end) => Some(*end),
            Piece::Payload(_) => None,
        });
        if covered.unwrap_or(0) < self.text.len() {
            self.pieces.push(Piece::Text(self.text.len()));
        }
    }

    fn slices<'a>(&'a self, job: &'a dyn Job) -> SmallVec<[IoSlice<'a>; PIECES]> {
        let (mut text_at, mut skip) = (self.text_at, self.piece_at);
        let rest = self.pieces[self.piece..].iter();
        rest.map(|piece| {
            let whole = match piece {
                Piece::Text(end) => {
                    let from = std::mem::replace(&mut text_at, *end);
                    &self.text[from..*end]
                }
                Piece::Payload(command) => job.payload(*command),
            };
            // Sent text is already behind `text_at`; payloads are cut here.
            let cut =
                if matches!(piece, Piece::Payload(_)) { std::mem::take(&mut skip) } else { 0 };
            IoSlice::new(&whole[cut..])
        })
        .collect()
    }

    fn sent(&mut self, mut bytes: usize, job: &dyn Job) {
        while let Some(piece) = self.pieces.get(self.piece) {
            let left = match piece {
                Piece::Text(end) => *end - self.text_at,
                Piece::Payload(command) => job.payload(*command).len() - self.piece_at,
            };
            let step = left.min(bytes);
            bytes -= step;
            match piece {
                Piece::Text(_) => self.text_at += step,
                Piece::Payload(_) => self.piece_at += step,
            }
            if step < left {
                return;
            }
            self.piece += 1;
            self.piece_at = 0;
        }
    }
}

impl StoreConnection {
    /// Writes and reads as much as possible without waiting.
    fn step(&mut self, job: &mut dyn Job) -> Result<(), RespError> {
        self.pipe.is_ready = false;
        if !self.pipe.has_output() && self.pipe.may_begin() {
            self.pipe.refill(job);
        }
        if self.pipe.has_output() || self.wire.wants_flush() {
            let moved = self.wire.send(&self.pipe.slices(job))?;
            self.pipe.sent(moved.bytes, job);
            self.pipe.is_ready |= moved.more && (self.pipe.has_output() || self.pipe.may_begin());
        }
        if self.pipe.begun > self.pipe.answered {
            self.read(job)?;
        }
        self.pipe.is_ready |= !self.pipe.has_output() && self.pipe.may_begin();
        Ok(())
    }

    fn read(&mut self, job: &mut dyn Job) -> Result<(), RespError> {
        let left = self.decoder.body_left() as usize;
        let receipt = &mut self.pipe.receipt;
        if left == 0 || receipt.passed_over || receipt.is_error {
            let moved = self.wire.receive(&mut [IoSliceMut::new(&mut self.inbox)])?;
            self.pipe.is_ready |= moved.more;
            return self.work_on(moved.bytes, job);
        }
        let block_at = receipt.at.min(receipt.block);
        let aside_at = receipt.at - block_at;
        let command = self.pipe.commands[self.pipe.answered].command;
        let mut slices = [
            IoSliceMut::new(&mut job.block(command)[block_at..receipt.block]),
            IoSliceMut::new(&mut self.pipe.aside[aside_at..receipt.aside]),
            IoSliceMut::new(&mut self.inbox[..BEHIND_BODY]),
        ];
        let moved = self.wire.receive(&mut slices)?;
        self.pipe.is_ready |= moved.more;
        let of_body = moved.bytes.min(left);
        self.decoder.body_taken(of_body as u64);
        receipt.at += of_body;
        self.work_on(moved.bytes - of_body, job)
    }

    fn work_on(&mut self, bytes: usize, job: &mut dyn Job) -> Result<(), RespError> {
        let mut input = &self.inbox[..bytes];
        loop {
            let event = match self.decoder.next(&mut input) {
                Ok(None) => return Ok(()),
                Ok(Some(event)) => event,
                Err(error) => return Err(self.protocol(&error)),
            };
            if self.pipe.answered == self.pipe.begun {
                let error = ProtocolError::Unexpected("more replies than commands");
                return Err(self.protocol(&error));
            }
            if let Err(error) = self.pipe.event(event, job) {
                return Err(self.protocol(&error));
            }
        }
    }

    fn interest(&self) -> rustix::event::PollFlags {
        let writes = self.pipe.has_output() || self.wire.wants_flush() || self.pipe.may_begin();
        interest(self.pipe.begun > self.pipe.answered, writes)
    }
}

impl Pipe {
    fn event(&mut self, event: ReplyEvent<'_>, job: &mut dyn Job) -> Result<(), ProtocolError> {
        let pending = self.commands[self.answered];
        if pending.asking && !self.asking_answered {
            return match event {
                ReplyEvent::Simple(_) => {
                    self.asking_answered = true;
                    Ok(())
                }
                _ => Err(ProtocolError::Unexpected("ASKING is answered with a status")),
            };
        }
        match event {
            ReplyEvent::Simple(_) => self.answer(CommandReply::Status, job),
            ReplyEvent::Integer(value) => self.answer(CommandReply::Integer(value), job),
            ReplyEvent::Null => self.answer(CommandReply::Null, job),
            ReplyEvent::Error(text) => self.refused(text, job),
            ReplyEvent::Body { length, is_error } => self.begin_body(length, is_error, job),
            ReplyEvent::Part(part) => self.part(part, job),
            ReplyEvent::End => self.end_body(job),
            ReplyEvent::Boolean(_) | ReplyEvent::Number(_) | ReplyEvent::Aggregate { .. } => {
                return Err(ProtocolError::Unexpected("an aggregate or a number with a point"));
            }
        }
        Ok(())
    }

    fn answer(&mut self, answer: CommandReply<'_>, job: &mut dyn Job) {
        let command = self.finish(job);
        job.answer(command, answer);
    }

    fn finish(&mut self, job: &dyn Job) -> u32 {
        let command = self.commands[self.answered].command;
        self.answered += 1;
        self.asking_answered = false;
        self.open_bytes -= job.bytes(command);
        command
    }

    fn refused(&mut self, text: &[u8], job: &mut dyn Job) {
        let refusal = ErrorReply::of(text);
        if matches!(refusal, ErrorReply::Moved { .. } | ErrorReply::Ask { .. }) {
            let command = self.finish(job);
            self.redirects.push(Redirect { command, refusal });
        } else {
            if refusal != ErrorReply::UnknownCommand && self.refused.is_none() {
                let words = &text[..text.len().min(ASIDE_BYTES_MAX)];
                self.refused = Some(String::from_utf8_lossy(words).trim().to_owned());
            }
            self.answer(CommandReply::Refused(refusal), job);
        }
    }

    fn begin_body(&mut self, length: u64, is_error: bool, job: &dyn Job) {
        let command = self.commands[self.answered].command;
        let mut receipt = Receipt { is_error, ..Receipt::default() };
        match job.body(command, length) {
            _ if is_error => {}
            BulkBody::Take(block) => {
                receipt.block = block;
                receipt.aside = length as usize - block;
            }
            BulkBody::PassOver => receipt.passed_over = true,
        }
        self.receipt = receipt;
    }

    fn part(&mut self, part: &[u8], job: &mut dyn Job) {
        let receipt = &mut self.receipt;
        if receipt.passed_over {
            return;
        }
        if receipt.is_error {
            // The text's beginning has the error code.
            let room = ASIDE_BYTES_MAX - receipt.at.min(ASIDE_BYTES_MAX);
            let length = part.len().min(room);
            self.aside[receipt.at..receipt.at + length].copy_from_slice(&part[..length]);
            receipt.at += length;
            return;
        }
        let block_at = receipt.at.min(receipt.block);
        let of_block = part.len().min(receipt.block - block_at);
        if of_block > 0 {
            let command = self.commands[self.answered].command;
            job.block(command)[block_at..block_at + of_block].copy_from_slice(&part[..of_block]);
        }
        let aside_at = receipt.at - block_at;
        let rest = &part[of_block..];
        self.aside[aside_at..aside_at + rest.len()].copy_from_slice(rest);
        receipt.at += part.len();
    }

    fn end_body(&mut self, job: &mut dyn Job) {
        let receipt = std::mem::take(&mut self.receipt);
        if receipt.is_error {
            let text = self.aside;
            self.refused(&text[..receipt.at], job);
            return;
        }
        let command = self.finish(job);
        if receipt.passed_over {
            job.answer(command, CommandReply::WrongLength);
        } else {
            job.answer(command, CommandReply::Body(&self.aside[..receipt.aside]));
        }
    }
}

/// Runs the commands of all connections until each is answered or its connection has failed.
/// Unanswered commands stay in [`Pipe::unanswered`].
pub(super) fn drive(connections: &mut [StoreConnection], job: &mut dyn Job, deadline: Instant) {
    loop {
        let mut ready = false;
        let mut running = false;
        for connection in connections.iter_mut() {
            if !connection.pipe.is_running() {
                continue;
            }
            if let Err(error) = connection.step(job) {
                connection.give_up();
                connection.pipe.error = Some(error);
            } else if connection.pipe.is_running() {
                running = true;
                ready |= connection.pipe.is_ready;
            }
        }
        if !running {
            return;
        }
        if Instant::now() >= deadline {
            for connection in
                connections.iter_mut().filter(|connection| connection.pipe.is_running())
            {
                connection.give_up();
                let place = connection.place().to_owned();
                connection.pipe.error = Some(RespError::Timeout { place, doing: "moving blocks" });
            }
            return;
        }
        if !ready {
            let running = connections.iter().filter(|connection| connection.pipe.is_running());
            let mut fds: SmallVec<[PollFd<'_>; 8]> = running
                .map(|connection| PollFd::new(connection.wire.fd(), connection.interest()))
                .collect();
            // The next iteration checks readiness and the deadline.
            wait(&mut fds, deadline);
        }
    }
}
