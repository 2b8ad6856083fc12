//! What each method comes to, and the ids of requests.

use super::common::*;
use super::*;

async fn with_file() -> (tempfile::TempDir, House) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.txt"), "a").unwrap();
    std::fs::write(dir.path().join("index.html"), "<p>").unwrap();
    let static_dir = Some(dir.path().to_owned());
    let house = plain(HttpOptions { static_dir, ..HttpOptions::default() }).await;
    (dir, house)
}

impl House {
    async fn ask(&self, method: &str, target: &str, more: &str) -> String {
        let head = format!("{method} {target} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n");
        self.talk(format!("{head}{more}\r\n")).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_only_read_and_say_so() {
    let (_dir, house) = with_file().await;
    for method in ["POST", "PUT", "PATCH", "DELETE", "PROPFIND"] {
        let response = house.ask(method, "/a.txt", "").await;
        assert_eq!(status(&response), "405", "{method}");
        assert_eq!(header(&response, "allow"), Some("GET, HEAD, OPTIONS"));
        assert!(body(&response).contains("\"code\":\"PLK-1002\""), "{response}");
    }
    let response = house.ask("OPTIONS", "/a.txt", "").await;
    assert_eq!((status(&response), body(&response)), ("204", ""));
    assert_eq!(header(&response, "allow"), Some("GET, HEAD, OPTIONS"));
    assert_eq!(house.handled(), 0);
    for target in ["/", "/b.txt"] {
        for method in ["POST", "OPTIONS", "PROPFIND"] {
            let response = house.ask(method, target, "").await;
            assert!(body(&response).starts_with(&format!("{method} {target} ")), "{response}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_says_what_it_can_be_asked_and_is_no_proxy() {
    let house = plain(HttpOptions::default()).await;
    let all = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
    let response = house.ask("OPTIONS", "*", "").await;
    assert_eq!((status(&response), header(&response, "allow")), ("204", Some(all)));
    for (method, target) in [("CONNECT", "other:80"), ("TRACE", "/")] {
        let response = house.ask(method, target, "").await;
        assert_eq!((status(&response), header(&response, "allow")), ("405", Some(all)), "{method}");
    }
    for (method, target) in [("GET", "*"), ("GET", "other:80")] {
        assert_eq!(status(&house.ask(method, target, "").await), "400", "{method} {target}");
    }
    assert_eq!(house.handled(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn head_is_get_without_its_body_to_the_guest_too() {
    let house = plain(HttpOptions::default()).await;
    let get = house.get("/x", "").await;
    let head = house.ask("HEAD", "/x", "").await;
    assert_eq!((status(&head), body(&head)), ("200", ""));
    assert_eq!(header(&head, "content-length"), header(&get, "content-length"));
    assert!(body(&get).starts_with("GET /x"));
    let asked = Request::head("http://h/x").body(Full::default()).unwrap();
    let response = soon(h2(&house).await.send_request(asked)).await.unwrap();
    assert_eq!(response.headers()["content-length"], header(&get, "content-length").unwrap());
    assert_eq!(text(response).await, "");
    let head = house.ask("HEAD", "/panic", "").await;
    assert_eq!((status(&head), body(&head)), ("500", ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_an_id_of_its_own_that_all_are_told() {
    let house = plain(HttpOptions::default()).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let response = house.get("/headers", "x-request-id: mine\r\n").await;
        let id = header(&response, "x-request-id").unwrap().to_owned();
        assert_eq!(id.len(), 32);
        assert!(body(&response).contains(&format!("x-request-id: {id}\n")), "the guest, too");
        assert!(!body(&response).contains("mine"));
        ids.push(id);
    }
    assert_ne!(ids[0], ids[1]);
    for (target, more) in
        [("/busy", ""), ("/panic", ""), ("/splits", ""), ("/", "expect: the-unexpected\r\n")]
    {
        let response = house.get(target, more).await;
        let id = header(&response, "x-request-id").unwrap();
        assert!(body(&response).contains(&format!("\"request_id\":\"{id}\"")), "{response}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_came_along_is_kept_if_the_operator_trusts_it_and_a_trace_always() {
    let options = HttpOptions { trust_request_id: true, ..HttpOptions::default() };
    let house = plain(options).await;
    let trace = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
    let response = house.get("/headers", &format!("x-request-id: mine-1\r\n{trace}")).await;
    assert_eq!(header(&response, "x-request-id"), Some("mine-1"));
    assert!(body(&response).contains("x-request-id: mine-1\n"));
    assert!(body(&response).contains(&trace.replace("\r\n", "\n")), "{response}");
    let response = house.get("/headers", "x-request-id: a\"b\r\n").await;
    assert_eq!(header(&response, "x-request-id").unwrap().len(), 32, "this breaks a document");
}
