//! The suite for buses, on right ones and on one with bugs: each is caught by the behaviours that are
//! about it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cache_core::{BusDeadline, BusEvent, CacheError, Clock, InvalidationBus, Selector};
use cache_testkit::bus_suite::{self, BusHarness, run_bus_behaviour};
use cache_testkit::history::Recorder;
use cache_testkit::{BusFaults, LocalBus, LocalBusNode, LossyBus, bus_conformance};
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::task::yield_now;

/// What is wrong with the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    BeginsDisconnected,
    HearsOwn,
    PrefixIsKey,
    AllIsNothing,
    CutsLists,
    Reorders,
    LosesSilently,
    DropEndsAll,
    DroppedPublishBlocks,
    EndsItsDeadline,
    FailsSilently,
}

#[derive(Debug)]
struct FaultyBus {
    own: Arc<LocalBusNode>,
    /// Publishes what is to be heard by its own subscribers.
    echo: Arc<LocalBusNode>,
    bug: Bug,
    /// A subscription was dropped, or a `publish` is under way.
    flag: Arc<AtomicBool>,
}

impl FaultyBus {
    fn new(hub: &LocalBus, bug: Bug) -> Arc<Self> {
        Arc::new(Self { own: hub.node(), echo: hub.node(), bug, flag: Arc::default() })
    }
}

/// How many events are kept for a subscriber with [`Bug::LosesSilently`], and of a list of keys.
const KEPT: usize = 100;

fn altered(bug: Bug, event: BusEvent) -> BusEvent {
    match (bug, event) {
        (Bug::BeginsDisconnected, BusEvent::Connected) => BusEvent::Disconnected,
        (Bug::PrefixIsKey, BusEvent::Removed(Selector::Prefix(prefix))) => {
            BusEvent::Removed(Selector::key(prefix))
        }
        (Bug::AllIsNothing, BusEvent::Removed(Selector::All)) => BusEvent::Filled(Vec::new()),
        (_, event) => event,
    }
}

/// What of the events that are there at once is told, and in which order.
fn told(bug: Bug, mut events: Vec<BusEvent>) -> Vec<BusEvent> {
    match bug {
        Bug::Reorders => events.reverse(),
        Bug::LosesSilently => drop(events.drain(..events.len().saturating_sub(KEPT))),
        _ => {}
    }
    events
}

/// Says so when it is dropped.
struct Flag(Arc<AtomicBool>);

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl InvalidationBus for FaultyBus {
    async fn publish(&self, what: &Selector) -> Result<(), CacheError> {
        match (self.bug, what) {
            (Bug::HearsOwn, what) => self.echo.publish(what).await,
            (Bug::CutsLists, Selector::Keys(keys)) => {
                let some = keys.iter().take(KEPT).cloned().collect();
                self.own.publish(&Selector::Keys(some)).await
            }
            (Bug::FailsSilently, what) => {
                let _ = self.own.publish(what).await;
                Ok(())
            }
            (Bug::DroppedPublishBlocks, what) => {
                if self.flag.swap(true, Ordering::SeqCst) {
                    return Err(CacheError::new(cache_core::ErrorKind::Timeout, "it is busy"));
                }
                yield_now().await;
                let done = self.own.publish(what).await;
                self.flag.store(false, Ordering::SeqCst);
                done
            }
            (_, what) => self.own.publish(what).await,
        }
    }

    fn subscribe(&self) -> BoxStream<'static, BusEvent> {
        let (bug, at_once) = (self.bug, if self.bug == Bug::LosesSilently { 10_000 } else { 2 });
        let events = self.own.subscribe().ready_chunks(at_once);
        let events = events.flat_map(move |events| stream::iter(told(bug, events)));
        let events = events.map(move |event| altered(bug, event));
        if bug != Bug::DropEndsAll {
            return events.boxed();
        }
        let (flag, ended) = (Flag(Arc::clone(&self.flag)), Arc::clone(&self.flag));
        let events = events.take_while(move |_| {
            let _until_dropped = &flag;
            std::future::ready(!ended.load(Ordering::SeqCst))
        });
        events.boxed()
    }

    fn subscribe_until(&self, deadline: &BusDeadline) -> BoxStream<'static, BusEvent> {
        if self.bug == Bug::EndsItsDeadline {
            deadline.end();
        }
        self.subscribe()
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

