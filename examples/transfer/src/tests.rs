use super::*;
use planck_sdk::testing::{self, Memory};

fn ask(method: &str, target: &str) -> (u16, String) {
    let answer = testing::ask(handler, method, target, b"");
    (answer.status, answer.body)
}

#[test]
fn money_goes_from_one_to_another_and_stays_the_same() {
    Memory::new().install();
    assert_eq!(ask("GET", "/total"), (200, "0 0 0\n".to_owned()));
    assert_eq!(ask("POST", "/accounts/1/3/100"), (201, "3\n".to_owned()));
    assert_eq!(ask("POST", "/transfer/1/2/70"), (200, "30 170\n".to_owned()));
    assert_eq!(ask("POST", "/transfer/1/3/31").0, 422);
    assert_eq!(ask("POST", "/transfer/1/1/1").0, 400);
    assert_eq!(ask("POST", "/transfer/1/9/1").0, 404);
    assert_eq!(ask("POST", "/transfer/1/2/99999999999999999999").0, 400);
    assert_eq!(ask("GET", "/accounts/2"), (200, "170\n".to_owned()));
    assert_eq!(ask("GET", "/accounts/4").0, 404);
    assert_eq!(ask("GET", "/total"), (200, "3 300 30\n".to_owned()));
}

#[test]
fn no_account_holds_more_than_fits() {
    Memory::new().install();
    let most = i64::MAX;
    assert_eq!(ask("POST", &format!("/accounts/0/2/{most}")).0, 201);
    assert_eq!(ask("POST", "/transfer/0/1/1").0, 400);
    assert_eq!(ask("GET", "/total").1, format!("2 {} {most}\n", 2 * i128::from(most)));
    assert_eq!(ask("POST", "/accounts/0/1001/1").0, 400);
}
