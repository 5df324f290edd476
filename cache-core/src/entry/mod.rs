//! What a cache holds under a key: encoded bytes or "absent", until when, and the first decode.

use std::any::{Any, type_name};
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use bytes::{Buf, Bytes};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::lifetime::Terms;
use crate::{CacheError, ErrorKind, Policy, Timestamp};

mod lifetime;

/// A cached value, or the knowledge that there is none. Cheap to clone.
///
/// It holds the encoded bytes (JSON) and remembers the first type it was decoded as, so a warm
/// [`decode_arc`](Self::decode_arc) is a downcast and a reference count. A value always goes
/// through the codec once, so memory and a remote store give back the same thing.
///
/// An entry is made as a *draft*: its lifetimes are known but not yet when they begin. The
/// [`ReadThrough`](crate::ReadThrough) engine dates it with its clock when it is written, and a
/// store [settles](Self::settle) it.
///
/// ```
/// use cache_core::{Entry, Policy, Timestamp};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), cache_core::CacheError> {
/// let policy = Policy::ttl(Duration::from_secs(60)).stale_for(Duration::from_secs(30));
/// let now = Timestamp::from_micros(1_000_000);
/// let entry = Entry::encode("acme", &policy)?.settle(now, Duration::MAX);
/// assert_eq!(entry.decode::<String>()?, "acme");
/// assert!(entry.is_fresh(now + Duration::from_secs(59)));
/// assert!(!entry.is_fresh(now + Duration::from_secs(60)));
/// assert!(entry.is_servable(now + Duration::from_secs(89)));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Entry {
    body: Arc<Body>,
    /// What a store has still to heed.
    terms: Option<Box<Terms>>,
}

/// What clones of an entry share. What every hit looks at comes first, so that it lies on as few
/// cache lines as may be.
#[repr(C)]
pub(crate) struct Body {
    decoded: OnceLock<Arc<dyn Any + Send + Sync>>,
    pub(crate) fresh_until: Timestamp,
    is_absent: bool,
    /// Whether the payload's buffer holds more than the payload.
    in_larger: bool,
    pub(crate) servable_until: Timestamp,
    /// `None`: absent.
    payload: Option<Bytes>,
    /// When a store that has an idle time last read it, in microseconds.
    pub(crate) read_at: AtomicU64,
}

impl Body {
    fn new(payload: Option<Bytes>, fresh_until: Timestamp, servable_until: Timestamp) -> Self {
        Self {
            fresh_until,
            servable_until,
            decoded: OnceLock::new(),
            is_absent: payload.is_none(),
            in_larger: false,
            payload,
            read_at: AtomicU64::new(0),
        }
    }

    pub(crate) fn value_bytes(&self) -> usize {
        self.payload.as_ref().map_or(0, Bytes::len)
    }

    pub(crate) fn decoded(&self) -> Option<&Arc<dyn Any + Send + Sync>> {
        self.decoded.get()
    }

    /// The same value with other deadlines.
    fn copy(&self, fresh_until: Timestamp, servable_until: Timestamp) -> Self {
        let (decoded, in_larger) = (self.decoded.clone(), self.in_larger);
        Self { decoded, in_larger, ..Self::new(self.payload.clone(), fresh_until, servable_until) }
    }
}

impl Entry {
    /// Encodes `value`, to live as `policy` says.
    ///
    /// # Errors
    ///
    /// [`Serialization`](ErrorKind::Serialization) if the value does not encode.
    pub fn encode<T: Serialize + ?Sized>(value: &T, policy: &Policy) -> Result<Self, CacheError> {
        let bytes = serde_json::to_vec(value).map_err(|error| {
            let message = format!("a value of type {} does not encode", type_name::<T>());
            CacheError::new(ErrorKind::Serialization, message).with_source(error)
        })?;
        Ok(Self::draft(Some(bytes.into_boxed_slice().into()), policy))
    }

    /// The knowledge that a key has no value, to be kept as `policy`'s `negative_ttl` says. It is
    /// never served stale.
    #[must_use]
    pub fn absent(policy: &Policy) -> Self {
        Self::draft(None, policy)
    }

