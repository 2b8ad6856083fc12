//! Which order the entries of an index give, and what rows must have.
//!
//! What must stay true: an order is said only if walking the entries gives exactly the
//! rows a sort would, equal ones in key order. So of an index with arrays none is, but
//! where all its fields have one value; entries that may have been cut, and those that
//! share the fields of the order but not all fields, are settled as they are met
//! (`ties.rs`).

use super::super::SelectPlan;
use super::super::bind::{Change, Outcome};
use super::super::predicate::Predicate;
use super::super::run::scan_order;
use crate::index::Index;
use crate::pql::ast::{Order, Path};

/// What the bounds leave of a field of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pin {
    /// One value.
    One,
    /// Some values.
    Many,
    /// A range of them.
    Range,
}

/// How the entries of an index are walked to give rows in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Ordered {
    /// From the last entry to the first.
    pub(super) reverse: bool,
    /// Rows that share so many first fields are equal in the order.
    pub(super) shared: usize,
    /// Fields before this one have one value, or few that were not cut.
    pub(super) from: usize,
    /// Equal rows come from the highest key down.
    pub(super) keys_down: bool,
    /// Rows that are equal share all fields: in the entries they are in key order.
    pub(super) whole: bool,
}

/// What rows must come in.
pub(super) enum Wants<'p> {
    /// Any order: they are counted or grouped.
    Any,
    /// This order, then that of their keys. It can be sorted into.
    Order(&'p [Order]),
    /// As that, but no index has it: lookups put fields there.
    Sorted,
}

pub(super) fn wants(plan: &SelectPlan) -> Wants<'_> {
    if plan.shape.is_some() || matches!(plan.output, Outcome::Count) {
        return Wants::Any;
    }
    let first = |path: &Path| path.0.split('.').next().unwrap_or_default().to_owned();
    let looked_up = |order: &Order| plan.lookups.iter().any(|l| l.name == first(&order.path));
    match plan.order.iter().any(looked_up) {
        true => Wants::Sorted,
        false => Wants::Order(&plan.order),
    }
}

/// Whether a scan gives the rows in their order.
pub(super) fn scan_sorts(plan: &SelectPlan) -> bool {
    plan.shape.is_none() && scan_order(plan).is_none()
}

/// How the entries between bounds that pin the first fields give `order`, if they do.
/// `single`: no document has an array there; `cut`: values of the pins were cut.
pub(super) fn ordered(
    index: &Index,
    pins: &[Pin],
    order: &[Order],
    single: bool,
    cut: bool,
) -> Option<Ordered> {
    let fields = &index.definition.fields;
    let one = |at: usize| pins.get(at) == Some(&Pin::One);
    let end = order.iter().position(|o| o.path.is_key()).unwrap_or(order.len());
    let keys_down = order.get(end).is_some_and(|key| key.descending);
    let mut seen: Vec<&str> = Vec::new();
    if single {
        seen.extend((0..fields.len()).filter(|at| one(*at)).map(|at| fields[at].path.as_str()));
    }
    let (mut at, mut reverse, mut from) = (0, None, None);
    for Order { path, descending } in &order[..end] {
        if seen.contains(&path.0.as_str()) {
            // Rows that are equal so far have one value there.
            continue;
        }
        while one(at) {
            at += 1;
        }
        let field = fields.get(at).filter(|field| field.path == path.0)?;
        let turned = *descending != field.descending;
        if !single || cut || reverse.is_some_and(|reverse| reverse != turned) {
            return None;
        }
        reverse = Some(turned);
        from.get_or_insert(at);
        seen.push(&field.path);
        at += 1;
    }
    while one(at) {
        at += 1;
    }
    // Equal rows would lie between several bounds.
    if pins.iter().skip(at).any(|pin| *pin == Pin::Many) {
        return None;
    }
    let whole = at == fields.len();
    // In any other case equal rows are picked by their keys, upwards; not all rows.
    let fits = whole || (single && !keys_down && !order[..end].is_empty());
    let reverse = reverse.unwrap_or(keys_down && whole);
    let from = from.unwrap_or(at);
    fits.then_some(Ordered { reverse, shared: at, from, keys_down, whole })
}

/// The paths of fields the rows behind the filter need; `None`: whole documents.
pub(super) fn needed(plan: &SelectPlan, sorts: bool) -> Option<Vec<&str>> {
    if !plan.lookups.is_empty() || plan.joined.is_some() {
        return None;
    }
    let mut paths: Vec<&Path> = Vec::new();
    match (&plan.shape, &plan.output) {
        (Some(shape), _) => {
            paths.extend(shape.by());
            paths.extend(shape.aggregates().iter().filter_map(|figure| figure.path.as_ref()));
        }
        (None, Outcome::Pluck(plucked)) => paths.extend(plucked),
        (None, Outcome::Count) => {}
        (None, Outcome::Mutate { how: Change::Delete, returning: None }) => {}
        (None, Outcome::Rows | Outcome::Mutate { .. }) => return None,
    }
    if sorts && plan.shape.is_none() {
        paths.extend(plan.order.iter().map(|order| &order.path));
    }
    Some(paths.into_iter().filter(|path| !path.is_key()).map(|path| path.0.as_str()).collect())
}

