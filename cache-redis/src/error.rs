//! What an error of Redis or of the connection to it means, decided in one place.

use cache_core::{CacheError, ErrorKind};
use redis::{ErrorKind as Redis, RedisError, ServerErrorKind as Server, Value};

/// What an error says about the connection it came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing: the connection is as good as before.
    Keep,
    /// It is broken; whether the command ran is not known.
    Dropped,
    /// It works and leads to the wrong place or as the wrong user: replace it. The command did
    /// not run.
    Replace,
    /// It leads to a replica: as [`Replace`](Self::Replace), with all that lead there.
    Demoted,
    /// The key lives on another node of the cluster. The command did not run.
    Redirect,
}

/// The meaning of `error`, which came from `address`.
pub(crate) fn classify(error: &RedisError, address: &str) -> (CacheError, Effect) {
    use ErrorKind::{Backend, Config, Timeout, Unavailable};
    if let Some(raised) = raised_in_a_script(error) {
        return classify(&raised, address);
    }
    let (kind, retryable, effect, what) = match error.kind() {
        Redis::Io if error.is_timeout() => (Timeout, true, Effect::Keep, "no answer in time"),
        Redis::Io | Redis::ClusterConnectionNotFound => {
            (Unavailable, true, Effect::Dropped, "the connection is broken")
        }
        // Not a value of the wrong type, which `convert` sees: bytes that are not the protocol.
        Redis::Parse => (Unavailable, true, Effect::Dropped, "the answer is not Redis's protocol"),
        Redis::AuthenticationFailed => (Unavailable, true, Effect::Replace, "login refused"),
        Redis::InvalidClientConfig => (Config, false, Effect::Keep, "wrong setting"),
        Redis::Server(server) => match server {
            Server::BusyLoading => (Unavailable, true, Effect::Keep, "loading its data"),
            Server::MasterDown => (Unavailable, true, Effect::Replace, "a replica without primary"),
            Server::ReadOnly => (Unavailable, true, Effect::Demoted, "a replica, read-only"),
            Server::ClusterDown => (Unavailable, true, Effect::Keep, "the cluster is down"),
            Server::TryAgain | Server::Moved | Server::Ask => {
                (Unavailable, true, Effect::Redirect, "the key's node is changing or away")
            }
            Server::NoScript => (Backend, true, Effect::Keep, "script unknown"),
            Server::NoPerm => (Backend, false, Effect::Keep, "not permitted"),
            _ if starts(error, "max number of clients") => {
                (Unavailable, true, Effect::Replace, "too many clients")
            }
            _ => (Backend, false, Effect::Keep, "refused"),
        },
        _ => match error.code() {
            Some("NOAUTH" | "WRONGPASS") => (Unavailable, true, Effect::Replace, "login refused"),
            Some("OOM") => (Backend, true, Effect::Keep, "out of memory"),
            Some("MISCONF") => (Backend, true, Effect::Keep, "it cannot save and takes no writes"),
            Some("NOREPLICAS") => (Unavailable, true, Effect::Keep, "too few replicas"),
            Some("BUSY") => (Unavailable, true, Effect::Keep, "busy with a script"),
            _ => (Backend, false, Effect::Keep, "refused"),
        },
    };
    // The server's own words are left to the source: they may quote a value.
    let code = error.code().map(|code| format!(" ({code})")).unwrap_or_default();
    let message = format!("{address}: {what}{code}");
    let error = CacheError::new(kind, message).with_retryable(retryable).with_source(error.clone());
    (error, effect)
}

/// The error that ended a script, where the server tells of it in the words of another: up to
/// Redis 6 it says `ERR Error running script (call to f_…): @user_script:4: @user_script: 4: -OOM …`.
fn raised_in_a_script(error: &RedisError) -> Option<RedisError> {
    if error.kind() != Redis::Server(Server::ResponseError) {
        return None;
    }
    let words = error.detail()?.strip_prefix("Error running script")?;
    // Where it was raised comes before it; what comes after may have colons of its own.
    let raised = words.split_inclusive(": ").scan(0, |end, part| {
        let start = std::mem::replace(end, *end + part.len());
        Some(words[start..].strip_prefix('-').unwrap_or(&words[start..]))
    });
    let is_code = |word: &str| word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_uppercase());
    let mut raised = raised.filter(|said| said.split(' ').next().is_some_and(is_code));
    let reply = redis::parse_redis_value(format!("-{}\r\n", raised.next()?.trim_end()).as_bytes());
    refusal(&reply.ok()?)
}

/// The error that `reply` is, if it is one.
pub(crate) fn refusal(reply: &Value) -> Option<RedisError> {
    match reply {
        Value::ServerError(error) => Some(RedisError::from(error.clone())),
        _ => None,
    }
}

