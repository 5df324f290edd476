//! Reads that are many at once: fewer commands, and otherwise nothing that a caller could tell.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod scenario;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use cache_core::{CacheError, CacheServiceExt, ErrorKind};
use cache_redis::RedisCacheService;
use cache_testkit::servers::RedisServer;
use cache_testkit::{FaultProxy, eventually_async, poll_once};
use futures_util::future::join_all;
use scenario::{BUDGET, LASTING, SLACK, config, connect, name};
use tokio::time::timeout;

const MANY: usize = 500;

async fn filled(server: &RedisServer) -> (RedisCacheService, Vec<String>) {
    let cache = connect(&server.url()).await;
    let keys: Vec<_> = (0..MANY).map(|n| format!("k:{n}")).collect();
    let items: Vec<_> = keys.iter().enumerate().map(|(n, key)| (key.as_str(), n)).collect();
    cache.set_many(&items, LASTING).await.unwrap();
    (cache, keys)
}

fn reads<'a>(
    cache: &'a RedisCacheService,
    keys: &'a [String],
) -> impl Iterator<Item = impl Future<Output = Result<Option<usize>, CacheError>> + 'a> + 'a {
    keys.iter().map(|key| cache.get::<usize>(key))
}

/// GET and MGET that the server ran meanwhile.
async fn commands(server: &RedisServer, during: impl Future) -> (u64, u64) {
    server.reset_commandstats();
    during.await;
    let ran = server.commandstats();
    let of = |name| ran.get(name).copied().unwrap_or(0);
    (of("get"), of("mget"))
}

#[tokio::test(flavor = "multi_thread")]
async fn many_reads_at_once_are_few_commands_and_each_has_its_own_value() {
    let server = RedisServer::start();
    let (cache, mut keys) = filled(&server).await;
    keys[77] = "absent".to_owned();
    let all = async {
        for (n, read) in join_all(reads(&cache, &keys)).await.into_iter().enumerate() {
            assert_eq!(read.unwrap(), (n != 77).then_some(n));
        }
    };
    let (gets, mgets) = commands(&server, all).await;
    assert!(
        mgets >= 1 && gets >= 32,
        "{gets} single reads before there were many, {mgets} batches"
    );
    assert!(gets + mgets < MANY as u64 / 3, "{gets} single reads and {mgets} batches");
}

