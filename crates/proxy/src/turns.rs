//! Order on the forwarding thread: frames before decisions.

use tokio::sync::Semaphore;
use tokio::task::yield_now;

/// A decision takes as long as several frames. Requests often come together, and a frame must not
/// wait for all of them.
#[derive(Debug)]
pub(crate) struct Turns(Semaphore);

impl Turns {
    pub(crate) fn new() -> Self {
        Self(Semaphore::new(1))
    }

    /// Lets one caller after the other go on. Between two of them the runtime looks for readable
    /// sockets, and passes on what came.
    pub(crate) async fn next(&self) {
        // Nobody closes it.
        let _turn = self.0.acquire().await;
        // Goes on behind everything that is ready, and behind what the sockets have by then.
        yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    use tokio::task::spawn_local;

    use super::*;

    #[test]
    fn the_sockets_are_looked_at_between_two_turns() {
        let looks = Rc::new(Cell::new(0));
        let seen = Rc::new(RefCell::new(Vec::new()));
        let turns = Rc::new(Turns::new());
        let run = async {
            let looking = Rc::clone(&looks);
            let counter = spawn_local(async move {
                // One step per look at the sockets.
                loop {
                    looking.set(looking.get() + 1);
                    yield_now().await;
                }
            });
            let tasks: Vec<_> = (0..3)
                .map(|number| {
                    let (turns, looks) = (Rc::clone(&turns), Rc::clone(&looks));
                    let seen = Rc::clone(&seen);
                    spawn_local(async move {
                        turns.next().await;
                        seen.borrow_mut().push((number, looks.get()));
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            counter.abort();
        };
        weir_service::block_on(run).unwrap();
        let seen = seen.borrow();
        assert_eq!(seen.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(seen.is_sorted_by(|one, next| one.1 < next.1), "{seen:?}");
    }
}
