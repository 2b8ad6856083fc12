//! Lists that are appended to and read, several in one call: what a history is made of.
//!
//! `POST /do` with steps as JSON; the answer has what each read gave. Lists of even numbers
//! are arrays in documents, those of odd ones are documents in ranges of an index.

use planck_sdk::{Error, Key, Query, Request, Response, Result, Status, Store, host};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
enum Step {
    /// A list, and a value.
    Append(u64, u64),
    Read(u64),
    /// So many of them are there, empty, and both stores.
    Make(u64),
    /// Spins for so many microseconds, so that others come in between.
    Spin(u64),
    /// Answers by this status, whatever was done.
    Answer(u16),
    Trap,
}

#[derive(Serialize, Deserialize)]
struct Array {
    values: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
struct Part {
    list: u64,
    at: u64,
    value: u64,
}

const ARRAYS: Store<Array> = Store::open("arrays");
const PARTS: Store<Part> = Store::open("parts");

fn handler(request: &Request<'_>) -> Result<Response> {
    let steps: Vec<Step> = request.json()?;
    let (mut read, mut status) = (Vec::new(), 200);
    for step in steps {
        match step {
            Step::Append(list, value) => append(list, value)?,
            Step::Read(list) => read.push(values(list)?),
            Step::Make(lists) => make(lists)?,
            Step::Spin(micros) => {
                let until = host::now_micros() + micros;
                // Few looks: the host counts them.
                while host::now_micros() < until {
                    (0..2000).for_each(|n: u32| _ = std::hint::black_box(n));
                }
            }
            Step::Answer(other) => status = other,
            Step::Trap => panic!("asked to"),
        }
    }
    Ok(Response::json(&read)?.status(status))
}

fn make(lists: u64) -> Result<()> {
    ARRAYS.create()?;
    PARTS.create()?;
    for list in (0..lists).step_by(2) {
        ARRAYS.insert_with_key(key(list), &Array { values: Vec::new() })?;
    }
    Ok(())
}

fn key(list: u64) -> Key {
    Key(list.into())
}

fn array(list: u64) -> Result<Array> {
    ARRAYS.get(key(list))?.ok_or_else(|| Error::new(Status::NotFound, "no such list"))
}

fn values(list: u64) -> Result<Vec<u64>> {
    if list % 2 == 0 {
        return Ok(array(list)?.values);
    }
    let mut parts: Vec<Part> = Query::new("parts.filter(list = $1)").param(list as i64).rows()?;
    parts.sort_by_key(|part| part.at);
    Ok(parts.into_iter().map(|part| part.value).collect())
}

fn append(list: u64, value: u64) -> Result<()> {
    if list % 2 == 1 {
        let at = Query::new("parts.filter(list = $1).count()").param(list as i64).count()?;
        return PARTS.insert(&Part { list, at, value }).map(drop);
    }
    // By two ways.
    if value % 2 == 0 {
        let text = format!("arrays.filter(key = '{list:032x}').push({{values: {value}}})");
        return Query::new(&text).count().map(drop);
    }
    let mut array = array(list)?;
    array.values.push(value);
    ARRAYS.update(key(list), &array)
}

planck_sdk::export!(handler);
