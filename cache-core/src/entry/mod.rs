//! What a cache holds under a key: encoded bytes or "absent", until when, and the first decode.

use std::any::{Any, type_name};
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use self::body::Body;
use self::lifetime::Terms;
use crate::{CacheError, ErrorKind, Policy, Timestamp};

mod body;
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
    body: Body,
    /// What a store has still to heed.
    terms: Option<Box<Terms>>,
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
        Ok(Self::draft(Some(&bytes), policy))
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
        let made = |payload| Body::new(payload, fresh_until, servable_until.max(fresh_until));
        let body = match payload {
            Some(payload) => made(Some(payload.as_ref())),
            None => made(None),
        };
        Self { body, terms: None }
    }

    /// What a store in memory keeps of a settled entry.
    #[inline]
    pub(crate) fn from_body(body: Body) -> Self {
        Self { body, terms: None }
    }

    pub(crate) fn body(&self) -> &Body {
        &self.body
    }

    #[inline]
    pub(crate) fn into_body(self) -> Body {
        self.body
    }

    /// Decodes the bytes as a `T`.
    ///
    /// # Errors
    ///
    /// [`Serialization`](ErrorKind::Serialization), naming the type, if the bytes are no `T` or
    /// the entry is [absent](Self::is_absent). The entry is not harmed.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, CacheError> {
        let Some(payload) = self.bytes() else {
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
        let decoded = self.body.decoded()?;
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
        let first = self.body.remember(Arc::clone(&value) as Arc<dyn Any + Send + Sync>);
        Ok((self.remembered().unwrap_or(value), first))
    }

    /// Whether it says that the key has no value.
    #[must_use]
    #[inline]
    pub fn is_absent(&self) -> bool {
        self.body.is_absent()
    }

    /// The encoded value; `None` if [absent](Self::is_absent).
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        self.body.payload()
    }

    /// When its freshness ends.
    #[must_use]
    #[inline]
    pub fn fresh_until(&self) -> Timestamp {
        self.body.fresh_until()
    }

    /// When it may no longer be served even stale.
    #[must_use]
    #[inline]
    pub fn servable_until(&self) -> Timestamp {
        self.body.servable_until()
    }

    /// Whether its freshness ends here sooner than where it came from, as a process is to hold it for a
    /// shorter time.
    pub(crate) fn is_cut(&self) -> bool {
        self.body.is_cut()
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
    fn a_decode_is_shared_and_another_type_is_not() {
        let entry = Entry::encode(&7_u32, &Policy::default()).unwrap();
        let first = entry.decode_arc::<u32>().unwrap();
        assert!(Arc::ptr_eq(&first, &entry.clone().decode_arc::<u32>().unwrap()));
        assert_eq!(*entry.decode_arc::<u64>().unwrap(), 7);
        assert_eq!(entry.decode_arc::<String>().unwrap_err().kind(), ErrorKind::Serialization);
        assert!(Arc::ptr_eq(&first, &entry.decode_arc::<u32>().unwrap()));
    }
}
