//! Writing a history down while it happens.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cache_core::InvalidationBus;
use parking_lot::Mutex;

use super::bus::RecordedBus;
use super::journal::{Call, Journal};
use super::record::{Action, History, Record, Stamp};

/// Takes records from any thread. Clones write one history.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Its read-modify-writes are in one order for all threads, and a stamp that was taken after a
    /// call returned is later than any taken before that call took effect.
    stamps: AtomicU64,
    records: Mutex<Vec<Record>>,
    /// Of the nodes with a recorded bus.
    ears: Mutex<BTreeMap<usize, Ear>>,
    journal: Option<Journal>,
}

/// What is known of a node as a listener.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ear {
    /// Its subscriptions.
    pub(super) live: usize,
    /// What it was told and has not dealt with.
    pub(super) at_work: usize,
}

impl Recorder {
    /// One that has recorded nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One that also appends to a file, in which other processes write the same history, for
    /// [`History::read`]. Node numbers are to be each process's own, keys without tabs.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened.
    pub fn in_file(path: &Path) -> io::Result<Self> {
        let journal = Some(Journal::append_to(path)?);
        Ok(Self(Arc::new(Inner { journal, ..Inner::default() })))
    }

    /// Says in the file that nothing which that node has done, in a process that was killed, has an
    /// effect from now on.
    pub fn gone(&self, node: usize) {
        if let Some(journal) = &self.0.journal {
            journal.gone(node);
        }
    }

    /// The next stamp.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.0.stamps.fetch_add(1, Ordering::SeqCst)
    }

    /// Adds a record whose stamps were taken by hand.
    pub fn add(&self, record: Record) {
        self.0.records.lock().push(record);
    }

    /// Begins a call. Dropped before it is [ended](Begun::end), it is recorded as one of which
    /// nobody knows whether it took effect.
    #[must_use = "a call is recorded as of unknown outcome unless it is ended"]
    pub fn begin(&self, node: usize, action: Action) -> Begun {
        let call = self.0.journal.as_ref().map(|journal| journal.begin(node, &action));
        Begun { recorder: self.clone(), record: Some((node, self.stamp(), action)), call }
    }

    /// A loader's reading of the database: `read` is just that. Call it only if what it returns
    /// goes back to the cache.
    ///
    /// ```
    /// use cache_testkit::history::Recorder;
    ///
    /// let recorder = Recorder::new();
    /// let value = recorder.load(0, "k", || 7);
    /// assert_eq!((value, recorder.history().records().len()), (7, 1));
    /// ```
    pub fn load(&self, node: usize, key: &str, read: impl FnOnce() -> u64) -> u64 {
        let mut begun = self.begin(node, Action::load(key, 0));
        let value = read();
        if let Some((_, _, Action::Load { value: loaded, .. })) = &mut begun.record {
            *loaded = value;
        }
        begun.end();
        value
    }

    /// `bus` as the given node is to use it: what is published and heard is recorded.
    ///
    /// A store does not know it as its own, since what it says itself would not be on record: so where a
    /// removal and its publication are one call, as on Redis, they are two over this bus.
    #[must_use]
    pub fn bus(&self, node: usize, bus: Arc<dyn InvalidationBus>) -> Arc<dyn InvalidationBus> {
        self.listens(node, |_| ());
        Arc::new(RecordedBus::new(self.clone(), node, bus))
    }

    /// Notes how a node with a recorded bus listens.
    pub(super) fn listens(&self, node: usize, change: impl FnOnce(&mut Ear)) {
        change(self.0.ears.lock().entry(node).or_default());
    }

    /// What is wrong with the way in which a node listens to its bus.
    pub(super) fn deafness(&self, node: usize) -> Option<&'static str> {
        match self.0.ears.lock().get(&node)? {
            Ear { live: 0, .. } => Some("does not listen to its bus"),
            Ear { at_work: 0, .. } => None,
            Ear { .. } => Some("does not deal with what its bus has told it"),
        }
    }

    /// What has been recorded so far.
    #[must_use]
    pub fn history(&self) -> History {
        self.0.records.lock().iter().cloned().collect()
    }
}

/// A call that is being recorded.
#[derive(Debug)]
pub struct Begun {
    recorder: Recorder,
    record: Option<(usize, Stamp, Action)>,
    /// In the journal.
    call: Option<Call>,
}

impl Begun {
    /// It returned `Ok`.
    pub fn end(mut self) {
        if let (Some(journal), Some(call)) = (&self.recorder.0.journal, &self.call) {
            let value = match self.record {
                Some((_, _, Action::Read { found, .. })) => found,
                Some((_, _, Action::Load { value, .. })) => Some(value),
                _ => None,
            };
            journal.end(call, value);
        }
        let ended = self.recorder.stamp();
        self.write(Some(ended));
    }

    /// It was a read and returned `found`.
    pub fn end_found(mut self, value: Option<u64>) {
        if let Some((_, _, Action::Read { found, .. })) = &mut self.record {
            *found = value;
        }
        self.end();
    }

    fn write(&mut self, ended: Option<Stamp>) {
        if let Some((node, began, action)) = self.record.take() {
            self.recorder.add(Record { node, began, ended, action });
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.write(None);
    }
}
