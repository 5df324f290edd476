//! Random histories of a sender and a subscription, against what really happened to each message.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use super::super::message::Sender;
use super::super::numbers::{Mark, Numbers, Place};
use super::Tracker;

const A: Sender = Sender::of(1);
const PATIENCE: u64 = 400;
/// A number is published, if at all, within so many milliseconds; what is published is heard, and a
/// mark is due, within as many.
const BUDGET: u64 = 50;
const STEPS: usize = 250;

struct Told {
    place: Place,
    given: u64,
    published: Option<u64>,
    /// It is under way no longer than until then.
    until: u64,
    /// The subscription that it was lost to, if nobody waited for it any more.
    lost_late: Option<u64>,
}

impl Told {
    /// It may take longer than others wait for it. Before that it is not published.
    fn dawdles(&self) -> bool {
        self.until >= self.given + BUDGET
    }
}

#[derive(Debug)]
enum Item {
    Message(Place),
    Mark(Mark),
}

struct History {
    random: Rng,
    numbers: Numbers,
    tracker: Tracker,
    start: Instant,
    /// In milliseconds, as all times.
    now: u64,
    in_order: bool,
    /// Subscriptions begin while nothing is said.
    quiet: bool,
    /// Of a hundred messages.
    losses: u64,
    under_way: Vec<Told>,
    /// What is on the way to the subscription, and since when.
    stream: Vec<(u64, Item)>,
    subscription: u64,
    listens: bool,
    /// When it was confirmed.
    since: Option<u64>,
    last_mark: u64,
    /// The highest number that the subscription has heard of.
    heard_of: u64,
    /// What the subscription should have heard and never will, and when it was published.
    lost: BTreeMap<u64, u64>,
    all_lost: usize,
    gaps: Vec<u64>,
    settled: Option<u64>,
    /// Something was under way when a subscription was confirmed: nobody can tell on which side.
    doubt: bool,
    /// What happened, for whoever has to find out why.
    log: Vec<String>,
    /// The highest number that was given.
    highest: u64,
    late_losses: usize,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let (in_order, quiet) = (random.bool(), random.bool());
        let ms = Duration::from_millis;
        Self {
            losses: [0, 5, 30][random.usize(..3)],
            random,
            numbers: Numbers::new(ms(BUDGET), ms(BUDGET)),
            tracker: Tracker::new(ms(PATIENCE), ms(BUDGET), in_order),
            start: Instant::now(),
            now: 0,
            in_order,
            quiet,
            under_way: Vec::new(),
            stream: Vec::new(),
            subscription: 0,
            listens: false,
            since: None,
            last_mark: 0,
            heard_of: 0,
            lost: BTreeMap::new(),
            all_lost: 0,
            gaps: Vec::new(),
            settled: None,
            doubt: false,
            log: Vec::new(),
            highest: 0,
            late_losses: 0,
        }
    }

    fn at(&self) -> Instant {
        self.start + Duration::from_millis(self.now)
    }

    fn note(&mut self, what: &str, which: impl Debug) {
        self.log.push(format!("{} {what} {which:?}", self.now));
    }

    fn pass(&mut self, millis: u64) {
        for _ in 0..millis {
            self.now += 1;
            self.keep_time();
        }
    }

    /// Nothing takes longer than it may.
    fn keep_time(&mut self) {
        let now = self.now;
        let late = |then: u64| now - then >= BUDGET - 1;
        while let Some(at) = self.under_way.iter().position(|told| now >= told.until) {
            self.publish(at);
            self.settle(at);
        }
        while self.since.is_some() && self.stream.first().is_some_and(|(sent, _)| late(*sent)) {
            self.hear(0);
        }
        if late(self.last_mark) {
            self.mark();
        }
        if self.tracker.look(self.at()).is_ok() {
            self.gap();
        }
    }

    fn gap(&mut self) {
        self.gaps.push(self.now);
        self.note("gap", self.gaps.len());
    }

    fn step(&mut self) {
        self.pass(1);
        match self.random.u8(..100) {
            0..25 => {
                let (place, given) = (self.numbers.next(self.at()), self.now);
                self.note("give", place);
                self.highest = place.number;
                let most = if self.random.u8(..20) == 0 { PATIENCE * 2 } else { BUDGET - 1 };
                let until = given + self.random.u64(BUDGET - 1..=most);
                self.under_way.push(Told { place, given, published: None, until, lost_late: None });
            }
            25..40 if !self.under_way.is_empty() => {
                let at = self.random.usize(..self.under_way.len());
                self.publish(at);
            }
            40..60 if !self.under_way.is_empty() => {
                let at = self.random.usize(..self.under_way.len());
                self.settle(at);
            }
            60..85 if self.since.is_some() && !self.stream.is_empty() => {
                let any = if self.in_order { 1 } else { self.stream.len() };
                let at = self.random.usize(..any);
                self.hear(at);
            }
            85..90 => self.mark(),
            90..93 => {
                let idle = self.random.u64(..2 * PATIENCE);
                self.pass(idle);
            }
            93..95 => {
                if self.quiet {
                    self.say_all();
                    self.pass(2 * BUDGET + 1);
                }
                self.subscribe();
                let confirmed_after = self.random.u64(..5);
                self.pass(confirmed_after);
                self.confirm();
            }
            _ => {}
        }
    }

    fn subscribe(&mut self) {
        self.subscription += 1;
        self.tracker.begin(self.subscription);
        (self.listens, self.since) = (true, None);
        self.stream.clear();
        self.lost.clear();
    }

    fn confirm(&mut self) {
        self.tracker.confirmed(self.subscription, self.at());
        self.since = Some(self.now);
        self.note("confirm", self.subscription);
        // For as long a message may take from its number until it is heard, and look as recent.
        let lately = self.settled.is_some_and(|settled| self.now - settled <= 2 * BUDGET);
        self.doubt |= lately || !self.under_way.is_empty();
    }

    fn publish(&mut self, at: usize) {
        let loses = self.random.u64(..100) < self.losses;
        let (told, since) = (&mut self.under_way[at], self.since);
        if told.dawdles() && self.now < told.given + BUDGET {
            return;
        }
        if told.published.replace(self.now).is_some() || !self.listens {
            return;
        }
        let (place, dawdles) = (told.place, told.dawdles());
        if loses && dawdles && since.is_some() {
            told.lost_late = Some(self.subscription);
        }
        self.note(if loses { "lose" } else { "publish" }, place.number);
        if loses {
            self.all_lost += 1;
            if since.is_some() && !dawdles {
                self.lost.insert(place.number, self.now);
            }
            return;
        }
        for _ in 0..=self.random.u8(..2) {
            self.stream.push((self.now, Item::Message(place)));
        }
    }

    /// Its publication is known to have succeeded, or the caller has gone away.
    fn settle(&mut self, at: usize) {
        let told = self.under_way.swap_remove(at);
        let number = told.place.number;
        let late = self.now >= told.given + BUDGET;
        let void = told.published.is_none() || self.random.u8(..10) == 0;
        self.note(if void { "void" } else { "settle" }, number);
        self.numbers.settle(number, void, self.at());
        self.settled = Some(self.now);
        if late && !void {
            // Missed by another number, if it was lost or not.
            self.highest += 1;
            self.doubt = true;
            if told.lost_late == Some(self.subscription)
                && let Some(published) = told.published
            {
                self.lost.insert(self.highest, published);
                self.late_losses += 1;
            }
        }
        if void {
            // Its caller knows.
            self.lost.remove(&number);
        }
    }

    fn mark(&mut self) {
        self.last_mark = self.now;
        let Some(mark) = self.numbers.make_mark(self.at()) else { return };
        // Void numbers are told a few times only: some of those marks come.
        let loses = self.random.u64(..100) < self.losses && mark.void.is_empty();
        self.note(if loses { "lose" } else { "tell" }, &mark);
        self.numbers.marked(&mark);
        if self.listens && !loses {
            self.stream.push((self.now, Item::Mark(mark)));
        }
    }

    fn hear(&mut self, at: usize) {
        let (_, item) = self.stream.remove(at);
        self.note("hear", &item);
        let (number, now) = (self.subscription, self.at());
        let (lost, up_to) = match item {
            Item::Message(place) => {
                self.heard_of = self.heard_of.max(place.number);
                (self.tracker.heard(number, A, place, now), 0)
            }
            Item::Mark(mark) => (self.tracker.marked(number, A, &mark, now), mark.last),
        };
        if lost {
            self.gap();
        }
        // Of what is under way still it cannot say anything, nor of what that hides.
        if self.in_order && up_to >= self.heard_of {
            self.check_noticed(up_to);
        }
    }

    /// What was lost up to there was noticed after it was published.
    fn check_noticed(&self, up_to: u64) {
        let last = self.gaps.last().copied().unwrap_or(0);
        for (number, published) in self.lost.range(..=up_to) {
            assert!(
                last >= *published,
                "number {number}, published at {published}: {:?}",
                self.gaps
            );
        }
    }

    fn say_all(&mut self) {
        while let Some(at) = self.under_way.len().checked_sub(1) {
            self.publish(at);
            self.settle(at);
        }
    }

    fn end(&mut self) {
        if self.since.is_none() {
            self.say_all();
            self.pass(2 * BUDGET + 1);
            self.subscribe();
            self.confirm();
        }
        self.say_all();
        // The last marks come.
        self.losses = 0;
        self.pass(PATIENCE * 2);
        self.check_noticed(u64::MAX);
        if !self.doubt {
            assert!(self.gaps.len() <= self.all_lost, "{} lost: {:?}", self.all_lost, self.gaps);
        }
    }
}

#[test]
fn p2_what_is_lost_is_missed_and_nothing_else() {
    let (mut noticed, mut silent, mut late) = (0, 0, 0);
    for seed in 0..4_000 {
        let mut history = History::new(seed);
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..STEPS {
                history.step();
            }
            history.end();
        }));
        assert!(run.is_ok(), "seed {seed}:\n{}", history.log.join("\n"));
        noticed += history.gaps.len();
        late += history.late_losses;
        silent += usize::from(history.all_lost == 0 && !history.doubt);
    }
    // It is about something.
    assert!(noticed > 1_000 && silent > 100, "{noticed} gaps, {silent} without loss or doubt");
    assert!(late > 100, "{late} lost that came too late");
}
