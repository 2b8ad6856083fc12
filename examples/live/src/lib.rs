//! Responses that leave while they are made.
//!
//! ```text
//! GET  /numbers/{to}                numbers and their squares, a line each
//! GET  /zeros/{mib}                 so many MiB of nothing, in pieces of 64 KiB
//! GET  /broken/{after}              breaks off behind so many lines, on purpose
//! GET  /count/{to}                  an event each 100 ms, for an EventSource
//! GET  /watch/{store}               what changes in a store, for an EventSource
//! GET  /echo                        a WebSocket: what comes, and a tick now and then
//! ```

#[cfg(test)]
mod tests;

use planck_sdk::host::{self, Level};
use planck_sdk::{Error, Events, Request, Response, Result, Router, SocketEvent, Status, Watch};
use std::time::Duration;

/// Answers a request.
///
/// # Errors
/// What went wrong, which becomes a JSON problem, or breaks off what has begun.
pub fn handler(request: &Request<'_>) -> Result<Response> {
    Router::new()
        .get("/numbers/{to}", numbers)
        .get("/zeros/{mib}", zeros)
        .get("/broken/{after}", broken)
        .get("/count/{to}", count)
        .get("/watch/{store}", watch)
        .socket("/echo", echo)
        .handle(request)
}

fn number(request: &Request<'_>, name: &str) -> Result<u64> {
    let bad = |_| Error::bad_request(format!("{name} is to be a number"));
    request.param(name).parse().map_err(bad)
}

fn numbers(request: &Request<'_>) -> Result<Response> {
    let to = number(request, "to")?;
    let mut out = Response::new(200).header("content-type", "text/csv").stream()?;
    for n in 0..to {
        writeln!(out, "{n},{}", n * n)?;
    }
    Ok(out.end())
}

fn zeros(request: &Request<'_>) -> Result<Response> {
    let pieces = number(request, "mib")? * 16;
    let mut out = Response::new(200).stream()?;
    for _ in 0..pieces {
        out.write([0; 64 << 10])?;
    }
    Ok(out.end())
}

fn broken(request: &Request<'_>) -> Result<Response> {
    let after = number(request, "after")?;
    let mut out = Response::text("begin\n").stream()?;
    for n in 0..after {
        writeln!(out, "{n}")?;
    }
    out.flush()?;
    Err(Error::new(Status::Internal, "broken on purpose"))
}

fn count(request: &Request<'_>) -> Result<Response> {
    let to = number(request, "to")?;
    let last: u64 = request.last_event_id().and_then(|id| id.parse().ok()).unwrap_or(0);
    let mut events = Events::new();
    events.send(Some(&(last + 1).to_string()), None, &format!("{} of {to}", last + 1));
    let response = events.response();
    Ok(if last + 1 < to { response.again(Duration::from_millis(100)) } else { response })
}

/// Whoever asks may watch here: it is an example.
fn watch(request: &Request<'_>) -> Result<Response> {
    let watch = Watch::of(request.param("store"));
    let least = request.query("least").map(|least| least.parse::<i64>());
    match least {
        Some(Ok(least)) => watch.filter("n >= $1").param(least).response(),
        Some(Err(_)) => Err(Error::bad_request("least is to be a number")),
        None => watch.response(),
    }
}

fn echo(request: &Request<'_>) -> Result<Response> {
    let Some(socket) = request.socket() else { return Ok(Response::nothing()) };
    Ok(match socket.event {
        SocketEvent::Open if !request.is_same_origin() => Response::new(403),
        SocketEvent::Open => {
            let accepted = Response::accept().body("welcome").again(Duration::from_millis(100));
            // A browser that offers some goes away unless it gets one of them.
            let offered = request.header("sec-websocket-protocol").unwrap_or_default();
            if offered.split(',').any(|one| one.trim() == "echo") {
                accepted.header("sec-websocket-protocol", "echo")
            } else {
                accepted
            }
        }
        SocketEvent::Text("bye") => Response::nothing().close(4000, "you said so"),
        SocketEvent::Text("fail") => return Err(Error::new(Status::Internal, "asked to")),
        SocketEvent::Text("three") => {
            let mut out = Response::new(200).stream()?;
            for word in ["one", "two"] {
                out.write(word)?;
                out.flush()?;
            }
            out.write("three")?;
            out.end()
        }
        SocketEvent::Text(text) => Response::message(text),
        SocketEvent::Binary(bytes) => Response::bytes(bytes),
        SocketEvent::Tick => Response::message("tick"),
        SocketEvent::Closed(code) => {
            host::log(Level::Info, &format!("a WebSocket closed by {code}"));
            Response::nothing()
        }
    })
}

planck_sdk::export!(handler);
