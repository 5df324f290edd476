//! The macro that makes tests of the behaviours.

/// Makes a `#[test]` of every behaviour in [`bus_suite`](crate::bus_suite), each with a bus of its own.
///
/// `factory` is called for each test; it is a `fn() -> BusHarness`, an async one, or a closure.
///
/// ```
/// use cache_testkit::{LocalBus, bus_suite::BusHarness};
///
/// fn harness() -> BusHarness {
///     let hub = LocalBus::new(1);
///     BusHarness::new(hub.node(), hub.node())
/// }
///
/// mod my_bus_conforms {
///     cache_testkit::bus_conformance!(super::harness);
/// }
/// ```
#[macro_export]
macro_rules! bus_conformance {
    ($factory:expr $(,)?) => {
        $crate::__bus_behaviours! { [$crate::__bus_conformance_tests] ($factory) }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __bus_conformance_tests {
    (($factory:expr) $($name:ident;)*) => {
        $(
            #[test]
            fn $name() {
                $crate::bus_suite::run_bus_behaviour(
                    stringify!($name),
                    $factory,
                    $crate::bus_suite::$name,
                );
            }
        )*
    };
}

/// Hands the list of behaviours on to the macro in brackets, behind the arguments in parentheses.
#[doc(hidden)]
#[macro_export]
macro_rules! __bus_behaviours {
    ([$($then:tt)*] $args:tt) => {
        $($then)* ! { $args
            a_subscription_begins_with_connected;
            removals_arrive_as_what_they_are;
            many_long_keys_arrive_whole;
            own_removals_are_not_heard;
            what_one_sends_is_heard_in_order;
            who_falls_behind_loses_nothing_unawares;
            a_dropped_subscription_is_over;
            a_publish_can_be_dropped;
            a_wait_can_be_dropped;
            a_subscription_until_a_deadline_hears_the_same;
            an_end_that_is_off_the_bus_says_so;
        }
    };
}
