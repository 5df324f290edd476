//! What the driver is to do.

use std::fmt;
use std::time::Duration;

use cache_core::{ManualClock, Policy};
use fastrand::Rng;

use super::driver::Node;
use super::recorder::Recorder;

/// How [`run`](super::run) drives the nodes. Chances are between 0 and 1.
pub struct Options {
    pub(super) recorder: Recorder,
    pub(super) clock: Option<ManualClock>,
    pub(super) keys: Vec<String>,
    pub(super) clients: usize,
    pub(super) operations: usize,
    pub(super) policies: Vec<Policy>,
    pub(super) load_failures: f64,
    pub(super) drops: f64,
    pub(super) batches: bool,
    pub(super) absences: bool,
    pub(super) patience: Duration,
    pub(super) restarts: Option<(f64, Replace)>,
    pub(super) between: Between,
    pub(super) at_end: Box<dyn FnMut()>,
}

/// What is called before each step, with its number.
type Between = Box<dyn FnMut(usize, &mut Rng)>;

/// What ends a node and makes another.
pub(super) type Replace = Box<dyn FnMut(usize, usize, &mut Rng) -> Node>;

impl Options {
    /// 200 operations by 4 clients per node on the keys `a:1`, `a:2` and `b:1`, with policies of
    /// every kind; a tenth of the loads fail, a call in fifty is dropped half-way.
    #[must_use]
    pub fn new() -> Self {
        let second = Duration::from_secs(1);
        Self {
            recorder: Recorder::new(),
            clock: None,
            keys: ["a:1", "a:2", "b:1"].map(str::to_owned).to_vec(),
            clients: 4,
            operations: 200,
            policies: vec![
                Policy::ttl(60 * second),
                Policy::ttl(60 * second).refresh_ahead(0.01),
                Policy::ttl(second).stale_for(60 * second),
                Policy::ttl(second).stale_for(60 * second).soft_timeout(second / 4),
                Policy::ttl(2 * second).local_ttl(second).load_timeout(second / 2),
            ],
            load_failures: 0.1,
            drops: 0.02,
            batches: false,
            absences: false,
            patience: Duration::from_secs(10),
            restarts: None,
            between: Box::new(|_, _| {}),
            at_end: Box::new(|| {}),
        }
    }

    /// Where to record: the recorder whose [buses](Recorder::bus) the nodes use.
    #[must_use]
    pub fn recorder(self, recorder: &Recorder) -> Self {
        Self { recorder: recorder.clone(), ..self }
    }

    /// The clock of the nodes, which the driver moves then. Without it they live in real time.
    #[must_use]
    pub fn clock(self, clock: &ManualClock) -> Self {
        Self { clock: Some(clock.clone()), ..self }
    }

    /// The keys. What stands before a colon is taken for the prefix to remove.
    #[must_use]
    pub fn keys(self, keys: &[&str]) -> Self {
        Self { keys: keys.iter().map(|key| (*key).to_owned()).collect(), ..self }
    }

    /// How many calls a node has under way at most.
    #[must_use]
    pub fn clients(self, per_node: usize) -> Self {
        Self { clients: per_node, ..self }
    }

    /// How many calls there are, over all nodes.
    #[must_use]
    pub fn operations(self, count: usize) -> Self {
        Self { operations: count, ..self }
    }

    /// The policies, one of which each call takes.
    #[must_use]
    pub fn policies(self, policies: Vec<Policy>) -> Self {
        Self { policies, ..self }
    }

    /// The chance that a loader fails.
    #[must_use]
    pub fn load_failures(self, chance: f64) -> Self {
        Self { load_failures: chance, ..self }
    }

    /// The chance that a call which is under way is dropped.
    #[must_use]
    pub fn drops(self, chance: f64) -> Self {
        Self { drops: chance, ..self }
    }

    /// Also reads, writes and removals of several keys in one call.
    #[must_use]
    pub fn with_batches(self) -> Self {
        Self { batches: true, ..self }
    }

    /// Also rows that are deleted, and callers to whom that is an answer.
    #[must_use]
    pub fn with_absences(self) -> Self {
        Self { absences: true, ..self }
    }

    /// How long, in real time, calls may take to end once nothing goes wrong any more, and nodes to deal
    /// with what their bus has told them: 10 s until told otherwise.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The chance, at each step, that a node ends and another takes its place. `replace` is called
    /// with the number of the one that ends and that of the new one, which it returns; then the
    /// calls under way on the old one are dropped, and the old one itself. What it draws from the
    /// generator belongs to the seed.
    #[must_use]
    pub fn restarts(
        self,
        chance: f64,
        replace: impl FnMut(usize, usize, &mut Rng) -> Node + 'static,
    ) -> Self {
        Self { restarts: Some((chance, Box::new(replace))), ..self }
    }

    /// Called before each step with the step's number, for faults: what it draws from the
    /// generator belongs to the seed.
    #[must_use]
    pub fn between_steps(self, between: impl FnMut(usize, &mut Rng) + 'static) -> Self {
        Self { between: Box::new(between), ..self }
    }

    /// Called once all calls have begun: ends the faults, so that the calls can end too.
    #[must_use]
    pub fn at_end(self, heal: impl FnMut() + 'static) -> Self {
        Self { at_end: Box::new(heal), ..self }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("clock", &self.clock)
            .field("keys", &self.keys)
            .field("clients", &self.clients)
            .field("operations", &self.operations)
            .field("policies", &self.policies.len())
            .field("load_failures", &self.load_failures)
            .field("drops", &self.drops)
            .field("restarts", &self.restarts.as_ref().map(|(chance, _)| chance))
            .finish_non_exhaustive()
    }
}
