//! Services as Prometheus sees them.
#![allow(dead_code, reason = "each test file takes what it needs")]

use std::collections::{BTreeMap, BTreeSet};

use cache_services::{CacheServices, CacheServicesBuilder, DURATION_BUCKETS};
use cache_testkit::eventually;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

/// Services with a recorder of their own.
pub(crate) struct Watched {
    pub(crate) services: CacheServices,
    recorder: PrometheusRecorder,
}

impl Watched {
    pub(crate) async fn start(builder: CacheServicesBuilder) -> Self {
        let builder = builder.name("orgs");
        let recorder = PrometheusBuilder::new().set_buckets(&DURATION_BUCKETS).unwrap();
        Self { services: builder.build().await.unwrap(), recorder: recorder.build_recorder() }
    }

    /// The same, once its near tier is served.
    pub(crate) async fn in_service(builder: CacheServicesBuilder) -> Self {
        let watched = Self::start(builder).await;
        eventually(|| watched.services.tier_stats().is_some_and(|stats| stats.near_served)).await;
        watched
    }

    pub(crate) fn scrape(&self) -> Scrape {
        metrics::with_local_recorder(&self.recorder, || self.services.publish_metrics());
        Scrape::parse(&self.recorder.handle().render())
    }

    /// One figure, as it is now.
    pub(crate) fn figure(&self, series: &str) -> f64 {
        self.scrape().figure(series)
    }
}

/// A page in Prometheus' text format.
#[derive(Debug)]
pub(crate) struct Scrape {
    /// By name and labels, `cache` left out: `cache_loads_total{result="ok"}`.
    pub(crate) figures: BTreeMap<String, f64>,
    /// The kind of each metric.
    pub(crate) kinds: BTreeMap<String, String>,
    /// The names of the labels of each metric.
    pub(crate) labels: BTreeMap<String, BTreeSet<String>>,
    /// What is said of each.
    pub(crate) help: BTreeMap<String, String>,
}

impl Scrape {
    fn parse(text: &str) -> Self {
        let (mut figures, mut kinds) = (BTreeMap::new(), BTreeMap::new());
        let (mut labels, mut help) = (BTreeMap::<_, BTreeSet<_>>::new(), BTreeMap::new());
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(said) = line.strip_prefix("# TYPE ") {
                let (name, kind) = said.split_once(' ').unwrap();
                kinds.insert(name.to_owned(), kind.to_owned());
            } else if let Some(said) = line.strip_prefix("# HELP ") {
                let (name, text) = said.split_once(' ').unwrap();
                help.insert(name.to_owned(), text.to_owned());
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let (name, rest) = series.split_once('{').unwrap_or((series, "}"));
                let pairs = rest.trim_end_matches('}').split(',');
                let mut pairs: Vec<_> = pairs.filter(|pair| !pair.is_empty()).collect();
                pairs.sort_unstable();
                let metric = of_metric(name, &kinds);
                let known = labels.entry(metric.to_owned()).or_default();
                known.extend(pairs.iter().map(|pair| pair.split('=').next().unwrap().to_owned()));
                assert!(pairs.contains(&r#"cache="orgs""#), "{line}");
                pairs.retain(|pair| !pair.starts_with("cache="));
                let labels = match pairs.is_empty() {
                    true => String::new(),
                    false => format!("{{{}}}", pairs.join(",")),
                };
                figures.insert(format!("{name}{labels}"), value.parse().unwrap());
            }
        }
        Self { figures, kinds, labels, help }
    }

    #[track_caller]
    pub(crate) fn figure(&self, series: &str) -> f64 {
        match self.figures.get(series) {
            Some(figure) => *figure,
            None => panic!("{series} is not among {:#?}", self.figures.keys()),
        }
    }
}

/// The metric that a line is of: a histogram's have three names more.
pub(crate) fn of_metric<'a>(name: &'a str, kinds: &BTreeMap<String, String>) -> &'a str {
    let of_histogram = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| {
        let metric = name.strip_suffix(suffix)?;
        kinds.get(metric).is_some_and(|kind| kind == "histogram").then_some(metric)
    });
    of_histogram.unwrap_or(name)
}
