//! The cluster's observer: requests from due time to row.
//!
//! Requests in flight are counted twice, as an integral over time and as a sum of residence times,
//! to detect lost requests.

use weir_cluster::{Cluster, Finished, InFlight, Observer, Placement, SubmitError};
use weir_model::{ChoiceHits, Nanos, RequestRow, SlotKey, Slots, StepRow, Tokens, Window};
use weir_workload::{Demand, Due, SessionSource};

use crate::config::WorldConfig;
use crate::counters::CellCounters;
use crate::in_flight::InFlightRequest;

pub trait Recorder {
    type Error;
    /// Ended, or in flight at the end of the cell.
    fn request(&mut self, row: &RequestRow) -> Result<(), Self::Error>;
    fn step(&mut self, row: &StepRow) -> Result<(), Self::Error>;
}

/// Tags are keys of `requests`.
pub(crate) struct Accounting<'a, S, R: Recorder> {
    pub(crate) demand: Demand<&'a mut S>,
    pub(crate) counters: CellCounters,
    recorder: &'a mut R,
    failure: Option<R::Error>,
    requests: Slots<InFlightRequest>,
    has_choice: bool,
    block_tokens: u32,
    window: Window,
    in_flight: u64,
    /// Of the measured set.
    measured_in_flight: u64,
    flow_at: Nanos,
    flow_integral: u128,
    residence_sum: u128,
}

impl<'a, S: SessionSource, R: Recorder> Accounting<'a, S, R> {
    pub(crate) fn new(config: &WorldConfig, source: &'a mut S, recorder: &'a mut R) -> Self {
        Self {
            demand: Demand::new(config.load.clone(), source, config.max_requests),
            counters: CellCounters::new(config),
            recorder,
            failure: None,
            requests: Slots::default(),
            has_choice: config.replicas > 1,
            block_tokens: config.engine.block_size,
            window: config.window(),
            in_flight: 0,
            measured_in_flight: 0,
            flow_at: Nanos::ZERO,
            flow_integral: 0,
            residence_sum: 0,
        }
    }

    pub(crate) fn submit(&mut self, due: Due, cluster: &mut Cluster) {
        let (at, request) = (due.at, due.request.clone());
        self.count_flow(at);
        self.in_flight += 1;
        self.measured_in_flight += u64::from(self.window.measures(at));
        let key = self.requests.insert(InFlightRequest::new(due));
        cluster.submit(at, key.to_bits(), request, self);
    }

    pub(crate) const fn has_measured(&self) -> bool {
        self.measured_in_flight > 0
    }

    pub(crate) const fn take_failure(&mut self) -> Option<R::Error> {
        self.failure.take()
    }

    /// Records requests in flight as unfinished.
    pub(crate) fn close(
        &mut self,
        end: Nanos,
        in_flight: impl Iterator<Item = InFlight>,
    ) -> Result<Flow, R::Error> {
        self.count_flow(end);
        let mut left: Vec<(InFlight, InFlightRequest)> = in_flight
            .map(|reported| {
                let request = self.requests.remove(SlotKey::from_bits(reported.tag));
                (reported, request.expect("the cluster's requests are in flight here too"))
            })
            .collect();
        left.sort_by_key(|(_, request)| request.due.request.id);
        for (reported, request) in left {
            self.residence_sum += u128::from((end - request.due.at).0);
            self.recorder.request(&request.unfinished(end, reported.generated, reported.cached))?;
        }
        Ok(Flow {
            unfinished: self.measured_in_flight,
            integral: self.flow_integral,
            residence_sum: self.residence_sum,
        })
    }

    fn request(&mut self, tag: u64) -> &mut InFlightRequest {
        let request = self.requests.get_mut(SlotKey::from_bits(tag));
        request.expect("an event belongs to a request in flight")
    }

    fn count_flow(&mut self, now: Nanos) {
        self.flow_integral += u128::from(self.in_flight) * u128::from((now - self.flow_at).0);
        self.flow_at = now;
    }

    fn remove(&mut self, tag: u64) -> InFlightRequest {
        let request = self.requests.remove(SlotKey::from_bits(tag));
        request.expect("a request in flight ends once")
    }

    /// The session continues, or its user takes the next one.
    fn end(&mut self, at: Nanos, request: &InFlightRequest, row: &RequestRow) {
        self.record(|recorder| recorder.request(row));
        self.count_flow(at);
        self.in_flight -= 1;
        self.measured_in_flight -= u64::from(self.window.measures(request.due.at));
        self.residence_sum += u128::from((at - request.due.at).0);
        self.demand.ended(request.due.slot, request.due.request.turn, at);
    }

    fn record(&mut self, row: impl FnOnce(&mut R) -> Result<(), R::Error>) {
        if self.failure.is_none() {
            self.failure = row(self.recorder).err();
        }
    }
}

pub(crate) struct Flow {
    pub(crate) unfinished: u64,
    pub(crate) integral: u128,
    pub(crate) residence_sum: u128,
}

impl<S: SessionSource, R: Recorder> Observer for Accounting<'_, S, R> {
    fn placed(&mut self, _at: Nanos, tag: u64, placement: &Placement) {
        let (window, has_choice) = (self.window, self.has_choice);
        let request = self.request(tag);
        request.placement = *placement;
        request.hits = has_choice.then_some(ChoiceHits {
            routed: Tokens(placement.routed_hit),
            uniform: placement.uniform_hit,
            best: Tokens(placement.best_hit),
        });
        let is_measured = window.measures(request.due.at);
        if has_choice && is_measured {
            self.counters.decision(placement);
        }
    }

    fn refused(&mut self, at: Nanos, tag: u64, why: &SubmitError) {
        let request = self.remove(tag);
        let row = request.refused(at, why.to_string());
        self.end(at, &request, &row);
    }

    fn first_token(&mut self, at: Nanos, tag: u64, cached: [Tokens; 4]) {
        let request = self.requests.get_mut(SlotKey::from_bits(tag));
        let request = request.expect("a token belongs to a request in flight");
        request.first_token = Some(at);
        self.counters.started(
            request.placement.replica,
            &request.due.request,
            cached,
            self.block_tokens,
            self.window.measures(request.due.at),
        );
    }

    fn pass(&mut self, step: &StepRow) {
        self.record(|recorder| recorder.step(step));
    }

    fn finished(&mut self, at: Nanos, tag: u64, finished: &Finished) {
        let request = self.remove(tag);
        let row = request.done(at, finished);
        self.counters.ended(request.placement.replica, &request.due.request);
        self.end(at, &request, &row);
    }
}
