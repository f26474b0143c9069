//! Facts about this machine and moment, for `environment.json`.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use weir_record::Environment;

pub fn environment() -> Environment {
    let mut host = BTreeMap::new();
    let mut note = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            host.insert(key.to_owned(), value);
        }
    };
    let name = rustix::system::uname();
    note("kernel", name.release().to_str().ok().map(str::to_owned));
    note("machine", name.machine().to_str().ok().map(str::to_owned));
    note("processors", std::thread::available_parallelism().ok().map(|n| n.to_string()));
    note("processor", line_of("/proc/cpuinfo", "model name"));
    note("memory", line_of("/proc/meminfo", "MemTotal"));
    Environment {
        started: jiff::Timestamp::now().to_string(),
        weir: env!("CARGO_PKG_VERSION").to_owned(),
        host,
    }
}

/// Simulated cells that run at once.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Load average of the last minute.
pub fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0.0)
}

/// UTC, `2026-11-20T15:30:00Z`.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// UTC, for folder names: `20261120-153000`.
pub fn stamp() -> String {
    jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string()
}

/// Random, from the system.
pub fn nonce() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

/// The value behind `key :` in a file of the kernel.
fn line_of(path: &str, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
