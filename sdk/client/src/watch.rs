//! What changes in stores, as it happens; and their documents first, where that is wanted.
//!
//! What must stay true: each change comes once and none is left out, whatever connection it
//! comes by: what is asked for next is behind what was given, by the token of the server.
//! Documents of a snapshot come whole, and the changes behind that snapshot after them; it
//! is not begun before the server has made it durable, so that no power cut takes it back.

use crate::answer::{Answer, decode};
use crate::client::Client;
use crate::query::{Rows, parameters};
use crate::transaction::Bound;
use crate::{Error, Result};
use proto::doc::{Doc, DocBuf, Value};
use proto::{Key, Reply, Request};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long the server waits for the next page, if nothing else is asked for.
const WAIT: Duration = Duration::from_secs(20);

/// What of a store is watched: its name, and less than all of it, if that is wanted.
#[derive(Debug)]
pub struct Watched {
    store: String,
    operations: Vec<&'static str>,
    filter: Option<(String, Result<Option<Vec<u8>>>)>,
    keys: Option<(Key, Key)>,
    before: bool,
}

impl Watched {
    /// All of a store.
    pub fn of(store: impl Into<String>) -> Watched {
        let (operations, filter, keys) = (Vec::new(), None, None);
        Watched { store: store.into(), operations, filter, keys, before: false }
    }

    /// Only documents that meet a condition, as `filter(..)` of a query takes it, with the
    /// values of its `$1`, `$2`, ..
    #[must_use]
    pub fn filter(mut self, condition: impl Into<String>, values: impl Serialize) -> Watched {
        self.filter = Some((condition.into(), parameters(&values)));
        self
    }

    /// Only these changes. Called again, these too.
    #[must_use]
    pub fn only(mut self, change: Change) -> Watched {
        self.operations.push(change.name());
        self
    }

    /// Only documents between two keys, both included.
    #[must_use]
    pub fn between(mut self, from: Key, to: Key) -> Watched {
        self.keys = Some((from, to));
        self
    }

    /// With the documents as they were before; the store must keep them.
    #[must_use]
    pub fn with_before(mut self) -> Watched {
        self.before = true;
        self
    }

    fn describe(&self, doc: &mut DocBuf) -> Result<()> {
        doc.push("store", &self.store);
        if !self.operations.is_empty() {
            doc.array("operations", |list| {
                self.operations.iter().for_each(|name| {
                    list.item(*name);
                });
            });
        }
        if let Some((text, _)) = &self.filter {
            doc.push("filter", text);
            doc.extend(self.values()?.map(|given| ("parameters", Value::Doc(Doc::trusted(given)))));
        }
        if let Some((from, to)) = self.keys {
            doc.push("from", &from.to_string()).push("to", &to.to_string());
        }
        if self.before {
            doc.push("before", true);
        }
        Ok(())
    }

    fn values(&self) -> Result<Option<&[u8]>> {
        match self.filter.as_ref().map(|(_, given)| given) {
            Some(Err(error)) => Err(Error::invalid(error.to_string())),
            Some(Ok(given)) => Ok(given.as_deref()),
            None => Ok(None),
        }
    }

    /// The query that gives its documents.
    fn text(&self) -> String {
        let mut text = self.store.clone();
        if let Some((condition, _)) = &self.filter {
            text += &format!(".filter({condition})");
        }
        if let Some((from, to)) = self.keys {
            text += &format!(".filter(key between '{from}' and '{to}')");
        }
        text
    }
}

impl From<&str> for Watched {
    fn from(store: &str) -> Watched {
        Watched::of(store)
    }
}

/// What happened to a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// There was none under its key.
    Insert,
    /// Another one took its place.
    Update,
    /// There is none any more.
    Delete,
}

impl Change {
    fn name(self) -> &'static str {
        match self {
            Change::Insert => "insert",
            Change::Update => "update",
            Change::Delete => "delete",
        }
    }
}

