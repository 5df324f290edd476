//! The page in a browser: with the keyboard alone, in light and in dark, well and in trouble.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod browser;
mod harness;

use std::io;
use std::path::Path;
use std::time::Duration;

use browser::Browser;
use cache_services::{
    CacheServiceExt, CacheServices, ConcurrencyService, LockErrorKind, LockOptions,
};
use cache_testkit::{RedisServer, eventually};
use harness::{ALL, admin, on_redis};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What each text and each symbol has to stand out from what is behind it (WCAG 2, level AA).
const CONTRAST: f64 = 4.5;

/// The least contrast of any text that can be seen, and which it is.
const LEAST_CONTRAST: &str = r"(() => {
    const parse = (color) => color.match(/[\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
        .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (node) => {
        for (; node; node = node.parentElement) {
            const color = parse(getComputedStyle(node).backgroundColor);
            if (color.length === 3 || color[3] > 0) return color;
        }
        return [255, 255, 255];
    };
    let least = [99, ''];
    for (const node of document.querySelectorAll('body *')) {
        const own = [...node.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
        if (!own || !node.getClientRects().length || node.closest('script, style')) continue;
        const style = getComputedStyle(node);
        const color = parse(node instanceof SVGElement ? style.fill : style.color);
        const [a, b] = [light(color), light(behind(node))];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < least[0]) least = [contrast, node.textContent.slice(0, 60)];
    }
    return least;
})()";

