//! A guest that asks the host what the body of a request says, and how it is asked.

use proto::Request;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// The body of a request: `| status u16 | packet | packet | .. |`. The guest asks each, and
/// answers with that status and the last reply; with status 1 it traps, with 2 it ends the
/// call by itself.
pub const GUEST: &str = r#"
(module
  (import "planck" "host_request" (func $ask (param i32 i32 i32 i32) (result i64)))
  ;; import
  (memory (export "memory") 4)
  (data (i32.const 0) "\01\c8\00\00\00")
  (func (export "planck_abi") (result i32) (i32.const 1))
  (func (export "alloc") (param i32) (result i32) (i32.const 131072))
  (func (export "process") (param $ptr i32) (param $len i32) (result i64)
    (local $at i32) (local $end i32) (local $size i32) (local $said i64) (local $status i32)
    (local $left i32)
    (local.set $at (local.get $ptr))
    (local.set $end (i32.add (local.get $ptr) (local.get $len)))
    (block $found
      (loop $again
        (br_if $found (i32.eq (i32.load (local.get $at)) (i32.const 0x4b4e4c50)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $again)))
    (local.set $status (i32.load16_u (i32.sub (local.get $at) (i32.const 2))))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $size
          (i32.add (i32.const 24) (i32.load (i32.add (local.get $at) (i32.const 16)))))
        (local.set $said
          (call $ask (local.get $at) (local.get $size) (i32.const 5) (i32.const 131000)))
        (local.set $at (i32.add (local.get $at) (local.get $size)))
        ;; asked
        (br $next)))
    (if (i32.eq (local.get $status) (i32.const 1)) (then (unreachable)))
    (if (i32.eq (local.get $status) (i32.const 2)) (then (return (i64.const -9))))
    (i32.store16 (i32.const 1) (local.get $status))
    ;; end
    (i64.add (i64.const 5) (local.get $said))))
"#;

/// What came back: the HTTP status, the head, the body.
pub struct Answer(pub u16, pub String, pub Vec<u8>);

/// What a request's body says: answer with that status, having asked all of these.
pub fn body(status: u16, requests: &[Request<'_>]) -> Vec<u8> {
    let mut body = status.to_le_bytes().to_vec();
    requests.iter().for_each(|request| request.encode(7, &mut body));
    body
}

/// Has the guest ask all of these in one call.
///
/// # Panics
/// There is no answer.
pub fn call(to: SocketAddr, status: u16, requests: &[Request<'_>]) -> Answer {
    let body = body(status, requests);
    let mut stream = TcpStream::connect(to).expect("it listens");
    let head = format!(
        "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), &body].concat()).expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it answers");
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n").expect("a head");
    let body = answer.split_off(end + 4);
    let head = String::from_utf8(answer).expect("a head is text").to_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.expect("a head begins with a status");
    let body = if head.contains("transfer-encoding: chunked") { whole(&body) } else { body };
    Answer(status, head, body)
}

/// What chunks hold; nothing, if the last one is not there.
fn whole(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = chunks.windows(2).position(|part| part == b"\r\n") {
        let size = std::str::from_utf8(&chunks[..end]).expect("an answer of HTTP");
        let size = usize::from_str_radix(size, 16).expect("an answer of HTTP");
        if size == 0 {
            return body;
        }
        let Some(piece) = chunks.get(end + 2..end + 2 + size) else { break };
        body.extend_from_slice(piece);
        chunks = &chunks[end + 2 + size + 2..];
    }
    Vec::new()
}
