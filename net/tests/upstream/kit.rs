//! A service outside as a script, and a guest's thread that calls it.

use net::upstream::{Resolve, Resolved, UpstreamBody, UpstreamOptions, UpstreamStats, Upstreams};
use proto::Status;
use proto::http::{HeadersBuf, write_request};
use proto::service::ServiceReply;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Only a hang reaches this.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// A service outside.
pub(crate) struct Outside {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
}

/// What a service has of a connection: the stream, and where it notes requests.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Outside {
    /// Runs `serve` for each connection, with its number, on a thread of its own.
    pub(crate) fn new(serve: impl Fn(Peer, usize) + Send + Sync + 'static) -> Outside {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::default());
        let (count, noted, serve) =
            (Arc::clone(&connections), Arc::clone(&requests), Arc::new(serve));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let number = count.fetch_add(1, Ordering::SeqCst);
                let peer = Peer { stream, requests: Arc::clone(&noted) };
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(peer, number));
            }
        });
        Outside { address, connections, requests }
    }

    /// One that answers each request with these bytes.
    pub(crate) fn answering(answer: &'static str) -> Outside {
        Outside::new(move |mut peer, _| {
            while peer.request().is_some() {
                peer.say(answer);
            }
        })
    }

    /// How many connections came.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The requests that came, whole.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// An upstream `up` of it by address, in the clear.
    pub(crate) fn options(&self) -> UpstreamOptions {
        UpstreamOptions {
            name: "up".to_owned(),
            url: format!("http://{}", self.address),
            allow_private: true,
            timeout: LONG,
            ..UpstreamOptions::default()
        }
    }
}

impl Peer {
    /// The next request, body and all; `None` when there is no more.
    pub(crate) fn request(&mut self) -> Option<String> {
        let text = read_request(&mut self.stream)?;
        self.requests.lock().unwrap().push(text.clone());
        Some(text)
    }

    /// Sends; whether it could.
    pub(crate) fn say(&mut self, text: &str) -> bool {
        self.stream.write_all(text.as_bytes()).is_ok()
    }

    /// Waits until the other side has gone.
    pub(crate) fn wait(&mut self) {
        while matches!(self.stream.read(&mut [0; 4096]), Ok(n) if n > 0) {}
    }
}

/// A request off any stream.
pub(crate) fn read_request(stream: &mut impl Read) -> Option<String> {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        text.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&text).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |n| n.parse().unwrap())];
    stream.read_exact(&mut body).ok()?;
    text.extend(body);
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// A resolver whose answers are a script: the n-th is the n-th list, the last for ever.
pub(crate) struct Script {
    answers: Vec<Vec<IpAddr>>,
    asked: Mutex<Vec<String>>,
}

impl Script {
    pub(crate) fn new(answers: &[&[&str]]) -> Arc<Script> {
        let parse = |list: &&[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        Arc::new(Script { answers: answers.iter().map(parse).collect(), asked: Mutex::default() })
    }

    /// The names that were asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Resolve for Script {
    fn resolve(&self, host: &str) -> Resolved {
        let mut asked = self.asked.lock().unwrap();
        let answer = self.answers.get(asked.len()).or(self.answers.last()).cloned();
        asked.push(host.to_owned());
        Box::pin(async move {
            match answer {
                Some(answer) => Ok(answer),
                // An empty script never answers.
                None => std::future::pending::<io::Result<Vec<IpAddr>>>().await,
            }
        })
    }
}

/// Status and headers, and the body to come.
pub(crate) type Begun = (u16, Vec<(String, String)>, UpstreamBody);

/// Upstreams with the runtime they need.
pub(crate) struct Rig {
    pub(crate) upstreams: Arc<Upstreams>,
    _runtime: Runtime,
}

/// An answer, its body read to the end.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Result<String, Status>,
}

impl Rig {
    pub(crate) fn new(options: UpstreamOptions) -> Rig {
        Rig::with(vec![options], 64, Script::new(&[&["127.0.0.1"]]))
    }

    pub(crate) fn with(
        options: Vec<UpstreamOptions>,
        max_calls: usize,
        resolver: Arc<dyn Resolve>,
    ) -> Rig {
        Rig::try_with(options, max_calls, resolver).unwrap_or_else(|why| panic!("{why}"))
    }

    pub(crate) fn try_with(
        options: Vec<UpstreamOptions>,
        max_calls: usize,
        resolver: Arc<dyn Resolve>,
    ) -> Result<Rig, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let upstreams = Upstreams::new(options, max_calls, runtime.handle().clone(), &resolver)?;
        Ok(Rig { upstreams: Arc::new(upstreams), _runtime: runtime })
    }

    /// A call, to its head: status, headers and the body to come, or the failure.
    pub(crate) fn begin(
        &self,
        name: &str,
        packet: &[u8],
        patience: Duration,
    ) -> Result<Begun, (Status, String)> {
        let mut reply = Vec::new();
        let body = self.upstreams.call(name, packet, patience, &mut reply);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match ServiceReply::decode(&reply).unwrap() {
            ServiceReply::Head(head) => {
                let headers = head.headers.iter().map(|(n, v)| (n.to_owned(), text(v))).collect();
                Ok((head.status, headers, body.expect("a head comes with a body")))
            }
            ServiceReply::Error { status, message } => {
                assert!(body.is_none());
                Err((status, message.to_owned()))
            }
        }
    }

    pub(crate) fn get(&self, target: &str) -> Result<Answer, (Status, String)> {
        self.ask(&packet("GET", target, &[], b""))
    }

    pub(crate) fn ask(&self, packet: &[u8]) -> Result<Answer, (Status, String)> {
        let (status, headers, mut body) = self.begin("up", packet, LONG)?;
        Ok(Answer { status, headers, body: read_all(&mut body) })
    }

    /// The status a call fails with.
    pub(crate) fn fails(&self, target: &str) -> Status {
        match self.get(target) {
            Err((status, _)) => status,
            Ok(answer) => panic!("it must fail: {answer:?}"),
        }
    }

    pub(crate) fn stats(&self) -> UpstreamStats {
        self.upstreams.stats().remove(0)
    }
}

pub(crate) fn packet(
    method: &str,
    target: &str,
    headers: &[(&str, &[u8])],
    body: &[u8],
) -> Vec<u8> {
    let mut given = HeadersBuf::new();
    for (name, value) in headers {
        assert!(given.push(name, value));
    }
    let mut out = Vec::new();
    write_request(&mut out, method, target, "", &given, body);
    out
}

pub(crate) fn read_all(body: &mut UpstreamBody) -> Result<String, Status> {
    let (mut all, mut part) = (Vec::new(), [0; 1000]);
    loop {
        let read = body.read(&mut part)?;
        all.extend_from_slice(&part[..read]);
        if read < part.len() {
            return Ok(String::from_utf8_lossy(&all).into_owned());
        }
    }
}

/// Waits until something is so.
pub(crate) fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if so() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("it never came to be that {what}");
}
