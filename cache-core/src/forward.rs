//! Passing every method of the traits on to what a wrapper holds.
//!
//! Written without `async_trait`, so that forwarding boxes no second future.

/// Implements [`CacheStore`](crate::CacheStore) by passing every method on.
///
/// `forward_cache_store!([generics] Type, this => place)`, where `place` is an expression of type
/// `&S` made of `this: &Type`. A method that is missing here is a compile error by lint.
///
/// ```
/// use cache_core::{CacheStore, forward_cache_store};
///
/// #[derive(Debug)]
/// struct Wrapper<S>(S);
/// forward_cache_store!([S: CacheStore] Wrapper<S>, this => &this.0);
/// ```
#[macro_export]
macro_rules! forward_cache_store {
    ([$($generics:tt)*] $type:ty, $this:ident => $inner:expr) => {
        #[deny(clippy::missing_trait_methods)]
        impl<$($generics)*> $crate::CacheStore for $type {
            #[inline(always)]
            fn peek(&self, key: &str) -> Option<$crate::Entry> {
                let $this = self;
                $crate::CacheStore::peek($inner, key)
            }
            #[inline(always)]
            fn peek_fresh(&self, key: &str) -> Option<$crate::Entry> {
                let $this = self;
                $crate::CacheStore::peek_fresh($inner, key)
            }
            #[inline(always)]
            fn peek_value(
                &self,
                key: &str,
                of: ::std::any::TypeId,
                before: $crate::Timestamp,
            ) -> Option<::std::sync::Arc<dyn ::std::any::Any + Send + Sync>> {
                let $this = self;
                $crate::CacheStore::peek_value($inner, key, of, before)
            }
            fn keep_value(&self, key: &str, entry: &$crate::Entry) {
                let $this = self;
                $crate::CacheStore::keep_value($inner, key, entry);
            }
            $crate::__forward_async! { ($this => $inner) CacheStore:
                fetch['a, 'b](&'b str) -> Option<$crate::Entry>;
                fetch_many['a, 'b](&'b [String]) -> Vec<Option<$crate::Entry>>;
                fetch_shared['a, 'b](&'b str) -> Option<$crate::Entry>;
                fetch_many_shared['a, 'b](&'b [String]) -> Vec<Option<$crate::Entry>>;
                store['a, 'b](&'b str, $crate::Entry) -> ();
                store_many['a](Vec<(String, $crate::Entry)>) -> ();
                remove['a, 'b](&'b $crate::Selector) -> Option<u64>;
                remove_and_tell['a, 'b, 'c](
                    &'b $crate::Selector, &'c dyn $crate::InvalidationBus
                ) -> Option<u64>;
                store_and_tell['a, 'b, 'c](
                    &'b str, $crate::Entry, &'c dyn $crate::InvalidationBus
                ) -> ();
                lease['a, 'b](&'b str, ::std::time::Duration) -> $crate::LeaseOutcome;
                lease_to_replace['a, 'b](
                    &'b str, ::std::time::Duration
                ) -> $crate::LeaseOutcome;
                fill['a]($crate::Lease, $crate::Entry) -> bool;
                fill_or_remove['a]($crate::Lease, $crate::Entry) -> bool;
                lease_here['a, 'b](
                    &'b str, ::std::time::Duration
                ) -> Option<$crate::Lease>;
                abandon['a]($crate::Lease) -> ();
            }
            fn tells_with(&self, bus: &dyn $crate::InvalidationBus) -> bool {
                let $this = self;
                $crate::CacheStore::tells_with($inner, bus)
            }
            fn call_timeout(&self) -> Option<::std::time::Duration> {
                let $this = self;
                $crate::CacheStore::call_timeout($inner)
            }
            fn changed(&self, key: &str) -> Option<$crate::BoxFuture<'static, ()>> {
                let $this = self;
                $crate::CacheStore::changed($inner, key)
            }
            fn on_removal(&self, listener: $crate::RemovalListener) {
                let $this = self;
                $crate::CacheStore::on_removal($inner, listener);
            }
            fn stats(&self) -> $crate::CacheStats {
                let $this = self;
                $crate::CacheStore::stats($inner)
            }
            fn clock(&self) -> $crate::Clock {
                let $this = self;
                $crate::CacheStore::clock($inner)
            }
        }
    };
}

/// Implements [`CacheStore`](crate::CacheStore) and [`CacheService`](crate::CacheService) by
/// passing every method on, as [`forward_cache_store!`](crate::forward_cache_store) does.
#[macro_export]
macro_rules! forward_cache_service {
    ([$($generics:tt)*] $type:ty, $this:ident => $inner:expr) => {
        $crate::forward_cache_store!([$($generics)*] $type, $this => $inner);
        $crate::__forward_cache_service_only!([$($generics)*] $type, $this => $inner);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __forward_cache_service_only {
    ([$($generics:tt)*] $type:ty, $this:ident => $inner:expr) => {
        #[deny(clippy::missing_trait_methods)]
        impl<$($generics)*> $crate::CacheService for $type {
            $crate::__forward_async! { ($this => $inner) CacheService:
                load['a, 'b, 'c](&'b str, &'c $crate::Policy, $crate::Loader) -> $crate::Entry;
                load_many['a, 'b, 'c](
                    &'b [String], &'c $crate::Policy, $crate::ManyLoader
                ) -> Vec<$crate::Entry>;
            }
            #[inline(always)]
            fn peek_for(&self, key: &str, policy: &$crate::Policy) -> Option<$crate::Entry> {
                let $this = self;
                $crate::CacheService::peek_for($inner, key, policy)
            }
            #[inline(always)]
            fn peek_value_for(
                &self,
                key: &str,
                policy: &$crate::Policy,
            ) -> Option<$crate::Entry> {
                let $this = self;
                $crate::CacheService::peek_value_for($inner, key, policy)
            }
        }
    };
}

/// The methods as `async_trait` would declare them, each returning the inner one's future.
#[doc(hidden)]
#[macro_export]
macro_rules! __forward_async {
    (($this:ident => $inner:expr) $trait:ident:
        $($name:ident[$first:lifetime $(, $rest:lifetime)*]($($arg:ty),*) -> $out:ty;)*
    ) => {
        $($crate::__forward_async! {
            @method ($this => $inner) $trait $name [$first $(, $rest)*] ($($arg),*) -> $out
        })*
    };
    (@method ($this:ident => $inner:expr) $trait:ident $name:ident
        [$($life:lifetime),*] ($one:ty) -> $out:ty) => {
        fn $name<$($life,)* 'async_trait>(&'a self, one: $one) -> ::std::pin::Pin<Box<
            dyn ::std::future::Future<Output = Result<$out, $crate::CacheError>> + Send + 'async_trait
        >> where $($life: 'async_trait,)* Self: 'async_trait {
            let $this = self;
            $crate::$trait::$name($inner, one)
        }
    };
    (@method ($this:ident => $inner:expr) $trait:ident $name:ident
        [$($life:lifetime),*] ($one:ty, $two:ty) -> $out:ty) => {
        fn $name<$($life,)* 'async_trait>(&'a self, one: $one, two: $two) -> ::std::pin::Pin<Box<
            dyn ::std::future::Future<Output = Result<$out, $crate::CacheError>> + Send + 'async_trait
        >> where $($life: 'async_trait,)* Self: 'async_trait {
            let $this = self;
            $crate::$trait::$name($inner, one, two)
        }
    };
    (@method ($this:ident => $inner:expr) $trait:ident $name:ident
        [$($life:lifetime),*] ($one:ty, $two:ty, $three:ty) -> $out:ty) => {
        fn $name<$($life,)* 'async_trait>(&'a self, one: $one, two: $two, three: $three)
        -> ::std::pin::Pin<Box<
            dyn ::std::future::Future<Output = Result<$out, $crate::CacheError>> + Send + 'async_trait
        >> where $($life: 'async_trait,)* Self: 'async_trait {
            let $this = self;
            $crate::$trait::$name($inner, one, two, three)
        }
    };
}

forward_cache_store!([S: crate::CacheStore + ?Sized] std::sync::Arc<S>, this => &**this);
forward_cache_store!([S: crate::CacheStore + ?Sized] Box<S>, this => &**this);
__forward_cache_service_only!([S: crate::CacheService + ?Sized] std::sync::Arc<S>, this => &**this);
__forward_cache_service_only!([S: crate::CacheService + ?Sized] Box<S>, this => &**this);
