//! Hearing of locks that are handed over.
//!
//! Rules:
//! 1. One subscription for a service, made when a lock is first found held. Who queues before it is
//!    confirmed, or when it is lost, says so: what is published to nobody is nobody's turn.
//! 2. A message is a hint. One that is lost costs time, as each who waits asks by itself now and
//!    then; one that comes late or twice is no harm.
//! 3. A lock that is handed to nobody is given back: by an attempt that was given up, and came to
//!    the server all the same. One that was taken away is lost at once.
//! 4. A hand-over is a grant, without asking, if it is known to be young: see
//!    [`ChannelEvent::Message`].

use std::collections::HashMap;
use std::sync::Arc;

use cache_core::{CacheError, Timestamp};
use cache_redis::{Channel, ChannelEvent, Connections};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// The lock is ours, it is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HandOver {
    pub(crate) fence: u64,
    /// It was said after that.
    pub(crate) after: Option<Timestamp>,
}

/// See the head of the file.
pub(crate) struct HandOvers {
    told: Arc<Told>,
    channel: Mutex<Option<Channel>>,
}

struct Told {
    /// By token.
    waiting: Mutex<HashMap<String, watch::Sender<Option<HandOver>>>>,
    connected: watch::Sender<bool>,
}

/// What is said of a token that does not wait here.
pub(crate) struct Stray<'a> {
    pub(crate) token: &'a str,
    pub(crate) said: Said,
    /// The key of the lock.
    pub(crate) lock: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// It has the lock, under this fencing token.
    Turn(u64),
    /// The lock was taken away from it.
    Lost,
}

/// A token's turn will be told here.
pub(crate) struct Turn {
    token: String,
    told: Arc<Told>,
    news: watch::Receiver<Option<HandOver>>,
}

impl HandOvers {
    pub(crate) fn new() -> Self {
        let connected = watch::Sender::new(false);
        let told = Arc::new(Told { waiting: Mutex::default(), connected });
        Self { told, channel: Mutex::default() }
    }

    /// Subscribes, if that has not been done before.
    pub(crate) fn start<S: Fn(Stray<'_>) + Send + Sync + 'static>(
        &self,
        connections: &Connections,
        setup: impl FnOnce() -> (String, S),
        runtime: &Handle,
    ) -> Result<(), CacheError> {
        let mut started = self.channel.lock();
        if started.is_none() {
            let told = Arc::clone(&self.told);
            // It is to live as long as the service, whoever comes first.
            let _runtime = runtime.enter();
            let (channel, stray) = setup();
            let hear = move |event: ChannelEvent<'_>| told.hear(event, &stray);
            *started = Some(Channel::listen(connections, channel, hear)?);
        }
        Ok(())
    }

    /// Whether hand-overs are heard.
    pub(crate) fn connected(&self) -> watch::Receiver<bool> {
        self.told.connected.subscribe()
    }

    pub(crate) fn turn(&self, token: &str) -> Turn {
        let (news, told) = (watch::Sender::new(None), Arc::clone(&self.told));
        let turn = Turn { token: token.to_owned(), told, news: news.subscribe() };
        self.told.waiting.lock().insert(token.to_owned(), news);
        turn
    }

    /// How many wait to hear.
    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.told.waiting.lock().len()
    }
}

impl Told {
    fn hear(&self, event: ChannelEvent<'_>, stray: impl Fn(Stray<'_>)) {
        match event {
            ChannelEvent::Connected => drop(self.connected.send_replace(true)),
            ChannelEvent::Disconnected => drop(self.connected.send_replace(false)),
            ChannelEvent::Message { payload, published_after } => {
                let Some((token, said, lock)) = parse(payload) else { return };
                let news = self.waiting.lock().get(token).cloned();
                let Some(news) = news else { return stray(Stray { token, said, lock }) };
                news.send_replace(Some(match said {
                    Said::Turn(fence) => HandOver { fence, after: published_after },
                    // It was its own in between, and the waiter may not know yet: it asks.
                    Said::Lost => HandOver { fence: 0, after: None },
                }));
            }
            _ => {}
        }
    }
}