/// Lookups as a service makes them: most are answered near, some far, some by the loader.
fn traffic(services: &CacheServices, seed: u64) -> JoinHandle<()> {
    let cache = services.cache();
    let mut random = fastrand::Rng::with_seed(seed);
    tokio::spawn(async move {
        for round in 0_u64.. {
            // Squared, so that few keys are asked for often.
            let key = format!("org:{}", random.u64(..40).pow(2) / 4);
            let load = || async { Ok::<_, io::Error>(json!({"plan": "gold", "seats": 25})) };
            let _ = cache.get_or_load::<serde_json::Value, _, _, _>(&key, None, load).await;
            if round % 40 == 0 {
                let _ = cache.invalidate(&key).await;
            }
            // Real time: what a chart shows is a rate, and this is the pace of the traffic.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
}

async fn serve(router: axum::Router) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // Under a path, as it may be.
    let url = format!("http://{}/admin", listener.local_addr().unwrap());
    let app = axum::Router::new().nest_service("/admin", router);
    (url, tokio::spawn(async { axum::serve(listener, app).await.unwrap() }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_works_with_the_keyboard_alone() {
    let server = RedisServer::start();
    let (services, other) = (on_redis(&server).await, on_redis(&server).await);
    eventually(|| services.tier_stats().unwrap().near_served).await;
    let (url, serving) = serve(admin(&services).build()).await;
    let traffic = [traffic(&services, 1), traffic(&other, 2)];
    let acme = json!({"name": "Acme", "plan": "gold"});
    services.cache().set("org:acme/<b>ü", &acme, Duration::from_secs(3_600)).await.unwrap();
    let locks = other.concurrency();
    let guard = locks.acquire("billing:acme", &LockOptions::default()).await.unwrap();
    let fence = guard.fencing_token();

    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("admin-page");
    let mut page = Browser::start(&pictures).await;
    page.size(1_240, 900).await;
    page.scheme("light").await;
    page.open(&url).await;

    // Signing in, first with a wrong token.
    page.until("document.activeElement.id === 'token'").await;
    page.picture("1-sign-in").await;
    page.write("wrong").await;
    page.press("Enter").await;
    page.until("document.getElementById('alert').innerText === 'This token is not known here.'")
        .await;
    page.until("document.activeElement.id === 'token'").await;
    page.write(ALL).await;
    page.press("Enter").await;
    page.until("!document.getElementById('board').hidden").await;
    page.until("document.getElementById('alert').hidden").await;

    // Charts, drawn from what is polled.
    page.until("document.getElementById('status').innerText === 'all well'").await;
    page.until("document.querySelectorAll('figure').length === 5").await;
    for (chart, least) in [("Hit ratio", 1), ("Lookups", 3), ("Loads", 3), ("Latency", 2)] {
        let lines = format!(
            "[...document.querySelectorAll('svg[aria-label^=\"{chart}\"] path.curve')]
                .filter((path) => (path.getAttribute('d').match(/L/g) ?? []).length >= 3).length >= {least}"
        );
        page.until(&lines).await;
    }
    let told =
        page.eval("document.querySelector('svg[aria-label^=\"Hit ratio\"]').ariaLabel").await;
    assert!(told.as_str().unwrap().ends_with(" %."), "{told}");
    page.until(
        "document.querySelector('svg[aria-label^=\"State\"]').ariaLabel
        .endsWith('Redis up, Bus up, Near tier served, Breaker closed.')",
    )
    .await;

    // A key: looked up, its value seen, invalidated, gone.
    page.tab_to("it.id === 'key'").await;
    page.write("org:acme/<b>ü").await;
    page.press("Enter").await;
    page.until("document.querySelectorAll('#entry tbody tr').length === 2").await;
    let entry = page.eval("document.getElementById('entry').innerText").await;
    for part in ["org:acme/<b>ü", "process", "Redis", "fresh", "bytes"] {
        assert!(entry.as_str().unwrap().contains(part), "{part} in {entry}");
    }
    page.tab_to("it.tagName === 'SUMMARY'").await;
    page.press("Enter").await;
    page.until("document.querySelector('#entry pre').innerText.includes('\"plan\": \"gold\"')")
        .await;
    page.picture("2-light").await;
    page.tab_to("it.id === 'invalidate'").await;
    page.press(" ").await;
    page.until("document.getElementById('entry').innerText.startsWith('Invalidated')").await;
    assert!(!services.cache().contains("org:acme/<b>ü").await.unwrap());
    page.tab_to("it.id === 'key'").await;
    page.press("Enter").await;
    page.until("document.getElementById('entry').innerText.startsWith('Nothing is held')").await;

    // A lock: seen, taken from its holder with a second press.
    page.tab_to("it.id === 'lock'").await;
    page.write("billing:acme").await;
    page.press("Enter").await;
    let seen = format!("document.getElementById('locks').innerText.includes('{fence}')");
    page.until(&seen).await;
    page.picture("3-lock").await;
    page.tab_to("it.innerText === 'Release'").await;
    page.press("Enter").await;
    page.until("document.activeElement.innerText === 'Press again to release'").await;
    // Within 8 s, so nothing that takes its time is done in between.
    assert!(guard.check().is_ok(), "not before the second press");
    page.press("Enter").await;
    page.until("document.getElementById('locks').innerText === 'Released billing:acme.'").await;
    page.until("document.activeElement.id === 'lock'").await;
    assert_eq!(locks.inspect("billing:acme").await.unwrap(), None);
    assert_eq!(guard.release().await.unwrap_err().kind(), LockErrorKind::LeaseLost);

    // No trap: the tabulator comes out of the page and to every control again. All have names.
    let _held = locks.acquire("audit", &LockOptions::default()).await.unwrap();
    page.tab_to("it.id === 'all-locks'").await;
    page.press("Enter").await;
    page.until("document.getElementById('locks').innerText.includes('audit')").await;
    page.tab_to("it === document.body || it.id === 'signout'").await;
    for id in ["signout", "key", "invalidate", "lock", "all-locks"] {
        page.tab_to(&format!("it.id === '{id}'")).await;
        let ring = "getComputedStyle(document.activeElement).outlineStyle === 'solid'";
        assert_eq!(page.eval(ring).await, json!(true), "the focus on {id} is not to be seen");
    }
    let nameless = "[...document.querySelectorAll('input, button')]
        .filter((it) => !(it.labels?.length || it.innerText || it.hidden)).length";
    assert_eq!(page.eval(nameless).await, json!(0));

    // Dark, and narrow. The token is kept over a reload.
    for (scheme, picture, width) in
        [("light", "4-light", 1_240), ("dark", "5-dark", 1_240), ("dark", "6-narrow", 400)]
    {
        page.scheme(scheme).await;
        page.size(width, 900).await;
        let least = page.eval(LEAST_CONTRAST).await;
        assert!(least[0].as_f64().unwrap() >= CONTRAST, "{scheme}: {least}");
        let overflow = "document.documentElement.scrollWidth <= window.innerWidth";
        assert_eq!(page.eval(overflow).await, json!(true), "{width} is not wide enough");
        page.picture(picture).await;
    }
    page.open(&url).await;
    page.until("!document.getElementById('board').hidden").await;
    page.size(1_240, 900).await;

    // Redis goes: seen, and said.
    server.stop();
    page.until("document.getElementById('status').innerText === 'failing'").await;
    page.until(
        "document.querySelector('svg[aria-label^=\"State\"]')?.ariaLabel.includes('Bus lost')",
    )
    .await;
    page.tab_to("it.id === 'key'").await;
    page.write("org:0").await;
    page.tab_to("it.id === 'invalidate'").await;
    page.press("Enter").await;
    page.until("document.querySelector('#entry .bad') !== null").await;
    page.picture("7-redis-is-away").await;
    let least = page.eval(LEAST_CONTRAST).await;
    assert!(least[0].as_f64().unwrap() >= CONTRAST, "{least}");

    // The service goes.
    serving.abort();
    page.until("document.getElementById('alert').innerText === 'The service does not answer.'")
        .await;
    page.tab_to("it.id === 'signout'").await;
    page.press("Enter").await;
    page.until("document.activeElement.id === 'token' && sessionStorage.length === 0").await;

    assert_eq!(page.faults, [""; 0], "exceptions, and what the page's policy has blocked");
    let origin = &url[..url.rfind('/').unwrap()];
    let foreign = page.requests.iter().find(|url| !url.starts_with(origin) && *url != "data:,");
    assert_eq!(foreign, None);
    page.close().await;
    traffic.iter().for_each(JoinHandle::abort);
    services.shutdown().await;
    other.shutdown().await;
}

/// In process there are no tiers to tell of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_process_it_shows_what_there_is() {
    let services = harness::in_process().await;
    let (url, serving) = serve(admin(&services).build()).await;
    let traffic = traffic(&services, 1);
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("admin-page-in-process");
    let mut page = Browser::start(&pictures).await;
    page.size(1_240, 900).await;
    page.open(&url).await;
    page.until("document.activeElement.id === 'token'").await;
    page.write(ALL).await;
    page.press("Enter").await;
    page.until("document.querySelectorAll('figure').length === 3").await;
    page.until(
        "document.querySelector('svg[aria-label^=\"Hit ratio\"]').ariaLabel.endsWith(' %.')",
    )
    .await;
    page.tab_to("it.id === 'lock'").await;
    page.press("Enter").await;
    page.until("document.getElementById('locks').innerText === 'No lock is held.'").await;
    page.picture("1-light").await;

    // No digit of a value is lost.
    let big = json!({"id": u64::MAX, "share": 0.1, "whole": 1.0});
    services.cache().set("big", &big, None).await.unwrap();
    page.tab_to("it.id === 'key'").await;
    page.write("big").await;
    page.press("Enter").await;
    page.until("document.querySelector('#entry pre') !== null").await;
    let shown = page.eval("document.querySelector('#entry pre').textContent").await;
    assert_eq!(shown, serde_json::to_string_pretty(&big).unwrap());

    // What is no JSON is said to be none, and nothing is waited for without an end.
    page.eval(
        "window.asks = window.fetch; window.signals = [];
        window.fetch = async (path, options) => {
            window.signals.push(options.signal instanceof AbortSignal);
            return new Response('cut o', { status: 200 });
        }",
    )
    .await;
    page.press("Enter").await;
    page.until("document.querySelector('#entry .bad')?.innerText.includes('answered 200')").await;
    assert_eq!(page.eval("window.signals.every(Boolean)").await, json!(true));

    // What is answered after the sign-out is dropped, and so is what was shown.
    page.eval(
        "window.held = new Promise((let_go) => { window.let_go = let_go; });
        window.fetch = async (...all) => {
            const answered = await window.asks(...all);
            const text = await answered.text();
            window.answered = String(all[0]);
            await window.held;
            return new Response(text, answered);
        }",
    )
    .await;
    page.press("Enter").await;
    page.until("window.answered?.endsWith('/entries/big')").await;
    page.tab_to("it.id === 'signout'").await;
    page.press("Enter").await;
    page.until("document.activeElement.id === 'token'").await;
    // Real time: what must not happen comes from the browser, if it comes.
    let shown = "(async () => {
        window.let_go();
        await new Promise((done) => setTimeout(done, 300));
        return ['tiles', 'charts', 'entry', 'locks', 'status']
            .map((id) => document.getElementById(id).innerText).join('');
    })()";
    assert_eq!(page.eval(shown).await, "not signed in");
    assert_eq!(page.faults, [""; 0]);
    page.close().await;
    traffic.abort();
    serving.abort();
}
