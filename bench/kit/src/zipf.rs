//! Accesses as a popularity contest: few keys most of the time.

use fastrand::Rng;

/// `count` accesses of `keys` keys: the one at rank r is chosen in proportion to 1 / r^`skew`.
/// The same `seed`, the same accesses. Which key has which rank is left to chance.
#[must_use]
pub fn zipf(keys: u32, skew: f64, count: usize, seed: u64) -> Vec<u32> {
    let mut random = Rng::with_seed(seed);
    let mut ranks: Vec<u32> = (0..keys).collect();
    random.shuffle(&mut ranks);
    let mut sum = 0.0;
    let add = |rank: u32| {
        sum += f64::from(rank + 1).powf(-skew);
        sum
    };
    let sums: Vec<f64> = (0..keys).map(add).collect();
    let mut choose = || {
        let point = random.f64() * sum;
        let rank = sums.partition_point(|&sum| sum <= point).min(ranks.len().saturating_sub(1));
        ranks.get(rank).copied().unwrap_or_default()
    };
    (0..count).map(|_| choose()).collect()
}
