//! The crate against servers that give recorded answers.

#![allow(clippy::unwrap_used)]

mod access;
mod api_server;
mod applying;
mod calls;
