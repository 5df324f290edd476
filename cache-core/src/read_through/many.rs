//! Loading many keys with one call of the loader, each key coalesced with every other load of it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use tokio::runtime::Handle;

use super::chain;
use super::counters::Source;
use super::flight::{Flight, Landing, Outcome, Task};
use super::flights::Boarding;
use super::load::{Acceptance, CALLS, Held, runtime};
use super::look_up::{Asked, Lookup, Wanted};
use super::spans::{Ended, Loaded};
use super::{Inner, ReadThrough};
use crate::{CacheError, CacheStore, Entry, Lease, ManyLoader, Policy, Timestamp, check_key};

/// Callers for many keys take "absent" for an answer: a slot is an `Option`.
const TAKES: Acceptance = Acceptance::ValuesAndAbsent;

/// How many calls of the store are under way together. Each has a budget that begins when it does: those
/// of thousands of keys at once would run out in the queue, as if the store did not answer.
const AT_ONCE: usize = 128;

/// What one call is to load.
#[derive(Default)]
struct Led {
    landings: Vec<Landing>,
    /// The task that will, and where it will run.
    task: Option<(Arc<Task>, Handle)>,
}

impl Led {
    /// Ends what was to be loaded: the call failed before it began. Who has joined meanwhile loads.
    fn leave(&mut self, error: &CacheError) {
        for landing in self.landings.drain(..) {
            let message = "the call that was to load the key failed before it began";
            let error = CacheError::new(error.kind(), message).with_source(error.clone());
            let error = error.with_key(landing.key()).with_retryable(true);
            landing.land(Outcome::NotTried(error));
        }
    }
}

/// What one distinct key waits for.
enum Slot {
    Served(Entry),
    Waits {
        flight: Flight,
        joined: bool,
        held: Option<Entry>,
    },
    /// For nothing: the call has failed.
    Unasked,
}

impl<S: CacheStore> ReadThrough<S> {
    pub(super) async fn load_all(
        &self,
        keys: &[String],
        policy: &Policy,
        loader: ManyLoader,
    ) -> Result<Vec<Entry>, CacheError> {
        keys.iter().try_for_each(|key| check_key(key))?;
        let mut order = Vec::new();
        let mut slots = HashMap::with_capacity(keys.len());
        let (mut led, mut due) = (Led::default(), Vec::new());
        let mut failure = None;
        for key in keys.iter().map(String::as_str) {
            if slots.contains_key(key) {
                continue;
            }
            let slot = match self.0.held(key, policy, TAKES) {
                Held::Serve(entry) => Slot::Served(entry),
                Held::Due(entry) => {
                    due.push(key);
                    Slot::Served(entry)
                }
                Held::Stale(entry) => {
                    let slot = self.board_for_many(key, Some(entry.clone()), policy, &mut led);
                    // What cannot be refreshed can be served.
                    slot.unwrap_or(Slot::Served(entry))
                }
                Held::Nothing if failure.is_some() => Slot::Unasked,
                Held::Nothing => {
                    let slot = self.board_for_many(key, None, policy, &mut led);
                    slot.unwrap_or_else(|error| {
                        failure = Some(error);
                        Slot::Unasked
                    })
                }
            };
            slots.insert(key, slot);
            order.push(key);
        }
        match &failure {
            Some(error) => led.leave(error),
            None if order.iter().all(|key| matches!(slots[key], Slot::Served(_))) => {
                for key in due {
                    // The caller has its answers; a refresh that cannot start is no failure.
                    let _ = self.board_for_many(key, None, policy, &mut led);
                }
            }
            None => {}
        }
        self.start_many(led, policy, loader);

        let soft_until = self.0.soft_deadline(policy);
        let mut entries = HashMap::with_capacity(order.len());
        for key in order {
            match slots.remove(key) {
                Some(Slot::Served(entry)) => {
                    entries.insert(key, self.0.served(entry, Source::Local));
                }
                Some(Slot::Waits { flight, joined, held }) if failure.is_none() => {
                    let waited = self.0.wait(key, &flight, held, policy, soft_until).await;
                    match self.0.counted(waited, joined) {
                        Ok(entry) => drop(entries.insert(key, entry)),
                        Err(error) => failure = Some(error),
                    }
                }
                // One failure fails the call; the others are counted all the same.
                Some(Slot::Waits { held: Some(entry), .. }) => {
                    self.0.served(entry, Source::Local);
                }
                Some(Slot::Waits { joined, .. }) => self.0.counters.miss(joined),
                Some(Slot::Unasked) => self.0.counters.miss(false),
                None => {}
            }
        }
        match failure {
            Some(error) => Err(error),
            None => Ok(keys.iter().filter_map(|key| entries.get(key.as_str()).cloned()).collect()),
        }
    }

