//! The servers of one store and the routing of a job: one server, or the masters of a cluster with
//! their redirects.
//!
//! A batch uses one connection per server. Splitting a batch over two connections and threads was
//! not faster against Redis and Valkey (row "two threads" of the bench, on two cores).

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

use super::connection::StoreConnection;
use super::error::RespError;
use super::pipeline::{Job, PendingCommand, Redirect, drive};
use super::pool::{Dial, Pool};
use super::refusal::ErrorReply;
use super::slots::{SLOTS, slot, spans};
use crate::resp::address::StoreEndpoint;
use crate::tier::TierFault;

/// Redirects that a command follows before its block fails.
const REDIRECTS_MAX: usize = 5;
/// Masters of a cluster: Redis recommends at most 1000 servers.
const NODES_MAX: usize = 1024;
/// Shortest time between two queries for a cluster's slots.
const REFRESH_PAUSE: Duration = Duration::from_millis(200);
const NO_NODE: u16 = u16::MAX;

#[derive(Debug)]
pub(crate) struct Fleet {
    dial: Dial,
    connections: usize,
    map: Mutex<Map>,
}

#[derive(Debug)]
struct Map {
    /// Nodes of the address, then those that the cluster named.
    nodes: Vec<Arc<Pool>>,
    /// Node of each slot; empty for a single server.
    slots: Vec<u16>,
    is_stale: bool,
    refreshed: Option<Instant>,
}

struct Origin {
    pool: Arc<Pool>,
    was_idle: bool,
}

struct Unrouted {
    pending: PendingCommand,
    node: Option<u16>,
}

impl Unrouted {
    const fn new(command: u32) -> Self {
        Self { pending: PendingCommand { command, asking: false }, node: None }
    }
}

struct Routes {
    nodes: Vec<Arc<Pool>>,
    commands: Vec<(u16, PendingCommand)>,
}

/// Inline for one server and for a small cluster's masters.
type Origins = SmallVec<[Origin; 3]>;
type Connections = SmallVec<[StoreConnection; 3]>;

impl Fleet {
    pub(crate) fn new(dial: Dial, connections: usize) -> Self {
        let pool = |endpoint: &StoreEndpoint| {
            Arc::new(Pool::new(dial.clone(), endpoint.clone(), connections))
        };
        let nodes = dial.address.endpoints.iter().map(pool).collect();
        let slots = if dial.address.cluster { vec![NO_NODE; SLOTS] } else { Vec::new() };
        let map = Map { nodes, slots, is_stale: dial.address.cluster, refreshed: None };
        Self { dial, connections, map: Mutex::new(map) }
    }

