//! A Prometheus that scrapes the admin API as `docs/observability.md` says, and loads the alerts.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

mod harness;

use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use cache_services::{CacheServiceExt, ConcurrencyServiceExt};
use cache_testkit::RedisServer;
use harness::{READER, admin, on_redis};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");
/// Far longer than anything takes, on a busy machine too.
const DEADLINE: Duration = Duration::from_secs(60);
/// Prometheus is another process: there is nothing to be woken by.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// It goes when its standard input is closed, as that of a process is that ends in whatever way.
const SHELL: &str = r#"
trap '' HUP INT QUIT TERM
cd "$1" && prometheus --config.file=prometheus.yml --storage.tsdb.path=data \
    --web.listen-address=127.0.0.1:0 </dev/null >log 2>&1 &
server=$!
read -r order
kill -KILL "$server"
wait "$server"
rm -rf "$1"
"#;

/// A running Prometheus.
struct Prometheus {
    shell: Child,
    life: Option<ChildStdin>,
    folder: PathBuf,
}

impl Prometheus {
    /// With these files in its folder, `prometheus.yml` among them.
    fn start(files: &[(&str, String)]) -> Self {
        let version = Command::new("prometheus").arg("--version").output();
        version.unwrap_or_else(|error| {
            panic!(
                "prometheus does not run ({error}). As root on Debian or Ubuntu: \
                 'apt-get install prometheus'; elsewhere the package that has it"
            )
        });
        let name = format!("prometheus-{}", std::process::id());
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for (name, text) in files {
            std::fs::write(folder.join(name), text).unwrap();
        }
        let mut shell = Command::new("/bin/sh")
            .args(["-c", SHELL, "sh"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        Self { life: shell.stdin.take(), shell, folder }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Where it listens, once it says so.
    fn address(&self) -> Option<String> {
        let log = self.log();
        let (_, rest) = log.split_once(r#"msg="Listening on" address="#)?;
        rest.split_once('\n').map(|(address, _)| address.to_owned())
    }

    /// What the API answers, if it answers.
    async fn ask(&self, path: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(self.address()?).await.ok()?;
        let request = format!("GET /api/v1/{path} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        let answer: Value = serde_json::from_str(body).ok()?;
        (answer["status"] == "success").then(|| answer["data"].clone())
    }

    /// The value of a query that has one.
    async fn value(&self, query: &str) -> Option<f64> {
        let query = utf8_percent_encode(query, NON_ALPHANUMERIC);
        let data = self.ask(&format!("query?query={query}")).await?;
        data["result"][0]["value"][1].as_str()?.parse().ok()
    }

    /// Waits until what is asked for is there.
    #[track_caller]
    fn until<'a, C>(&'a self, what: &'a str, mut condition: C) -> impl Future<Output = ()> + 'a
    where
        C: AsyncFnMut() -> bool + 'a,
    {
        let caller = std::panic::Location::caller();
        async move {
            let begun = Instant::now();
            while !condition().await {
                if begun.elapsed() > DEADLINE {
                    let targets = self.ask("targets").await;
                    panic!("{caller}: {what} did not come about: {targets:?}\n{}", self.log());
                }
                // Real time: it scrapes by its own clock.
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.life.take());
        let _ = self.shell.wait();
    }
}

/// The configuration on the page, for a target that is here and a scrape that comes soon. A second
/// job has no token.
fn configuration(target: &str) -> String {
    let page = std::fs::read_to_string(format!("{DOCS}/observability.md")).unwrap();
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let shown = blocks.into_iter().find(|block| block.contains("scrape_configs:")).unwrap();
    let mut text = "global: { evaluation_interval: 100ms }\n".to_owned() + shown;
    for (there, here) in [("15s", "100ms"), ("10.0.0.5:9091", target)] {
        assert_eq!(text.matches(there).count(), 1, "{there} on the page");
        text = text.replace(there, here);
    }
    text + &format!(
        "  - job_name: stranger\n    scrape_interval: 100ms\n    static_configs: [{{ targets: [{target:?}] }}]\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_scrapes_it_and_evaluates_the_alerts() {
    let server = RedisServer::start();
    let services = on_redis(&server).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap().to_string();
    let router = admin(&services).build();
    let serving = tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
    assert_eq!(services.cache().get::<u64>("none").await.unwrap(), None);
    services.concurrency().with_lock("l", async {}).await.unwrap();

    let alerts = std::fs::read_to_string(format!("{DOCS}/observability/alerts.yml")).unwrap();
    let prometheus = Prometheus::start(&[
        ("prometheus.yml", configuration(&target)),
        ("alerts.yml", alerts.clone()),
        ("cache-admin.token", READER.to_owned()),
    ]);
    let misses = r#"cache_operations_total{job="cache", operation="get", result="miss"}"#;
    for (query, value) in [
        (r#"up{job="cache"}"#, 1.0),
        (misses, 1.0),
        (r#"cache_access_duration_seconds_count{job="cache", tier="far"}"#, 1.0),
        (r#"count(cache_access_duration_seconds_bucket{job="cache", tier="far", le="+Inf"})"#, 1.0),
        (r#"lock_acquire_total{job="cache", result="acquired"}"#, 1.0),
        (r#"up{job="stranger"}"#, 0.0),
    ] {
        prometheus.until(query, async || prometheus.value(query).await == Some(value)).await;
    }
    // Scraped again, it has what has happened since.
    assert_eq!(services.cache().get::<u64>("none").await.unwrap(), None);
    prometheus.until(misses, async || prometheus.value(misses).await == Some(2.0)).await;

    let targets = prometheus.ask("targets").await.unwrap();
    for target in targets["activeTargets"].as_array().unwrap() {
        let error = target["lastError"].as_str().unwrap();
        match target["labels"]["job"].as_str().unwrap() {
            "cache" => assert_eq!((error, &target["health"]), ("", &Value::from("up"))),
            _ => assert!(error.contains("401"), "{target}"),
        }
    }

    let rules = async || {
        let groups = prometheus.ask("rules").await?["groups"].as_array()?.clone();
        let rules = groups.iter().map(|group| group["rules"].as_array().cloned());
        Some(rules.collect::<Option<Vec<_>>>()?.concat())
    };
    let is_evaluated = |rule: &Value| rule["health"] != "unknown";
    let all_are = async || rules().await.is_some_and(|rules| rules.iter().all(is_evaluated));
    prometheus.until("every rule is evaluated", all_are).await;
    let rules = rules().await.unwrap();
    assert_eq!(rules.len(), alerts.matches("- alert: ").count());
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    serving.abort();
    services.shutdown().await;
}
