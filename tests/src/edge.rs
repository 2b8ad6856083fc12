//! Clients of HTTP that keep their connection: one of version 1.1, one of version 2; and a
//! guest that behaves badly, for both.
//!
//! Invariant: written by hand, so that nothing of ours is kind to the server; whatever
//! does not come as it should panics, for a test that cannot go on fails.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Answers 200 with "ok". By the first letter of the path: traps (t), spins (s), grows to
/// the cap and fails at it (g), grows a little and keeps it (l), calls the host without
/// end (c).
pub const ROWDY: &str = r#"
(module
  (import "planck" "host_now" (func $now (result i64)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\01\c8\00\00\00ok")
  (func (export "planck_abi") (result i32) (i32.const 1))
  (func (export "alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "process") (param $ptr i32) (param $len i32) (result i64)
    (local $what i32)
    (local.set $what (i32.load8_u (i32.add (local.get $ptr) (i32.const 11))))
    (if (i32.eq (local.get $what) (i32.const 116)) (then unreachable))
    (if (i32.eq (local.get $what) (i32.const 115)) (then (loop $again (br $again))))
    (if (i32.eq (local.get $what) (i32.const 103)) (then
      (loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
      unreachable))
    (if (i32.eq (local.get $what) (i32.const 108)) (then (drop (memory.grow (i32.const 1)))))
    (if (i32.eq (local.get $what) (i32.const 99))
      (then (loop $again (drop (call $now)) (br $again))))
    (i64.const 7)))
"#;

/// For an answer; longer than any guest may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("HTTP listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket has a timeout");
    stream.set_nodelay(true).expect("a socket can be told not to wait");
    stream
}

/// A connection of HTTP/1.1.
pub struct Http1(BufReader<TcpStream>);

impl Http1 {
    /// Connects.
    pub fn open(address: SocketAddr) -> Http1 {
        Http1(BufReader::new(connect(address)))
    }

    /// GET, and its answer: status and body.
    pub fn get(&mut self, target: &str) -> (u16, String) {
        self.send(target);
        self.answer()
    }

    /// GET; [`Http1::answer`] waits for its answer.
    pub fn send(&mut self, target: &str) {
        let request = format!("GET {target} HTTP/1.1\r\nhost: h\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes()).expect("the request is taken");
    }

    /// POST, and its answer; an error where the server goes away.
    ///
    /// # Errors
    /// The connection's.
    pub fn try_post(&mut self, target: &str, body: &str) -> io::Result<(u16, String)> {
        let length = body.len();
        let request =
            format!("POST {target} HTTP/1.1\r\nhost: h\r\ncontent-length: {length}\r\n\r\n{body}");
        self.0.get_mut().write_all(request.as_bytes())?;
        self.try_answer()
    }

    /// Whether something of an answer is there already.
    pub fn is_answered(&mut self) -> bool {
        let stream = self.0.get_ref();
        stream.set_nonblocking(true).expect("a socket need not block");
        let there = stream.peek(&mut [0]).is_ok();
        stream.set_nonblocking(false).expect("a socket blocks");
        there || !self.0.buffer().is_empty()
    }

    /// The answer to what was sent.
    pub fn answer(&mut self) -> (u16, String) {
        self.try_answer().expect("an answer comes")
    }

    fn try_answer(&mut self) -> io::Result<(u16, String)> {
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest[..3].parse().expect("a status");
            }
            if let Some(rest) = line.strip_prefix("content-length: ") {
                length = rest.parse().expect("a length");
            }
            assert_ne!(line, "connection: close", "the server would close the connection");
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok((status, String::from_utf8(body).expect("text")))
    }
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// A connection of HTTP/2 in the clear.
pub struct Http2 {
    stream: TcpStream,
    /// The number of the next request's stream.
    next: u32,
}

impl Http2 {
    /// Connects, as one who knows that version 2 is spoken.
    pub fn open(address: SocketAddr) -> Http2 {
        let mut this = Http2 { stream: connect(address), next: 1 };
        this.stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("the preface is taken");
        this.send(SETTINGS, 0, 0, &[]);
        this
    }

    /// GET, and its answer: whether it is a 200, and the body.
    pub fn get(&mut self, target: &str) -> (bool, String) {
        let number = self.next;
        self.next += 2;
        // GET and http by the static table, then path and host.
        let mut head = vec![0x82, 0x86, 0x04, u8::try_from(target.len()).expect("a short path")];
        head.extend_from_slice(target.as_bytes());
        head.extend_from_slice(b"\x01\x01h");
        self.send(HEADERS, END_STREAM | END_HEADERS, number, &head);
        let (mut is_ok, mut body) = (false, Vec::new());
        loop {
            let (kind, flags, stream, payload) = self.receive();
            match kind {
                // The status comes first; 8 of the static table is a 200.
                HEADERS if stream == number => is_ok = payload.contains(&0x88),
                DATA if stream == number => {
                    body.extend_from_slice(&payload);
                    if !payload.is_empty() {
                        let more = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
                        self.send(WINDOW, 0, 0, &more);
                    }
                }
                SETTINGS if flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[]),
                PING if flags & ACK == 0 => self.send(PING, ACK, 0, &payload),
                SETTINGS | PING | WINDOW => {}
                _ => panic!("a frame of kind {kind}: {payload:?}"),
            }
            if stream == number && matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
                return (is_ok, String::from_utf8(body).expect("text"));
            }
        }
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame).expect("the frame is taken");
    }

    fn receive(&mut self) -> (u8, u8, u32, Vec<u8>) {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).expect("a frame comes");
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).expect("all of a frame comes");
        (head[3], head[4], stream, payload)
    }
}
