use super::*;
use planck_sdk::testing::{ask, ask_with};

#[test]
fn numbers_are_lines() {
    let answer = ask(handler, "GET", "/numbers/3", b"");
    assert_eq!((answer.status, answer.body.as_str()), (200, "0,0\n1,1\n2,4\n"));
    assert_eq!(ask(handler, "GET", "/numbers/x", b"").status, 400);
    assert_eq!(ask(handler, "GET", "/zeros/1", b"").body.len(), 1 << 20);
}

#[test]
fn what_breaks_off_is_not_whole() {
    let answer = ask(handler, "GET", "/broken/2", b"");
    assert_eq!((answer.is_whole(), answer.body.as_str()), (false, "begin\n0\n1\n"));
}

#[test]
fn events_go_on_behind_the_last() {
    let answer = ask(handler, "GET", "/count/2", b"");
    assert_eq!(answer.body, "id: 1\ndata: 1 of 2\n\n");
    assert_eq!(answer.header("planck-again-ms"), Some("100"));
    let answer = ask_with(handler, "GET", "/count/2", &[("last-event-id", "1")], b"");
    assert_eq!(
        (answer.body.as_str(), answer.header("planck-again-ms")),
        ("id: 2\ndata: 2 of 2\n\n", None)
    );
}

#[test]
fn a_socket_is_for_this_site() {
    let id = ("planck-connection", "7");
    let open =
        |origin| ask_with(handler, "GET", "/echo", &[id, ("host", "a"), ("origin", origin)], b"");
    assert_eq!((open("http://a").status, open("http://b").status), (101, 403));
    assert_eq!(ask(handler, "GET", "/echo", b"").status, 426);
}
