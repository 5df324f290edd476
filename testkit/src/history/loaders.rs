//! The loaders of the driver: each stops where the driver wants it to.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use fastrand::Rng;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::database::{ABSENT, Database};
use super::recorder::Recorder;

/// What one loader is to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// To stop before it reads the database.
    pub(super) stops_before: bool,
    /// To stop between that and its return.
    pub(super) stops_after: bool,
    pub(super) fails: bool,
}

/// The loader was told to fail.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the driver wants this load to fail")
    }
}

impl std::error::Error for Refused {}

/// Makes loaders, and lets those that have stopped go on.
#[derive(Clone, Debug)]
pub(super) struct Loaders {
    recorder: Recorder,
    database: Database,
    stopped: Arc<Mutex<Vec<oneshot::Sender<()>>>>,
}

impl Loaders {
    pub(super) fn new(recorder: &Recorder, database: &Database) -> Self {
        let (recorder, database) = (recorder.clone(), database.clone());
        Self { recorder, database, stopped: Arc::default() }
    }

    /// A row's value; where there is no row it fails.
    pub(super) async fn load(self, node: usize, key: String, plan: Plan) -> Result<u64, Refused> {
        self.load_opt(node, key, plan).await?.ok_or(Refused)
    }

    pub(super) async fn load_opt(
        self,
        node: usize,
        key: String,
        plan: Plan,
    ) -> Result<Option<u64>, Refused> {
        self.stop_if(plan.stops_before).await;
        if plan.fails {
            return Err(Refused);
        }
        let value = self.row(node, &key);
        self.stop_if(plan.stops_after).await;
        Ok(value)
    }

    pub(super) async fn load_many(
        self,
        node: usize,
        keys: Vec<String>,
        plan: Plan,
    ) -> Result<HashMap<String, u64>, Refused> {
        let mut values = HashMap::new();
        self.stop_if(plan.stops_before).await;
        if plan.fails {
            return Err(Refused);
        }
        for key in keys {
            let value = self.row(node, &key);
            values.extend(value.map(|value| (key, value)));
        }
        self.stop_if(plan.stops_after).await;
        Ok(values)
    }

    fn row(&self, node: usize, key: &str) -> Option<u64> {
        let value = self.recorder.load(node, key, || self.database.row(key));
        (value != ABSENT).then_some(value)
    }

    /// Lets one of the loaders that have stopped go on; false if there is none.
    pub(super) fn release_one(&self, rng: &mut Rng) -> bool {
        let mut stopped = self.stopped.lock();
        // Those that were given up meanwhile have nobody waiting.
        stopped.retain(|loader| !loader.is_closed());
        if stopped.is_empty() {
            return false;
        }
        let at = rng.usize(..stopped.len());
        // It may be given up in this moment.
        let _ = stopped.swap_remove(at).send(());
        true
    }

    async fn stop_if(&self, stops: bool) {
        if stops {
            let (go, gone) = oneshot::channel();
            self.stopped.lock().push(go);
            // The sender lives in `stopped` until it is used.
            let _ = gone.await;
        }
    }
}
