//! How long an entry lives: from a policy's words to deadlines.

use std::time::Duration;

use super::{Body, Entry};
use crate::{Clock, Policy, Timestamp};

/// What a store has still to heed of an entry.
#[derive(Clone)]
pub(super) enum Terms {
    /// Lifetimes before a store has taken the entry.
    Draft(Draft),
    /// It is settled; a store in the process has a bound of its own to keep.
    Local(Local),
}

#[derive(Clone)]
pub(super) struct Draft {
    /// `None`: the store's default.
    ttl: Option<Duration>,
    /// The longest the TTL may be.
    cap: Duration,
    stale_for: Duration,
    local_ttl: Option<Duration>,
    /// What jitter leaves of the TTL, from 0 to 1.
    scale: f64,
    /// When the lifetimes begin: when it was encoded, until an engine dates it anew.
    from: Timestamp,
    dated: bool,
}

/// How long a process may hold the entry, and since when.
#[derive(Clone, Copy)]
pub(super) struct Local {
    ttl: Duration,
    from: Timestamp,
}

impl Draft {
    fn new(policy: &Policy, is_absent: bool) -> Self {
        let (ttl, cap, stale_for) = if is_absent {
            let (ttl, cap) = policy.negative_terms();
            (ttl, cap, Duration::ZERO)
        } else {
            (policy.time_to_live(), Duration::MAX, policy.stale_window())
        };
        let jitter = policy.jitter_fraction();
        Self {
            ttl,
            cap,
            stale_for,
            local_ttl: policy.time_held_locally(),
            scale: if jitter > 0.0 { 1.0 - jitter * fastrand::f64() } else { 1.0 },
            from: Clock::system().now(),
            dated: false,
        }
    }

    /// When freshness and servability end.
    fn deadlines(&self) -> (Timestamp, Timestamp) {
        let ttl = self.ttl.unwrap_or(Duration::MAX).min(self.cap);
        let scaled =
            if self.scale >= 1.0 || ttl == Duration::MAX { ttl } else { ttl.mul_f64(self.scale) };
        let fresh_until = self.from + scaled;
        (fresh_until, fresh_until + self.stale_for)
    }
}

impl Terms {
    /// What is left of them when the deadlines are settled.
    fn local(&self) -> Option<Local> {
        match self {
            Self::Draft(Draft { local_ttl, from, .. }) => {
                local_ttl.map(|ttl| Local { ttl, from: *from })
            }
            Self::Local(local) => Some(*local),
        }
    }
}

impl Entry {
    pub(super) fn draft(payload: Option<&[u8]>, policy: &Policy) -> Self {
        let draft = Draft::new(policy, payload.is_none());
        let (fresh_until, servable_until) = draft.deadlines();
        let body = Body::new(payload, fresh_until, servable_until);
        Self { body, terms: Some(Box::new(Terms::Draft(draft))) }
    }

    /// Lets a draft's lifetimes begin at `now`, with `default_ttl` where its policy set none.
    /// Anything but an undated draft is left alone.
    #[must_use]
    pub fn date(mut self, now: Timestamp, default_ttl: Duration) -> Self {
        if let Some(Terms::Draft(draft)) = self.terms.as_deref_mut()
            && !draft.dated
        {
            draft.ttl.get_or_insert(default_ttl);
            draft.from = now;
            draft.dated = true;
            let (fresh_until, servable_until) = draft.deadlines();
            self.body.set_deadlines(fresh_until, servable_until);
        }
        self
    }

    /// Turns a draft into what a shared store keeps, its lifetimes beginning at `now` unless it is
    /// dated already. An entry that is settled is left alone. The policy's `local_ttl` stays known,
    /// for the store to keep with the entry.
    #[must_use]
    pub fn settle(self, now: Timestamp, default_ttl: Duration) -> Self {
        let mut entry = self.date(now, default_ttl);
        entry.settled();
        entry
    }

    /// [`settle`](Self::settle) for a store in the process: freshness also ends with the
    /// [`local_ttl`](Self::local_ttl), and the stale window follows it.
    #[must_use]
    pub fn settle_local(self, now: Timestamp, default_ttl: Duration) -> Self {
        let mut entry = self.date(now, default_ttl);
        if let Some(Local { ttl, from }) = entry.terms.take().and_then(|terms| terms.local()) {
            let bound = from + ttl;
            if bound < entry.fresh_until() {
                let window = entry.fresh_until().until(entry.servable_until());
                entry.body.cut(bound, entry.servable_until().min(bound + window));
            }
        }
        entry
    }