/// A change of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Event<T> {
    /// The commit.
    pub lsn: u64,
    /// Its position in that, from 1 on.
    pub at: u32,
    /// No more events of that commit come.
    pub last: bool,
    /// When it was committed, by the server's clock.
    pub time: SystemTime,
    /// The store, by the name it has now.
    pub store: String,
    /// What happened.
    pub change: Change,
    /// The document's key.
    pub key: Key,
    /// The document as it is, but of a delete, or one that left the filter.
    pub document: Option<T>,
    /// As it was, where that was asked for and is known.
    pub before: Option<T>,
    /// It met the filter before, and does not now.
    pub leaves: bool,
    /// It meets the filter now, and did not before.
    pub enters: bool,
    /// A document was left out: no message can hold it. Read it by its key.
    pub omitted: bool,
}

/// What comes of watching.
#[derive(Clone, Debug, PartialEq)]
pub enum Told<T> {
    /// A document of the snapshot.
    Document {
        /// Which of the stores that were named, from 0 on.
        store: usize,
        /// Its key.
        key: Key,
        /// The document.
        value: T,
    },
    /// All documents of the snapshot have come: what follows has changed since.
    Ready,
    /// A change.
    Event(Event<T>),
}

/// Where a page ends, the newest durable commit, its events.
type Page<T> = (String, u64, Vec<Result<Event<T>>>);

/// Where it goes on.
#[derive(Clone, Debug)]
enum Since {
    Now,
    Lsn(u64),
    Token(String),
}

/// How far it is.
enum State<T> {
    /// Documents are wanted, and no snapshot is there.
    Wanted,
    /// Those of a snapshot come.
    Documents {
        bound: Arc<Bound>,
        store: usize,
        rows: Option<Rows<T>>,
    },
    Follows,
}

/// Changes as they come: see [`Client::watch`].
#[must_use = "nothing is asked before next() is called"]
pub struct Watch<T> {
    client: Client,
    stores: Vec<Watched>,
    since: Since,
    state: State<T>,
    page: std::vec::IntoIter<Result<Event<T>>>,
    /// Where the page ends.
    end: Option<String>,
    wait: Duration,
    max_bytes: u32,
    of: PhantomData<T>,
}

impl Client {
    /// What changes in stores from now on, their documents as `T`. Each wait is a call that
    /// keeps a connection of the pool busy until there is something, or
    /// [`Watch::wait`] is over.
    ///
    /// ```no_run
    /// # #[derive(Debug, serde::Deserialize)]
    /// # struct Order { total: u32 }
    /// # async fn example(client: planck_client::Client) -> planck_client::Result<()> {
    /// use planck_client::{Told, Watched};
    ///
    /// let large = Watched::of("orders").filter("total > $1", (1000,));
    /// let mut watch = client.watch::<Order>([large]).with_documents();
    /// loop {
    ///     match watch.next().await? {
    ///         Told::Document { key, value, .. } => println!("{key}: {value:?}"),
    ///         Told::Ready => println!("and from here on as it changes"),
    ///         Told::Event(event) => println!("{:?}: {:?}", event.change, event.document),
    ///     }
    ///     // What has been dealt with: goes on from there, after a restart too.
    ///     let _token = watch.token();
    /// }
    /// # }
    /// ```
    pub fn watch<T: DeserializeOwned>(
        &self,
        stores: impl IntoIterator<Item = impl Into<Watched>>,
    ) -> Watch<T> {
        Watch {
            client: self.clone(),
            stores: stores.into_iter().map(Into::into).collect(),
            since: Since::Now,
            state: State::Follows,
            page: Vec::new().into_iter(),
            end: None,
            wait: WAIT,
            max_bytes: 1 << 20,
            of: PhantomData,
        }
    }
}

impl<T: DeserializeOwned> Watch<T> {
    /// From behind the place of a token: [`Watch::token`] of an earlier one of the same
    /// stores.
    pub fn since(mut self, token: impl Into<String>) -> Watch<T> {
        (self.since, self.state) = (Since::Token(token.into()), State::Follows);
        self
    }

