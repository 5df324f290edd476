//! Loads that nobody may join any more, because what they load was written or removed.

use super::flight::Flight;
use super::flights::Flights;
use crate::Selector;

/// Detaches what a write or removal selects when dropped: after it, however it ended, a dropped
/// future included.
pub(super) struct Detach<'a> {
    flights: &'a Flights<Flight>,
    what: Detached<'a>,
}

impl<'a> Detach<'a> {
    pub(super) fn new(flights: &'a Flights<Flight>, what: Detached<'a>) -> Self {
        Self { flights, what }
    }
}

pub(super) enum Detached<'a> {
    Key(&'a str),
    Keys(Vec<String>),
    Selected(&'a Selector),
}

impl Detached<'_> {
    pub(super) fn detach(&self, flights: &Flights<Flight>) {
        match self {
            Self::Key(key) => flights.detach(key),
            Self::Keys(keys) | Self::Selected(Selector::Keys(keys)) => {
                keys.iter().for_each(|key| flights.detach(key));
            }
            Self::Selected(selector) => flights.detach_where(|key| selector.matches(key)),
        }
    }
}

impl Drop for Detach<'_> {
    fn drop(&mut self) {
        self.what.detach(self.flights);
    }
}