/// `<token> <fence>`, or `<token> lost`, and the lock's key in a line of its own, as `common.lua`
/// writes it. The label in a token may hold spaces, and a key anything.
fn parse(payload: &[u8]) -> Option<(&str, Said, &str)> {
    let (said, lock) = str::from_utf8(payload).ok()?.split_once('\n')?;
    let (token, what) = said.rsplit_once(' ')?;
    let said = match what {
        "lost" => Said::Lost,
        fence => Said::Turn(fence.parse().ok()?),
    };
    Some((token, said, lock))
}

impl Turn {
    /// Whether it has come, since that was last asked or waited for.
    pub(crate) fn has_come(&mut self) -> bool {
        // Cannot fail: the map has the sender.
        let news = self.news.has_changed().unwrap_or(false);
        self.news.mark_unchanged();
        news
    }

    /// Waits until it has come, once for each time it is told.
    ///
    /// # Cancel safety
    ///
    /// What is told meanwhile is told by the next call.
    pub(crate) async fn come(&mut self) -> HandOver {
        loop {
            if self.news.changed().await.is_err() {
                // Not while this lives, for it keeps its sender in the map.
                std::future::pending::<()>().await;
            }
            if let Some(hand_over) = *self.news.borrow_and_update() {
                return hand_over;
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.told.waiting.lock().remove(&self.token);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn say(hand_overs: &HandOvers, payload: &[u8]) {
        let published_after = Some(Timestamp::ZERO);
        hand_overs.told.hear(ChannelEvent::Message { payload, published_after }, |_| {});
    }

    #[test]
    fn who_waits_is_told_of_its_turn_and_forgotten() {
        let hand_overs = HandOvers::new();
        let (mut mine, mut other) = (hand_overs.turn("a.1@pid 7"), hand_overs.turn("a.2@pid 7"));
        say(&hand_overs, b"a.1@pid 7 41\nk");
        say(&hand_overs, b"a.1@pid 7 42\nk");
        let expected = HandOver { fence: 42, after: Some(Timestamp::ZERO) };
        assert_eq!(mine.come().now_or_never(), Some(expected));
        assert_eq!(mine.come().now_or_never(), None);
        assert_eq!(other.come().now_or_never(), None);
        drop((mine, other));
        assert_eq!(hand_overs.waiting(), 0);
        let strays = Mutex::new(Vec::new());
        let message =
            ChannelEvent::Message { payload: b"a.1@pid 7 43\nk 8\n9", published_after: None };
        let stray = |Stray { token, said, lock }: Stray<'_>| {
            strays.lock().push((token.to_owned(), said, lock.to_owned()));
        };
        hand_overs.told.hear(message, stray);
        let expected = ("a.1@pid 7".to_owned(), Said::Turn(43), "k 8\n9".to_owned());
        assert_eq!(strays.into_inner(), [expected]);
    }

    #[test]
    fn who_is_handed_a_lock_and_loses_it_again_asks() {
        let hand_overs = HandOvers::new();
        let mut turn = hand_overs.turn("a.1@pid 7");
        say(&hand_overs, b"a.1@pid 7 41\nk");
        say(&hand_overs, b"a.1@pid 7 lost\nk");
        assert_eq!(turn.come().now_or_never().expect("it is told").after, None);
    }

    #[test]
    fn what_is_no_hand_over_is_ignored() {
        let hand_overs = HandOvers::new();
        let mut turn = hand_overs.turn("a");
        for said in [&b""[..], b"a", b"a ", b"a x", b"a -1", b"\xff 1", b" 1", b"b 1"] {
            say(&hand_overs, said);
            say(&hand_overs, &[said, b"\nk"].concat());
            assert_eq!(turn.come().now_or_never(), None);
        }
    }
}
