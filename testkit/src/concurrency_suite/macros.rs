//! The list of behaviours, once; the tests and their inventory are made from it.

/// Makes a `#[test]` of every behaviour of the lock contract.
///
/// The first argument makes a backend: a function or a closure, async or not, that returns a
/// [`LockHarness`](crate::LockHarness). The second says what the backend can
/// do, [everything](crate::LockCapabilities::ALL) if it is left out. What is
/// declared and has no test does not compile. Put it in a module of its own for each backend.
///
/// ```
/// use cache_core::{Clock, ManualClock};
/// use cache_testkit::LockHarness;
///
/// # fn my_locks(_: Clock) -> std::sync::Arc<dyn cache_core::ConcurrencyService> { unimplemented!() }
/// fn harness() -> LockHarness {
///     let clock = ManualClock::new();
///     LockHarness::new(my_locks(clock.clock())).with_clock(clock)
/// }
///
/// mod my_locks_conform {
///     cache_testkit::concurrency_conformance!(super::harness);
/// }
/// ```
#[macro_export]
macro_rules! concurrency_conformance {
    ($factory:expr $(,)?) => {
        $crate::concurrency_conformance!(
            $factory,
            $crate::concurrency_suite::LockCapabilities::ALL
        );
    };
    ($factory:expr, $capabilities:expr $(,)?) => {
        $crate::__lock_tests! { ($factory, $capabilities)
            Exclusion: p4_01_a_free_lock_runs_the_section;
            Exclusion: p4_02_a_held_lock_is_not_waited_for_by_try;
            Exclusion: p4_05_hundred_tasks_exclude_each_other;
            Exclusion: p4_07_distinct_keys_do_not_block_each_other;
            Exclusion: p4_10_a_panic_passes_through_and_releases;
            Exclusion: p4_11_an_error_is_a_value_and_releases;
            Exclusion: p4_12_a_dropped_section_releases;
            Exclusion: p4_13_a_guard_dropped_without_a_runtime_releases;
            Exclusion + Inspect: p4_17_nesting_one_key_is_a_deadlock_at_once;
            Exclusion: p4_17_two_sections_joined_in_one_task_take_turns;
            Exclusion: p4_17_nesting_two_keys_is_fine;
            Exclusion: p4_18_several_locks_in_opposite_order_are_no_deadlock;
            Exclusion: refresh_once_refreshes_once;
            Exclusion: refresh_once_leaves_a_failed_refresh_to_the_next;
            Exclusion: refresh_once_takes_what_is_fresh_without_the_lock;
            Exclusion: refresh_once_waits_and_holds_as_its_options_say;
            Exclusion: keys_have_1_to_1024_bytes;
            Exclusion: keys_are_taken_literally;
            Exclusion: options_out_of_range_are_refused;
            Exclusion: huge_durations_saturate;
            Exclusion: a_released_lock_is_over_for_its_views;
            Exclusion: p4_06_two_clients_exclude_each_other;
            Fencing: tokens_increase_with_every_grant;
            Fencing: tokens_increase_from_client_to_client;
            Fencing + ForceRelease: tokens_increase_after_a_forced_release;
            Fifo: p4_03_a_wait_of_zero_tries_once;
            Fifo + Inspect: p4_03_waiting_is_bounded;
            Fifo + Inspect: p4_04_a_cancelled_waiter_leaves_the_queue;
            Fifo + Inspect: p4_04_a_grant_that_nobody_takes_passes_on;
            Fifo + Inspect: p4_04_a_cancelled_waiter_is_gone_for_another_client;
            Fifo + Inspect: p4_08_locks_are_granted_in_order_of_arrival;
            Fifo + Inspect: p4_08_two_clients_wait_in_one_line;
            Fifo + Inspect: p4_09_the_releaser_does_not_overtake;
            Fifo + Inspect: p4_09_a_client_does_not_overtake_another;
            Leases: p4_15_a_renewed_lease_outlasts_a_long_section;
            Leases: p4_16_a_section_stops_at_max_hold;
            Leases: p4_16_a_lease_that_is_not_renewed_ends;
            Leases: p4_16_a_lease_as_long_as_max_hold_ends_as_that;
            Leases: p4_16_lost_tells_when_the_lease_ends;
            Leases: p4_27_a_lease_ends_for_another_client;
            Leases + Inspect: p4_16_the_next_takes_over_and_the_late_release_spares_it;
            Leases + ForceRelease: p4_15_a_renewal_leaves_the_next_holder_alone;
            Inspect: inspect_refuses_keys_that_no_lock_has;
            Inspect: inspect_tells_of_another_client;
            Inspect: inspect_tells_who_holds_and_how_many_wait;
            List: list_names_what_is_held;
            ForceRelease: force_release_frees_the_lock;
            ForceRelease: force_release_refuses_keys_that_no_lock_has;
            ForceRelease + Leases: force_release_reaches_another_client;
            ForceRelease + Fencing + Inspect: force_release_hits_only_the_holder_it_names;
            Shutdown: refresh_once_refreshes_nothing_without_the_lock;
            Shutdown + Inspect: shutdown_turns_waiters_and_newcomers_away;
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __lock_tests {
    (($factory:expr, $capabilities:expr) $($needs:ident $(+ $sees:ident)*: $name:ident;)+) => {
        const _: () = $crate::concurrency_suite::check_lock_capabilities(
            $capabilities,
            &[$($crate::concurrency_suite::LockCapability::$needs),+],
        );

        $(
            #[test]
            fn $name() {
                let declared: $crate::concurrency_suite::LockCapabilities = $capabilities;
                $(
                    if !declared.has($crate::concurrency_suite::LockCapability::$sees) {
                        return;
                    }
                )*
                $crate::concurrency_suite::run_lock_behaviour(
                    declared,
                    $crate::concurrency_suite::LockCapability::$needs,
                    $factory,
                    $crate::concurrency_suite::$name,
                );
            }
        )+
    };
}
