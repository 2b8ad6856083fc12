//! `planctl explain CODE`: what a status means. Asks no server.

use crate::failure::{Exit, Failure};
use crate::options::Global;
use crate::output;
use clap::Args;
use proto::{Class, Status};

/// Say what a code such as PLK-1202 means
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  planctl explain PLK-1202\n\n\
                        Needs no server. The codes stand in replies, in HTTP problems and in the log.")]
pub(crate) struct Explain {
    /// PLK-1202, or 1202
    code: String,
}

impl Explain {
    pub(crate) fn run(&self, global: &Global) -> Result<(), Failure> {
        let status = find(&self.code)?;
        let (meaning, http, exit) = (status.meaning(), status.http(), Exit::of(status) as i32);
        let advice = advice(status.class());
        if !global.json {
            return output::print(&format!(
                "{status}: {meaning}\n{advice}\nHTTP status {http}; planctl ends with {exit}."
            ));
        }
        output::print(&output::object(&[
            ("code", (&status.to_string()).into()),
            ("meaning", meaning.into()),
            ("advice", advice.into()),
            ("http", i32::from(http).into()),
            ("exit", exit.into()),
        ]))
    }
}

fn find(code: &str) -> Result<Status, Failure> {
    let digits = code.trim();
    let digits = digits
        .get(..4)
        .filter(|prefix| prefix.eq_ignore_ascii_case("PLK-"))
        .map_or(digits, |prefix| &digits[prefix.len()..]);
    let number: u16 = digits
        .parse()
        .map_err(|_| Failure::usage(format!("{code} is no code: write it as PLK-1202")))?;
    let status = Status::from_number(number).filter(|status| *status != Status::Ok);
    status.ok_or_else(|| {
        let message = format!(
            "this planctl knows no code {code}; one of the release of your server may know it"
        );
        Failure::new(Exit::NotFound, message)
    })
}

fn advice(class: Class) -> &'static str {
    match class {
        Class::Ok => "There is nothing to do.",
        Class::Invalid => "Change the request; the same one will fail again.",
        Class::NotFound => "Check the name or key.",
        Class::Denied => "Use a user whose role allows it, or check the key.",
        Class::Conflict => "Read what is there now, then decide whether to try again.",
        Class::TooLarge => "Ask for less at a time, or raise the limit in db.yaml.",
        Class::Busy => "Try again after a while.",
        Class::Failed => "Look at the server's log; trying again will hardly help.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_found_however_it_is_written() {
        for code in ["PLK-1202", "plk-1202", "1202", " PLK-1202 "] {
            assert_eq!(find(code).unwrap(), Status::UnknownStore, "{code}");
        }
    }

    #[test]
    fn what_is_no_code_is_a_usage_error_and_an_unknown_one_not_found() {
        let exit = |code| match find(code).unwrap_err() {
            Failure::Told { exit, .. } => exit,
            Failure::PipeClosed => panic!("no pipe is involved"),
        };
        for code in ["", "PLK-", "twelve", "PLK-99999", "é"] {
            assert_eq!(exit(code), Exit::Usage, "{code}");
        }
        for code in ["PLK-0001", "0", "PLK-1299"] {
            assert_eq!(exit(code), Exit::NotFound, "{code}");
        }
    }
}
