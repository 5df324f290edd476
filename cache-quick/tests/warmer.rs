//! The warmer: batches, progress, failures, and what stays when a value is written meanwhile.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

mod warming;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cache_core::{
    CacheServiceExt, ErrorKind, ManualClock, Policy, Warm, WarmCause, WarmLoader, WarmState, Warmer,
};
use cache_quick::QuickCacheService;
use cache_testkit::{Gate, eventually, let_others_run};
use warming::{Values, cache, keys, listed, loader, value};

#[tokio::test]
async fn at_the_start_every_loader_that_lists_its_keys_is_warmed_in_batches() {
    let cache = cache(&ManualClock::new());
    let calls = Arc::new(Values::default());
    let warmer = Warmer::builder(Arc::new(cache.clone()))
        .loader(listed("orgs", "org:", 250, &calls))
        .loader(listed("users", "user:", 10, &calls).at_start(false))
        .loader(loader("tokens", "token:", &calls))
        .build()
        .unwrap();
    assert!(calls.batches().is_empty(), "nothing happens before it is asked");
    let run = warmer.start().unwrap().wait().await;
    assert_eq!((run.cause, run.state), (WarmCause::Start, WarmState::Done));
    assert_eq!((run.total, run.done, run.loaded, run.failed), (250, 250, 250, 0));
    let mut sizes: Vec<_> = calls.batches().iter().map(Vec::len).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [50, 100, 100]);
    assert_eq!(cache.get::<String>("org:249").await.unwrap(), Some(value("org:249")));
    assert!(!cache.contains("user:0").await.unwrap());

    // What is cached is not loaded again.
    let again = warmer.warm(Warm::All).unwrap().wait().await;
    assert_eq!((again.cause, again.done, again.loaded), (WarmCause::Demand, 260, 10));
    let ids: Vec<_> = warmer.runs().iter().map(|run| run.id).collect();
    assert_eq!(ids, [2, 1]);
    assert_eq!(warmer.run(1).unwrap(), run);
}

#[tokio::test]
async fn keys_are_loaded_by_the_longest_prefix_each_once() {
    let cache = cache(&ManualClock::new());
    let (wide, narrow) = (Arc::new(Values::default()), Arc::new(Values::default()));
    let warmer = Warmer::builder(Arc::new(cache.clone()))
        .loader(loader("orgs", "org:", &wide))
        .loader(loader("hosts", "org:host:", &narrow))
        .build()
        .unwrap();
    let named = ["org:a", "org:host:b", "org:a", "org:c"].map(str::to_owned);
    let run = warmer.warm(Warm::Keys(named.to_vec())).unwrap().wait().await;
    assert_eq!((run.total, run.loaded), (3, 3));
    assert_eq!(wide.sorted(), ["org:a", "org:c"]);
    assert_eq!(narrow.sorted(), ["org:host:b"]);
}

#[tokio::test]
async fn what_cannot_be_warmed_is_refused_as_a_whole() {
    let calls = Arc::new(Values::default());
    let warmer = Warmer::builder(Arc::new(cache(&ManualClock::new())))
        .loader(loader("orgs", "org:", &calls))
        .build()
        .unwrap();
    for (what, kind) in [
        (Warm::Keys(vec!["org:a".into(), "user:b".into()]), ErrorKind::Config),
        (Warm::Keys(vec!["org:a".into(), String::new()]), ErrorKind::InvalidKey),
        (Warm::Loader("users".into()), ErrorKind::Config),
        (Warm::Loader("orgs".into()), ErrorKind::Config),
    ] {
        assert_eq!(warmer.warm(what.clone()).unwrap_err().kind(), kind, "{what:?}");
    }
    assert!(warmer.runs().is_empty() && calls.batches().is_empty());
}

