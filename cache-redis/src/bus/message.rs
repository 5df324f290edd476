//! What nodes say to each other. `FORMAT.md` is the specification.
//!
//! Rules:
//!
//! 1. Any bytes are read without a panic. What is not understood is no event and is counted.
//! 2. No message is longer than [`MAX_BYTES`]: what needs more goes in several.
//! 3. Numbers are an offer. A message without, or with what is no number, says what it says.

use std::fmt;
use std::iter;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_core::{BusEvent, MAX_KEY_BYTES, Selector};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::numbers::{MOST_VOID, Mark, Place};
use crate::random::random;

/// The longest message that is sent, and the longest that is read.
pub(crate) const MAX_BYTES: usize = 1 << 20;
/// What a message holds besides its keys: less than this.
const FRAME_BYTES: usize = 128;
const VERSION: u64 = 1;

/// Who sends, so that a bus knows its own messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sender(u64);

impl Sender {
    #[cfg(test)]
    pub(super) const fn of(number: u64) -> Self {
        Self(number)
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if digits { u64::from_str_radix(text, 16).ok().map(Self) } else { None }
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The name of a bus. Drawn at random, and anew when somebody else turns out to have it: a process
/// that was copied while it ran draws what its original draws, or has drawn already.
#[derive(Debug)]
pub(crate) struct Name(AtomicU64);

impl Name {
    pub(super) fn draw() -> Self {
        Self(AtomicU64::new(random()))
    }

    pub(crate) fn get(&self) -> Sender {
        Sender(self.0.load(Ordering::Relaxed))
    }

    pub(super) fn draw_anew(&self) {
        self.0.store(random(), Ordering::Relaxed);
    }
}

#[derive(Serialize)]
struct Outgoing<'a> {
    v: u64,
    from: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ago: Option<u64>,
    #[serde(skip_serializing_if = "<[u64]>::is_empty")]
    void: &'a [u64],
    #[serde(skip_serializing_if = "<[Option<u64>]>::is_empty")]
    before: &'a [Option<u64>],
    #[serde(flatten)]
    what: What<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum What<'a> {
    Removed(Removed<'a>),
    Filled(&'a [String]),
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Removed<'a> {
    Keys(&'a [String]),
    Prefix(&'a str),
    All,
}

/// The messages that tell of a removal, in order, with a number each; none if it selects nothing.
/// `None`: this version has no words for it.
pub(super) fn removed(
    from: Sender,
    what: &Selector,
    mut number: impl FnMut() -> Place,
) -> Option<Vec<String>> {
    let mut message = |removed| {
        let Place { number, ago } = number();
        let head = outgoing(from, What::Removed(removed));
        encode(&Outgoing { number: Some(number), ago: ago.map(millis), ..head })
    };
    Some(match what {
        Selector::Keys(keys) => portions(keys)
            .into_iter()
            .map(|portion| message(Removed::Keys(&keys[portion])))
            .collect(),
        // No key is that long.
        Selector::Prefix(prefix) if prefix.len() > MAX_KEY_BYTES => Vec::new(),
        Selector::Prefix(prefix) => vec![message(Removed::Prefix(prefix))],
        Selector::All => vec![message(Removed::All)],
        _ => return None,
    })
}

/// The message that one key was filled, or its load given up.
pub(crate) fn filled(from: Sender, key: &str) -> String {
    encode(&outgoing(from, What::Filled(&[key.to_owned()])))
}

/// A mark, in the form of a removal of nothing: so it reads for whoever knows of no numbers.
pub(super) fn mark(from: Sender, mark: &Mark) -> String {
    let Mark { last, ago, void } = mark;
    let head = outgoing(from, What::Removed(Removed::Keys(&[])));
    let before: Vec<_> = void.iter().map(|void| void.ago.map(millis)).collect();
    let void: Vec<_> = void.iter().map(|void| void.number).collect();
    let (void, before) = (&*void, &*before);
    encode(&Outgoing { last: Some(*last), ago: Some(millis(*ago)), void, before, ..head })
}

fn outgoing(from: Sender, what: What<'_>) -> Outgoing<'_> {
    let from = from.to_string();
    Outgoing { v: VERSION, from, number: None, last: None, ago: None, void: &[], before: &[], what }
}

fn encode(message: &Outgoing<'_>) -> String {
    // Strings and numbers: there is nothing that does not encode.
    serde_json::to_string(message).unwrap_or_default()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Runs of keys that fit a message each.
fn portions(keys: &[String]) -> Vec<Range<usize>> {
    let mut portions = Vec::new();
    let (mut start, mut bytes) = (0, FRAME_BYTES);
    for (position, key) in keys.iter().enumerate() {
        let more = encoded_len(key);
        if bytes + more > MAX_BYTES && position > start {
            portions.push(start..position);
            (start, bytes) = (position, FRAME_BYTES);
        }
        bytes += more;
    }
    if start < keys.len() {
        portions.push(start..keys.len());
    }
    portions
}

/// How long a key is in JSON, with its quotes and a comma.
fn encoded_len(key: &str) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0C => 2,
        0..0x20 => 6,
        _ => 1,
    };
    key.bytes().map(escaped).sum::<usize>() + 3
}

/// A message as it was understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// What it says, and which of its sender's it is, if it has a number.
    Event(BusEvent, Option<(Sender, Place)>),
    /// Another's mark.
    Mark(Sender, Mark),
    /// One's own, and its number if it has one.
    Own(Option<u64>),
    /// One's own mark, and up to where.
    OwnMark(u64),
    /// Nothing that this version understands, and why.
    Unreadable(&'static str),
}

#[derive(Deserialize)]
struct Version {
    v: u64,
}

#[derive(Deserialize)]
struct Incoming {
    from: Option<String>,
    number: Option<Value>,
    last: Option<Value>,
    ago: Option<Value>,
    void: Option<Value>,
    before: Option<Value>,
    removed: Option<Selected>,
    filled: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Selected {
    Keys(Vec<String>),
    Prefix(String),
    All,
}

/// What `bytes` say to the bus of `own`.
pub(crate) fn read(own: Sender, bytes: &[u8]) -> Heard {
    if bytes.len() > MAX_BYTES {
        return Heard::Unreadable("too long");
    }
    let Ok(text) = str::from_utf8(bytes) else { return Heard::Unreadable("not UTF-8") };
    if !is_meant_as_json(text) {
        return read_bare(text);
    }
    // The version first: everything else may mean something else in another.
    match serde_json::from_str::<Version>(text) {
        Ok(Version { v: VERSION }) => {}
        Ok(_) => return Heard::Unreadable("another version"),
        Err(_) => return Heard::Unreadable("no message"),
    }
    let Ok(Incoming { from, number, last, ago, void, before, removed, filled }) =
        serde_json::from_str(text)
    else {
        return Heard::Unreadable("an unknown field or value");
    };
    let number_in = |value: Option<Value>| value.as_ref().and_then(Value::as_u64);
    let (number, last) = (number_in(number), number_in(last));
    if from.as_ref().is_some_and(|from| *from == own.to_string()) {
        return last.map_or(Heard::Own(number), Heard::OwnMark);
    }
    let from = from.as_deref().and_then(Sender::parse);
    let ago = number_in(ago).map(Duration::from_millis);
    let event = match (removed, filled) {
        (Some(removed), None) => BusEvent::Removed(match removed {
            Selected::Keys(keys) => Selector::Keys(keys),
            Selected::Prefix(prefix) => Selector::Prefix(prefix),
            Selected::All => Selector::All,
        }),
        (None, Some(keys)) => BusEvent::Filled(keys),
        (Some(_), Some(_)) => return Heard::Unreadable("two messages in one"),
        (None, None) => return Heard::Unreadable("says nothing"),
    };
    match (from, last, ago, &event) {
        (Some(from), Some(last @ 1..), Some(ago), BusEvent::Removed(Selector::Keys(keys)))
            if keys.is_empty() =>
        {
            let list = |list| if let Some(Value::Array(list)) = list { list } else { Vec::new() };
            let before = list(before).into_iter().map(Some).chain(iter::repeat(None));
            let void = list(void).into_iter().zip(before).take(MOST_VOID);
            let void = void.filter_map(|(void, before)| {
                let ago = number_in(before).map(Duration::from_millis);
                number_in(Some(void)).map(|number| Place { number, ago })
            });
            let void = void.collect();
            Heard::Mark(from, Mark { last, ago, void })
        }
        _ => {
            let place = number.filter(|number| *number > 0).map(|number| Place { number, ago });
            Heard::Event(event, from.zip(place))
        }
    }
}

/// What a bare string says: it is a key. One with a newline at its end may be meant without it, which
/// `redis-cli -x PUBLISH` sends with what it reads: both are removed.
fn read_bare(text: &str) -> Heard {
    let line = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    let is_key = |key: &&str| (1..=MAX_KEY_BYTES).contains(&key.len());
    let keys: Vec<_> = [text].into_iter().chain(line).filter(is_key).map(str::to_owned).collect();
    match (keys.is_empty(), text.is_empty()) {
        (false, _) => Heard::Event(BusEvent::Removed(Selector::Keys(keys)), None),
        (true, true) => Heard::Unreadable("empty"),
        (true, false) => Heard::Unreadable("too long for a key"),
    }
}

/// A key may begin with a brace, as one with a hash tag does; `{"` begins an object.
fn is_meant_as_json(text: &str) -> bool {
    let blank = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
    text.trim_start_matches(blank).strip_prefix('{').is_some_and(|rest| {
        let rest = rest.trim_start_matches(blank);
        rest.starts_with('"') || rest.starts_with('}')
    })
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
