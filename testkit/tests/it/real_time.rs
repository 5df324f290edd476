//! The suite without a clock to move: TTLs end by waiting, as they will for a server.

use cache_core::{Clock, ReadThrough};
use cache_testkit::{CacheHarness, Capabilities};
use std::time::Duration;

use crate::backend::MapStore;

async fn harness() -> CacheHarness {
    CacheHarness::new(ReadThrough::new(MapStore::new(Clock::system())))
        .capabilities(Capabilities::in_process())
        .time_unit(Duration::from_millis(150))
}

cache_testkit::cache_conformance!(harness);
