//! The suite on a backend written by a stranger, in the shapes in which it may be handed over.

use cache_core::{CacheService, ReadThrough};
use cache_testkit::{CacheHarness, Capabilities, ManualClock, cache_conformance};
use std::sync::Arc;

use crate::backend::{Leases, clients_of, harness_of, shared_store};

mod with_leases_side_by_side {
    cache_testkit::cache_conformance!(|| super::harness_of(|store| store));
}

mod with_exclusive_leases {
    use super::{Leases, harness_of};

    cache_testkit::cache_conformance!(|| harness_of(|store| store.with_leases(Leases::Exclusive)));
}

mod with_two_clients {
    cache_testkit::cache_conformance!(|| super::clients_of(|store| store));
}

mod as_arc_dyn {
    use super::*;

    async fn harness() -> CacheHarness {
        let clock = ManualClock::new();
        let cache: Arc<dyn CacheService> = Arc::new(ReadThrough::new(shared_store(&clock)));
        CacheHarness::new(cache).clock(clock).capabilities(Capabilities::in_process())
    }

    cache_conformance!(harness);
}

mod as_box_dyn {
    use super::*;

    fn harness() -> CacheHarness {
        let clock = ManualClock::new();
        let cache: Box<dyn CacheService> = Box::new(ReadThrough::new(shared_store(&clock)));
        CacheHarness::new(Arc::new(cache)).clock(clock).capabilities(Capabilities::in_process())
    }

    cache_conformance!(harness);
}
