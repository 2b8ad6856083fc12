//! HTTP/2 as it is spoken by those who mean harm: frames that break the rules, and
//! floods of frames that each cost the server more than who sends them.
//!
//! What is asserted: the error the rules give, that memory stays where it is, and that
//! somebody else is served meanwhile. Frames are written by hand; nothing of ours is kind
//! to the server. The tests of this program run one after the other: they look at the
//! memory of the process.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

#[path = "../common/mod.rs"]
mod common;
mod floods;
mod rules;

use common::*;
use net::http::{GuestRequest, GuestResponse, HttpHandler, HttpOptions, serve};
use net::{Security, Server};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, MutexGuard};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SHORT: Duration = Duration::from_millis(60);
/// What the process may grow by under a flood.
const GROWTH: usize = 24 << 20;

// Kinds of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW: u8 = 8;
const CONTINUATION: u8 = 9;
// Flags.
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// GET / at host h, by the static table.
const GET: &[u8] = &[0x82, 0x86, 0x84, 0x01, 1, b'h'];

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, GET)
}

/// The first words of a client.
fn hello() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

#[derive(Clone, Default)]
struct Pages(Arc<AtomicUsize>);

impl HttpHandler for Pages {
    async fn handle(&self, request: Arc<GuestRequest>) -> GuestResponse {
        self.0.fetch_add(1, Ordering::SeqCst);
        let body = if request.target == "/large" { vec![b'x'; 1 << 20] } else { b"ok".to_vec() };
        GuestResponse::new(200, "application/octet-stream", body)
    }
}

struct House {
    server: Server,
    handled: Pages,
    _alone: MutexGuard<'static, ()>,
}

async fn house(options: HttpOptions) -> House {
    static ALONE: Mutex<()> = Mutex::const_new(());
    let alone = ALONE.lock().await;
    let handled = Pages::default();
    let security = Security::Plaintext;
    let server = serve(anywhere(), security, options, handled.clone()).await.unwrap();
    House { server, handled, _alone: alone }
}

impl House {
    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    async fn open(&self, said: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address()).await.unwrap();
        stream.write_all(said).await.unwrap();
        stream
    }

    /// Somebody else asks, over both versions.
    async fn is_served(&self) {
        let asked = b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
        let answer = talk(self.address(), asked).await;
        assert!(answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"ok"));
        let mut stream = self.open(&[hello(), get(1)].concat()).await;
        loop {
            let (kind, stream_id, payload) = soon(next(&mut stream)).await.unwrap();
            if (kind, stream_id) == (DATA, 1) {
                assert_eq!(payload, b"ok");
                break;
            }
        }
    }
}

/// The next frame: kind, stream, payload.
async fn next(stream: &mut TcpStream) -> std::io::Result<(u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut payload).await?;
    Ok((head[3], u32::from_be_bytes(head[5..9].try_into().unwrap()), payload))
}

/// Bytes of this process in memory.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
