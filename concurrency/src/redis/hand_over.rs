//! Hearing of locks that are handed over.
//!
//! Rules:
//! 1. One subscription for a service, made when a lock is first found held. Who queues before it is
//!    confirmed, or when it is lost, says so: what is published to nobody is nobody's turn.
//! 2. A message is a hint. One that is lost costs time, as each who waits asks by itself now and
//!    then; one that comes late or twice is no harm.
//! 3. A lock that is handed to nobody is given back: by an attempt that was given up, and came to
//!    the server all the same. One that was taken away is lost at once, and that grant alone: the same
//!    token may have been granted it anew by the time that is heard.
//! 4. A hand-over is a grant, without asking, if it is known to be young: see
//!    [`ChannelEvent::Message`].
//! 5. Processes of different versions share the channels. Each form of a message begins with a token; of
//!    one that is not known nothing else is, and a waiter with that token asks.

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
    waiting: Mutex<HashMap<String, watch::Sender<News>>>,
    connected: watch::Sender<bool>,
}

/// What a token that waits was told.
#[derive(Clone, Copy, Debug, Default)]
struct News {
    hand_over: Option<HandOver>,
    /// The last grant that was taken away from it.
    lost: Option<u64>,
}

impl News {
    /// Takes in what is said. True if it is news for who waits.
    fn hear(&mut self, said: Said, after: Option<Timestamp>) -> bool {
        // It may have the lock, and not know.
        let ask = HandOver { fence: 0, after: None };
        self.hand_over = Some(match said {
            Said::Turn(fence) => HandOver { fence, after },
            Said::Unknown => ask,
            Said::Lost(fence) => {
                self.lost = fence.or(self.lost);
                // It has been handed the lock again since.
                if self.hand_over.zip(fence).is_some_and(|(newer, lost)| newer.fence > lost) {
                    return false;
                }
                ask
            }
        });
        true
    }
}

/// What is said of a token that does not wait here, or has been granted the lock and waits no more in a
/// moment.
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
    /// The lock was taken away from it: this grant of it. Not known if the server has forgotten, or
    /// an older version took it.
    Lost(Option<u64>),
    /// Something in a form of another version.
    Unknown,
}

/// A token's turn will be told here.
pub(crate) struct Turn {
    token: String,
    told: Arc<Told>,
    news: watch::Receiver<News>,
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
        let (news, told) = (watch::Sender::default(), Arc::clone(&self.told));
        let turn = Turn { token: token.to_owned(), told, news: news.subscribe() };
        self.told.waiting.lock().insert(token.to_owned(), news);
        turn
    }

    /// Whether this grant, of which its waiter does not know yet, was taken away. To be asked once the
    /// hold is among those that are told by [`Stray`]: either there or here it is noticed.
    pub(crate) fn is_lost(&self, token: &str, fence: u64) -> bool {
        let waiting = self.told.waiting.lock();
        waiting.get(token).is_some_and(|news| news.borrow().lost == Some(fence))
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
                let Some((token, said, lock)) = parse(payload) else {
                    return self.unknown(payload);
                };
                let news = self.waiting.lock().get(token).cloned();
                if let Some(news) = &news {
                    news.send_if_modified(|news| news.hear(said, published_after));
                }
                if news.is_none() || matches!(said, Said::Lost(_)) {
                    stray(Stray { token, said, lock });
                }
            }
            _ => {}
        }
    }

    /// Rule 5. No token begins with another, as each has a number and an `@` behind that.
    fn unknown(&self, payload: &[u8]) {
        for (token, news) in &*self.waiting.lock() {
            if payload.starts_with(token.as_bytes()) {
                news.send_if_modified(|news| news.hear(Said::Unknown, None));
            }
        }
    }
}

/// `<token> <fence>`, or `<token> lost` and the fence in a line of its own, and then the lock's key in
/// one, as `common.lua` and `force.lua` write it. The label in a token may hold spaces, and a key
/// anything; but it begins with a brace.
fn parse(payload: &[u8]) -> Option<(&str, Said, &str)> {
    let (said, lock) = str::from_utf8(payload).ok()?.split_once('\n')?;
    let (token, what) = said.rsplit_once(' ')?;
    if what != "lost" {
        return Some((token, Said::Turn(what.parse().ok()?), lock));
    }
    let fence = lock.split_once('\n').and_then(|(fence, lock)| Some((fence.parse().ok()?, lock)));
    let (fence, lock) = fence.map_or((None, lock), |(fence, lock)| (Some(fence), lock));
    Some((token, Said::Lost(fence), lock))
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
            if let Some(hand_over) = self.news.borrow_and_update().hand_over {
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
        for lost in ["lost\nk", "lost\n41\nk"] {
            let hand_overs = HandOvers::new();
            let mut turn = hand_overs.turn("a.1@pid 7");
            say(&hand_overs, b"a.1@pid 7 41\nk");
            say(&hand_overs, format!("a.1@pid 7 {lost}").as_bytes());
            assert_eq!(turn.come().now_or_never().expect("it is told").after, None);
        }
    }

    #[test]
    fn who_has_been_handed_a_lock_anew_is_not_told_of_the_loss_before() {
        let hand_overs = HandOvers::new();
        let mut turn = hand_overs.turn("a.1@pid 7");
        say(&hand_overs, b"a.1@pid 7 42\nk");
        say(&hand_overs, b"a.1@pid 7 lost\n41\nk");
        assert_eq!(turn.come().now_or_never().expect("it is told").fence, 42);
        assert_eq!(turn.come().now_or_never(), None);
    }

    #[test]
    fn a_loss_is_told_to_the_waiter_and_to_the_hold_that_it_may_be_by_now() {
        let hand_overs = HandOvers::new();
        let turn = hand_overs.turn("a.1@pid 7");
        let told = Mutex::new(None);
        let stray = |Stray { token, said, lock }: Stray<'_>| {
            *told.lock() = Some((token.to_owned(), said, lock.to_owned()));
        };
        let payload = b"a.1@pid 7 lost\n41\nk\n9";
        hand_overs.told.hear(ChannelEvent::Message { payload, published_after: None }, stray);
        let expected = ("a.1@pid 7".to_owned(), Said::Lost(Some(41)), "k\n9".to_owned());
        assert_eq!(told.into_inner(), Some(expected));
        assert!(hand_overs.is_lost("a.1@pid 7", 41) && !hand_overs.is_lost("a.1@pid 7", 42));
        drop(turn);
        assert!(!hand_overs.is_lost("a.1@pid 7", 41));
    }

    #[test]
    fn what_is_no_hand_over_is_ignored_or_asked_about() {
        let hand_overs = HandOvers::new();
        let mut turn = hand_overs.turn("a");
        for said in [&b""[..], b"\xff 1", b" 1", b"b 1", b"b", b"b 1 a"] {
            say(&hand_overs, said);
            say(&hand_overs, &[said, b"\nk"].concat());
            assert_eq!(turn.come().now_or_never(), None);
        }
        let ask = Some(HandOver { fence: 0, after: None });
        for said in [&b"a"[..], b"a ", b"a 1", b"a x\nk", b"a -1\nk", b"a\xff 1\nk", b"a\n1\nk"] {
            say(&hand_overs, said);
            assert_eq!(turn.come().now_or_never(), ask, "{said:?}");
        }
    }
}
