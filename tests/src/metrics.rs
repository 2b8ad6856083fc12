//! A strict reader of Prometheus' text format, version 0.0.4, as pages of `/metrics` are
//! to keep it. What it does not like it says.
//!
//! Invariant: it accepts less than Prometheus does: one family at a time with help and
//! kind in front, names as our conventions are, no label twice, no series twice.

use std::collections::BTreeMap;

/// A family and its samples.
#[derive(Clone, Debug, Default)]
pub struct Family {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// Each series: the name behind the family's, its labels, and the value.
    pub samples: Vec<(String, Labels, f64)>,
}

/// Labels and their values.
pub type Labels = BTreeMap<String, String>;

/// A page.
#[derive(Clone, Debug, Default)]
pub struct Page(pub BTreeMap<String, Family>);

impl Page {
    /// Reads a page.
    ///
    /// # Errors
    /// The line, and what is wrong with it.
    pub fn parse(text: &str) -> Result<Page, String> {
        let mut page = Page::default();
        let mut now: Option<(String, Family)> = None;
        let mut waits_for_type = None;
        let body = text.strip_suffix('\n').ok_or("the page does not end its last line")?;
        for line in body.split('\n') {
            let wrong = |what: &str| format!("{what}: {line:?}");
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').ok_or_else(|| wrong("no help"))?;
                if !is_name(name) || !name.starts_with("planck_") || help.is_empty() {
                    return Err(wrong("not a family"));
                }
                page.take(now.take()).map_err(|why| wrong(&why))?;
                waits_for_type = Some(name.to_owned());
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').ok_or_else(|| wrong("no kind"))?;
                if waits_for_type.take().as_deref() != Some(name) {
                    return Err(wrong("a kind without its help"));
                }
                if !matches!(kind, "counter" | "gauge" | "histogram")
                    || (kind == "counter") != name.ends_with("_total")
                {
                    return Err(wrong("not a kind for that name"));
                }
                now = Some((name.to_owned(), Family { kind: kind.to_owned(), samples: vec![] }));
            } else if let Some(rest) = line.strip_prefix("# UNIT ") {
                let family = now.as_ref().filter(|(_, family)| family.samples.is_empty());
                let (name, unit) = rest.split_once(' ').ok_or_else(|| wrong("no unit"))?;
                let ends = name.trim_end_matches("_total").ends_with(&format!("_{unit}"));
                if family.is_none_or(|(of, _)| of != name) || !ends {
                    return Err(wrong("a unit that is not the name's"));
                }
            } else {
                let (name, family) = now.as_mut().ok_or_else(|| wrong("no family"))?;
                let (series, labels, value) = sample(line).map_err(|why| wrong(&why))?;
                let suffix = series.strip_prefix(&**name).ok_or_else(|| wrong("astray"))?;
                let fits = match family.kind.as_str() {
                    "histogram" => matches!(suffix, "_bucket" | "_sum" | "_count"),
                    _ => suffix.is_empty(),
                };
                if !fits || value < 0.0 || !value.is_finite() {
                    return Err(wrong("not a sample of its family"));
                }
                let suffix = suffix.to_owned();
                if family.samples.iter().any(|(of, has, _)| (of, has) == (&suffix, &labels)) {
                    return Err(wrong("twice"));
                }
                family.samples.push((suffix, labels, value));
            }
        }
        page.take(now)?;
        Ok(page)
    }

    fn take(&mut self, family: Option<(String, Family)>) -> Result<(), String> {
        let Some((name, family)) = family else { return Ok(()) };
        if family.kind == "histogram" {
            histogram(&name, &family)?;
        }
        match self.0.insert(name.clone(), family) {
            Some(_) => Err(format!("{name} is there twice")),
            None => Ok(()),
        }
    }

    /// The value of a series, by its whole name; labels as `a=b`.
    pub fn value(&self, series: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let wanted: Labels =
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (name, suffix) = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| {
                let name = series.strip_suffix(end)?;
                self.0.get(name).is_some_and(|f| f.kind == "histogram").then_some((name, *end))
            })
            .unwrap_or((series, ""));
        let family = self.0.get(name)?;
        let found = family.samples.iter().find(|(of, has, _)| of == suffix && *has == wanted)?;
        Some(found.2)
    }
}

/// What a histogram says of one set of labels.
#[derive(Default)]
struct Series {
    /// Bounds, and how many there were up to each.
    buckets: Vec<(f64, f64)>,
    sum: Option<f64>,
    count: Option<f64>,
}

