//! Lock services with a fault.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use cache_concurrency::LocalConcurrencyService;
use cache_core::{
    Clock, ConcurrencyService, FencingToken, LockError, LockErrorKind, LockGuard, LockInfo,
    LockLease, LockOptions, LockRelease, LockReleasing, ManualClock, Timestamp,
};
use cache_testkit::concurrency_suite::LockHarness;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Who waits tries again and again instead of queueing.
    Barging,
    /// A release frees the key, whoever holds it by then.
    ReleaseByKey,
    /// Every grant has the same token.
    RepeatedToken,
    /// Every token is lower than it should be; the server's other clients have the right ones.
    LowerToken,
    /// Who only tries gets a token of another sequence, with lower numbers.
    TryTokenLower,
    /// The token of a lock that was not given back is forgotten, unless somebody waits.
    TokenStartsAnew,
    /// Who only tries waits nevertheless.
    TryWaits,
    /// Who waits does so for ten seconds more than it should.
    WaitsOn,
    /// A waiter that goes leaves the queue, but not the lock that it has been granted meanwhile.
    LeaksGrant,
    /// A renewal prolongs the lock, whoever holds it by then.
    RenewsByKey,
    /// A holder whose lease is over is shown until its guard is gone.
    ShowsExpired,
    /// The same in the list only.
    ListsExpired,
    /// Keys are compared without case and blanks at their ends.
    FoldsKeys,
    /// `force_release` knows no lock.
    ForcesNothing,
}

#[derive(Clone, Debug)]
pub(super) struct Broken {
    pub(super) fault: Fault,
    inner: LocalConcurrencyService,
    clock: Clock,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: AtomicUsize,
    /// What is held, and was not given back in time.
    granted: Mutex<HashMap<String, LockInfo>>,
    /// Guards that are to be renewed.
    renewing: AtomicUsize,
    forced: AtomicBool,
    /// Has the lock after one that was taken away.
    succeeded: AtomicBool,
}

impl Broken {
    pub(super) fn of(fault: Fault, inner: &LocalConcurrencyService, clock: Clock) -> Self {
        Self { fault, inner: inner.clone(), clock, state: Arc::default() }
    }

    pub(super) fn harness(fault: Fault) -> LockHarness {
        let clock = ManualClock::new();
        let inner = LocalConcurrencyService::builder().clock(&clock).build();
        LockHarness::new(Self::of(fault, &inner, clock.clock())).with_clock(clock)
    }

    pub(super) fn in_real_time(fault: Fault) -> LockHarness {
        LockHarness::new(Self::of(fault, &LocalConcurrencyService::new(), Clock::system()))
    }

    /// One client is well, the other has the fault.
    pub(super) fn between_two(fault: Fault) -> LockHarness {
        let clock = ManualClock::new();
        let inner = LocalConcurrencyService::builder().clock(&clock).build();
        let well = Self::of(Fault::None, &inner, clock.clock());
        let other = Self { fault, ..well.clone() };
        let another = move || std::future::ready(other.clone());
        LockHarness::new(well).with_clock(clock).with_another(another)
    }

    /// Two clients, each with a server of its own.
    pub(super) fn apart() -> LockHarness {
        let clock = ManualClock::new();
        let alone = |clock: &ManualClock| LocalConcurrencyService::builder().clock(clock).build();
        let other = alone(&clock);
        let another = move || std::future::ready(other.clone());
        LockHarness::new(alone(&clock)).with_clock(clock).with_another(another)
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn key(&self, key: &str) -> String {
        match self.fault {
            Fault::FoldsKeys => key.trim().to_lowercase(),
            _ => key.to_owned(),
        }
    }

    /// The guard as the fault would have it.
    fn guard(&self, inner: LockGuard, options: &LockOptions, way: Way) -> LockGuard {
        let (key, right) = (inner.key().to_owned(), inner.fencing_token());
        let half = FencingToken(u64::from(right) / 2);
        let mut granted = self.state.granted.lock().unwrap();
        let token = match self.fault {
            Fault::RepeatedToken => FencingToken(7),
            Fault::LowerToken => half,
            Fault::TryTokenLower if way == Way::Tried => half,
            Fault::TokenStartsAnew if way != Way::Waited && granted.contains_key(&key) => {
                FencingToken(1)
            }
            _ => right,
        };
        let mut info = LockInfo::new(&*key, "somebody", right);
        info.remaining = options.lease_duration();
        granted.insert(key.clone(), info);
        if options.renews() {
            self.state.renewing.fetch_add(1, SeqCst);
        }
        self.state.succeeded.store(self.state.forced.load(SeqCst), SeqCst);
        let until = self.clock.now() + options.lease_duration();
        let lease = LockLease::new(key.into(), token, &self.clock, until, Timestamp::MAX);
        let inner = Mutex::new(Some(inner));
        let renewed = options.renews();
        LockGuard::new(lease, Arc::new(Release { inner, of: self.clone(), renewed }))
    }

    /// Somebody renews a lock that is not its own any more, and so nobody gets it.
    fn is_kept(&self) -> bool {
        let State { renewing, forced, succeeded, .. } = &*self.state;
        self.is(Fault::RenewsByKey)
            && renewing.load(SeqCst) > 0
            && forced.load(SeqCst)
            && succeeded.load(SeqCst)
    }

    /// What is shown of a lock that is free.
    fn remembered(&self, key: &str) -> Option<LockInfo> {
        self.state.granted.lock().unwrap().get(key).cloned()
    }

    async fn barge(&self, key: &str, options: &LockOptions) -> Result<LockGuard, LockError> {
        self.state.waiting.fetch_add(1, SeqCst);
        let deadline = self.clock.now() + options.wait_duration();
        let guard = loop {
            match self.inner.try_acquire(key, options).await {
                Ok(None) if self.clock.now() < deadline => tokio::task::yield_now().await,
                tried => break tried,
            }
        };
        self.state.waiting.fetch_sub(1, SeqCst);
        guard?
            .ok_or_else(|| LockError::new(LockErrorKind::Timeout, "held by another").with_key(key))
    }
}

/// How a lock was got.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Tried,
    AtOnce,
    Waited,
}

