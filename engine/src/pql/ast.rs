//! What a PQL text means, as data.
//!
//! Invariant: everything a query says is in here; nothing is dropped because it
//! could not be understood. A query that mutates has either a filter or said
//! `all()`.

use proto::Key;
use proto::doc::ValueBuf;

/// A whole query.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// The store it begins with.
    pub store: String,
    /// What to do there.
    pub verb: Verb,
    /// The highest `$n` in the text; 0 if there is none.
    pub parameters: u16,
}

/// What a query does with its store.
#[derive(Clone, Debug, PartialEq)]
pub enum Verb {
    /// `get(key)`: the document under a key.
    Get(KeyOperand),
    /// `insert({..})`: adds a document.
    Insert(Operand),
    /// Everything else: choose documents, then do something with them.
    Select(Select),
}

/// Choose documents, order them, cut, and do something with what is left.
#[derive(Clone, Debug, PartialEq)]
pub struct Select {
    /// Which documents; `None` chooses all.
    pub filter: Option<Expr>,
    /// How the result is ordered; empty leaves key order.
    pub order: Vec<Order>,
    /// Rows to leave out at the front.
    pub skip: Option<Operand>,
    /// Rows to give at most.
    pub limit: Option<Operand>,
    /// What becomes of them.
    pub output: Output,
}

/// What becomes of the chosen documents.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Given whole, with their keys.
    Documents,
    /// `pluck(a, b.c)`: only these fields.
    Pluck(Vec<Path>),
    /// `count()`: their number.
    Count,
    /// `groupBy(..).aggregate(..)`: a row for each group.
    Group {
        /// The fields whose values make a group; empty makes one group of all.
        by: Vec<Path>,
        /// What to compute of each group.
        aggregates: Vec<Aggregate>,
    },
    /// `set({..})`: these fields get these values.
    Set(Operand),
    /// `delete()`: they are removed.
    Delete,
}

impl Output {
    /// Whether documents change.
    pub fn mutates(&self) -> bool {
        matches!(self, Output::Set(_) | Output::Delete)
    }
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
