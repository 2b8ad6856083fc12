//! Parts of files: what is sent, what is refused, and with which file they go on.

use super::common::*;
use super::*;

const TEXT: &str = "0123456789abcdefghij";

async fn with_text() -> (tempfile::TempDir, House) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("t.txt"), TEXT).unwrap();
    std::fs::write(dir.path().join("big.txt"), TEXT.repeat(20_000)).unwrap();
    std::fs::write(dir.path().join("empty.txt"), "").unwrap();
    let static_dir = Some(dir.path().to_owned());
    let house = plain(HttpOptions { static_dir, ..HttpOptions::default() }).await;
    (dir, house)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_range_is_sent_as_such() {
    let (_dir, house) = with_text().await;
    for (range, told, expected) in [
        ("0-3", "bytes 0-3/20", "0123"),
        ("15-", "bytes 15-19/20", "fghij"),
        ("-1", "bytes 19-19/20", "j"),
        ("18-99", "bytes 18-19/20", "ij"),
    ] {
        let response = house.get("/t.txt", &format!("range: bytes={range}\r\n")).await;
        assert_eq!((status(&response), body(&response)), ("206", expected), "{range}");
        assert_eq!(header(&response, "content-range"), Some(told));
        assert_eq!(header(&response, "content-length"), Some(&*expected.len().to_string()));
        assert_eq!(header(&response, "content-type"), Some("text/plain; charset=utf-8"));
    }
    // Over more than one piece that is read, and beginning in the middle of one.
    let response = house.get("/big.txt", "range: bytes=100010-300009\r\n").await;
    assert_eq!(body(&response).len(), 200_000);
    assert!(body(&response).starts_with("abcdefghij0123") && body(&response).ends_with("56789"));
    let whole = house.get("/t.txt", "range: bytes=5-1\r\n").await;
    assert_eq!((status(&whole), body(&whole)), ("200", TEXT), "what is no range is not there");
    assert_eq!(header(&whole, "accept-ranges"), Some("bytes"));
    let head = "HEAD /t.txt HTTP/1.1\r\nhost: h\r\nrange: bytes=0-3\r\nconnection: close\r\n\r\n";
    let head = house.talk(head).await;
    assert_eq!((status(&head), header(&head, "content-length")), ("200", Some("20")));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_ranges_come_in_one_body_of_parts() {
    let (_dir, house) = with_text().await;
    let response = house.get("/t.txt", "range: bytes=10-12, 0-1, -2\r\n").await;
    assert_eq!(status(&response), "206");
    let content_type = header(&response, "content-type").unwrap();
    let boundary = content_type.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let part = |range: &str, text: &str| {
        format!(
            "--{boundary}\r\ncontent-type: text/plain; charset=utf-8\r\n\
             content-range: bytes {range}/20\r\n\r\n{text}\r\n"
        )
    };
    let parts = part("10-12", "abc") + &part("0-1", "01") + &part("18-19", "ij");
    let expected = format!("{parts}--{boundary}--\r\n");
    assert_eq!(body(&response), expected);
    assert_eq!(header(&response, "content-length"), Some(&*expected.len().to_string()));
    assert_eq!(header(&response, "content-range"), None, "each part has its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_that_are_not_there_or_ask_too_much_are_refused() {
    let (_dir, house) = with_text().await;
    let many = "0-0,".repeat(17);
    for range in ["20-", "-0", "0-5,3-9", "0-,0-,0-", &many] {
        let response = house.get("/t.txt", &format!("range: bytes={range}\r\n")).await;
        assert_eq!((status(&response), body(&response)), ("416", ""), "{range}");
        assert_eq!(header(&response, "content-range"), Some("bytes */20"));
    }
    let response = house.get("/empty.txt", "range: bytes=0-\r\n").await;
    assert_eq!((status(&response), header(&response, "content-range")), ("416", Some("bytes */0")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_goes_on_with_the_file_it_began_with_or_the_whole_is_sent() {
    let (dir, house) = with_text().await;
    let young = house.get("/t.txt", "").await;
    assert!(header(&young, "etag").unwrap().starts_with("W/"), "a further change may look alike");
    let weak = format!("range: bytes=0-3\r\nif-range: {}\r\n", header(&young, "etag").unwrap());
    assert_eq!(status(&house.get("/t.txt", &weak).await), "200");
    // Not so once its last change is a while ago.
    let settled = soon(async {
        loop {
            let response = house.get("/t.txt", "").await;
            if header(&response, "etag").unwrap().starts_with('"') {
                break response;
            }
            tokio::time::sleep(SHORT).await;
        }
    });
    let settled = settled.await;
    let (etag, date) =
        (header(&settled, "etag").unwrap(), header(&settled, "last-modified").unwrap());
    let ask = |validator: &str| format!("range: bytes=0-3\r\nif-range: {validator}\r\n");
    for validator in [etag, date] {
        let response = house.get("/t.txt", &ask(validator)).await;
        assert_eq!((status(&response), body(&response)), ("206", "0123"), "{validator}");
    }
    for validator in ["\"another\"", "Tue, 14 Nov 2023 22:13:20 GMT"] {
        let response = house.get("/t.txt", &ask(validator)).await;
        assert_eq!((status(&response), body(&response)), ("200", TEXT), "{validator}");
    }
    let mine = house.get("/t.txt", &format!("if-match: {etag}\r\n")).await;
    assert_eq!(status(&mine), "200");
    let other = house.get("/t.txt", "if-match: \"another\"\r\n").await;
    assert_eq!((status(&other), body(&other)), ("412", ""));
    let since = house.get("/t.txt", "if-unmodified-since: Tue, 14 Nov 2023 22:13:20 GMT\r\n").await;
    assert_eq!(status(&since), "412");
    std::fs::write(dir.path().join("t.txt"), "others 9abcdefghij..").unwrap();
    // For so long it may be told from memory.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let changed = house.get("/t.txt", &ask(etag)).await;
    assert_eq!((status(&changed), body(&changed)), ("200", "others 9abcdefghij.."));
}
