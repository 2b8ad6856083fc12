//! The corpus of what is no HTTP/1.1, `http1.txt`: what comes back, and that nothing
//! hidden in it is ever acted upon.

use super::*;
use net::Security;
use net::http::{GuestRequest, GuestResponse, HttpHandler, HttpOptions, serve};
use std::sync::{Arc, Mutex};

const END: &str = "GET /end HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";

#[derive(Clone, Default)]
struct Targets(Arc<Mutex<Vec<String>>>);

impl HttpHandler for Targets {
    async fn handle(&self, request: Arc<GuestRequest>) -> GuestResponse {
        let host = request.headers.get("host").map(|host| host.to_str().unwrap().to_owned());
        self.0.lock().unwrap().push(format!("{}{}", host.unwrap_or_default(), request.target));
        GuestResponse::new(200, "text/plain", request.body.len().to_string())
    }
}

struct Case {
    name: String,
    statuses: Vec<String>,
    bytes: Vec<u8>,
}

/// What the words of a case stand for.
fn bytes(words: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), words);
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        let repeated = || rest.split_once('}').and_then(|(inside, _)| inside.split_once(':'));
        match c {
            '\\' => {
                let (kind, digits) = (rest.as_bytes()[0], rest.get(1..3).unwrap_or_default());
                rest = &rest[if kind == b'x' { 3 } else { 1 }..];
                out.push(match kind {
                    b'r' => b'\r',
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'0' => 0,
                    b'x' => u8::from_str_radix(digits, 16).unwrap(),
                    other => other,
                });
            }
            '{' if repeated().is_some_and(|(n, _)| n.parse::<usize>().is_ok()) => {
                let (n, text) = repeated().unwrap();
                out.extend(bytes(text).repeat(n.parse().unwrap()));
                rest = &rest[n.len() + text.len() + 2..];
            }
            c => out.extend(c.to_string().bytes()),
        }
    }
    out
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in include_str!("http1.txt").lines() {
        if let Some(title) = line.strip_prefix("== ") {
            let (name, statuses) = title.rsplit_once(" | ").unwrap();
            let statuses = statuses.split(' ').map(str::to_owned).collect();
            cases.push(Case { name: name.to_owned(), statuses, bytes: Vec::new() });
        } else if let Some(case) = cases.last_mut() {
            case.bytes.extend(bytes(line));
        }
    }
    cases
}

fn statuses(answer: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(answer);
    let found = text.match_indices("HTTP/1.");
    found.map(|(at, _)| text.get(at + 9..at + 12).unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_is_answered_as_the_corpus_says_and_nothing_is_smuggled() {
    let handled = Targets::default();
    let options = HttpOptions { max_header_size: 16 << 10, ..HttpOptions::default() };
    let server = serve(anywhere(), Security::Plaintext, options, handled.clone()).await.unwrap();
    let cases = cases();
    assert!(cases.len() > 60);
    let mut wrong = Vec::new();
    for case in cases {
        handled.0.lock().unwrap().clear();
        let said = [&case.bytes[..], END.as_bytes()].concat();
        let found = statuses(&talk(server.address(), &said).await);
        let targets = std::mem::take(&mut *handled.0.lock().unwrap());
        // What the handler saw is what was answered 200, and no more.
        let seen = found.iter().filter(|status| *status == "200").count() == targets.len();
        let smuggled = targets.iter().any(|target| target.contains("smuggled"));
        if found != case.statuses || !seen || smuggled {
            wrong.push(format!("{}: {found:?} {targets:?}", case.name));
        }
        if case.name.starts_with("a whole address") {
            assert_eq!(targets[0], "other/x", "the host of the target counts");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let answer = talk(server.address(), END.as_bytes()).await;
    assert_eq!(statuses(&answer), ["200"], "the next is served");
}