    /// How long a process may hold it in memory at most, whatever its TTL; `None` without a bound.
    /// An entry that a store in the process has taken is within it already and does not tell.
    #[must_use]
    pub fn local_ttl(&self) -> Option<Duration> {
        self.terms.as_deref()?.local().map(|local| local.ttl)
    }

    /// The same entry with a [`local_ttl`](Self::local_ttl) that counts from `from`, as a shared
    /// store that has kept it gives it back; lifetimes that were still open are settled.
    ///
    /// ```
    /// use cache_core::{Entry, Timestamp};
    /// use std::time::Duration;
    ///
    /// let (now, hour) = (Timestamp::from_micros(1_000_000), Duration::from_secs(3_600));
    /// let read = Entry::restore(Some(*b"1"), now + hour, now + hour);
    /// let read = read.with_local_ttl(now, Duration::from_secs(5));
    /// assert_eq!(read.fresh_until(), now + hour);
    /// let held = read.settle_local(now, hour);
    /// assert_eq!(held.fresh_until(), now + Duration::from_secs(5));
    /// ```
    #[must_use]
    pub fn with_local_ttl(self, from: Timestamp, ttl: Duration) -> Self {
        Self { terms: Some(Box::new(Terms::Local(Local { ttl, from }))), ..self }
    }

    /// What a process keeps of an entry in front of a shared store: freshness ends `at_most` so long
    /// after `now`, and the stale window follows it, for when the shared store cannot be asked. The
    /// entry's own [`local_ttl`](Self::local_ttl) ends both.
    #[must_use]
    pub fn held_at_most(self, now: Timestamp, at_most: Duration) -> Self {
        let local = self.terms.as_deref().and_then(Terms::local);
        let mut entry = self.settle_local(now, Duration::MAX);
        let (bound, fresh_until) = (now + at_most, entry.fresh_until());
        if bound < fresh_until {
            let servable_until = entry.servable_until();
            let window = fresh_until.until(servable_until);
            entry.body.cut(bound, servable_until.min(bound + window));
        }
        match local {
            Some(Local { ttl, from }) => entry.until(from + ttl),
            None => entry,
        }
    }

    /// The same value with freshness and servability cut to end by `deadline`. Lifetimes that were
    /// still open are settled; the [`local_ttl`](Self::local_ttl) stays.
    #[must_use]
    pub fn until(mut self, deadline: Timestamp) -> Self {
        self.settled();
        if deadline < self.servable_until() {
            self.body.cut(self.fresh_until().min(deadline), deadline);
        }
        self
    }

