//! A client that speaks HTTP in the clear to a port of TLS, told so in its own words.
//!
//! What must stay true: nothing of its request is acted upon; what it is told is
//! constant.

use super::message::GuestResponse;
use crate::server::farewell;
use proto::Status;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Whether it begins with a capital letter, as a method of HTTP does and no record of
/// TLS. Waits for the first byte.
pub(super) async fn is_clear(stream: &TcpStream) -> bool {
    let mut first = [0];
    matches!(stream.peek(&mut first).await, Ok(1)) && first[0].is_ascii_uppercase()
}

/// Answers and ends the connection.
pub(super) async fn refuse(mut stream: TcpStream) {
    let detail = "this port speaks HTTPS: ask for https:// instead of http://";
    let body = GuestResponse::problem(Status::BadPacket, detail).body;
    let head = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    if stream.write_all(&[head.as_bytes(), &body].concat()).await.is_ok() {
        farewell(&mut stream).await;
    }
}