    fn board_for_many(
        &self,
        key: &str,
        held: Option<Entry>,
        policy: &Policy,
        led: &mut Led,
    ) -> Result<Slot, CacheError> {
        if led.task.is_none() {
            led.task = Some((self.0.task(policy), runtime()?));
        }
        let Led { landings, task: Some((task, _)) } = led else { return Ok(Slot::Unasked) };
        match self.0.flights.board(key, || Flight::new(Arc::clone(task))) {
            Boarding::Joined(flight) => {
                // Before this call loads anything. Who has another answer does not wait.
                if held.is_none() {
                    chain::check(key, &flight)?;
                }
                Ok(Slot::Waits { flight, joined: true, held })
            }
            Boarding::Led(key, flight) => {
                landings.push(Landing::new(&self.0.flights, key, flight.clone()));
                Ok(Slot::Waits { flight, joined: false, held })
            }
        }
    }

    fn start_many(&self, led: Led, policy: &Policy, loader: ManyLoader) {
        let Led { landings, task: Some((loading, runtime)) } = led else { return };
        if landings.is_empty() {
            return;
        }
        let span = self.0.load_span(Loaded::Keys(landings.len()));
        let task = Arc::clone(&self.0).fly_many(landings, loading, policy.clone(), loader);
        // Owned by its flights: it ends by itself, within the load's budget.
        drop(runtime.spawn(span.around(task)));
    }
}

impl<S: CacheStore> Inner<S> {
    /// Loads many keys and ends their flights.
    async fn fly_many(
        self: Arc<Self>,
        led: Vec<Landing>,
        task: Arc<Task>,
        policy: Policy,
        loader: ManyLoader,
    ) -> Ended {
        let deadline = self.clock.now() + policy.load_budget();
        let missing = self.look_up_many(led, &task, &policy, deadline).await;
        if missing.is_empty() {
            return Ended::Found;
        }
        let keys = missing.iter().map(|(landing, _)| landing.key().to_owned()).collect();
        let until = self.clock.now() + policy.load_budget();
        task.renew(until + self.time_for(calls_for(missing.len())));
        let mut loaded = self.call(chain::scope(&task, loader.run(keys)), until).await;
        let ended = loaded.as_ref().map_or_else(Ended::failed, |_| Ended::Loaded);
        let conclude = missing.into_iter().map(|(landing, lease)| {
            let own = match &mut loaded {
                Ok(entries) => {
                    let found = entries.remove(landing.key());
                    Ok(found.unwrap_or_else(|| Entry::absent(&policy)))
                }
                Err(error) => Err(error.clone()),
            };
            let policy = &policy;
            let inner = &self;
            async move {
                let outcome = inner.conclude(&landing, policy, lease, own).await;
                landing.land(outcome);
            }
        });
        some_at_once(conclude.collect()).await;
        ended
    }

