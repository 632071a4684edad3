//! The arithmetic of "within chance": bounds of a binomial count, medians.

/// What chance may explain: one share in ten thousand of right runs fails such a check.
pub const CONFIDENCE: f64 = 0.9999;

/// The counts that a binomial variable stays within, both ends included.
///
/// `n` trials with probability `p`, `0.0..=1.0`; each tail has at most `(1 - confidence) / 2`.
#[must_use]
pub fn binomial_bounds(n: u64, p: f64, confidence: f64) -> (u64, u64) {
    if p <= 0.0 {
        return (0, 0);
    }
    if p >= 1.0 {
        return (n, n);
    }
    let tail = (1.0 - confidence) / 2.0;
    let log_odds = (p / (1.0 - p)).ln();
    // log of the probability of k successes, from k = 0 on by its recurrence
    let mut log_pmf = precise(n) * (1.0 - p).ln();
    let mut below = 0.0;
    let mut low = None;
    for k in 0..=n {
        let pmf = log_pmf.exp();
        if low.is_none() && below + pmf > tail {
            low = Some(k);
        }
        below += pmf;
        if 1.0 - below <= tail {
            return (low.unwrap_or(k), k);
        }
        log_pmf += (precise(n - k) / precise(k + 1)).ln() + log_odds;
    }
    (low.unwrap_or(0), n)
}

#[allow(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
fn precise(count: u64) -> f64 {
    count as f64
}

/// The middle value; of an even number of values the lower of the two.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_a_fair_coin_are_those_of_the_tables() {
        // scipy.stats.binom.ppf([0.00005, 0.99995], 100, 0.5) is (31, 69)
        assert_eq!(binomial_bounds(100, 0.5, CONFIDENCE), (31, 69));
    }

    #[test]
    fn bounds_are_exact_where_nothing_is_left_to_chance() {
        assert_eq!(binomial_bounds(50, 0.0, CONFIDENCE), (0, 0));
        assert_eq!(binomial_bounds(50, 1.0, CONFIDENCE), (50, 50));
        assert_eq!(binomial_bounds(0, 0.3, CONFIDENCE), (0, 0));
    }

    #[test]
    fn bounds_hold_for_many_trials_without_underflow() {
        let (low, high) = binomial_bounds(100_000, 0.05, CONFIDENCE);
        assert!((4700..4760).contains(&low) && (5240..5300).contains(&high), "{low} {high}");
    }

    #[test]
    fn the_median_is_a_value_that_was_measured() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.0));
        assert_eq!(median(&[]), None);
    }
}
