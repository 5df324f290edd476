//! A headless Chromium, driven over its debugging pipe: no port, no driver, and it ends when the
//! pipe does, so none is left behind by a test that dies.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Far longer than anything takes, on a busy machine too.
const DEADLINE: Duration = Duration::from_secs(60);
/// The browser is another process: there is nothing to be woken by.
const LOOK_AGAIN: Duration = Duration::from_millis(25);

/// It reads commands from descriptor 3 and answers on 4.
const SHELL: &str = r#"exec chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage \
    --no-first-run --hide-scrollbars --remote-debugging-pipe --user-data-dir="$1" about:blank \
    3<&0 4>&1 </dev/null >/dev/null 2>"$1/log""#;

pub(crate) struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    last_id: u64,
    session: Option<String>,
    profile: PathBuf,
    pictures: PathBuf,
    /// What went wrong in the page: exceptions, and what its policy has blocked.
    pub(crate) faults: Vec<String>,
    /// What the page has asked for.
    pub(crate) requests: Vec<String>,
}

impl Browser {
    /// Screenshots are kept in `pictures`.
    pub(crate) async fn start(pictures: &Path) -> Self {
        let profile = pictures.join(format!("profile-{}", std::process::id()));
        std::fs::create_dir_all(&profile).unwrap();
        let mut child = Command::new("/bin/sh")
            .args(["-c", SHELL, "sh"])
            .arg(&profile)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let to = child.stdin.take().unwrap();
        let from = BufReader::new(child.stdout.take().unwrap());
        let (faults, requests) = (Vec::new(), Vec::new());
        let pictures = pictures.to_owned();
        let mut browser = Self {
            child,
            to,
            from,
            last_id: 0,
            session: None,
            profile,
            pictures,
            faults,
            requests,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"})).await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach).await;
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({})).await;
        }
        browser
    }

    pub(crate) async fn call(&mut self, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let id = self.last_id;
        let mut message = json!({"id": id, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let bytes = [message.to_string().as_bytes(), b"\0"].concat();
        if self.to.write_all(&bytes).await.is_err() {
            self.gone().await;
        }
        loop {
            let message = self.read().await;
            if message["id"] != id {
                self.note(&message);
            } else if message["error"].is_null() {
                return message["result"].clone();
            } else {
                panic!("{method}: {}", message["error"]);
            }
        }
    }

    async fn read(&mut self) -> Value {
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(DEADLINE, self.from.read_until(0, &mut bytes)).await;
        if read.unwrap_or_else(|_| panic!("Chromium does not answer")).is_err()
            || bytes.pop() != Some(0)
        {
            self.gone().await;
        }
        serde_json::from_slice(&bytes).unwrap()
    }

    async fn gone(&mut self) -> ! {
        let log = std::fs::read_to_string(self.profile.join("log")).unwrap_or_default();
        let status = self.child.wait().await;
        panic!(
            "Chromium has ended ({status:?}). If it is not installed: as root on Debian or Ubuntu, \
             'apt-get install chromium'; elsewhere the package that has it. It said: {log}"
        );
    }

    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => {
                self.faults.push(params["exceptionDetails"].to_string());
            }
            // An answer that is an error is one of these too, and the page's business.
            Some("Log.entryAdded") if params["entry"]["source"] != "network" => {
                self.faults.push(params["entry"]["text"].to_string());
            }
            Some("Network.requestWillBeSent") => {
                self.requests.push(params["request"]["url"].as_str().unwrap().to_owned());
            }
            _ => {}
        }
    }

    /// What an expression gives in the page.
    pub(crate) async fn eval(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let result = self.call("Runtime.evaluate", params).await;
        assert!(
            result["exceptionDetails"].is_null(),
            "{expression}: {}",
            result["exceptionDetails"]
        );
        result["result"]["value"].clone()
    }

    /// Waits until an expression is true in the page.
    #[track_caller]
    pub(crate) fn until<'a>(&'a mut self, expression: &'a str) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let begun = Instant::now();
            while self.eval(expression).await != json!(true) {
                if begun.elapsed() > DEADLINE {
                    self.picture("failed").await;
                    let text = self.eval("document.body.innerText").await;
                    panic!("{caller}: never came true: {expression}\n{text}");
                }
                // Real time: the browser is another process, and tells nobody.
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }

    /// Loads the page and waits until its script has run.
    pub(crate) async fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({"url": url})).await;
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'").await;
    }

    pub(crate) async fn size(&mut self, width: u32, height: u32) {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// `light` or `dark`.
    pub(crate) async fn scheme(&mut self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features})).await;
    }

    /// A key on the keyboard.
    pub(crate) async fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            " " => (32, " "),
            _ => panic!("which code has {key}?"),
        };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let event = json!({
                "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text,
            });
            self.call("Input.dispatchKeyEvent", event).await;
        }
    }

    pub(crate) async fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text})).await;
    }

    /// Goes on with the tabulator until what has the focus fulfils `condition`, in which it is `it`.
    #[track_caller]
    pub(crate) fn tab_to<'a>(&'a mut self, condition: &'a str) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let expression = format!("((it) => {condition})(document.activeElement)");
            for _ in 0..60 {
                self.press("Tab").await;
                if self.eval(&expression).await == json!(true) {
                    return;
                }
            }
            panic!("{caller}: the tabulator does not come to {condition}");
        }
    }

    /// The whole page, kept as test output.
    pub(crate) async fn picture(&mut self, name: &str) {
        let params = json!({"format": "png", "captureBeyondViewport": true});
        let picture = self.call("Page.captureScreenshot", params).await;
        let bytes = STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
        std::fs::write(self.pictures.join(format!("{name}.png")), bytes).unwrap();
    }

    pub(crate) async fn close(mut self) {
        self.session = None;
        self.call("Browser.close", json!({})).await;
        tokio::time::timeout(DEADLINE, self.child.wait()).await.unwrap().unwrap();
        std::fs::remove_dir_all(&self.profile).unwrap();
    }
}
