//! Jobs that come by a timetable, and what the host alone says of a job's call.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use tests::Planck;
use tests::asker::GUEST;

use super::{RUNTIMES, dir_of, start_in};

/// Answers every request with 404 and the request itself.
const ECHO: &str = r#"
(module
  (memory (export "memory") 4)
  (data (i32.const 0) "\01\94\01\00\00")
  (func (export "planck_abi") (result i32) (i32.const 1))
  (func (export "alloc") (param i32) (result i32) (i32.const 131072))
  (func (export "process") (param $ptr i32) (param $len i32) (result i64)
    (memory.copy (i32.const 5) (local.get $ptr) (local.get $len))
    (i64.extend_i32_u (i32.add (i32.const 5) (local.get $len)))))
"#;

fn ask_with(to: SocketAddr, headers: &str) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    let head = format!("GET /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_timetable_fires_each_time_once_and_only_the_host_says_whose_call_it_is() {
    let cron = "jobs: {retry_base_ms: 1}\ncron:\n- {name: often, schedule: '* * * * * *', \
                timezone: Europe/Berlin, route: /tick?a=1, payload: hello}";
    for runtime in RUNTIMES {
        let dir = dir_of(ECHO, runtime, cron);
        let mut planck = start_in(&dir);
        // A stranger says what only the host says.
        let echo = ask_with(
            planck.http.unwrap(),
            "planck-job: 1\r\nPlanck-Attempt: 1\r\nplanck-cron: often\r\nx-a: b\r\n",
        );
        assert!(echo.contains("x-a") && !echo.to_lowercase().contains("planck-"), "{echo}");
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(1300));
            planck.kill();
            planck = start_in(&dir);
        }
        thread::sleep(Duration::from_millis(1300));
        // Each is refused by this guest, and so kept.
        let out = planck.planctl(&["query", "_dead_jobs.orderBy(due)", "--json"]);
        assert!(out.status.success(), "{out:?}");
        let out = String::from_utf8(out.stdout).unwrap();
        let mut times = Vec::new();
        for line in out.lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!((&row["cron"], &row["path"]), (&"often".into(), &"/tick?a=1".into()));
            let error = row["error"].as_str().unwrap();
            for said in ["planck-job", "planck-attempt", "planck-cron", "idempotency-key"] {
                assert!(error.contains(said), "{said} is not in {error:?}");
            }
            times.push(row["due"]["$date"].as_str().unwrap().to_owned());
        }
        println!("{runtime}: {times:?}");
        assert!(times.len() >= 4, "{times:?}");
        // By the second, none twice, and none left out however often it was killed.
        let seconds: Vec<i64> = times
            .iter()
            .map(|time| {
                let (minutes, seconds) = (time[14..16].parse::<i64>(), time[17..19].parse::<i64>());
                minutes.unwrap() * 60 + seconds.unwrap()
            })
            .collect();
        for pair in seconds.windows(2) {
            assert_eq!((pair[1] - pair[0]).rem_euclid(3600), 1, "{times:?}");
        }
        assert_eq!(planck.stop().0, Some(0));
    }
}

#[test]
fn what_cannot_be_a_timetable_stops_the_start() {
    for (entry, said) in [
        ("{name: a, schedule: '* * *', route: /a}", "is none"),
        ("{name: a, schedule: '0 0 30 2 *', route: /a}", "never comes"),
        ("{name: a, schedule: '0 3 * * *', route: /a, timezone: Mars/Olympus}", "no time zone"),
        ("{name: a, route: /a}", "has no schedule"),
        ("{name: a, schedule: '0 3 * * *'}", "has no route"),
        ("{name: a, schedule: '0 3 * * *', route: a}", "beginning with /"),
    ] {
        let dir = dir_of(GUEST, "wasmi", &format!("cron:\n- {entry}"));
        let Err(why) = Planck::start(dir.path()) else { panic!("{entry} was taken") };
        assert!(why.contains("service.yaml") && why.contains(said), "{entry}: {why}");
    }
}
