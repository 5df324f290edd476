//! The ways in which every contestant is asked.

use std::future::Future;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use cache_bench_kit::Times;
use cache_bench_kit::value::Org;
use tokio::runtime::Runtime;

/// Reads one value, by its number. Keys are made ready before, in whatever form the client takes.
pub(crate) trait Reads: Send + Sync + 'static {
    fn read(&self, id: usize) -> impl Future<Output = Org> + Send;
}

/// Reads many values at once.
pub(crate) trait ReadsMany: Send + Sync + 'static {
    fn read_many(&self, ids: &[usize]) -> impl Future<Output = Vec<Org>> + Send;
}

/// Reads a value of a mebibyte.
pub(crate) trait ReadsLarge: Reads {
    fn store_large(&self, text: &str) -> impl Future<Output = ()> + Send;

    fn read_large(&self) -> impl Future<Output = String> + Send;
}

/// By `tasks` tasks at once, each its share; one is as a request handler.
pub(crate) fn by_tasks<R: Reads>(
    runtime: &Runtime,
    reader: &Arc<R>,
    visits: &Arc<[usize]>,
    tasks: usize,
) {
    let share = visits.len() / tasks;
    let start = |task: usize| {
        let (reader, visits) = (Arc::clone(reader), Arc::clone(visits));
        runtime.spawn(async move {
            for &id in &visits[task * share..(task + 1) * share] {
                let org = black_box(reader.read(id).await);
                assert_eq!(org.id, id);
            }
        })
    };
    let started: Vec<_> = (0..tasks).map(start).collect();
    runtime.block_on(async {
        for task in started {
            task.await.unwrap();
        }
    });
}

/// `batch` at once, one batch after the other.
pub(crate) fn in_batches<R: ReadsMany>(
    runtime: &Runtime,
    reader: &Arc<R>,
    visits: &Arc<[usize]>,
    batch: usize,
) {
    let (reader, visits) = (Arc::clone(reader), Arc::clone(visits));
    let task = runtime.spawn(async move {
        for ids in visits.chunks(batch) {
            let orgs = black_box(reader.read_many(ids).await);
            assert!(orgs.iter().map(|org| org.id).eq(ids.iter().copied()));
        }
    });
    runtime.block_on(task).unwrap();
}

/// By `readers` tasks, each its share of small values, while one more reads the large one over and over
/// until they are done: what each small read took.
pub(crate) fn with_large_among<R: ReadsLarge>(
    runtime: &Runtime,
    reader: &Arc<R>,
    visits: &Arc<[usize]>,
    readers: usize,
) -> Times {
    let large = Arc::clone(reader);
    let large = runtime.spawn(async move {
        loop {
            assert!(large.read_large().await.len() > 1_000_000);
        }
    });
    let share = visits.len() / readers;
    let start = |task: usize| {
        let (reader, visits) = (Arc::clone(reader), Arc::clone(visits));
        runtime.spawn(async move {
            let mut times = Times::default();
            for &id in &visits[task * share..(task + 1) * share] {
                let start = Instant::now();
                assert_eq!(black_box(reader.read(id).await).id, id);
                times.add(start.elapsed());
            }
            times
        })
    };
    let started: Vec<_> = (0..readers).map(start).collect();
    let mut times = Times::default();
    runtime.block_on(async {
        for task in started {
            times.extend(task.await.unwrap());
        }
        large.abort();
        let _ = large.await;
    });
    times
}
