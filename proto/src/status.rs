//! How a request ended: stable codes, shown as `PLK-1234`.
//!
//! Invariant: a number, once given, keeps its meaning for ever.

use core::fmt;

/// What the caller should make of a status; clients decide by this, not by the
/// single code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Done.
    Ok,
    /// The request is wrong: change it.
    Invalid,
    /// What it names is not there.
    NotFound,
    /// The caller may not do this, or has not said who it is.
    Denied,
    /// Another state than the request expects, or one that changed under it: look again,
    /// then decide. Never to be sent again just like that: a Cancelled is one of these.
    Conflict,
    /// A limit was passed: ask for less.
    TooLarge,
    /// Too much at once: retry after a while.
    Busy,
    /// The server cannot: an operator must look.
    Failed,
}

macro_rules! statuses {
    ($($number:literal $name:ident $class:ident $http:literal $doc:literal;)*) => {
        /// The status of a reply.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum Status { $(#[doc = $doc] $name = $number,)* }

        impl Status {
            /// Every status, in order of its number.
            pub const ALL: &'static [Status] = &[$(Status::$name),*];

            /// The status of a number, if there is one.
            pub fn from_number(number: u16) -> Option<Status> {
                match number { $($number => Some(Status::$name),)* _ => None }
            }

            /// Whether and how the caller can go on.
            pub fn class(self) -> Class {
                match self { $(Status::$name => Class::$class,)* }
            }

            /// The HTTP status that says the same.
            pub fn http(self) -> u16 {
                match self { $(Status::$name => $http,)* }
            }

            /// One sentence for people.
            pub fn meaning(self) -> &'static str {
                match self { $(Status::$name => $doc,)* }
            }
        }
    };
}

