//! The levels of a deployment: the load of each in words, and its size for sorting.

use serde::Serialize;
use weir_spec::plan::{Deployment, Level, LevelLoad};

#[derive(Debug, Clone, Serialize)]
pub struct LevelNote {
    pub name: String,
    /// In the plan's list of levels.
    pub index: usize,
    pub load: String,
    /// Users, or sessions per second; absent for a trace.
    pub value: Option<f64>,
    /// Whether load arrives regardless of answers.
    pub open_loop: bool,
}

/// Sorts levels from light to heavy load; a trace, which has no size, keeps its place.
pub(super) fn notes(deployment: &Deployment) -> Vec<LevelNote> {
    let mut notes: Vec<LevelNote> =
        deployment.levels.iter().enumerate().map(|(index, level)| note(index, level)).collect();
    notes.sort_by(|a, b| {
        let size = |note: &LevelNote| note.value.unwrap_or(f64::INFINITY);
        a.open_loop.cmp(&b.open_loop).then(size(a).total_cmp(&size(b)))
    });
    notes
}

fn note(index: usize, level: &Level) -> LevelNote {
    let (load, value, open_loop) = match level.load {
        LevelLoad::Users(1) => ("1 user".to_owned(), Some(1.0), false),
        LevelLoad::Users(users) => (format!("{users} users"), Some(f64::from(users)), false),
        LevelLoad::Constant(rate) => (format!("{rate} sessions/s (constant)"), Some(rate), true),
        LevelLoad::Poisson(rate) => (format!("{rate} sessions/s (Poisson)"), Some(rate), true),
        LevelLoad::Gamma { rate, cv } => {
            (format!("{rate} sessions/s (gamma, cv {cv})"), Some(rate), true)
        }
        LevelLoad::Trace { .. } => ("the trace's load".to_owned(), None, true),
    };
    LevelNote { name: level.name.clone(), index, load, value, open_loop }
}
