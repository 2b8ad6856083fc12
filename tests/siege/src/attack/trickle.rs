//! Sockets that send a byte now and then and never get anywhere: they are closed, and
//! come again at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::Scale;
use crate::peer::{Way, from};
use crate::victim::Victim;

/// The beginning of a TLS record that promises a ClientHello of 512 bytes.
const HELLO: [u8; 9] = [22, 3, 1, 2, 0, 1, 0, 1, 0xfc];
/// Between two bytes.
const PAUSE: Duration = Duration::from_millis(200);
/// Sockets of one address.
const OF_ONE: usize = 20;

#[derive(Default)]
struct Counts {
    opened: AtomicU64,
    closed: AtomicU64,
}

pub async fn run(victim: &Victim, scale: &Scale) -> Result<String, String> {
    let counts = Arc::new(Counts::default());
    let mut sockets = JoinSet::new();
    for n in 0..scale.sockets {
        sockets.spawn(trickle(victim.way.clone(), n, Arc::clone(&counts)));
        if n % 100 == 99 {
            tokio::task::yield_now().await;
        }
    }
    tokio::time::sleep(scale.hold).await;
    sockets.shutdown().await;
    let (opened, closed) =
        (counts.opened.load(Ordering::Relaxed), counts.closed.load(Ordering::Relaxed));
    if opened == 0 {
        return Err("none of the trickling sockets was ever connected".to_owned());
    }
    Ok(format!("{} at once; {opened} opened, {closed} closed by the server", scale.sockets))
}

async fn trickle(way: Way, n: usize, counts: Arc<Counts>) {
    loop {
        let Ok(mut stream) = way.socket(from(1, n / OF_ONE)).await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        counts.opened.fetch_add(1, Ordering::Relaxed);
        let mut scrap = [0; 64];
        for byte in HELLO.into_iter().chain(std::iter::repeat(0)) {
            let wrote = stream.write_all(&[byte]).await;
            let read = tokio::time::timeout(PAUSE, stream.read(&mut scrap)).await;
            if wrote.is_err() || matches!(read, Ok(Ok(0) | Err(_))) {
                break;
            }
        }
        counts.closed.fetch_add(1, Ordering::Relaxed);
    }
}