    fn map(&self) -> MutexGuard<'_, Map> {
        self.map.lock()
    }

    fn is_cluster(&self) -> bool {
        self.dial.address.cluster
    }

    /// Runs the commands that a job wants. Each is answered or failed on return; the first error is
    /// returned for its text.
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

    /// A single server needs no routing and no allocation.
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
        let mut origins = Origins::new();
        let mut connections = Connections::new();
        origins.push(Origin { pool, was_idle: taken.was_idle });
        connections.push(taken.connection);
        let pending = |command| PendingCommand { command, asking: false };
        let wanted = (0..job.commands()).filter(|command| job.wants(*command)).map(pending);
        connections[0].pipe.load(wanted);
        let (redirects, error) = finish(origins, connections, job, deadline);
        let refusal = redirects.first().map(|redirect| RespError::Refused {
            place: self.dial.address.to_string(),
            why: "it has given the slot of a key to another server".to_owned(),
            remedy: redirect.refusal.remedy(),
            refusal: ErrorReply::Other,
        });
        for redirect in redirects {
            job.fail(redirect.command, TierFault::Refused);
        }
        error.or(refusal).map_or(Ok(()), Err)
    }

    fn run_cluster(&self, job: &mut dyn Job, deadline: Instant) -> Result<(), RespError> {
        let wanted = (0..job.commands()).filter(|command| job.wants(*command));
        let mut unrouted: Vec<Unrouted> = wanted.map(Unrouted::new).collect();
        let mut first_error = None;
        for _ in 0..=REDIRECTS_MAX {
            if let Err(error) = self.refresh(deadline) {
                for Unrouted { pending, .. } in unrouted.drain(..) {
                    job.fail(pending.command, error.fault());
                }
                return Err(first_error.unwrap_or(error));
            }
            let routed = self.route(&unrouted, job);
            let (origins, connections, unreached) = self.assign_connections(&routed, job, deadline);
            first_error = first_error.or(unreached);
            let (redirects, error) = finish(origins, connections, job, deadline);
            if let Some(error) = error {
                // The server may no longer be the master of its slots.
                self.map().is_stale = true;
                first_error.get_or_insert(error);
            }
            unrouted.clear();
            for redirect in redirects {
                unrouted.push(self.redirected(&redirect));
            }
            if unrouted.is_empty() {
                return first_error.map_or(Ok(()), Err);
            }
        }
        for Unrouted { pending, .. } in unrouted {
            job.fail(pending.command, TierFault::Disconnected);
        }
        Err(first_error.unwrap_or_else(|| RespError::Disconnected {
            place: self.dial.address.to_string(),
            why: format!("keys were sent on more than {REDIRECTS_MAX} times: see CLUSTER SLOTS"),
        }))
    }

    /// Sorted by node.
    fn route(&self, unrouted: &[Unrouted], job: &dyn Job) -> Routes {
        let mut key = Vec::new();
        let map = self.map();
        let node_of = |it: &Unrouted| {
            key.clear();
            job.key(it.pending.command, &mut key);
            (it.node.unwrap_or_else(|| map.slots[usize::from(slot(&key))]), it.pending)
        };
        let mut commands: Vec<(u16, PendingCommand)> = unrouted.iter().map(node_of).collect();
        commands.sort_by_key(|(node, _)| *node);
        Routes { nodes: map.nodes.clone(), commands }
    }

    /// Takes a connection to each node and loads its commands. Nodes are in numeric order, so that
    /// two callers cannot deadlock. Commands of an unreachable node fail; its error is the third
    /// result.
    fn assign_connections(
        &self,
        routes: &Routes,
        job: &mut dyn Job,
        deadline: Instant,
    ) -> (Origins, Connections, Option<RespError>) {
        let (mut origins, mut connections) = (Origins::new(), Connections::new());
        let mut first_error = None;
        for group in routes.commands.chunk_by(|a, b| a.0 == b.0) {
            let node = group[0].0;
            let commands = group.iter().map(|(_, pending)| *pending);
            let taken = match routes.nodes.get(usize::from(node)) {
                Some(pool) => pool.take(deadline).map(|taken| (Arc::clone(pool), taken)),
                None => Err(RespError::Disconnected {
                    place: self.dial.address.to_string(),
                    why: "no server has the slot of a key: see CLUSTER SLOTS".to_owned(),
                }),
            };
            match taken {
                Ok((pool, mut taken)) => {
                    taken.connection.pipe.load(commands);
                    connections.push(taken.connection);
                    origins.push(Origin { pool, was_idle: taken.was_idle });
                }
                Err(error) => {
                    commands.for_each(|pending| job.fail(pending.command, error.fault()));
                    self.map().is_stale = true;
                    first_error.get_or_insert(error);
                }
            }
        }
        (origins, connections, first_error)
    }

    fn redirected(&self, redirect: &Redirect) -> Unrouted {
        let mut map = self.map();
        let mut unrouted = Unrouted::new(redirect.command);
        match &redirect.refusal {
            ErrorReply::Ask { to: Some(to) } => {
                unrouted.node = map.node(to, &self.dial, self.connections);
                unrouted.pending.asking = true;
            }
            ErrorReply::Moved { slot, to } => {
                map.is_stale = true;
                let node = to.as_ref().and_then(|to| map.node(to, &self.dial, self.connections));
                if let Some(node) = node {
                    map.slots[usize::from(*slot)] = node;
                }
                unrouted.node = node;
            }
            _ => map.is_stale = true,
        }
        unrouted
    }

    fn refresh(&self, deadline: Instant) -> Result<(), RespError> {
        let nodes = {
            let mut map = self.map();
            let known = map.refreshed.is_some();
            let recent = map.refreshed.is_some_and(|at| at.elapsed() < REFRESH_PAUSE);
            if !map.is_stale || (known && recent) {
                return Ok(());
            }
            // Other callers use the known slots meanwhile.
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
        // The known slots may still be right for most keys.
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
            return Err(RespError::Refused { place, why, remedy, refusal: ErrorReply::Other });
        }
        let mut map = self.map();
        map.slots.fill(NO_NODE);
        for span in found {
            if let Some(node) = map.node(&span.master, &self.dial, self.connections) {
                map.slots[usize::from(span.first)..=usize::from(span.last)].fill(node);
            }
        }
        map.is_stale = false;
        map.refreshed = Some(Instant::now());
        Ok(())
    }

    pub(crate) fn visit(
        &self,
        deadline: Instant,
        mut work: impl FnMut(&mut StoreConnection) -> Result<(), RespError>,
    ) -> Result<(), RespError> {
        if self.is_cluster() {
            self.refresh(deadline)?;
        }
        for pool in self.key_servers() {
            let mut taken = pool.take(deadline)?;
            let mut outcome = work(&mut taken.connection);
            if taken.was_idle
                && outcome.as_ref().is_err_and(|e| e.fault() == TierFault::Disconnected)
            {
                pool.give_back(taken.connection);
                taken.connection = pool.take_new(deadline)?;
                outcome = work(&mut taken.connection);
            }
            pool.give_back(taken.connection);
            outcome?;
        }
        Ok(())
    }

    fn key_servers(&self) -> Vec<Arc<Pool>> {
        let map = self.map();
        if map.slots.is_empty() {
            return map.nodes.clone();
        }
        let owners = map.nodes.iter().enumerate();
        let owners = owners.filter(|(node, _)| map.slots.iter().any(|s| usize::from(*s) == *node));
        owners.map(|(_, pool)| Arc::clone(pool)).collect()
    }
}

