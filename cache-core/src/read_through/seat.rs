//! A seat for every thread that counts, so that counting needs no atomic read-modify-write.
//!
//! Rules:
//!
//! 1. A seat below [`OWN`] belongs to one thread until that thread ends; the next that comes may
//!    have it then.
//! 2. Threads that find no such seat share the others.

use std::cell::Cell;

use parking_lot::Mutex;

/// Seats that a thread has to itself.
pub(super) const OWN: usize = 48;
/// All seats, those included that are shared.
pub(super) const SEATS: usize = 64;

const NONE: usize = usize::MAX;

thread_local! {
    static SEAT: Cell<usize> = const { Cell::new(NONE) };
    // Apart, so that what has a destructor is touched once and not on every hit.
    static TAKEN: Taken = Taken::take();
}

static FREE: Mutex<Free> = Mutex::new(Free { left: Vec::new(), next: 0 });

/// This thread's seat, below [`SEATS`].
#[inline]
pub(super) fn seat() -> usize {
    match SEAT.get() {
        NONE => take_seat(),
        seat => seat,
    }
}

#[cold]
fn take_seat() -> usize {
    // While the thread ends there is none to be had: a shared one will do.
    let seat = TAKEN.try_with(|taken| taken.0).unwrap_or(OWN);
    SEAT.set(seat);
    seat
}

struct Free {
    /// Of threads that have ended.
    left: Vec<usize>,
    /// The first that nobody has had, or the shared one whose turn it is.
    next: usize,
}

/// Gives the seat back when the thread ends.
struct Taken(usize);

impl Taken {
    fn take() -> Self {
        let mut free = FREE.lock();
        if let Some(seat) = free.left.pop() {
            return Self(seat);
        }
        let seat = free.next;
        free.next = if seat + 1 < SEATS { seat + 1 } else { OWN };
        Self(seat)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // What other destructors of this thread still count goes to a shared seat.
        SEAT.set(OWN);
        if self.0 < OWN {
            FREE.lock().left.push(self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn no_two_threads_have_one_seat_and_those_who_leave_make_room() {
        for _ in 0..3 {
            let all_seated = Barrier::new(OWN * 2);
            let mut seats: Vec<usize> = std::thread::scope(|scope| {
                let take = || {
                    let seat = seat();
                    all_seated.wait();
                    assert_eq!(super::seat(), seat);
                    seat
                };
                let threads: Vec<_> = (0..OWN * 2).map(|_| scope.spawn(take)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(seats.iter().all(|&seat| seat < SEATS));
            seats.retain(|&seat| seat < OWN);
            seats.sort_unstable();
            let own = seats.len();
            seats.dedup();
            assert_eq!(seats.len(), own, "a seat was given twice");
            // Other tests' threads have some.
            assert!(own > OWN / 2, "{own}");
        }
    }
}
