//! What is probed, from its name on the command line.

use std::path::PathBuf;

use weir_model::Product;
use weir_store::resp::is_scheme;

use crate::error::ProbeError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeTarget {
    Memory,
    Disk(PathBuf),
    /// Runs already.
    Store(String),
    /// Started for the probe.
    Started(Product),
}

impl ProbeTarget {
    pub fn parse(text: &str) -> Result<Self, ProbeError> {
        let refused = |problem: &str| ProbeError::Target {
            target: text.to_owned(),
            problem: problem.to_owned(),
        };
        if text == "memory" {
            return Ok(Self::Memory);
        }
        if let Some(product) = Product::named(text) {
            return Ok(Self::Started(product));
        }
        if let Some((scheme, _)) = text.split_once("://") {
            if is_scheme(scheme) {
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
    use weir_model::{Attributed, ErrorCause};

    use super::*;

    #[test]
    fn targets_are_told_apart() {
        let parse = |text: &str| ProbeTarget::parse(text).unwrap();
        assert_eq!(parse("memory"), ProbeTarget::Memory);
        assert_eq!(parse("valkey"), ProbeTarget::Started(Product::Valkey));
        assert_eq!(parse("disk:kv"), ProbeTarget::Disk("kv".into()));
        assert_eq!(parse("/mnt/kv"), ProbeTarget::Disk("/mnt/kv".into()));
        assert_eq!(parse("unix:///run/a.sock"), ProbeTarget::Store("unix:///run/a.sock".into()));
        for wrong in ["nonsense", "http://host", "disk:", ""] {
            let error = ProbeTarget::parse(wrong).unwrap_err();
            assert!(
                error.fault() == ErrorCause::User && error.to_string().contains("write `memory`"),
                "{error}"
            );
        }
    }
}
