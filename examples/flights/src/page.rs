//! What every page has: its head and foot, the stylesheet, and how errors look.
//!
//! Invariant: a page loads nothing from elsewhere and runs no script; its content
//! security policy says so.

use planck_sdk::host::{Level, log};
use planck_sdk::proto::Class;
use planck_sdk::{Error, Html, Request, Response, Result};

const STYLE: &str = include_str!("style.css");
const ICON: &str = include_str!("icon.svg");
/// Names this very stylesheet, so that it may be kept for good.
const STYLE_VERSION: u32 = fnv(STYLE.as_bytes());
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

const fn fnv(bytes: &[u8]) -> u32 {
    let mut hash = 0x811c_9dc5;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    hash
}

/// A page of that title; `body` writes what is inside `main`.
pub fn layout(title: &str, body: impl FnOnce(&mut Html) -> Result<()>) -> Result<Html> {
    let mut page = Html::new();
    page.raw("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">")
        .raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">")
        .raw("<meta name=\"color-scheme\" content=\"light dark\">")
        .element("title", format_args!("{title} · New York Departures"))
        .raw("<link rel=\"icon\" href=\"/icon.svg\" type=\"image/svg+xml\">")
        .raw("<link rel=\"stylesheet\"")
        .attribute("href", format_args!("/style.css?v={STYLE_VERSION:08x}"))
        .raw("></head>\n<body><a class=\"skip\" href=\"#main\">Skip to the content</a>")
        .raw("<header class=\"masthead\"><div class=\"wrap\"><a class=\"brand\" href=\"/\">")
        .raw("<img src=\"/icon.svg\" alt=\"\" width=\"28\" height=\"28\">")
        .raw("<span>New York Departures</span></a>")
        .raw("<span class=\"tag\">EWR · JFK · LGA · 2013</span></div></header>\n")
        .raw("<main id=\"main\" class=\"wrap\">");
    body(&mut page)?;
    page.raw("</main>\n<footer class=\"wrap\"><p>Every flight that left New York City in 2013, ")
        .raw("from the nycflights13 data. Served by a guest inside Planck: ")
        .raw("the code runs where the data lives. ")
        .raw("<a href=\"/api/flights\">The same as JSON</a></p></footer></body></html>\n");
    Ok(page)
}

/// A page as a response.
pub fn respond(page: Html) -> Response {
    Response::html(page)
        .header("content-security-policy", POLICY)
        .header("x-content-type-options", "nosniff")
        .header("referrer-policy", "same-origin")
        .header("cache-control", "no-cache")
}

/// The page of an error. Faults that are not the visitor's are logged; their
/// inside is not shown.
///
/// # Errors
/// None that can come.
pub fn error(request: &Request<'_>, error: &Error) -> Result<Response> {
    let failed = error.status.class() == Class::Failed;
    if failed {
        log(Level::Error, &format!("{} {}: {error}", request.method(), request.path()));
    }
    let status = error.status.http();
    let title = match status {
        404 => "Not on the board",
        400 | 413 | 422 => "That did not work",
        401 | 403 => "Not allowed",
        429 | 503 | 504 => "Too busy just now",
        _ => "Something broke here",
    };
    let page = layout(title, |page| {
        page.raw("<section class=\"panel lost\">").element("h1", title).raw("<p>");
        if failed {
            page.text("The fault is ours. Please try again in a while.");
        } else {
            page.text(sentence(&error.message));
        }
        page.raw("</p><p class=\"code\">").text(format_args!("{status} · {}", error.status));
        page.raw("</p><p><a class=\"button\" href=\"/\">Back to the board</a></p></section>");
        Ok(())
    })?;
    Ok(respond(page).status(status))
}

/// A message as a sentence: a capital first, a full stop last.
fn sentence(message: &str) -> String {
    let mut letters = message.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    let stop = if message.ends_with(['.', '?', '!']) { "" } else { "." };
    format!("{first}{}{stop}", letters.as_str())
}

/// `GET /style.css`.
pub fn style(_: &Request<'_>) -> Result<Response> {
    Ok(kept("text/css; charset=utf-8", STYLE))
}

/// `GET /icon.svg`.
pub fn icon(_: &Request<'_>) -> Result<Response> {
    Ok(kept("image/svg+xml", ICON))
}

fn kept(kind: &str, body: &'static str) -> Response {
    Response::new(200)
        .header("content-type", kind)
        .header("cache-control", "public, max-age=86400")
        .header("x-content-type-options", "nosniff")
        .body(body)
}

/// A number with its thousands apart: `1,058`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_and_sentences() {
        assert_eq!(
            [0, 999, 1000, 336_776].map(thousands),
            ["0", "999", "1,000", "336,776"].map(str::to_owned)
        );
        assert_eq!(sentence("there is no flight \"x\""), "There is no flight \"x\".");
        assert_eq!(sentence(""), ".");
    }
}
