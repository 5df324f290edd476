//! The buses without a network, and what goes wrong on them.

use std::sync::Arc;
use std::time::Duration;

use cache_core::{BusEvent, ErrorKind, InvalidationBus, ManualClock, Selector};
use cache_testkit::{BusFaults, LocalBus, LossyBus, poll_once};
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};

const MS: Duration = Duration::from_millis(1);

/// What is there to be heard now.
fn heard(stream: &mut BoxStream<'static, BusEvent>) -> Vec<String> {
    std::iter::from_fn(|| stream.next().now_or_never().flatten()).map(brief).collect()
}

fn brief(event: BusEvent) -> String {
    match event {
        BusEvent::Removed(Selector::Keys(keys)) => keys.join(","),
        BusEvent::Connected => "up".into(),
        BusEvent::Disconnected => "down".into(),
        other => format!("{other:?}"),
    }
}

async fn publish(bus: &dyn InvalidationBus, keys: impl IntoIterator<Item = usize>) {
    for key in keys {
        bus.publish(&Selector::key(key.to_string())).await.unwrap();
    }
}

#[tokio::test]
async fn nodes_hear_each_other_in_order_and_not_themselves() {
    let hub = LocalBus::new(0);
    let (a, b, c) = (hub.node(), hub.node(), hub.node());
    let mut streams = [a.subscribe(), b.subscribe(), c.subscribe(), c.subscribe()];
    assert!(!hub.is_idle());
    publish(&*a, [1, 2]).await;
    publish(&*b, [3]).await;
    let all = streams.each_mut().map(heard);
    assert_eq!(all[0], ["up", "3"]);
    assert_eq!(all[1], ["up", "1", "2"]);
    assert_eq!(all[2], ["up", "1", "2", "3"]);
    assert_eq!(all[3], all[2]);
    assert_eq!(hub.published(), 3);
    assert!(hub.is_idle());
}

#[tokio::test]
async fn a_waiting_subscriber_is_woken_and_the_stream_ends_with_the_bus() {
    let hub = LocalBus::new(0);
    let (a, b) = (hub.node(), hub.node());
    let mut stream = b.subscribe();
    let reader = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(event) = stream.next().await {
            all.push(brief(event));
        }
        all
    });
    tokio::task::yield_now().await;
    publish(&*a, [1]).await;
    tokio::task::yield_now().await;
    assert!(!reader.is_finished());
    drop((hub, a, b));
    assert_eq!(reader.await.unwrap(), ["up", "1"]);
}

#[tokio::test]
async fn a_disconnected_node_hears_and_says_nothing_until_it_is_back() {
    let hub = LocalBus::new(0);
    let (a, b) = (hub.node(), hub.node());
    let mut stream = b.subscribe();
    publish(&*a, [1]).await;
    hub.set_faults(BusFaults::none().detection(Duration::ZERO));
    hub.disconnect(&b);
    hub.disconnect(&b);
    publish(&*a, [2]).await;
    assert_eq!(b.publish(&Selector::All).await.unwrap_err().kind(), ErrorKind::Unavailable);
    let mut late = b.subscribe();
    assert_eq!(heard(&mut late), [""; 0]);
    // What was on its way is lost too.
    assert_eq!(heard(&mut stream), ["up", "down"]);
    hub.reconnect(&b);
    hub.reconnect(&b);
    publish(&*a, [3]).await;
    assert_eq!(heard(&mut stream), ["up", "3"]);
    assert_eq!(heard(&mut late), ["up", "3"]);
    hub.disconnect_subscribers(&b);
    b.publish(&Selector::All).await.unwrap();
    assert_eq!(heard(&mut stream), ["down"]);
}

#[tokio::test]
async fn delays_keep_the_order_and_go_by_the_clock() {
    let clock = ManualClock::new();
    let hub = LocalBus::lossy(7, BusFaults::none().delay(20 * MS), &clock);
    let (a, b) = (hub.node(), hub.node());
    let mut stream = b.subscribe();
    publish(&*a, 0..20).await;
    assert!(heard(&mut stream).len() < 10);
    let mut next = Box::pin(stream.next());
    while poll_once(&mut next).is_pending() {
        clock.advance(MS);
    }
    drop(next);
    clock.advance(20 * MS);
    assert_eq!(heard(&mut stream).last().unwrap(), "19");
    publish(&*a, 0..20).await;
    clock.advance(20 * MS);
    assert_eq!(heard(&mut stream), (0..20).map(|key| key.to_string()).collect::<Vec<_>>());
}

