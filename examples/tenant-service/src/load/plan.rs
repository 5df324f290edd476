//! What is asked for: the same for the same seed.

use hyper::http::request::Builder;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rand_distr::Zipf;

use super::args::{LoadArgs, Reads};
use crate::database::seed;

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pick {
    /// The number of the organisation.
    pub(super) tenant: u32,
    pub(super) by: By,
    pub(super) what: What,
}

/// By what the organisation is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Slug,
    Host,
    Id,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Org,
    Me,
}

/// Endless requests.
pub(super) struct Plan {
    random: SmallRng,
    ranks: Option<Zipf<f64>>,
    tenants: u32,
    reads: Reads,
    made: u64,
}

impl Plan {
    pub(super) fn new(args: &LoadArgs) -> Self {
        // Fails for none, and there is one at least; evenly then.
        let ranks = Zipf::new(f64::from(args.tenants), args.zipf).ok();
        let random = SmallRng::seed_from_u64(args.seed);
        Self { random, ranks, tenants: args.tenants, reads: args.reads, made: 0 }
    }
}

impl Iterator for Plan {
    type Item = Pick;

    fn next(&mut self) -> Option<Pick> {
        let tenant = match self.ranks {
            // Ranks are 1.0, 2.0, … as floating-point numbers.
            Some(ranks) => self.random.sample(ranks) as u32 - 1,
            None => self.random.random_range(0..self.tenants),
        };
        self.made += 1;
        let what = match self.reads {
            Reads::Org => What::Org,
            Reads::Me => What::Me,
            Reads::Both if self.made.is_multiple_of(2) => What::Me,
            Reads::Both => What::Org,
        };
        let by = match self.random.random_range(0..3) {
            0 => By::Slug,
            1 => By::Host,
            _ => By::Id,
        };
        Some(Pick { tenant, by, what })
    }
}

/// Every organisation in every way, once.
pub(super) fn each(tenants: u32, reads: Reads) -> impl Iterator<Item = Pick> {
    let ways = [By::Slug, By::Host, By::Id];
    (0..tenants).flat_map(move |tenant| {
        let orgs = ways.map(|by| Pick { tenant, by, what: What::Org });
        let me = Pick { tenant, by: By::Slug, what: What::Me };
        let orgs = orgs.into_iter().filter(move |_| reads != Reads::Me);
        orgs.chain((reads != Reads::Org).then_some(me))
    })
}

impl Pick {
    pub(super) fn path(self) -> &'static str {
        match self.what {
            What::Org => "/org",
            What::Me => "/me",
        }
    }

    /// Names the organisation, and shows its first user's token where one is needed.
    pub(super) fn headers(self, builder: Builder) -> Builder {
        let builder = match self.by {
            By::Slug => builder.header("x-org-slug", seed::slug(self.tenant)),
            By::Host => builder.header("host", seed::host(self.tenant)),
            By::Id => builder.header("x-tenant-id", seed::org_id(self.tenant).to_string()),
        };
        match self.what {
            What::Org => builder,
            What::Me => {
                let token = seed::token(self.tenant, 0);
                builder.header("authorization", format!("Bearer {token}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_asks_the_same_and_unevenly() {
        let args = LoadArgs { reads: Reads::Both, ..LoadArgs::default() };
        let first: Vec<_> = Plan::new(&args).take(9_000).collect();
        assert_eq!(first, Plan::new(&args).take(9_000).collect::<Vec<_>>());
        let of = |tenant| first.iter().filter(|pick| pick.tenant == tenant).count();
        assert!(of(0) > 20 * of(99).max(1), "{} and {}", of(0), of(99));
        assert!(first.iter().all(|pick| pick.tenant < 1_000));
        for by in [By::Slug, By::Host, By::Id] {
            assert!(first.iter().filter(|pick| pick.by == by).count() > 2_500);
        }
        let even = LoadArgs { zipf: 0.0, tenants: 10, ..LoadArgs::default() };
        let of_last = Plan::new(&even).take(1_000).filter(|pick| pick.tenant == 9).count();
        assert!((60..140).contains(&of_last), "{of_last}");
        assert_eq!(each(10, Reads::Both).count(), 40);
    }
}