    /// Looks all keys up again and takes leases on those that are missing. Keys whose lease
    /// another node holds are waited for, so that the one call of the loader has them all.
    ///
    /// While it waits for a key it holds leases on lesser keys only, and asks for no other. So
    /// nodes that want the same keys never wait for each other: of those that wait in a circle
    /// each would hold a key that is less than the one it waits for.
    ///
    /// A lease from before a wait would run out before the loader's time does. So it is given back
    /// at the end and taken anew, in the same way, with one more `load_timeout` to wait in.
    async fn look_up_many(
        &self,
        led: Vec<Landing>,
        task: &Task,
        policy: &Policy,
        mut deadline: Timestamp,
    ) -> Vec<(Landing, Option<Lease>)> {
        let time_for_calls = self.time_for(calls_for(led.len()));
        let (mut missing, mut open, mut later) = (Vec::new(), led, Vec::new());
        // How many of those that are missing are from before the last wait; they come first.
        let (mut aged, mut extended) = (0, false);
        loop {
            if open.is_empty() {
                open = std::mem::take(&mut later);
            }
            if open.is_empty() {
                let mut old: Vec<_> = missing.drain(..std::mem::take(&mut aged)).collect();
                open = self.give_back(&mut old, |_| true).await;
                missing.append(&mut old);
                if open.is_empty() {
                    return missing;
                }
                if !std::mem::replace(&mut extended, true) {
                    deadline = self.clock.now() + policy.load_budget();
                }
            }
            task.renew(deadline.max(self.clock.now()) + time_for_calls);
            let keys: Vec<_> = open.iter().map(|landing| landing.key().to_owned()).collect();
            let found = match self.fetch_all(&keys, policy).await {
                Ok(found) => found,
                Err(error) => {
                    self.note(&error, "fetch_many");
                    for landing in open.into_iter().chain(later) {
                        let lease = self.lease_here(landing.key(), policy).await;
                        missing.push((landing, lease));
                    }
                    return missing;
                }
            };
            let mut asking = Vec::new();
            for (landing, found) in open.into_iter().zip(found) {
                let replaces = self.is_replaced(found.as_ref());
                match self.assess(wanted(&landing, policy, deadline), found) {
                    Some(done) => settle(landing, done, &mut missing),
                    None => asking.push((landing, replaces)),
                }
            }
            let mut asked = Vec::with_capacity(asking.len());
            for (landing, replaces) in &asking {
                asked.push(self.ask(wanted(landing, policy, deadline), *replaces));
            }
            let asked = some_at_once(asked).await;
            let mut held = Vec::new();
            for ((landing, _), asked) in asking.into_iter().zip(asked) {
                match asked {
                    Asked::Settled(done) => settle(landing, done, &mut missing),
                    Asked::Held(retry_after, change) => held.push((landing, retry_after, change)),
                }
            }
            let least = held.iter().enumerate().min_by_key(|(_, (landing, ..))| landing.key());
            let Some(least) = least.map(|(at, _)| at) else {
                open = Vec::new();
                continue;
            };
            let (first, retry_after, change) = held.swap_remove(least);
            let again = self.clock.now() + retry_after;
            later.extend(held.into_iter().map(|(landing, ..)| landing));
            later.extend(self.give_back(&mut missing, |key| key >= first.key()).await);
            self.pause(change.into_iter().collect(), again.min(deadline)).await;
            aged = missing.len();
            open = vec![first];
        }
    }

    /// Gives the leases back on keys that `which` selects, and returns these keys.
    async fn give_back(
        &self,
        missing: &mut Vec<(Landing, Option<Lease>)>,
        which: impl Fn(&str) -> bool,
    ) -> Vec<Landing> {
        let all = std::mem::take(missing).into_iter();
        let (back, kept): (Vec<_>, Vec<_>) =
            all.partition(|(landing, lease)| lease.is_some() && which(landing.key()));
        *missing = kept;
        let give_back = |(landing, lease): (Landing, Option<Lease>)| async move {
            if let Some(lease) = lease
                && let Err(error) = self.store.abandon(lease).await
            {
                self.note(&self.failed(error, landing.key()), "abandon");
            }
            landing
        };
        some_at_once(back.into_iter().map(give_back).collect()).await
    }

    async fn fetch_all(
        &self,
        keys: &[String],
        policy: &Policy,
    ) -> Result<Vec<Option<Entry>>, CacheError> {
        let peek = |key: &String| {
            self.store.peek(key).filter(|entry| self.clock.is_before(entry.fresh_until()))
        };
        let held: Vec<_> = keys.iter().map(peek).collect();
        // Another node may have refreshed it.
        if held.iter().flatten().any(|entry| self.is_due(entry, policy)) {
            return self.slots(keys, self.store.fetch_many_shared(keys)).await;
        }
        if held.iter().all(Option::is_some) {
            return Ok(held);
        }
        self.fetch_slots(keys).await
    }
}

/// How often the store is called at most, one call after the other, to look so many keys up and take
/// their leases, or to give those back.
fn calls_for(keys: usize) -> u32 {
    let turns = u32::try_from(keys.div_ceil(AT_ONCE)).unwrap_or(u32::MAX);
    turns.saturating_mul(CALLS).saturating_add(CALLS)
}

/// Waits for all, of which so many are under way at a time.
async fn some_at_once<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    stream::iter(futures).buffered(AT_ONCE).collect().await
}

fn wanted<'a>(landing: &'a Landing, policy: &'a Policy, deadline: Timestamp) -> Wanted<'a> {
    Wanted { flight: landing.flight(), key: landing.key(), policy, takes: TAKES, deadline }
}

/// Ends a flight that needs no loader, or puts it with those that do.
fn settle(landing: Landing, done: Lookup, missing: &mut Vec<(Landing, Option<Lease>)>) {
    match done {
        Lookup::Fresh(entry) => landing.land(Outcome::Found(entry)),
        Lookup::Refused(error) => landing.land(Outcome::Failed(error)),
        Lookup::NotTried(error) => landing.land(Outcome::NotTried(error)),
        Lookup::Missing(lease) => missing.push((landing, lease)),
    }
}
