//! What goes wrong on a bus, and how often.

use std::time::Duration;

use fastrand::Rng;

/// What befalls the messages of a [`LocalBus`](crate::LocalBus) or [`LossyBus`](crate::LossyBus),
/// for each subscriber by itself. Chances are between 0 and 1; durations are upper bounds, drawn
/// evenly from zero on, by the bus's clock.
///
/// | fault | a real bus does it |
/// |---|---|
/// | [`delay`](Self::delay) | always |
/// | [`duplicate`](Self::duplicate) | seldom: "at least once" allows it |
/// | [`lose`](Self::lose) | when the connection breaks, so a `Disconnected` comes with it |
/// | [`reorder`](Self::reorder) | never for the messages of one node: against the contract |
/// | [`lose_silently`](Self::lose_silently), [`numbered`](Self::numbered) | on a bad link, if it numbers its messages |
/// | [`lose_silently`](Self::lose_silently) alone | never: against the contract |
///
/// ```
/// use cache_testkit::BusFaults;
/// use std::time::Duration;
///
/// let every_tenth_lost = BusFaults::none().delay(Duration::from_millis(5)).lose(0.1);
/// # let _ = every_tenth_lost;
/// ```
#[derive(Clone, Debug)]
pub struct BusFaults {
    delay: Duration,
    loss: f64,
    detection: Duration,
    outage: Duration,
    duplicates: f64,
    reorder: f64,
    silent_loss: f64,
    numbered: bool,
}

impl BusFaults {
    /// Nothing goes wrong: every message is there at once. The bounds that matter to
    /// [`lose`](Self::lose) stand at 100 ms for detection and 200 ms for the outage.
    #[must_use]
    pub fn none() -> Self {
        Self {
            delay: Duration::ZERO,
            loss: 0.0,
            detection: Duration::from_millis(100),
            outage: Duration::from_millis(200),
            duplicates: 0.0,
            reorder: 0.0,
            silent_loss: 0.0,
            numbered: false,
        }
    }

    /// How long a message takes at most. Without [`reorder`](Self::reorder) none overtakes another.
    #[must_use]
    pub fn delay(self, most: Duration) -> Self {
        Self { delay: most, ..self }
    }

    /// The chance that a subscriber's connection breaks at a message: that one, those on their way
    /// and those until the connection is back are lost. The subscriber hears `Disconnected`, later
    /// `Connected`.
    #[must_use]
    pub fn lose(self, chance: f64) -> Self {
        Self { loss: chance, ..self }
    }

    /// How long until a broken connection is noticed, at most: the bus's stated bound.
    #[must_use]
    pub fn detection(self, most: Duration) -> Self {
        Self { detection: most, ..self }
    }

    /// How long a connection that [`lose`](Self::lose) broke stays away once noticed, at most.
    #[must_use]
    pub fn outage(self, most: Duration) -> Self {
        Self { outage: most, ..self }
    }

    /// The chance that a message comes twice.
    #[must_use]
    pub fn duplicate(self, chance: f64) -> Self {
        Self { duplicates: chance, ..self }
    }

    /// The chance that a message may overtake those before it. Needs a [`delay`](Self::delay).
    #[must_use]
    pub fn reorder(self, chance: f64) -> Self {
        Self { reorder: chance, ..self }
    }

    /// The chance that a message vanishes and nobody is told: the worst case, which no cache can
    /// notice.
    ///
    /// A bus that does so breaks the contract of [`InvalidationBus`](cache_core::InvalidationBus),
    /// for it is connected and a removal is not heard. What the message was about is stale then for
    /// as long as a near tier holds it, so its `local_ttl` is the bound, and nothing else. One that
    /// loses messages and [numbers](Self::numbered) them keeps the contract.
    #[must_use]
    pub fn lose_silently(self, chance: f64) -> Self {
        Self { silent_loss: chance, ..self }
    }

    /// Messages have numbers: what [`lose_silently`](Self::lose_silently) loses is noticed within
    /// [`detection`](Self::detection), by `Disconnected` and `Connected` one after the other, on a
    /// connection that stays. So `RedisBus` does it.
    #[must_use]
    pub fn numbered(self) -> Self {
        Self { numbered: true, ..self }
    }

    pub(super) fn draw(&self, rng: &mut Rng) -> Fate {
        // Every draw is made whatever the others say, so that a fault more or less does not shift
        // what the seed means to the others.
        let (silent, lost) = (rng.f64() < self.silent_loss, rng.f64() < self.loss);
        let copies = if rng.f64() < self.duplicates { 2 } else { 1 };
        let overtakes = rng.f64() < self.reorder;
        let outage = (below(rng, self.detection), below(rng, self.outage));
        match (silent, lost) {
            (true, _) if self.numbered => Fate::IsMissed { noticed_after: outage.0 },
            (true, _) => Fate::Vanishes,
            (false, true) => Fate::Breaks { noticed_after: outage.0, back_after: outage.1 },
            (false, false) => Fate::Arrives { copies, overtakes },
        }
    }

    pub(super) fn draw_delay(&self, rng: &mut Rng) -> Duration {
        below(rng, self.delay)
    }

    pub(super) fn draw_detection(&self, rng: &mut Rng) -> Duration {
        below(rng, self.detection)
    }
}

impl Default for BusFaults {
    fn default() -> Self {
        Self::none()
    }
}

/// What becomes of one message on one subscriber's line.
pub(super) enum Fate {
    Arrives { copies: usize, overtakes: bool },
    Vanishes,
    IsMissed { noticed_after: Duration },
    Breaks { noticed_after: Duration, back_after: Duration },
}

fn below(rng: &mut Rng, most: Duration) -> Duration {
    most.mul_f64(rng.f64())
}
