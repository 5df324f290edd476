//! One way of one connection: bytes are read, wait their time, and are written.
//!
//! Order is kept, whatever changes meanwhile. Once a byte is lost, no later byte of this way is
//! delivered: the other side would take it for what it is not.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::pending;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::Direction;
use super::faults::Faults;
use super::line::{Line, PIECE, Slot};

/// How many bytes may be under way each way of a connection: with a latency of 100 ms that is
/// 160 MB/s; what is more is left to the kernel to hold back.
const UNDER_WAY: usize = 16 << 20;

/// What a connection has lost in a black hole.
#[derive(Debug, Default)]
pub(super) struct Lost {
    to_server: Cell<bool>,
    to_client: Cell<bool>,
}

/// One way of one connection.
pub(super) struct Way<'a, A, P> {
    pub(super) direction: Direction,
    pub(super) faults: watch::Receiver<Faults>,
    pub(super) line: &'a Line,
    pub(super) lost: &'a Lost,
    /// Called when bytes have come; an error resets the connection.
    pub(super) arrived: A,
    /// Called when so many bytes are let through; before they are written, so that whoever has
    /// received them finds them counted.
    pub(super) passed: P,
}

/// Bytes under way.
#[derive(Debug, Default)]
struct Queue {
    pieces: VecDeque<Piece>,
    bytes: usize,
}

#[derive(Debug)]
struct Piece {
    since: Instant,
    bytes: Vec<u8>,
    /// How much of it has been written.
    done: usize,
    /// How much of it has been let through.
    passed: usize,
    slot: Option<Slot>,
}

/// What the first piece of the queue waits for.
enum Next {
    Nothing,
    Time(Instant),
    Write(usize),
}

impl<A, P> Way<'_, A, P>
where
    A: Fn() -> io::Result<()>,
    P: Fn(usize),
{
    /// Passes bytes on until `reader` has ended and everything is written.
    pub(super) async fn run(
        mut self,
        mut reader: impl AsyncRead + Unpin,
        mut writer: impl AsyncWrite + Unpin,
    ) -> io::Result<()> {
        let mut queue = Queue::default();
        let mut buffer = vec![0; PIECE];
        let mut ended = false;
        loop {
            if self.swallows(self.direction) && !queue.pieces.is_empty() {
                self.lose(&mut queue);
            }
            if ended && queue.pieces.is_empty() {
                return self.finish(writer).await;
            }
            let next = self.next(&mut queue);
            let (time, room) = match next {
                Next::Time(at) => (Some(at), 0),
                Next::Write(bytes) => (None, bytes),
                Next::Nothing => (None, 0),
            };
            (self.passed)(queue.let_through(room));
            tokio::select! {
                read = reader.read(&mut buffer), if !ended && queue.bytes < UNDER_WAY => match read {
                    Ok(0) => ended = true,
                    Ok(length) => {
                        (self.arrived)()?;
                        queue.push(&buffer[..length]);
                    }
                    // A reset is lost like everything else.
                    Err(_) if self.swallows(self.direction) => ended = true,
                    Err(error) => return Err(error),
                },
                written = writer.write(queue.first(room)), if room > 0 => match written {
                    Ok(length) => queue.advance(length),
                    // The server is gone, and the client shall not know.
                    Err(_) if self.direction == Direction::ToServer
                        && self.swallows(Direction::ToClient) => self.lose(&mut queue),
                    Err(error) => return Err(error),
                },
                () = sleep_until(time.unwrap_or_else(Instant::now)), if time.is_some() => {}
                changed = self.faults.changed() => if changed.is_err() {
                    return Err(io::ErrorKind::ConnectionReset.into());
                },
            }
        }
    }

    /// When the first piece may go, by the faults now in force, or how much of it may.
    fn next(&self, queue: &mut Queue) -> Next {
        let faults = self.faults.borrow();
        let now = Instant::now();
        let Some(piece) = queue.pieces.front_mut() else { return Next::Nothing };
        let rest = piece.bytes.len() - piece.done;
        let due = piece.since + faults.latency;
        if due > now {
            return Next::Time(due);
        }
        let Some(bandwidth) = faults.bandwidth else { return Next::Write(rest) };
        let slot = match piece.slot {
            Some(slot) if slot.bandwidth == bandwidth => slot,
            _ => *piece.slot.insert(self.line.take(bandwidth, rest, now)),
        };
        if slot.at > now { Next::Time(slot.at) } else { Next::Write(slot.bytes.min(rest)) }
    }

    /// Passes the end on, unless that gets lost, too.
    async fn finish(self, mut writer: impl AsyncWrite + Unpin) -> io::Result<()> {
        let silent = self.swallows(self.direction);
        match self.direction {
            // The client must not hear of it. The connection ends when the client ends it.
            Direction::ToClient if silent => pending().await,
            // Nobody is left who would wait for anything.
            _ if silent || self.swallows(Direction::ToClient) => {
                Err(io::ErrorKind::ConnectionReset.into())
            }
            _ => {
                // The other side may have gone already.
                let _ = writer.shutdown().await;
                Ok(())
            }
        }
    }

    fn lose(&self, queue: &mut Queue) {
        *queue = Queue::default();
        self.lost(self.direction).set(true);
    }

    /// Whether this way leads into a black hole, now or for good.
    fn swallows(&self, direction: Direction) -> bool {
        let swallow = self.faults.borrow().swallow;
        let now = match direction {
            Direction::ToServer => swallow.to_server,
            Direction::ToClient => swallow.to_client,
            Direction::Both => swallow.to_server && swallow.to_client,
        };
        now || self.lost(direction).get()
    }

    fn lost(&self, direction: Direction) -> &Cell<bool> {
        match direction {
            Direction::ToServer => &self.lost.to_server,
            Direction::ToClient | Direction::Both => &self.lost.to_client,
        }
    }
}

impl Queue {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        let (since, bytes) = (Instant::now(), bytes.to_vec());
        self.pieces.push_back(Piece { since, bytes, done: 0, passed: 0, slot: None });
    }

    /// Notes that the first `length` bytes may go, and returns how many of them could not before.
    fn let_through(&mut self, length: usize) -> usize {
        self.pieces.front_mut().map_or(0, |piece| {
            let before = piece.passed;
            piece.passed = before.max(piece.done + length);
            piece.passed - before
        })
    }

    /// The first `length` bytes, all of one piece.
    fn first(&self, length: usize) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| &piece.bytes[piece.done..piece.done + length])
    }

    /// Takes out what has been written.
    fn advance(&mut self, length: usize) {
        self.bytes -= length;
        let Some(piece) = self.pieces.front_mut() else { return };
        piece.done += length;
        // What is left takes the line anew, once the slot is used up.
        piece.slot = piece.slot.and_then(|slot| {
            let bytes = slot.bytes - length.min(slot.bytes);
            (bytes > 0).then_some(Slot { bytes, ..slot })
        });
        if piece.done == piece.bytes.len() {
            self.pieces.pop_front();
        }
    }
}
