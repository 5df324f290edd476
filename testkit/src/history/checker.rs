//! The rules of the [module](super), applied.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use cache_core::{BusEvent, Selector};

use super::record::{Action, History, Reader, Record, Stamp};
use super::violation::{Reason, Violation};

/// From when on a write or removal counts on nodes that did not call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// From its return: one cache, however many handles.
    Strict,
    /// From its return for plain reads; for reads that may join a load of their own node, from when
    /// the bus has told it. For engines over one store that is shared.
    Shared,
    /// From when the bus has told the node, which trusts nothing it holds while it knows that the
    /// bus is lost, and joins no load from before. For near tiers kept coherent by a bus.
    Told,
    /// As [`Told`](Self::Told), but what a node holds may be served while the bus is lost.
    ToldWithGrace,
}

/// Checks every read of a history; the error is the first that is wrong.
///
/// # Errors
///
/// A [`Violation`].
pub fn check(history: &History, mode: Mode) -> Result<(), Box<Violation>> {
    let keys: BTreeSet<&str> = history.records().iter().filter_map(key_of_read).collect();
    let wrong = keys.into_iter().filter_map(|key| KeyHistory::new(history, key).check(mode).err());
    wrong.min_by_key(|violation| violation.read.began).map_or(Ok(()), Err)
}

fn key_of_read(record: &Record) -> Option<&str> {
    match &record.action {
        Action::Read { key, .. } => Some(key),
        _ => None,
    }
}

/// What concerns one key.
struct KeyHistory<'a> {
    key: &'a str,
    reads: Vec<&'a Record>,
    sources: HashMap<u64, Vec<&'a Record>>,
    /// Those that returned.
    removers: Vec<&'a Record>,
    /// By node, in order.
    publications: BTreeMap<usize, Vec<&'a Record>>,
    /// By node, in order: events for the key, and the bus's coming and going.
    deliveries: BTreeMap<usize, Vec<&'a Record>>,
}

impl<'a> KeyHistory<'a> {
    fn new(history: &'a History, wanted: &'a str) -> Self {
        let mut own = Self {
            key: wanted,
            reads: Vec::new(),
            sources: HashMap::new(),
            removers: Vec::new(),
            publications: BTreeMap::new(),
            deliveries: BTreeMap::new(),
        };
        let mut records: Vec<_> = history.records().iter().collect();
        records.sort_by_key(|record| record.began);
        for record in records {
            own.add(record);
        }
        own
    }

    fn add(&mut self, record: &'a Record) {
        let matches = |what: &Selector| what.matches(self.key);
        match &record.action {
            Action::Read { key, .. } if key == self.key => self.reads.push(record),
            Action::Write { key, value } if key == self.key => {
                self.sources.entry(*value).or_default().push(record);
                self.removers.extend(record.ended.map(|_| record));
            }
            Action::Load { key, value } | Action::Unanswered { key, value } if key == self.key => {
                self.sources.entry(*value).or_default().push(record);
            }
            Action::Remove(what) if matches(what) => {
                self.removers.extend(record.ended.map(|_| record));
            }
            Action::Publish(what) if matches(what) => {
                self.publications.entry(record.node).or_default().push(record);
            }
            Action::Deliver(event) => {
                let concerned = match event {
                    BusEvent::Removed(what) => matches(what),
                    BusEvent::Connected | BusEvent::Disconnected => true,
                    _ => false,
                };
                if concerned {
                    self.deliveries.entry(record.node).or_default().push(record);
                }
            }
            _ => {}
        }
    }

    fn check(&self, mode: Mode) -> Result<(), Box<Violation>> {
        let mut counts = HashMap::new();
        for read in &self.reads {
            let Action::Read { found: Some(value), by, .. } = &read.action else { continue };
            let Some(ended) = read.ended else { continue };
            let counting = counts
                .entry((read.node, *by))
                .or_insert_with(|| Counting::new(self, mode, read.node, *by));
            let sources = self.sources.get(value).map_or(&[][..], Vec::as_slice);
            if let Some(reason) = self.judge(read, ended, sources, counting) {
                return Err(Box::new(Violation { read: (*read).clone(), reason }));
            }
        }
        Ok(())
    }

