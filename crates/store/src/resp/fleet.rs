//! The servers of one store, and how a job gets to them: one server, or the masters of a cluster
//! with their redirects.
//!
//! A batch uses one connection per server. Halves of a batch on two connections, by two threads,
//! were not faster against Redis and Valkey (the row "two threads" of the bench, on two cores);
//! callers that are many threads have a connection each.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::connection::Connection;
use super::error::RespError;
use super::pipeline::{Errand, Job, Redirect, drive};
use super::pool::{Dial, Pool};
use super::refusal::Refusal;
use super::slots::{SLOTS, slot, spans};
use crate::resp::address::Endpoint;
use crate::tier::Fault;

/// Times that a command is sent on before its block fails.
const REDIRECTS_MAX: usize = 5;
/// Masters of a cluster: Redis recommends at most a thousand servers.
const NODES_MAX: usize = 1024;
/// A cluster is not asked for its slots more often than this.
const REFRESH_PAUSE: Duration = Duration::from_millis(200);
/// No server is known for a slot.
const NOBODY: u16 = u16::MAX;

/// The servers of a store.
#[derive(Debug)]
pub(crate) struct Fleet {
    dial: Dial,
    connections: usize,
    map: Mutex<Map>,
}

#[derive(Debug)]
struct Map {
    /// Those of the address, then those that the cluster named.
    nodes: Vec<Arc<Pool>>,
    /// Which node has a slot; empty where there is one server only.
    slots: Vec<u16>,
    /// The slots must be asked for.
    is_stale: bool,
    refreshed: Option<Instant>,
}

/// A connection of a job, with where it came from.
struct Lane {
    pool: Arc<Pool>,
    was_idle: bool,
}

/// One in the usual case; the masters of a small cluster.
type Lanes = SmallVec<[Lane; 3]>;
type Connections = SmallVec<[Connection; 3]>;

impl Fleet {
    pub(crate) fn new(dial: Dial, connections: usize) -> Self {
        let pool =
            |endpoint: &Endpoint| Arc::new(Pool::new(dial.clone(), endpoint.clone(), connections));
        let nodes = dial.address.endpoints.iter().map(pool).collect();
        let slots = if dial.address.cluster { vec![NOBODY; SLOTS] } else { Vec::new() };
        let map = Map { nodes, slots, is_stale: dial.address.cluster, refreshed: None };
        Self { dial, connections, map: Mutex::new(map) }
    }

    fn map(&self) -> MutexGuard<'_, Map> {
        // Every change of it is a single step.
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_cluster(&self) -> bool {
        self.dial.address.cluster
    }

    /// Runs the commands that a job wants to run. Every one of them is answered or failed when this
    /// returns; the first error is handed back for its text.
    pub(crate) fn run(&self, job: &mut dyn Job, deadline: Instant) -> Result<(), RespError> {
        let mut wanted = (0..job.commands()).filter(|command| job.wants(*command)).peekable();
        if wanted.peek().is_none() {
            return Ok(());
        }
        drop(wanted);
        if self.is_cluster() {
            self.run_cluster(job, deadline)
        } else {
            self.run_one(job, deadline)
        }
    }

    /// One server: no routing, and nothing allocated.
    fn run_one(&self, job: &mut dyn Job, deadline: Instant) -> Result<(), RespError> {
        let pool = Arc::clone(&self.map().nodes[0]);
        let taken = match pool.take(deadline) {
            Ok(taken) => taken,
            Err(error) => {
                for command in 0..job.commands() {
                    if job.wants(command) {
                        job.fail(command, error.fault());
                    }
                }
                return Err(error);
            }
        };
        let mut lanes = Lanes::new();
        let mut connections = Connections::new();
        lanes.push(Lane { pool, was_idle: taken.was_idle });
        connections.push(taken.connection);
        let errand = |command| Errand { command, asking: false };
        let wanted = (0..job.commands()).filter(|command| job.wants(*command)).map(errand);
        connections[0].pipe.load(wanted);
        let (redirects, error) = finish(lanes, connections, job, deadline);
        let refusal = redirects.first().map(|redirect| RespError::Refused {
            place: self.dial.address.to_string(),
            why: "it has given the slot of a key to another server".to_owned(),
            remedy: redirect.refusal.remedy(),
            refusal: Refusal::Other,
        });
        for redirect in redirects {
            job.fail(redirect.command, Fault::Refused);
        }
        error.or(refusal).map_or(Ok(()), Err)
    }