    /// The deadlines are what they are.
    fn settled(&mut self) {
        if let Some(Terms::Draft(_)) = self.terms.as_deref() {
            let local = self.terms.take().and_then(|terms| terms.local());
            self.terms = local.map(|local| Box::new(Terms::Local(local)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_is_dated_once() {
        let (start, later) = (Timestamp::from_micros(10), Timestamp::from_micros(99));
        let entry = Entry::encode(&1, &Policy::from(None)).unwrap();
        let entry = entry.date(start, Duration::from_micros(5)).settle(later, Duration::MAX);
        assert_eq!(entry.fresh_until(), Timestamp::from_micros(15));
    }

    #[test]
    fn lifetimes_saturate() {
        let policy = Policy::ttl(Duration::MAX).stale_for(Duration::MAX).jitter(0.5);
        let entry =
            Entry::encode(&1, &policy).unwrap().settle_local(Timestamp::ZERO, Duration::ZERO);
        assert_eq!(entry.servable_until(), Timestamp::MAX);
    }

    #[test]
    fn local_ttl_bounds_only_local_stores() {
        let policy = Policy::ttl(Duration::from_micros(100)).local_ttl(Duration::from_micros(10));
        let entry = Entry::encode(&1, &policy).unwrap().date(Timestamp::ZERO, Duration::MAX);
        let far = entry.clone().settle(Timestamp::ZERO, Duration::MAX);
        let near = entry.settle_local(Timestamp::ZERO, Duration::MAX);
        assert_eq!(far.fresh_until(), Timestamp::from_micros(100));
        assert_eq!(near.fresh_until(), Timestamp::from_micros(10));
    }

    fn at(micros: u64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    #[test]
    fn local_ttl_survives_a_shared_store() {
        let policy = Policy::ttl(Duration::from_micros(100))
            .stale_for(Duration::from_micros(7))
            .local_ttl(Duration::from_micros(10));
        let far = Entry::encode(&1, &policy).unwrap().settle(at(5), Duration::MAX);
        assert_eq!(far.local_ttl(), Some(Duration::from_micros(10)));
        assert_eq!(far.clone().date(at(9), Duration::ZERO).fresh_until(), at(105));
        // Written through: both tiers count from the write.
        let near = far.clone().settle_local(at(50), Duration::MAX);
        assert_eq!((near.fresh_until(), near.servable_until()), (at(15), at(22)));
        assert_eq!(near.local_ttl(), None);

        // Read back: the process counts from the read.
        let read = Entry::restore(Some(*b"1"), far.fresh_until(), far.servable_until());
        assert_eq!(read.local_ttl(), None);
        let read = read.with_local_ttl(at(50), Duration::from_micros(10));
        let near = read.clone().settle(at(0), Duration::MAX).settle_local(at(51), Duration::MAX);
        assert_eq!((near.fresh_until(), near.servable_until()), (at(60), at(67)));
        // The remaining far TTL bounds it, too.
        let late = read.clone().with_local_ttl(at(103), Duration::from_micros(10));
        let near = late.settle_local(at(103), Duration::MAX);
        assert_eq!((near.fresh_until(), near.servable_until()), (at(105), at(112)));
        let near = read.until(at(61)).settle_local(at(51), Duration::MAX);
        assert_eq!((near.fresh_until(), near.servable_until()), (at(60), at(60)));
    }

    /// What is held in front of a shared store.
    #[test]
    fn p2_no_stale_value_is_held_after_its_local_ttl() {
        let (long, short) = (Duration::from_micros(100), Duration::from_micros(10));
        let stale = Policy::ttl(long).stale_for(long);
        let held = |policy: &Policy, at_most| {
            let near = Entry::encode(&1, policy).unwrap().settle(at(0), Duration::MAX);
            let near = near.held_at_most(at(1), at_most);
            (near.fresh_until(), near.servable_until())
        };
        let local = stale.clone().local_ttl(short);
        assert_eq!(held(&local, Duration::MAX), (at(10), at(10)));
        assert_eq!(held(&local, Duration::from_micros(4)), (at(5), at(10)));
        let shared = stale.clone().local_ttl(Duration::ZERO);
        assert_eq!(held(&shared, Duration::MAX), (at(0), at(0)));
        // One that is longer than the TTL bounds the stale window.
        let long_local = stale.clone().local_ttl(Duration::from_micros(150));
        assert_eq!(held(&long_local, Duration::MAX), (at(100), at(150)));
        // Without one the stale value is there for when the shared store is not.
        assert_eq!(held(&stale, short), (at(11), at(111)));
    }

    #[test]
    fn p3_a_copy_that_ends_sooner_is_due_only_if_the_local_ttl_says_so() {
        let micros = Duration::from_micros;
        let policy = Policy::ttl(micros(100)).refresh_ahead(0.5);
        let due = |entry: &Entry, policy: &Policy| {
            let due = |now| policy.wants_refresh(entry, now, Duration::MAX);
            (0..entry.fresh_until().as_micros()).map(at).find(|now| due(*now))
        };
        let made = |policy: &Policy| Entry::encode(&1, policy).unwrap().date(at(0), Duration::MAX);
        let entry = made(&policy);
        assert_eq!(due(&entry, &policy), Some(at(50)));
        assert_eq!(due(&entry.clone().held_at_most(at(30), micros(70)), &policy), Some(at(50)));
        let cut = entry.clone().held_at_most(at(30), micros(69));
        assert_eq!((cut.fresh_until(), due(&cut, &policy)), (at(99), None));
        assert_eq!(due(&entry.until(at(60)), &policy), None);
        // A copy of it, and one that was read, as a store with an idle time notes.
        let copy = cut.clone().until(at(98));
        copy.body().touch(at(7));
        assert_eq!((copy.body().read_at(), due(&copy, &policy)), (at(7), None));
        for (local, expected) in [(40, None), (60, Some(at(50))), (200, Some(at(50)))] {
            let policy = policy.clone().local_ttl(micros(local));
            let held = made(&policy).settle_local(at(0), Duration::MAX);
            assert_eq!(due(&held, &policy), expected, "{local}");
        }
        let lasting = Policy::ttl(Duration::MAX).refresh_ahead(0.5).local_ttl(micros(10));
        let held = made(&lasting).settle_local(at(0), Duration::MAX);
        assert_eq!(due(&held, &lasting), None);
    }

    #[test]
    fn an_everlasting_entry_has_a_local_ttl_too() {
        let policy =
            Policy::ttl(Duration::MAX).negative_ttl(Duration::MAX).local_ttl(Duration::ZERO);
        for entry in [Entry::encode(&1, &policy).unwrap(), Entry::absent(&policy)] {
            let near = entry.settle(at(5), Duration::MAX).settle_local(at(6), Duration::MAX);
            assert_eq!(near.fresh_until(), at(5));
        }
    }
}