/// What one node hears of 200 messages of another under these faults, a millisecond apart.
async fn story(seed: u64, faults: BusFaults) -> Vec<String> {
    let clock = ManualClock::new();
    let hub = LocalBus::lossy(seed, faults, &clock);
    let (a, b) = (hub.node(), hub.node());
    let mut stream = b.subscribe();
    let mut all = Vec::new();
    for key in 0..200 {
        publish(&*a, [key]).await;
        clock.advance(MS);
        all.extend(heard(&mut stream));
    }
    clock.advance(1_000 * MS);
    all.extend(heard(&mut stream));
    assert!(hub.is_idle());
    all
}

fn numbers(story: &[String]) -> Vec<usize> {
    story.iter().filter_map(|event| event.parse().ok()).collect()
}

#[tokio::test]
async fn a_seed_tells_the_same_story_again_and_another_seed_another() {
    let faults = BusFaults::none().delay(5 * MS).lose(0.1).duplicate(0.1).reorder(0.1);
    let first = story(1, faults.clone()).await;
    assert_eq!(story(1, faults.clone()).await, first);
    assert_ne!(story(2, faults).await, first);
}

#[tokio::test]
async fn duplicates_reordering_and_silent_loss_are_what_they_say() {
    let twice = numbers(&story(3, BusFaults::none().duplicate(0.2)).await);
    assert!(twice.is_sorted() && twice.len() > 220 && twice.len() < 280, "{}", twice.len());
    let mixed = numbers(&story(3, BusFaults::none().delay(9 * MS).reorder(0.5)).await);
    assert!(mixed.len() == 200 && !mixed.is_sorted());
    let silent = story(3, BusFaults::none().lose_silently(0.2)).await;
    assert_eq!(numbers(&silent).len() + 1, silent.len(), "only the first Connected");
    assert!(numbers(&silent).len() < 180);
}

#[tokio::test]
async fn a_silent_loss_of_numbered_messages_is_told() {
    let faults = BusFaults::none().lose_silently(0.2).numbered().detection(5 * MS);
    let story = story(3, faults).await;
    let lost = 200 - numbers(&story).len();
    let count = |what| story.iter().filter(|event| *event == what).count();
    assert!(lost > 20 && count("down") == lost && count("up") == lost + 1, "{story:?}");
    let tells = |event: &&String| matches!(event.as_str(), "up" | "down");
    let told: Vec<_> = story.iter().filter(tells).collect();
    assert!(told.windows(2).all(|pair| pair[0] != pair[1]), "{story:?}");
}

#[tokio::test]
async fn every_other_loss_comes_with_a_disconnected_and_a_connected() {
    for seed in 0..50 {
        let faults = BusFaults::none().delay(5 * MS).lose(0.05).detection(5 * MS).outage(20 * MS);
        let story = story(seed, faults).await;
        let (mut up, mut last) = (false, None);
        for event in &story {
            match (event.as_str(), event.parse::<usize>()) {
                ("up", _) => assert!(!std::mem::replace(&mut up, true), "{story:?}"),
                ("down", _) => {
                    assert!(std::mem::replace(&mut up, false), "{story:?}");
                    last = None;
                }
                (_, number) => {
                    let number = number.unwrap();
                    assert!(up, "{story:?}");
                    assert!(last.is_none_or(|last| last + 1 == number), "{story:?}");
                    last = Some(number);
                }
            }
        }
        assert!(up && numbers(&story).len() < 200, "{story:?}");
    }
}

#[tokio::test]
async fn a_lossy_bus_does_the_same_to_any_bus() {
    let clock = ManualClock::new();
    let hub = LocalBus::new(0);
    let (a, b) = (hub.node(), hub.node());
    let faults = BusFaults::none().duplicate(1.0).detection(Duration::ZERO);
    let lossy = LossyBus::new(b.clone(), 1, faults, &clock);
    let mut stream = lossy.subscribe();
    publish(&*a, [1]).await;
    assert_eq!(heard(&mut stream), ["up", "1", "1"]);
    lossy.heal();
    publish(&*a, [2]).await;
    hub.set_faults(BusFaults::none().detection(Duration::ZERO));
    assert_eq!(heard(&mut stream), ["2"]);
    hub.disconnect(&b);
    assert_eq!(lossy.publish(&Selector::All).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(heard(&mut stream).len(), 0, "noticed by the lossy bus after its own bound");
    clock.advance(100 * MS);
    assert_eq!(heard(&mut stream), ["down"]);
    hub.reconnect(&b);
    publish(&*a, [3]).await;
    assert_eq!(heard(&mut stream), ["up", "3"]);
    let lossy: Arc<dyn InvalidationBus> = Arc::new(lossy);
    assert_eq!(heard(&mut lossy.subscribe()), ["up"]);
}
