//! The queries, each in the words of every engine.
//!
//! What must stay true: the texts of one query ask for the same; parameters are `$1`
//! and `$2` in each (SurrealDB: `$p1`). In those of SQLite over JSON `{doc}` is the
//! document as text and `{set}` the function that changes one, since it has two forms
//! of JSON.

/// What is given back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Documents in the order asked for.
    Ordered,
    /// Documents in any order.
    Rows,
    /// Groups and their figures, in any order.
    Figures,
    /// One number, in the column `n`.
    Count,
    /// The number of documents changed.
    Change,
}

/// A query.
pub struct Query {
    pub kind: Kind,
    /// The fields that are compared.
    pub fields: &'static [&'static str],
    pub pql: &'static str,
    pub json: &'static str,
    pub plain: &'static str,
    pub postgres: &'static str,
    pub surreal: &'static str,
}

pub const GET: Query = Query {
    kind: Kind::Rows,
    fields: &["at", "place.zip", "note"],
    // By the operation Read, which is what it is for.
    pql: "",
    json: "SELECT {doc} FROM docs WHERE id = $1",
    plain: "SELECT * FROM docs WHERE id = $1",
    postgres: "SELECT doc::text FROM docs WHERE id = $1",
    surreal: "SELECT * FROM type::thing('docs', $p1)",
};

/// The same as a query.
pub const GET_PQL: Query = Query { pql: "docs.get($1)", ..GET };

pub const FEW: Query = Query {
    kind: Kind::Rows,
    fields: &["at", "code", "tags"],
    pql: "docs.filter(code = $1)",
    json: "SELECT {doc} FROM docs WHERE doc ->> 'code' = $1",
    plain: "SELECT * FROM docs WHERE code = $1",
    postgres: "SELECT doc::text FROM docs WHERE doc ->> 'code' = $1",
    surreal: "SELECT * FROM docs WHERE code = $p1",
};

pub const MANY: Query = Query {
    kind: Kind::Rows,
    fields: &["at", "city"],
    pql: "docs.filter(city = $1)",
    json: "SELECT {doc} FROM docs WHERE doc ->> 'city' = $1",
    plain: "SELECT * FROM docs WHERE city = $1",
    postgres: "SELECT doc::text FROM docs WHERE doc ->> 'city' = $1",
    surreal: "SELECT * FROM docs WHERE city = $p1",
};

pub const RANGE: Query = Query {
    kind: Kind::Ordered,
    fields: &["at", "code"],
    pql: "docs.filter(at >= $1 and at < $2).orderBy(at).limit(20)",
    json: "SELECT {doc} FROM docs WHERE doc ->> 'at' >= $1 AND doc ->> 'at' < $2 \
           ORDER BY doc ->> 'at' LIMIT 20",
    plain: "SELECT * FROM docs WHERE at >= $1 AND at < $2 ORDER BY at LIMIT 20",
    postgres: "SELECT doc::text FROM docs WHERE (doc ->> 'at')::bigint >= $1 \
               AND (doc ->> 'at')::bigint < $2 ORDER BY (doc ->> 'at')::bigint LIMIT 20",
    surreal: "SELECT * FROM docs WHERE at >= $p1 AND at < $p2 ORDER BY at LIMIT 20",
};

pub const LATEST: Query = Query {
    kind: Kind::Ordered,
    fields: &["at", "city"],
    pql: "docs.filter(city = $1).orderBy(at desc).limit(20)",
    json: "SELECT {doc} FROM docs WHERE doc ->> 'city' = $1 ORDER BY doc ->> 'at' DESC LIMIT 20",
    plain: "SELECT * FROM docs WHERE city = $1 ORDER BY at DESC LIMIT 20",
    postgres: "SELECT doc::text FROM docs WHERE doc ->> 'city' = $1 \
               ORDER BY (doc ->> 'at')::bigint DESC LIMIT 20",
    surreal: "SELECT * FROM docs WHERE city = $p1 ORDER BY at DESC LIMIT 20",
};

