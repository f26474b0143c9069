//! What the rules on lengths let pass, each by name and with the reason.

use std::collections::BTreeSet;

use super::Finding;

/// An exception: a path, or a path and a function (`path::function`), and why.
pub(super) struct Exception {
    name: &'static str,
    reason: &'static str,
}

/// Files that may be longer than the limit.
pub(super) const LONG_FILES: &[Exception] = &[];

/// Functions that may be longer than the limit.
pub(super) const LONG_FUNCTIONS: &[Exception] = &[Exception {
    name: "crates/engine/src/timing/calibration.rs::closed_loop",
    reason: "a test's whole closed loop in one place, to be read beside the published one",
}];

/// The exceptions that something has needed so far.
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

    /// Finds exceptions without need or reason.
    pub(super) fn check(&self, findings: &mut Vec<Finding>) {
        self.check_list(LONG_FILES, findings);
        self.check_list(LONG_FUNCTIONS, findings);
    }

    fn check_list(&self, list: &[Exception], findings: &mut Vec<Finding>) {
        let mut say = |message: String| {
            let path = "crates/dev/src/tidy/exceptions.rs".to_owned();
            findings.push(Finding { path, line: 0, message });
        };
        for exception in list {
            if !self.names.contains(exception.name) {
                say(format!("`{}` is short enough now; remove the exception", exception.name));
            }
            if exception.reason.is_empty() {
                say(format!("`{}` has no reason; say why it may be long", exception.name));
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
        assert!(said[0].contains("short enough") && said[1].contains("no reason"));
    }
}
