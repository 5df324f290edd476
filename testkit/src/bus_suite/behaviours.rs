//! The behaviours.

use std::collections::BTreeSet;
use std::sync::Arc;

use cache_core::{BusDeadline, BusEvent, ErrorKind, InvalidationBus, Selector};

use super::harness::BusHarness;
use super::heard::Heard;
use crate::{drop_after, eventually, let_others_run};

/// How many removals a subscriber that does not listen falls behind.
const BEHIND: usize = 2_000;

fn key(name: &str) -> Selector {
    Selector::key(name)
}

fn last() -> Selector {
    key("the last")
}

async fn tell(bus: &Arc<dyn InvalidationBus>, what: &Selector) {
    bus.publish(what).await.unwrap_or_else(|error| panic!("publish({what:?}) failed: {error}"));
}

/// Checks that `heard` hears these, and nothing else, before what is told last of all.
async fn hears(bus: &Arc<dyn InvalidationBus>, heard: &mut Heard, expected: &[Selector]) {
    tell(bus, &last()).await;
    let mut all = heard.up_to(&last()).await;
    all.pop();
    assert_eq!(all, expected);
    assert_eq!(heard.losses, 0, "the bus was lost in a test that takes it from nobody");
}

/// A subscription begins with `Connected`, each of them, also where there is one already.
pub async fn a_subscription_begins_with_connected(h: &mut BusHarness) {
    for end in h.ends() {
        let mut first = Heard::by(&**end).await;
        let mut second = Heard::by(&**end).await;
        assert!(first.is_silent() && second.is_silent(), "nothing was told");
    }
}

/// Keys, prefixes and all arrive at the other end as what they are.
pub async fn removals_arrive_as_what_they_are(h: &mut BusHarness) {
    let names = [
        "org:acme",
        "a b",
        "é",
        "日本:1",
        "*",
        "[a]",
        "\"",
        "\n",
        "a\0b",
        "{\"v\":1}",
        "all",
        "%61",
    ];
    let many = Selector::Keys(vec!["one".into(), "two".into(), "three".into()]);
    let [one, other] = h.ends();
    for (from, to) in [(one, other), (other, one)] {
        let mut heard = Heard::by(&**to).await;
        let mut expected = Vec::new();
        for name in names {
            tell(from, &key(name)).await;
            tell(from, &Selector::Prefix(name.to_owned())).await;
            expected.extend([key(name), Selector::Prefix(name.to_owned())]);
        }
        tell(from, &many).await;
        expected.extend(["one", "two", "three"].map(key));
        for what in [Selector::Prefix(String::new()), Selector::All] {
            tell(from, &what).await;
            expected.push(what);
        }
        // Nothing is in it.
        tell(from, &Selector::Keys(Vec::new())).await;
        hears(from, &mut heard, &expected).await;
    }
}

/// The longest keys there may be, and many of them, arrive whole.
pub async fn many_long_keys_arrive_whole(h: &mut BusHarness) {
    let [one, other] = h.ends();
    let mut heard = Heard::by(&**other).await;
    let names: Vec<_> = (0..1_500).map(|n| format!("{n:0>1024}")).collect();
    tell(one, &Selector::Keys(names.clone())).await;
    let expected: Vec<_> = names.into_iter().map(Selector::key).collect();
    hears(one, &mut heard, &expected).await;
}

/// What an end publishes none of its own subscriptions hears.
pub async fn own_removals_are_not_heard(h: &mut BusHarness) {
    let [one, other] = h.ends();
    let (mut first, mut second) = (Heard::by(&**one).await, Heard::by(&**one).await);
    let mut far = Heard::by(&**other).await;
    for what in [key("own"), Selector::Prefix("own".into()), Selector::All] {
        tell(one, &what).await;
    }
    hears(one, &mut far, &[key("own"), Selector::Prefix("own".into()), Selector::All]).await;
    tell(other, &key("other")).await;
    tell(other, &last()).await;
    for heard in [&mut first, &mut second] {
        assert_eq!(heard.up_to(&last()).await, [key("other"), last()]);
    }
}

/// What one end publishes is heard in that order, whole.
pub async fn what_one_sends_is_heard_in_order(h: &mut BusHarness) {
    let [one, other] = h.ends();
    let mut heard = Heard::by(&**other).await;
    let named = |n: usize| match n % 3 {
        0 => key(&format!("k{n}")),
        _ => Selector::Prefix(format!("p{n}")),
    };
    let sent: Vec<_> = (0..300).map(named).collect();
    for what in &sent {
        tell(one, what).await;
    }
    hears(one, &mut heard, &sent).await;
}

