//! Tests of counts: is a share of events too large to be chance?
//!
//! Both are exact sums over the distribution of the count, in logarithms over `libm::lgamma`.

/// One-sided p value of Fisher's exact test (R. A. Fisher, "The Design of Experiments", 1935): the
/// chance of `hits` or more of `of`, when all `hits + base_hits` events fall on the `of + base_of`
/// trials at random. 1 without events to compare.
pub fn fisher_greater(hits: u64, of: u64, base_hits: u64, base_of: u64) -> f64 {
    let events = hits + base_hits;
    let trials = of + base_of;
    if hits > of || base_hits > base_of || events == 0 {
        return 1.0;
    }
    let whole = log_choose(trials, events);
    let term = |k: u64| libm::exp(log_choose(of, k) + log_choose(base_of, events - k) - whole);
    // At most `base_of` events can fall on the other side.
    let least = hits.max(events.saturating_sub(base_of));
    (least..=events.min(of)).map(term).sum::<f64>().min(1.0)
}

/// The chance of `hits` or more of `of` independent trials with the given `share` of success: the
/// one-sided p value of the exact binomial test (Clopper and Pearson, 1934).
pub fn binomial_at_least(hits: u64, of: u64, share: f64) -> f64 {
    if hits == 0 || share >= 1.0 {
        return 1.0;
    }
    if hits > of || share <= 0.0 {
        return 0.0;
    }
    let (yes, no) = (libm::log(share), libm::log1p(-share));
    let term = |k: u64| libm::exp(log_choose(of, k) + k as f64 * yes + (of - k) as f64 * no);
    (hits..=of).map(term).sum::<f64>().min(1.0)
}

fn log_choose(n: u64, k: u64) -> f64 {
    let factorial = |value: u64| libm::lgamma(value as f64 + 1.0);
    factorial(n) - factorial(k) - factorial(n - k)
}

#[cfg(test)]
mod tests {
    use super::*;
    use statrs::distribution::{Binomial, DiscreteCDF, Hypergeometric};

    /// Fisher's lady tasting tea (3 of 4 against 1 of 4) and his criminal twins (10 of 12 against
    /// 3 of 18), as R's `fisher.test` documents them: one-sided p 0.2429 and 0.0004652.
    #[test]
    fn fishers_own_examples_come_out() {
        assert!((fisher_greater(3, 4, 1, 4) - 17.0 / 70.0).abs() < 1e-12);
        let twins = fisher_greater(10, 12, 3, 18);
        assert!((twins - 0.000_465_2).abs() < 5e-8, "{twins}");
    }

    #[test]
    fn tails_equal_an_independent_implementation() {
        for (hits, of, base_hits, base_of) in
            [(5, 40, 1, 40), (1, 20, 9, 200), (37, 400, 12, 380), (20, 20, 0, 20)]
        {
            let oracle = Hypergeometric::new(of + base_of, hits + base_hits, of).unwrap();
            let expected = oracle.sf(hits - 1);
            let seen = fisher_greater(hits, of, base_hits, base_of);
            assert!((seen - expected).abs() < 1e-9 * expected.max(1e-6), "{seen} {expected}");
        }
        for (hits, of, share) in [(1, 20, 0.05), (7, 20, 0.05), (30, 400, 0.05), (3, 3, 0.5)] {
            let expected = Binomial::new(share, of).unwrap().sf(hits - 1);
            let seen = binomial_at_least(hits, of, share);
            assert!((seen - expected).abs() < 1e-9 * expected.max(1e-6), "{seen} {expected}");
        }
    }

    #[test]
    fn nothing_to_compare_is_no_evidence() {
        assert_eq!(fisher_greater(0, 100, 0, 100), 1.0);
        assert_eq!(fisher_greater(5, 100, 0, 0), 1.0);
        assert_eq!(binomial_at_least(0, 100, 0.05), 1.0);
        assert_eq!(binomial_at_least(3, 2, 0.05), 0.0);
    }
}