impl Map {
    fn node(&mut self, endpoint: &StoreEndpoint, dial: &Dial, connections: usize) -> Option<u16> {
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

/// Retries on connections that the server closed while idle.
fn finish(
    origins: Origins,
    mut connections: Connections,
    job: &mut dyn Job,
    deadline: Instant,
) -> (Vec<Redirect>, Option<RespError>) {
    drive(&mut connections, job, deadline);
    let mut first_error = None;
    for (origin, connection) in origins.iter().zip(&mut connections) {
        // Every command is idempotent.
        let gone = connection.pipe.error.as_ref().map(RespError::fault);
        let again = gone == Some(TierFault::Disconnected)
            && origin.was_idle
            && !connection.pipe.has_answers();
        if again {
            match origin.pool.take_new(deadline) {
                Ok(mut fresh) => {
                    fresh.pipe.load(connection.pipe.unanswered().iter().copied());
                    std::mem::swap(connection, &mut fresh);
                    origin.pool.give_back(fresh);
                    drive(std::slice::from_mut(connection), job, deadline);
                }
                Err(error) => connection.pipe.error = Some(error),
            }
        }
    }
    let mut redirects = Vec::new();
    for (origin, mut connection) in origins.into_iter().zip(connections) {
        redirects.append(&mut connection.pipe.redirects);
        if let Some(error) = connection.pipe.error.take() {
            for pending in connection.pipe.unanswered() {
                job.fail(pending.command, error.fault());
            }
            // A refusal explains more than the disconnect after it.
            let refusal = connection.pipe.refused.take();
            let refusal = refusal.map(|words| RespError::refused(connection.place(), &words));
            origin.pool.give_back_after(connection, &error);
            first_error.get_or_insert(refusal.unwrap_or(error));
        } else {
            if let Some(words) = connection.pipe.refused.take() {
                first_error.get_or_insert(RespError::refused(connection.place(), &words));
            }
            origin.pool.give_back(connection);
        }
    }
    (redirects, first_error)
}
