//! A new configuration file while the service runs.

use std::time::Duration;

use cache_services::{CacheServiceExt, CacheStore};
use cache_testkit::{eventually, eventually_async};
use hyper::StatusCode;
use tenant_service::client::Client;
use tenant_service::{Instance, Mode, Parts, Settings};

use crate::fleet::Folder;

async fn start(folder: &Folder, text: &str) -> (Instance, Client) {
    let path = folder.write("config.yaml", text);
    let settings = Settings::load(Some(&path)).unwrap();
    let parts = Parts { config_file: Some(path), ..Parts::default() };
    let instance = Instance::start(settings, parts).await.unwrap();
    let client = Client::new(instance.addr(), 8, Duration::from_secs(10));
    (instance, client)
}

const FIXED: &str = "
listen_addr: 127.0.0.1:0
admin_addr: 127.0.0.1:0
database: { organisations: 3 }
";

#[tokio::test]
async fn a_good_file_is_in_force_at_once_and_a_bad_one_never() {
    let folder = Folder::new();
    let (instance, client) = start(&folder, FIXED).await;
    let live = || instance.app().live().settings();
    assert_eq!(live().token_ttl, Duration::from_secs(3_600));

    let good =
        format!("{FIXED}\nresolver: direct\nttl: {{ tokens_secs: 60, organisations_secs: 7 }}");
    folder.write("config.yaml", &good);
    eventually(|| live().token_ttl == Duration::from_secs(60)).await;
    assert_eq!((live().resolver, live().organisation_ttl.as_secs()), (Mode::Direct, 7));

    // One field is right and one is wrong: neither is taken.
    let bad = format!("{FIXED}\nttl: {{ tokens_secs: 30, users_secs: never }}");
    folder.write("config.yaml", &bad);
    // Nothing tells that it was looked at; a third file is, in its turn.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(live().token_ttl, Duration::from_secs(60));
    assert_eq!(live().resolver, Mode::Direct);

    let slow = format!("{FIXED}\nlimits: {{ requests_per_second: 1 }}");
    folder.write("config.yaml", &slow);
    let refused = async || {
        let answer = client.get("/org", &[("x-org-slug", "acme")]).await.unwrap();
        answer.status == StatusCode::TOO_MANY_REQUESTS
    };
    eventually_async(refused).await;
    assert_eq!(client.get("/health", &[]).await.unwrap().status, StatusCode::OK, "probes pass");
    instance.shutdown().await;
}

#[tokio::test]
async fn what_is_written_during_the_start_is_in_force_after_it() {
    let folder = Folder::new();
    let path = folder.write("config.yaml", FIXED);
    let settings = Settings::load(Some(&path)).unwrap();
    folder.write("config.yaml", &format!("{FIXED}\nttl: {{ tokens_secs: 60 }}"));
    let parts = Parts { config_file: Some(path), ..Parts::default() };
    let instance = Instance::start(settings, parts).await.unwrap();
    let live = || instance.app().live().settings();
    eventually(|| live().token_ttl == Duration::from_secs(60)).await;
    instance.shutdown().await;
}

#[tokio::test]
async fn the_cache_is_given_another_bound_of_the_same_kind() {
    let folder = Folder::new();
    let bounded = |text: &str| format!("{FIXED}\ncache: {{ {text} }}");
    let (instance, _) = start(&folder, FIXED).await;
    let cache = instance.app().cache();
    let fill = async || {
        for number in 0..500 {
            cache.set(&format!("key:{number}"), &number, None).await.unwrap();
        }
        cache.stats().entries
    };
    assert_eq!(fill().await, 500);
    folder.write("config.yaml", &bounded("max_capacity: 100"));
    eventually(|| cache.stats().entries <= 100).await;
    folder.write("config.yaml", &bounded("max_capacity: 20000"));
    eventually_async(async || fill().await == 500).await;

    // Bytes instead of entries would take a restart; what can be taken over is.
    let another = format!("{}\nresolver: direct", bounded("max_weight_bytes: 1000"));
    folder.write("config.yaml", &another);
    eventually(|| instance.app().live().settings().resolver == Mode::Direct).await;
    assert_eq!(fill().await, 500);
    instance.shutdown().await;
}
