//! Lua scripts, sent by their digest.

use redis::Cmd;

/// A script and its SHA-1 digest.
///
/// ```
/// use cache_redis::Script;
///
/// let script = Script::new("return redis.call('GET', KEYS[1])");
/// assert_eq!(script.digest().len(), 40);
/// ```
#[derive(Clone, Debug)]
pub struct Script {
    code: &'static str,
    digest: String,
}

impl Script {
    /// The script with this source.
    #[must_use]
    pub fn new(code: &'static str) -> Self {
        Self { code, digest: redis::Script::new(code).get_hash().to_owned() }
    }

    /// The hexadecimal digest by which a server knows the script.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    pub(crate) fn evalsha(&self, keys: &[&str], args: &[&[u8]]) -> Cmd {
        command("EVALSHA", &self.digest, keys, args)
    }

    pub(crate) fn eval(&self, keys: &[&str], args: &[&[u8]]) -> Cmd {
        command("EVAL", self.code, keys, args)
    }
}

fn command(name: &str, script: &str, keys: &[&str], args: &[&[u8]]) -> Cmd {
    let bytes = keys.iter().map(|key| key.len()).sum::<usize>()
        + args.iter().map(|arg| arg.len()).sum::<usize>();
    let mut cmd = Cmd::with_capacity(3 + keys.len() + args.len(), bytes + script.len() + 16);
    cmd.arg(name).arg(script).arg(keys.len());
    for key in keys {
        cmd.arg(key);
    }
    for arg in args {
        cmd.arg(arg);
    }
    cmd
}
