//! WebSockets of a page in Chromium, a client that is none of ours: what it sends and hears,
//! how they end, and that it finds its way to HTTP/1.1 where it speaks HTTP/2 to the page.

use super::*;
use tests::browser::Browser;

const PAGE: &str = include_str!("sockets.html");

/// The sum that the page makes of bytes.
fn sum(bytes: impl Iterator<Item = u8>) -> u32 {
    bytes.fold(7, |sum, byte| (sum * 31 + u32::from(byte)) % 1_000_003)
}

fn counted(length: usize) -> String {
    format!("bytes {length} {}", sum((0..length).map(|n| (n % 251) as u8)))
}

fn listen(tls: bool) -> (Planck, tempfile::TempDir) {
    let yaml = format!(
        "name: live\ntls: {{enabled: {tls}}}\nhttp: {{port: 0, static_dir: pages}}\n\
         wasm: {{min_instances: 1, max_instances: 3}}\n"
    );
    let dir = service_dir("port: 0\n", Some(&yaml));
    for folder in ["wasm", "pages"] {
        fs::create_dir(dir.path().join(folder)).unwrap();
    }
    fs::write(dir.path().join("pages/sockets.html"), PAGE).unwrap();
    fs::copy(live_module(), dir.path().join("wasm/planck.live.wasm")).unwrap();
    (Planck::start(dir.path()).unwrap_or_else(|said| panic!("{said}")), dir)
}

#[test]
fn a_page_in_chromium_speaks_by_websockets() {
    let large = "ä€😀".repeat(100_000);
    let large = format!("text {} {}", 4 * 100_000, sum(large.bytes()));
    // It offers permessage-deflate, which is not taken, and goes on without; and what is larger
    // than 131,000 bytes it sends in parts.
    let open = "open, extensions \"\", protocol \"\"\nwelcome";
    let messages = [
        open,
        "Grüße, 😀",
        "\0",
        &large,
        &counted(256),
        &counted(500_000),
        &counted(1 << 20),
        "one\ntwo\nthree",
        "close 4321 \"\" clean",
    ];
    let messages = messages.join("\n");
    let bye = format!("{open}\nclose 4000 \"you said so\" clean");
    let expected = [
        ("messages", messages.as_str()),
        ("bye", &bye),
        ("fail", &format!("{open}\nclose 1011 \"\" clean")),
        ("too large", &format!("{open}\nclose 1009 \"the message is too large\" clean")),
        ("no socket", "close 1006 \"\" broken"),
        ("another site", "close 1006 \"\" broken"),
        ("one of these", "open, extensions \"\", protocol \"echo\"\nclose 1005 \"\" clean"),
        // Chromium gives up where it offered some and got none.
        ("none of these", "close 1006 \"\" broken"),
    ];
    for tls in [false, true] {
        let (planck, _dir) = listen(tls);
        let mut browser = Browser::start();
        browser.trust_all();
        let scheme = if tls { "https" } else { "http" };
        browser.open(&format!("{scheme}://{}/sockets.html", planck.http.unwrap()));
        let spoken =
            browser.script("performance.getEntriesByType('navigation')[0].nextHopProtocol");
        assert_eq!(spoken, if tls { "h2" } else { "http/1.1" });
        for (name, wanted) in expected {
            let found = format!("heard[{name:?}]");
            tests::until(name, || browser.script(&found).is_string());
            assert_eq!(browser.script(&found), wanted, "{name}, TLS: {tls}");
        }
        drop(browser);
        let (code, lines) = planck.stop();
        assert_eq!(code, Some(0));
        for code in [4321, 4000, 1011, 1009, 1005] {
            let told = lines.iter().filter(|l| l.ends_with(&format!("closed by {code}"))).count();
            assert_eq!(told, 1, "{code}: {lines:#?}");
        }
    }
}
