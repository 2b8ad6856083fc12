//! What a PQL text means, as data.
//!
//! Invariant: everything a query says is in here; nothing is dropped because it
//! could not be understood. A query that mutates has either a filter or said
//! `all()`. [`super::format`] writes a text that means the same again.

use proto::Key;
use proto::doc::ValueBuf;

/// A whole query.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// The store it begins with.
    pub store: String,
    /// What to do there.
    pub verb: Verb,
    /// `explain()`: tell how it is carried out instead of what it gives.
    pub explain: bool,
    /// The highest `$n` in the text; 0 if there is none.
    pub parameters: u16,
}

/// What a query does with its store.
#[derive(Clone, Debug, PartialEq)]
pub enum Verb {
    /// `get(key)`: the document under a key.
    Get(KeyOperand),
    /// `insert({..})`: adds a document.
    Insert {
        /// The document.
        document: Operand,
        /// Whether it is given back.
        returning: bool,
    },
    /// Everything else: choose documents, then do something with them.
    Select(Box<Select>),
}

/// Choose documents, join, group, order, cut, and do something with what is left.
#[derive(Clone, Debug, PartialEq)]
pub struct Select {
    /// Which documents; `None` chooses all.
    pub filter: Option<Expr>,
    /// Documents of other stores to put into these.
    pub lookups: Vec<Lookup>,
    /// A second `filter(..)`, which sees what the lookups put in.
    pub joined: Option<Expr>,
    /// What rows are made of the documents, if not they themselves.
    pub shape: Option<Shape>,
    /// Which groups; its fields are those of the groups.
    pub having: Option<Expr>,
    /// How the result is ordered; empty leaves key order.
    pub order: Vec<Order>,
    /// Rows to leave out at the front.
    pub skip: Option<Operand>,
    /// Rows to give at most.
    pub limit: Option<Operand>,
    /// What becomes of them.
    pub output: Output,
}

/// `lookup(store, local = foreign as name)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The other store.
    pub store: String,
    /// The field of these documents.
    pub local: Path,
    /// The field of those documents that equals it.
    pub foreign: Path,
    /// The field that what was found is put in.
    pub name: String,
    /// `lookupOne`: the first one itself, instead of an array of all.
    pub one: bool,
}

/// Rows that are no stored documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `groupBy(..).aggregate(..)`: a row for each group.
    Group {
        /// The fields whose values make a group; empty makes one group of all.
        by: Vec<Path>,
        /// What to compute of each group.
        aggregates: Vec<Aggregate>,
    },
    /// `distinct(a, b)`: each different combination of values once.
    Distinct(Vec<Path>),
}

impl Shape {
    /// The fields whose values make a row.
    pub fn by(&self) -> &[Path] {
        match self {
            Shape::Group { by, .. } | Shape::Distinct(by) => by,
        }
    }

    /// What is computed of each row.
    pub fn aggregates(&self) -> &[Aggregate] {
        match self {
            Shape::Group { aggregates, .. } => aggregates,
            Shape::Distinct(_) => &[],
        }
    }
}

/// What becomes of the chosen documents.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Given whole, documents with their keys.
    Rows,
    /// `pluck(a, b.c)`: only these fields.
    Pluck(Vec<Path>),
    /// `count()`: their number.
    Count,
    /// They change.
    Mutate {
        /// How.
        how: Mutation,
        /// Which of the documents are given back; `None` gives their number.
        returning: Option<Image>,
    },
}

impl Output {
    /// Whether documents change.
    pub fn mutates(&self) -> bool {
        matches!(self, Output::Mutate { .. })
    }
}

/// How chosen documents change.
#[derive(Clone, Debug, PartialEq)]
pub enum Mutation {
    /// `set`, `unset`, `inc`, `push`, `upsert`: at once, at least one of them.
    Edit(Vec<Edit>),
    /// `replace({..})`: another document under the same key.
    Replace(Operand),
    /// `delete()`: they are removed.
    Delete,
}

