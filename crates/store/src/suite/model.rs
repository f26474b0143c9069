use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::{BLOCKS_MIN, Subject, key, later};
use crate::tier::{ChunkHash, Loaded, Stored};

const CASES: u32 = 24;

#[derive(Debug, Clone)]
enum Step {
    Put(Vec<u64>),
    Get(Vec<u64>),
    Contains(Vec<u64>),
    Remove(Vec<u64>),
    Clear,
}

fn steps(names: u64) -> impl Strategy<Value = Vec<Step>> {
    let batch = || vec(0..names, 0..7);
    let step = prop_oneof![
        8 => batch().prop_map(Step::Put),
        8 => batch().prop_map(Step::Get),
        3 => batch().prop_map(Step::Contains),
        2 => batch().prop_map(Step::Remove),
        1 => Just(Step::Clear),
    ];
    vec(step, 1..40)
}

/// Random streams of operations equal those on a plain map. Beyond the capacity a block may be
/// missing or refused, and then stays missing. Deterministic.
pub fn equals_a_plain_map(subject: &Subject) {
    let capacity = subject.capacity().unwrap_or(u64::MAX);
    let names = capacity.saturating_mul(3) / 2;
    let names = if capacity <= 64 { names } else { BLOCKS_MIN * 2 };
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let outcome = runner.run(&steps(names), |steps| {
        subject.clear();
        let mut model = Model { held: BTreeSet::new(), capacity, tight: false };
        for step in &steps {
            model.apply(subject, step)?;
        }
        let usage = subject.tier().usage(later()).expect("usage of a healthy tier");
        prop_assert!(usage.chunks <= model.held.len() as u64, "{usage:?} of {:?}", model.held);
        prop_assert!(model.tight || usage.chunks == model.held.len() as u64, "{usage:?}");
        Ok(())
    });
    if let Err(difference) = outcome {
        panic!("{difference}");
    }
}

struct Model {
    /// Names that the tier may hold; all of them, unless it was overfull.
    held: BTreeSet<u64>,
    capacity: u64,
    tight: bool,
}

impl Model {
    fn apply(&mut self, subject: &Subject, step: &Step) -> Result<(), TestCaseError> {
        let keys = |names: &[u64]| names.iter().copied().map(key).collect::<Vec<ChunkHash>>();
        match step {
            Step::Put(names) => self.put(names, &subject.put(&keys(names), later())),
            Step::Get(names) => {
                let outcomes = subject.get(&keys(names), later());
                for (name, outcome) in names.iter().zip(outcomes) {
                    prop_assert!(
                        matches!(outcome, Loaded::Hit | Loaded::Miss),
                        "get {name}: {outcome:?}"
                    );
                    self.seen(*name, outcome == Loaded::Hit)?;
                }
                Ok(())
            }
            Step::Contains(names) => {
                let present = subject.contains(&keys(names));
                names.iter().zip(present).try_for_each(|(name, there)| self.seen(*name, there))
            }
            Step::Remove(names) => {
                subject.remove(&keys(names));
                self.held.retain(|held| !names.contains(held));
                Ok(())
            }
            Step::Clear => {
                subject.clear();
                self.held.clear();
                self.tight = false;
                Ok(())
            }
        }
    }

    fn put(&mut self, names: &[u64], outcomes: &[Stored]) -> Result<(), TestCaseError> {
        for (name, outcome) in names.iter().zip(outcomes) {
            let new = self.held.insert(*name);
            self.tight |= self.held.len() as u64 > self.capacity;
            match outcome {
                Stored::Stored => {}
                Stored::Present => prop_assert!(!new, "{name} is new, not present"),
                Stored::Full => {
                    prop_assert!(self.tight, "{name} refused though there is room");
                    self.held.remove(name);
                }
                Stored::Failed(fault) => prop_assert!(false, "put {name}: {fault:?}"),
            }
        }
        Ok(())
    }

    fn seen(&mut self, name: u64, there: bool) -> Result<(), TestCaseError> {
        if there {
            prop_assert!(self.held.contains(&name), "{name} is there and should not be");
        } else if self.tight {
            self.held.remove(&name);
        } else {
            prop_assert!(!self.held.contains(&name), "{name} is lost");
        }
        Ok(())
    }
}