#[tokio::test(flavor = "multi_thread")]
async fn few_reads_at_once_are_a_get_each() {
    let server = RedisServer::start();
    let (cache, keys) = filled(&server).await;
    let some = join_all(reads(&cache, &keys[..32]));
    assert_eq!(commands(&server, some).await, (32, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_takes_nothing_from_its_batch() {
    let server = RedisServer::start();
    let (cache, keys) = filled(&server).await;
    let mut all: Vec<_> = reads(&cache, &keys).map(Box::pin).enumerate().collect();
    // On a slow machine the first may have their answers before the last has asked.
    all.retain_mut(|(_, read)| {
        read.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
    });
    assert!(all.len() > MANY / 4, "only {} wait", all.len());
    // Every other one goes, whoever began the batch among them.
    all.retain(|(n, _)| n % 2 == 1);
    for (n, read) in all {
        assert_eq!(read.await.unwrap(), Some(n));
    }
    // Nothing is left that counts as a read, or waits, once the last batch is over.
    eventually_async(async || {
        commands(&server, join_all(reads(&cache, &keys[..32]))).await == (32, 0)
    })
    .await;
}

/// What is queued is read after it was queued: a write that is over is seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_reads_what_was_written_before() {
    let server = RedisServer::start();
    let (cache, keys) = filled(&server).await;
    let mut load = pin!(async {
        loop {
            join_all(reads(&cache, &keys)).await;
        }
    });
    let check = async {
        for n in 0..200_usize {
            cache.set("counter", &n, LASTING).await.unwrap();
            assert_eq!(cache.get("counter").await.unwrap(), Some(n));
        }
    };
    tokio::select! {
        () = check => {}
        () = &mut load => unreachable!("it goes on"),
    }
}

/// A key that holds a list is a miss and costs its batch nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_type_is_a_miss_in_a_batch_too() {
    let server = RedisServer::start();
    let (cache, keys) = filled(&server).await;
    server.command(&["UNLINK", &name("k:400")]);
    server.command(&["RPUSH", &name("k:400"), "element"]);
    for (n, read) in join_all(reads(&cache, &keys)).await.into_iter().enumerate() {
        assert_eq!(read.unwrap(), (n != 400).then_some(n));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_of_a_silent_server_end_within_their_budget() {
    let server = RedisServer::start();
    let (cache, keys) = filled(&server).await;
    server.pause();
    let began = Instant::now();
    // Some wait in the queue behind batches that hang.
    let all = join_all(reads(&cache, &keys)).await;
    let took = began.elapsed();
    server.resume();
    for read in all {
        let kind = read.unwrap_err().kind();
        assert!(matches!(kind, ErrorKind::Timeout | ErrorKind::Unavailable), "{kind:?}");
    }
    assert!(took < BUDGET + SLACK, "{took:?}");
}

/// A key whose value was large is read apart: those who read small ones do not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_value_holds_up_no_batch() {
    const LARGE: usize = 2 * 1024 * 1024;
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.addr().to_string());
    let patient = config(&proxy.url(&server.url())).operation_timeout(Duration::from_secs(10));
    let cache = RedisCacheService::connect(patient).await.unwrap();
    let keys: Vec<_> = (0..MANY).map(|n| format!("k:{n}")).collect();
    let items: Vec<_> = keys.iter().enumerate().map(|(n, key)| (key.as_str(), n)).collect();
    cache.set_many(&items, LASTING).await.unwrap();
    cache.set("large", &"x".repeat(LARGE), LASTING).await.unwrap();
    // It shows when it is read.
    assert_eq!(cache.get::<String>("large").await.unwrap().map(|value| value.len()), Some(LARGE));
    // A second for the large one alone, by each connection.
    proxy.bandwidth(LARGE as u64);
    let began = Instant::now();
    let large = cache.get::<String>("large");
    let small = join_all(reads(&cache, &keys));
    let mut large = pin!(large);
    // The large one has been asked for before the small ones are.
    assert!(large.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    for (n, read) in small.await.into_iter().enumerate() {
        assert_eq!(read.unwrap(), Some(n));
    }
    let took = began.elapsed();
    assert!(large.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending(), "{took:?}");
    proxy.heal();
    assert_eq!(large.await.unwrap().map(|value| value.len()), Some(LARGE));
}

/// Nor does one that is too large to be read within the budget: how large it is need not show by
/// reading it.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_takes_longer_than_the_budget_fails_no_reads_but_its_own() {
    const LARGE: usize = 4 * 1024 * 1024;
    let server = RedisServer::start();
    let (_, keys) = filled(&server).await;
    let patient = config(&server.url()).operation_timeout(Duration::from_secs(10));
    let writer = RedisCacheService::connect(patient).await.unwrap();
    writer.set("large", &"x".repeat(LARGE), LASTING).await.unwrap();
    let proxy = FaultProxy::start(&server.addr().to_string());
    let cache = connect(&proxy.url(&server.url())).await;
    // A second for the large one alone.
    proxy.bandwidth(LARGE as u64);
    eventually_async(async || {
        // It is asked for first, and the first time nobody knows how large it is.
        let (large, small) =
            tokio::join!(cache.get::<String>("large"), join_all(reads(&cache, &keys)));
        assert_eq!(large.unwrap_err().kind(), ErrorKind::Timeout);
        small.into_iter().enumerate().all(|(n, read)| matches!(read, Ok(Some(is)) if is == n))
    })
    .await;
}

/// Who writes a large value knows that it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_was_large_when_it_was_written_is_read_apart_the_first_time() {
    const LARGE: usize = 4 * 1024 * 1024;
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.addr().to_string());
    let patient = config(&proxy.url(&server.url())).operation_timeout(Duration::from_secs(10));
    let cache = RedisCacheService::connect(patient.connections(1)).await.unwrap();
    let value = "x".repeat(LARGE);
    cache.set("set", &value, LASTING).await.unwrap();
    cache.set_many(&[("many", &value)], LASTING).await.unwrap();
    cache
        .get_or_load("filled", LASTING, || async { Ok::<_, std::io::Error>(value) })
        .await
        .unwrap();
    cache.set("small", &1, LASTING).await.unwrap();
    proxy.bandwidth(LARGE as u64);
    for large in ["set", "many", "filled"] {
        let mut large = pin!(cache.get::<String>(large));
        assert!(large.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(cache.get("small").await.unwrap(), Some(1));
        assert!(large.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
}

/// What one asks for and may not read is refused to that one, and a user without the right to
/// `MGET` reads as when there are few.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_batch_is_refused_to_whom_it_concerns() {
    let server = RedisServer::start();
    let (_, mut keys) = filled(&server).await;
    let user = |rights: &[&str]| {
        let reset = ["ACL", "SETUSER", "app", "reset", "on", ">pass", "&*"];
        server.command(&[&reset, rights].concat());
        format!("redis://app:pass@{}", server.addr())
    };
    let without_mget = connect(&user(&["~app:*", "+@all", "-mget"])).await;
    for (n, read) in join_all(reads(&without_mget, &keys)).await.into_iter().enumerate() {
        assert_eq!(read.unwrap(), Some(n));
    }
    drop(without_mget);
    let some_keys = connect(&user(&["~app:k:*", "+@all"])).await;
    keys[400] = "other:400".to_owned();
    for (n, read) in join_all(reads(&some_keys, &keys)).await.into_iter().enumerate() {
        match n {
            400 => assert_eq!(read.unwrap_err().kind(), ErrorKind::Backend),
            _ => assert_eq!(read.unwrap(), Some(n)),
        }
    }
}

/// Waits without keeping the test's runtime from going on.
async fn joined<T: Send + 'static>(thread: std::thread::JoinHandle<T>) -> T {
    tokio::task::spawn_blocking(move || thread.join().unwrap()).await.unwrap()
}

