//! Loopback ports that stay ours while the server behind them is down.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

/// Below the range from which systems take ports for outgoing connections, so that a connection
/// that somebody opens meanwhile cannot sit on the port of a server that is being restarted.
const RANGE: std::ops::Range<u16> = 10_000..32_000;

/// How many ports are tried before it is said that there is none.
const TRIES: usize = 1_000;

/// A TCP port on 127.0.0.1, set aside.
///
/// Between looking whether a port is free and the server's binding it somebody else may take it.
/// Among users of this module that does not happen: whoever holds the UDP port of a number owns
/// the TCP port of that number, in every process, until it is dropped or the process ends. Against
/// the rest of the world there is only trying another one.
#[derive(Debug)]
pub(super) struct Port {
    number: u16,
    _claim: UdpSocket,
}

impl Port {
    /// Claims a port that nobody listens on now.
    ///
    /// # Panics
    ///
    /// If none of a thousand is free.
    pub(super) fn claim() -> Self {
        for _ in 0..TRIES {
            let span = u64::from(RANGE.end - RANGE.start);
            let number = RANGE.start + u16::try_from(random() % span).expect("span fits");
            let Ok(claim) = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)) else { continue };
            if TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Self { number, _claim: claim };
            }
        }
        panic!("no free port on 127.0.0.1 in {RANGE:?} after {TRIES} tries");
    }

    pub(super) fn number(&self) -> u16 {
        self.number
    }
}

/// A number that differs from call to call and from process to process.
pub(super) fn random() -> u64 {
    RandomState::new().hash_one(std::process::id())
}
