//! Reads of single keys that are many at once become one MGET (the data-loader idea).
//!
//! A command costs server and client more than the key in it. So once more than [`DEEP`] reads are
//! under way, those to come queue; whenever a connection's batch is back, what has queued is the
//! next, until that is too little ([`FEW`]). Nothing waits for a timer, and with fewer reads each has
//! its own GET, which is quicker.
//!
//! Rules:
//!
//! 1. A batch runs in a task of its own, on the runtime of the connections: a caller that goes away takes
//!    nothing from the others, nor does its runtime if that stands still.
//! 2. As many batches are under way as there are connections for small commands.
//! 3. What is queued is read after it was queued, so a batch is as fresh as a GET.
//! 4. Each caller has an answer within its own budget. One timer per batch sees to it, set to the
//!    one who has waited longest, queued or under way. Callers on another runtime have one of their own
//!    besides, as the batch's may stand still without them.
//! 5. If the task goes, with its runtime, each of its callers reads for itself.
//! 6. A caller that finds no answers leaves its waker under the lock under which those who wait are
//!    woken, once the answers are there: nobody is forgotten.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use cache_core::Clock;
use parking_lot::Mutex;
use redis::{Cmd, Value};
use tokio::time::{Instant, sleep_until, timeout};

use super::READ;
use super::reading::MGET;
use super::seats::{Answer, Answers, Batch, Reply, Seat, Ticket};
use crate::connection::Connections;
use crate::key::Name;

/// With so many reads under way or fewer, each has its own GET.
const DEEP: usize = 32;
/// A batch of fewer keys says that there are not so many any more.
const FEW: usize = 4;
/// Keys in one batch.
const AT_MOST: usize = 256;
const AT_LEAST: usize = 16;
/// Bytes that the replies of one batch should have at most: all of them are there at once, and the
/// first waits for the last.
const BYTES: usize = 256 * 1024;

/// The reads of single keys that are under way.
#[derive(Debug, Default)]
pub(super) struct Batches {
    /// How many of them have a GET of their own.
    alone: AtomicUsize,
    queue: Arc<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    /// Whether those to come queue.
    gathers: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// What to ask next, in the order in which it came. The last takes more keys.
    waiting: VecDeque<(Cmd, Arc<Batch>)>,
    /// Tasks that take from `waiting` until nothing is left.
    runs: usize,
    /// Bytes that a key's value has had of late.
    typical: usize,
}

impl Batches {
    /// Counts a read that has a GET of its own until the guard is dropped; `None` if it is to be part
    /// of a batch.
    pub(super) fn alone(&self) -> Option<Alone<'_>> {
        // Nearly all are, or nearly none: a flag that hardly changes costs less than a count that
        // every read changes.
        if self.queue.gathers.load(Ordering::Relaxed) {
            return None;
        }
        let alone = Alone(self);
        if self.alone.fetch_add(1, Ordering::Relaxed) < DEEP {
            return Some(alone);
        }
        self.queue.gathers.store(true, Ordering::Relaxed);
        None
    }

    /// Has the key read in the next batch, within the connections' budget: `None` if nobody does
    /// any more.
    pub(super) async fn read(&self, connections: &Connections, name: Name<'_>) -> Option<Reply> {
        if connections.are_here() {
            return self.seated(connections, name).await;
        }
        let budget = connections.config().operation_timeout;
        // Apart, as it is rare and would make every read as large.
        let seated = Box::pin(timeout(budget, self.seated(connections, name)));
        seated.await.unwrap_or_else(|_| Some(Err(connections.timed_out(budget))))
    }

    async fn seated(&self, connections: &Connections, name: Name<'_>) -> Option<Reply> {
        let mut ticket = None;
        let answer = poll_fn(|cx| match &ticket {
            None => {
                ticket = Some(self.join(connections, name, cx.waker()));
                Poll::Pending
            }
            Some(ticket) => ticket.poll(cx.waker()),
        });
        match answer.await {
            Answer::Reply(reply) => Some(reply),
            Answer::Late => {
                Some(Err(connections.timed_out(connections.config().operation_timeout)))
            }
            Answer::Never => None,
        }
    }

    /// Takes a seat in the next batch; whoever finds too few batches under way begins one.
    fn join(&self, connections: &Connections, name: Name<'_>, waker: &Waker) -> Ticket {
        let seat = Seat::Waits { since: Clock::system().coarse_now(), waker: waker.clone() };
        let queue = &self.queue;
        let (ticket, begin) = {
            let mut state = queue.state.lock();
            let ticket = state.seat(name, seat);
            let begin = state.runs < connections.config().connections;
            state.runs += usize::from(begin);
            (ticket, begin)
        };
        if begin {
            let run = Run { queue: Arc::clone(queue), batch: None, over: false };
            // It ends by itself, when nothing waits and its calls are over, which their budget
            // bounds.
            drop(connections.runtime().spawn(run.serve(connections.clone())));
        }
        ticket
    }
}

