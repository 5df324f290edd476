//! One subscriber's line: what is on its way to it.
//!
//! 1. Events leave in the order of their due times, those of one time in the order in which they
//!    came.
//! 2. `Connected` comes first. Two `Disconnected` have a `Connected` between them.
//! 3. What is sent while the line is down is lost. It is up again from the moment at which its
//!    `Connected` is due, so nothing is lost after that and nothing overtakes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use cache_core::{BusEvent, Clock, Timestamp};
use fastrand::Rng;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::faults::{BusFaults, Fate};

#[derive(Debug)]
pub(super) struct Line {
    clock: Clock,
    faults: Arc<Mutex<BusFaults>>,
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug)]
struct State {
    rng: Rng,
    queue: BTreeMap<(Timestamp, u64), BusEvent>,
    sent: u64,
    /// When the last message that overtakes none is due.
    last_due: Timestamp,
    up: Up,
    /// Whether the last that left the line of `Connected` and `Disconnected` was the former.
    heard_up: bool,
    closed: bool,
}

#[derive(Clone, Copy, Debug)]
enum Up {
    From(Timestamp),
    Down,
}

impl Line {
    /// A line that is down.
    pub(super) fn new(clock: Clock, faults: Arc<Mutex<BusFaults>>, rng: Rng) -> Arc<Self> {
        let state = State {
            rng,
            queue: BTreeMap::new(),
            sent: 0,
            last_due: Timestamp::ZERO,
            up: Up::Down,
            heard_up: false,
            closed: false,
        };
        Arc::new(Self { clock, faults, state: Mutex::new(state), news: Notify::new() })
    }

    /// Sends a message, to whatever fate it meets.
    pub(super) fn send(&self, event: &BusEvent) {
        let now = self.clock.now();
        let faults = self.faults.lock().clone();
        self.change(|state| {
            if !matches!(state.up, Up::From(start) if start <= now) {
                return;
            }
            match faults.draw(&mut state.rng) {
                Fate::Vanishes => {}
                Fate::IsMissed { noticed_after } => {
                    // What comes until then is not held up by it.
                    let noticed = now + noticed_after;
                    state.push(noticed, BusEvent::Disconnected);
                    state.push(noticed, BusEvent::Connected);
                }
                Fate::Breaks { noticed_after, back_after } => {
                    let noticed = now + noticed_after;
                    state.cut(now, noticed);
                    state.connect(noticed + back_after);
                }
                Fate::Arrives { copies, overtakes } => {
                    for _ in 0..copies {
                        let mut due = now + faults.draw_delay(&mut state.rng);
                        if !overtakes {
                            due = due.max(state.last_due);
                            state.last_due = due;
                        }
                        state.push(due, event.clone());
                    }
                }
            }
        });
    }

    /// Breaks the connection; what is on its way is lost.
    pub(super) fn cut(&self) {
        let now = self.clock.now();
        let faults = self.faults.lock().clone();
        self.change(|state| {
            let noticed = now + faults.draw_detection(&mut state.rng);
            state.cut(now, noticed);
        });
    }

    /// Restores it, at once or, if the subscriber is yet to hear that it was broken, then.
    pub(super) fn connect(&self) {
        let now = self.clock.now();
        self.change(|state| {
            let last = state.queue.keys().next_back().map_or(now, |(due, _)| *due);
            state.connect(last.max(now));
        });
    }

    /// As [`connect`](Self::connect), and says so to a subscriber that thought itself connected: it
    /// may have missed something.
    pub(super) fn connect_anew(&self) {
        let now = self.clock.now();
        self.change(|state| {
            let last = state.queue.keys().next_back().map_or(now, |(due, _)| *due);
            state.up = Up::Down;
            state.connect(last.max(now));
        });
    }

    /// The bus is gone.
    pub(super) fn close(&self) {
        self.change(|state| state.closed = true);
    }

    /// Whether nothing is on its way and the line is up.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.queue.is_empty() && matches!(state.up, Up::From(_))
    }

    /// The next event; `None` when the bus is gone and everything has been heard.
    ///
    /// # Cancel safety
    ///
    /// An event is taken off the line only as the future becomes ready.
    pub(super) async fn next(&self) -> Option<BusEvent> {
        loop {
            let news = self.news.notified();
            let due = {
                let mut state = self.state.lock();
                match state.take(self.clock.now()) {
                    Ok(event) => return Some(event),
                    Err(Timestamp::MAX) if state.closed => return None,
                    Err(due) => due,
                }
            };
            tokio::select! {
                biased;
                () = news => {}
                () = self.clock.sleep_until(due) => {}
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.news.notify_one();
    }
}

impl State {
    fn push(&mut self, due: Timestamp, event: BusEvent) {
        self.queue.insert((due, self.sent), event);
        self.sent += 1;
    }

    fn cut(&mut self, now: Timestamp, noticed: Timestamp) {
        // What the subscriber could have heard already of the connection stays true; the rest of
        // it has not happened.
        self.queue.retain(|(due, _), event| tells_up(event).is_some() && *due <= now);
        self.up = Up::Down;
        let thinks_itself_up =
            self.queue.values().rev().find_map(tells_up).unwrap_or(self.heard_up);
        if thinks_itself_up {
            self.push(noticed, BusEvent::Disconnected);
        }
    }

    fn connect(&mut self, due: Timestamp) {
        if matches!(self.up, Up::Down) {
            self.up = Up::From(due);
            self.push(due, BusEvent::Connected);
        }
    }

    fn take(&mut self, now: Timestamp) -> Result<BusEvent, Timestamp> {
        let Some(first) = self.queue.first_entry() else { return Err(Timestamp::MAX) };
        if first.key().0 > now {
            return Err(first.key().0);
        }
        let event = first.remove();
        self.heard_up = tells_up(&event).unwrap_or(self.heard_up);
        Ok(event)
    }
}

/// What an event tells of the connection.
fn tells_up(event: &BusEvent) -> Option<bool> {
    match event {
        BusEvent::Connected => Some(true),
        BusEvent::Disconnected => Some(false),
        _ => None,
    }
}
