//! What the service itself counts, for Prometheus: handed to the `metrics` facade when it is asked for, as
//! the library does with its own figures.

use metrics::{counter, describe_counter, describe_gauge, gauge};

use crate::app::Counts;
use crate::lookups::ShadowCounts;

const QUERIES: &str = "tenant_database_queries_total";
const EXCHANGES: &str = "tenant_upstream_exchanges_total";
const UNDER_WAY: &str = "tenant_tasks_under_way";
const COMPARISONS: &str = "tenant_shadow_comparisons_total";

/// Hands the counters over. They only grow, so doing it twice does no harm.
pub(crate) fn publish(counts: Counts) {
    describe_counter!(QUERIES, "Lookups in the database.");
    describe_counter!(EXCHANGES, "Tokens exchanged with the identity provider.");
    describe_counter!(COMPARISONS, "Lookups in shadow mode, by what became of the comparison.");
    describe_gauge!(UNDER_WAY, "Changes, exchanges and comparisons under way.");
    let Counts { database_queries, upstream_exchanges, under_way, shadow } = counts;
    gauge!(UNDER_WAY).set(under_way as f64);
    counter!(QUERIES).absolute(database_queries);
    counter!(EXCHANGES).absolute(upstream_exchanges);
    let ShadowCounts { compared, differences, settled, undecided, skipped, failed } = shadow;
    let results = [
        // The counters are read one after the other while comparisons go on.
        ("same", compared.saturating_sub(differences + settled + undecided)),
        ("different", differences),
        ("settled", settled),
        ("undecided", undecided),
        ("skipped", skipped),
        ("failed", failed),
    ];
    for (result, count) in results {
        counter!(COMPARISONS, "result" => result).absolute(count);
    }
}
