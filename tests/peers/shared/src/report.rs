//! Medians, ratios, and the two files they go to.
//!
//! What must stay true: a ratio compares figures of this run only; it is ours
//! over a peer's, turned so that more than 1 is better for us.

use crate::rows::Rows;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// Ours, where there is one of us only.
pub const OURS: &str = "planck";
/// Who figures of the machine itself are of: they go to a table of their own.
pub const MACHINE: &str = "machine";

/// What is written, and where.
pub struct Report<'a> {
    pub out: &'a Path,
    /// The files are called so, `.json` and `.md`.
    pub stem: &'a str,
    /// What stands above the table.
    pub head: String,
    /// The columns.
    pub engines: Vec<&'static str>,
    /// Those of them that are ours. The first is the one that is compared with peers;
    /// the others stand beside it.
    pub ours: &'a [&'static str],
    /// Whether each peer's figure is followed by ours over it.
    pub each: bool,
}

fn more_is_better(metric: &str) -> bool {
    metric.ends_with("/s")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

impl Report<'_> {
    /// Writes both files, and prints the table.
    pub fn write(&self, rows: &Rows) -> Result<(), String> {
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
        let (mut table, mut floor) = (self.columns(), String::new());
        for what in order {
            let (workload, metric) = what;
            let medians: BTreeMap<&str, f64> =
                figures[&what].iter().map(|(engine, all)| (*engine, median(all.clone()))).collect();
            let better = |a: f64, b: f64| if more_is_better(metric) { a.max(b) } else { a.min(b) };
            let peers =
                medians.iter().filter(|(engine, _)| !self.ours.contains(engine)).map(|(_, m)| *m);
            let best = peers.reduce(better);
            let over = |ours: f64, theirs: f64| {
                let ratio = if more_is_better(metric) { ours / theirs } else { theirs / ours };
                Some(ratio).filter(|ratio| ratio.is_finite() && *ratio > 0.0)
            };
            for (engine, value) in &medians {
                lines.push(json!({
                    "workload": workload, "engine": engine, "metric": metric, "median": value,
                    "rounds": figures[&what][engine],
                    "ratio_to_best_peer": best.and_then(|best| over(*value, best)),
                }));
            }
            if let Some(machine) = medians.get(MACHINE) {
                let _ = writeln!(floor, "| {workload} | {metric} | {} |", digits(*machine));
                continue;
            }
            let ours = self.ours.first().and_then(|ours| medians.get(ours).copied());
            let _ = write!(table, "| {workload} | {metric} |");
            for engine in &self.engines {
                let value = medians.get(engine);
                let _ = write!(table, " {}", value.map_or("".into(), |v| digits(*v)));
                let peer = value.filter(|_| self.each && !self.ours.contains(engine));
                if let Some(ratio) = peer.and_then(|value| over(ours?, *value)) {
                    let _ = write!(table, " ({ratio:.2})");
                }
                table.push_str(" |");
            }
            let ratio = ours.and_then(|ours| over(ours, best?));
            let _ = writeln!(table, " {} |", ratio.map_or("".into(), |r| format!("{r:.2}")));
        }
        if !floor.is_empty() {
            table.push_str(
                "\n## The machine's floor\n\n| what | metric | median |\n|---|---|---|\n",
            );
            table.push_str(&floor);
        }
        let put = |ending: &str, bytes: &str| {
            let path = self.out.join(format!("{}.{ending}", self.stem));
            std::fs::write(&path, bytes).map_err(|e| format!("{}: {e}", path.display()))
        };
        put("json", &serde_json::to_string_pretty(&lines).map_err(|e| e.to_string())?)?;
        put("md", &table)?;
        println!("{table}");
        Ok(())
    }

    fn columns(&self) -> String {
        let mut text = self.head.clone();
        let _ =
            writeln!(text, "\n| workload | metric | {} | ours / best |", self.engines.join(" | "));
        let _ = writeln!(text, "|---|---|{}---|", "---|".repeat(self.engines.len()));
        text
    }
}

fn digits(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}
