//! What a hand-over says and to whom: nothing that is not so, and to nobody whose turn it is not.
#![allow(clippy::unwrap_used, reason = "test code, also outside of test functions")]

mod redis_common;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cache_concurrency::RedisConcurrencyService;
use cache_core::{ConcurrencyService, FencingToken, LockErrorKind};
use cache_redis::{Channel, ChannelEvent, RedisConfig};
use cache_testkit::{RedisServer, eventually, eventually_async};
use redis_common::queue::{Ear, channel, enqueue, in_line, stranger};
use redis_common::{
    FENCE, LOCK, at_rest, fence, hold, holder, in_order, lease, listening, patient, pttl, queued,
};
use tokio::task::JoinHandle;

/// Waits for `k` in a task.
fn waits(locks: &RedisConcurrencyService) -> JoinHandle<cache_core::LockGuard> {
    let locks = locks.clone();
    tokio::spawn(async move { hold(&locks).await })
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_40_a_release_that_is_refused_has_told_nobody() {
    for by_force in [false, true] {
        let server = RedisServer::start();
        let (locks, other) = (patient(&server.url()).await, patient(&server.url()).await);
        let operator = patient(&server.url()).await;
        let guard = hold(&locks).await;
        let token = holder(&server).unwrap();
        let waiter = waits(&other);
        eventually(|| listening(&server) == 1).await;
        let channel = channel(&in_line(&server)[0]);
        let mut ear = Ear::on(&server, &channel);
        server.command(&["REPLICAOF", "127.0.0.1", "1"]);
        let refused = if by_force {
            let refused = operator.force_release("k", guard.fencing_token()).await.map(drop);
            drop(guard);
            refused
        } else {
            guard.release().await
        };
        assert_eq!(refused.unwrap_err().kind(), LockErrorKind::Unavailable);
        server.command(&["PUBLISH", &channel, "the end"]);
        assert_eq!(ear.hears(), "the end");
        assert!(!waiter.is_finished(), "it believes that it holds the lock");
        assert_eq!(holder(&server).unwrap(), token);
        assert_eq!((other.held(), queued(&server)), (0, 1));
        waiter.abort();
        server.command(&["REPLICAOF", "NO", "ONE"]);
        eventually(|| holder(&server).is_none() && queued(&server) == 0).await;
        at_rest(&server);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_28_who_listens_to_a_replica_is_not_told_of_what_passed_it_over() {
    let (primary, replica) = (RedisServer::start(), RedisServer::start());
    replica.command(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
    eventually(|| replica.info("replication")["master_link_status"] == "up").await;
    let locks = patient(&primary.url()).await;
    let guard = hold(&locks).await;
    let token = stranger(1);
    enqueue(&primary, &token);
    let mut ear = Ear::on(&replica, &channel(&token));
    guard.release().await.unwrap();
    assert!(holder(&primary).is_none(), "it was granted to one that nobody has heard");
    // Replicated after whatever the release has replicated.
    primary.command(&["PUBLISH", &channel(&token), "the end"]);
    assert_eq!(ear.hears(), "the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn hand_overs_are_not_listened_for_on_a_server_that_is_no_primary() {
    let server = RedisServer::start();
    let locks = patient(&server.url()).await;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let said = Arc::clone(&heard);
    let listening = Channel::listen(locks.connections(), "news", move |event| {
        said.lock().unwrap().push(match event {
            ChannelEvent::Connected => "connected".to_owned(),
            ChannelEvent::Disconnected => "lost".to_owned(),
            ChannelEvent::Message { payload, .. } => String::from_utf8_lossy(payload).into_owned(),
            _ => "?".to_owned(),
        });
    })
    .unwrap();
    let last = || heard.lock().unwrap().last().cloned();
    eventually(|| last().as_deref() == Some("connected")).await;
    server.command(&["REPLICAOF", "127.0.0.1", "1"]);
    eventually(|| last().as_deref() == Some("lost")).await;
    // Real time: some attempts to subscribe come and go.
    tokio::time::sleep(Duration::from_millis(500)).await;
    server.command(&["PUBLISH", "news", "of a replica"]);
    assert!(listening.last_fault().unwrap().contains("not the primary"), "{listening:?}");
    assert_eq!(last().as_deref(), Some("lost"));
    server.command(&["REPLICAOF", "NO", "ONE"]);
    eventually(|| last().as_deref() == Some("connected")).await;
    server.command(&["PUBLISH", "news", "of a primary"]);
    eventually(|| last().as_deref() == Some("of a primary")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_28_a_waiter_behind_many_who_cannot_be_told_is_next_all_the_same() {
    let server = RedisServer::start();
    let (locks, other) = (patient(&server.url()).await, patient(&server.url()).await);
    let guard = hold(&locks).await;
    (0..200).for_each(|number| enqueue(&server, &stranger(number)));
    let waiter = waits(&other);
    eventually(|| queued(&server) == 201).await;
    let token = in_line(&server).pop().unwrap();
    guard.release().await.unwrap();
    assert_eq!(holder(&server).unwrap(), token.into_bytes(), "it was passed over");
    waiter.await.unwrap().release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_26_a_lock_that_is_handed_over_has_its_whole_lease_at_once() {
    let server = RedisServer::start();
    let (locks, other) = (patient(&server.url()).await, patient(&server.url()).await);
    let mut shortest = Duration::MAX;
    // The shortest counts: a machine that is busy makes it longer, and nothing shorter.
    for _ in 0..10 {
        let guard = hold(&locks).await;
        let waiter = waits(&other);
        eventually(|| listening(&server) == 1).await;
        guard.release().await.unwrap();
        let next = waiter.await.unwrap();
        let began = Instant::now();
        eventually(|| pttl(&server) > 20_000).await;
        shortest = shortest.min(began.elapsed());
        next.check().unwrap();
        next.release().await.unwrap();
    }
    assert!(shortest < Duration::from_millis(50), "{shortest:?} with two seconds only");
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_that_may_be_old_is_asked_for() {
    let server = RedisServer::start();
    let locks = patient(&server.url()).await;
    let seldom = RedisConfig::from_url(&server.url())
        .unwrap()
        .heartbeat_interval(Duration::from_secs(2))
        .heartbeat_timeout(Duration::from_secs(5));
    let other = RedisConcurrencyService::connect(seldom).await.unwrap();
    let guard = hold(&locks).await;
    let waiter = waits(&other);
    eventually(|| listening(&server) == 1).await;
    // It asks at once and then every two seconds.
    let listens = || server.command(&["CLIENT", "LIST", "TYPE", "pubsub"]).text();
    eventually(|| listens().contains("cmd=role")).await;
    // Real time: what is said from now on may be as old as this for all that it knows.
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    guard.release().await.unwrap();
    let next = waiter.await.unwrap();
    let left = next.remaining();
    assert!(left >= Duration::from_millis(800), "it begins with {left:?}");
    next.release().await.unwrap();
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_28_who_listens_to_everything_is_not_taken_for_a_waiter() {
    let server = RedisServer::start();
    let (locks, other) = (patient(&server.url()).await, patient(&server.url()).await);
    let _everything = Ear::on_all(&server);
    let guard = hold(&locks).await;
    enqueue(&server, &stranger(1));
    let waiter = waits(&other);
    eventually(|| listening(&server) == 2).await;
    let token = in_line(&server).pop().unwrap();
    guard.release().await.unwrap();
    assert_eq!(holder(&server).unwrap(), token.into_bytes(), "it is a dead one's turn");
    waiter.await.unwrap().release().await.unwrap();
}

/// Two services of which the second listens, and the token under which it stands in the queue.
async fn listener(server: &RedisServer) -> (RedisConcurrencyService, String) {
    let (first, locks) = (patient(&server.url()).await, patient(&server.url()).await);
    let guard = hold(&first).await;
    let waiter = tokio::spawn({
        let locks = locks.clone();
        async move { hold(&locks).await }
    });
    eventually(|| listening(server) == 1).await;
    let token = in_line(server).remove(0);
    guard.release().await.unwrap();
    waiter.await.unwrap().release().await.unwrap();
    (locks, token)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_handed_to_nobody_passes_on_at_once() {
    let server = RedisServer::start();
    let (locks, token) = listener(&server).await;
    server.command(&["SET", LOCK, &token, "PX", "60000"]);
    server.command(&["PUBLISH", &channel(&token), &format!("{token} 7\n{LOCK}")]);
    eventually(|| holder(&server).is_none()).await;
    locks.shutdown().await;
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_that_is_told_twice_leaves_its_holder_alone() {
    let server = RedisServer::start();
    let (locks, _) = listener(&server).await;
    let guard = hold(&locks).await;
    let token = String::from_utf8(holder(&server).unwrap()).unwrap();
    let again = format!("{token} {}\n{LOCK}", guard.fencing_token());
    server.command(&["PUBLISH", &channel(&token), &again]);
    // Real time: what it would do wrong it would do at once.
    tokio::time::sleep(Duration::from_millis(300)).await;
    guard.check().unwrap();
    assert_eq!(holder(&server).unwrap(), token.into_bytes());
    guard.release().await.unwrap();
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_another_process_takes_away_is_lost_at_once() {
    let server = RedisServer::start();
    let (locks, _) = listener(&server).await;
    let operator = patient(&server.url()).await;
    let guard = hold(&locks).await;
    // In the queue behind it, in the same process.
    let next = waits(&locks);
    eventually_async(async || operator.inspect("k").await.unwrap().is_some()).await;
    let began = Instant::now();
    assert!(operator.force_release("k", guard.fencing_token()).await.unwrap());
    assert_eq!(guard.lost().await.kind(), LockErrorKind::LeaseLost);
    let next = next.await.unwrap();
    // Its next renewal would have come after ten seconds.
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(next.fencing_token() > guard.fencing_token());
    assert_eq!(guard.release().await.unwrap_err().kind(), LockErrorKind::LeaseLost);
    next.check().unwrap();
    next.release().await.unwrap();
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loss_of_an_earlier_grant_leaves_a_later_one_alone() {
    let server = RedisServer::start();
    let (locks, _) = listener(&server).await;
    for said in ["with its fence", "as older versions say it"] {
        let guard = hold(&locks).await;
        let token = String::from_utf8(holder(&server).unwrap()).unwrap();
        let fence = u64::from(guard.fencing_token());
        let say = |what: String| server.command(&["PUBLISH", &channel(&token), &what]);
        say(format!("{token} lost\n{}\n{LOCK}", fence - 1));
        // Real time: what it would do wrong it would do at once.
        tokio::time::sleep(Duration::from_millis(300)).await;
        guard.check().unwrap();
        say(match said {
            "with its fence" => format!("{token} lost\n{fence}\n{LOCK}"),
            _ => format!("{token} lost\n{LOCK}"),
        });
        assert_eq!(guard.lost().await.kind(), LockErrorKind::LeaseLost, "{said}");
        // Nobody has taken it away: it is free when it is given back.
        drop(guard);
        eventually(|| holder(&server).is_none()).await;
    }
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_a_lock_away_names_the_grant_where_it_is_known() {
    let server = RedisServer::start();
    let operator = patient(&server.url()).await;
    let token = stranger(1);
    let mut ear = Ear::on(&server, &channel(&token));
    for fence in [41, 0] {
        server.command(&["SET", LOCK, &token, "PX", "60000"]);
        // Evicted, if it is none.
        if fence > 0 {
            server.command(&["SET", FENCE, &fence.to_string(), "PX", "60000"]);
        }
        assert!(operator.force_release("k", FencingToken(fence)).await.unwrap());
        assert_eq!(ear.hears(), format!("{token} lost"));
        if fence > 0 {
            assert_eq!(ear.goes_on(), fence.to_string());
        }
        assert_eq!(ear.goes_on(), LOCK);
        server.command(&["DEL", FENCE]);
    }
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_was_taken_away_before_its_waiter_knew_of_it_is_lost() {
    let server = RedisServer::start();
    let (first, locks) = (patient(&server.url()).await, patient(&server.url()).await);
    // From the future, so that each fence is the last and one.
    server.command(&["SET", FENCE, "8000000000000000", "PX", "60000"]);
    let guard = hold(&first).await;
    let next = u64::from(guard.fencing_token()) + 1;
    let waiter = tokio::spawn(async move { locks.acquire("k", &lease(20_000)).await });
    eventually(|| listening(&server) == 1).await;
    let token = in_line(&server).remove(0);
    // Before the grant, where otherwise the grant's answer comes late.
    server.command(&["PUBLISH", &channel(&token), &format!("{token} lost\n{next}\n{LOCK}")]);
    guard.release().await.unwrap();
    assert_eq!(waiter.await.unwrap().unwrap_err().kind(), LockErrorKind::LeaseLost);
    eventually(|| holder(&server).is_none()).await;
    assert_eq!(fence(&server), next);
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_another_version_makes_a_waiter_ask_at_once() {
    let server = RedisServer::start();
    let (first, locks) = (patient(&server.url()).await, patient(&server.url()).await);
    // As before there was a line for the lock, and as nobody says it yet.
    for form in ["{token} {fence}", "{token} {fence} {lock} in a new form\nof two lines"] {
        let guard = hold(&first).await;
        let waiter = waits(&locks);
        eventually(|| listening(&server) == 1).await;
        let token = in_line(&server).remove(0);
        let fence = u64::from(guard.fencing_token()) + 1;
        // What the script of that version does.
        server.command(&["LREM", "{lock/cache/k}.q", "1", &token]);
        server.command(&["HDEL", "{lock/cache/k}.w", &token]);
        server.command(&["SET", LOCK, &token, "PX", "2000"]);
        server.command(&["SET", FENCE, &fence.to_string(), "PX", "60000"]);
        let message = form.replace("{token}", &token).replace("{fence}", &fence.to_string());
        let began = Instant::now();
        server.command(&["PUBLISH", &channel(&token), &message.replace("{lock}", LOCK)]);
        let next = waiter.await.unwrap();
        // It would ask by itself after a second.
        assert!(began.elapsed() < Duration::from_millis(700), "{form}: {:?}", began.elapsed());
        assert_eq!(u64::from(next.fencing_token()), fence);
        next.release().await.unwrap();
        drop(guard);
    }
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_30_a_lock_that_was_handed_over_is_not_believed_in_for_too_long() {
    let server = RedisServer::start();
    let (locks, other) = (patient(&server.url()).await, patient(&server.url()).await);
    let third = patient(&server.url()).await;
    // The lease is that of the hand-over at first, and later that of the renewal.
    for asked in [lease(1_000), lease(30_000)] {
        let guard = hold(&locks).await;
        let waiter = tokio::spawn({
            let (other, asked) = (other.clone(), asked.clone());
            async move { other.acquire("k", &asked).await.unwrap() }
        });
        eventually(|| listening(&server) == 1).await;
        let last = waits(&third);
        eventually(|| listening(&server) == 2).await;
        in_order(&server, &guard);
        guard.release().await.unwrap();
        let next = waiter.await.unwrap();
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(1_200) {
            in_order(&server, &next);
            next.check().unwrap();
            // Real time, as renewals are.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        next.release().await.unwrap();
        last.await.unwrap().release().await.unwrap();
    }
    at_rest(&server);
}