/// Buckets rise to one without a bound, which holds all there were.
fn histogram(name: &str, family: &Family) -> Result<(), String> {
    let mut all: BTreeMap<Labels, Series> = BTreeMap::new();
    for (suffix, labels, value) in &family.samples {
        let mut labels = labels.clone();
        let bound = labels.remove("le");
        let Series { buckets, sum, count } = all.entry(labels).or_default();
        match (suffix.as_str(), bound) {
            ("_bucket", Some(bound)) => {
                let bound = if bound == "+Inf" { Ok(f64::INFINITY) } else { bound.parse() };
                buckets.push((bound.map_err(|_| format!("{name}: a bound"))?, *value));
            }
            ("_sum", None) => *sum = Some(*value),
            ("_count", None) => *count = Some(*value),
            _ => return Err(format!("{name}: le where there is none, or none")),
        }
    }
    for (labels, Series { buckets, sum, count }) in all {
        let rises = buckets.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 <= two[1].1);
        let last = buckets.last().copied();
        if !rises || sum.is_none() || last != count.map(|count| (f64::INFINITY, count)) {
            return Err(format!("{name} {labels:?}: not a histogram"));
        }
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// `name{label="value",..} number`
fn sample(line: &str) -> Result<(String, Labels, f64), String> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, mut rest) = line.split_at(end);
    if !is_name(name) {
        return Err("not a name".into());
    }
    let mut labels = Labels::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, behind) = rest.split_once("=\"").ok_or("no label")?;
            if !is_name(label) {
                return Err("not a label".into());
            }
            let mut value = String::new();
            let mut characters = behind.char_indices();
            let end = loop {
                match characters.next().ok_or("a value without an end")? {
                    (at, '"') => break at,
                    (_, '\\') => match characters.next() {
                        Some((_, c @ ('\\' | '"'))) => value.push(c),
                        Some((_, 'n')) => value.push('\n'),
                        _ => return Err("not an escape".into()),
                    },
                    (_, c) => value.push(c),
                }
            };
            if labels.insert(label.to_owned(), value).is_some() {
                return Err("a label twice".into());
            }
            rest = &behind[end + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').ok_or("labels without an end")?;
    }
    let number = rest.strip_prefix(' ').ok_or("no value")?;
    let value = number.parse().map_err(|_| "not a number".to_owned())?;
    Ok((name.to_owned(), labels, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "# HELP planck_a_total what\n# TYPE planck_a_total counter\n";

    #[test]
    fn a_page_is_read() {
        let text = format!("{HEAD}planck_a_total{{x=\"1\\\"\\\\\\n\",y=\"\"}} 3\n");
        let page = Page::parse(&text).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(page.value("planck_a_total", &[("x", "1\"\\\n"), ("y", "")]), Some(3.0));
        assert_eq!(page.value("planck_a_total", &[]), None);
        assert!(Page::parse(HEAD).is_ok(), "a family may have no sample");
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let bucket = |bound: &str, n: u32| format!("planck_h_bucket{{le=\"{bound}\"}} {n}\n");
        let h = "# HELP planck_h what\n# TYPE planck_h histogram\n";
        let end = "planck_h_sum 1\nplanck_h_count 2\n";
        let good = [h, &bucket("1", 1), &bucket("+Inf", 2), end].concat();
        assert!(Page::parse(&good).is_ok());
        for text in [
            "planck_a_total 1\n".to_owned(),
            format!("{HEAD}planck_a_total 1"),
            format!("{HEAD}planck_a_total 1\n\n"),
            format!("{HEAD}planck_a_total 1\nplanck_a_total 1\n"),
            format!("{HEAD}planck_b_total 1\n"),
            format!("{HEAD}planck_a_total -1\n"),
            format!("{HEAD}planck_a_total NaN\n"),
            format!("{HEAD}planck_a_total{{x=\"1}} 1\n"),
            format!("{HEAD}planck_a_total{{x=\"1\",x=\"2\"}} 1\n"),
            format!("{HEAD}planck_a_total{{x=\"\\q\"}} 1\n"),
            format!("{HEAD}{HEAD}"),
            HEAD.replace("counter", "gauge"),
            HEAD.replace("planck_a", "a"),
            [h, &bucket("1", 1), &bucket("2", 2), end].concat(),
            [h, &bucket("1", 3), &bucket("+Inf", 2), end].concat(),
            [h, &bucket("2", 1), &bucket("1", 1), &bucket("+Inf", 2), end].concat(),
            [h, &bucket("+Inf", 2), "planck_h_count 2\n"].concat(),
            [h, &bucket("+Inf", 1), end].concat(),
            [h, "planck_h_bucket 2\n", end].concat(),
        ] {
            assert!(Page::parse(&text).is_err(), "{text}");
        }
    }
}
