use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::figures::{Allocations, Case, Demand, Entry, Round, Sample, Way};
use crate::machine::wait_for_calm;

/// Of a contestant in one round, until one is not disturbed.
const ATTEMPTS: u32 = 4;

pub(crate) static STOP: AtomicBool = AtomicBool::new(false);

pub(crate) trait Contestant {
    fn name(&self) -> String;

    /// Weir's bar against it; None for Weir itself.
    fn demand(&self) -> Option<Demand>;

    fn round(&mut self) -> Result<Round>;

    /// Rounds that bring memory and files into their steady state.
    fn warm_up_rounds(&self) -> u32 {
        0
    }

    /// Weir's allocations after all rounds.
    fn allocations(&mut self) -> Result<Option<[Allocations; 2]>> {
        Ok(None)
    }
}

/// A contestant, or the name and demand of a missing one with the reason.
pub(crate) enum Seat<'c> {
    Taken(Box<dyn Contestant + 'c>),
    Empty { name: String, demand: Demand, why: String },
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Without warm-ups.
    pub(crate) rounds: u32,
    /// For a calm machine; a disturbed turn is then repeated.
    pub(crate) patience: Option<Duration>,
}

/// Every contestant runs once per round, in a rotating order, so that the predecessors change.
pub(crate) fn run(
    name: String,
    notes: Vec<String>,
    seats: Vec<Seat<'_>>,
    pace: Pace,
) -> Result<Case> {
    let Pace { rounds, patience } = pace;
    let mut entries = Vec::new();
    let mut taken = Vec::new();
    for (place, seat) in seats.into_iter().enumerate() {
        let (name, demand, absent) = match seat {
            Seat::Empty { name, demand, why } => (name, Some(demand), Some(why)),
            Seat::Taken(contestant) => {
                let (name, demand) = (contestant.name(), contestant.demand());
                taken.push((place, contestant));
                (name, demand, None)
            }
        };
        entries.push(Entry { name, demand, rounds: Vec::new(), absent });
    }
    let began = Instant::now();
    let warm_up = taken.iter().map(|(_, contestant)| contestant.warm_up_rounds()).max();
    let warm_up = warm_up.unwrap_or(0);
    for round in 0..warm_up + rounds {
        if round > 0 && !taken.is_empty() {
            taken.rotate_left(1);
        }
        for (place, contestant) in &mut taken {
            let is_warm_up = round < warm_up;
            let passes = is_warm_up && warm_up - round > contestant.warm_up_rounds();
            let entry = &mut entries[*place];
            if passes || entry.absent.is_some() || STOP.load(Ordering::Relaxed) {
                continue;
            }
            let patience = patience.filter(|_| !is_warm_up);
            match turn(contestant.as_mut(), patience) {
                Ok(_) if is_warm_up => {}
                Ok(samples) => entry.rounds.push(samples),
                Err(_) if STOP.load(Ordering::Relaxed) => {}
                // A failure of Weir fails the comparison.
                Err(error) if entry.demand.is_none() => return Err(error.context(name)),
                Err(error) => entry.absent = Some(format!("failed: {error:#}")),
            }
            progress(&name, entry, round + 1, warm_up, rounds);
        }
    }
    let mut allocations = None;
    for (_, contestant) in &mut taken {
        if !STOP.load(Ordering::Relaxed) {
            allocations = contestant.allocations()?.or(allocations);
        }
    }
    eprintln!("{name}: {:.0} s", began.elapsed().as_secs_f64());
    Ok(Case { name, notes, entries, allocations })
}

/// With `patience`, on a calm machine.
fn turn(contestant: &mut dyn Contestant, patience: Option<Duration>) -> Result<Round> {
    let Some(patience) = patience else { return contestant.round() };
    for _ in 1..ATTEMPTS {
        wait_for_calm(patience);
        let round = contestant.round()?;
        if !round.iter().any(Sample::is_disturbed) || STOP.load(Ordering::Relaxed) {
            return Ok(round);
        }
    }
    wait_for_calm(patience);
    contestant.round()
}

fn progress(case: &str, entry: &Entry, round: u32, warm_up: u32, rounds: u32) {
    let what = match (&entry.absent, entry.rounds.last()) {
        (Some(why), _) => why.clone(),
        (None, Some(samples)) if round > warm_up => {
            let rate = |way: Way| samples[way as usize].gb_per_s;
            format!("put {:.2} GB/s, get {:.2} GB/s", rate(Way::Put), rate(Way::Get))
        }
        _ => "warm-up".to_owned(),
    };
    eprintln!("[{case}, round {round} of {}] {}: {what}", warm_up + rounds, entry.name);
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use anyhow::{Result, bail};

    use super::{Contestant, Demand, Pace, Round, Seat, run};
    use crate::figures::Sample;

    struct Plain<'l> {
        name: &'static str,
        warm_up: u32,
        lasts: usize,
        log: &'l RefCell<Vec<&'static str>>,
    }

    impl Contestant for Plain<'_> {
        fn name(&self) -> String {
            self.name.to_owned()
        }

        fn demand(&self) -> Option<Demand> {
            (self.name != "weir").then(Demand::default)
        }

        fn round(&mut self) -> Result<Round> {
            let mut log = self.log.borrow_mut();
            log.push(self.name);
            if log.iter().filter(|name| **name == self.name).count() > self.lasts {
                bail!("tired");
            }
            let (gb_per_s, client_s_per_gb) = (log.len() as f64, None);
            let (server_s_per_gb, foreign_cores) = (None, None);
            Ok([Sample { gb_per_s, client_s_per_gb, server_s_per_gb, foreign_cores }; 2])
        }

        fn warm_up_rounds(&self) -> u32 {
            self.warm_up
        }
    }

    #[test]
    fn turns_move_on_and_who_fails_drops_out() {
        let log = RefCell::new(Vec::new());
        let seat =
            |name, warm_up, lasts| Seat::Taken(Box::new(Plain { name, warm_up, lasts, log: &log }));
        let seats = vec![
            seat("weir", 1, 9),
            seat("other", 0, 1),
            Seat::Empty { name: "gone".into(), demand: Demand::default(), why: "no".into() },
        ];
        let case = run("case".to_owned(), Vec::new(), seats, Pace { rounds: 3, patience: None })
            .expect("a case");
        let rounds: Vec<usize> = case.entries.iter().map(|entry| entry.rounds.len()).collect();
        assert_eq!(rounds, [3, 1, 0]);
        assert_eq!(case.entries[1].absent.as_deref(), Some("failed: tired"));
        assert_eq!(case.entries[2].absent.as_deref(), Some("no"));
        assert_eq!(*log.borrow(), ["weir", "other", "weir", "weir", "other", "weir"]);
    }

    #[test]
    fn a_failure_of_weir_is_an_error() {
        let log = RefCell::new(Vec::new());
        let seat = Seat::Taken(Box::new(Plain { name: "weir", warm_up: 0, lasts: 1, log: &log }));
        assert!(
            run("case".to_owned(), Vec::new(), vec![seat], Pace { rounds: 2, patience: None })
                .is_err()
        );
    }
}