    /// From behind a commit.
    pub fn since_commit(mut self, lsn: u64) -> Watch<T> {
        (self.since, self.state) = (Since::Lsn(lsn), State::Follows);
        self
    }

    /// First all documents of one moment, then what has changed since. The documents come
    /// by a transaction that only reads: they have its time to come
    /// (`limits.transaction_time_ms` of the server).
    pub fn with_documents(mut self) -> Watch<T> {
        self.begin_anew();
        self
    }

    /// How long the server waits for something, at most a minute. Zero: it does not, and
    /// [`Watch::next`] asks again and again.
    pub fn wait(mut self, time: Duration) -> Watch<T> {
        self.wait = time;
        self
    }

    /// How many bytes of changes come at once, and are in memory.
    pub fn page(mut self, bytes: u32) -> Watch<T> {
        self.max_bytes = bytes;
        self
    }

    /// Begins anew with the documents: after [`crate::Status::WatchGap`] and
    /// [`crate::Status::WatchAhead`].
    pub fn begin_anew(&mut self) {
        self.state = State::Wanted;
        self.page = Vec::new().into_iter();
        self.end = None;
    }

    /// The place behind what was given last: another watch goes on from there. `None`
    /// before the first page, and while documents of a snapshot come.
    pub fn token(&self) -> Option<&str> {
        match (&self.since, &self.state) {
            (Since::Token(token), State::Follows) => Some(token),
            _ => None,
        }
    }

    /// What comes next; waits until there is something. Its future may be dropped: nothing
    /// is lost by that.
    ///
    /// # Errors
    /// What the server refused (a gap: [`Watch::begin_anew`]), and what kept it from
    /// answering after as many attempts as the client makes: called again, it goes on where
    /// it was; while documents come, with all of them from the first on. A document that is
    /// no `T`.
    pub async fn next(&mut self) -> Result<Told<T>> {
        loop {
            if let Some(event) = self.page.next() {
                let event = event?;
                let at = if event.last { 0 } else { event.at };
                if let Some(token) = self.end.as_deref().and_then(|end| placed(end, event.lsn, at))
                {
                    self.since = Since::Token(token);
                }
                return Ok(Told::Event(event));
            }
            if let Some(end) = self.end.take() {
                self.since = Since::Token(end);
            }
            match &self.state {
                State::Follows => self.turn().await?,
                _ => {
                    let given = self.document().await;
                    if given.is_err() {
                        self.begin_anew();
                    }
                    return given;
                }
            }
        }
    }

    /// The next page.
    async fn turn(&mut self) -> Result<()> {
        let (client, what) = (self.client.clone(), self.what(self.wait)?);
        let (end, _, events) = ask(&client, &what).await?;
        (self.end, self.page) = (Some(end), events.into_iter());
        Ok(())
    }

