//! Which operations are to go wrong, and a record of all.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_core::{CacheError, Clock, ErrorKind};
use parking_lot::Mutex;

use super::operation::Operation;
use crate::Gate;

/// The remote control of a [`FlakyCache`](crate::FlakyCache). Clones control the same one.
#[derive(Clone, Default)]
pub struct Faults(Arc<State>);

/// Apart, and neither is locked while a predicate runs: it may ask for, and change, the other.
#[derive(Default)]
struct State {
    rules: Mutex<Vec<Rule>>,
    /// How many rules there have been.
    set: AtomicU64,
    record: Mutex<Vec<Operation>>,
}

type Predicate = Arc<dyn Fn(&Operation) -> bool + Send + Sync>;

struct Rule {
    /// Its number.
    id: u64,
    when: Predicate,
    stage: Stage,
    /// How often it still applies; `None`: always.
    left: Option<usize>,
    effect: Effect,
}

/// On which side of the inner operation something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Before,
    After,
}

#[derive(Clone)]
enum Effect {
    Fail(CacheError),
    Delay(Duration),
    Hold(Gate),
    Yield(usize),
}

impl Faults {
    /// Begins a fault that befalls the operations for which `when` holds: say how often, on which
    /// side of the operation, and then what happens. Several faults of one operation happen in
    /// the order in which they were set; after a failure no further one does.
    ///
    /// `when` may ask and change these faults itself, for what went before: the operation that it is asked
    /// about is on record already.
    ///
    /// ```
    /// use cache_core::{CacheServiceExt, ErrorKind, ReadThrough};
    /// use cache_testkit::{FlakyCache, MockCacheService, Operation};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let store = FlakyCache::remote(MockCacheService::passthrough());
    /// let (faults, seen) = (store.faults(), store.faults());
    /// let cache = ReadThrough::new(store);
    /// let written = move || seen.count(Operation::is_write) > 0;
    /// faults.when(move |op| op.is_read() && written()).fail(ErrorKind::Unavailable);
    ///
    /// assert!(cache.get::<u32>("a").await.is_ok());
    /// cache.set("a", &1, None).await.unwrap();
    /// assert!(cache.get::<u32>("a").await.is_err());
    /// # }
    /// ```
    pub fn when(&self, when: impl Fn(&Operation) -> bool + Send + Sync + 'static) -> Fault {
        Fault { faults: self.clone(), when: Arc::new(when), stage: Stage::Before, times: None }
    }

    /// Ends all faults. What is held stays held until its gate is opened.
    pub fn heal(&self) {
        self.0.rules.lock().clear();
    }

    /// Every operation so far, in the order in which they began.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        self.0.record.lock().clone()
    }

    /// How many operations so far `which` holds for.
    #[must_use]
    pub fn count(&self, which: impl Fn(&Operation) -> bool) -> usize {
        // Asked of a copy: it may ask for more.
        self.operations().iter().filter(|operation| which(operation)).count()
    }

    /// Empties the record.
    pub fn forget_operations(&self) {
        self.0.record.lock().clear();
    }

    pub(super) fn note(&self, operation: &Operation) {
        self.0.record.lock().push(operation.clone());
    }

    /// Lets happen what is to happen on this side of `operation`.
    pub(super) async fn befall(
        &self,
        stage: Stage,
        operation: &Operation,
        clock: &Clock,
    ) -> Result<(), CacheError> {
        for effect in self.take(stage, operation) {
            match effect {
                Effect::Fail(error) => return Err(error),
                Effect::Delay(delay) => clock.sleep(delay).await,
                Effect::Hold(gate) => gate.pass().await,
                Effect::Yield(turns) => {
                    for _ in 0..turns {
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
        Ok(())
    }

    /// What befalls `operation`, up to the first failure, each counted as one of its times.
    fn take(&self, stage: Stage, operation: &Operation) -> Vec<Effect> {
        let asked: Vec<(u64, Predicate)> = {
            let rules = self.0.rules.lock();
            let of_stage = rules.iter().filter(|rule| rule.stage == stage && rule.left != Some(0));
            of_stage.map(|rule| (rule.id, Arc::clone(&rule.when))).collect()
        };
        let mut effects = Vec::new();
        for (id, when) in asked {
            if !when(operation) {
                continue;
            }
            // It may be over meanwhile.
            let mut rules = self.0.rules.lock();
            let Some(rule) = rules.iter_mut().find(|rule| rule.id == id) else { continue };
            if rule.left == Some(0) {
                continue;
            }
            rule.left = rule.left.map(|left| left - 1);
            effects.push(rule.effect.clone());
            if matches!(rule.effect, Effect::Fail(_)) {
                break;
            }
        }
        effects
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults")
            .field("faults", &self.0.rules.lock().len())
            .field("operations", &self.0.record.lock().len())
            .finish()
    }
}

/// A fault in the making: [`Faults::when`] begins it, [`fail`](Self::fail), [`delay`](Self::delay),
/// [`hold`](Self::hold) or [`yields`](Self::yields) set it.
#[must_use = "say what is to happen: fail, delay, hold or yields"]
pub struct Fault {
    faults: Faults,
    when: Predicate,
    stage: Stage,
    times: Option<usize>,
}

impl Fault {
    /// Only the first time.
    pub fn once(self) -> Self {
        self.times(1)
    }

    /// Only the first `times` times.
    pub fn times(self, times: usize) -> Self {
        Self { times: Some(times), ..self }
    }

    /// After the inner operation, which has taken effect then: its reply is what is lost or late.
    pub fn after(self) -> Self {
        Self { stage: Stage::After, ..self }
    }

    /// It fails with an error of this kind.
    pub fn fail(self, kind: ErrorKind) {
        self.fail_with(CacheError::new(kind, "the test wants it to fail"));
    }

    /// It fails with this error.
    pub fn fail_with(self, error: CacheError) {
        self.set(Effect::Fail(error));
    }

    /// It takes `delay` longer, by the cache's clock.
    pub fn delay(self, delay: Duration) {
        self.set(Effect::Delay(delay));
    }

    /// It waits at the gate that is returned until the test opens it. [`Gate::reached`] tells when
    /// it has got there.
    pub fn hold(self) -> Gate {
        let gate = Gate::new();
        self.set(Effect::Hold(gate.clone()));
        gate
    }

    /// It lets other tasks run `turns` times: an operation that would be over at once has await
    /// points then.
    pub fn yields(self, turns: usize) {
        self.set(Effect::Yield(turns));
    }

    fn set(self, effect: Effect) {
        let Self { faults, when, stage, times } = self;
        let id = faults.0.set.fetch_add(1, Ordering::Relaxed);
        faults.0.rules.lock().push(Rule { id, when, stage, left: times, effect });
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault")
            .field("stage", &self.stage)
            .field("times", &self.times)
            .finish_non_exhaustive()
    }
}