/// Whether the entries of an index have all these fields, and those of the conditions.
pub(super) fn covers(index: &Index, needed: &[&str], conditions: &[&Predicate]) -> bool {
    let has = |path: &str| index.definition.fields.iter().any(|field| field.path == path);
    let tested = |predicate: &&Predicate| reads_only(predicate, &has);
    needed.iter().all(|path| has(path)) && conditions.iter().all(tested)
}

fn reads_only(predicate: &Predicate, has: &impl Fn(&str) -> bool) -> bool {
    match predicate {
        Predicate::And(parts) | Predicate::Or(parts) => parts.iter().all(|p| reads_only(p, has)),
        Predicate::Not(inner) => reads_only(inner, has),
        Predicate::Field(path, _) => path.is_key() || has(&path.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{Definition, Phase};
    use lsm::KeyspaceId;
    use proto::json;

    fn index(fields: &str) -> Index {
        let definition = json::parse_json(&format!(r#"{{"fields":[{fields}]}}"#)).unwrap();
        let definition = proto::doc::Doc::parse(&definition).unwrap();
        Index {
            name: "i".to_owned(),
            keyspace: KeyspaceId(40),
            created_at: 0,
            definition: Definition::parse(definition, &[]).unwrap(),
            phase: Phase::Ready,
        }
    }

    fn by(text: &str) -> Vec<Order> {
        let order = |part: &str| match part.trim().strip_prefix('-') {
            Some(path) => Order { path: Path(path.to_owned()), descending: true },
            None => Order { path: Path(part.trim().to_owned()), descending: false },
        };
        text.split(',').filter(|part| !part.is_empty()).map(order).collect()
    }

    #[test]
    fn which_orders_an_index_gives() {
        use Pin::{Many, One, Range};
        // The walk: its direction, how many fields equal rows share, whether that is all.
        for (fields, pins, order, wanted) in [
            (r#""a""#, vec![], "a", Some((false, 1, true))),
            (r#""a""#, vec![], "-a", Some((true, 1, true))),
            (r#""-a""#, vec![], "a", Some((true, 1, true))),
            (r#""a","-b""#, vec![], "a,-b", Some((false, 2, true))),
            (r#""a","-b""#, vec![], "-a,b", Some((true, 2, true))),
            (r#""a","-b""#, vec![], "a,b", None),
            (r#""a","b""#, vec![], "a", Some((false, 1, false))),
            (r#""a","b""#, vec![], "-a", Some((true, 1, false))),
            (r#""a","b""#, vec![], "b", None),
            (r#""a","b""#, vec![One], "b", Some((false, 2, true))),
            (r#""a","b""#, vec![One], "a,-b", Some((true, 2, true))),
            (r#""a","b""#, vec![One], "-b,a", Some((true, 2, true))),
            (r#""a","b""#, vec![One, Range], "b", Some((false, 2, true))),
            (r#""a","b""#, vec![Range], "a,b", Some((false, 2, true))),
            (r#""a","b""#, vec![Many], "b", None),
            (r#""a","b""#, vec![Many], "a,b", Some((false, 2, true))),
            (r#""a","b""#, vec![Many, One], "a", Some((false, 2, true))),
            (r#""a","b""#, vec![One, Many], "a", None),
            (r#""a","b","c""#, vec![Many, One], "a,c", Some((false, 3, true))),
            (r#""a","b","c""#, vec![One], "b", Some((false, 2, false))),
            (r#""a","b""#, vec![One, One], "", Some((false, 2, true))),
            (r#""a","b""#, vec![One, One], "-key", Some((true, 2, true))),
            (r#""a","b""#, vec![One], "", None),
            (r#""a""#, vec![Range], "", None),
            (r#""a""#, vec![], "key", None),
            (r#""a","b""#, vec![One], "a", Some((false, 1, false))),
            (r#""a","b""#, vec![One], "-key", None),
            (r#""a""#, vec![], "a,key", Some((false, 1, true))),
            (r#""a""#, vec![], "-a,-key,z", Some((true, 1, true))),
            (r#""a""#, vec![], "a,a", Some((false, 1, true))),
            (r#""a""#, vec![], "a,z", None),
        ] {
            let found = ordered(&index(fields), &pins, &by(order), true, false);
            let found = found.map(|o| (o.reverse, o.shared, o.whole));
            assert_eq!(found, wanted, "[{fields}] {pins:?} by {order}");
        }
        let one = index(r#""a","b""#);
        // With arrays, only where nothing is left to order but keys.
        assert!(ordered(&one, &[One], &by("b"), false, false).is_none());
        assert!(ordered(&one, &[One, One], &by("a"), false, false).is_none());
        assert!(ordered(&one, &[One, One], &by(""), false, false).is_some());
        assert!(ordered(&one, &[One], &by(""), false, false).is_none());
        // What was cut is told apart only by documents.
        assert!(ordered(&one, &[Many], &by("a,b"), true, true).is_none());
        assert!(ordered(&one, &[One, One], &by(""), true, true).is_some());
    }
}