    /// The request for what comes next.
    fn what(&self, wait: Duration) -> Result<Vec<u8>> {
        let mut what = DocBuf::new();
        what.begin_array("stores");
        for store in &self.stores {
            what.begin_item_doc();
            store.describe(&mut what)?;
            what.end();
        }
        what.end();
        match &self.since {
            Since::Now => {}
            Since::Lsn(lsn) => drop(what.push("since", i64::try_from(*lsn).unwrap_or(i64::MAX))),
            Since::Token(token) => drop(what.push("since", token)),
        }
        what.push("max_wait_ms", i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
        what.push("max_bytes", self.max_bytes);
        what.finish().map_err(|e| Error::invalid(e.to_string()))
    }

    /// The next document of the snapshot, which is taken first if there is none.
    async fn document(&mut self) -> Result<Told<T>> {
        loop {
            let State::Documents { bound, store, rows } = &mut self.state else {
                let (bound, lsn) = self.client.begin(true).await?;
                self.since = Since::Lsn(lsn);
                // What it shows is durable before anybody sees it.
                let (client, what) = (self.client.clone(), self.what(Duration::from_secs(1))?);
                while ask::<T>(&client, &what).await?.1 < lsn {}
                self.state = State::Documents { bound, store: 0, rows: None };
                continue;
            };
            if let Some(found) = rows {
                match found.next().await? {
                    Some(row) => {
                        let (store, key) = (*store, row.key.unwrap_or_default());
                        return Ok(Told::Document { store, key, value: row.value });
                    }
                    None => (*store, *rows) = (*store + 1, None),
                }
            }
            let Some(watched) = self.stores.get(*store) else {
                let bound = Arc::clone(bound);
                self.state = State::Follows;
                // In vain it ends with its session.
                drop(bound.abort().await);
                return Ok(Told::Ready);
            };
            let within = self.client.bound_to(bound);
            let found = within.query_with(&watched.text(), watched.values()?).rows().await?;
            *rows = Some(found);
        }
    }
}

/// A page: where it ends, the newest durable commit, its events.
async fn ask<T: DeserializeOwned>(client: &Client, what: &[u8]) -> Result<Page<T>> {
    let (_, answer) = client.ask(&Request::Watch { what }).await?;
    read(&answer)
}

/// A page, read.
fn read<T: DeserializeOwned>(answer: &Answer) -> Result<Page<T>> {
    let wrong = || crate::answer::wrong("page of events", "only a watch gives one");
    let Reply::Document(page) = answer.reply()? else { return Err(wrong()) };
    let page = Doc::parse(page).map_err(|_| wrong())?;
    let next = page.get("next").and_then(|v| v.as_str().map(str::to_owned)).ok_or_else(wrong)?;
    let durable = page.get("durable").and_then(|v| v.as_i64()).ok_or_else(wrong)?;
    let events = page.get("events").and_then(|v| v.as_array()).ok_or_else(wrong)?;
    let event = |value: Value<'_>| event(value.as_doc().ok_or_else(wrong)?, wrong);
    Ok((next, durable.unsigned_abs(), events.iter().map(event).collect()))
}

fn event<T: DeserializeOwned>(doc: Doc<'_>, wrong: impl Fn() -> Error) -> Result<Event<T>> {
    let number = |name| doc.get(name).and_then(|v| v.as_i64()).map(i64::unsigned_abs);
    let text = |name| doc.get(name).and_then(|v| v.as_str());
    let key: Key = text("key").and_then(|key| key.parse().ok()).ok_or_else(&wrong)?;
    let part = |name| match doc.get(name) {
        Some(Value::Doc(part)) => decode(Some(key), part.as_bytes()).map(Some),
        _ => Ok(None),
    };
    let says = |name| doc.get(name) == Some(Value::Bool(true));
    let time = match doc.get("time") {
        Some(Value::DateTime(millis)) => Duration::from_millis(millis.unsigned_abs()),
        _ => return Err(wrong()),
    };
    Ok(Event {
        lsn: number("lsn").ok_or_else(&wrong)?,
        at: number("at").and_then(|at| u32::try_from(at).ok()).ok_or_else(&wrong)?,
        last: says("last"),
        time: SystemTime::UNIX_EPOCH + time,
        store: text("store").ok_or_else(&wrong)?.to_owned(),
        change: match text("op") {
            Some("insert") => Change::Insert,
            Some("update") => Change::Update,
            Some("delete") => Change::Delete,
            _ => return Err(wrong()),
        },
        key,
        document: part("document")?,
        before: part("before")?,
        leaves: says("leaves"),
        enters: says("enters"),
        omitted: says("omitted"),
    })
}

/// A token with another place in it.
fn placed(token: &str, lsn: u64, at: u32) -> Option<String> {
    let stores = token.rsplitn(3, '.').nth(2)?;
    Some(format!("{stores}.{lsn}.{at}"))
}

impl<T> fmt::Debug for Watch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Watch { stores, since, .. } = self;
        f.debug_struct("Watch")
            .field("stores", stores)
            .field("since", since)
            .finish_non_exhaustive()
    }
}

const _: fn(Watch<u64>) = |mut watch| {
    fn may_be_spawned(_: impl Send) {}
    may_be_spawned(async move { watch.next().await.is_ok() });
};
