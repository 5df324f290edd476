//! Reads of single keys that are many at once become one MGET (the data-loader idea).
//!
//! A command costs server and client more than the key in it. So while more than [`DEEP`] reads are
//! under way, those to come queue; whenever a connection's batch is back, what has queued is the
//! next. Nothing waits for a timer, and with fewer reads each has its own GET, which is quicker.
//!
//! Rules:
//!
//! 1. A batch runs in a task of its own: a caller that goes away takes nothing from the others.
//! 2. As many batches are under way as there are connections for small commands.
//! 3. What is queued is read after it was queued, so a batch is as fresh as a GET.
//! 4. Each caller has an answer within its own budget. One timer per batch sees to it, set to the
//!    one who has waited longest, queued or under way.
//! 5. If the task goes, with its runtime, each of its callers reads for itself.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cache_core::CacheError;
use parking_lot::Mutex;
use redis::{Cmd, Value};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::READ;
use super::reading::MGET;
use crate::connection::Connections;

/// With so many reads under way or fewer, each has its own GET.
const DEEP: usize = 32;
/// Keys in one batch.
const AT_MOST: usize = 256;

type Reply = Result<Value, CacheError>;

/// The reads of single keys that are under way.
#[derive(Debug, Default)]
pub(super) struct Batches {
    depth: AtomicUsize,
    queue: Arc<Queue>,
}

#[derive(Debug, Default)]
struct Queue(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Those that will be in the next batch, in the order in which they came.
    waiting: Vec<Waiting>,
    /// Tasks that take from `waiting` until nothing is left.
    runs: usize,
}

#[derive(Debug)]
struct Waiting {
    name: String,
    since: Instant,
    /// `None` once it has been told that its time is up.
    reply: Option<oneshot::Sender<Reply>>,
}

impl Waiting {
    /// Whether its caller is there and has no answer.
    fn waits(&self) -> bool {
        self.reply.as_ref().is_some_and(|reply| !reply.is_closed())
    }
}

impl Batches {
    /// Counts one more read until the guard is dropped.
    pub(super) fn enter(&self) -> Depth<'_> {
        Depth { under_way: self.depth.fetch_add(1, Ordering::Relaxed) + 1, batches: self }
    }
}

/// One read, counted among those under way.
pub(super) struct Depth<'a> {
    under_way: usize,
    batches: &'a Batches,
}

impl Depth<'_> {
    /// Whether this read should be part of a batch.
    pub(super) fn is_deep(&self) -> bool {
        self.under_way > DEEP
    }

    /// Has the key read in the next batch, within the connections' budget: `None` if nobody does
    /// any more.
    pub(super) async fn read(&self, connections: &Connections, name: String) -> Option<Reply> {
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting { name, since: Instant::now(), reply: Some(reply) };
        let queue = &self.batches.queue;
        let begin = {
            let mut state = queue.0.lock();
            state.waiting.push(waiting);
            let begin = state.runs < connections.config().connections;
            state.runs += usize::from(begin);
            begin
        };
        if begin {
            let run = Run { queue: Arc::clone(queue), over: false };
            // It ends by itself, when nothing waits and its calls are over, which their budget
            // bounds.
            drop(tokio::spawn(run.serve(connections.clone())));
        }
        answer.await.ok()
    }
}

impl Drop for Depth<'_> {
    fn drop(&mut self) {
        self.batches.depth.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A task's place among the runs.
struct Run {
    queue: Arc<Queue>,
    over: bool,
}

impl Run {
    async fn serve(mut self, connections: Connections) {
        loop {
            // Those that are ready to read now come first.
            tokio::task::yield_now().await;
            let Some(batch) = self.next() else { return };
            self.read(batch, &connections).await;
        }
    }

    /// Reads the keys of `batch` and gives each its value, or the news that its time is up.
    async fn read(&self, mut batch: Vec<Waiting>, connections: &Connections) {
        let bytes = batch.iter().map(|waiting| waiting.name.len()).sum::<usize>();
        let mut cmd = Cmd::with_capacity(batch.len() + 1, bytes + MGET.len());
        cmd.arg(MGET);
        for waiting in &batch {
            cmd.arg(&waiting.name);
        }
        let budget = connections.config().operation_timeout;
        let mut reply = pin!(connections.reply(READ, &cmd));
        let mut due = pin!(sleep_until(self.queue.due(&batch, budget)));
        let reply = loop {
            tokio::select! {
                biased;
                reply = &mut reply => break reply,
                () = &mut due => {
                    for late in self.queue.take_late(&mut batch, budget) {
                        let _ = late.send(Err(connections.timed_out(budget)));
                    }
                    due.as_mut().reset(self.queue.due(&batch, budget));
                }
            }
        };
        deliver(batch, reply);
    }

    /// The next batch; without one the run is over.
    fn next(&mut self) -> Option<Vec<Waiting>> {
        let mut state = self.queue.0.lock();
        state.waiting.retain(Waiting::waits);
        if state.waiting.is_empty() {
            // Where nobody can have queued since.
            state.runs -= 1;
            self.over = true;
            return None;
        }
        let count = state.waiting.len().min(AT_MOST);
        let rest = state.waiting.split_off(count);
        Some(std::mem::replace(&mut state.waiting, rest))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.over {
            let mut state = self.queue.0.lock();
            state.runs -= 1;
            if state.runs == 0 {
                state.waiting.clear();
            }
        }
    }
}

impl Queue {
    /// When the time of the first is up, of those in `batch` and those who wait for the next.
    fn due(&self, batch: &[Waiting], budget: Duration) -> Instant {
        let oldest =
            |waiting: &[Waiting]| waiting.iter().find(|one| one.waits()).map(|one| one.since);
        let queued = oldest(&self.0.lock().waiting);
        let oldest = oldest(batch).into_iter().chain(queued).min();
        oldest.unwrap_or_else(Instant::now) + budget
    }

    /// Whose time is up, of those in `batch` and those who wait for the next.
    fn take_late(&self, batch: &mut [Waiting], budget: Duration) -> Vec<oneshot::Sender<Reply>> {
        let now = Instant::now();
        let late = |one: &mut Waiting| match one.since + budget <= now {
            true => one.reply.take(),
            false => None,
        };
        let mut state = self.0.lock();
        batch.iter_mut().chain(&mut state.waiting).filter_map(late).collect()
    }
}

/// Gives each of `batch` its value. One whose caller has gone needs none.
fn deliver(batch: Vec<Waiting>, reply: Reply) {
    let replies = batch.into_iter().map(|waiting| waiting.reply);
    match reply {
        Ok(Value::Array(values)) => {
            for (reply, value) in replies.zip(values) {
                let _ = reply.map(|reply| reply.send(Ok(value)));
            }
        }
        other => {
            for reply in replies.flatten() {
                let _ = reply.send(other.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_is_cut_off_leaves_nobody_waiting() {
        let queue = Arc::new(Queue::default());
        let (reply, mut answer) = oneshot::channel();
        let mut state = queue.0.lock();
        state.runs = 2;
        state.waiting.push(Waiting {
            name: "k".to_owned(),
            since: Instant::now(),
            reply: Some(reply),
        });
        drop(state);
        let [first, last] = [(); 2].map(|()| Run { queue: Arc::clone(&queue), over: false });
        drop(first);
        assert!(matches!(answer.try_recv(), Err(oneshot::error::TryRecvError::Empty)));
        drop(last);
        assert!(matches!(answer.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        assert_eq!(queue.0.lock().runs, 0);
    }
}
