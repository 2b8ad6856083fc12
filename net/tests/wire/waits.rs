//! Requests that wait for something: over TCP and QUIC, what ends the wait, and what
//! happens meanwhile.

use super::*;
use tokio::sync::watch;

/// What is waited for.
pub(super) struct News {
    pub(super) value: watch::Sender<u64>,
    /// How often anybody has asked for it.
    asked: AtomicUsize,
    /// Waits there are.
    held: Arc<AtomicUsize>,
}

impl Default for News {
    fn default() -> News {
        News { value: watch::Sender::new(0), asked: AtomicUsize::new(0), held: Arc::default() }
    }
}

impl News {
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }
}

struct Held(Arc<AtomicUsize>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Of a query `await N MILLIS`: answered once the news are N or more by a hundred times
/// them, and how often it has waited. `None`: it was answered, or is another one.
pub(super) fn wait(
    echo: &Echo,
    packet: &[u8],
    call: &Call,
    out: &mut Vec<u8>,
) -> Option<Option<Wait>> {
    let (id, Request::Query { text, .. }) = Request::decode(packet).unwrap() else { return None };
    let (wanted, millis) = text.strip_prefix("await ")?.split_once(' ')?;
    let news = &echo.news;
    news.asked.fetch_add(1, Ordering::SeqCst);
    let mut told = news.value.subscribe();
    let (now, waited) = (*told.borrow_and_update(), call.place.unwrap_or(0));
    if now >= wanted.parse().unwrap() || !call.may_wait {
        ReplyWriter::new(id, out).count(now * 100 + waited);
        return Some(None);
    }
    // What was written is not sent.
    ReplyWriter::new(id, out).count(7);
    news.held.fetch_add(1, Ordering::SeqCst);
    let held = Held(news.held.clone());
    let changed = async move {
        let _held = held;
        told.changed().await.ok();
    };
    let time = Duration::from_millis(millis.parse().unwrap());
    Some(Some(Wait { news: Box::pin(changed), time, place: waited + 1 }))
}

pub(super) fn ask(id: u64, text: &str) -> Vec<u8> {
    ask_for(id, text, 0)
}

fn ask_for(id: u64, text: &str, patience: u32) -> Vec<u8> {
    let mut packet = Vec::new();
    Request::Query { text, parameters: None }.encode_with_patience(id, patience, &mut packet);
    packet
}

pub(super) const HOUR: &str = "await 2 3600000";

pub(super) async fn waiting(house: &House, count: usize) {
    until(|| house.echo.news.held() == count).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_asked_again_at_each_news_until_there_is_an_answer() {
    let house = plain(options()).await;
    let mut stream = authenticated(&house).await;
    // What came before it is answered, what came behind it waits with it.
    stream
        .write_all(&[ask(1, "number 5"), ask(2, HOUR), ask(3, "number 6")].concat())
        .await
        .unwrap();
    assert_eq!(count(&one_reply(&mut stream).await), 5);
    waiting(&house, 1).await;
    assert_eq!(house.echo.news.asked(), 1);
    house.echo.news.value.send_replace(1);
    until(|| house.echo.news.asked() == 2).await;
    waiting(&house, 1).await;
    house.echo.news.value.send_replace(3);
    let reply = one_reply(&mut stream).await;
    assert_eq!((Header::parse(&reply).unwrap().id, count(&reply)), (2, 302));
    assert_eq!(count(&one_reply(&mut stream).await), 6);
    assert_eq!(house.echo.news.asked(), 3);
    waiting(&house, 0).await;
    // The session goes on as ever, and may wait again.
    stream.write_all(&ask(4, "await 4 3600000")).await.unwrap();
    waiting(&house, 1).await;
    house.echo.news.value.send_replace(4);
    assert_eq!(count(&one_reply(&mut stream).await), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_time_its_patience_and_a_cancel_end_it() {
    let house = plain(options()).await;
    let mut stream = authenticated(&house).await;
    let status = |reply: Vec<u8>| Status::from_number(Header::parse(&reply).unwrap().code).unwrap();
    stream.write_all(&ask(1, "await 2 20")).await.unwrap();
    assert_eq!(count(&one_reply(&mut stream).await), 1);
    stream.write_all(&ask_for(2, HOUR, 20)).await.unwrap();
    assert_eq!(status(one_reply(&mut stream).await), Status::Timeout);
    stream.write_all(&ask(3, HOUR)).await.unwrap();
    waiting(&house, 1).await;
    let asked = house.echo.news.asked();
    stream.write_all(&Header::cancel(3).to_bytes()).await.unwrap();
    assert_eq!(status(one_reply(&mut stream).await), Status::Cancelled);
    assert_eq!(house.echo.news.asked(), asked, "what is cancelled is not asked for");
    waiting(&house, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_gone_does_not_wait_and_who_only_listens_is_answered() {
    let house = plain(options()).await;
    let mut stream = authenticated(&house).await;
    stream.write_all(&ask(1, HOUR)).await.unwrap();
    waiting(&house, 1).await;
    stream.shutdown().await.unwrap();
    assert_eq!(count(&one_reply(&mut stream).await), 1);
    let mut stream = authenticated(&house).await;
    stream.write_all(&ask(1, HOUR)).await.unwrap();
    waiting(&house, 1).await;
    drop(stream);
    waiting(&house, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_answers_who_waits() {
    let house = plain(WireOptions { drain_timeout: LONG, ..options() }).await;
    let mut client = house.client().await;
    let asked = tokio::spawn(async move { query(&mut client, HOUR).await });
    waiting(&house, 1).await;
    let House { server, echo, .. } = house;
    soon(server.drain()).await;
    assert_eq!(count(&asked.await.unwrap()), 1);
    until(|| echo.news.held() == 0).await;
}
