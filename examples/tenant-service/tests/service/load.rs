//! Three instances under load while a hundred users a second are given other roles.

use std::time::Duration;

use tenant_service::load::{LoadArgs, Reads, Report, Target, run};

use crate::fleet::{BOUND, Fleet, TENANTS};

/// Load on all instances of `fleet`. What a busy machine adds to the bound is the time between the moment
/// at which an answer is read and the one at which its change is known to be.
pub(crate) fn on(fleet: &Fleet, seconds: u64, rate: u32, changes_per_second: u32) -> LoadArgs {
    LoadArgs {
        targets: fleet.instances.iter().map(|instance| Target(instance.addr())).collect(),
        rate,
        duration: Duration::from_secs(seconds),
        tenants: TENANTS,
        reads: if changes_per_second > 0 { Reads::Both } else { Reads::Org },
        changes_per_second,
        bound: BOUND,
        ..LoadArgs::default()
    }
}

pub(crate) async fn under_load(args: LoadArgs) -> Report {
    run(args).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_changes_a_second_and_no_answer_is_older_than_it_may_be() {
    let fleet = Fleet::of_three().await;
    let report = under_load(on(&fleet, 3, 600, 100)).await;
    assert!(report.is_good(), "{report}");
    let failed = fleet.stats().failed_removals;
    assert_eq!(
        report.pending_changes, failed,
        "pending is what Redis did not take in time: {report}"
    );
    assert_eq!(report.latencies.len(), 1_800);
    assert_eq!(report.change_latencies.len(), 300);
    fleet.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_first_pass_nearly_everything_is_a_hit() {
    let fleet = Fleet::of_three().await;
    let warm = LoadArgs { warm_up: true, ..on(&fleet, 1, 600, 0) };
    let before = fleet.queries();
    let report = under_load(warm).await;
    assert!(report.is_good(), "{report}");
    fleet.assert_once_each(u64::from(TENANTS) * 3, before);
    let before = fleet.stats();
    let report = under_load(on(&fleet, 1, 600, 0)).await;
    assert!(report.is_good(), "{report}");
    let now = fleet.stats();
    assert!(now.misses - before.misses <= now.errors - before.errors, "{now:?}");
    fleet.shutdown().await;
}

/// A load generator that cannot fail would prove nothing: one instance forgets to tell the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_tells_nobody_is_found_out() {
    let fleet = Fleet::start(2, None, |_| {}).await;
    let args = LoadArgs { bound: Duration::from_millis(500), ..on(&fleet, 2, 400, 40) };
    let report = under_load(args).await;
    assert!(report.stale > 0, "without Redis two instances do not hear of each other: {report}");
    fleet.shutdown().await;
}
