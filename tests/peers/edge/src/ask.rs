//! Who asks: wrk over HTTP/1.1, h2load over HTTP/2 in the clear; one thread, eight
//! requests at once.

use crate::cpu;
use crate::servers::Server;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is asked, again and again.
pub struct Case {
    pub name: &'static str,
    /// Before and after the key of a flight; without a `{}` there is no key.
    pub path: &'static str,
    /// The body of a form, if something is sent.
    pub form: Option<&'static str>,
    /// The status of every answer.
    pub status: u16,
}

pub const CASES: &[Case] = &[
    Case { name: "empty handler", path: "/api/health", form: None, status: 200 },
    Case { name: "point read", path: "/api/point/{}", form: None, status: 200 },
    Case {
        name: "a flight and all that belongs to it",
        path: "/api/flights/{}",
        form: None,
        status: 200,
    },
    Case {
        name: "insert (a form)",
        path: "/flights/{}/reports",
        form: Some("name=Ada&minutes=95&reason=Weather"),
        status: 303,
    },
    Case { name: "static file, 4 KiB", path: "/file.txt", form: None, status: 200 },
];

/// What came of one run.
pub struct Run {
    pub per_second: f64,
    /// In microseconds.
    pub p50: f64,
    pub p99: f64,
    /// Of the server's CPU, in microseconds.
    pub cpu: f64,
}

/// The keys that are asked for, as files for those who ask.
pub struct Asker {
    dir: PathBuf,
    keys: Vec<String>,
}

const SCRIPT: &str = r#"
local n, requests = 0, {}
-- Only now is the Host header known.
function init(args)
  local form, headers = os.getenv("EDGE_FORM"), {}
  if form then headers["content-type"] = "application/x-www-form-urlencoded" end
  headers["Host"] = wrk.headers["Host"]
  for line in io.lines(os.getenv("EDGE_PATHS")) do
    requests[#requests + 1] = wrk.format(os.getenv("EDGE_METHOD"), line, headers, form)
  end
end
function request() n = n % #requests + 1; return requests[n] end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format("EDGE %d %d %d %d %d\n", summary.requests, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"#;

impl Asker {
    pub fn new(dir: &Path, keys: Vec<String>) -> Result<Asker, String> {
        let put = |name: &str, text: &str| {
            let path = dir.join(name);
            std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))
        };
        put("wrk.lua", SCRIPT)?;
        Ok(Asker { dir: dir.to_owned(), keys })
    }

    fn write(&self, name: &str, lines: impl Iterator<Item = String>) -> Result<PathBuf, String> {
        let path = self.dir.join(name);
        let text: String = lines.map(|line| line + "\n").collect();
        std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(path)
    }

    fn paths(&self, case: &Case) -> Vec<String> {
        match case.path.contains("{}") {
            true => self.keys.iter().map(|key| case.path.replace("{}", key)).collect(),
            false => vec![case.path.to_owned()],
        }
    }

    /// Over HTTP/1.1, for so many seconds.
    pub fn http1(&self, server: &Server, case: &Case, seconds: u64) -> Result<Run, String> {
        let paths = self.write("paths", self.paths(case).into_iter())?;
        let ask = |seconds: u64| {
            let mut wrk = Command::new("wrk");
            wrk.args(["-t1", "-c8", &format!("-d{seconds}s"), "-s"])
                .arg(self.dir.join("wrk.lua"))
                .arg(&server.url)
                .env("EDGE_PATHS", &paths)
                .env("EDGE_METHOD", if case.form.is_some() { "POST" } else { "GET" });
            if let Some(form) = case.form {
                wrk.env("EDGE_FORM", form);
            }
            said(wrk)
        };
        ask(1)?;
        let before = cpu::seconds(server.pid(), server.also);
        let out = ask(seconds)?;
        let used = cpu::seconds(server.pid(), server.also) - before;
        let line = out.lines().find_map(|line| line.strip_prefix("EDGE ")).unwrap_or_default();
        let figures: Vec<f64> = line.split(' ').filter_map(|n| n.parse().ok()).collect();
        let [requests, micros, errors, p50, p99] = figures[..] else {
            return Err(format!("wrk said what is not understood: {out}"));
        };
        if errors > 0.0 {
            return Err(format!("{}: {errors} of {requests} requests failed", case.name));
        }
        Ok(Run { per_second: requests / (micros / 1e6), p50, p99, cpu: used * 1e6 / requests })
    }

    /// Over HTTP/2 in the clear.
    pub fn http2(&self, server: &Server, case: &Case, seconds: u64) -> Result<Run, String> {
        let urls = self.paths(case).into_iter().map(|path| format!("{}{path}", server.url));
        let urls = self.write("urls", urls)?;
        let log = self.dir.join("h2load.log");
        let ask = |seconds: u64, log: &Path| {
            std::fs::remove_file(log).ok();
            let mut h2load = Command::new("h2load");
            h2load.args(["-t1", "-c8", "-m1", &format!("-D{seconds}"), "-i"]).arg(&urls);
            h2load.arg(format!("--log-file={}", log.display()));
            if let Some(form) = case.form {
                let body = self.dir.join("form");
                std::fs::write(&body, form).map_err(|e| e.to_string())?;
                h2load.args(["-H", "content-type: application/x-www-form-urlencoded", "-d"]);
                h2load.arg(body);
            }
            said(h2load)
        };
        ask(1, &self.dir.join("h2load.warm"))?;
        let before = cpu::seconds(server.pid(), server.also);
        ask(seconds, &log)?;
        let used = cpu::seconds(server.pid(), server.also) - before;
        let text = std::fs::read_to_string(&log).map_err(|e| format!("{}: {e}", log.display()))?;
        let mut times = Vec::new();
        let want = case.status.to_string();
        for line in text.lines() {
            let mut fields = line.split('\t').skip(1);
            match (fields.next(), fields.next().and_then(|n| n.parse::<u32>().ok())) {
                (Some(status), Some(micros)) if status == want => times.push(micros),
                (status, _) => {
                    return Err(format!("{}: an answer has the status {status:?}", case.name));
                }
            }
        }
        times.sort_unstable();
        let at = |part: f64| {
            let at = (times.len().saturating_sub(1) as f64 * part) as usize;
            times.get(at).map_or(0.0, |n| f64::from(*n))
        };
        let requests = times.len() as f64;
        let per_second = requests / seconds as f64;
        Ok(Run { per_second, p50: at(0.5), p99: at(0.99), cpu: used * 1e6 / requests })
    }
}

fn said(mut command: Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let out = command.output().map_err(|e| format!("{program} cannot be started: {e}"))?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    match out.status.success() {
        true => Ok(text),
        false => Err(format!("{program} failed: {text}{}", String::from_utf8_lossy(&out.stderr))),
    }
}
