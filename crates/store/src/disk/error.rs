use std::path::PathBuf;

use rustix::io::Errno;

use crate::slab::SlabError;

#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("{folder}: disk tier: {problem}", folder = folder.display())]
    Options { folder: PathBuf, problem: String },
    #[error("{path}: cannot {action}: {errno}: {remedy}", path = path.display())]
    System { path: PathBuf, action: &'static str, errno: Errno, remedy: &'static str },
    #[error(
        "{path}: the tier takes {wanted} bytes and the file system has {free} free: give fewer \
         blocks, free some room, or use another folder", path = path.display()
    )]
    NoRoom {
        path: PathBuf,
        /// Bytes needed beyond those the files have.
        wanted: u64,
        free: u64,
    },
    #[error("{path}: another process or tier uses it: stop that one or give another folder",
        path = path.display())]
    Locked { path: PathBuf },
    #[error(
        "{path}: made for {found}, asked to hold {wanted}: give what it was made for, start empty, \
         or use another folder", path = path.display()
    )]
    Layout { path: PathBuf, found: String, wanted: String },
    #[error("{path}: not a header file of a disk tier: give another folder or start empty",
        path = path.display())]
    Foreign { path: PathBuf },
    #[error("{path}: no io_uring: {problem}: let the engine be chosen, or use threads",
        path = path.display())]
    NoRing { path: PathBuf, problem: String },
    #[error("{path}: {source}", path = path.display())]
    Memory { path: PathBuf, source: SlabError },
    #[error("{path}: cannot start a thread: {source}: raise the limit or give less depth",
        path = path.display())]
    Thread { path: PathBuf, source: std::io::Error },
}
