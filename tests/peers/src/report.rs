//! Medians, ratios, and the two files they go to.
//!
//! What must stay true: a ratio compares figures of this run only; it is ours
//! over the best peer's, turned so that more than 1 is better for us.

use crate::args::Args;
use crate::engines::Engine;
use crate::rows::Rows;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write;

const OURS: &str = "planck";

fn more_is_better(metric: &str) -> bool {
    metric.ends_with("/s")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Writes `results.json` and `results.md`, and prints the latter.
pub fn write(args: &Args, engines: &[Engine], rows: &Rows) -> Result<(), String> {
    // In the order in which they were measured first.
    let mut order: Vec<(&str, &str)> = Vec::new();
    let mut figures: BTreeMap<(&str, &str), BTreeMap<&str, Vec<f64>>> = BTreeMap::new();
    for row in &rows.0 {
        let what = (row.workload.as_str(), row.metric);
        if !order.contains(&what) {
            order.push(what);
        }
        figures.entry(what).or_default().entry(row.engine).or_default().push(row.value);
    }
    let mut lines = Vec::new();
    let mut table = header(args, engines);
    for what in order {
        let (workload, metric) = what;
        let medians: BTreeMap<&str, f64> =
            figures[&what].iter().map(|(engine, all)| (*engine, median(all.clone()))).collect();
        let better = |a: f64, b: f64| if more_is_better(metric) { a.max(b) } else { a.min(b) };
        let peers = medians.iter().filter(|(engine, _)| **engine != OURS).map(|(_, m)| *m);
        let best = peers.reduce(better);
        let ratio = |value: f64| {
            let best = best.filter(|best| *best > 0.0 && value > 0.0)?;
            Some(if more_is_better(metric) { value / best } else { best / value })
        };
        for (engine, value) in &medians {
            lines.push(json!({
                "workload": workload, "engine": engine, "metric": metric, "median": value,
                "rounds": figures[&what][engine], "ratio_to_best_peer": ratio(*value),
            }));
        }
        if let Some(machine) = medians.get("machine") {
            let _ = writeln!(table.1, "| {workload} | {metric} | {} |", digits(*machine));
            continue;
        }
        let _ = write!(table.0, "| {workload} | {metric} |");
        for engine in engines {
            let value = medians.get(engine.name).map_or("".into(), |v| digits(*v));
            let _ = write!(table.0, " {value} |");
        }
        let ours = medians.get(OURS).and_then(|ours| ratio(*ours));
        let _ = writeln!(table.0, " {} |", ours.map_or("".into(), |r| format!("{r:.2}")));
    }
    let text = format!(
        "{}\n## The machine's floor\n\n| what | metric | median |\n|---|---|---|\n{}",
        table.0, table.1
    );
    let put = |name: &str, bytes: &str| {
        let path = args.out.join(name);
        std::fs::write(&path, bytes).map_err(|e| format!("{}: {e}", path.display()))
    };
    let json = serde_json::to_string_pretty(&lines).map_err(|e| e.to_string())?;
    put("results.json", &json)?;
    put("results.md", &text)?;
    println!("{text}");
    Ok(())
}

/// The head of the table, and an empty second table.
fn header(args: &Args, engines: &[Engine]) -> (String, String) {
    let mut text = format!(
        "# Planck's storage engine beside its peers\n\n{} keys, {} rounds, medians. The last \
         column is ours against the best peer, more than 1 is better for us. No compression; a \
         cache of 256 MiB and write buffers of 64 MiB where an engine has them. \"put\" without \
         \"durable\": a killed process loses nothing (redb: see below). What each verifies:\n\n",
        args.keys, args.rounds
    );
    for engine in engines {
        let _ = writeln!(text, "* {}: {}", engine.name, engine.checks);
    }
    let names: Vec<_> = engines.iter().map(|e| e.name).collect();
    let _ = writeln!(text, "\n| workload | metric | {} | ours / best |", names.join(" | "));
    let _ = writeln!(text, "|---|---|{}---|", "---|".repeat(names.len()));
    (text, String::new())
}

fn digits(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}
