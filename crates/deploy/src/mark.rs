//! A run's mark in a store that Weir did not start. A second run would mix its traffic into the
//! first one's figures, so it is refused.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use weir_store::resp::Marked;
use weir_store::{RespError, RespTier};

use crate::process::Owner;

/// The mark of a killed run expires after this.
const LIFE: Duration = Duration::from_secs(30);
const REFRESH: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoreUser {
    #[serde(flatten)]
    owner: Owner,
    host: String,
}

impl StoreUser {
    fn of(owner: &Owner) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { owner: owner.clone(), host }
    }

    fn text(&self) -> String {
        serde_json::to_string(self).expect("four plain fields")
    }

    /// True for a dead process of this machine.
    fn is_gone(&self, here: &Self) -> bool {
        self.host == here.host && !self.owner.is_alive()
    }
}

impl fmt::Display for StoreUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {}, process {} on {}", self.owner.run, self.owner.pid, self.host)
    }
}

pub(crate) fn user_words(mark: &str) -> String {
    serde_json::from_str::<StoreUser>(mark)
        .map_or_else(|_| format!("`{mark}`"), |user| user.to_string())
}

#[derive(Debug)]
pub(crate) enum Marking {
    /// Stands until this is dropped.
    Set(StoreMark),
    Taken(String),
    Refused(RespError),
}

/// Refreshed regularly, and removed on drop.
#[derive(Debug)]
pub(crate) struct StoreMark {
    resp: Arc<RespTier>,
    text: String,
    /// Who replaced the mark meanwhile, in words.
    taken: Arc<Mutex<Option<String>>>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl StoreMark {
    pub(crate) fn set(resp: &Arc<RespTier>, owner: &Owner) -> Marking {
        let user = StoreUser::of(owner);
        let text = user.text();
        let mut over = None;
        let other = loop {
            let deadline = Instant::now() + PATIENCE;
            match resp.mark(&text, over.as_deref(), LIFE, deadline) {
                Ok(Marked::Own) => break None,
                Ok(Marked::Other(mark)) => {
                    let gone = serde_json::from_str::<StoreUser>(&mark)
                        .is_ok_and(|other| other.is_gone(&user));
                    if !gone || over.as_ref() == Some(&mark) {
                        break Some(mark);
                    }
                    over = Some(mark);
                }
                Err(error) => return Marking::Refused(error),
            }
        };
        if let Some(mark) = other {
            return Marking::Taken(user_words(&mark));
        }
        let taken = Arc::new(Mutex::new(None));
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = {
            let (resp, text, taken) = (Arc::clone(resp), text.clone(), Arc::clone(&taken));
            std::thread::spawn(move || {
                while stopped.recv_timeout(REFRESH) == Err(RecvTimeoutError::Timeout) {
                    // An unreachable store is reported by its users.
                    let again = resp.mark(&text, None, LIFE, Instant::now() + PATIENCE);
                    if let Ok(Marked::Other(mark)) = again {
                        let mut taken = taken.lock();
                        taken.get_or_insert_with(|| user_words(&mark));
                    }
                }
            })
        };
        Marking::Set(Self {
            resp: Arc::clone(resp),
            text,
            taken,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    pub(crate) fn taken(&self) -> Option<String> {
        self.taken.lock().clone()
    }
}

impl Drop for StoreMark {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        // A mark that cannot be removed expires.
        let _ = self.resp.unmark(&self.text, Instant::now() + PATIENCE);
    }
}
