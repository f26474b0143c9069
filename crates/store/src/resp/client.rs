//! A client for control: single commands and store reports. It has its own connections, so that
//! evidence does not come from the measured path.

use std::time::{Duration, Instant};

use weir_http::{TlsClient, TlsConfig};

use super::address::Address;
use super::error::RespError;
use super::fleet::Fleet;
use super::info::{ServerReport, StoreReport};
use super::layout::KeyLayout;
use super::pool::Dial;
use super::scan::Proven;
use super::tier::CONNECT_TIMEOUT;
use super::value::Value;

/// Calls may come from many threads; they take turns.
#[derive(Debug)]
pub struct StoreClient {
    fleet: Fleet,
}

impl StoreClient {
    /// Connects at the first call.
    pub fn new(address: &Address, tls: &TlsConfig) -> Result<Self, RespError> {
        Ok(Self { fleet: Fleet::new(dial(address, tls, CONNECT_TIMEOUT)?, 1) })
    }

    /// Goes to the server or a cluster's first master; an error reply becomes `Err`.
    pub fn call(&self, arguments: &[&[u8]], deadline: Instant) -> Result<Value, RespError> {
        let mut reply = None;
        self.fleet.visit(deadline, |connection| {
            if reply.is_none() {
                reply = Some(connection.demand(arguments, deadline)?);
            }
            Ok(())
        })?;
        reply.ok_or_else(|| RespError::Disconnected {
            place: "store".to_owned(),
            why: "it has no server".to_owned(),
        })
    }

    /// Sends commands together and returns their replies in the same order, error replies as
    /// values. Not for clusters: all go to one server.
    pub fn call_all(
        &self,
        commands: &[Vec<Vec<u8>>],
        deadline: Instant,
    ) -> Result<Vec<Value>, RespError> {
        let mut replies = Vec::new();
        if commands.is_empty() {
            return Ok(replies);
        }
        self.fleet.visit(deadline, |connection| {
            if replies.is_empty() {
                replies = connection.call_all(commands, deadline)?;
            }
            Ok(())
        })?;
        Ok(replies)
    }

    /// Counters of each server alone: cheap enough for once a second.
    pub fn counters(&self, deadline: Instant) -> Result<Vec<ServerReport>, RespError> {
        super::info::counters(&self.fleet, deadline)
    }

    /// The store's report; with a layout, its chunks are counted key by key.
    pub fn report(
        &self,
        layout: Option<&KeyLayout>,
        deadline: Instant,
    ) -> Result<StoreReport, RespError> {
        let proven = Proven::default();
        let layout = layout.map(|layout| (layout, &proven));
        StoreReport::collect(&self.fleet, layout, deadline)
    }
}

pub(super) fn dial(
    address: &Address,
    tls: &TlsConfig,
    connect_timeout: Duration,
) -> Result<Dial, RespError> {
    let client = address.tls.then(|| TlsClient::without_alpn(tls)).transpose();
    let tls = client.map_err(|error| RespError::Tls { place: address.to_string(), error })?;
    Ok(Dial { address: address.clone(), tls, connect_timeout })
}
