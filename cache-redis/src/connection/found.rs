//! Which server was found to be the primary last.
//!
//! While sentinels bring about a failover, a former primary may not have been told yet: it goes on as one,
//! and says so. Who dials then is named the new one; whoever is connected to the former would read and be
//! told of what others change no more.
//!
//! Rules:
//!
//! 1. What is found last counts for all connections and subscriptions: those that lead elsewhere are
//!    given up.
//! 2. The more often it has changed of late, the longer one may stay: sentinels that go on disagreeing are no
//!    reason to dial for ever.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::link::SETTLED;

/// Why a connection is given up.
pub(super) const ANOTHER: &str = "another server is the primary";

/// Changes within this time make each other rarer, and so rare at most.
const OF_LATE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Found(watch::Sender<Last>);

#[derive(Debug)]
struct Last {
    /// `None`: nobody has looked.
    address: Option<String>,
    /// When another one was found.
    changed: Option<Instant>,
    /// For how long a connection elsewhere may stay.
    least: Duration,
}

impl Default for Found {
    fn default() -> Self {
        Self(watch::Sender::new(Last { address: None, changed: None, least: Duration::ZERO }))
    }
}

impl Found {
    /// It is the one at `address`: for how long connections elsewhere may stay, counted from when they
    /// were opened.
    pub(super) fn set(&self, address: &str) -> Duration {
        let mut least = Duration::ZERO;
        self.0.send_if_modified(|last| {
            let is_news = last.address.as_deref() != Some(address);
            if is_news {
                last.least = match last.changed {
                    Some(changed) if changed.elapsed() < OF_LATE => {
                        (last.least * 2).clamp(SETTLED, OF_LATE)
                    }
                    _ => Duration::ZERO,
                };
                last.changed = last.address.replace(address.to_owned()).map(|_| Instant::now());
            }
            least = last.least;
            is_news
        });
        least
    }

    /// Ends when a connection to the server at `address` that was opened at `born` is to be given up.
    pub(super) async fn elsewhere(&self, address: &str, born: Instant) {
        let mut last = self.0.subscribe();
        loop {
            let least = {
                let last = last.borrow_and_update();
                let leads_elsewhere = last.address.as_deref().is_some_and(|found| found != address);
                leads_elsewhere.then_some(last.least)
            };
            tokio::select! {
                () = sleep_until(born + least.unwrap_or_default()), if least.is_some() => return,
                // Its sender is not dropped before this.
                _ = last.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use cache_testkit::poll_once;

    use super::*;

    #[test]
    fn what_changes_again_and_again_is_followed_less_and_less_often() {
        let found = Found::default();
        // The first one takes the place of none.
        for (address, least) in [("a", 0), ("b", 0), ("a", 1), ("a", 1), ("b", 2), ("a", 4)] {
            assert_eq!(found.set(address), SETTLED * least);
        }
        for address in ["b", "a"].repeat(10) {
            found.set(address);
        }
        assert_eq!(found.set("a"), OF_LATE);
        found.0.send_modify(|last| last.changed = Instant::now().checked_sub(OF_LATE));
        assert_eq!(found.set("b"), Duration::ZERO);
    }

    #[tokio::test]
    async fn what_leads_elsewhere_is_given_up_and_for_the_second_time_not_one_of_just_now() {
        let (found, now) = (Found::default(), Instant::now());
        let before = now.checked_sub(SETTLED * 2).expect("the machine has been up for a second");
        found.set("a");
        let mut leads_there = Box::pin(found.elsewhere("a", now));
        assert!(poll_once(&mut leads_there).is_pending());
        found.set("b");
        leads_there.await;
        let mut of_just_now = Box::pin(found.elsewhere("b", Instant::now()));
        found.set("a");
        assert!(poll_once(&mut of_just_now).is_pending());
        found.elsewhere("b", before).await;
        found.elsewhere("b", now).await;
        assert!(now.elapsed() >= SETTLED);
    }
}