    fn run_cluster(&self, job: &mut dyn Job, deadline: Instant) -> Result<(), RespError> {
        let wanted = (0..job.commands()).filter(|command| job.wants(*command));
        let mut pending: Vec<(Errand, Option<u16>)> =
            wanted.map(|command| (Errand { command, asking: false }, None)).collect();
        let mut first_error = None;
        for _ in 0..=REDIRECTS_MAX {
            if let Err(error) = self.refresh(deadline) {
                for (errand, _) in pending.drain(..) {
                    job.fail(errand.command, error.fault());
                }
                return Err(first_error.unwrap_or(error));
            }
            let (lanes, connections) = self.embark(&pending, job, deadline, &mut first_error);
            let (redirects, error) = finish(lanes, connections, job, deadline);
            if let Some(error) = error {
                // Its master may have been replaced.
                self.map().is_stale = true;
                first_error.get_or_insert(error);
            }
            pending.clear();
            for redirect in redirects {
                pending.push(self.follow(&redirect));
            }
            if pending.is_empty() {
                return first_error.map_or(Ok(()), Err);
            }
        }
        for (errand, _) in pending {
            job.fail(errand.command, Fault::Disconnected);
        }
        Err(first_error.unwrap_or_else(|| RespError::Disconnected {
            place: self.dial.address.to_string(),
            why: format!("keys were sent on more than {REDIRECTS_MAX} times: see CLUSTER SLOTS"),
        }))
    }

    /// Gives every errand to a connection of its server. Servers are taken in the order of their
    /// numbers, so that two callers never wait for each other.
    fn embark(
        &self,
        pending: &[(Errand, Option<u16>)],
        job: &mut dyn Job,
        deadline: Instant,
        first_error: &mut Option<RespError>,
    ) -> (Lanes, Connections) {
        let mut key = Vec::new();
        let map = self.map();
        let mut routed: Vec<(u16, Errand)> = pending
            .iter()
            .map(|(errand, node)| {
                key.clear();
                job.key(errand.command, &mut key);
                (node.unwrap_or_else(|| map.slots[usize::from(slot(&key))]), *errand)
            })
            .collect();
        let nodes = map.nodes.clone();
        drop(map);
        routed.sort_by_key(|(node, _)| *node);
        let (mut lanes, mut connections) = (Lanes::new(), Connections::new());
        for group in routed.chunk_by(|a, b| a.0 == b.0) {
            let node = group[0].0;
            let errands = group.iter().map(|(_, errand)| *errand);
            let taken = match nodes.get(usize::from(node)) {
                Some(pool) => pool.take(deadline).map(|taken| (Arc::clone(pool), taken)),
                None => Err(RespError::Disconnected {
                    place: self.dial.address.to_string(),
                    why: "no server has the slot of a key: see CLUSTER SLOTS".to_owned(),
                }),
            };
            match taken {
                Ok((pool, mut taken)) => {
                    taken.connection.pipe.load(errands);
                    connections.push(taken.connection);
                    lanes.push(Lane { pool, was_idle: taken.was_idle });
                }
                Err(error) => {
                    errands.for_each(|errand| job.fail(errand.command, error.fault()));
                    self.map().is_stale = true;
                    first_error.get_or_insert(error);
                }
            }
        }
        (lanes, connections)
    }

    /// Where a command goes that was sent on.
    fn follow(&self, redirect: &Redirect) -> (Errand, Option<u16>) {
        let mut map = self.map();
        let command = redirect.command;
        match &redirect.refusal {
            Refusal::Ask { to: Some(to) } => {
                let node = map.node(to, &self.dial, self.connections);
                (Errand { command, asking: true }, node)
            }
            Refusal::Moved { slot, to } => {
                map.is_stale = true;
                let node = to.as_ref().and_then(|to| map.node(to, &self.dial, self.connections));
                if let Some(node) = node {
                    map.slots[usize::from(*slot)] = node;
                }
                (Errand { command, asking: false }, node)
            }
            _ => {
                map.is_stale = true;
                (Errand { command, asking: false }, None)
            }
        }
    }

