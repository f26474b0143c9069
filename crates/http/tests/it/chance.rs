//! Seeded randomness: pieces, mutations, grammar bytes.

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

pub(crate) struct Chance(Xoshiro256PlusPlus);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// `bound` is small against 2^64.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.0.next_u64() % bound as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// Some of one byte, some long, some empty.
    pub(crate) fn pieces<'a>(&mut self, bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let longest = *self.pick(&[1, 2, 3, 7, 40, 400]);
        let mut rest = bytes;
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(self.below(longest + 1).min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        pieces
    }

    pub(crate) fn text(&mut self, tokens: &[&[u8]], most: usize) -> Vec<u8> {
        let count = self.below(most + 1);
        (0..count).flat_map(|_| self.pick(tokens).to_vec()).collect()
    }

    /// Overwrites, removes or doubles bytes, or cuts the end off.
    pub(crate) fn mutate(&mut self, bytes: &mut Vec<u8>, alphabet: &[u8]) {
        for _ in 0..=self.below(4) {
            if bytes.is_empty() {
                return;
            }
            let at = self.below(bytes.len());
            match self.below(6) {
                0 => bytes[at] = self.0.next_u32() as u8,
                1 => bytes[at] = *self.pick(alphabet),
                2 => bytes.insert(at, *self.pick(alphabet)),
                3 => drop(bytes.remove(at)),
                4 => {
                    let end = (at + 1 + self.below(8)).min(bytes.len());
                    let copy = bytes[at..end].to_vec();
                    bytes.splice(at..at, copy);
                }
                _ => {
                    if self.one_in(4) {
                        bytes.truncate(at);
                    }
                }
            }
        }
    }
}

/// Inputs per fuzz test: `WEIR_FUZZ_CASES`, or a number suitable for every run.
pub(crate) fn cases() -> usize {
    match std::env::var("WEIR_FUZZ_CASES") {
        Ok(text) => text.parse().expect("WEIR_FUZZ_CASES is a number"),
        Err(_) => 20_000,
    }
}
