//! A hash slot of a cluster moves from one node to another while it is used.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod scenario;

use std::collections::BTreeSet;

use cache_core::{CacheServiceExt, CacheStore, Entry, ErrorKind, LeaseOutcome, Policy, Selector};
use cache_redis::{RedisCacheService, RedisStore};
use cache_testkit::servers::{RedisCluster, RedisServer};
use cache_testkit::{eventually, eventually_async};
use scenario::{LASTING, connect, get, load, name};

/// All keys of these tests are in its slot.
const TAG: &str = "{moving}";

struct Moving {
    cluster: RedisCluster,
    cache: RedisCacheService,
}

impl Moving {
    async fn start() -> Self {
        let cluster = RedisCluster::start(3);
        let cache = connect(&cluster.url()).await;
        Self { cluster, cache }
    }

    fn store(&self) -> &RedisStore {
        self.cache.store()
    }

    /// Who has the slot, and who is to have it.
    fn nodes(&self) -> (&RedisServer, &RedisServer) {
        let from = self.cluster.node_for(TAG);
        let to = self.cluster.nodes().iter().find(|node| node.port() != from.port()).unwrap();
        (from, to)
    }

    /// The slot begins to move: what is there stays, what is absent is asked for over there.
    fn begin<'a>(&self, (from, to): (&'a RedisServer, &'a RedisServer)) {
        set_slot(to, "IMPORTING", from);
        set_slot(from, "MIGRATING", to);
    }

    /// Waits until all nodes say the same of each other's slots: a move that follows too soon may take
    /// the epoch of the one before, and be undone.
    async fn agreed(&self) {
        let view = |node: &RedisServer| {
            let nodes = node.command(&["CLUSTER", "NODES"]).text();
            let of = |line: &str| {
                let fields: Vec<_> = line.split(' ').map(str::to_owned).collect();
                let slots = fields[8..].iter().filter(|slot| !slot.starts_with('[')).cloned();
                (fields[0].clone(), fields[6].clone(), slots.collect::<Vec<_>>())
            };
            nodes.lines().map(of).collect::<BTreeSet<_>>()
        };
        eventually(|| {
            let views: BTreeSet<_> = self.cluster.nodes().iter().map(view).collect();
            views.len() == 1
        })
        .await;
    }

    /// The new node has the slot; the third does not know yet.
    fn end<'a>(&self, (from, to): (&'a RedisServer, &'a RedisServer)) {
        set_slot(to, "NODE", to);
        set_slot(from, "NODE", to);
    }
}

fn set_slot(at: &RedisServer, how: &str, node: &RedisServer) {
    let slot = at.command(&["CLUSTER", "KEYSLOT", TAG]).integer().to_string();
    let id = node.command(&["CLUSTER", "MYID"]).text();
    assert_eq!(at.command(&["CLUSTER", "SETSLOT", &slot, how, &id]), "OK");
}

fn key(number: usize) -> String {
    format!("{TAG}{number}")
}

