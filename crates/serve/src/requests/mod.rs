//! The table of live requests.

mod output;
mod watcher;

use std::rc::Rc;

use weir_cluster::{Finished, Observer, Placement, SubmitError};
use weir_engine::Transfer;
use weir_model::{KvEvent, Nanos, StepRow, Tokens};

pub(crate) use self::output::{RequestOutput, Status};
pub use self::watcher::Watcher;
use crate::interner::{Interned, Interner};
use crate::metrics::{FinishReason, FinishedRequest};

#[derive(Debug)]
pub(crate) struct LiveRequest {
    pub(crate) output: Rc<RequestOutput>,
    pub(crate) interned: Interned,
    pub(crate) replica: u16,
    pub(crate) arrived: Nanos,
    pub(crate) scheduled: Nanos,
    pub(crate) first_token: Option<Nanos>,
    pub(crate) last_token: Nanos,
    pub(crate) cached: u32,
    pub(crate) output_tokens: u32,
}

/// The generation distinguishes a tag of the present request from an older one.
#[derive(Debug, Default)]
struct RequestSlot {
    generation: u32,
    request: Option<LiveRequest>,
}

/// All live requests, by tag. It is the cluster's observer.
#[derive(Debug)]
pub(crate) struct RequestTable<W> {
    pub(crate) interner: Interner,
    slots: Vec<RequestSlot>,
    free: Vec<u32>,
    pub(crate) watcher: W,
    pub(crate) passes: u64,
}

impl<W> RequestTable<W> {
    pub(crate) const fn new(interner: Interner, watcher: W) -> Self {
        Self { interner, slots: Vec::new(), free: Vec::new(), watcher, passes: 0 }
    }

    pub(crate) const fn len(&self) -> u32 {
        (self.slots.len() - self.free.len()) as u32
    }

    pub(crate) fn insert(&mut self, request: LiveRequest) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(RequestSlot::default());
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        slot.request = Some(request);
        u64::from(slot.generation) << 32 | u64::from(index)
    }

    pub(crate) fn get_mut(&mut self, tag: u64) -> Option<&mut LiveRequest> {
        let slot = self.slots.get_mut(tag as u32 as usize)?;
        if u64::from(slot.generation) != tag >> 32 {
            return None;
        }
        slot.request.as_mut()
    }

    fn remove(&mut self, tag: u64) -> Option<LiveRequest> {
        self.get_mut(tag)?;
        let slot = &mut self.slots[tag as u32 as usize];
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(tag as u32);
        slot.request.take()
    }
}

impl<W: Watcher> RequestTable<W> {
    /// The watcher gets the end.
    pub(crate) fn end(
        &mut self,
        at: Nanos,
        tag: u64,
        reason: FinishReason,
        preemptions: u16,
    ) -> Option<LiveRequest> {
        let live = self.remove(tag)?;
        self.interner.release(&live.interned);
        let finished = FinishedRequest {
            reason,
            arrived: live.arrived,
            queued: live.arrived,
            scheduled: live.scheduled,
            first_token: live.first_token.unwrap_or(live.last_token),
            last_token: live.last_token,
            ended: at,
            prompt_tokens: live.interned.prompt.tokens(),
            cached_tokens: Tokens(live.cached),
            output_tokens: Tokens(live.output.due()),
            max_tokens: Some(Tokens(live.output_tokens)),
            preemptions,
        };
        self.watcher.ended(tag, live.replica, &finished);
        Some(live)
    }
}

impl<W: Watcher> Observer for RequestTable<W> {
    const TOKENS: bool = true;

    fn placed(&mut self, _at: Nanos, tag: u64, placement: &Placement) {
        if let Some(live) = self.get_mut(tag) {
            live.replica = placement.replica;
        }
    }

    fn refused(&mut self, at: Nanos, tag: u64, why: &SubmitError) {
        if let Some(live) = self.end(at, tag, FinishReason::Error, 0) {
            live.output.refuse(why.to_string());
        }
    }

    fn scheduled(&mut self, at: Nanos, tag: u64, _cached: [Tokens; 4]) {
        if let Some(live) = self.get_mut(tag) {
            live.scheduled = at;
        }
    }

    fn first_token(&mut self, at: Nanos, tag: u64, cached: [Tokens; 4]) {
        let Some(live) = self.get_mut(tag) else { return };
        live.first_token = Some(at);
        live.cached = cached.iter().map(|tokens| tokens.0).sum();
        live.output.first_token(live.cached);
        let (replica, waited) = (live.replica, at.saturating_sub(live.arrived));
        let prompt = live.interned.prompt.tokens();
        self.watcher.first_token(replica, waited, prompt, &cached);
    }

    fn token(&mut self, at: Nanos, tag: u64) {
        let Some(live) = self.get_mut(tag) else { return };
        live.last_token = at;
        live.output.token();
        self.watcher.token(at, tag);
    }

    fn finished(&mut self, at: Nanos, tag: u64, finished: &Finished) {
        if let Some(live) = self.end(at, tag, FinishReason::Length, finished.preemptions) {
            live.output.finish();
        }
    }

    fn pass(&mut self, step: &StepRow) {
        self.passes += 1;
        self.watcher.pass(step);
    }

    fn transferred(&mut self, _at: Nanos, replica: u16, transfer: &Transfer, _took: Nanos) {
        self.watcher.transferred(replica, transfer);
    }

    fn transfers_told(&mut self, replica: u16) {
        self.watcher.transfers_told(replica);
    }

    fn kv_event(&mut self, at: Nanos, replica: u16, event: &KvEvent) {
        self.watcher.kv_event(at, replica, event, &self.interner);
    }
}
