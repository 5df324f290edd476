//! Reads that come when they come, whether those before are answered or not: a latency counts from the
//! moment at which the read was due.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_bench_kit::Times;
use tokio::runtime::Runtime;

use crate::KEYS;
use crate::reads::{Reads, ReadsLarge};
use crate::timer::Timer;

/// Reads at random times, so many a second on average.
pub(crate) fn arrivals<R: Reads>(
    runtime: &Runtime,
    reader: &Arc<R>,
    per_second: f64,
    time: Duration,
) -> Times {
    let reader = Arc::clone(reader);
    runtime.block_on(runtime.spawn(async move { arrive(&reader, per_second, time).await })).unwrap()
}

/// The same while `readers` tasks read a value of a mebibyte over and over.
pub(crate) fn arrivals_beside_large<R: ReadsLarge>(
    runtime: &Runtime,
    reader: &Arc<R>,
    per_second: f64,
    time: Duration,
) -> Times {
    const READERS: usize = 2;
    let over_and_over = |reader: Arc<R>| async move {
        loop {
            assert!(reader.read_large().await.len() > 1_000_000);
        }
    };
    let large: Vec<_> =
        (0..READERS).map(|_| runtime.spawn(over_and_over(Arc::clone(reader)))).collect();
    let times = arrivals(runtime, reader, per_second, time);
    large.iter().for_each(tokio::task::JoinHandle::abort);
    runtime.block_on(futures_util::future::join_all(large));
    times
}

async fn arrive<R: Reads>(reader: &Arc<R>, per_second: f64, time: Duration) -> Times {
    let (mut timer, mut random) = (Timer::new(), fastrand::Rng::with_seed(7));
    let (mut due, mut under_way) = (Instant::now(), Vec::new());
    let end = due + time;
    while due < end {
        timer.sleep_until(due).await;
        let (reader, id) = (Arc::clone(reader), random.usize(..KEYS));
        under_way.push(tokio::spawn(async move {
            assert_eq!(reader.read(id).await.id, id);
            due.elapsed()
        }));
        // As independent arrivals are apart.
        due += Duration::from_secs_f64(-(1.0 - random.f64()).ln() / per_second);
    }
    let mut times = Times::default();
    for read in under_way {
        times.add(read.await.unwrap());
    }
    times
}
