//! Links: transfer times, first in, first out per direction and lane.

use weir_model::{Bytes, Nanos};

use crate::config::LinkConfig;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the tier to the GPU.
    Read,
    /// From the GPU to the tier.
    Write,
}

/// A link with its queue. `now` must not decrease.
#[derive(Debug, Clone)]
pub struct Link {
    config: LinkConfig,
    /// When each lane is free again, per direction.
    free_at: [Vec<Nanos>; 2],
}

impl Link {
    pub fn new(config: LinkConfig) -> Self {
        let lanes = vec![Nanos::ZERO; config.lanes.max(1) as usize];
        Self { config, free_at: [lanes.clone(), lanes] }
    }

    /// Queues a transfer of `bytes` in `copies` contiguous pieces; returns its end.
    pub fn transfer(
        &mut self,
        now: Nanos,
        direction: Direction,
        copies: u64,
        bytes: Bytes,
    ) -> Nanos {
        let rate = match direction {
            Direction::Read => self.config.read_bytes_per_s,
            Direction::Write => self.config.write_bytes_per_s,
        };
        let lanes = &mut self.free_at[direction as usize];
        let per_lane = rate / lanes.len() as f64;
        let busy = self.config.per_copy * copies + Nanos::from_secs_f64(bytes.0 as f64 / per_lane);
        let lane = lanes.iter_mut().min().expect("a link has at least one lane");
        *lane = (*lane).max(now) + busy;
        *lane + self.config.base_latency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(lanes: u32) -> Link {
        Link::new(LinkConfig {
            base_latency: Nanos::from_micros(10),
            per_copy: Nanos::from_micros(1),
            read_bytes_per_s: 1e9,
            write_bytes_per_s: 5e8,
            lanes,
        })
    }

    #[test]
    fn one_lane_is_first_in_first_out_per_direction() {
        let mut link = link(1);
        // 1 MB at 1 GB/s is 1 ms; 100 copies of 1 us; 10 us of latency that blocks no lane.
        let megabyte = Bytes(1_000_000);
        let first = link.transfer(Nanos::ZERO, Direction::Read, 100, megabyte);
        assert_eq!(first, Nanos::from_micros(1110));
        let second = link.transfer(Nanos::ZERO, Direction::Read, 100, megabyte);
        assert_eq!(second, Nanos::from_micros(2210));
        let other = link.transfer(Nanos::ZERO, Direction::Write, 0, megabyte);
        assert_eq!(other, Nanos::from_micros(2010));
        let late = link.transfer(Nanos::from_millis(9), Direction::Read, 0, megabyte);
        assert_eq!(late, Nanos::from_micros(10_010));
    }

    #[test]
    fn lanes_share_the_rate() {
        let mut link = link(4);
        let megabyte = Bytes(1_000_000);
        for _ in 0..4 {
            let done = link.transfer(Nanos::ZERO, Direction::Read, 0, megabyte);
            assert_eq!(done, Nanos::from_micros(4010));
        }
        let fifth = link.transfer(Nanos::ZERO, Direction::Read, 0, megabyte);
        assert_eq!(fifth, Nanos::from_micros(8010));
    }
}