/// An error for a reply that is not what its command gives.
pub(crate) fn unexpected(address: &str, error: redis::ParsingError) -> CacheError {
    let message = format!("{address}: an answer of another type than asked for");
    CacheError::new(ErrorKind::Backend, message).with_source(RedisError::from(error))
}

pub(crate) fn unavailable(address: &str, what: &str) -> CacheError {
    CacheError::new(ErrorKind::Unavailable, format!("{address}: {what}"))
}

fn starts(error: &RedisError, text: &str) -> bool {
    error.detail().is_some_and(|detail| detail.starts_with(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(reply: &str) -> (ErrorKind, bool, Effect) {
        let value = redis::parse_redis_value(format!("-{reply}\r\n").as_bytes()).unwrap();
        let error = refusal(&value).expect("an error");
        let (error, effect) = classify(&error, "h:1");
        assert!(error.to_string().contains("h:1: "), "{error}");
        (error.kind(), error.is_retryable(), effect)
    }

    #[test]
    fn server_replies_are_told_apart() {
        use Effect::{Demoted, Keep, Redirect, Replace};
        use ErrorKind::{Backend, Unavailable};
        let cases = [
            ("LOADING Redis is loading the dataset in memory", Unavailable, true, Keep),
            ("READONLY You can't write against a read only replica.", Unavailable, true, Demoted),
            ("MASTERDOWN Link with MASTER is down", Unavailable, true, Replace),
            ("CLUSTERDOWN The cluster is down", Unavailable, true, Keep),
            ("MOVED 3999 127.0.0.1:6381", Unavailable, true, Redirect),
            ("ASK 3999 127.0.0.1:6381", Unavailable, true, Redirect),
            ("TRYAGAIN Multiple keys request during rehashing", Unavailable, true, Redirect),
            ("OOM command not allowed when used memory > 'maxmemory'.", Backend, true, Keep),
            ("NOAUTH Authentication required.", Unavailable, true, Replace),
            ("WRONGPASS invalid username-password pair", Unavailable, true, Replace),
            ("NOPERM this user has no permissions", Backend, false, Keep),
            ("MISCONF Redis is configured to save RDB snapshots", Backend, true, Keep),
            ("BUSY Redis is busy running a script", Unavailable, true, Keep),
            ("NOREPLICAS Not enough good replicas to write.", Unavailable, true, Keep),
            ("WRONGTYPE Operation against a key", Backend, false, Keep),
            ("ERR max number of clients reached", Unavailable, true, Replace),
            ("ERR syntax error", Backend, false, Keep),
            ("NOSCRIPT No matching script.", Backend, true, Keep),
        ];
        for (reply, kind, retryable, effect) in cases {
            assert_eq!(of(reply), (kind, retryable, effect), "{reply}");
        }
    }

    #[test]
    fn what_redis_6_says_of_a_script_is_what_it_says_of_a_command() {
        use Effect::{Demoted, Keep};
        use ErrorKind::{Backend, Unavailable};
        let cases = [
            ("-READONLY You can't write against a read only replica.", Unavailable, true, Demoted),
            ("-OOM command not allowed when used memory > 'maxmemory'.", Backend, true, Keep),
            ("-MISCONF Errors writing to the AOF file: No space left", Backend, true, Keep),
            ("-NOREPLICAS Not enough good replicas to write.", Unavailable, true, Keep),
            // A command's own refusal comes without the dash.
            ("WRONGTYPE Operation against a key", Backend, false, Keep),
            ("ERR value is not an integer or out of range", Backend, false, Keep),
            ("Script attempted to access a non local key", Backend, false, Keep),
            ("", Backend, false, Keep),
        ];
        for (raised, kind, retryable, effect) in cases {
            let reply = format!(
                "ERR Error running script (call to f_7b5ad): @user_script:4: @user_script: 4: \
                 {raised} "
            );
            assert_eq!(of(&reply), (kind, retryable, effect), "{reply}");
        }
        let unwrapped = "ERR Error running script (call to f_7b5ad): @user_script:4: OOM";
        let value = redis::parse_redis_value(format!("-{unwrapped}\r\n").as_bytes()).unwrap();
        let (error, _) = classify(&refusal(&value).unwrap(), "h:1");
        assert!(error.to_string().ends_with("h:1: out of memory (OOM)"), "{error}");
    }

    #[test]
    fn broken_connections_are_dropped_and_timeouts_are_not() {
        let io = |kind| RedisError::from(std::io::Error::from(kind));
        for kind in [std::io::ErrorKind::BrokenPipe, std::io::ErrorKind::ConnectionReset] {
            let (error, effect) = classify(&io(kind), "h:1");
            assert_eq!((error.kind(), effect), (ErrorKind::Unavailable, Effect::Dropped));
        }
        let (error, effect) = classify(&io(std::io::ErrorKind::TimedOut), "h:1");
        assert_eq!((error.kind(), effect), (ErrorKind::Timeout, Effect::Keep));
    }
}
