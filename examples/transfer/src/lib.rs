//! Accounts, and money that goes from one to another.
//!
//! Each call is one transaction: what is read here is so when it takes effect, and both
//! accounts change or neither. So there is no lock here, no retry and no commit.
//!
//! ```text
//! POST /accounts/{first}/{count}/{cents}   opens accounts with numbers from `first` on
//! POST /transfer/{from}/{to}/{cents}       200 and both balances; 422 if there is too little
//! GET  /accounts/{number}                  its balance
//! GET  /total                              of all: how many, what they have together, the least
//! ```

#[cfg(test)]
mod tests;

use planck_sdk::{Error, Key, Request, Response, Result, Router, Status, Store};
use serde::{Deserialize, Serialize};

/// Opened by one call, at most.
const AT_ONCE: u64 = 1000;

#[derive(Serialize, Deserialize)]
struct Account {
    cents: i64,
}

const ACCOUNTS: Store<Account> = Store::open("accounts");

/// Answers a request.
///
/// # Errors
/// What went wrong, which becomes a JSON problem; nothing has been done then.
pub fn handler(request: &Request<'_>) -> Result<Response> {
    Router::new()
        .post("/transfer/{from}/{to}/{cents}", transfer)
        .post("/accounts/{first}/{count}/{cents}", open)
        .get("/accounts/{number}", balance)
        .get("/total", total)
        .handle(request)
}

fn number(request: &Request<'_>, name: &str) -> Result<u64> {
    let bad = |_| Error::bad_request(format!("{name} is to be a number"));
    request.param(name).parse().map_err(bad)
}

fn amount(request: &Request<'_>) -> Result<i64> {
    let cents = i64::try_from(number(request, "cents")?).ok();
    cents.ok_or_else(|| Error::bad_request("there is not so much money"))
}

fn account(number: u64) -> Result<(Key, Account)> {
    let key = Key(number.into());
    let missing = || Error::not_found(format!("there is no account {number}"));
    Ok((key, ACCOUNTS.get(key)?.ok_or_else(missing)?))
}

fn transfer(request: &Request<'_>) -> Result<Response> {
    let cents = amount(request)?;
    let (from, to) = (number(request, "from")?, number(request, "to")?);
    if from == to {
        return Err(Error::bad_request("an account cannot pay itself"));
    }
    let ((from, mut payer), (to, mut payee)) = (account(from)?, account(to)?);
    if payer.cents < cents {
        return Ok(Response::text("too little money\n").status(422));
    }
    payer.cents -= cents;
    let more = payee.cents.checked_add(cents);
    payee.cents = more.ok_or_else(|| Error::bad_request("so much fits no account"))?;
    ACCOUNTS.update(from, &payer)?;
    ACCOUNTS.update(to, &payee)?;
    Ok(Response::text(format!("{} {}\n", payer.cents, payee.cents)))
}

fn open(request: &Request<'_>) -> Result<Response> {
    let (first, count) = (number(request, "first")?, number(request, "count")?);
    let cents = amount(request)?;
    if count > AT_ONCE {
        return Err(Error::bad_request(format!("open {AT_ONCE} accounts at once, or fewer")));
    }
    ACCOUNTS.create()?;
    for number in first..first.saturating_add(count) {
        ACCOUNTS.insert_with_key(Key(number.into()), &Account { cents })?;
    }
    Ok(Response::text(format!("{count}\n")).status(201))
}

fn balance(request: &Request<'_>) -> Result<Response> {
    let (_, account) = account(number(request, "number")?)?;
    Ok(Response::text(format!("{}\n", account.cents)))
}

fn total(_: &Request<'_>) -> Result<Response> {
    let (mut count, mut sum, mut least) = (0_u64, 0_i128, i64::MAX);
    let seen = ACCOUNTS.visit(Key::MIN, Key::MAX, |key, document| {
        let account = ACCOUNTS.decode(key, document)?;
        count += 1;
        sum += i128::from(account.cents);
        least = least.min(account.cents);
        Ok(())
    });
    match seen {
        Ok(()) => Ok(Response::text(format!("{count} {sum} {least}\n"))),
        Err(Error { status: Status::UnknownStore, .. }) => Ok(Response::text("0 0 0\n")),
        Err(error) => Err(error),
    }
}

planck_sdk::export!(handler);
