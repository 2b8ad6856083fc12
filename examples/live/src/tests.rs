use super::*;
use planck_sdk::testing::ask;

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