fn another_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Far longer than a call may take.
const STANDSTILL: Duration = Duration::from_secs(2);

/// What reads for many runs where the connections do.
#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_stands_still_or_is_driven_no_more_holds_up_no_other() {
    let server = RedisServer::start();
    let config = config(&server.url()).connections(1);
    let cache = RedisCacheService::connect(config).await.unwrap();
    cache.set("k", &1, LASTING).await.unwrap();
    let begin = |cache: RedisCacheService, then: Box<dyn FnOnce() + Send>| {
        std::thread::spawn(move || {
            let runtime = another_runtime();
            runtime.block_on(async {
                let mut reads: Vec<_> =
                    (0..MANY).map(|_| Box::pin(async { cache.get::<usize>("k").await })).collect();
                // On a slow machine the first may have their answers before the last has asked.
                let waits =
                    reads.iter_mut().filter_map(|read| poll_once(read).is_pending().then_some(()));
                assert!(waits.count() > MANY / 4);
                then();
            });
            runtime
        })
    };
    let (begun, still) = tokio::sync::oneshot::channel();
    let (go_on, over) = std::sync::mpsc::channel::<()>();
    let stands_still = begin(
        cache.clone(),
        Box::new(move || {
            begun.send(()).unwrap();
            let _ = over.recv_timeout(STANDSTILL);
        }),
    );
    still.await.unwrap();
    let asked = Instant::now();
    for read in join_all((0..100).map(|_| cache.get::<usize>("k"))).await {
        assert_eq!(read.unwrap(), Some(1));
    }
    assert!(asked.elapsed() < STANDSTILL, "after {:?}", asked.elapsed());
    drop(go_on);
    joined(stands_still).await.shutdown_background();

    let undriven = joined(begin(cache.clone(), Box::new(|| ()))).await;
    let all = join_all((0..100).map(|_| cache.get::<usize>("k")));
    for read in timeout(STANDSTILL, all).await.expect("nobody drives the other runtime") {
        assert_eq!(read.unwrap(), Some(1));
    }
    undriven.shutdown_background();
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_over_connections_whose_runtime_stands_still_end_within_their_budget() {
    let server = RedisServer::start();
    let (connected, cache) = tokio::sync::oneshot::channel();
    let (go_on, over) = std::sync::mpsc::channel::<()>();
    let url = server.url();
    let stands_still = std::thread::spawn(move || {
        another_runtime().block_on(async {
            connected.send(connect(&url).await).unwrap();
            let _ = over.recv_timeout(STANDSTILL * 5);
        });
    });
    let cache = cache.await.unwrap();
    let asked = Instant::now();
    for read in join_all((0..100).map(|_| cache.get::<usize>("k"))).await {
        assert_eq!(read.unwrap_err().kind(), ErrorKind::Timeout);
    }
    assert!(asked.elapsed() < STANDSTILL, "after {:?}", asked.elapsed());
    drop(go_on);
    joined(stands_still).await;
}
