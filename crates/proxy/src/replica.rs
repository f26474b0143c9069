//! What is known of a replica.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use weir_http::url::Url;
use weir_router::ReplicaLoad;

/// As of the last scrape.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Gauges {
    pub(crate) waiting: u32,
    pub(crate) kv_usage: f64,
}

#[derive(Debug)]
pub(crate) struct LiveReplica {
    /// `ADDRESS:PORT`, as in llm-d's topics and index.
    pub(crate) id: String,
    pub(crate) url: Url,
    gauges: Mutex<Gauges>,
    is_up: AtomicBool,
    /// Nothing has been forgotten since it last answered.
    has_cache: AtomicBool,
    in_flight: AtomicU32,
    requests: AtomicU64,
}

impl LiveReplica {
    /// Up until it refuses a connection.
    pub(crate) fn new(url: Url) -> Self {
        Self {
            id: url.address(),
            url,
            gauges: Mutex::default(),
            is_up: AtomicBool::new(true),
            has_cache: AtomicBool::new(true),
            in_flight: AtomicU32::new(0),
            requests: AtomicU64::new(0),
        }
    }

    pub(crate) fn load(&self) -> ReplicaLoad {
        let Gauges { waiting, kv_usage } = *self.gauges.lock();
        ReplicaLoad { in_flight: self.in_flight(), waiting, kv_usage }
    }

    pub(crate) fn scraped(&self, gauges: Gauges) {
        *self.gauges.lock() = gauges;
    }

    pub(crate) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    pub(crate) fn set_up(&self, is_up: bool) {
        self.is_up.store(is_up, Ordering::Relaxed);
        if is_up {
            self.has_cache.store(true, Ordering::Relaxed);
        }
    }

    /// True the first time after it was up.
    pub(crate) fn forget_cache(&self) -> bool {
        self.has_cache.swap(false, Ordering::Relaxed)
    }

    /// Sent and not ended.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn begin_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end_request(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
