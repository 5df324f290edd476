//! The macro that makes tests of the behaviours.

/// Makes a `#[test]` of every behaviour in [`suite`](crate::suite), each with a cache of its own.
///
/// `factory` is called for each test; it is a `fn() -> CacheHarness`, an async one, or a closure.
/// The crate needs `cache-testkit` as a dev-dependency and nothing else.
///
/// ```
/// use cache_core::{Clock, ManualClock};
/// use cache_testkit::{CacheHarness, Capabilities};
///
/// # fn my_cache(_: Clock) -> std::sync::Arc<dyn cache_core::CacheService> { unimplemented!() }
/// fn harness() -> CacheHarness {
///     let clock = ManualClock::new();
///     CacheHarness::new(my_cache(clock.clock()))
///         .clock(clock)
///         .capabilities(Capabilities::in_process())
/// }
///
/// mod my_cache_conforms {
///     cache_testkit::cache_conformance!(super::harness);
/// }
/// ```
#[macro_export]
macro_rules! cache_conformance {
    ($factory:expr $(,)?) => {
        $crate::__cache_behaviours! { [$crate::__cache_conformance_tests] ($factory) }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __cache_conformance_tests {
    (($factory:expr) $($module:ident :: $name:ident $([$capability:ident])?;)*) => {
        $(
            #[test]
            fn $name() {
                $crate::__private::run_named($factory, stringify!($name));
            }
        )*

        /// What the cache declares, or does not, has been put to the test.
        #[test]
        fn every_capability_is_put_to_the_test() {
            $crate::suite::run_capabilities($factory);
        }
    };
}
