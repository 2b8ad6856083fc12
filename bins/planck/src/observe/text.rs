//! Figures as Prometheus reads them: its text format, version 0.0.4.
//!
//! What must stay true: a family is named once, with its help and its kind before its
//! samples; a sample has the labels its family is declared with and no other; whatever a
//! label's value is, the page stays well-formed. Families without a sample are named too,
//! so that the list of them does not depend on what the service does.
//!
//! Written by hand: all that is told is counted elsewhere already, and a registry would
//! be a second place for it.

use platform::Distribution;
use std::fmt::Write;

/// How a family's figures move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only up.
    Counter,
    /// Up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// A line of the reference.
#[derive(Clone, Debug)]
pub struct Row {
    /// The family.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub help: &'static str,
}

/// The page, as far as it is written.
#[derive(Default)]
pub struct Page {
    text: String,
    rows: Vec<Row>,
}

/// A family of one figure of a thing: its name, what it tells, where it is.
pub type Figure<T> = (&'static str, &'static str, fn(&T) -> u64);

/// A family being written.
pub struct Family<'p> {
    text: &'p mut String,
    name: &'static str,
    labels: &'static [&'static str],
}

/// Bounds of a histogram's buckets: each is two to a power of what was recorded.
#[derive(Clone, Copy)]
pub struct Bounds {
    powers: (u32, u32),
    /// What one of what was recorded is, in the family's unit.
    unit: f64,
}

/// From a microsecond to 137 s, of nanoseconds.
pub const SECONDS: Bounds = Bounds { powers: (10, 37), unit: 1e-9 };
/// From 1 to 65,536.
pub const COUNT: Bounds = Bounds { powers: (0, 16), unit: 1.0 };

impl Page {
    /// Begins a family.
    pub fn family(
        &mut self,
        name: &'static str,
        kind: Kind,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Family<'_> {
        debug_assert!(self.rows.iter().all(|row| row.name != name), "{name} is there already");
        self.rows.push(Row { name, kind, labels, help });
        let unit = name.trim_end_matches("_total").rsplit('_').next().unwrap_or_default();
        write!(self.text, "# HELP {name} {help}\n# TYPE {name} {}\n", kind.name()).ok();
        if matches!(unit, "seconds" | "bytes") {
            // To this version of the format a comment, to the next one what it says.
            writeln!(self.text, "# UNIT {name} {unit}").ok();
        }
        Family { text: &mut self.text, name, labels }
    }

    /// A counter with no label.
    pub fn counter(&mut self, name: &'static str, help: &'static str, value: Option<u64>) {
        self.plain(name, Kind::Counter, help, value.map(|value| value as f64));
    }

    /// A gauge with no label.
    pub fn gauge(&mut self, name: &'static str, help: &'static str, value: Option<u64>) {
        self.plain(name, Kind::Gauge, help, value.map(|value| value as f64));
    }

    /// Counters with no label, of one thing; `None`: it is not there now.
    pub fn counters<T>(&mut self, of: Option<&T>, rows: &[Figure<T>]) {
        for &(name, help, figure) in rows {
            self.counter(name, help, of.map(figure));
        }
    }

    /// Gauges with no label, as [`Page::counters`].
    pub fn gauges<T>(&mut self, of: Option<&T>, rows: &[Figure<T>]) {
        for &(name, help, figure) in rows {
            self.gauge(name, help, of.map(figure));
        }
    }

    /// A figure with no label; `None`: there is none now.
    pub fn plain(
        &mut self,
        name: &'static str,
        kind: Kind,
        help: &'static str,
        value: Option<f64>,
    ) {
        let mut family = self.family(name, kind, &[], help);
        if let Some(value) = value {
            family.sample(&[], value);
        }
    }

    /// A histogram with no label.
    pub fn histogram(
        &mut self,
        name: &'static str,
        help: &'static str,
        bounds: Bounds,
        seen: Option<&Distribution>,
    ) {
        let mut family = self.family(name, Kind::Histogram, &[], help);
        if let Some(seen) = seen {
            family.distribution(&[], bounds, seen);
        }
    }

    /// The page.
    pub fn text(self) -> String {
        self.text
    }

    /// Its families.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }
}

impl Family<'_> {
    /// One figure, with the values of the family's labels.
    pub fn sample(&mut self, values: &[&str], value: f64) {
        self.line("", values, None, value);
    }

    /// A histogram's figures.
    pub fn distribution(&mut self, values: &[&str], bounds: Bounds, seen: &Distribution) {
        let count = seen.count();
        for power in bounds.powers.0..=bounds.powers.1 {
            let bound = (1u64 << power) as f64 * bounds.unit;
            // Shorter, and no less exact than what it was made of.
            let bound = format!("{}", (bound * 1e12).round() / 1e12);
            self.line("_bucket", values, Some(&bound), seen.at_most(power) as f64);
        }
        self.line("_bucket", values, Some("+Inf"), count as f64);
        self.line("_sum", values, None, seen.sum() as f64 * bounds.unit);
        self.line("_count", values, None, count as f64);
    }

    fn line(&mut self, suffix: &str, values: &[&str], bound: Option<&str>, value: f64) {
        debug_assert_eq!(values.len(), self.labels.len(), "{}", self.name);
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        let labels = self.labels.iter().copied().zip(values.iter().copied());
        let mut separator = '{';
        for (label, value) in labels.chain(bound.map(|bound| ("le", bound))) {
            write!(self.text, "{separator}{label}=\"").ok();
            for c in value.chars() {
                match c {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    c => self.text.push(c),
                }
            }
            self.text.push('"');
            separator = ',';
        }
        if separator == ',' {
            self.text.push('}');
        }
        writeln!(self.text, " {value}").ok();
    }
}