#[tokio::test]
async fn no_more_batches_are_loaded_at_a_time_than_allowed() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, highest) = (Arc::clone(&now), Arc::clone(&most));
    let load = move |keys: Vec<String>| {
        let (now, most) = (Arc::clone(&counted), Arc::clone(&highest));
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let_others_run().await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, io::Error>(keys.into_iter().map(|key| (key, 1)).collect())
        }
    };
    let warmer = Warmer::builder(Arc::new(cache(&ManualClock::new())))
        .loader(WarmLoader::new::<u64, _, _, _>("k", "k:", load))
        .batch_size(2)
        .concurrency(3)
        .build()
        .unwrap();
    // Two runs share the bound.
    let runs =
        [keys("k:a", 20), keys("k:b", 20)].map(|keys| warmer.warm(Warm::Keys(keys)).unwrap());
    for run in &runs {
        assert_eq!(run.wait().await.batches, 10);
    }
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn progress_can_be_watched() {
    let gates = [Gate::new(), Gate::new()];
    let passed = gates.clone();
    let load = move |keys: Vec<String>| {
        let gate = passed[usize::from(keys[0] != "k:0")].clone();
        async move {
            gate.pass().await;
            Ok::<_, io::Error>(keys.into_iter().map(|key| (key, 1)).collect())
        }
    };
    let warmer = Warmer::builder(Arc::new(cache(&ManualClock::new())))
        .loader(WarmLoader::new::<u64, _, _, _>("k", "k:", load))
        .batch_size(3)
        .build()
        .unwrap();
    let mut run = warmer.warm(Warm::Keys(keys("k:", 5))).unwrap();
    while run.next().await.unwrap().total < 5 {}
    gates[0].reached().await;
    assert!(warmer.run(run.id()).unwrap().is_running());
    gates[0].open();
    assert_eq!(run.next().await.unwrap().done, 3);
    gates[1].open();
    let mut last = run.next().await.unwrap();
    while let Some(next) = run.next().await {
        last = next;
    }
    assert_eq!((last.done, last.state, last.is_success()), (5, WarmState::Done, true));
    assert_eq!(last, run.wait().await);
}

#[tokio::test]
async fn a_failed_batch_is_noted_and_the_others_go_on() {
    let cache = cache(&ManualClock::new());
    let load = |keys: Vec<String>| async move {
        match &*keys[0] {
            "k:1" => Err(io::Error::other("the database is away")),
            "k:2" => panic!("a bug"),
            _ => Ok(keys.into_iter().filter(|key| key != "k:3").map(|key| (key, 1)).collect()),
        }
    };
    cache.set("k:4", "not a number", None).await.unwrap();
    let listing = |result: Result<(), &'static str>| {
        WarmLoader::new::<u64, io::Error, _, _>("list", "list:", async |_| panic!("not called"))
            .keys(move || async move { result.map(|()| panic!("a bug in the list")) })
    };
    let long = "k:".to_owned() + &"x".repeat(2_000);
    let mut named = keys("k:", 6);
    named.push(long.clone());
    let warmer = Warmer::builder(Arc::new(cache.clone()))
        .loader(WarmLoader::new::<u64, _, _, _>("k", "k:", load).keys(move || {
            let named = named.clone();
            async move { Ok::<_, io::Error>(named) }
        }))
        .loader(listing(Err("no list today")))
        .batch_size(1)
        .concurrency(1)
        .build()
        .unwrap();
    let run = warmer.start().unwrap().wait().await;
    assert_eq!((run.total, run.done, run.failed, run.absent), (7, 7, 4, 1), "{run:?}");
    assert_eq!((run.state, run.is_success(), run.batches), (WarmState::Done, false, 6));
    let errors: Vec<_> = run
        .failures
        .iter()
        .map(|failure| (&*failure.loader, failure.keys, &*failure.error))
        .collect();
    let told = |loader: &str, keys: u64, part: &str| {
        errors
            .iter()
            .any(|(of, count, error)| *of == loader && *count == keys && error.contains(part))
    };
    assert!(told("k", 1, "the database is away") && told("k", 1, "a bug"), "{errors:?}");
    assert!(told("k", 1, "2002 bytes") && told("k", 1, "u64"), "{errors:?}");
    assert!(told("list", 0, "no list today"), "{errors:?}");
    assert_eq!(errors.len(), 5);
    let first: Vec<_> =
        run.failures.iter().filter_map(|failed| failed.first_key.as_ref()).collect();
    assert!(first.contains(&&long[..1_024].to_owned()), "what is too long is cut: {first:?}");
    assert_eq!(cache.get::<u64>("k:5").await.unwrap(), Some(1));

    let warmer = Warmer::builder(Arc::new(cache)).loader(listing(Ok(()))).build().unwrap();
    let run = warmer.start().unwrap().wait().await;
    assert!(run.failures[0].error.contains("a bug in the list"), "{run:?}");
}

#[tokio::test]
async fn only_the_first_failures_are_kept() {
    let load = async |_| Err(io::Error::other("the database is away"));
    let warmer = Warmer::builder(Arc::new(cache(&ManualClock::new())))
        .loader(WarmLoader::new::<u64, _, _, _>("k", "k:", load))
        .batch_size(1)
        .build()
        .unwrap();
    let run = warmer.warm(Warm::Keys(keys("k:", 50))).unwrap().wait().await;
    assert_eq!((run.failures.len(), run.more_failures, run.failed), (20, 30, 50));
}

