//! The indexes of the tester: of every kind, over what the queries ask for.
//!
//! What must stay true: values of `u` are given once, so that no change the tester
//! means to make is refused by a unique index.

use crate::dice::Dice;
use crate::query::Expr;
use crate::value::V;

/// Each as a request has it. Their names say what `marks.rs` wants to know.
pub const INDEXES: [&str; 13] = [
    r#"{"name": "n", "fields": ["n"]}"#,
    r#"{"name": "two_s_n", "fields": ["s", "-n"]}"#,
    r#"{"name": "two_a_b", "fields": ["-a", "b"]}"#,
    r#"{"name": "sparse_t", "fields": ["t"], "sparse": true}"#,
    r#"{"name": "many_l_x", "fields": ["l.x"]}"#,
    r#"{"name": "many_l", "fields": ["-l"]}"#,
    r#"{"name": "sparse_d", "fields": ["d.x", "-d.y", "s"], "sparse": true}"#,
    r#"{"name": "unique_u", "fields": ["u"], "unique": true}"#,
    r#"{"name": "unique_u_n", "fields": ["-u", "n"], "unique": true}"#,
    r#"{"name": "partial_n", "fields": ["n"], "filter": "s exists"}"#,
    r#"{"name": "partial_s", "fields": ["-s", "a"], "filter": "n > 0"}"#,
    r#"{"name": "partial_u", "fields": ["u"], "filter": "b exists", "unique": true, "sparse": true}"#,
    r#"{"name": "two_q_s", "fields": ["q r", "-s"]}"#,
];

/// Which of [`INDEXES`] refuses every value of `u` that another document has.
pub const UNIQUE: usize = 7;

/// A value of `u` that was not given before.
pub fn unique(dice: &mut Dice) -> V {
    let number = dice.once();
    given(number)
}

/// A value of `u` that was given, most likely.
pub fn some_unique(dice: &mut Dice) -> V {
    let given_so_far = dice.given();
    let number = dice.below(given_so_far + 2);
    match given(number) {
        V::Array(items) => dice.of(&items),
        other => other,
    }
}

fn given(number: u64) -> V {
    let whole = V::Int(number as i32);
    match number % 5 {
        1 => V::Double(number as f64 + 0.5),
        2 => V::Text(format!("u{number}")),
        3 => V::Array(vec![whole, V::Text(format!("u{number}"))]),
        4 => V::Doc(vec![("x".to_owned(), whole)]),
        _ => whole,
    }
}

/// A condition that says as much as the filter of a partial index, or more, and a
/// field of that index.
pub fn within_a_partial(dice: &mut Dice) -> (Expr, &'static str) {
    let is_there = |path: &str| Expr::Exists(path.to_owned());
    match dice.below(4) {
        0 => (is_there("s"), "n"),
        1 => (Expr::Compare("s".to_owned(), ">=", V::Text(String::new())), "n"),
        2 => (Expr::Compare("n".to_owned(), ">", V::Int(dice.below(2) as i32)), "s"),
        _ => (is_there("b"), "u"),
    }
}