fn entry(number: usize) -> Entry {
    Entry::encode(&number, &Policy::ttl(LASTING)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn absent_keys_of_a_slot_that_moves_are_asked_for_where_it_goes() {
    let moving = Moving::start().await;
    let (cache, store) = (&moving.cache, moving.store());
    cache.set(&key(0), &0_u64, LASTING).await.unwrap();
    let nodes @ (from, to) = moving.nodes();
    moving.begin(nodes);

    assert_eq!(get(cache, &key(1)).await, None);
    cache.invalidate(&key(1)).await.unwrap();
    cache.set(&key(1), &1_u64, LASTING).await.unwrap();
    assert_eq!(get(cache, &key(1)).await, Some(1));
    assert_eq!(from.command(&["DBSIZE"]).integer(), 1);
    assert_eq!(to.command(&["DBSIZE"]).integer(), 1);
    assert_eq!(load(cache, &key(2), 2).await, 2);
    assert_eq!(get(cache, &key(2)).await, Some(2), "a load was not stored");
    cache.invalidate(&key(1)).await.unwrap();
    assert_eq!(get(cache, &key(1)).await, None);
    assert_eq!(get(cache, &key(0)).await, Some(0));

    // Some are here and some are there.
    let keys: Vec<_> = (0..20).map(key).collect();
    let found = store.fetch_many(&keys).await.unwrap();
    let there: Vec<_> = (0..20).filter(|at| found[*at].is_some()).collect();
    assert_eq!(there, [0, 2]);
    let entries = (0..20).map(|at| (key(at), entry(at + 100))).collect();
    store.store_many(entries).await.unwrap();
    for (at, found) in store.fetch_many(&keys).await.unwrap().into_iter().enumerate() {
        assert_eq!(found.unwrap().decode::<usize>().unwrap(), at + 100);
    }
    store.remove(&Selector::Keys(keys.clone())).await.unwrap();
    assert!(store.fetch_many(&keys).await.unwrap().iter().all(Option::is_none));
    assert_eq!(from.command(&["DBSIZE"]).integer() + to.command(&["DBSIZE"]).integer(), 0);
}

/// What is absent where it is found is removed where it has gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_is_removed_from_both_ends_of_a_move() {
    let moving = Moving::start().await;
    let cache = &moving.cache;
    cache.set(&key(0), &0_u64, LASTING).await.unwrap();
    let nodes @ (from, to) = moving.nodes();
    moving.begin(nodes);
    cache.set(&key(1), &1_u64, LASTING).await.unwrap();
    cache.invalidate_prefix(TAG).await.unwrap();
    assert_eq!(from.command(&["DBSIZE"]).integer(), 0);
    assert_eq!(to.command(&["DBSIZE"]).integer(), 0);
}

/// It is named by nobody who asks for the nodes that have slots.
#[tokio::test(flavor = "multi_thread")]
async fn p1_03_a_prefix_is_removed_while_its_keys_are_on_their_way_to_a_new_node() {
    let moving = Moving::start().await;
    let cache = &moving.cache;
    let new = RedisServer::builder()
        .config("cluster-enabled yes")
        .config("cluster-node-timeout 1000")
        .start();
    let (from, _) = moving.nodes();
    let knows = |node: &RedisServer, other: &RedisServer| {
        let id = other.command(&["CLUSTER", "MYID"]).text();
        let nodes = node.command(&["CLUSTER", "NODES"]).text();
        nodes.lines().any(|line| line.starts_with(&id) && !line.contains("handshake"))
    };
    // `id host:port@bus-port myself,… …`
    let nodes = from.command(&["CLUSTER", "NODES"]).text();
    let own = nodes.lines().find(|line| line.contains("myself")).unwrap();
    let (_, bus) = own.split(' ').nth(1).unwrap().rsplit_once('@').unwrap();
    let bus = bus.split(',').next().unwrap();
    new.command(&["CLUSTER", "MEET", "127.0.0.1", &from.port().to_string(), bus]);
    let is_ok = || new.command(&["CLUSTER", "INFO"]).text().contains("cluster_state:ok");
    eventually(|| knows(&new, from) && knows(from, &new) && is_ok()).await;
    cache.set(&key(0), &0_u64, LASTING).await.unwrap();
    cache.set(&key(1), &1_u64, LASTING).await.unwrap();
    moving.begin((from, &new));
    let port = new.port().to_string();
    let carry = ["MIGRATE", "127.0.0.1", &port, &name(&key(0)), "0", "5000"];
    assert_eq!(from.command(&carry), "OK");

    let error = cache.invalidate_prefix(TAG).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Unavailable && error.is_retryable(), "{error}");
    assert_eq!(get(cache, &key(1)).await, None, "what can be found is removed all the same");
    // It has the slot now; who is asked for the nodes may not know for a while.
    moving.end((from, &new));
    eventually_async(async || cache.invalidate_prefix(TAG).await.is_ok()).await;
    assert_eq!(new.command(&["DBSIZE"]).integer(), 0);
    assert_eq!(get(cache, &key(0)).await, None);
}

/// The client does not know of the move before it is told.
#[tokio::test(flavor = "multi_thread")]
async fn calls_of_many_keys_follow_a_slot_that_has_moved() {
    let moving = Moving::start().await;
    let store = moving.store();
    let (here, there) = moving.nodes();
    let keys: Vec<_> = (0..20).map(key).collect();
    let what = Selector::Keys(keys.clone());
    store.remove(&what).await.unwrap();
    for nodes @ (from, to) in [(here, there), (there, here), (here, there)] {
        // Empty, so there is nothing to carry.
        moving.begin(nodes);
        moving.end(nodes);
        let entries = (0..20).map(|at| (key(at), entry(at))).collect();
        store.store_many(entries).await.unwrap();
        assert_eq!(to.command(&["DBSIZE"]).integer(), 20);
        for (at, found) in store.fetch_many(&keys).await.unwrap().into_iter().enumerate() {
            assert_eq!(found.unwrap().decode::<usize>().unwrap(), at);
        }
        let leased = store.lease(&key(0), LASTING).await.unwrap();
        assert!(matches!(leased, LeaseOutcome::Fresh(_)), "{leased:?}");
        store.remove(&what).await.unwrap();
        assert_eq!(from.command(&["DBSIZE"]).integer() + to.command(&["DBSIZE"]).integer(), 0);
        moving.agreed().await;
    }
}