/// A subscriber that falls behind hears everything, or is told, soon enough, that it has missed
/// something.
pub async fn who_falls_behind_loses_nothing_unawares(h: &mut BusHarness) {
    let [one, other] = h.ends();
    let mut heard = Heard::by(&**other).await;
    for n in 0..BEHIND {
        tell(one, &key(&format!("k{n}"))).await;
    }
    tell(one, &last()).await;
    let (mut told, mut missed) = (BTreeSet::new(), false);
    let mut ended = false;
    while !ended || (told.len() < BEHIND && !missed) {
        let event = if ended { heard.event_within(h.bound()).await } else { heard.event().await };
        match event {
            BusEvent::Removed(what) if what == last() => ended = true,
            BusEvent::Removed(Selector::Keys(keys)) => told.extend(keys),
            BusEvent::Disconnected => missed = true,
            // The last may be among what was missed.
            BusEvent::Connected => tell(one, &last()).await,
            _ => {}
        }
    }
}

/// A subscription that is dropped is over: it hinders neither the bus nor another subscription, and one
/// that is made later begins anew.
pub async fn a_dropped_subscription_is_over(h: &mut BusHarness) {
    let [one, other] = h.ends();
    let mut stays = Heard::by(&**other).await;
    let dropped = Heard::by(&**other).await;
    tell(one, &key("before")).await;
    drop(dropped);
    for n in 0..100 {
        tell(one, &key(&format!("k{n}"))).await;
    }
    drop(other.subscribe());
    let mut expected = vec![key("before")];
    expected.extend((0..100).map(|n| key(&format!("k{n}"))));
    hears(one, &mut stays, &expected).await;
    let mut later = Heard::by(&**other).await;
    tell(one, &key("after")).await;
    tell(one, &key("end")).await;
    let heard = later.up_to(&key("end")).await;
    assert!(heard.ends_with(&[key("after"), key("end")]), "{heard:?}");
}

/// A `publish` that is dropped half-way may have been heard or not; what comes after it is.
pub async fn a_publish_can_be_dropped(h: &mut BusHarness) {
    let [one, other] = h.ends();
    let mut heard = Heard::by(&**other).await;
    for polls in 0..8 {
        let what = key(&format!("dropped:{polls}"));
        let done = drop_after(polls, one.publish(&what)).await;
        let_others_run().await;
        let after = key(&format!("after:{polls}"));
        tell(one, &after).await;
        let all = heard.up_to(&after).await;
        if matches!(done, Some(Ok(()))) {
            assert!(all.contains(&what), "it was published and not heard");
        }
    }
}

/// A wait for the next event that is dropped loses none.
pub async fn a_wait_can_be_dropped(h: &mut BusHarness) {
    let [one, other] = h.ends();
    let mut heard = Heard::by(&**other).await;
    let mut all = BTreeSet::new();
    for polls in 0..8 {
        // What is there already is what was told before, once more.
        all.extend(drop_after(polls, heard.event()).await.and_then(only_key));
        let name = format!("k{polls}");
        tell(one, &key(&name)).await;
        while !all.contains(&name) {
            all.extend(only_key(heard.event().await));
        }
    }
    let told: BTreeSet<_> = (0..8).map(|n| format!("k{n}")).collect();
    assert_eq!(all, told);
}

fn only_key(event: BusEvent) -> Option<String> {
    match event {
        BusEvent::Removed(Selector::Keys(mut keys)) if keys.len() == 1 => keys.pop(),
        _ => None,
    }
}

/// A subscription until a deadline hears the same, and while the bus is there its deadline lies ahead.
pub async fn a_subscription_until_a_deadline_hears_the_same(h: &mut BusHarness) {
    let [one, other] = h.ends();
    let deadline = BusDeadline::new();
    let mut heard = Heard::begin(other.subscribe_until(&deadline)).await;
    tell(one, &key("k")).await;
    hears(one, &mut heard, &[key("k")]).await;
    // A proof counts when the next event is asked for.
    eventually(|| heard.is_silent() && deadline.is_ahead()).await;
}

/// What an end publishes that is off the bus is an error, of a kind that says so. Left out where the
/// harness does not know how to take it off.
pub async fn an_end_that_is_off_the_bus_says_so(h: &mut BusHarness) {
    let Some(shutdown) = h.take_shutdown() else { return };
    let [one, other] = h.ends();
    let mut heard = Heard::by(&**other).await;
    tell(one, &key("before")).await;
    shutdown().await;
    for what in [key("late"), Selector::Prefix("late".into()), Selector::All] {
        let Err(error) = one.publish(&what).await else {
            panic!("{what:?} was not heard, and no error")
        };
        let kinds = [ErrorKind::Unavailable, ErrorKind::Timeout];
        assert!(kinds.contains(&error.kind()), "{:?}: {error}", error.kind());
    }
    assert_eq!(heard.up_to(&key("before")).await, [key("before")]);
}
