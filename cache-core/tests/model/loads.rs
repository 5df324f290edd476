//! Callers, loads and removals over the registry of flights.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;

use crate::flights::{Boarding, Flight as _, Flights};
use crate::{exhaustively, randomly};

/// A flight whose result callers wait for.
#[derive(Clone)]
struct Flight(Arc<Inner>);

struct Inner {
    id: u64,
    result: Mutex<Option<u64>>,
    landed: Condvar,
}

impl crate::flights::Flight for Flight {
    fn id(&self) -> u64 {
        self.0.id
    }
}

struct Cache {
    flights: Flights<Flight>,
    next: AtomicU64,
    source: Mutex<u64>,
    held: Mutex<Option<u64>>,
    loads: AtomicU64,
}

impl Cache {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            flights: Flights::new(),
            next: AtomicU64::new(0),
            source: Mutex::new(1),
            held: Mutex::new(None),
            loads: AtomicU64::new(0),
        })
    }

    /// What `get_or_load` does, the leader loading in place and storing if `stores`.
    fn get_or_load(&self, stores: bool) -> u64 {
        if let Some(held) = *self.held.lock().unwrap() {
            return held;
        }
        let make = || {
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            Flight(Arc::new(Inner { id, result: Mutex::new(None), landed: Condvar::new() }))
        };
        match self.flights.board("key", make) {
            Boarding::Joined(flight) => {
                let mut result = flight.0.result.lock().unwrap();
                loop {
                    match *result {
                        Some(result) => return result,
                        None => result = flight.0.landed.wait(result).unwrap(),
                    }
                }
            }
            Boarding::Led(key, flight) => {
                let held = *self.held.lock().unwrap();
                let loaded = held.unwrap_or_else(|| {
                    self.loads.fetch_add(1, Ordering::Relaxed);
                    *self.source.lock().unwrap()
                });
                if stores {
                    *self.held.lock().unwrap() = Some(loaded);
                }
                self.flights.land(&key, flight.id());
                *flight.0.result.lock().unwrap() = Some(loaded);
                flight.0.landed.notify_all();
                loaded
            }
        }
    }
}

#[test]
fn p3_01_concurrent_callers_one_load_every_interleaving() {
    exhaustively(|| {
        let cache = Cache::new();
        let other = thread::spawn({
            let cache = Arc::clone(&cache);
            move || cache.get_or_load(true)
        });
        assert_eq!(cache.get_or_load(true), 1);
        assert_eq!(other.join().unwrap(), 1);
        assert_eq!(cache.loads.load(Ordering::Relaxed), 1);
        assert_eq!(cache.flights.len(), 0);
    });
}

#[test]
fn p3_01_many_callers_one_load() {
    randomly(|| {
        let cache = Cache::new();
        let callers: Vec<_> = (0..4)
            .map(|_| {
                let cache = Arc::clone(&cache);
                thread::spawn(move || cache.get_or_load(true))
            })
            .collect();
        callers.into_iter().for_each(|caller| assert_eq!(caller.join().unwrap(), 1));
        assert_eq!(cache.loads.load(Ordering::Relaxed), 1);
        assert_eq!(cache.flights.len(), 0);
    });
}

/// A caller that begins after an invalidation gets nothing that was read before it. Nothing is
/// stored here: that is the leases' part.
fn detached_flights_are_not_joined(detach: fn(&Flights<Flight>)) {
    let cache = Cache::new();
    let before: Vec<_> = (0..2)
        .map(|_| {
            let cache = Arc::clone(&cache);
            thread::spawn(move || cache.get_or_load(false))
        })
        .collect();
    *cache.source.lock().unwrap() = 2;
    detach(&cache.flights);
    assert_eq!(cache.get_or_load(false), 2, "joined a load that began before");
    for caller in before {
        caller.join().unwrap();
    }
    assert_eq!(cache.flights.len(), 0);
}

#[test]
fn p1_01_callers_after_a_removal_do_not_join() {
    randomly(|| detached_flights_are_not_joined(|flights| flights.detach("key")));
}

#[test]
fn p1_03_callers_after_a_prefix_removal_do_not_join() {
    randomly(|| {
        detached_flights_are_not_joined(|flights| {
            flights.detach_where(|key| key.starts_with("k"));
        });
    });
}

/// The checker can fail: without the detaching, a late caller joins the old load.
#[test]
#[should_panic(expected = "joined a load that began before")]
fn a_removal_that_does_not_detach_is_found() {
    randomly(|| detached_flights_are_not_joined(|_| ()));
}