/// A read that has a GET of its own.
pub(super) struct Alone<'a>(&'a Batches);

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.0.alone.fetch_sub(1, Ordering::Relaxed);
    }
}

impl State {
    fn seat(&mut self, name: Name<'_>, seat: Seat) -> Ticket {
        let at_most = self.at_most();
        if let Some((cmd, batch)) = self.waiting.back_mut() {
            let mut seats = batch.seats.lock();
            if seats.len() < at_most {
                cmd.arg(name);
                seats.push(seat);
                return Ticket { batch: Arc::clone(batch), seat: seats.len() - 1 };
            }
        }
        let mut cmd = Cmd::with_capacity(at_most / 2, at_most / 2 * name.len());
        cmd.arg(MGET).arg(name);
        let batch = Arc::new(Batch::of(seat, at_most / 2));
        self.waiting.push_back((cmd, Arc::clone(&batch)));
        Ticket { batch, seat: 0 }
    }

    /// Keys in the next batch.
    fn at_most(&self) -> usize {
        (BYTES / self.typical.max(1)).clamp(AT_LEAST, AT_MOST)
    }

    /// So large were the values of a batch: what counts is the mean of the last few.
    fn saw(&mut self, reply: &Reply) {
        let Ok(Value::Array(values)) = reply else { return };
        let size =
            |value: &Value| if let Value::BulkString(bytes) = value { bytes.len() } else { 0 };
        let mean = values.iter().map(size).sum::<usize>() / values.len().max(1);
        self.typical = (self.typical * 3 + mean) / 4;
    }
}

/// A task's place among the runs.
struct Run {
    queue: Arc<Queue>,
    /// The batch under way.
    batch: Option<Arc<Batch>>,
    over: bool,
}

impl Run {
    async fn serve(mut self, connections: Connections) {
        loop {
            // Those that are ready to read now come first.
            tokio::task::yield_now().await;
            let Some((cmd, batch)) = self.next() else { return };
            let reply = self.read(&cmd, &batch, &connections).await;
            self.queue.state.lock().saw(&reply);
            batch.settle(reply.into());
            self.batch = None;
        }
    }

    /// Asks for the keys of `batch`, and tells those whose time is up meanwhile.
    async fn read(&self, cmd: &Cmd, batch: &Batch, connections: &Connections) -> Reply {
        let budget = connections.config().operation_timeout;
        let mut reply = pin!(connections.reply(READ, cmd));
        let mut due = pin!(sleep_until(self.queue.due(batch, budget)));
        loop {
            tokio::select! {
                biased;
                reply = &mut reply => return reply,
                () = &mut due => {
                    self.queue.end_late(batch, budget);
                    due.as_mut().reset(self.queue.due(batch, budget));
                }
            }
        }
    }

    /// The next batch that somebody waits for; without one the run is over.
    fn next(&mut self) -> Option<(Cmd, Arc<Batch>)> {
        let mut state = self.queue.state.lock();
        while let Some((cmd, batch)) = state.waiting.pop_front() {
            if batch.oldest().is_some() {
                if batch.seats.lock().len() < FEW && state.waiting.is_empty() {
                    self.queue.gathers.store(false, Ordering::Relaxed);
                }
                self.batch = Some(Arc::clone(&batch));
                return Some((cmd, batch));
            }
        }
        // Where nobody can have queued since.
        state.runs -= 1;
        self.over = true;
        if state.runs == 0 {
            self.queue.gathers.store(false, Ordering::Relaxed);
        }
        None
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let mut left: Vec<_> = self.batch.take().into_iter().collect();
        let mut state = self.queue.state.lock();
        state.runs -= 1;
        if state.runs == 0 {
            self.queue.gathers.store(false, Ordering::Relaxed);
            left.extend(state.waiting.drain(..).map(|(_, batch)| batch));
        }
        drop(state);
        left.iter().for_each(|batch| batch.settle(Answers::Never));
    }
}

