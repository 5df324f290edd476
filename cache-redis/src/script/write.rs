//! Writes that are done in time or not at all.
//!
//! A command that its caller has given up is still on its way, and may be done much later: in a
//! connection that is slow, or in what a server that hung has not read yet. It would undo whatever
//! its caller did next. So a write says until when it may be done.

use std::sync::LazyLock;

use cache_core::Timestamp;
use redis::Cmd;

use super::Script;
use crate::wire::Expiry;

static WRITE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("write.lua")));

/// What is to stand under one key.
#[derive(Clone, Debug)]
pub(crate) struct Put {
    pub(crate) key: String,
    /// Empty if the key is to be removed.
    pub(crate) record: Vec<u8>,
    pub(crate) expiry: Expiry,
}

impl Put {
    /// The command that does it, whenever it comes.
    pub(crate) fn whenever(&self) -> Cmd {
        let Self { key, record, expiry } = self;
        let mut cmd = Cmd::with_capacity(5, key.len() + record.len() + 32);
        match expiry {
            Expiry::Past => cmd.arg("UNLINK").arg(key),
            Expiry::Never => cmd.arg("SET").arg(key).arg(record),
            Expiry::After(millis) => cmd.arg("SET").arg(key).arg(record).arg("PX").arg(millis),
        };
        cmd
    }

    /// Its bytes.
    pub(crate) fn len(&self) -> usize {
        self.key.len() + self.record.len()
    }
}

/// Puts records under keys, in order, if the server's clock does not yet show more than `latest`;
/// answers whether it did. It may be repeated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Write<'a> {
    pub(crate) puts: &'a [Put],
    pub(crate) latest: Option<Timestamp>,
}

impl Write<'_> {
    /// By the script's hash. The server may not know it: `NOSCRIPT`, and nothing has happened.
    pub(crate) fn by_hash(&self) -> Cmd {
        self.command("EVALSHA", &WRITE.sha1)
    }

    /// With the whole script, which the server then knows by its hash.
    pub(crate) fn by_source(&self) -> Cmd {
        self.command("EVAL", WRITE.source)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let Self { puts, latest } = self;
        let bytes = puts.iter().map(Put::len).sum::<usize>();
        let mut cmd =
            Cmd::with_capacity(4 + 3 * puts.len(), bytes + script.len() + 24 * puts.len() + 48);
        cmd.arg(name).arg(script).arg(puts.len());
        for put in *puts {
            cmd.arg(&put.key);
        }
        super::latest(&mut cmd, *latest);
        for Put { record, expiry, .. } in *puts {
            cmd.arg(record);
            match expiry {
                Expiry::Past => cmd.arg(0),
                Expiry::Never => cmd.arg(""),
                Expiry::After(millis) => cmd.arg(millis),
            };
        }
        cmd
    }
}
