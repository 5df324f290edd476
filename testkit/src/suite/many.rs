//! Many keys at once: more than a backend takes in one page or batch.

use std::collections::HashMap;

use cache_core::{CacheServiceExt, CacheStore, Selector};
use futures_util::future::join_all;

use super::fixture::{load_many, number, put};
use crate::{CacheHarness, Loads};

/// More than the pages and batches that are usual: 10, 100, 999, 1,000.
const MANY: usize = 1_200;
/// How many are asked for one by one at a time.
const AT_A_TIME: usize = 50;

/// What is there under each of `keys`, asked one by one.
async fn one_by_one(h: &CacheHarness, keys: &[String]) -> Vec<Option<u64>> {
    let mut found = Vec::new();
    for keys in keys.chunks(AT_A_TIME) {
        let fetched = join_all(keys.iter().map(|key| h.cache().fetch(key))).await;
        found.extend(fetched.into_iter().map(|entry| number(entry.unwrap().as_ref())));
    }
    found
}

/// What is there under each of `keys`, asked together.
async fn together(h: &CacheHarness, keys: &[String]) -> Vec<Option<u64>> {
    let found = h.cache().fetch_many(keys).await.unwrap();
    found.iter().map(|entry| number(entry.as_ref())).collect()
}

/// Reads, writes, loads and removals of many keys are those of each of them: none stops where its
/// first page or batch ends.
pub async fn many_keys_are_each_read_written_and_removed(h: &CacheHarness) {
    let cache = h.cache();
    let named =
        |prefix: &str, count| (0..count).map(|n| format!("{prefix}:{n}")).collect::<Vec<_>>();
    let (many, others) = (named("p", MANY), named("q", 10));
    let mut all = [many.as_slice(), &others].concat();
    all.push("absent".to_owned());
    let (absent, mut old) = (all.len() - 1, HashMap::new());
    // Written one by one, so that they are there if there is room for them.
    let written: Vec<_> = all[..absent].iter().map(String::as_str).zip(0_u64..).collect();
    for some in written.chunks(AT_A_TIME) {
        join_all(some.iter().map(|(key, value)| put(h, key, *value))).await;
    }
    old.extend(written.iter().copied());
    let found = one_by_one(h, &all).await;
    // Any entry may be dropped, so some may be missing; of a backend that has shown no room for all, any.
    let few = |keys: &[String]| 1 + keys.len() / 20;
    let room = found.iter().filter(|found| found.is_none()).count() <= few(&all);
    let check = |what: &str,
                 keys: &[String],
                 found: &[Option<u64>],
                 of: &dyn Fn(&str) -> Option<u64>| {
        assert_eq!(found.len(), keys.len(), "{what}: one slot per key");
        let mut missing = 0;
        for (key, found) in keys.iter().zip(found) {
            let wanted = of(key);
            assert!(found.is_none() || *found == wanted, "{what}: {key} is {found:?}");
            missing += usize::from(*found != wanted);
        }
        assert!(!room || missing <= few(keys), "{what}: {missing} of {} are missing", keys.len());
    };
    let first = |key: &str| old.get(key).copied();
    check("fetch", &all, &found, &first);
    let mut asked = all.clone();
    asked.swap(absent, MANY / 2);
    asked.reverse();
    check("fetch_many", &asked, &together(h, &asked).await, &first);
    let names: Vec<_> = asked.iter().map(String::as_str).collect();
    check("get_many", &asked, &cache.get_many::<u64>(&names).await.unwrap(), &first);

    let next = |key: &str| old.get(key).map(|value| value + 10_000);
    let items: Vec<_> = written.iter().map(|(key, value)| (*key, value + 10_000)).collect();
    cache.set_many(&items, h.lasting()).await.unwrap();
    check("set_many", &asked, &together(h, &asked).await, &next);

    let gone = many[..MANY - 50].to_vec();
    cache.remove(&Selector::Keys(gone.clone())).await.unwrap();
    check("invalidate_many", &gone, &together(h, &gone).await, &|_| None);
    let rest = [&many[MANY - 50..], &others].concat();
    check("invalidate_many", &rest, &together(h, &rest).await, &next);

    cache.set_many(&items, h.lasting()).await.unwrap();
    cache.invalidate_prefix("p:").await.unwrap();
    check("invalidate_prefix", &many, &together(h, &many).await, &|_| None);
    check("invalidate_prefix", &others, &together(h, &others).await, &next);

    let loads = Loads::new();
    let names: Vec<_> = many.iter().map(String::as_str).collect();
    let loaded = load_many(cache, &names, h.lasting(), loads.many(|_| Some(7))).await;
    assert_eq!((loaded, loads.count()), (vec![Some(7); MANY], 1));
    check("get_or_load_many", &many, &together(h, &many).await, &|_| Some(7));

    cache.clear().await.unwrap();
    check("clear", &all, &together(h, &all).await, &|_| None);
}
