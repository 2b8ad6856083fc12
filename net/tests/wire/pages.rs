//! The client's pages of a query.

use super::common::*;
use super::*;
use proto::Key;

/// What a request asks for of a query whose text is the number of its pages: pages
/// behind this one.
pub(super) fn left(request: &Request<'_>) -> Option<u64> {
    match *request {
        Request::Stream { text, .. } => text.parse().ok(),
        Request::Fetch { cursor } => Some(cursor),
        _ => None,
    }
}

/// A page of one row; the third from the end is an error.
pub(super) fn answer(left: u64, reply: ReplyWriter<'_>) {
    if left == 3 {
        return reply.error(Status::UnknownCursor, "it expired");
    }
    let mut rows = reply.rows(true);
    rows.push(Key(u128::from(left)), &proto::doc::EMPTY);
    match left {
        1 => rows.finish(None),
        _ => rows.finish_with_cursor(left - 1),
    }
}

fn key(page: &[u8]) -> Option<u128> {
    match Reply::decode(page).unwrap().1 {
        Reply::Rows(rows) => rows.iter().next().unwrap().0.map(|key| key.0),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_come_one_by_one_until_the_last() {
    let house = plain(options()).await;
    let mut client = house.client().await;
    let before = house.echo.handled.load(Ordering::SeqCst);
    let asked = || house.echo.handled.load(Ordering::SeqCst) - before;
    let mut pages = soon(client.stream("2", None, (1, 0))).await.unwrap();
    for (expected, so_far) in [(Some(Some(2)), 1), (Some(Some(1)), 2), (None, 2), (None, 2)] {
        let page = soon(pages.next()).await.unwrap();
        assert_eq!((page.map(|page| key(&page)), asked()), (expected, so_far));
    }
    soon(pages.close()).await.unwrap();
    assert_eq!(asked(), 2, "there is nothing to let go of");
    let mut pages = soon(client.stream("2", None, (1, 0))).await.unwrap();
    soon(pages.next()).await.unwrap();
    soon(pages.close()).await.unwrap();
    assert_eq!(asked(), 4, "the cursor was closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_the_last_page_and_so_is_what_is_no_rows() {
    let house = plain(options()).await;
    let mut client = house.client().await;
    let mut pages = soon(client.stream("4", None, (0, 0))).await.unwrap();
    assert_eq!(key(&soon(pages.next()).await.unwrap().unwrap()), Some(4));
    let page = soon(pages.next()).await.unwrap().unwrap();
    assert_eq!(error(&page).0, Status::UnknownCursor);
    assert_eq!(soon(pages.next()).await.unwrap(), None);
    let mut pages = soon(client.stream("no number", None, (0, 0))).await.unwrap();
    let page = soon(pages.next()).await.unwrap().unwrap();
    assert_eq!(Reply::decode(&page).unwrap().1, Reply::Empty);
    assert_eq!(soon(pages.next()).await.unwrap(), None);
}
