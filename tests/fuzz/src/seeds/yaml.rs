//! The two files of settings: every setting, one by one and all at once, and what is
//! refused. The names are those of the reference, so that a new setting is a new input.

use super::Seeds;

const REFERENCE: &str = include_str!("../../../../docs/settings.md");

/// The settings of a file: dotted name and default.
fn settings(file: &str) -> Vec<(&'static str, &'static str)> {
    let (_, rest) = REFERENCE.split_once(&format!("## {file}\n")).expect("the file's part");
    let rows = rest.lines().skip(1).skip_while(|line| line.is_empty());
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    let parse = |row: &'static str| {
        let mut cells = row.split(" | ");
        let name = cells.next()?.trim_start_matches("| ").trim_matches('`');
        Some((name, cells.next()?))
    };
    rows.map(|row| parse(row).expect("two cells")).collect()
}

/// `a.b: value` as YAML.
fn nested(name: &str, value: &str) -> String {
    if let Some((list, name)) = name.split_once("[].") {
        return format!("{list}: [{{name: a, url: 'https://a', {}}}]", nested(name, value));
    }
    let parts: Vec<&str> = name.split('.').collect();
    let open: String = parts[..parts.len() - 1].iter().map(|part| format!("{part}: {{")).collect();
    format!("{open}{}: {value}{}", parts[parts.len() - 1], "}".repeat(parts.len() - 1))
}

/// What stands for a default that is no value, or has words behind it.
fn value(default: &str) -> &str {
    match default.split(' ').next().unwrap_or_default() {
        word if word.starts_with('(') || word.contains('&') => "some",
        word => word,
    }
}

pub(super) fn make(seeds: &mut Seeds) {
    for (which, file) in [(0, "db.yaml"), (1, "service.yaml")] {
        let mut add = |name: &str, text: &str| {
            let name = format!("{}-{name}", file.trim_end_matches(".yaml"));
            seeds.add("settings", &name, [&[which][..], text.as_bytes()].concat());
        };
        for (name, default) in settings(file) {
            add(&name.replace('.', "-"), &nested(name, value(default)));
            add(&format!("{}-no", name.replace('.', "-")), &nested(name, "[-1]"));
        }
        add("nothing", "# nothing\n\n");
        add("null", "~");
        add("unknown", "a: 1\n");
        add("list", "- 1\n");
        let deep = "a: ".to_owned() + &"[".repeat(200) + &"]".repeat(200);
        add("deep", &deep);
        let bomb: String = (1..9)
            .map(|n| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(", ")))
            .collect();
        add("bomb", &format!("a0: &a0 [x, x]\n{bomb}"));
        add("no-anchor", "tls: *none\n");
        add("cut", "tls: {enabled: ");
        add("cut-text", "description: \"abc");
        add("tag", "tls: !!set {enabled}\n");
    }
    let mut add = |name: &str, which: u8, text: &str| {
        seeds.add("settings", name, [&[which][..], text.as_bytes()].concat());
    };
    add(
        "many",
        0,
        "port: 0\nbuffers: {memtable: 64MiB}\nallowed_ips: [10.0.0.0/8, '::1']\nlogging: {level: debug}\n",
    );
    add("twice", 0, "port: 1\nport: 2\n");
    add("over", 0, "port: 65536\n");
    add("size-over", 0, "buffers: {memtable: 5GiB}\n");
    add("size-wraps", 0, "buffers: {memtable: 18446744073709551615GiB}\n");
    add("range", 0, "allowed_ips: [10.0.0.0/40]\n");
    add("address", 0, "address: here\n");
    add("boolean", 0, "tls: {enabled: maybe}\n");
    add("level", 0, "logging: {level: loud}\n");
    add("one-of-a-pair", 0, "tls: {cert_file: a}\n");
    add("no-tls", 0, "tls: {enabled: false, client_ca_file: a}\n");
    add("documents", 0, "limits: {max_message_size: 1MiB}\n");
    add("name", 1, "name: My Service\n");
    add("description", 1, "description: \"two\\nlines\"\n");
    add("instances", 1, "wasm: {min_instances: 9}\n");
    let cron =
        |more: &str| format!("cron:\n- {{name: a, schedule: '30 3 * * MON', route: /a{more}}}\n");
    add("cron", 1, &cron(", timezone: Europe/Berlin, payload: x, missed: once"));
    let twice = cron("");
    add("cron-twice", 1, &(twice.clone() + twice.strip_prefix("cron:\n").expect("it begins so")));
    add("cron-zone", 1, &cron(", timezone: Nowhere"));
    add("cron-never", 1, "cron: [{name: a, schedule: '0 0 30 2 *', route: /a}]\n");
    add("jobs-pauses", 1, "jobs: {retry_base_ms: 2, retry_max_ms: 1}\n");
    add(
        "service",
        1,
        "name: flights\nwasm: {runtime: wasmi, memory: 65536}\nhttp: {static_dir: www}\n",
    );
}
