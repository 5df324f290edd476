//! Loaders that wait for each other: an error at once, and none where nobody waits (P3 10).

use std::sync::Arc;
use std::time::Duration;

use cache_core::{CacheServiceExt, ErrorKind, ManualClock, Policy};
use cache_quick::QuickCacheService;
use cache_testkit::{Gate, LoadFailed, Loads, eventually_async, let_others_run};
use tokio::task::JoinHandle;

use super::{HOUR, Loaded, SECOND, cache};

/// What the loader of a key makes of a circle.
const CIRCLE: u64 = 1_000;

/// Starts a load of `key` whose loader waits at `gate`, then asks for `other` and gives one more. Of
/// an error it makes what `on_error` does.
fn asking(
    cache: &QuickCacheService,
    (key, other): (&'static str, &'static str),
    gate: &Gate,
) -> JoinHandle<Loaded> {
    let (outer, inner, gate) = (cache.clone(), cache.clone(), gate.clone());
    let load = move || async move {
        gate.pass().await;
        match inner.get_or_load(other, HOUR, Loads::new().returning(1_u64)).await {
            Ok(value) => Ok::<_, LoadFailed>(*value + 1),
            Err(error) => {
                assert_eq!((error.kind(), error.key()), (ErrorKind::Load, Some(other)), "{error}");
                Ok(CIRCLE)
            }
        }
    };
    tokio::spawn(async move { outer.get_or_load(key, HOUR, load).await })
}

async fn values(calls: Vec<JoinHandle<Loaded>>) -> Vec<u64> {
    let mut values = Vec::new();
    for call in calls {
        let call = tokio::time::timeout(Duration::from_secs(10), call).await;
        values.push(*call.expect("it hangs").unwrap().unwrap());
    }
    values.sort_unstable();
    values
}

