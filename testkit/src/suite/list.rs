//! The one list of behaviours. The macro's tests and [`BEHAVIOURS`] are both made from it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::{CacheHarness, Capability};

/// One behaviour of the suite.
pub struct Behaviour {
    /// Its name; begins with the scenario's number where it has one.
    pub name: &'static str,
    /// The capabilities it is about.
    pub capabilities: &'static [Capability],
    /// The test.
    pub run: for<'a> fn(&'a CacheHarness) -> Pin<Box<dyn Future<Output = ()> + 'a>>,
}

impl Behaviour {
    /// The behaviour of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        BEHAVIOURS.iter().find(|behaviour| behaviour.name == name)
    }
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Behaviour").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Hands the list on to the macro in brackets, behind the arguments in parentheses. A behaviour
/// that is about a capability names it.
#[doc(hidden)]
#[macro_export]
macro_rules! __cache_behaviours {
    ([$($then:tt)*] $args:tt) => {
        $($then)* ! { $args
            reads::a_missing_key_is_none;
            reads::a_written_value_is_read_back;
            reads::get_many_answers_in_order;
            reads::duplicate_keys_have_a_slot_each;
            reads::empty_lists_do_nothing;
            reads::held_values_are_peeked_at_and_shared [LocalReads];
            reads::contains_is_what_get_finds;
            writes::the_last_write_wins;
            writes::overwriting_replaces_the_ttl;
            writes::overwriting_replaces_the_stale_window;
            writes::writing_what_has_expired_removes;
            writes::set_many_writes_each;
            writes::set_many_with_a_bad_key_writes_nothing;
            writes::a_value_that_does_not_encode_writes_nothing;
            writes::local_ttl_bounds_what_the_process_holds;
            removal::an_invalidated_key_is_gone;
            removal::a_stale_entry_is_removed_too;
            removal::removing_nothing_is_fine;
            removal::invalidate_many_removes_each;
            removal::a_prefix_selects_what_begins_with_it;
            removal::glob_characters_in_a_prefix_are_literal;
            removal::multi_byte_prefixes_are_compared_by_bytes;
            removal::the_empty_prefix_is_every_key;
            removal::clear_removes_everything;
            removal::removals_are_counted_or_said_not_to_be [RemovalCounts];
            many::many_keys_are_each_read_written_and_removed;
            limits::keys_from_1_to_1024_bytes_work;
            limits::other_keys_are_invalid_everywhere;
            limits::keys_are_taken_literally;
            values::a_skipped_field_is_default_after_set;
            values::a_skipped_field_is_default_from_the_load_itself;
            values::another_type_is_an_error_and_the_entry_stays;
            values::a_compatible_type_decodes_the_same_bytes;
            values::a_loaded_value_that_does_not_encode_is_an_error;
            values::empty_values_are_values;
            values::large_values_come_back_whole;
            values::an_overwritten_value_is_decoded_anew;
            lifetimes::p8_01_ttl_to_the_millisecond;
            lifetimes::an_expired_entry_is_missing_everywhere;
            lifetimes::a_loaded_value_expires;
            lifetimes::reading_does_not_prolong;
            lifetimes::p8_02_a_zero_ttl_keeps_nothing;
            lifetimes::p8_02_a_huge_ttl_never_ends;
            lifetimes::no_ttl_means_the_service_s;
            lifetimes::p3_15_jitter_spreads_within_its_fraction;
            lifetimes::a_stale_entry_is_fetched_but_not_read;
            leases::a_leased_fill_is_stored;
            leases::a_lease_is_not_an_entry;
            leases::a_lease_hides_nothing;
            leases::a_write_revokes_leases;
            leases::a_removal_revokes_leases;
            leases::a_prefix_removal_revokes_leases;
            leases::clear_revokes_leases;
            leases::reads_and_other_keys_fills_revoke_nothing;
            leases::p1_10_a_lease_that_ran_out_fills_nothing;
            leases::a_fill_outlives_its_lease;
            leases::a_lease_given_back_is_free;
            leases::abandoning_too_late_does_nothing;
            leases::leases_are_exclusive_or_side_by_side [ExclusiveLeases];
            leases::a_fill_that_expired_stores_nothing;
            tiers::fill_or_remove_leaves_its_value_or_nothing;
            tiers::fill_or_remove_revokes_the_other_leases;
            tiers::a_shared_fetch_finds_what_a_fetch_finds;
            tiers::a_lease_for_here_is_revoked_like_any;
            tiers::nobody_is_told_before_it_is_done;
            stale_fill::p1_01_key_removed_while_loading;
            stale_fill::p1_01_one_of_many_removed_while_loading;
            stale_fill::p1_01_absent_is_no_exception;
            stale_fill::p1_02_key_overwritten_while_loading;
            stale_fill::p1_03_prefix_removed_while_loading;
            stale_fill::p1_04_cleared_while_loading;
            stale_fill::p1_08_key_removed_during_refresh_ahead;
            stale_fill::p1_09_key_removed_after_the_caller_s_timeout;
            stale_fill::p1_11_absent_key_removed_while_loading;
            stale_fill::a_removal_elsewhere_leaves_a_load_alone;
            overtaken::a_fill_that_is_overtaken_stores_nothing;
            overtaken::a_fill_within_a_removal_or_write_is_undone;
            overtaken::p1_12_random_histories;
            clients::what_one_client_does_the_other_sees;
            clients::a_change_by_another_client_revokes_leases;
            clients::a_fill_that_another_client_overtakes_stores_nothing;
            clients::p1_05_removed_by_another_client_while_loading;
            clients::leases_are_those_of_the_server [ExclusiveLeases];
            clients::p3_08_two_clients_one_load [ExclusiveLeases];
            coalescing::p3_01_a_thousand_callers_one_load;
            coalescing::p3_02_mixed_flavours_coalesce;
            coalescing::p3_02_overlapping_loads_of_many_share;
            coalescing::p3_02_absent_is_no_answer_to_who_needs_a_value;
            coalescing::p3_03_the_leader_is_dropped;
            bad_loaders::p3_04_an_error_reaches_all_waiters_once;
            bad_loaders::p3_05_a_panic_is_an_error;
            bad_loaders::p3_06_a_loader_that_hangs_is_given_up;
            coalescing::p3_07_distinct_keys_do_not_block_each_other;
            bad_loaders::p3_10_a_re_entrant_load_is_an_error;
            freshness::p3_11_stale_is_served_while_one_refresh_runs;
            freshness::p3_11_past_the_window_the_caller_waits;
            freshness::p3_11_a_caller_that_wants_it_fresh_waits;
            freshness::p3_12_a_failed_refresh_serves_stale_until_the_window_ends;
            freshness::p3_12_the_refresh_is_tried_again_later;
            freshness::p3_13_a_soft_timeout_answers_in_time;
            freshness::p3_13_a_quick_refresh_beats_the_soft_timeout;
            freshness::p3_13_without_a_stale_value_the_caller_waits;
            freshness::p3_14_absent_is_cached_for_negative_ttl;
            freshness::p3_14_keys_left_out_are_absent;
            freshness::refresh_ahead_refreshes_once;
            freshness::a_failed_refresh_ahead_is_not_noticed;
            stats::each_lookup_counts_once;
            stats::loads_are_counted_as_what_they_are;
            stats::invalidations_are_counted;
            stats::entries_are_counted_or_0 [EntryCounts];
            stats::weight_is_bytes_or_entries [ByteWeight];
            handles::a_clone_is_the_same_cache;
            handles::arc_and_box_of_dyn_are_caches;
            handles::a_typed_cache_is_a_view_under_a_prefix;
            handles::a_typed_cache_removes_its_own;
            cancel::p7_reads_can_be_dropped;
            cancel::p7_writes_can_be_dropped;
            cancel::p7_removals_can_be_dropped;
            cancel::p7_loads_can_be_dropped;
            cancel::p7_leases_can_be_dropped;
            cancel::p7_waiters_can_be_dropped;
        }
    };
}

macro_rules! behaviours {
    (() $($module:ident :: $name:ident $([$capability:ident])?;)*) => {
        /// All behaviours.
        pub static BEHAVIOURS: &[Behaviour] = &[$(
            Behaviour {
                name: stringify!($name),
                capabilities: &[$(Capability::$capability)?],
                run: |harness| Box::pin(super::$module::$name(harness)),
            },
        )*];
    };
}

__cache_behaviours! { [behaviours] () }
