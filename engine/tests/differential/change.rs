//! The evaluator's changes.

use crate::naive::{Answer, Row, Store, at, scaled};
use crate::query::{Change, Edits, Expr, Image, Query};
use crate::value::{V, key_text};
use proto::Status;

pub fn changed(
    query: &Query,
    change: &Change,
    image: Option<Image>,
    rows: &[Row],
    a: &mut Store,
) -> Answer {
    let mut next: Vec<(u128, Option<V>)> = Vec::new();
    let mut told = Vec::new();
    let mut tell = |key, before: Option<V>, after: Option<V>| {
        let state = if image == Some(Image::Before) { before } else { after };
        told.extend(state.map(|doc| (Some(key), doc)));
    };
    let mut number = rows.len() as u64;
    for (key, old) in rows {
        let key = key.expect("only documents change");
        let new = match change {
            Change::Delete => None,
            Change::Replace(document) => Some(document.clone()),
            Change::Edit(edits) => match edited(edits, old) {
                Ok(new) => Some(new),
                Err(why) => return Answer::Refused(Status::BadDocument, why),
            },
        };
        next.push((key, new.clone()));
        tell(key, Some(old.clone()), new);
    }
    if let (true, Change::Edit(edits)) = (rows.is_empty(), change)
        && !edits.upsert.is_empty()
    {
        // The key is that of the filter if that is all the filter says.
        let key = match &query.filter {
            Some(Expr::Compare(path, "=", V::Text(text))) if path == "key" => {
                u128::from_str_radix(text, 16).ok().filter(|key| key_text(*key) == *text)
            }
            _ => None,
        };
        if key.is_some_and(|key| a.contains_key(&key)) {
            return Answer::Refused(Status::KeyExists, String::new());
        }
        let key = key.unwrap_or(query.fresh);
        match edited(edits, &V::Doc(vec![])) {
            Ok(new) => {
                next.push((key, Some(new.clone())));
                tell(key, None, Some(new));
                number = 1;
            }
            Err(why) => return Answer::Refused(Status::BadDocument, why),
        }
    }
    for (key, new) in next {
        match new {
            Some(new) => a.insert(key, new),
            None => a.remove(&key),
        };
    }
    if image.is_some() { Answer::Rows(told) } else { Answer::Count(number) }
}

fn edited(edits: &Edits, old: &V) -> Result<V, String> {
    let mut new = old.clone();
    // The values are of the document as it was. New fields come in the order set,
    // upsert, inc, push: so are the steps written.
    let mut puts: Vec<(&String, V)> = Vec::new();
    puts.extend(edits.set.iter().chain(&edits.upsert).map(|(p, v)| (p, v.clone())));
    for (path, more) in &edits.inc {
        let sum = match at(old, path) {
            None => more.clone(),
            Some(held) => add(held, more)?,
        };
        puts.push((path, sum));
    }
    for (path, item) in &edits.push {
        let mut items = match at(old, path) {
            None => vec![],
            Some(V::Array(items)) => items.clone(),
            Some(other) => return Err(format!("{other:?} is no array")),
        };
        items.push(item.clone());
        puts.push((path, V::Array(items)));
    }
    for (path, value) in puts {
        set(&mut new, path, value)?;
    }
    for path in &edits.unset {
        unset(&mut new, path);
    }
    Ok(new)
}

fn add(a: &V, b: &V) -> Result<V, String> {
    if !a.is_number() {
        return Err(format!("{a:?} is no number"));
    }
    let whole = |v: &V| match v {
        V::Int(n) => Some(i64::from(*n)),
        V::Long(n) => Some(*n),
        _ => None,
    };
    let float = |v: &V| match v {
        V::Double(d) => *d,
        other => whole(other).expect("an integer") as f64,
    };
    match (a, b) {
        (V::Decimal(..), V::Double(_)) | (V::Double(_), V::Decimal(..)) => {
            Err("a decimal and a double".to_owned())
        }
        (V::Decimal(..), _) | (_, V::Decimal(..)) => Ok(V::Decimal(scaled(a) + scaled(b), -4)),
        (V::Double(_), _) | (_, V::Double(_)) => Ok(V::Double(float(a) + float(b))),
        _ => {
            let (x, y) = (whole(a).expect("an integer"), whole(b).expect("an integer"));
            let sum = x.checked_add(y).ok_or("more than 64 bits")?;
            match (a, b, i32::try_from(sum)) {
                (V::Int(_), V::Int(_), Ok(sum)) => Ok(V::Int(sum)),
                _ => Ok(V::Long(sum)),
            }
        }
    }
}

pub fn set(value: &mut V, path: &str, new: V) -> Result<(), String> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(f, r)| (f, Some(r)));
    let slot = match value {
        V::Doc(fields) => match fields.iter().position(|(name, _)| name == first) {
            Some(at) => &mut fields[at].1,
            None => {
                fields.push((first.to_owned(), V::Doc(vec![])));
                &mut fields.last_mut().expect("just pushed").1
            }
        },
        V::Array(items) => {
            let at = first.parse::<usize>().map_err(|e| e.to_string())?;
            if at > items.len() {
                return Err("beyond the end".to_owned());
            }
            if at == items.len() {
                items.push(V::Doc(vec![]));
            }
            &mut items[at]
        }
        other => return Err(format!("{other:?} has no fields")),
    };
    match rest {
        Some(rest) => set(slot, rest, new),
        None => {
            *slot = new;
            Ok(())
        }
    }
}

pub fn unset(value: &mut V, path: &str) {
    let (first, rest) = path.split_once('.').map_or((path, None), |(f, r)| (f, Some(r)));
    match (value, rest) {
        (V::Doc(fields), None) => fields.retain(|(name, _)| name != first),
        (V::Doc(fields), Some(rest)) => {
            if let Some((_, inner)) = fields.iter_mut().find(|(name, _)| name == first) {
                unset(inner, rest);
            }
        }
        (V::Array(items), rest) => {
            if let Some(slot) = first.parse::<usize>().ok().and_then(|at| items.get_mut(at)) {
                match rest {
                    None => *slot = V::Null,
                    Some(rest) => unset(slot, rest),
                }
            }
        }
        _ => {}
    }
}