#[tokio::test]
async fn a_list_that_does_not_come_is_given_up() {
    let clock = ManualClock::new();
    let loader = WarmLoader::new::<u64, io::Error, _, _>("k", "k:", async |_| panic!("no keys"))
        .keys(std::future::pending::<Result<Vec<String>, io::Error>>)
        .policy(Policy::default().load_timeout(Duration::from_secs(7)));
    let warmer = Warmer::builder(Arc::new(cache(&clock))).loader(loader).build().unwrap();
    let run = warmer.start().unwrap();
    eventually(|| clock.sleepers() == 1).await;
    clock.advance(Duration::from_secs(7));
    let run = run.wait().await;
    assert!(run.failures[0].error.contains("7s"), "{run:?}");
}

/// P1: the load began before the write.
#[tokio::test]
async fn what_is_written_or_removed_during_the_warm_up_stays_so() {
    let cache = cache(&ManualClock::new());
    let gate = Gate::new();
    let passed = gate.clone();
    let load = move |keys: Vec<String>| {
        let gate = passed.clone();
        async move {
            gate.pass().await;
            Ok::<_, io::Error>(keys.into_iter().map(|key| (key, "old".to_owned())).collect())
        }
    };
    let warmer = Warmer::builder(Arc::new(cache.clone()))
        .loader(WarmLoader::new::<String, _, _, _>("k", "k:", load))
        .build()
        .unwrap();
    let run = warmer.warm(Warm::Keys(keys("k:", 3))).unwrap();
    gate.reached().await;
    cache.set("k:0", "new", None).await.unwrap();
    cache.invalidate("k:1").await.unwrap();
    gate.open();
    assert_eq!(run.wait().await.failed, 0);
    let found = cache.get_many::<String>(&["k:0", "k:1", "k:2"]).await.unwrap();
    assert_eq!(found, [Some("new".into()), None, Some("old".into())]);
}

/// The same, with real threads at any moment of the run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_warm_up_ever_overwrites_what_was_written_meanwhile() {
    const KEYS: usize = 200;
    for round in 0..200 {
        let cache = QuickCacheService::default();
        let load = |keys: Vec<String>| async move {
            tokio::task::yield_now().await;
            Ok::<_, io::Error>(keys.into_iter().map(|key| (key, "old".to_owned())).collect())
        };
        let warmer = Warmer::builder(Arc::new(cache.clone()))
            .loader(WarmLoader::new::<String, _, _, _>("k", "k:", load))
            .batch_size(20)
            .build()
            .unwrap();
        let writing = tokio::spawn({
            let cache = cache.clone();
            async move {
                for key in keys("k:", KEYS) {
                    cache.set(&key, "new", None).await.unwrap();
                }
            }
        });
        let run = warmer.warm(Warm::Keys(keys("k:", KEYS))).unwrap().wait().await;
        assert_eq!((run.done, run.failed), (KEYS as u64, 0));
        writing.await.unwrap();
        for key in keys("k:", KEYS) {
            let found = cache.get::<String>(&key).await.unwrap();
            assert_eq!(found.as_deref(), Some("new"), "{key} in round {round}");
        }
    }
}

#[test]
fn impossible_settings_are_refused() {
    let builder = || Warmer::builder(Arc::new(cache(&ManualClock::new())));
    let calls = Arc::new(Values::default());
    let one = |name, prefix| loader(name, prefix, &calls);
    for (builder, word) in [
        (builder().batch_size(0), "at least 1"),
        (builder().concurrency(0), "at least 1"),
        (builder().loader(one("a", "a:")).loader(one("a", "b:")), "\"a\""),
        (builder().loader(one("a", "a:")).loader(one("b", "a:")), "\"a:\""),
        (builder().loader(one("a", "a:").every(Duration::from_secs(1))), "for which keys"),
        (builder().loader(listed("a", "a:", 1, &calls).every(Duration::ZERO)), "at least 1 ms"),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(word), "{error}");
    }
    let warmer = builder().loader(listed("a", "a:", 1, &calls)).build().unwrap();
    assert_eq!(warmer.start().unwrap_err().kind(), ErrorKind::Config, "no runtime");
    assert!(warmer.runs().is_empty());
}
