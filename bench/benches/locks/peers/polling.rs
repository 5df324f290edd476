//! The lock that everybody writes: `SET NX PX` every 50 ms until it works, and a script that deletes the
//! key if it is still one's own. No lease is watched or renewed, nobody stands in line.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::Script;
use redis::aio::MultiplexedConnection;

use crate::contender::{Contender, calls};
use crate::raw;

const POLL: Duration = Duration::from_millis(50);
const RELEASE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

pub(crate) struct Polling {
    connection: MultiplexedConnection,
    release: Script,
}

pub(crate) struct Held {
    key: String,
    token: [u8; 16],
}

impl Contender for Polling {
    const NAME: &'static str = "SET NX PX every 50 ms";
    type Guard = Held;

    async fn connect(url: &str) -> Self {
        Self { connection: raw::connection(url).await, release: Script::new(RELEASE) }
    }

    async fn acquire(&self, key: &str) -> Held {
        let token = fastrand::u128(..).to_be_bytes();
        let mut set = redis::cmd("SET");
        set.arg(key).arg(&token).arg("NX").arg("PX").arg(30_000);
        loop {
            let taken: Option<String> =
                set.query_async(&mut self.connection.clone()).await.unwrap();
            if taken.is_some() {
                return Held { key: key.to_owned(), token };
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn release(&self, Held { key, token }: Held) {
        let mut release = self.release.prepare_invoke();
        release.key(key).arg(&token);
        let released: u8 = release.invoke_async(&mut self.connection.clone()).await.unwrap();
        assert_eq!(released, 1);
    }

    fn attempts(commands: &BTreeMap<String, u64>, _taken: u64) -> u64 {
        calls(commands, "set")
    }

    fn commands(commands: &BTreeMap<String, u64>) -> u64 {
        // The script that gives it back among them, as with the others.
        ["set", "eval", "evalsha"].map(|command| calls(commands, command)).iter().sum()
    }
}