/// One step that edits fields.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// `set({a: 1})`: these fields get these values.
    Set(Operand),
    /// `unset(a, b.c)`: these fields go.
    Unset(Vec<Path>),
    /// `inc({n: 1})`: this much is added to these fields.
    Inc(Operand),
    /// `push({tags: "x"})`: these values are appended to these arrays.
    Push(Operand),
    /// `upsert({..})`: as `set`, and if nothing was chosen one document is made.
    Upsert(Operand),
}

/// Which state of a changed document is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    /// As it was.
    Before,
    /// As it is now.
    After,
}

/// A value in the text, or a parameter that stands for one.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// Written in the query.
    Value(ValueBuf),
    /// `$1`, `$2`, ...: given beside the query.
    Parameter(u16),
}

/// A key in the text, or a parameter that stands for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOperand {
    /// Written in the query.
    Key(Key),
    /// Given beside it, as a string of 32 hexadecimal digits.
    Parameter(u16),
}

/// A field, dotted through nested documents and arrays; `key` is the primary key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(pub String);

impl Path {
    /// Whether this names the primary key.
    pub fn is_key(&self) -> bool {
        self.0 == "key"
    }
}

/// One field to order by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The field.
    pub path: Path,
    /// Largest first.
    pub descending: bool,
}

/// One figure of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aggregate {
    /// Its name in the result.
    pub alias: String,
    /// How it is computed.
    pub function: Function,
    /// Of which field; `None` only for `count()`.
    pub path: Option<Path>,
}

/// How a figure of a group is computed. Values that are missing, null or (but for
/// `min`, `max`, `count`) no numbers are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// Documents, or documents that have the field and not null in it.
    Count,
    /// The sum; of integers an integer, unless it passes 64 bits.
    Sum,
    /// The mean; null if there is no number.
    Avg,
    /// The least value in the order of `orderBy`; null if there is none.
    Min,
    /// The largest; null if there is none.
    Max,
}

impl Function {
    /// All of them, by the name a query calls them.
    pub const ALL: [(&'static str, Function); 5] = [
        ("count", Function::Count),
        ("sum", Function::Sum),
        ("avg", Function::Avg),
        ("min", Function::Min),
        ("max", Function::Max),
    ];

    /// The name a query calls it.
    pub fn name(self) -> &'static str {
        Function::ALL.iter().find(|(_, f)| *f == self).map_or("count", |(name, _)| name)
    }
}

/// A condition on a document.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// All hold.
    And(Vec<Expr>),
    /// At least one holds.
    Or(Vec<Expr>),
    /// It does not hold.
    Not(Box<Expr>),
    /// `a = 1`, `a > 2`, ...
    Compare(Path, Comparison, Operand),
    /// `a in [..]`.
    In(Path, Vec<Operand>),
    /// `a between x and y`, both ends included.
    Between(Path, Operand, Operand),
    /// `a contains "x"`: a string holding it, or an array having it as an element.
    Contains(Path, Operand),
    /// `a startsWith "x"`.
    StartsWith(Path, Operand),
    /// `a ~ "regex"`.
    Matches(Path, Operand),
    /// `a exists`: the field is there, null or not.
    Exists(Path),
}

impl Expr {
    /// Calls `see` with every field the condition names.
    pub fn paths<'e>(&'e self, see: &mut dyn FnMut(&'e Path)) {
        match self {
            Expr::And(parts) | Expr::Or(parts) => parts.iter().for_each(|part| part.paths(see)),
            Expr::Not(inner) => inner.paths(see),
            Expr::Compare(path, ..)
            | Expr::In(path, _)
            | Expr::Between(path, ..)
            | Expr::Contains(path, _)
            | Expr::StartsWith(path, _)
            | Expr::Matches(path, _)
            | Expr::Exists(path) => see(path),
        }
    }
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // Their names say all.
pub enum Comparison {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Comparison {
    /// How it is written.
    pub fn sign(self) -> &'static str {
        match self {
            Comparison::Equal => "=",
            Comparison::NotEqual => "!=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
        }
    }
}
