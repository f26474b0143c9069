//! What is probed, from its name on the command line.

use std::path::PathBuf;

use crate::error::ProbeError;

/// Stores that Weir can start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    Redis,
    Valkey,
    Kvrocks,
}

impl Product {
    pub const ALL: [Self; 3] = [Self::Redis, Self::Valkey, Self::Kvrocks];

    /// The same for the store's own code.
    pub const fn of_store(self) -> weir_store::resp::Product {
        match self {
            Self::Redis => weir_store::resp::Product::Redis,
            Self::Valkey => weir_store::resp::Product::Valkey,
            Self::Kvrocks => weir_store::resp::Product::Kvrocks,
        }
    }

    /// The word on the command line and in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Valkey => "valkey",
            Self::Kvrocks => "kvrocks",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A tier in this process's memory.
    Memory,
    /// A tier in a folder.
    Disk(PathBuf),
    /// A store that runs already.
    Store(String),
    /// A store that is started for the probe.
    Started(Product),
}

/// Schemes of stores' addresses.
const SCHEMES: [&str; 12] = [
    "redis",
    "rediss",
    "valkey",
    "valkeys",
    "kvrocks",
    "kvrockss",
    "redis-cluster",
    "rediss-cluster",
    "valkey-cluster",
    "valkeys-cluster",
    "kvrocks-cluster",
    "unix",
];

impl Target {
    pub fn parse(text: &str) -> Result<Self, ProbeError> {
        let refused = |problem: &str| ProbeError::Target {
            target: text.to_owned(),
            problem: problem.to_owned(),
        };
        if text == "memory" {
            return Ok(Self::Memory);
        }
        if let Some(product) = Product::ALL.iter().find(|product| product.name() == text) {
            return Ok(Self::Started(*product));
        }
        if let Some((scheme, _)) = text.split_once("://") {
            if SCHEMES.contains(&scheme) {
                return Ok(Self::Store(text.to_owned()));
            }
            return Err(refused(&format!("unsupported store type `{scheme}://`")));
        }
        match text.strip_prefix("disk:") {
            Some("") => Err(refused("no folder behind `disk:`")),
            Some(path) => Ok(Self::Disk(PathBuf::from(path))),
            None if text.contains('/') || PathBuf::from(text).is_dir() => {
                Ok(Self::Disk(PathBuf::from(text)))
            }
            None => Err(refused("not known")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_told_apart() {
        let parse = |text: &str| Target::parse(text).unwrap();
        assert_eq!(parse("memory"), Target::Memory);
        assert_eq!(parse("valkey"), Target::Started(Product::Valkey));
        assert_eq!(parse("disk:kv"), Target::Disk("kv".into()));
        assert_eq!(parse("/mnt/kv"), Target::Disk("/mnt/kv".into()));
        assert_eq!(parse("unix:///run/a.sock"), Target::Store("unix:///run/a.sock".into()));
        for wrong in ["nonsense", "http://host", "disk:", ""] {
            let error = Target::parse(wrong).unwrap_err();
            assert!(error.is_mistake() && error.to_string().contains("write `memory`"), "{error}");
        }
    }
}