    /// An entry as a store that keeps bytes reads it back; `None` is an absent value. What bounded
    /// its stay in a process is given back by [`with_local_ttl`](Self::with_local_ttl).
    #[must_use]
    pub fn restore(
        payload: Option<impl AsRef<[u8]>>,
        fresh_until: Timestamp,
        servable_until: Timestamp,
    ) -> Self {
        let payload = payload.map(|payload| Bytes::copy_from_slice(payload.as_ref()));
        let body = Body::new(payload, fresh_until, servable_until.max(fresh_until));
        Self { body: Arc::new(body), terms: None }
    }

    /// [`restore`](Self::restore) of the bytes from `start` on in a record that the entry takes over,
    /// so that none is copied. A store in the process that [settles](Self::settle_local) the entry
    /// keeps its payload alone.
    ///
    /// ```
    /// use cache_core::{Entry, Timestamp};
    ///
    /// let record = b"header{\"plan\":\"gold\"}".to_vec();
    /// let entry = Entry::restore_tail(record, 6, Timestamp::MAX, Timestamp::MAX);
    /// assert_eq!(entry.bytes(), Some(&br#"{"plan":"gold"}"#[..]));
    /// ```
    #[must_use]
    pub fn restore_tail(
        record: Vec<u8>,
        start: usize,
        fresh_until: Timestamp,
        servable_until: Timestamp,
    ) -> Self {
        let in_larger = start > 0 || record.capacity() > record.len();
        let mut payload = Bytes::from(record);
        payload.advance(start.min(payload.len()));
        let body = Body::new(Some(payload), fresh_until, servable_until.max(fresh_until));
        Self { body: Arc::new(Body { in_larger, ..body }), terms: None }
    }

    /// Lets go of what is around the payload.
    fn trim(&mut self) {
        if !self.body.in_larger {
            return;
        }
        if Arc::get_mut(&mut self.body).is_none() {
            self.body = Arc::new(self.body.copy(self.fresh_until(), self.servable_until()));
        }
        if let Some(body) = Arc::get_mut(&mut self.body) {
            body.payload = body.payload.as_deref().map(Bytes::copy_from_slice);
            body.in_larger = false;
        }
    }

    fn set_deadlines(&mut self, fresh_until: Timestamp, servable_until: Timestamp) {
        match Arc::get_mut(&mut self.body) {
            Some(body) => {
                body.fresh_until = fresh_until;
                body.servable_until = servable_until;
            }
            None => self.body = Arc::new(self.body.copy(fresh_until, servable_until)),
        }
    }

    /// What a store in memory keeps of a settled entry.
    #[inline]
    pub(crate) fn from_body(body: Arc<Body>) -> Self {
        Self { body, terms: None }
    }

    pub(crate) fn body(&self) -> &Arc<Body> {
        &self.body
    }

    #[inline]
    pub(crate) fn into_body(self) -> Arc<Body> {
        self.body
    }

