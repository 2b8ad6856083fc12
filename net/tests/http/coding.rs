//! Content codings of files and of guests' bodies, over the socket.

use super::common::*;
use super::*;
use std::io::Read;

/// A response whose body need not be text.
struct Coded {
    head: String,
    body: Vec<u8>,
}

impl Coded {
    fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// Its coding, and what it says.
    fn read(&self) -> (&str, String) {
        assert_eq!(self.header("content-length"), Some(&*self.body.len().to_string()));
        let (mut text, mut body) = (Vec::new(), &self.body[..]);
        let coding = self.header("content-encoding").unwrap_or("-");
        match coding {
            "br" => brotli::BrotliDecompress(&mut body, &mut text).unwrap(),
            "gzip" => drop(flate2::read::GzDecoder::new(body).read_to_end(&mut text).unwrap()),
            _ => text.extend_from_slice(body),
        }
        (coding, String::from_utf8(text).unwrap())
    }
}

async fn ask(house: &House, method: &str, target: &str, more: &str) -> Coded {
    let asked = format!("{method} {target} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{more}\r\n");
    let all = talk(house.server.address(), asked.as_bytes()).await;
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let head = String::from_utf8(all[..end].to_vec()).unwrap();
    Coded { head, body: all[end..].to_vec() }
}

async fn get(house: &House, target: &str, takes: &str) -> Coded {
    ask(house, "GET", target, &format!("accept-encoding: {takes}\r\n")).await
}

async fn with_site(compression: Compression) -> (tempfile::TempDir, House) {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("page.html", page());
    write("picture.png", page());
    write("short.html", "<p>");
    write("both.js", page());
    write("both.js.br", "precompressed br");
    write("both.js.zst", "precompressed zst");
    write("both.js.gz", "precompressed gz");
    write("old.js.gz", "of another old.js");
    std::thread::sleep(Duration::from_millis(20));
    write("old.js", page());
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("page.html.gz")).unwrap();
    let static_dir = Some(dir.path().to_owned());
    let house = plain(HttpOptions { static_dir, compression, ..HttpOptions::default() }).await;
    (dir, house)
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_coded_as_the_client_takes_them_best() {
    let (_dir, house) = with_site(Compression::Static).await;
    for (target, takes, coding) in [
        ("/page.html", "gzip, br", "br"),
        ("/page.html", "gzip", "gzip"),
        ("/page.html", "br;q=0.1, gzip;q=0.2", "gzip"),
        ("/page.html", "zstd", "-"),
        ("/page.html", "br;q=0", "-"),
        ("/page.html", "", "-"),
        ("/picture.png", "gzip, br", "-"),
        ("/old.js", "gzip", "gzip"),
    ] {
        let response = get(&house, target, takes).await;
        assert_eq!(response.read(), (coding, page().to_owned()), "{target} {takes}");
        assert_eq!(response.header("vary"), Some("accept-encoding"));
        let head = ask(&house, "HEAD", target, &format!("accept-encoding: {takes}\r\n")).await;
        assert_eq!(head.header("content-length"), response.header("content-length"));
        assert_eq!(head.header("content-encoding"), response.header("content-encoding"));
        assert!(head.body.is_empty());
    }
    assert_eq!(get(&house, "/short.html", "gzip").await.read(), ("-", "<p>".to_owned()));
    assert_eq!(get(&house, "/page", "gzip").await.read().0, "-", "the guest's are not");
    let part =
        ask(&house, "GET", "/page.html", "range: bytes=0-2\r\naccept-encoding: br\r\n").await;
    assert_eq!(part.read(), ("-", "<p>".to_owned()), "ranges are of the file as it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn precompressed_files_go_first_unless_they_are_older() {
    for compression in [Compression::Static, Compression::Off] {
        let (_dir, house) = with_site(compression).await;
        for (takes, coding, body) in [
            ("gzip, br, zstd", "br", "precompressed br"),
            ("gzip, zstd", "zstd", "precompressed zst"),
            ("zstd;q=0.5, gzip", "gzip", "precompressed gz"),
        ] {
            let response = get(&house, "/both.js", takes).await;
            assert_eq!(response.header("content-encoding"), Some(coding), "{takes}");
            assert_eq!(response.body, body.as_bytes());
            assert_eq!(response.header("content-type"), Some("text/javascript; charset=utf-8"));
        }
        let expected = if compression == Compression::Off { "-" } else { "gzip" };
        assert_eq!(get(&house, "/old.js", "gzip").await.read(), (expected, page().to_owned()));
        // Its page.html.gz leads out of the directory.
        assert_eq!(get(&house, "/page.html", "gzip").await.read(), (expected, page().to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_coding_has_its_tag_and_a_change_is_seen_through_the_cache() {
    let (dir, house) = with_site(Compression::Static).await;
    let tag = |response: &Coded| response.header("etag").unwrap().to_owned();
    let (plain, gzip) =
        (get(&house, "/page.html", "").await, get(&house, "/page.html", "gzip").await);
    let br = get(&house, "/page.html", "br").await;
    assert!(tag(&plain) != tag(&gzip) && tag(&gzip) != tag(&br) && tag(&plain) != tag(&br));
    for (takes, known, status_) in
        [("gzip", &gzip, "304"), ("gzip", &br, "200"), ("br", &br, "304")]
    {
        let more = format!("accept-encoding: {takes}\r\nif-none-match: {}\r\n", tag(known));
        let response = ask(&house, "GET", "/page.html", &more).await;
        assert_eq!(status(&response.head), status_, "{takes}");
        assert_eq!(response.header("vary"), Some("accept-encoding"));
    }
    let other = page().replace("line", "LINE");
    std::fs::write(dir.path().join("page.html"), &other).unwrap();
    assert_eq!(get(&house, "/page.html", "gzip").await.read(), ("gzip", other));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_s_body_is_coded_unless_it_may_not_or_gains_nothing() {
    let (_dir, house) = with_site(Compression::All).await;
    let response = get(&house, "/page", "gzip, br").await;
    assert_eq!(response.read(), ("br", page().to_owned()));
    assert_eq!(response.header("vary"), Some("accept-encoding"));
    assert_eq!(response.header("etag"), Some("W/\"e\""), "these are not the bytes it tagged");
    let head = ask(&house, "HEAD", "/page", "accept-encoding: gzip, br\r\n").await;
    assert_eq!(head.header("content-length"), response.header("content-length"));
    assert!(head.body.is_empty());
    let response = get(&house, "/page", "").await;
    assert_eq!(response.read(), ("-", page().to_owned()));
    assert_eq!(response.header("vary"), Some("accept-encoding"), "to others it is coded");
    assert_eq!(response.header("etag"), Some("\"e\""));
    for target in ["/sealed", "/digested", "/picture", "/short"] {
        let response = get(&house, target, "gzip, br").await;
        assert_eq!(response.read().0, "-", "{target}");
        assert_eq!(response.header("vary"), None, "{target}");
    }
    assert_eq!(get(&house, "/coded", "gzip").await.read(), ("deflate", page().to_owned()));
    // A page of another site has asked (BREACH).
    for (site, coding) in
        [("cross-site", "-"), ("same-site", "-"), ("same-origin", "gzip"), ("none", "gzip")]
    {
        let more = format!("accept-encoding: gzip\r\nsec-fetch-site: {site}\r\n");
        assert_eq!(ask(&house, "GET", "/page", &more).await.read().0, coding, "{site}");
    }
    let (_dir, house) = with_site(Compression::Off).await;
    assert_eq!(get(&house, "/page", "gzip").await.read().0, "-");
}
