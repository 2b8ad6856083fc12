//! The floor: hyper alone, on as many threads as Planck has, answering all it is asked
//! with three bytes.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use std::convert::Infallible;
use tokio::net::TcpListener;

async fn answer(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = Full::new(Bytes::from_static(b"ok\n"));
    Ok(Response::builder()
        .header("content-type", "text/plain; charset=utf-8")
        .body(body)
        .expect("a response of constants"))
}

/// Serves until it is killed; its address is its one line of output.
#[tokio::main]
pub async fn serve() -> Result<(), String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(|e| e.to_string())?;
    println!("http://{}", listener.local_addr().map_err(|e| e.to_string())?);
    loop {
        let (stream, _) = listener.accept().await.map_err(|e| e.to_string())?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        tokio::spawn(async move {
            let builder = Builder::new(TokioExecutor::new());
            // A client that goes away is no failure of the floor.
            builder.serve_connection(TokioIo::new(stream), service_fn(answer)).await.ok();
        });
    }
}