struct Release {
    inner: Mutex<Option<LockGuard>>,
    of: Broken,
    renewed: bool,
}

impl LockRelease for Release {
    fn release(&self, lease: &LockLease) -> LockReleasing {
        let guard = self.inner.lock().unwrap().take().unwrap();
        let state = &self.of.state;
        if self.renewed && state.renewing.fetch_sub(1, SeqCst) == 1 {
            state.forced.store(false, SeqCst);
        }
        let mut granted = state.granted.lock().unwrap();
        let shows = matches!(self.of.fault, Fault::ShowsExpired | Fault::ListsExpired);
        if guard.check().is_ok() || shows {
            granted.remove(guard.key());
        }
        drop(granted);
        let (locks, key) = (self.of.inner.clone(), lease.key().to_owned());
        if !self.of.is(Fault::ReleaseByKey) {
            return LockReleasing::Pending(Box::pin(guard.release()));
        }
        LockReleasing::Pending(Box::pin(async move {
            let guard = guard;
            if let Some(info) = locks.inspect(&key).await? {
                locks.force_release(&key, info.fencing_token).await?;
            }
            drop(guard);
            Ok(())
        }))
    }
}

/// A wait that, given up, forgets what it was granted.
struct Leaky<'a> {
    waiting: Pin<Box<dyn Future<Output = Result<LockGuard, LockError>> + Send + 'a>>,
    done: bool,
}

impl Future for Leaky<'_> {
    type Output = Result<LockGuard, LockError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let poll = self.waiting.as_mut().poll(cx);
        self.done = poll.is_ready();
        poll
    }
}

impl Drop for Leaky<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let look = self.waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(Ok(guard)) = look {
            std::mem::forget(guard);
        }
    }
}

#[async_trait]
impl ConcurrencyService for Broken {
    async fn acquire(&self, key: &str, options: &LockOptions) -> Result<LockGuard, LockError> {
        let key = &*self.key(key);
        let (guard, way) = match self.fault {
            Fault::Barging => (self.barge(key, options).await?, Way::Waited),
            Fault::LeaksGrant => {
                let waiting = self.inner.acquire(key, options);
                (Leaky { waiting, done: false }.await?, Way::Waited)
            }
            Fault::WaitsOn => {
                let wait = options.wait_duration().saturating_add(Duration::from_secs(10));
                (self.inner.acquire(key, &options.clone().wait(wait)).await?, Way::Waited)
            }
            _ => match self.inner.try_acquire(key, options).await? {
                Some(guard) => (guard, Way::AtOnce),
                None => (self.inner.acquire(key, options).await?, Way::Waited),
            },
        };
        Ok(self.guard(guard, options, way))
    }

    async fn try_acquire(
        &self,
        key: &str,
        options: &LockOptions,
    ) -> Result<Option<LockGuard>, LockError> {
        let key = &*self.key(key);
        if self.is_kept() {
            return Ok(None);
        }
        let guard = match self.fault {
            Fault::TryWaits => match self.inner.acquire(key, options).await {
                Err(error) if error.kind() == LockErrorKind::Timeout => None,
                taken => Some(taken?),
            },
            _ => self.inner.try_acquire(key, options).await?,
        };
        Ok(guard.map(|guard| self.guard(guard, options, Way::Tried)))
    }

    async fn inspect(&self, key: &str) -> Result<Option<LockInfo>, LockError> {
        let key = &*self.key(key);
        let mut info = self.inner.inspect(key).await?;
        if let Some(info) = &mut info {
            info.waiters += self.state.waiting.load(SeqCst);
        }
        let shown = self.remembered(key).filter(|_| self.is(Fault::ShowsExpired));
        Ok(info.or(shown))
    }

    async fn list(&self, limit: usize) -> Result<Vec<LockInfo>, LockError> {
        let mut found = self.inner.list(limit).await?;
        if matches!(self.fault, Fault::ShowsExpired | Fault::ListsExpired) {
            for (key, info) in &*self.state.granted.lock().unwrap() {
                if found.iter().all(|found| *found.key != **key) {
                    found.push(info.clone());
                }
            }
        }
        Ok(found)
    }

    async fn force_release(&self, key: &str, token: FencingToken) -> Result<bool, LockError> {
        let key = &*self.key(key);
        if self.is(Fault::ForcesNothing) {
            return Ok(false);
        }
        let taken = self.inner.force_release(key, token).await?;
        self.state.forced.fetch_or(taken, SeqCst);
        Ok(taken)
    }

    async fn shutdown(&self) {
        self.inner.shutdown().await;
    }
}