pub const GROUP: Query = Query {
    kind: Kind::Figures,
    fields: &["kind", "n", "mean"],
    pql: "docs.groupBy(kind).aggregate(n: count(), mean: avg(score))",
    json: "SELECT doc ->> 'kind' AS kind, count(*) AS n, avg(doc ->> 'score') AS mean \
           FROM docs GROUP BY 1",
    plain: "SELECT kind, count(*) AS n, avg(score) AS mean FROM docs GROUP BY kind",
    postgres: "SELECT doc ->> 'kind' AS kind, count(*) AS n, \
               avg((doc ->> 'score')::float8) AS mean FROM docs GROUP BY 1",
    surreal: "SELECT kind, count() AS n, math::mean(score) AS mean FROM docs GROUP BY kind",
};

pub const SCAN: Query = Query {
    kind: Kind::Count,
    fields: &["n"],
    pql: "docs.filter(place.zip < $1).count()",
    json: "SELECT count(*) AS n FROM docs WHERE doc ->> '$.place.zip' < $1",
    plain: "SELECT count(*) AS n FROM docs WHERE place_zip < $1",
    postgres: "SELECT count(*) AS n FROM docs WHERE (doc -> 'place' ->> 'zip')::bigint < $1",
    surreal: "SELECT count() AS n FROM docs WHERE place.zip < $p1 GROUP ALL",
};

pub const UPDATE: Query = Query {
    kind: Kind::Change,
    fields: &[],
    pql: "docs.filter(key = $1).inc({visits: 1})",
    json: "UPDATE docs SET doc = {set}(doc, '$.visits', (doc ->> 'visits') + 1) WHERE id = $1",
    plain: "UPDATE docs SET visits = visits + 1 WHERE id = $1",
    postgres: "UPDATE docs SET doc = jsonb_set(doc, '{visits}', \
               to_jsonb((doc ->> 'visits')::bigint + 1)) WHERE id = $1",
    surreal: "UPDATE type::thing('docs', $p1) SET visits += 1 RETURN id",
};

pub const UPDATE_FEW: Query = Query {
    kind: Kind::Change,
    fields: &[],
    pql: "docs.filter(code = $1).set({score: 12.25})",
    json: "UPDATE docs SET doc = {set}(doc, '$.score', 12.25) WHERE doc ->> 'code' = $1",
    plain: "UPDATE docs SET score = 12.25 WHERE code = $1",
    postgres: "UPDATE docs SET doc = jsonb_set(doc, '{score}', to_jsonb(12.25::float8)) \
               WHERE doc ->> 'code' = $1",
    surreal: "UPDATE docs SET score = 12.25 WHERE code = $p1 RETURN id",
};

pub const DELETE: Query = Query {
    kind: Kind::Change,
    fields: &[],
    pql: "docs.filter(key = $1).delete()",
    json: "DELETE FROM docs WHERE id = $1",
    plain: "DELETE FROM docs WHERE id = $1",
    postgres: "DELETE FROM docs WHERE id = $1",
    surreal: "DELETE type::thing('docs', $p1) RETURN BEFORE",
};

/// What is left after all changes.
pub const LEFT: Query = Query {
    kind: Kind::Figures,
    fields: &["n", "seen", "scores"],
    pql: "docs.aggregate(n: count(), seen: sum(visits), scores: sum(score))",
    json: "SELECT count(*) AS n, sum(doc ->> 'visits') AS seen, sum(doc ->> 'score') AS scores \
           FROM docs",
    plain: "SELECT count(*) AS n, sum(visits) AS seen, sum(score) AS scores FROM docs",
    postgres: "SELECT count(*) AS n, sum((doc ->> 'visits')::bigint)::bigint AS seen, \
               sum((doc ->> 'score')::float8) AS scores FROM docs",
    surreal: "SELECT count() AS n, math::sum(visits) AS seen, math::sum(score) AS scores \
              FROM docs GROUP ALL",
};

