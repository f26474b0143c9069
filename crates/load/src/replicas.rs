//! Numbers of the replicas that response headers name.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Bounds the memory where a server gives each answer its own value.
const REPLICAS_MAX: usize = 4096;

/// Addresses by number, shared by the workers: known ones first, others in order of first sight.
#[derive(Debug, Clone)]
pub struct ReplicaNames(Arc<Mutex<Vec<String>>>);

impl ReplicaNames {
    pub fn new(known: &[String]) -> Self {
        Self(Arc::new(Mutex::new(known.to_vec())))
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().clone()
    }

    /// The number here of each replica of another process; None for too many.
    pub fn renumber(&mut self, others: &[String]) -> Vec<Option<u16>> {
        others.iter().map(|name| self.number(name)).collect()
    }

    /// None for too many.
    fn number(&self, name: &str) -> Option<u16> {
        let mut names = self.0.lock();
        let number = names.iter().position(|known| known == name).or_else(|| {
            (names.len() < REPLICAS_MAX).then(|| {
                names.push(name.to_owned());
                names.len() - 1
            })
        });
        number.and_then(|number| u16::try_from(number).ok())
    }
}

/// A worker's own copy of the numbers: one lock per name, not per answer.
#[derive(Debug)]
pub(crate) struct ReplicaNumbers {
    names: ReplicaNames,
    seen: HashMap<String, u16>,
}

impl ReplicaNumbers {
    pub(crate) fn new(names: ReplicaNames) -> Self {
        Self { names, seen: HashMap::new() }
    }

    pub(crate) fn number(&mut self, name: &str) -> Option<u16> {
        let name = name.trim();
        if let Some(number) = self.seen.get(name) {
            return Some(*number);
        }
        let number = if name.is_empty() { None } else { self.names.number(name) }?;
        self.seen.insert(name.to_owned(), number);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_replicas_come_first_and_workers_agree() {
        let names = ReplicaNames::new(&["127.0.0.2:8000".to_owned(), "127.0.0.3:8000".to_owned()]);
        let mut workers = [names.clone(), names.clone()].map(ReplicaNumbers::new);
        assert_eq!(workers[0].number("10.0.0.9:80"), Some(2));
        assert_eq!(workers[1].number(" 127.0.0.3:8000 "), Some(1));
        assert_eq!(workers[1].number("10.0.0.8:80"), Some(3));
        assert_eq!(workers[1].number("10.0.0.9:80"), Some(2));
        assert_eq!(workers[0].number(""), None);
        assert_eq!(names.all()[2..], ["10.0.0.9:80", "10.0.0.8:80"]);
    }

    #[test]
    fn names_without_end_stop_being_numbered() {
        let names = ReplicaNames::new(&[]);
        let mut worker = ReplicaNumbers::new(names.clone());
        let numbered = (0..2 * REPLICAS_MAX).filter_map(|at| worker.number(&at.to_string()));
        assert_eq!(numbered.count(), REPLICAS_MAX);
        assert_eq!(names.all().len(), REPLICAS_MAX);
    }
}