    /// Decodes the bytes as a `T`.
    ///
    /// # Errors
    ///
    /// [`Serialization`](ErrorKind::Serialization), naming the type, if the bytes are no `T` or
    /// the entry is [absent](Self::is_absent). The entry is not harmed.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, CacheError> {
        let Some(payload) = &self.body.payload else {
            let message =
                format!("no value to decode as {}: the entry is absent", type_name::<T>());
            return Err(CacheError::new(ErrorKind::Serialization, message));
        };
        serde_json::from_slice(payload).map_err(|error| {
            let message = format!("the cached bytes do not decode as {}", type_name::<T>());
            CacheError::new(ErrorKind::Serialization, message).with_source(error)
        })
    }

    /// The value as a shared `T`. The first type asked for is decoded once and remembered; any
    /// other is decoded each time.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode).
    #[inline]
    pub fn decode_arc<T>(&self) -> Result<Arc<T>, CacheError>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        self.decode_and_tell().map(|(value, _)| value)
    }

    /// [`decode_arc`](Self::decode_arc), and whether this was the first decode.
    #[inline]
    pub(crate) fn decode_and_tell<T>(&self) -> Result<(Arc<T>, bool), CacheError>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        match self.remembered() {
            Some(value) => Ok((value, false)),
            None => self.decode_and_remember(),
        }
    }

    /// The value, if it has been decoded as a `T` before.
    #[inline]
    fn remembered<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let decoded = self.body.decoded.get()?;
        // Cloned before the type is asked for: the type that was asked for first, which is the
        // usual one, is then compared once.
        Arc::clone(decoded).downcast().ok()
    }

    #[cold]
    fn decode_and_remember<T>(&self) -> Result<(Arc<T>, bool), CacheError>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        let value = Arc::new(self.decode::<T>()?);
        // Whoever came first wins, so that all share one value.
        let first = self.body.decoded.set(Arc::clone(&value) as Arc<dyn Any + Send + Sync>).is_ok();
        Ok((self.remembered().unwrap_or(value), first))
    }

    /// Whether it says that the key has no value.
    #[must_use]
    #[inline]
    pub fn is_absent(&self) -> bool {
        self.body.is_absent
    }

    /// The encoded value; `None` if [absent](Self::is_absent).
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        self.body.payload.as_deref()
    }

    /// When its freshness ends.
    #[must_use]
    #[inline]
    pub fn fresh_until(&self) -> Timestamp {
        self.body.fresh_until
    }

    /// When it may no longer be served even stale.
    #[must_use]
    #[inline]
    pub fn servable_until(&self) -> Timestamp {
        self.body.servable_until
    }

    /// Whether it is fresh at `now`.
    #[must_use]
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        now < self.fresh_until()
    }

    /// Whether it may be served at `now`, be it stale.
    #[must_use]
    pub fn is_servable(&self, now: Timestamp) -> bool {
        now < self.servable_until()
    }
}

impl fmt::Debug for Entry {
    /// Sizes and times; never the value, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("bytes", &self.bytes().map(<[u8]>::len))
            .field("fresh_until", &self.fresh_until())
            .field("servable_until", &self.servable_until())
            .field("local_ttl", &self.local_ttl())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_stay_small() {
        assert!(size_of::<Entry>() <= 16, "{} bytes", size_of::<Entry>());
    }

    #[test]
    fn a_store_in_the_process_keeps_the_payload_of_a_record_alone() {
        let record = [&[0; 64][..], b"7"].concat();
        let at = record.as_ptr();
        let read = Entry::restore_tail(record, 64, Timestamp::MAX, Timestamp::MAX);
        assert_eq!(read.bytes().unwrap().as_ptr(), at.wrapping_add(64), "nothing was copied");
        let value = read.decode_arc::<u32>().unwrap();
        let kept = read.clone().settle_local(Timestamp::ZERO, std::time::Duration::MAX);
        for entry in [&read, &kept] {
            assert_eq!((entry.bytes(), entry.decode::<u32>().unwrap()), (Some(&b"7"[..]), 7));
        }
        assert!(read.body.in_larger && !kept.body.in_larger);
        assert!(Arc::ptr_eq(&value, &kept.decode_arc::<u32>().unwrap()), "decoded once");
        let beyond = Entry::restore_tail(vec![1], 64, Timestamp::MAX, Timestamp::MAX);
        assert_eq!(beyond.bytes(), Some(&[][..]));
    }

    #[test]
    fn a_decode_is_shared_and_another_type_is_not() {
        let entry = Entry::encode(&7_u32, &Policy::default()).unwrap();
        let first = entry.decode_arc::<u32>().unwrap();
        assert!(Arc::ptr_eq(&first, &entry.clone().decode_arc::<u32>().unwrap()));
        assert_eq!(*entry.decode_arc::<u64>().unwrap(), 7);
        assert_eq!(entry.decode_arc::<String>().unwrap_err().kind(), ErrorKind::Serialization);
        assert!(Arc::ptr_eq(&first, &entry.decode_arc::<u32>().unwrap()));
    }
}
