//! Whether a server answers as it must, before it is measured.

use crate::ask::CASES;
use crate::servers::Server;
use serde_json::{Map, Value};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// One request on a connection of its own: status and body.
fn ask(server: &Server, method: &str, path: &str, form: &str) -> Result<(u16, String), String> {
    let address = server.url.trim_start_matches("http://");
    let failed = |e: std::io::Error| format!("{address}: {e}");
    let mut stream = TcpStream::connect(address).map_err(failed)?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(failed)?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
        form.len()
    )
    .map_err(failed)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).map_err(failed)?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").ok_or("an answer without a head")?;
    let status = head.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if is_chunked { joined(body) } else { body.to_owned() };
    Ok((status, body))
}

fn joined(mut chunks: &str) -> String {
    let mut whole = String::new();
    while let Some((length, rest)) = chunks.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).unwrap_or(0);
        if length == 0 {
            break;
        }
        whole.push_str(rest.get(..length).unwrap_or_default());
        chunks = rest.get(length + 2..).unwrap_or_default();
    }
    whole
}

/// The same, but for how a number is written.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Object(a), Value::Object(b)) => {
            // What is null may be left out.
            let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
            names.dedup();
            let of = |map: &Map<String, Value>, name: &str| map.get(name).cloned();
            names.iter().all(|name| {
                same(&of(a, name).unwrap_or(Value::Null), &of(b, name).unwrap_or(Value::Null))
            })
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (a, b) => a == b,
    }
}

/// Asks for each of these flights, each way, and looks at the answers; puts in a report
/// of each and looks whether it is there.
pub fn check(
    server: &Server,
    keys: &[String],
    expected: &[Map<String, Value>],
    file: &str,
) -> Result<(), String> {
    let json = |path: String| {
        let (status, body) = ask(server, "GET", &path, "")?;
        let value: Value = serde_json::from_str(&body)
            .map_err(|e| format!("GET {path}: status {status}, no JSON ({e}): {body}"))?;
        Ok::<_, String>(value)
    };
    let (status, body) = ask(server, "GET", "/api/health", "")?;
    if (status, body.as_str()) != (200, "ok\n") {
        return Err(format!("GET /api/health: {status} {body}"));
    }
    let (status, body) = ask(server, "GET", "/file.txt", "")?;
    if status != 200 || body != file {
        return Err(format!("GET /file.txt: status {status}, {} bytes", body.len()));
    }
    for (key, expected) in keys.iter().zip(expected) {
        let point = json(format!("/api/point/{key}"))?;
        if !same(&point, &expected["flight"]) {
            return Err(format!("the flight {key} is {point}, not {}", expected["flight"]));
        }
        let joined = json(format!("/api/flights/{key}"))?;
        for (name, value) in expected {
            if !same(&joined[name], value) {
                return Err(format!("{name} of {key} is {}, not {value}", joined[name]));
            }
        }
        let before = joined["reports"].as_array().map_or(0, Vec::len);
        let form = CASES.iter().find_map(|case| case.form).unwrap_or_default();
        let (status, body) = ask(server, "POST", &format!("/flights/{key}/reports"), form)?;
        if status != 303 {
            let body: String = body.chars().take(200).collect();
            return Err(format!("a report of {key}: status {status}: {body}"));
        }
        let after = json(format!("/api/flights/{key}"))?;
        let reports = after["reports"].as_array().cloned().unwrap_or_default();
        let last = reports.last().map(|report| (&report["name"], &report["minutes"]));
        if reports.len() != before + 1 || last != Some((&"Ada".into(), &95.into())) {
            return Err(format!("the reports of {key} after one more: {reports:?}"));
        }
    }
    Ok(())
}
