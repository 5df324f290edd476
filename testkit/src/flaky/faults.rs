//! Which operations are to go wrong, and a record of all.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cache_core::{CacheError, Clock, ErrorKind};
use parking_lot::Mutex;

use super::operation::Operation;
use crate::Gate;

/// The remote control of a [`FlakyCache`](crate::FlakyCache). Clones control the same one.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    record: Vec<Operation>,
}

type Predicate = Box<dyn Fn(&Operation) -> bool + Send + Sync>;

struct Rule {
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
    pub fn when(&self, when: impl Fn(&Operation) -> bool + Send + Sync + 'static) -> Fault {
        Fault { faults: self.clone(), when: Box::new(when), stage: Stage::Before, times: None }
    }

    /// Ends all faults. What is held stays held until its gate is opened.
    pub fn heal(&self) {
        self.0.lock().rules.clear();
    }

    /// Every operation so far, in the order in which they began.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        self.0.lock().record.clone()
    }

    /// How many operations so far `which` holds for.
    #[must_use]
    pub fn count(&self, which: impl Fn(&Operation) -> bool) -> usize {
        self.0.lock().record.iter().filter(|operation| which(operation)).count()
    }

    /// Empties the record.
    pub fn forget_operations(&self) {
        self.0.lock().record.clear();
    }

    pub(super) fn note(&self, operation: &Operation) {
        self.0.lock().record.push(operation.clone());
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
        let mut effects = Vec::new();
        for rule in &mut self.0.lock().rules {
            if rule.stage != stage || rule.left == Some(0) || !(rule.when)(operation) {
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
        let state = self.0.lock();
        f.debug_struct("Faults")
            .field("faults", &state.rules.len())
            .field("operations", &state.record.len())
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
        faults.0.lock().rules.push(Rule { when, stage, left: times, effect });
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