impl Queue {
    /// When the time of the first is up, of those in `batch` and those who wait for the next.
    fn due(&self, batch: &Batch, budget: Duration) -> Instant {
        let queued = self.state.lock().waiting.iter().find_map(|(_, batch)| batch.oldest());
        let oldest = batch.oldest().into_iter().chain(queued).min();
        let now = Clock::system().now();
        Instant::now() + now.until(oldest.unwrap_or(now) + budget)
    }

    /// Ends the wait of those whose time is up, of those in `batch` and those who wait for the next.
    fn end_late(&self, batch: &Batch, budget: Duration) {
        let before = Clock::system().now() - budget;
        let mut woken = Vec::new();
        batch.end_late(before, &mut woken);
        let state = self.state.lock();
        state.waiting.iter().for_each(|(_, batch)| batch.end_late(before, &mut woken));
        drop(state);
        woken.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;
    use crate::key::Keyspace;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn seat(waker: Waker) -> Seat {
        Seat::Waits { since: Clock::system().coarse_now(), waker }
    }

    #[test]
    fn a_run_that_is_cut_off_leaves_nobody_waiting() {
        let (queue, woken) = (Arc::new(Queue::default()), Arc::new(Woken::default()));
        let mut state = queue.state.lock();
        state.runs = 2;
        let ticket = state.seat(Keyspace::new("n").name("k"), seat(Arc::clone(&woken).into()));
        drop(state);
        let [first, last] =
            [(); 2].map(|()| Run { queue: Arc::clone(&queue), batch: None, over: false });
        drop(first);
        assert!(ticket.poll(Waker::noop()).is_pending());
        drop(last);
        assert!(matches!(ticket.poll(Waker::noop()), Poll::Ready(Answer::Never)));
        assert_eq!(queue.state.lock().runs, 0);
    }

    #[test]
    fn a_run_that_is_cut_off_under_way_answers_its_batch() {
        let (queue, woken) = (Arc::new(Queue::default()), Arc::new(Woken::default()));
        let mut state = queue.state.lock();
        state.runs = 1;
        let ticket = state.seat(Keyspace::new("n").name("k"), seat(Arc::clone(&woken).into()));
        drop(state);
        let mut run = Run { queue: Arc::clone(&queue), batch: None, over: false };
        assert!(run.next().is_some());
        drop(run);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(matches!(ticket.poll(Waker::noop()), Poll::Ready(Answer::Never)));
    }

    #[test]
    fn large_values_make_small_batches() {
        let mut state = State::default();
        assert_eq!(state.at_most(), AT_MOST);
        let reply = |bytes| Ok(Value::Array(vec![Value::BulkString(vec![0; bytes]), Value::Nil]));
        for _ in 0..20 {
            state.saw(&reply(32 * 1024));
        }
        assert_eq!(state.at_most(), AT_LEAST);
        for _ in 0..40 {
            state.saw(&reply(100));
        }
        assert_eq!(state.at_most(), AT_MOST);
    }

    #[test]
    fn each_takes_its_own_value_and_a_batch_that_nobody_waits_for_is_passed_over() {
        let queue = Arc::new(Queue::default());
        let keys = Keyspace::new("n");
        let woken: [_; 3] = std::array::from_fn(|_| Arc::new(Woken::default()));
        let mut state = queue.state.lock();
        state.runs = 1;
        let gone: Vec<_> =
            (0..AT_MOST).map(|_| state.seat(keys.name("x"), seat(Waker::noop().clone()))).collect();
        let tickets = woken
            .each_ref()
            .map(|woken| state.seat(keys.name("k"), seat(Arc::clone(woken).into())));
        assert_eq!(state.waiting.len(), 2);
        drop(state);
        drop(gone);
        let mut run = Run { queue, batch: None, over: false };
        let (cmd, batch) = run.next().expect("those who wait");
        assert_eq!(cmd.args_iter().count(), 4);
        let [first, second, third] = tickets;
        drop(first);
        assert!(second.poll(Waker::noop()).is_pending());
        batch.settle(Ok(Value::Array((1..=3).map(Value::Int).collect())).into());
        // Woken are those who have not gone and not asked with another waker since.
        assert_eq!(woken.each_ref().map(|woken| woken.0.load(Ordering::Relaxed)), [0, 0, 1]);
        for (ticket, expected) in [(second, 2), (third, 3)] {
            let Poll::Ready(Answer::Reply(Ok(value))) = ticket.poll(Waker::noop()) else {
                panic!("an answer")
            };
            assert_eq!(value, Value::Int(expected));
        }
    }
}
