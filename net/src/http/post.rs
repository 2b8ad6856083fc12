//! One request to another program, and its status: for what is sent to a collector.
//!
//! What must stay true: it has so long and no longer, whatever the other side does; of the
//! answer nothing is read but its head.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use std::io;
use std::pin::pin;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Posts a body to `path` of `authority` (`HOST:PORT`), in the clear; gives the status.
///
/// # Errors
/// It could not be sent, or was not answered, within `patience`.
pub async fn post(
    authority: &str,
    path: &str,
    content_type: &str,
    body: Vec<u8>,
    patience: Duration,
) -> io::Result<u16> {
    let request = Request::post(path)
        .header(HOST, authority)
        .header(CONTENT_TYPE, content_type)
        .body(Full::new(Bytes::from(body)))
        .map_err(io::Error::other)?;
    let exchange = async {
        let stream = TcpStream::connect(authority).await?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(io::Error::other)?;
        let (mut answer, mut connection) = (pin!(sender.send_request(request)), pin!(connection));
        let answer = tokio::select! {
            biased;
            answer = answer.as_mut() => answer,
            // It may have ended with the answer.
            _ = connection.as_mut() => answer.await,
        };
        Ok(answer.map_err(io::Error::other)?.status().as_u16())
    };
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "there was no answer in time");
    timeout(patience, exchange).await.map_err(late)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// What comes of a post to one who reads it and says that.
    async fn told(answer: &'static [u8], patience: Duration) -> (io::Result<u16>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let other = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut heard = vec![0; 4096];
            let mut length = 0;
            while !heard[..length].ends_with(b"body") {
                length += stream.read(&mut heard[length..]).await.unwrap();
            }
            stream.write_all(answer).await.unwrap();
            if answer.is_empty() {
                // Until the other side goes away.
                assert_eq!(stream.read(&mut heard[length..]).await.unwrap(), 0);
            }
            String::from_utf8_lossy(&heard[..length]).into_owned()
        });
        let said = post(&address, "/v1/x", "a/b", b"body".to_vec(), patience).await;
        (said, other.await.unwrap())
    }

    #[tokio::test]
    async fn a_body_is_posted_and_the_status_given() {
        let long = Duration::from_secs(20);
        let answer = b"HTTP/1.1 202 Accepted\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let (said, heard) = told(answer, long).await;
        assert_eq!(said.unwrap(), 202);
        assert!(heard.starts_with("POST /v1/x HTTP/1.1\r\n"), "{heard}");
        assert!(heard.contains("content-type: a/b\r\ncontent-length: 4\r\n"), "{heard}");
        let (said, _) = told(b"no HTTP\r\n\r\n", long).await;
        assert!(said.is_err());
    }

    #[tokio::test]
    async fn who_does_not_answer_is_not_waited_for() {
        let (said, _) = told(b"", Duration::from_millis(50)).await;
        assert_eq!(said.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
