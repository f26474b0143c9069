//! Why a disk tier cannot be opened.

use std::path::PathBuf;

use rustix::io::Errno;

use crate::slab::SlabError;

/// Why a folder cannot become a disk tier.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Options that make no sense.
    #[error("{folder}: disk tier: {problem}", folder = folder.display())]
    Options {
        /// The folder.
        folder: PathBuf,
        /// Which one, and what it may be.
        problem: String,
    },
    /// A system call failed.
    #[error("{path}: cannot {action}: {errno}: {remedy}", path = path.display())]
    System {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's error.
        errno: Errno,
        /// What to do.
        remedy: &'static str,
    },
    /// The file system has less room than the tier may take.
    #[error(
        "{path}: the tier takes {wanted} bytes and the file system has {free} free: give fewer \
         blocks, free some room, or use another folder", path = path.display()
    )]
    NoRoom {
        /// The folder.
        path: PathBuf,
        /// Bytes that the files need beyond those they have.
        wanted: u64,
        /// Bytes that the file system still gives.
        free: u64,
    },
    /// Another tier has the files.
    #[error("{path}: another process or tier uses it: stop that one or give another folder",
        path = path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The files were made for blocks of another size, or more or fewer of them.
    #[error(
        "{path}: made for {found}, asked to hold {wanted}: give what it was made for, start empty, \
         or use another folder", path = path.display()
    )]
    Layout {
        /// The file.
        path: PathBuf,
        /// What it was made for.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// The file is none of ours.
    #[error("{path}: not a header file of a disk tier: give another folder or start empty",
        path = path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// `io_uring` was asked for and cannot be had.
    #[error("{path}: no io_uring: {problem}: let the engine be chosen, or use threads",
        path = path.display())]
    NoRing {
        /// The folder.
        path: PathBuf,
        /// What the kernel said.
        problem: String,
    },
    /// No memory for bounce buffers.
    #[error("{path}: {source}", path = path.display())]
    Memory {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: SlabError,
    },
    /// A thread could not be started.
    #[error("{path}: cannot start a thread: {source}: raise the limit or give less depth",
        path = path.display())]
    Thread {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}