fn harness(bug: Bug) -> BusHarness {
    let hub = LocalBus::new(1);
    let (one, other) = (FaultyBus::new(&hub, bug), FaultyBus::new(&hub, bug));
    let own = Arc::clone(&one.own);
    BusHarness::new(one, other)
        .shutdown(async move || hub.disconnect(&own))
        .detection_bound(Duration::from_millis(300))
}

macro_rules! planted {
    ($($test:ident: $bug:ident => [$($by:ident),* $(,)?];)*) => {
        $(
            #[test]
            fn $test() {
                $({
                    let name = stringify!($by);
                    let catches = |bug| {
                        let test = || run_bus_behaviour(name, || harness(bug), bus_suite::$by);
                        catch_unwind(AssertUnwindSafe(test)).is_err()
                    };
                    assert!(!catches(Bug::None), "{name} fails without a bug");
                    assert!(catches(Bug::$bug), "{name} does not catch {:?}", Bug::$bug);
                })*
            }
        )*
    };
}

planted! {
    a_bus_that_does_not_begin_with_connected: BeginsDisconnected => [
        a_subscription_begins_with_connected,
    ];
    a_bus_that_hears_itself: HearsOwn => [own_removals_are_not_heard];
    a_prefix_that_comes_as_a_key: PrefixIsKey => [removals_arrive_as_what_they_are];
    a_removal_of_all_that_comes_as_nothing: AllIsNothing => [removals_arrive_as_what_they_are];
    a_list_that_is_cut: CutsLists => [many_long_keys_arrive_whole];
    a_bus_that_keeps_no_order: Reorders => [what_one_sends_is_heard_in_order];
    a_silent_loss: LosesSilently => [who_falls_behind_loses_nothing_unawares];
    a_dropped_subscription_that_ends_others: DropEndsAll => [a_dropped_subscription_is_over];
    a_dropped_publish_that_blocks: DroppedPublishBlocks => [a_publish_can_be_dropped];
    a_deadline_that_has_passed: EndsItsDeadline => [
        a_subscription_until_a_deadline_hears_the_same,
    ];
    a_bus_that_fails_silently: FailsSilently => [an_end_that_is_off_the_bus_says_so];
}

/// So that a store that knows the bus inside tells over it as it would without the wrapper.
#[test]
fn a_lossy_bus_is_known_for_what_is_in_it() {
    let inner = FaultyBus::new(&LocalBus::new(1), Bug::None);
    let lossy = LossyBus::new(inner, 1, BusFaults::none(), Clock::system());
    assert!(lossy.as_any().is_some_and(<dyn Any>::is::<FaultyBus>));
}

mod local {
    use super::*;

    bus_conformance!(|| {
        let hub = LocalBus::new(1);
        let (one, other) = (hub.node(), hub.node());
        let own = Arc::clone(&one);
        BusHarness::new(one, other).shutdown(async move || hub.disconnect(&own))
    });
}

/// What may go wrong without breaking a promise.
mod repeated_and_late {
    use super::*;

    bus_conformance!(async || {
        let faults = BusFaults::none().duplicate(0.2).delay(Duration::from_millis(2));
        let hub = LocalBus::lossy(1, faults, Clock::system());
        BusHarness::new(hub.node(), hub.node())
    });
}

mod wrapped {
    use super::*;

    bus_conformance!(|| {
        let hub = LocalBus::new(1);
        let wrap =
            |seed| Arc::new(LossyBus::new(hub.node(), seed, BusFaults::none(), Clock::system()));
        BusHarness::new(wrap(1), wrap(2))
    });
}

mod recorded {
    use super::*;

    bus_conformance!(|| {
        let (hub, recorder) = (LocalBus::new(1), Recorder::new());
        BusHarness::new(recorder.bus(0, hub.node()), recorder.bus(1, hub.node()))
    });
}
