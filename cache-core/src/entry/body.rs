//! What clones of an entry share: one allocation, since a cache holds many.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use once_cell::race::OnceBox;
use triomphe::ThinArc;

use crate::Timestamp;

/// In [`Head::marks`]: there is no value. The other bits have a time in microseconds, which does not
/// get that far.
const ABSENT: u64 = 1 << 63;
/// In [`Head::marks`]: freshness ends here before it ends in the store that it came from.
const CUT: u64 = 1 << 62;

/// The encoded value, its deadlines and its first decode.
#[derive(Clone)]
pub(crate) struct Body(ThinArc<Head, u8>);

/// What stands before the encoded value.
struct Head {
    /// Boxed, so that what was never decoded costs a word and not two.
    decoded: OnceBox<Arc<dyn Any + Send + Sync>>,
    fresh_until: Timestamp,
    servable_until: Timestamp,
    /// [`ABSENT`], [`CUT`], and when a store that has an idle time last read it.
    marks: AtomicU64,
}

impl Body {
    /// `None`: absent.
    pub(super) fn new(
        payload: Option<&[u8]>,
        fresh_until: Timestamp,
        servable_until: Timestamp,
    ) -> Self {
        let marks = AtomicU64::new(if payload.is_none() { ABSENT } else { 0 });
        let head = Head { decoded: OnceBox::new(), fresh_until, servable_until, marks };
        Self(ThinArc::from_header_and_slice(head, payload.unwrap_or_default()))
    }

    #[inline]
    fn head(&self) -> &Head {
        &self.0.header.header
    }

    #[inline]
    pub(super) fn is_absent(&self) -> bool {
        self.head().marks.load(Ordering::Relaxed) & ABSENT != 0
    }

    pub(super) fn payload(&self) -> Option<&[u8]> {
        (!self.is_absent()).then_some(&self.0.slice)
    }

    pub(crate) fn value_bytes(&self) -> usize {
        self.0.slice.len()
    }

    #[inline]
    pub(crate) fn fresh_until(&self) -> Timestamp {
        self.head().fresh_until
    }

    #[inline]
    pub(crate) fn servable_until(&self) -> Timestamp {
        self.head().servable_until
    }

    /// What of it was decoded first.
    #[inline]
    pub(crate) fn decoded(&self) -> Option<&Arc<dyn Any + Send + Sync>> {
        self.head().decoded.get()
    }

    /// Keeps `value` as the first decode; false if there is one.
    pub(super) fn remember(&self, value: Arc<dyn Any + Send + Sync>) -> bool {
        self.head().decoded.set(Box::new(value)).is_ok()
    }

    /// When [`touch`](Self::touch) last was called.
    pub(crate) fn read_at(&self) -> Timestamp {
        Timestamp::from_micros(self.head().marks.load(Ordering::Relaxed) & !(ABSENT | CUT))
    }

    pub(crate) fn touch(&self, now: Timestamp) {
        let marks = &self.head().marks;
        let kept = marks.load(Ordering::Relaxed) & (ABSENT | CUT);
        marks.store(kept | now.as_micros() & !(ABSENT | CUT), Ordering::Relaxed);
    }

    /// Whether its freshness was [cut](Self::cut).
    #[inline]
    pub(super) fn is_cut(&self) -> bool {
        self.head().marks.load(Ordering::Relaxed) & CUT != 0
    }

    /// The same value with deadlines that are sooner; clones keep theirs.
    pub(super) fn cut(&mut self, fresh_until: Timestamp, servable_until: Timestamp) {
        let sooner = fresh_until < self.fresh_until();
        self.set_deadlines(fresh_until, servable_until);
        if sooner {
            // Nobody else has it yet.
            self.head().marks.fetch_or(CUT, Ordering::Relaxed);
        }
    }

    /// Whether it is a clone of `other`.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.ptr() == other.0.ptr()
    }

    /// The same value with other deadlines; clones keep theirs.
    pub(super) fn set_deadlines(&mut self, fresh_until: Timestamp, servable_until: Timestamp) {
        let set = self.0.with_arc_mut(|alone| {
            let Some(alone) = triomphe::Arc::get_mut(alone) else { return false };
            let head = alone.header_mut();
            (head.fresh_until, head.servable_until) = (fresh_until, servable_until);
            true
        });
        if !set {
            let copy = Self::new(self.payload(), fresh_until, servable_until);
            if self.is_cut() {
                copy.head().marks.fetch_or(CUT, Ordering::Relaxed);
            }
            if let Some(value) = self.decoded() {
                copy.remember(Arc::clone(value));
            }
            *self = copy;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_one_word_and_its_head_six_with_count_and_length() {
        assert_eq!(size_of::<Body>(), size_of::<usize>());
        assert_eq!(size_of::<Head>(), 32);
    }

    #[test]
    fn deadlines_change_in_place_or_in_a_copy() {
        let [a, b, c] = [1, 2, 3].map(Timestamp::from_micros);
        let mut first = Body::new(Some(b"7"), a, a);
        let at = first.payload().unwrap().as_ptr();
        first.set_deadlines(b, b);
        assert_eq!(first.payload().unwrap().as_ptr(), at, "alone: nothing was copied");
        assert!(first.remember(Arc::new(7_u32)));
        let mut second = first.clone();
        second.set_deadlines(c, c);
        assert!(!second.is(&first));
        assert_eq!((first.fresh_until(), second.fresh_until()), (b, c));
        assert_eq!(second.payload(), Some(&b"7"[..]));
        assert!(Arc::ptr_eq(first.decoded().unwrap(), second.decoded().unwrap()), "decoded once");
    }

    #[test]
    fn no_value_is_not_an_empty_one_and_reading_does_not_make_it_so() {
        let [absent, empty] = [None, Some(&b""[..])]
            .map(|payload| Body::new(payload, Timestamp::MAX, Timestamp::MAX));
        for now in [Timestamp::ZERO, Timestamp::from_micros(9)] {
            for body in [&absent, &empty] {
                body.touch(now);
                assert_eq!(body.read_at(), now);
            }
            assert_eq!((absent.payload(), empty.payload()), (None, Some(&b""[..])));
        }
    }
}
