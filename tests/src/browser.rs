//! A headless Chromium, driven as a person drives it: pages are opened, fields
//! filled, buttons clicked.
//!
//! It speaks the DevTools protocol over a pipe: JSON messages, each ended by a zero
//! byte, in through file 3 and out through file 4. A shell puts our pipes there, so
//! there is no port, no other package and no unsafe code.
//!
//! Invariant: nothing is waited for by sleeping: a click that leads to another page
//! ends when the browser says that that page has loaded.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long the browser may take to answer: long, for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a browser that runs well on a desk needs more words here: it runs as root,
/// without a desktop, and asks the network for nothing but our pages.
const FLAGS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--window-size=1280,1600",
    "--remote-debugging-pipe",
];

/// A page of a browser of its own; both are gone when it is dropped.
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    last: u64,
    session: Option<String>,
    // Removed after the browser, which writes there.
    _profile: tempfile::TempDir,
}

/// What is where on the page.
type Point = (f64, f64);

impl Browser {
    /// Starts `$CHROMIUM`, or what is on the path, with an empty page.
    ///
    /// # Panics
    /// If there is none, or it does not answer: so for all that follows.
    pub fn start() -> Browser {
        let chromium = std::env::var("CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
        let profile = tempfile::Builder::new()
            .prefix("planck-browser-")
            .tempdir()
            .expect("a temporary directory");
        let mut child = Command::new("sh")
            // What was our standard input and output become files 3 and 4.
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1"])
            .arg(&chromium)
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("a shell starts");
        let to = child.stdin.take().expect("it is piped");
        let out = child.stdout.take().expect("it is piped");
        let (sender, from) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(out).split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).unwrap_or(Value::Null);
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let mut browser = Browser { child, to, from, last: 0, session: None, _profile: profile };
        let hint = "is there a Chromium? scripts/install-chromium installs one";
        let targets = browser.call("Target.getTargets", json!({})).expect(hint);
        let page = targets["targetInfos"].as_array().and_then(|all| {
            all.iter().find(|one| one["type"] == "page").and_then(|one| one["targetId"].as_str())
        });
        let attach = json!({ "targetId": page.expect("it opens a page"), "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach).expect("it lets us in");
        browser.session = Some(attached["sessionId"].as_str().expect("a session").to_owned());
        browser.call("Page.enable", json!({})).expect("it tells of pages");
        browser
    }

    /// One message, or nothing if the browser has gone or says nothing.
    fn next(&self) -> Option<Value> {
        self.from.recv_timeout(PATIENCE).ok()
    }

    fn send(&mut self, method: &str, params: Value) -> u64 {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        // If it has gone, the answer that does not come says so.
        self.to.write_all(&bytes).ok();
        self.last
    }

    /// Calls a method; messages that are not its answer are passed over.
    fn call(&mut self, method: &str, params: Value) -> Option<Value> {
        let id = self.send(method, params);
        loop {
            let message = self.next()?;
            if message["id"] == id {
                let error = &message["error"];
                assert!(error.is_null(), "{method}: {error}");
                return Some(message["result"].clone());
            }
        }
    }

    /// Sends what leads to another page, and waits until that has loaded.
    fn load(&mut self, method: &str, params: Value) {
        let id = self.send(method, params);
        let mut answered = false;
        let mut loaded = false;
        while !(answered && loaded) {
            let message = self.next().unwrap_or_else(|| panic!("{method} led to no page"));
            answered |= message["id"] == id;
            loaded |= message["method"] == "Page.loadEventFired";
            let failed = message["result"]["errorText"].as_str();
            assert_eq!(failed, None, "{method}");
        }
    }

    /// What a script of ours gives on the page, which itself runs none.
    pub fn script(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true });
        let result = self.call("Runtime.evaluate", params).expect("the page answers");
        let thrown = &result["exceptionDetails"];
        assert!(thrown.is_null(), "{expression}: {thrown}");
        result["result"]["value"].clone()
    }

    /// Takes every certificate, as a person does who clicks on.
    pub fn trust_all(&mut self) {
        self.call("Security.setIgnoreCertificateErrors", json!({ "ignore": true }))
            .expect("it trusts");
    }

    /// Opens a page.
    pub fn open(&mut self, address: &str) {
        self.load("Page.navigate", json!({ "url": address }));
    }

    /// The path and query of the page that is shown.
    pub fn place(&mut self) -> String {
        text(self.script("location.pathname + location.search"))
    }

    /// The text a person sees in the first element of a selector.
    pub fn read(&mut self, selector: &str) -> String {
        let found = format!("document.querySelector({})", json!(selector));
        text(self.script(&format!("{found} ? {found}.innerText : ''")))
    }

    /// How many elements there are of a selector.
    pub fn count(&mut self, selector: &str) -> u64 {
        let all = format!("document.querySelectorAll({}).length", json!(selector));
        self.script(&all).as_u64().expect("a number")
    }

    /// The middle of an element, which must be seen and be on top there.
    fn middle(&mut self, selector: &str) -> Point {
        let script = format!(
            "(() => {{
                const found = document.querySelector({});
                if (!found) return 'is not on the page';
                found.scrollIntoView({{ block: 'center', behavior: 'instant' }});
                const box = found.getBoundingClientRect();
                const at = [box.x + box.width / 2, box.y + box.height / 2];
                const top = document.elementFromPoint(at[0], at[1]);
                return found.contains(top) ? at : 'is hidden or covered';
            }})()",
            json!(selector)
        );
        let found = self.script(&script);
        let at = |index: usize| found[index].as_f64();
        at(0).zip(at(1)).unwrap_or_else(|| panic!("{selector} {found}"))
    }

    fn press(&mut self, (x, y): Point) {
        let button =
            |kind| json!({ "type": kind, "x": x, "y": y, "button": "left", "clickCount": 1 });
        self.call("Input.dispatchMouseEvent", button("mousePressed")).expect("it is pressed");
    }

    fn release((x, y): Point) -> Value {
        json!({ "type": "mouseReleased", "x": x, "y": y, "button": "left", "clickCount": 1 })
    }

    /// Clicks an element that leads to another page, and waits for that.
    pub fn click(&mut self, selector: &str) {
        let at = self.middle(selector);
        self.press(at);
        self.load("Input.dispatchMouseEvent", Browser::release(at));
    }

    /// Clicks into a field and types over what is there.
    pub fn fill(&mut self, selector: &str, text: &str) {
        let at = self.middle(selector);
        self.press(at);
        self.call("Input.dispatchMouseEvent", Browser::release(at)).expect("it is released");
        self.script("document.activeElement.select && document.activeElement.select()");
        self.call("Input.insertText", json!({ "text": text })).expect("it is typed");
    }

    /// Chooses an option, or sets a date, by its value.
    pub fn choose(&mut self, selector: &str, value: &str) {
        let script = format!(
            "(() => {{
                const found = document.querySelector({});
                found.value = {};
                found.dispatchEvent(new Event('change', {{ bubbles: true }}));
                return found.value;
            }})()",
            json!(selector),
            json!(value)
        );
        assert_eq!(self.script(&script), value, "{selector} has no such value");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Asked first, so that its own processes end with it.
        self.session = None;
        self.send("Browser.close", json!({}));
        while self.from.recv_timeout(Duration::from_secs(10)).is_ok() {}
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn text(value: Value) -> String {
    value.as_str().expect("a text").to_owned()
}
