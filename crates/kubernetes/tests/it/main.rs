//! The crate against servers that give recorded answers, and against real Kubernetes.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod access;
mod api_server;
mod applying;
mod calls;
mod leasing;
mod real;
mod removing;
mod waiting;