pub const PLANE: Query = Query {
    kind: Kind::Rows,
    fields: &["tailnum", "time_hour", "flight", "dep_delay"],
    pql: "flights.filter(tailnum = $1)",
    json: "SELECT {doc} FROM flights WHERE doc ->> 'tailnum' = $1",
    plain: "SELECT * FROM flights WHERE tailnum = $1",
    postgres: "SELECT doc::text FROM flights WHERE doc ->> 'tailnum' = $1",
    surreal: "SELECT * FROM flights WHERE tailnum = $p1",
};

pub const BOARD: Query = Query {
    kind: Kind::Ordered,
    // Flights of one hour come in any order.
    fields: &["origin", "time_hour"],
    pql: "flights.filter(origin = $1 and time_hour >= $2).orderBy(time_hour).limit(20)",
    json: "SELECT {doc} FROM flights WHERE doc ->> 'origin' = $1 AND doc ->> 'time_hour' >= $2 \
           ORDER BY doc ->> 'time_hour' LIMIT 20",
    plain: "SELECT * FROM flights WHERE origin = $1 AND time_hour >= $2 \
            ORDER BY time_hour LIMIT 20",
    postgres: "SELECT doc::text FROM flights WHERE doc ->> 'origin' = $1 \
               AND doc ->> 'time_hour' >= $2 ORDER BY doc ->> 'time_hour' LIMIT 20",
    surreal: "SELECT * FROM flights WHERE origin = $p1 AND time_hour >= $p2 \
              ORDER BY time_hour LIMIT 20",
};

pub const CARRIERS: Query = Query {
    kind: Kind::Figures,
    fields: &["carrier", "n", "late"],
    pql: "flights.groupBy(carrier).aggregate(n: count(), late: avg(dep_delay))",
    json: "SELECT doc ->> 'carrier' AS carrier, count(*) AS n, avg(doc ->> 'dep_delay') AS late \
           FROM flights GROUP BY 1",
    plain: "SELECT carrier, count(*) AS n, avg(dep_delay) AS late FROM flights GROUP BY carrier",
    postgres: "SELECT doc ->> 'carrier' AS carrier, count(*) AS n, \
               avg((doc ->> 'dep_delay')::float8) AS late FROM flights GROUP BY 1",
    surreal: "SELECT carrier, count() AS n, math::mean(dep_delay) AS late \
              FROM flights GROUP BY carrier",
};

pub const MONTHS: Query = Query {
    kind: Kind::Figures,
    fields: &["origin", "month", "n", "worst"],
    pql: "flights.groupBy(origin, month).aggregate(n: count(arr_delay), worst: max(arr_delay))",
    json: "SELECT doc ->> 'origin' AS origin, doc ->> 'month' AS month, \
           count(doc ->> 'arr_delay') AS n, max(doc ->> 'arr_delay') AS worst \
           FROM flights GROUP BY 1, 2",
    plain: "SELECT origin, month, count(arr_delay) AS n, max(arr_delay) AS worst \
            FROM flights GROUP BY origin, month",
    postgres: "SELECT doc ->> 'origin' AS origin, (doc ->> 'month')::bigint AS month, \
               count(doc ->> 'arr_delay') AS n, max((doc ->> 'arr_delay')::bigint) AS worst \
               FROM flights GROUP BY 1, 2",
    surreal: "SELECT origin, month, count(arr_delay != NONE) AS n, \
              math::max(arr_delay ?? -100000) AS worst FROM flights GROUP BY origin, month",
};

pub const LATE: Query = Query {
    kind: Kind::Count,
    fields: &["n"],
    pql: "flights.filter(arr_delay > $1).count()",
    json: "SELECT count(*) AS n FROM flights WHERE doc ->> 'arr_delay' > $1",
    plain: "SELECT count(*) AS n FROM flights WHERE arr_delay > $1",
    postgres: "SELECT count(*) AS n FROM flights WHERE (doc ->> 'arr_delay')::bigint > $1",
    surreal: "SELECT count() AS n FROM flights WHERE arr_delay > $p1 GROUP ALL",
};
