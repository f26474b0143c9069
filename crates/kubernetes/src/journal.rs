//! Every call to the API server, for the records of a run.

use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;

/// A journal that nobody drains ends here: 100 bytes a call make a few megabytes.
const MOST_CALLS: usize = 50_000;

/// One try of one call. The query has label selectors, but never a value of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApiCall {
    pub verb: &'static str,
    pub path: String,
    /// None: no answer came.
    pub status: Option<u16>,
    pub ms: u64,
    /// What the server said beside its answer: a deprecated version, Pod Security that will refuse
    /// the pods of a Deployment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct CallJournal(Arc<Mutex<Vec<ApiCall>>>);

impl CallJournal {
    pub(crate) fn add(&self, call: ApiCall) {
        let mut calls = self.0.lock();
        if calls.len() < MOST_CALLS {
            calls.push(call);
        }
    }

    pub(crate) fn drain(&self) -> Vec<ApiCall> {
        std::mem::take(&mut *self.0.lock())
    }
}

/// The texts of `Warning: 299 - "text"`, as RFC 7234 quotes them.
pub(crate) fn warnings(head: &http::HeaderMap) -> Vec<String> {
    let texts = head.get_all(http::header::WARNING).iter().filter_map(|value| {
        let (_, rest) = value.to_str().ok()?.split_once('"')?;
        let (text, _) = rest.rsplit_once('"')?;
        Some(text.replace("\\\"", "\"").replace("\\\\", "\\"))
    });
    texts.collect()
}
