//! The suite can fail: each planted bug is caught by the behaviours that are about it, and by none
//! that are not run here for lack of it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cache_core::ReadThrough;
use cache_testkit::suite::{BEHAVIOURS, Behaviour, run};
use cache_testkit::{CacheHarness, Capabilities, Capability, FlakyCache, ManualClock};

use crate::backend::{Bug, MapStore, clients_of, harness_of};

/// How the map is reached.
#[derive(Clone, Copy)]
enum Reach {
    InProcess,
    /// As if it were far away: nothing is peeked at.
    Far,
    /// By two clients.
    Shared,
}

impl Reach {
    /// Where this bug shows.
    fn of(bug: Bug) -> Self {
        match bug {
            Bug::FetchManyFirstBatch => Self::Far,
            Bug::LeasesPerClient | Bug::PrefixOfOwnKeys => Self::Shared,
            _ => Self::InProcess,
        }
    }

    fn harness(self, bug: Bug) -> CacheHarness {
        match self {
            Self::InProcess => harness_of(|store| store.with_bug(bug)),
            Self::Shared => clients_of(|store| store.with_bug(bug)),
            Self::Far => {
                let clock = ManualClock::new();
                let store = FlakyCache::remote(MapStore::new(clock.clock()).with_bug(bug));
                let able = Capabilities::in_process().without(Capability::LocalReads);
                CacheHarness::new(ReadThrough::new(store)).clock(clock).capabilities(able)
            }
        }
    }
}

/// Whether the behaviour fails on a store with this bug.
fn catches(behaviour: &Behaviour, bug: Bug, reach: Reach) -> bool {
    let test = || run(|| reach.harness(bug), behaviour);
    catch_unwind(AssertUnwindSafe(test)).is_err()
}

fn caught(bug: Bug, by: &[&str]) {
    let reach = Reach::of(bug);
    for name in by {
        let behaviour = Behaviour::named(name).unwrap_or_else(|| panic!("no behaviour {name}"));
        assert!(!catches(behaviour, Bug::None, reach), "{name} fails without a bug");
        assert!(catches(behaviour, bug, reach), "{name} does not catch {bug:?}");
    }
}

macro_rules! planted {
    ($($test:ident: $bug:ident => [$($by:ident),* $(,)?];)*) => {
        $(
            #[test]
            fn $test() {
                caught(Bug::$bug, &[$(stringify!($by)),*]);
            }
        )*
    };
}