    /// Asks the cluster for its slots, where that is due.
    fn refresh(&self, deadline: Instant) -> Result<(), RespError> {
        let nodes = {
            let mut map = self.map();
            let known = map.refreshed.is_some();
            let recent = map.refreshed.is_some_and(|at| at.elapsed() < REFRESH_PAUSE);
            if !map.is_stale || (known && recent) {
                return Ok(());
            }
            // Others go on with what is known, meanwhile.
            if known {
                map.refreshed = Some(Instant::now());
            }
            map.nodes.clone()
        };
        let mut first_error = None;
        for pool in &nodes {
            match self.ask_for_slots(pool, deadline) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        // What was known may still be right for most keys.
        if self.map().refreshed.is_some() {
            return Ok(());
        }
        Err(first_error.expect("an address has at least one server"))
    }

    fn ask_for_slots(&self, pool: &Pool, deadline: Instant) -> Result<(), RespError> {
        let mut connection = pool.take(deadline)?.connection;
        let reply = connection.demand(&[b"CLUSTER", b"SLOTS"], deadline);
        pool.give_back(connection);
        let place = pool.endpoint().to_string();
        let found = spans(&reply?, pool.endpoint()).ok_or_else(|| RespError::Protocol {
            place: place.clone(),
            why: "unexpected answer to CLUSTER SLOTS".to_owned(),
        })?;
        if found.is_empty() {
            let why = "no slot has a server".to_owned();
            let remedy = "give the cluster its slots (CLUSTER ADDSLOTSRANGE)";
            return Err(RespError::Refused { place, why, remedy, refusal: Refusal::Other });
        }
        let mut map = self.map();
        map.slots.fill(NOBODY);
        for span in found {
            if let Some(node) = map.node(&span.master, &self.dial, self.connections) {
                map.slots[usize::from(span.first)..=usize::from(span.last)].fill(node);
            }
        }
        map.is_stale = false;
        map.refreshed = Some(Instant::now());
        Ok(())
    }

    /// Does something on one connection of every server that has keys.
    pub(crate) fn visit(
        &self,
        deadline: Instant,
        mut work: impl FnMut(&mut Connection) -> Result<(), RespError>,
    ) -> Result<(), RespError> {
        if self.is_cluster() {
            self.refresh(deadline)?;
        }
        for pool in self.homes() {
            let mut taken = pool.take(deadline)?;
            let mut outcome = work(&mut taken.connection);
            if taken.was_idle && outcome.as_ref().is_err_and(|e| e.fault() == Fault::Disconnected) {
                pool.give_back(taken.connection);
                taken.connection = pool.take_new(deadline)?;
                outcome = work(&mut taken.connection);
            }
            pool.give_back(taken.connection);
            outcome?;
        }
        Ok(())
    }

    /// The servers that have keys.
    fn homes(&self) -> Vec<Arc<Pool>> {
        let map = self.map();
        if map.slots.is_empty() {
            return map.nodes.clone();
        }
        let homes = map.nodes.iter().enumerate();
        let homes = homes.filter(|(node, _)| map.slots.iter().any(|s| usize::from(*s) == *node));
        homes.map(|(_, pool)| Arc::clone(pool)).collect()
    }
}

impl Map {
    /// The number of a server, which is added if it is new.
    fn node(&mut self, endpoint: &Endpoint, dial: &Dial, connections: usize) -> Option<u16> {
        let known = self.nodes.iter().position(|pool| pool.endpoint() == endpoint);
        let node = known.or_else(|| {
            (self.nodes.len() < NODES_MAX).then(|| {
                let pool = Pool::new(dial.clone(), endpoint.clone(), connections);
                self.nodes.push(Arc::new(pool));
                self.nodes.len() - 1
            })
        })?;
        u16::try_from(node).ok()
    }
}

/// Drives loaded connections, tries those again that had been closed while they were idle, fails
/// what is left, and gives the connections back.
fn finish(
    lanes: Lanes,
    mut connections: Connections,
    job: &mut dyn Job,
    deadline: Instant,
) -> (Vec<Redirect>, Option<RespError>) {
    drive(&mut connections, job, deadline);
    let mut first_error = None;
    for (lane, connection) in lanes.iter().zip(&mut connections) {
        // Every command may be run twice with the same effect.
        let gone = connection.pipe.error.as_ref().map(RespError::fault);
        let again =
            gone == Some(Fault::Disconnected) && lane.was_idle && !connection.pipe.has_answers();
        if again {
            match lane.pool.take_new(deadline) {
                Ok(mut fresh) => {
                    fresh.pipe.load(connection.pipe.unanswered().iter().copied());
                    std::mem::swap(connection, &mut fresh);
                    lane.pool.give_back(fresh);
                    drive(std::slice::from_mut(connection), job, deadline);
                }
                Err(error) => connection.pipe.error = Some(error),
            }
        }
    }
    let mut redirects = Vec::new();
    for (lane, mut connection) in lanes.into_iter().zip(connections) {
        redirects.append(&mut connection.pipe.redirects);
        if let Some(error) = connection.pipe.error.take() {
            for errand in connection.pipe.unanswered() {
                job.fail(errand.command, error.fault());
            }
            // What the server said before it hung up says more than that it did.
            let said = connection.pipe.refused.take();
            let said = said.map(|words| RespError::refused(connection.place(), &words));
            lane.pool.give_back_after(connection, &error);
            first_error.get_or_insert(said.unwrap_or(error));
        } else {
            if let Some(words) = connection.pipe.refused.take() {
                first_error.get_or_insert(RespError::refused(connection.place(), &words));
            }
            lane.pool.give_back(connection);
        }
    }
    (redirects, first_error)
}
