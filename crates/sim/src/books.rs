//! The books of a cell: who is in flight, what becomes of it, and the rows that are kept.
//!
//! They are the cluster's observer. Requests in flight are counted twice, as an integral over time
//! and as the sum of their residence times, so that a lost request shows.

use weir_cluster::{Cluster, Finished, InFlight, Observer, Placement, SubmitError};
use weir_model::{Nanos, RequestRow, StepRow, Tokens, Window};
use weir_workload::{Demand, Due, SessionSource};

use crate::config::WorldConfig;
use crate::flight::Flight;
use crate::tally::Tally;

pub trait Recorder {
    /// Why a row could not be kept.
    type Error;
    /// A request has ended, or the cell has.
    fn request(&mut self, row: &RequestRow) -> Result<(), Self::Error>;
    /// A pass has ended.
    fn step(&mut self, row: &StepRow) -> Result<(), Self::Error>;
}

/// The books. A request's tag is its place among the flights.
pub(crate) struct Books<'a, S, R: Recorder> {
    pub(crate) demand: Demand<&'a mut S>,
    pub(crate) tally: Tally,
    recorder: &'a mut R,
    /// The first row that could not be kept.
    failure: Option<R::Error>,
    flights: Vec<Option<Flight>>,
    vacant: Vec<u32>,
    has_choice: bool,
    block_tokens: u32,
    window: Window,
    in_flight: u64,
    /// Of them, those of the measured set.
    followed: u64,
    flow_at: Nanos,
    flow_integral: u128,
    residence_sum: u128,
}

impl<'a, S: SessionSource, R: Recorder> Books<'a, S, R> {
    pub(crate) fn new(config: &WorldConfig, source: &'a mut S, recorder: &'a mut R) -> Self {
        Self {
            demand: Demand::new(config.load.clone(), source, config.max_requests),
            tally: Tally::new(config),
            recorder,
            failure: None,
            flights: Vec::new(),
            vacant: Vec::new(),
            has_choice: config.replicas > 1,
            block_tokens: config.engine.block_size,
            window: config.window(),
            in_flight: 0,
            followed: 0,
            flow_at: Nanos::ZERO,
            flow_integral: 0,
            residence_sum: 0,
        }
    }

    /// Notes a request that is due and has been given a replica.
    pub(crate) fn depart(&mut self, due: Due, cluster: &mut Cluster) {
        let (at, request) = (due.at, due.request.clone());
        self.count_flow(at);
        self.in_flight += 1;
        self.followed += u64::from(self.window.measures(at));
        let place = self.vacant.pop().unwrap_or_else(|| {
            self.flights.push(None);
            (self.flights.len() - 1) as u32
        });
        self.flights[place as usize] = Some(Flight::new(due));
        cluster.submit(at, place.into(), request, self);
    }

    /// Whether requests of the measured set are in flight.
    pub(crate) const fn has_followed(&self) -> bool {
        self.followed > 0
    }

    /// What could not be kept since the last call.
    pub(crate) const fn take_failure(&mut self) -> Option<R::Error> {
        self.failure.take()
    }

    /// Records what is in flight at the end. Returns the requests and the two counts.
    pub(crate) fn close(
        &mut self,
        end: Nanos,
        in_flight: impl Iterator<Item = InFlight>,
    ) -> Result<Flow, R::Error> {
        self.count_flow(end);
        let mut left: Vec<(InFlight, Flight)> = in_flight
            .map(|seen| {
                let flight = self.flights[seen.tag as usize].take();
                (seen, flight.expect("what the cluster has in flight is in the books"))
            })
            .collect();
        left.sort_by_key(|(_, flight)| flight.due.request.id);
        for (seen, flight) in left {
            self.residence_sum += u128::from((end - flight.due.at).0);
            self.recorder.request(&flight.unfinished(end, seen.generated, seen.cached))?;
        }
        Ok(Flow {
            unfinished: self.followed,
            integral: self.flow_integral,
            residence_sum: self.residence_sum,
        })
    }

    fn flight(&mut self, tag: u64) -> &mut Flight {
        let flight = self.flights[tag as usize].as_mut();
        flight.expect("what happens to a request happens while it is in flight")
    }

    fn count_flow(&mut self, now: Nanos) {
        self.flow_integral += u128::from(self.in_flight) * u128::from((now - self.flow_at).0);
        self.flow_at = now;
    }

    fn land(&mut self, tag: u64) -> Flight {
        self.vacant.push(tag as u32);
        self.flights[tag as usize].take().expect("a request in flight ends once")
    }

    /// A request has left: its session goes on, or its user takes the next one.
    fn leave(&mut self, at: Nanos, flight: &Flight, row: &RequestRow) {
        self.keep(|recorder| recorder.request(row));
        self.count_flow(at);
        self.in_flight -= 1;
        self.followed -= u64::from(self.window.measures(flight.due.at));
        self.residence_sum += u128::from((at - flight.due.at).0);
        self.demand.ended(flight.due.slot, flight.due.request.turn, at);
    }

    fn keep(&mut self, row: impl FnOnce(&mut R) -> Result<(), R::Error>) {
        if self.failure.is_none() {
            self.failure = row(self.recorder).err();
        }
    }
}

/// How many were in flight, and for how long.
pub(crate) struct Flow {
    pub(crate) unfinished: u64,
    pub(crate) integral: u128,
    pub(crate) residence_sum: u128,
}

impl<S: SessionSource, R: Recorder> Observer for Books<'_, S, R> {
    fn placed(&mut self, _at: Nanos, tag: u64, placement: &Placement) {
        let window = self.window;
        let flight = self.flight(tag);
        flight.placement = *placement;
        let is_measured = window.measures(flight.due.at);
        if self.has_choice && is_measured {
            self.tally.decision(placement);
        }
    }

    fn refused(&mut self, at: Nanos, tag: u64, why: &SubmitError) {
        let flight = self.land(tag);
        let row = flight.refused(at, why.to_string());
        self.leave(at, &flight, &row);
    }

    fn first_token(&mut self, at: Nanos, tag: u64, cached: [Tokens; 4]) {
        let flight = self.flights[tag as usize].as_mut();
        let flight = flight.expect("a token belongs to a request in flight");
        flight.first_token = Some(at);
        self.tally.started(
            flight.placement.replica,
            &flight.due.request,
            cached,
            self.block_tokens,
            self.window.measures(flight.due.at),
        );
    }

    fn pass(&mut self, step: &StepRow) {
        self.keep(|recorder| recorder.step(step));
    }

    fn finished(&mut self, at: Nanos, tag: u64, finished: &Finished) {
        let flight = self.land(tag);
        let row = flight.done(at, finished);
        self.tally.ended(flight.placement.replica, &flight.due.request);
        self.leave(at, &flight, &row);
    }
}