planted! {
    a_fill_that_ignores_its_lease: FillIgnoresLease => [
        p1_01_key_removed_while_loading,
        p1_01_one_of_many_removed_while_loading,
        p1_01_absent_is_no_exception,
        p1_02_key_overwritten_while_loading,
        p1_03_prefix_removed_while_loading,
        p1_04_cleared_while_loading,
        p1_08_key_removed_during_refresh_ahead,
        p1_09_key_removed_after_the_caller_s_timeout,
        p1_10_a_lease_that_ran_out_fills_nothing,
        p1_11_absent_key_removed_while_loading,
        a_write_revokes_leases,
        a_clone_is_the_same_cache,
        loads_are_counted_as_what_they_are,
    ];
    a_fill_after_the_lease_ran_out: FillIgnoresLeaseEnd => [
        p1_10_a_lease_that_ran_out_fills_nothing,
    ];
    an_absence_that_ignores_its_lease: AbsentIgnoresLease => [p1_01_absent_is_no_exception];
    a_removal_that_revokes_nothing: RemoveRevokesNothing => [
        p1_01_key_removed_while_loading,
        p1_08_key_removed_during_refresh_ahead,
        p1_09_key_removed_after_the_caller_s_timeout,
        p1_11_absent_key_removed_while_loading,
        a_removal_revokes_leases,
    ];
    a_prefix_removal_that_revokes_nothing: PrefixRevokesNothing => [
        p1_03_prefix_removed_while_loading,
        a_prefix_removal_revokes_leases,
    ];
    a_clear_that_revokes_nothing: ClearRevokesNothing => [
        p1_04_cleared_while_loading,
        clear_revokes_leases,
    ];
    a_write_that_revokes_nothing: StoreRevokesNothing => [
        p1_02_key_overwritten_while_loading,
        a_write_revokes_leases,
    ];
    a_fill_that_revokes_others: FillRevokesAll => [
        reads_and_other_keys_fills_revoke_nothing,
    ];
    an_expiry_that_is_not_checked: ExpiryUnchecked => [
        an_expired_entry_is_missing_everywhere,
        a_stale_entry_is_fetched_but_not_read,
        writing_what_has_expired_removes,
    ];
    an_expiry_a_millisecond_early: ExpiryEarly => [p8_01_ttl_to_the_millisecond];
    an_overwrite_that_keeps_the_ttl: OverwriteKeepsTtl => [
        overwriting_replaces_the_ttl,
        overwriting_replaces_the_stale_window,
    ];
    a_prefix_that_is_a_substring: PrefixIsSubstring => [
        a_prefix_selects_what_begins_with_it,
        a_typed_cache_removes_its_own,
    ];
    a_prefix_that_is_a_pattern: PrefixIsGlob => [glob_characters_in_a_prefix_are_literal];
    duplicate_keys_that_collapse: DuplicatesCollapse => [duplicate_keys_have_a_slot_each];
    a_zero_ttl_that_changes_nothing: ZeroTtlKeepsOld => [
        writing_what_has_expired_removes,
        p8_02_a_zero_ttl_keeps_nothing,
    ];
    an_abandoned_lease_that_removes: AbandonRemoves => [
        a_lease_hides_nothing,
        abandoning_too_late_does_nothing,
    ];
    a_count_that_includes_the_expired: CountsExpired => [removals_are_counted_or_said_not_to_be];
    a_lease_that_is_an_entry: LeaseIsAnEntry => [a_lease_is_not_an_entry];
    a_local_ttl_that_is_ignored: SettlesWithoutLocalTtl => [
        local_ttl_bounds_what_the_process_holds,
    ];
    keys_that_are_folded: KeysCaseInsensitive => [keys_are_taken_literally];
    many_writes_that_keep_the_first: StoreManyKeepsFirst => [set_many_writes_each];
    a_write_of_many_that_revokes_nothing: StoreManyRevokesNothing => [
        a_write_revokes_leases,
        p1_12_random_histories,
    ];
    a_fill_that_looks_then_writes: FillChecksThenWrites => [
        a_fill_that_is_overtaken_stores_nothing,
        p1_12_random_histories,
    ];
    a_removal_that_revokes_afterwards: RemoveThenRevokes => [
        a_fill_within_a_removal_or_write_is_undone,
        p1_12_random_histories,
    ];
    a_write_that_revokes_afterwards: StoreThenRevokes => [
        a_fill_within_a_removal_or_write_is_undone,
        p1_12_random_histories,
    ];
    a_removal_that_stops_at_its_first_page: RemovesFirstPage => [
        many_keys_are_each_read_written_and_removed,
    ];
    a_read_of_many_that_stops_at_its_first_batch: FetchManyFirstBatch => [
        many_keys_are_each_read_written_and_removed,
    ];
    a_write_of_many_that_stops_at_its_first_batch: StoreManyFirstBatch => [
        many_keys_are_each_read_written_and_removed,
    ];
    a_decoded_value_that_outlives_a_write: KeepsValueOnStore => [
        the_last_write_wins,
        an_overwritten_value_is_decoded_anew,
    ];
    a_decoded_value_that_outlives_a_fill: KeepsValueOnFill => [
        an_overwritten_value_is_decoded_anew,
    ];
    a_decoded_value_that_outlives_a_write_of_many: KeepsValueOnStoreMany => [
        an_overwritten_value_is_decoded_anew,
    ];
    a_fill_or_remove_that_keeps_leases: FillOrRemoveKeepsLeases => [
        fill_or_remove_revokes_the_other_leases,
    ];
    a_fill_or_remove_that_leaves_what_was_there: FillOrRemoveLeavesOld => [
        fill_or_remove_leaves_its_value_or_nothing,
    ];
    a_shared_fetch_that_finds_nothing: FetchSharedFindsNothing => [
        a_shared_fetch_finds_what_a_fetch_finds,
    ];
    a_shared_fetch_of_many_that_collapses: FetchManySharedCollapses => [
        a_shared_fetch_finds_what_a_fetch_finds,
    ];
    a_lease_for_here_that_is_never_revoked: LeaseHereIsNeverRevoked => [
        a_lease_for_here_is_revoked_like_any,
    ];
    a_removal_that_tells_first: TellsFirst => [nobody_is_told_before_it_is_done];
    a_removal_that_tells_nobody: TellsNobody => [nobody_is_told_before_it_is_done];
    a_write_of_many_for_the_default_ttl: StoreManyUsesDefaultTtl => [
        overwriting_replaces_the_ttl,
        overwriting_replaces_the_stale_window,
        writing_what_has_expired_removes,
    ];
    a_write_of_many_that_keeps_the_ttl: StoreManyKeepsTtl => [
        overwriting_replaces_the_ttl,
        overwriting_replaces_the_stale_window,
    ];
    a_write_of_many_that_keeps_what_a_zero_ttl_ends: StoreManyKeepsOldForZero => [
        writing_what_has_expired_removes,
    ];
    a_fetch_of_many_past_their_end: FetchManyUnexpired => [
        an_expired_entry_is_missing_everywhere,
        a_stale_entry_is_fetched_but_not_read,
    ];
    leases_of_each_client: LeasesPerClient => [
        a_change_by_another_client_revokes_leases,
        a_fill_that_another_client_overtakes_stores_nothing,
        p1_05_removed_by_another_client_while_loading,
        leases_are_those_of_the_server,
        p3_08_two_clients_one_load,
    ];
    a_prefix_of_the_client_s_own_keys: PrefixOfOwnKeys => [what_one_client_does_the_other_sees];
}

/// Without a bug every behaviour passes; a planted one is caught by some.
#[test]
fn every_planted_bug_fails_the_suite() {
    for behaviour in BEHAVIOURS {
        let fails = catches(behaviour, Bug::None, Reach::InProcess);
        assert!(!fails, "{} fails without a bug", behaviour.name);
    }
}
