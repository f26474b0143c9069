//! Stores that speak RESP: Redis, Valkey, Kvrocks and others.
//!
//! The data path is Weir's own: blocks move directly between their memory and the socket, many at a
//! time on one connection. The protocol ([`command`], [`reply`]) does no I/O.

pub mod address;
pub mod client;
pub mod command;
pub(crate) mod connection;
mod cpu;
pub mod error;
mod fleet;
pub mod info;
mod job;
pub mod layout;
mod mark;
mod pipeline;
mod pool;
pub mod refusal;
pub mod reply;
pub mod rocksdb;
mod scan;
pub mod slots;
pub mod tier;
pub mod value;
mod wire;

pub use address::{Address, AddressError, Secret, StoreEndpoint, is_scheme};
pub use client::StoreClient;
pub use error::RespError;
pub use info::{Keyspace, ServerReport, StoreReport};
pub use layout::{KeyLayout, LayoutError};
pub use mark::{MARK_KEY, Marked};
pub use rocksdb::{RocksDbFigure, RocksDbFigures};
pub use tier::{RespOptions, RespTier};
