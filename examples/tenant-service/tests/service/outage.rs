//! Redis is stopped, restarted and paused under load: every request is answered, and no answer is older
//! than it may be.

use std::time::Duration;

use hyper::StatusCode;

use crate::fleet::Fleet;
use crate::load::{on, under_load};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_stopped_restarted_and_paused_under_load() {
    let fleet = Fleet::of_three().await;
    let redis = fleet.redis();
    let trouble = async {
        // Time itself is what is tested: each trouble has to last for longer than the bound, and to begin
        // when the load has.
        let a_while = || tokio::time::sleep(Duration::from_secs(2));
        tokio::time::sleep(Duration::from_millis(500)).await;
        redis.stop();
        a_while().await;
        redis.restart();
        a_while().await;
        redis.pause();
        a_while().await;
        // Nobody waits for Redis: it says nothing until this is answered.
        for at in 0..fleet.instances.len() {
            fleet.org(at, "acme").await;
            assert_eq!(fleet.me(at, 0, 0).await.status, StatusCode::OK);
        }
        redis.resume();
    };
    let (report, ()) = tokio::join!(under_load(on(&fleet, 9, 300, 40)), trouble);
    assert!(report.is_good(), "{report}");
    assert!(report.pending_changes > 0, "some changes were made without Redis: {report}");
    assert_eq!(report.latencies.len(), 2_700, "{report}");
    // And all is well again: what had not been told is made up for.
    for instance in &fleet.instances {
        let services = instance.app().services();
        let well = || {
            let stats = services.tier_stats().unwrap();
            stats.near_served && stats.replays_pending == 0
        };
        cache_testkit::eventually(well).await;
    }
    fleet.shutdown().await;
}
