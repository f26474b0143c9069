//! Student's t distribution, over `libm` alone.
//!
//! The t distribution comes from the regularised incomplete beta function by its continued
//! fraction (Abramowitz and Stegun 26.5.8, evaluated by Lentz's method); quantiles by bisection,
//! which is slow, exact to the last bits and cannot diverge.

/// Cumulative distribution of Student's t with `freedom` degrees (> 0).
pub fn t_cdf(t: f64, freedom: f64) -> f64 {
    let tail = 0.5 * incomplete_beta(freedom / 2.0, 0.5, freedom / (freedom + t * t));
    if t > 0.0 { 1.0 - tail } else { tail }
}

/// The `p` quantile (0 < p < 1) of Student's t with `freedom` degrees (> 0).
pub fn t_quantile(p: f64, freedom: f64) -> f64 {
    let cdf = |t: f64| t_cdf(t, freedom);
    let (mut low, mut high) = (-1.0, 1.0);
    while cdf(low) > p && low > -1e12 {
        low *= 2.0;
    }
    while cdf(high) < p && high < 1e12 {
        high *= 2.0;
    }
    // 1e12 halved 140 times is below the spacing of doubles everywhere.
    for _ in 0..140 {
        let middle = 0.5 * (low + high);
        if cdf(middle) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// The regularised incomplete beta function of `x` with parameters `a` and `b`.
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let log_front = libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b)
        + a * libm::log(x)
        + b * libm::log1p(-x);
    let front = libm::exp(log_front);
    // The fraction converges fast below the mean of the distribution; use symmetry above it.
    if x < (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(a, b, x) / a
    } else {
        1.0 - front * beta_fraction(b, a, 1.0 - x) / b
    }
}

fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    // Keeps denominators away from zero, as Lentz's method requires.
    let guard = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / guard(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for step in 1..=500 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / guard(1.0 + even * d);
        c = guard(1.0 + even / c);
        fraction *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / guard(1.0 + odd * d);
        c = guard(1.0 + odd / c);
        let change = d * c;
        fraction *= change;
        if (change - 1.0).abs() < 1e-16 {
            break;
        }
    }
    fraction
}

#[cfg(test)]
mod tests {
    use super::*;
    use statrs::distribution::{ContinuousCDF, StudentsT};

    #[test]
    fn quantiles_equal_the_printed_tables() {
        // NIST/SEMATECH e-Handbook 1.3.6.7.2, two-sided 95 %.
        for (freedom, expected) in
            [(1.0, 12.706), (2.0, 4.303), (4.0, 2.776), (9.0, 2.262), (30.0, 2.042), (100.0, 1.984)]
        {
            assert!((t_quantile(0.975, freedom) - expected).abs() < 5e-4, "{freedom}");
        }
    }

    #[test]
    fn cdfs_equal_an_independent_implementation() {
        for freedom in [1.0, 2.0, 3.0, 7.5, 29.0, 400.0] {
            let oracle = StudentsT::new(0.0, 1.0, freedom).unwrap();
            for t in [-8.0, -2.0, -0.3, 0.0, 0.1, 1.0, 3.5, 20.0] {
                assert!((t_cdf(t, freedom) - oracle.cdf(t)).abs() < 1e-10, "{freedom} {t}");
            }
        }
    }
}