statuses! {
    0    Ok              Ok       200 "The request was carried out.";
    1001 BadPacket       Invalid  400 "The packet is malformed.";
    1002 UnknownOpcode   Invalid  400 "This server has no such operation.";
    1003 MessageTooLarge TooLarge 413 "The message passes limits.max_message_size.";
    1004 UnknownVersion  Invalid  400 "The packet is of a version of the protocol that is not spoken here.";
    1101 BadDocument     Invalid  400 "The document is not valid BSON, or breaks a rule for documents.";
    1102 DocumentTooLarge TooLarge 413 "The document passes the size limit for one document.";
    1103 BadKey          Invalid  400 "The key is not 32 hexadecimal digits.";
    1104 BatchTooLarge   TooLarge 413 "The batch passes limits.max_batch_size.";
    1106 TooManyEntries  TooLarge 413 "The document would have too many entries in an index.";
    1107 SchemaMismatch  Invalid  400 "The document is not as the store's schema asks.";
    1201 BadName         Invalid  400 "The name is not allowed.";
    1202 UnknownStore    NotFound 404 "There is no store of that name.";
    1203 StoreExists     Conflict 409 "There is a store of that name already.";
    1204 UnknownIndex    NotFound 404 "The store has no index of that name.";
    1205 IndexExists     Conflict 409 "The store has an index of that name already.";
    1206 BadIndex        Invalid  400 "No such index can be made or dropped.";
    1207 UnknownSequence NotFound 404 "There is no sequence of that name.";
    1208 SequenceExists  Conflict 409 "There is a sequence of that name already.";
    1209 BadChange       Invalid  400 "The store or sequence cannot be changed so.";
    1210 UnknownUser     NotFound 404 "There is no user of that name.";
    1211 UserExists      Conflict 409 "There is a user of that name already.";
    1212 BadUser         Invalid  400 "No such user can be made, or changed so.";
    1213 LastAdmin       Conflict 409 "The last admin cannot be dropped, given another role, or left without a lasting key.";
    1214 UnknownUserKey  NotFound 404 "The user has no key of that name.";
    1215 UserKeyExists   Conflict 409 "The user has a key of that name already.";
    1216 LimitReached    TooLarge 409 "There are as many as there can be: drop some, or use another.";
    1217 NotSetUp        NotFound 404 "The service is not set up for it; an operator must change its settings.";
    1218 BadModule       Invalid  400 "The guest's module cannot be used; the one before serves on.";
    1301 NotFound        NotFound 404 "There is no document under that key.";
    1302 KeyExists       Conflict 409 "There is a document under that key already.";
    1303 NotUnique       Conflict 409 "Another document has the value, and the index is unique.";
    1304 Changed         Conflict 409 "What the write requires does not hold any more; read it again.";
    1305 TransactionConflict Conflict 409 "Another commit changed what the transaction rests on; nothing of it was written, begin it again.";
    1340 ConditionFailed Conflict 409 "A document is not as a condition of the request asks; nothing was written.";
    1401 BadQuery        Invalid  400 "The query is not valid PQL.";
    1402 BadParameter    Invalid  400 "The query's parameters do not fit it.";
    1403 ResultTooLarge  TooLarge 413 "The result passes a limit; ask for less at a time.";
    1404 QueryMemory     TooLarge 413 "The query needs more memory than it may use to sort or group.";
    1405 UnknownCursor   NotFound 404 "The session has no cursor of that number, or none any more.";
    1406 UnknownQuery    NotFound 404 "No query of that number runs.";
    1407 UnknownTransaction NotFound 404 "The session has no transaction of that number, or none any more.";
    1408 UnknownSavepoint NotFound 404 "The transaction has no savepoint of that number, or none any more.";
    1409 NotInTransaction Invalid 400 "The operation cannot be part of this transaction.";
    1410 TransactionTooLarge TooLarge 413 "The transaction would write more than limits.max_transaction_size.";
    1420 BadWatch        Invalid  400 "What is to be watched is not described as it must be.";
    1421 WatchGap        Conflict 409 "The log does not reach back so far any more: begin anew with the documents.";
    1422 WatchAhead      Conflict 409 "The place is none of this log: it is of another one, or of commits that are not there.";
    1423 WatchEnded      NotFound 404 "A store that was watched was dropped.";
    1424 NoBeforeImages  Conflict 409 "The store does not keep what its documents were before.";
    1430 BadJob          Invalid  400 "The job is none that can be scheduled.";
    1440 NotLeader       Conflict 503 "This server is a replica and takes no writes: send them to the primary.";
    1441 Diverged        Conflict 409 "The replica has commits that the primary has not: it must begin anew from a snapshot.";
    1442 TooFarBehind    Conflict 409 "The primary's log does not reach back to the replica any more: it must begin anew from a snapshot.";
    1443 OtherStore      Conflict 409 "The replica's data is not of the primary's store.";
    1444 OlderTerm       Conflict 409 "The primary is of an older term than the replica: another one was promoted since.";
    1445 NotReached      Busy     504 "The commit cannot be read here yet; it was waited for in vain.";
    1446 BadFollow       Invalid  400 "What is asked of replication is not described as it must be, or not as it was sent.";
    1447 WrongRole       Conflict 409 "The server has that role already, or a role that cannot do this.";
    1501 NotAuthenticated Denied  401 "The session has not authenticated, or its user is gone or has another key.";
    1502 BadCredentials  Denied   401 "The user or key is wrong.";
    1503 Forbidden       Denied   403 "The role of this user, or the grant for the store, does not allow the operation.";
    1504 LockedOut       Denied   429 "Too many failed attempts; wait before the next.";
    1601 Busy            Busy     503 "The server is at a limit; retry after a while.";
    1602 Timeout         Busy     504 "The operation passed its deadline.";
    1603 Cancelled       Conflict 409 "It was cancelled before it was done; nothing changed.";
    1701 NoSuchUpstream  Denied   403 "The named upstream is not on the allowlist of service.yaml.";
    1702 BadUpstreamCall Invalid  400 "What was to be sent to the upstream is malformed, or not a guest's to say.";
    1703 UpstreamAddress Failed   502 "The upstream's name leads only to addresses it may not have; nothing was sent.";
    1704 UpstreamBusy    Busy     503 "Calls to the upstream are at a limit, or its circuit is open; nothing was sent.";
    1705 UpstreamUnreachable Busy 502 "There is no connection to the upstream; nothing was sent.";
    1706 UpstreamTimeout Failed   504 "The upstream did not answer in time; it may have done what it was asked.";
    1707 UpstreamBroken  Failed   502 "The upstream's answer broke off or is no HTTP; it may have done what it was asked.";
    1708 UpstreamTooLarge TooLarge 502 "The upstream's answer passes max_response_size; it may have done what it was asked.";
    1901 ReadOnly        Failed   503 "The storage refuses writes after a fault; reads go on.";
    1902 Corrupt         Failed   500 "Stored bytes failed their check and were not served.";
    1903 Io              Failed   500 "The disk failed the operation.";
    1999 Internal        Failed   500 "The server met a state it should not be in; please report it.";
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PLK-{:04}", *self as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_stable_and_found_again() {
        for status in Status::ALL {
            assert_eq!(Status::from_number(*status as u16), Some(*status));
        }
        assert!(Status::ALL.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(Status::from_number(7), None);
        assert_eq!(Status::UnknownStore.to_string(), "PLK-1202");
    }
}