async fn a_circle_of(keys: &[&'static str]) {
    let cache = cache(&ManualClock::new());
    let gate = Gate::new();
    let next = keys.iter().cycle().skip(1);
    let calls: Vec<_> =
        keys.iter().zip(next).map(|(key, next)| asking(&cache, (key, next), &gate)).collect();
    gate.reached_by(keys.len()).await;
    gate.open();
    // The last who asks closes the circle; the others get what it makes of that.
    let expected: Vec<_> = (CIRCLE..).take(keys.len()).collect();
    assert_eq!(values(calls).await, expected);
    assert_eq!(cache.engine().loads_in_flight(), 0);
}

#[tokio::test]
async fn p3_10_loaders_that_wait_for_each_other_end_at_once() {
    a_circle_of(&["a", "b"]).await;
    a_circle_of(&["a", "b", "c"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p3_10_on_several_threads_one_of_those_that_close_a_circle_finds_it() {
    for _ in 0..20 {
        a_circle_of(&["a", "b", "c", "d"]).await;
    }
}

#[tokio::test]
async fn p3_10_one_of_many_keys_closes_a_circle() {
    let cache = cache(&ManualClock::new());
    let gate = Gate::new();
    let single = asking(&cache, ("a", "b"), &gate);
    let (outer, inner, passed) = (cache.clone(), cache.clone(), gate.clone());
    let load = move |keys: Vec<String>| async move {
        passed.pass().await;
        // `b` waits for what this loads, so `x` is not begun.
        let_others_run().await;
        let many = Loads::new().many(|_| Some(1_u64));
        let error = inner.get_or_load_many(&["x", "a"], HOUR, many).await.unwrap_err();
        assert_eq!((error.kind(), error.key()), (ErrorKind::Load, Some("a")), "{error}");
        Ok::<_, LoadFailed>(keys.into_iter().map(|key| (key, 5_u64)).collect())
    };
    let many = tokio::spawn(async move { outer.get_or_load_many(&["c", "b"], HOUR, load).await });
    gate.reached_by(2).await;
    gate.open();
    assert_eq!(values(vec![single]).await, [6]);
    assert_eq!(many.await.unwrap().unwrap(), [Some(Arc::new(5)), Some(Arc::new(5))]);
    assert_eq!(cache.get::<u64>("x").await.unwrap(), None, "the call failed before it began");
    assert_eq!(cache.engine().loads_in_flight(), 0);
}

/// Two that wait for the same are no circle.
#[tokio::test]
async fn p3_10_loaders_may_wait_for_the_same_load() {
    let cache = cache(&ManualClock::new());
    let (open, closed) = (Gate::new(), Gate::new());
    open.open();
    let calls = vec![
        asking(&cache, ("c", "d"), &closed),
        asking(&cache, ("a", "c"), &open),
        asking(&cache, ("b", "c"), &open),
    ];
    open.reached_by(2).await;
    closed.reached().await;
    let_others_run().await;
    closed.open();
    assert_eq!(values(calls).await, [2, 3, 3]);
}

/// A loader that was served a stale value waits for nobody: the refresh may ask for what it loads.
#[tokio::test]
async fn p3_10_a_refresh_may_ask_for_the_key_whose_loader_began_it() {
    let clock = ManualClock::new();
    let cache = cache(&clock);
    let stale = Policy::ttl(SECOND).stale_for(HOUR);
    cache.set("b", &1_u64, &stale).await.unwrap();
    clock.advance(SECOND);
    let (gate, inner) = (Gate::new(), cache.clone());
    let passed = gate.clone();
    let load = move || async move {
        let again = inner.clone();
        let refresh = move || async move {
            again.get_or_load("a", HOUR, Loads::new().returning(9_u64)).await.map(|a| *a + 1)
        };
        let served = inner.get_or_load("b", &stale, refresh).await?;
        passed.pass().await;
        Ok::<_, cache_core::CacheError>(*served)
    };
    let outer = cache.clone();
    let call = tokio::spawn(async move { outer.get_or_load("a", HOUR, load).await });
    gate.reached().await;
    let_others_run().await;
    gate.open();
    assert_eq!(*call.await.unwrap().unwrap(), 1);
    eventually_async(async || cache.get::<u64>("b").await.unwrap() == Some(2)).await;
}

/// A loader may look at the old value of what it loads.
#[tokio::test]
async fn a_refresh_is_served_its_own_stale_value() {
    let clock = ManualClock::new();
    let cache = cache(&clock);
    let stale = Policy::ttl(SECOND).stale_for(HOUR);
    for many in [false, true] {
        cache.set("k", &1_u64, &stale).await.unwrap();
        clock.advance(SECOND);
        let (inner, policy) = (cache.clone(), stale.clone());
        let load = move || async move {
            let old = match many {
                false => *inner.get_or_load("k", &policy, Loads::new().returning(8_u64)).await?,
                true => {
                    let load = Loads::new().many(|_| Some(8_u64));
                    *inner.get_or_load_many(&["k"], &policy, load).await?[0].clone().unwrap()
                }
            };
            Ok::<_, cache_core::CacheError>(old + 1)
        };
        assert_eq!(*cache.get_or_load("k", &stale, load).await.unwrap(), 1);
        eventually_async(async || cache.get::<u64>("k").await.unwrap() == Some(2)).await;
    }
}

/// Each level waits for the next, and the last for the first: found without a stack as deep.
#[test]
fn p3_10_a_circle_may_be_long() {
    const LEVELS: usize = 10_000;
    fn level(cache: QuickCacheService, at: usize) -> futures::Boxed {
        Box::pin(async move {
            let (inner, next) = (cache.clone(), at + 1);
            if at == LEVELS {
                let again = Loads::new().returning(1_u64);
                let error = cache.get_or_load("0", HOUR, again).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Load);
                return Ok(CIRCLE);
            }
            let load = move || level(inner, next);
            cache.get_or_load(&next.to_string(), HOUR, load).await.map(|value| *value)
        })
    }
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let cache = QuickCacheService::builder().max_capacity(100).build();
        let first = cache.clone();
        let value = runtime.block_on(cache.get_or_load("0", HOUR, move || level(first, 0)));
        assert_eq!(*value.unwrap(), CIRCLE);
        // A runtime that goes drops what it runs, in whatever order.
        let first = cache.clone();
        let mut call = Box::pin(cache.get_or_load("a", HOUR, move || level(first, 0)));
        runtime.block_on(async {
            assert!(cache_testkit::poll_once(&mut call).is_pending());
            for _ in 0..LEVELS / 2 {
                tokio::task::yield_now().await;
            }
        });
        drop(runtime);
    };
    let small = std::thread::Builder::new().stack_size(256 << 10);
    small.spawn(run).unwrap().join().unwrap();
}

mod futures {
    use std::pin::Pin;

    pub(super) type Boxed =
        Pin<Box<dyn Future<Output = Result<u64, cache_core::CacheError>> + Send>>;
}
