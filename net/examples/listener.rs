//! The HTTP listener with a handler that says what it got: what `scripts/conformance`
//! asks with programs that share nothing with it.
//!
//! `listener DIRECTORY`: files in `DIRECTORY/www`, its certificate in `DIRECTORY/tls`.
//! Prints where it listens, over TLS and in the clear; drains when its input ends.

use net::Security;
use net::http::{GuestRequest, GuestResponse, HttpHandler, HttpOptions, serve};
use net::tls::Identity;
use std::error::Error;
use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

struct Says;

impl HttpHandler for Says {
    async fn handle(&self, request: Arc<GuestRequest>) -> GuestResponse {
        if request.target == "/echo" {
            return GuestResponse::new(200, "application/octet-stream", request.body.clone());
        }
        let text = format!("{} {} {}\n", request.method, request.target, request.body.len());
        GuestResponse::new(200, "text/plain; charset=utf-8", text)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args_os().nth(1).ok_or("usage: listener DIRECTORY")?;
    let directory = PathBuf::from(directory);
    let identity = Identity::load_or_create(&directory.join("tls"), &[])?;
    let options = HttpOptions {
        static_dir: Some(directory.join("www")),
        http3: true,
        max_body_size: 8 << 20,
        ..HttpOptions::default()
    };
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let tls = serve(anywhere, identity.http()?, options.clone(), Says).await?;
    let clear = serve(anywhere, Security::Plaintext, options, Says).await?;
    println!("{} {}", tls.address(), clear.address());
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    tokio::join!(tls.drain(), clear.drain());
    Ok(())
}
