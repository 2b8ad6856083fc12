//! Static files: what is served, what is not, what is not sent twice.

use super::common::*;
use super::*;
use net::http::HttpError;

/// A directory with files inside, and secrets beside it.
async fn with_files() -> (tempfile::TempDir, House) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("static");
    std::fs::create_dir_all(root.join("sub/deep")).unwrap();
    std::fs::create_dir(root.join(".git")).unwrap();
    std::fs::write(dir.path().join("secret.txt"), "secret").unwrap();
    std::fs::write(root.join(".git/config"), "secret").unwrap();
    std::fs::write(root.join(".env"), "secret").unwrap();
    std::fs::write(root.join("app.css"), "body {}").unwrap();
    std::fs::write(root.join("sub/index.html"), "<p>index").unwrap();
    std::fs::write(root.join("large.bin"), vec![b'x'; 300_000]).unwrap();
    std::fs::write(root.join("empty.txt"), "").unwrap();
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, root.join(name)).unwrap();
    link("../secret.txt", "out.txt");
    link("..", "up");
    link("app.css", "inside.css");
    link("nowhere", "dangling");
    let options = HttpOptions { static_dir: Some(root), ..HttpOptions::default() };
    let house = plain(options).await;
    (dir, house)
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_served_under_their_paths_and_the_rest_goes_to_the_guest() {
    let (_dir, house) = with_files().await;
    for (path, content_type, length) in [
        ("/app.css", "text/css; charset=utf-8", "7"),
        ("/app.css?v=1", "text/css; charset=utf-8", "7"),
        ("/inside.css", "text/css; charset=utf-8", "7"),
        ("/sub/", "text/html; charset=utf-8", "8"),
        ("/large.bin", "application/octet-stream", "300000"),
        ("/empty.txt", "text/plain; charset=utf-8", "0"),
    ] {
        let response = house.get(path, "").await;
        assert_eq!(status(&response), "200", "{path}");
        assert_eq!(header(&response, "content-type"), Some(content_type), "{path}");
        assert_eq!(header(&response, "content-length"), Some(length), "{path}");
        assert_eq!(body(&response).len().to_string(), length, "{path}");
    }
    assert_eq!(house.handled(), 0);
    for path in ["/", "/sub", "/app.css/", "/none.css", "/dangling"] {
        assert!(body(&house.get(path, "").await).starts_with("GET /"), "{path}");
    }
    let posted = "POST /sub/ HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
    assert!(body(&house.talk(posted).await).starts_with("POST /sub/"), "an index is only read");
    let head = house.talk("HEAD /large.bin HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
    assert_eq!((header(&head, "content-length"), body(&head)), (Some("300000"), ""));
    let response = soon(h2(&house).await.send_request(request("/large.bin"))).await.unwrap();
    assert_eq!(text(response).await.len(), 300_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outside_the_directory_is_served() {
    let (_dir, house) = with_files().await;
    for path in [
        "/../secret.txt",
        "/sub/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/sub/%2e%2e%2f%2e%2e%2fsecret.txt",
        "/%252e%252e/secret.txt",
        "/..%5csecret.txt",
        "//secret.txt",
        "/./../secret.txt",
        "/app.css%00.txt",
        "/out.txt",
        "/up/secret.txt",
        "/.git/config",
        "/%2egit/config",
        "/.env",
    ] {
        let response = house.get(path, "").await;
        assert!(body(&response).starts_with(&format!("GET {path} ")), "{path}: {response}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_client_has_is_not_sent_again() {
    let (dir, house) = with_files().await;
    let first = house.get("/app.css", "").await;
    let etag = header(&first, "etag").unwrap();
    let date = header(&first, "last-modified").unwrap();
    for condition in
        [format!("if-none-match: {etag}\r\n"), format!("if-modified-since: {date}\r\n")]
    {
        let again = house.get("/app.css", &condition).await;
        assert_eq!((status(&again), body(&again)), ("304", ""), "{condition}");
        assert_eq!(header(&again, "etag"), Some(etag));
    }
    std::fs::write(dir.path().join("static/app.css"), "body { color: red }").unwrap();
    let changed = house.get("/app.css", &format!("if-none-match: {etag}\r\n")).await;
    assert_eq!((status(&changed), body(&changed)), ("200", "body { color: red }"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_take_a_file_loses_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let huge = std::fs::File::create(dir.path().join("huge.bin")).unwrap();
    huge.set_len(1 << 30).unwrap(); // A hole: it costs no disk.
    let static_dir = Some(dir.path().to_owned());
    let options = HttpOptions { idle_timeout: SHORT, static_dir, ..HttpOptions::default() };
    let house = plain(HttpOptions { max_connections: 1, ..options }).await;
    let _never_reads = house.open("GET /huge.bin HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert_eq!(status(&house.get("/", "").await), "200");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_dir_that_is_none_is_refused_by_name() {
    let semaphore = || Arc::new(Semaphore::new(0));
    let (handled, answered) = (Arc::default(), Arc::default());
    let echo = Echo {
        handled,
        arrived: semaphore(),
        gate: semaphore(),
        answered,
        streams: Arc::default(),
        calls: Arc::default(),
        socket_calls: Arc::default(),
        news: Arc::default(),
    };
    let options = HttpOptions { static_dir: Some("/nonexistent".into()), ..HttpOptions::default() };
    let error = serve(anywhere(), Security::Plaintext, options, echo).await.unwrap_err();
    assert!(matches!(error, HttpError::StaticDir { .. }), "{error}");
    assert!(error.to_string().contains("http.static_dir /nonexistent"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_file_that_is_old_is_kept_until_it_changes_or_goes() {
    let (dir, house) = with_files().await;
    let root = dir.path().join("static");
    // By then its tag is strong.
    tokio::time::sleep(Duration::from_millis(4200)).await;
    let first = house.get("/app.css", "").await;
    let etag = header(&first, "etag").unwrap();
    assert!(etag.starts_with('"'), "{first}");
    for _ in 0..3 {
        let again = house.get("/app.css", "").await;
        assert_eq!((body(&again), header(&again, "etag")), ("body {}", Some(etag)));
        let part =
            house.get("/app.css", &format!("range: bytes=1-3\r\nif-range: {etag}\r\n")).await;
        assert_eq!((status(&part), body(&part)), ("206", "ody"));
        let known = house.get("/app.css", &format!("if-none-match: {etag}\r\n")).await;
        assert_eq!((status(&known), body(&known)), ("304", ""));
        let head = "HEAD /app.css HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
        let head = house.talk(head).await;
        assert_eq!((header(&head, "content-length"), body(&head)), (Some("7"), ""));
        let posted = "POST /app.css HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
        assert_eq!(status(&house.talk(posted).await), "405");
    }
    assert_eq!(house.handled(), 0);
    std::fs::write(root.join("app.css"), "body { color: red }").unwrap();
    until(|| async { body(&house.get("/app.css", "").await) == "body { color: red }" }).await;
    std::fs::remove_file(root.join("app.css")).unwrap();
    until(|| async { body(&house.get("/app.css", "").await).starts_with("GET /app.css") }).await;
    std::fs::write(root.join("app.css"), "again").unwrap();
    until(|| async { body(&house.get("/app.css", "").await) == "again" }).await;
}

/// Waits until that is so.
async fn until<F: Future<Output = bool>>(is_so: impl Fn() -> F) {
    let asking = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(asking).await;
}
