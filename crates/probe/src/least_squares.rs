/// A column whose remainder after projection is smaller than this share of it is dependent.
const DEPENDENT: f64 = 1e-6;

/// Fits `y = sum of x[i] * rows[i]` by least squares of the *relative* errors, with no unknown
/// below zero. `droppable` are unknowns that may be set to zero, in this order, if the rows do not
/// determine all of them or the best value is negative. None if the others alone are undetermined
/// or not positive.
pub(crate) fn fit<const N: usize>(
    rows: &[([f64; N], f64)],
    droppable: &[usize],
) -> Option<[f64; N]> {
    let mut used = [true; N];
    loop {
        let solution = solve(rows, &used);
        let negative = |x: &[f64; N]| droppable.iter().find(|&&i| used[i] && x[i] < 0.0).copied();
        let drop = match &solution {
            Some(x) => match negative(x) {
                None if (0..N).all(|i| x[i] >= 0.0) => return solution,
                None => return None,
                some => some,
            },
            None => droppable.iter().find(|&&i| used[i]).copied(),
        };
        used[drop?] = false;
    }
}

/// The solution with some unknowns held at zero, by Gram and Schmidt's orthogonal columns: they
/// keep digits that the normal equations would lose.
fn solve<const N: usize>(rows: &[([f64; N], f64)], used: &[bool; N]) -> Option<[f64; N]> {
    let columns: Vec<usize> = (0..N).filter(|&i| used[i]).collect();
    let count = columns.len();
    // Each row divided by its value: errors become relative.
    let mut basis: Vec<Vec<f64>> =
        columns.iter().map(|&i| rows.iter().map(|(row, y)| row[i] / y).collect()).collect();
    let mut upper = vec![vec![0.0; count]; count];
    for j in 0..count {
        let size = norm(&basis[j]);
        for i in 0..j {
            let (before, rest) = basis.split_at_mut(j);
            upper[i][j] = dot(&before[i], &rest[0]);
            for (value, part) in rest[0].iter_mut().zip(&before[i]) {
                *value -= upper[i][j] * part;
            }
        }
        upper[j][j] = norm(&basis[j]);
        if size == 0.0 || upper[j][j] < DEPENDENT * size {
            return None;
        }
        basis[j].iter_mut().for_each(|value| *value /= upper[j][j]);
    }
    let mut x = [0.0; N];
    for j in (0..count).rev() {
        let target: f64 = basis[j].iter().sum();
        let known: f64 = (j + 1..count).map(|k| upper[j][k] * x[columns[k]]).sum();
        x[columns[j]] = (target - known) / upper[j][j];
    }
    x.iter().all(|value| value.is_finite()).then_some(x)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_rows_give_their_unknowns() {
        let of = |x: f64, z: f64| ([1.0, x, z], 5.0 + 2.0 * x + 0.5 * z);
        let rows = [of(1.0, 10.0), of(2.0, 10.0), of(1.0, 90.0), of(4.0, 30.0)];
        let x = fit(&rows, &[0, 1]).unwrap();
        for (value, expected) in x.iter().zip([5.0, 2.0, 0.5]) {
            assert!((value - expected).abs() < 1e-9, "{x:?}");
        }
    }

    #[test]
    fn what_the_rows_do_not_determine_is_dropped_in_order() {
        // The second and the third column are proportional.
        let of = |x: f64| ([1.0, x, 8.0 * x], 5.0 + 2.0 * x);
        let x = fit(&[of(1.0), of(2.0), of(7.0)], &[1, 0]).unwrap();
        assert!((x[0] - 5.0).abs() < 1e-9 && x[1] == 0.0 && (x[2] - 0.25).abs() < 1e-9, "{x:?}");
        // One row determines one unknown.
        let x = fit(&[of(4.0)], &[1, 0]).unwrap();
        assert_eq!((x[0], x[1]), (0.0, 0.0));
        assert!((x[2] - 13.0 / 32.0).abs() < 1e-9);
    }

    #[test]
    fn a_negative_unknown_becomes_zero_and_a_hopeless_fit_nothing() {
        let of = |x: f64| ([1.0, x], 3.0 * x - 0.5);
        let x = fit(&[of(1.0), of(2.0), of(5.0)], &[0]).unwrap();
        assert!(x[0] == 0.0 && x[1] > 2.5, "{x:?}");
        assert_eq!(fit(&[([1.0, -1.0], 1.0), ([1.0, -2.0], 1.0)], &[0]), None);
        assert_eq!(fit::<2>(&[], &[0]), None);
    }
}