    /// What is wrong with a read that returned at `ended` a value with these sources.
    fn judge(
        &self,
        read: &Record,
        ended: Stamp,
        sources: &[&Record],
        counting: &Counting<'_>,
    ) -> Option<Reason> {
        let mut reason = None;
        for source in sources {
            if source.began >= ended {
                let source = (*source).clone();
                reason.get_or_insert(Reason::FromTheFuture { source });
                continue;
            }
            let (by, counts_from) = counting.superseded(source, read)?;
            reason =
                Some(Reason::Superseded { source: (*source).clone(), by: by.clone(), counts_from });
        }
        Some(reason.unwrap_or(Reason::NoSource))
    }

    /// When `remover` counts on `node` for reads by `reader`; `None`: not in this history.
    fn counts_from(
        &self,
        mode: Mode,
        remover: &Record,
        node: usize,
        reader: Reader,
    ) -> Option<Stamp> {
        let returned = remover.ended?;
        let bypasses = match (mode, reader) {
            _ if remover.node == node => return Some(returned),
            (Mode::Strict, _) | (Mode::Shared, Reader::Get) => return Some(returned),
            (Mode::Told, Reader::Get) => true,
            (Mode::Told | Mode::Shared, Reader::Load) | (Mode::ToldWithGrace, _) => false,
        };
        let deliveries = self.deliveries.get(&node).map_or(&[][..], Vec::as_slice);
        let effective = self.effective(remover, returned);
        let told = (deliveries.iter())
            .filter(|event| event.began > effective)
            // It is served from what it holds all the same, or may be.
            .filter(|event| mode == Mode::Told || !is_disconnected(event))
            .find_map(|event| event.ended);
        let bypassed = without_bus(deliveries).find(|without| without.end > returned);
        let bypassed = bypassed.map(|without| without.start).filter(|_| bypasses);
        told.into_iter().chain(bypassed).min().map(|stamp| stamp.max(returned))
    }

    /// A stamp by which `remover` had taken effect: its last call of the bus, or its return.
    fn effective(&self, remover: &Record, returned: Stamp) -> Stamp {
        let calls = self.publications.get(&remover.node).map_or(&[][..], Vec::as_slice);
        let first = calls.partition_point(|call| call.began < remover.began);
        let own = calls[first..].iter().take_while(|call| call.began < returned);
        own.map(|call| call.ended.and(Some(call.began)))
            .reduce(Option::and)
            .flatten()
            .unwrap_or(returned)
    }
}

/// When a node that heard this knew that it was without the bus: from its first `Connected` backwards,
/// and from each `Disconnected` to the next `Connected`.
fn without_bus<'a>(deliveries: &'a [&Record]) -> impl Iterator<Item = Range<Stamp>> + 'a {
    let back = |rest: &[&Record]| {
        rest.iter().find(|event| is_connected(event)).map_or(Stamp::MAX, |back| back.began)
    };
    let before = deliveries.first().filter(|first| is_connected(first)).map(|first| 0..first.began);
    let losses = deliveries.iter().enumerate().filter(|(_, event)| is_disconnected(event));
    let lost = losses.filter_map(move |(at, event)| Some(event.ended?..back(&deliveries[at..])));
    before.into_iter().chain(lost)
}

fn is_connected(record: &Record) -> bool {
    record.action == Action::Deliver(BusEvent::Connected)
}

fn is_disconnected(record: &Record) -> bool {
    record.action == Action::Deliver(BusEvent::Disconnected)
}

/// When removers count on one node, for one way of reading.
struct Counting<'a> {
    /// In the order in which they come to count; beside each stamp, of those up to there, the
    /// remover that began last.
    latest: Vec<(Stamp, &'a Record, Stamp)>,
}

impl<'a> Counting<'a> {
    fn new(key: &KeyHistory<'a>, mode: Mode, node: usize, reader: Reader) -> Self {
        let counted = key.removers.iter().filter_map(|remover| {
            key.counts_from(mode, remover, node, reader).map(|from| (from, *remover, from))
        });
        let mut latest: Vec<_> = counted.collect();
        latest.sort_by_key(|(from, ..)| *from);
        for at in 1..latest.len() {
            if latest[at - 1].1.began > latest[at].1.began {
                (latest[at].1, latest[at].2) = (latest[at - 1].1, latest[at - 1].2);
            }
        }
        Self { latest }
    }

    /// What supersedes `source` for `read`, and from when on it counts.
    fn superseded(&self, source: &Record, read: &Record) -> Option<(&'a Record, Stamp)> {
        let counting = self.latest.partition_point(|(from, ..)| *from < read.began);
        let (_, by, from) = self.latest[..counting].last()?;
        (by.began > source.ended?).then_some((*by, *from))
    }
}
