//! A history that several processes write, each line by line into one file.
//!
//! The kernel puts what is appended one after the other, so a line's number is its stamp: a call's
//! first line is written before it begins, its last one after it has returned. A process that is
//! killed leaves its calls without their last lines.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use cache_core::{BusEvent, Selector};

use super::record::{Action, History, Reader, Record, Stamp};

/// The calls of this process, over all journals: two of them may be of one file.
static CALLS: AtomicU64 = AtomicU64::new(0);

#[derive(Debug)]
pub(super) struct Journal {
    file: File,
}

/// A call that has begun, among those of all processes.
pub(super) type Call = String;

impl Journal {
    pub(super) fn append_to(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self { file })
    }

    pub(super) fn begin(&self, node: usize, action: &Action) -> Call {
        let call = format!("{}.{}", process::id(), CALLS.fetch_add(1, Ordering::Relaxed));
        self.write(&format!("begin\t{call}\t{node}\t{}\n", encode(action)));
        call
    }

    /// It returned, with this value if it is one that returns a value.
    pub(super) fn end(&self, call: &Call, found: Option<u64>) {
        let found = found.map_or_else(String::new, |found| format!("\t{found}"));
        self.write(&format!("end\t{call}{found}\n"));
    }

    pub(super) fn gone(&self, node: usize) {
        self.write(&format!("gone\t{node}\n"));
    }

    /// In one piece, so that lines do not mix.
    fn write(&self, line: &str) {
        (&self.file).write_all(line.as_bytes()).expect("a journal can be written");
    }
}

impl History {
    /// What processes have written into one file through
    /// [`Recorder::in_file`](super::Recorder::in_file).
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    ///
    /// # Panics
    ///
    /// If something else stands in it.
    pub fn read(path: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(path)?;
        let mut read = Reading::default();
        for (stamp, line) in text.lines().enumerate() {
            read.line(stamp as Stamp, line).unwrap_or_else(|| panic!("line {stamp}: {line}"));
        }
        // What a loader read that never returned went nowhere.
        let of_value = |record: &Record| !matches!(record.action, Action::Load { .. });
        Ok(read.records.into_iter().filter(|r| r.ended.is_some() || of_value(r)).collect())
    }
}

#[derive(Default)]
struct Reading {
    records: Vec<Record>,
    /// Those that have not ended, by their call.
    open: HashMap<Call, usize>,
}

impl Reading {
    fn line(&mut self, stamp: Stamp, line: &str) -> Option<()> {
        let (kind, rest) = line.split_once('\t')?;
        match kind {
            "begin" => {
                let mut parts = rest.splitn(3, '\t');
                let (call, node) = (parts.next()?.to_owned(), parts.next()?.parse().ok()?);
                let action = decode(parts.next()?)?;
                self.open.insert(call, self.records.len());
                self.records.push(Record { node, began: stamp, ended: None, action });
            }
            "end" => {
                let (call, value) = rest
                    .split_once('\t')
                    .map_or((rest, None), |(call, value)| (call, value.parse::<u64>().ok()));
                let record = &mut self.records[self.open.remove(call)?];
                record.ended = Some(stamp);
                match &mut record.action {
                    Action::Read { found, .. } => *found = value,
                    Action::Load { value: loaded, .. } => *loaded = value?,
                    _ => {}
                }
            }
            "gone" => {
                let node: usize = rest.parse().ok()?;
                for record in &mut self.records {
                    if let (None, Action::Write { key, value }) = (record.ended, &record.action)
                        && record.node == node
                    {
                        record.action = Action::Unanswered { key: key.clone(), value: *value };
                        record.ended = Some(stamp);
                    }
                }
            }
            _ => return None,
        }
        Some(())
    }
}

fn encode(action: &Action) -> String {
    match action {
        Action::Read { key, by: Reader::Get, .. } => format!("get\t{}", plain(key)),
        Action::Read { key, by: Reader::Load, .. } => format!("get_or_load\t{}", plain(key)),
        Action::Write { key, value } => format!("set\t{}\t{value}", plain(key)),
        Action::Unanswered { key, value } => format!("unanswered\t{}\t{value}", plain(key)),
        Action::Load { key, .. } => format!("load\t{}", plain(key)),
        Action::Remove(what) => format!("remove\t{}", selector(what)),
        Action::Publish(what) => format!("publish\t{}", selector(what)),
        Action::Deliver(BusEvent::Removed(what)) => format!("removed\t{}", selector(what)),
        Action::Deliver(BusEvent::Connected) => "connected".to_owned(),
        Action::Deliver(BusEvent::Disconnected) => "disconnected".to_owned(),
        // Nothing is removed.
        Action::Deliver(_) => "heard".to_owned(),
    }
}

fn decode(action: &str) -> Option<Action> {
    let (kind, rest) = action.split_once('\t').unwrap_or((action, ""));
    let key = || rest.to_owned();
    let valued = || {
        let (key, value) = rest.split_once('\t')?;
        Some((key.to_owned(), value.parse().ok()?))
    };
    Some(match kind {
        "get" => Action::Read { key: key(), found: None, by: Reader::Get },
        "get_or_load" => Action::Read { key: key(), found: None, by: Reader::Load },
        "set" => valued().map(|(key, value)| Action::Write { key, value })?,
        "unanswered" => valued().map(|(key, value)| Action::Unanswered { key, value })?,
        "load" => Action::Load { key: key(), value: 0 },
        "remove" => Action::Remove(selected(rest)?),
        "publish" => Action::Publish(selected(rest)?),
        "removed" => Action::Deliver(BusEvent::Removed(selected(rest)?)),
        "connected" => Action::Deliver(BusEvent::Connected),
        "disconnected" => Action::Deliver(BusEvent::Disconnected),
        "heard" => Action::Deliver(BusEvent::Filled(Vec::new())),
        _ => return None,
    })
}

fn selector(what: &Selector) -> String {
    match what {
        Selector::Keys(keys) => {
            let keys = keys.iter().map(|key| format!("\t{}", plain(key)));
            format!("keys{}", keys.collect::<String>())
        }
        Selector::Prefix(prefix) => format!("prefix\t{}", plain(prefix)),
        _ => "all".to_owned(),
    }
}

fn selected(text: &str) -> Option<Selector> {
    let mut parts = text.split('\t');
    Some(match parts.next()? {
        "keys" => Selector::Keys(parts.map(str::to_owned).collect()),
        "prefix" => Selector::Prefix(parts.next()?.to_owned()),
        "all" => Selector::All,
        _ => return None,
    })
}

fn plain(key: &str) -> &str {
    assert!(!key.contains(['\t', '\n']), "a journal has no room for the key {key:?}");
    key
}
