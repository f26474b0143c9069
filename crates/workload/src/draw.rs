//! Choosing one of many shared contents for a session.

use crate::config::Draw;
use crate::stream::RandomStream;

#[derive(Debug, Clone)]
pub struct Picker {
    items: u64,
    rule: Rule,
}

#[derive(Debug, Clone)]
enum Rule {
    Uniform,
    RoundRobin,
    Zipf(Zipf),
}

impl Picker {
    /// `items` must not be 0.
    pub fn new(draw: Draw, items: u64) -> Self {
        let rule = match draw {
            Draw::Uniform => Rule::Uniform,
            Draw::RoundRobin => Rule::RoundRobin,
            Draw::Zipf { exponent } => Rule::Zipf(Zipf::new(items, exponent)),
        };
        Self { items, rule }
    }

    /// `turn` counts all picks and matters only to round-robin.
    pub fn pick(&self, turn: u64, stream: &mut RandomStream) -> u64 {
        match &self.rule {
            Rule::Uniform => stream.below(self.items),
            Rule::RoundRobin => turn % self.items,
            Rule::Zipf(zipf) => zipf.rank(stream) - 1,
        }
    }

    /// `count` different items in drawn order. `count` must not exceed the number of items. A
    /// repeated item is drawn again a few times, then its nearest free successor is taken, so that
    /// a steep draw of nearly all items still ends.
    pub fn pick_different(&self, session: u64, count: u64, stream: &mut RandomStream) -> Vec<u64> {
        const REDRAWS: u32 = 64;
        let mut picked: Vec<u64> = Vec::with_capacity(count as usize);
        for place in 0..count {
            let turn = session.wrapping_mul(count).wrapping_add(place);
            let mut item = self.pick(turn, stream);
            for _ in 0..REDRAWS {
                if !picked.contains(&item) {
                    break;
                }
                item = self.pick(turn, stream);
            }
            while picked.contains(&item) {
                item = (item + 1) % self.items;
            }
            picked.push(item);
        }
        picked
    }
}

/// Ranks `1..=items` with probability proportional to `rank^-exponent`, by rejection-inversion
/// (Hörmann and Derflinger, "Rejection-inversion to generate variates from monotone discrete
/// distributions", 1996). Constant time and memory, whatever the number of items.
#[derive(Debug, Clone)]
struct Zipf {
    items: f64,
    exponent: f64,
    integral_first: f64,
    integral_last: f64,
    shortcut: f64,
}

impl Zipf {
    fn new(items: u64, exponent: f64) -> Self {
        let items = items as f64;
        let shortcut =
            2.0 - integral_inverse(integral(2.5, exponent) - mass(2.0, exponent), exponent);
        Self {
            items,
            exponent,
            integral_first: integral(1.5, exponent) - 1.0,
            integral_last: integral(items + 0.5, exponent),
            shortcut,
        }
    }

    fn rank(&self, stream: &mut RandomStream) -> u64 {
        loop {
            let u = self.integral_last + stream.unit() * (self.integral_first - self.integral_last);
            let x = integral_inverse(u, self.exponent);
            let k = (x + 0.5).floor().clamp(1.0, self.items);
            let accepted = k - x <= self.shortcut
                || u >= integral(k + 0.5, self.exponent) - mass(k, self.exponent);
            if accepted {
                return k as u64;
            }
        }
    }
}

fn mass(x: f64, exponent: f64) -> f64 {
    libm::exp(-exponent * libm::log(x))
}

/// An antiderivative of [`mass`]: `(x^(1-exponent) - 1) / (1 - exponent)`, and `ln x` at 1.
fn integral(x: f64, exponent: f64) -> f64 {
    let log = libm::log(x);
    let t = (1.0 - exponent) * log;
    let growth = if t.abs() > 1e-8 { libm::expm1(t) / t } else { 1.0 + t / 2.0 * (1.0 + t / 3.0) };
    growth * log
}

fn integral_inverse(y: f64, exponent: f64) -> f64 {
    // Rounding may push the argument just past the pole at -1.
    let t = (y * (1.0 - exponent)).max(-1.0);
    let slope = if t.abs() > 1e-8 { libm::log1p(t) / t } else { 1.0 - t * (0.5 - t / 3.0) };
    libm::exp(slope * y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zipf_follows_its_law() {
        for exponent in [0.5, 1.0, 1.4, 3.0] {
            let picker = Picker::new(Draw::Zipf { exponent }, 20);
            let mut stream = RandomStream::new(1, "zipf", 0);
            let n = 100_000;
            let mut counts = [0u32; 20];
            for turn in 0..n {
                counts[picker.pick(turn, &mut stream) as usize] += 1;
            }
            let total: f64 = (1..=20).map(|k| f64::from(k).powf(-exponent)).sum();
            let chi: f64 = (1..=20)
                .map(|k| {
                    let expected = n as f64 * f64::from(k).powf(-exponent) / total;
                    (f64::from(counts[k as usize - 1]) - expected).powi(2) / expected
                })
                .sum();
            // Nineteen degrees of freedom: 43.8 with probability 0.999.
            assert!(chi < 43.8, "exponent {exponent}: chi-square {chi}, {counts:?}");
        }
    }

    #[test]
    fn zipf_of_one_item_and_of_a_steep_law_ends() {
        let mut stream = RandomStream::new(1, "zipf", 0);
        assert_eq!(Picker::new(Draw::Zipf { exponent: 1.0 }, 1).pick(0, &mut stream), 0);
        let steep = Picker::new(Draw::Zipf { exponent: 100.0 }, 8);
        let mut all = steep.pick_different(0, 8, &mut stream);
        all.sort_unstable();
        assert_eq!(all, (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn round_robin_takes_one_after_the_other() {
        let picker = Picker::new(Draw::RoundRobin, 3);
        let mut stream = RandomStream::new(1, "robin", 0);
        let picks: Vec<u64> = (0..7).map(|turn| picker.pick(turn, &mut stream)).collect();
        assert_eq!(picks, [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(picker.pick_different(1, 2, &mut stream), [2, 0]);
    }

    #[test]
    fn different_items_are_different_and_uniform_reaches_all() {
        let picker = Picker::new(Draw::Uniform, 5);
        let mut stream = RandomStream::new(1, "different", 0);
        let mut firsts = [0u32; 5];
        for session in 0..5000 {
            let picked = picker.pick_different(session, 3, &mut stream);
            assert_ne!(picked[0], picked[1]);
            assert!(!picked[..2].contains(&picked[2]));
            firsts[picked[0] as usize] += 1;
        }
        assert!(firsts.iter().all(|count| (850..1150).contains(count)), "{firsts:?}");
    }
}
