//! Exceptions from the rules on lengths, reach and names of types, each with its reason.

use std::collections::BTreeSet;

use super::Finding;

/// A path, an item (`crate::name`) or the name of a type, with the reason.
pub(super) struct Exception {
    name: &'static str,
    reason: &'static str,
}

pub(super) const LONG_FILES: &[Exception] = &[];

pub(super) const UNREACHED: &[Exception] = &[
    Exception {
        name: "http::held_bytes",
        reason: "a property bounds what a splitter of events holds back",
    },
    Exception {
        name: "router::blocks_of",
        reason: "tests of the approximate index bound what it remembers of a replica",
    },
    Exception {
        name: "serve::answer_token",
        reason: "tests ask on with the answers that the interner made up",
    },
    Exception { name: "serve::held_tokens", reason: "a property bounds what the interner holds" },
    Exception { name: "spec::boolean", reason: "a macro's table names it" },
    Exception { name: "spec::signed", reason: "a macro's table names it" },
    Exception { name: "spec::float", reason: "a macro's table names it" },
    Exception {
        name: "store::unverified",
        reason: "tests tell loads that a checksum vouched for from the others",
    },
    Exception {
        name: "store::recovered",
        reason: "tests of damaged disks count what came back, which a user sees as the tier's level",
    },
    Exception {
        name: "store::shared",
        reason: "tests tell loads that were shared from those that were made",
    },
    Exception {
        name: "store::following",
        reason: "tests wait until callers follow another's load",
    },
    Exception { name: "weir::ALLOCATOR", reason: "the compiler finds it by its attribute" },
];

/// Types of one name in several crates, none of which imports the other's.
pub(super) const TWICE_DEFINED: &[Exception] = &[
    Exception {
        name: "Answers",
        reason: "what later turns of a session quote, and what the report compares",
    },
    Exception { name: "Applied", reason: "a batch to an index, an object to a cluster" },
    Exception {
        name: "Api",
        reason: "OpenAI's interfaces: as a client asks, as the server answers",
    },
    Exception { name: "Cluster", reason: "engines in model time, and a Kubernetes cluster" },
    Exception { name: "Decision", reason: "of a comparison of arms, of a verdict on a cell" },
    Exception { name: "Event", reason: "of a replica in model time, and vLLM's of its KV cache" },
    Exception { name: "Eviction", reason: "of blocks from the GPU's pool, of chunks from a tier" },
    Exception {
        name: "Flow",
        reason: "requests in flight: what the simulator adds up, what a live cell watches",
    },
    Exception { name: "Head", reason: "of an HTTP response, of a table's column" },
    Exception { name: "Method", reason: "of HTTP, of statistics" },
    Exception { name: "Phase", reason: "of a sequence, of a cell" },
    Exception { name: "Progress", reason: "of a response, of a sweep" },
    Exception { name: "Recorded", reason: "a plan without its secrets, and a cell's rows" },
    Exception { name: "Rows", reason: "as an export reads them, as a live cell writes them" },
    Exception { name: "Turn", reason: "of a session, and of the load client's event loop" },
];

#[derive(Debug, Default)]
pub(super) struct Used {
    names: BTreeSet<&'static str>,
}

impl Used {
    pub(super) fn excepts(&mut self, list: &[Exception], name: &str) -> bool {
        let Some(found) = list.iter().find(|exception| exception.name == name) else {
            return false;
        };
        self.names.insert(found.name);
        true
    }

    pub(super) fn check(&self, findings: &mut Vec<Finding>) {
        for list in [LONG_FILES, UNREACHED, TWICE_DEFINED] {
            self.check_list(list, findings);
        }
    }

    fn check_list(&self, list: &[Exception], findings: &mut Vec<Finding>) {
        let mut say = |message: String| {
            let path = "crates/dev/src/tidy/exceptions.rs".to_owned();
            findings.push(Finding { path, line: 0, message });
        };
        for exception in list {
            if !self.names.contains(exception.name) {
                say(format!("nothing needs `{}` any more; remove the exception", exception.name));
            }
            if exception.reason.is_empty() {
                say(format!("`{}` has no reason; say why it may stay", exception.name));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &[Exception] =
        &[Exception { name: "a.rs", reason: "a table" }, Exception { name: "b.rs::f", reason: "" }];

    #[test]
    fn what_was_not_needed_or_has_no_reason_is_found() {
        let mut used = Used::default();
        assert!(used.excepts(LIST, "a.rs"));
        assert!(!used.excepts(LIST, "c.rs"));
        let mut findings = Vec::new();
        used.check_list(LIST, &mut findings);
        let said: Vec<&str> = findings.iter().map(|found| found.message.as_str()).collect();
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].contains("any more") && said[1].contains("no reason"));
    }
}
