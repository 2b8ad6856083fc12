//! Roles, and what each may do: one table.

use proto::Opcode;

use crate::pql::ast::Verb;

/// What a user may do, in steps: each may what those before it may, but for
/// [`Role::Replica`], of which only an admin may all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Nothing but say hello.
    None,
    /// Follows the log, and copies the data whole: for the key of a replica.
    Replica,
    /// Reads documents.
    ReadOnly,
    /// Reads and changes documents.
    ReadWrite,
    /// Everything.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 5] =
        [Role::None, Role::Replica, Role::ReadOnly, Role::ReadWrite, Role::Admin];

    /// As stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Role::None => "none",
            Role::Replica => "replica",
            Role::ReadOnly => "read_only",
            Role::ReadWrite => "read_write",
            Role::Admin => "admin",
        }
    }

    /// The role of a name.
    pub fn from_name(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// What an operation does, as far as permission goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing to anybody.
    Greet,
    /// Shows something of what the caller may read, whichever store that is of.
    Look,
    /// Shows documents, or a store; or sequences.
    Read,
    /// Changes documents; takes numbers of a sequence.
    Write,
    /// Changes documents of the system's own stores: has jobs run.
    Schedule,
    /// Makes a store.
    CreateStore,
    /// Removes a store.
    DropStore,
    /// Makes an index or a sequence.
    Define,
    /// Changes a store, or removes an index or a sequence.
    Alter,
    /// Makes the storage work, or changes the guest's module.
    Maintain,
    /// Makes, changes, removes and shows users.
    Users,
    /// Gives oneself another key, or one more, or takes one away.
    ChangeKey,
    /// Gives everything away: the log, and the data whole.
    Replicate,
    /// Says which of several servers takes writes.
    Lead,
}

impl Action {
    /// What an operation does at least. An [`Opcode::Query`] or [`Opcode::Stream`] does
    /// more: ask [`Action::of_query`] once it is parsed, in each store it names.
    pub fn of(opcode: Opcode) -> Action {
        match opcode {
            Opcode::Ping | Opcode::Auth => Action::Greet,
            Opcode::Stats | Opcode::List => Action::Look,
            Opcode::Read | Opcode::ReadVersion | Opcode::Scan | Opcode::Range => Action::Read,
            // Of each store that it names it is asked again: `ops/apply.rs`.
            Opcode::Apply => Action::Look,
            Opcode::Query | Opcode::Stream => Action::Look,
            // In each store that is watched: see `ops/watch.rs`.
            Opcode::Watch => Action::Look,
            Opcode::Fetch | Opcode::CloseCursor => Action::Look,
            // Of other users' queries an admin's alone: see `ops/running.rs`.
            Opcode::RunningQueries | Opcode::CancelQuery => Action::Look,
            Opcode::Insert | Opcode::BatchInsert | Opcode::Update | Opcode::Delete => Action::Write,
            Opcode::CreateStore => Action::CreateStore,
            Opcode::DropStore => Action::DropStore,
            Opcode::CreateIndex | Opcode::CreateSequence => Action::Define,
            Opcode::DropIndex | Opcode::AlterStore | Opcode::DropSequence => Action::Alter,
            Opcode::NextNumbers => Action::Write,
            Opcode::ListSequences => Action::Read,
            Opcode::CheckIndexes => Action::Maintain,
            Opcode::Flush | Opcode::Backup | Opcode::ReloadModule => Action::Maintain,
            Opcode::CreateUser | Opcode::DropUser | Opcode::ListUsers => Action::Users,
            // Of other users, and of roles, an admin alone: see `ops/users.rs`.
            Opcode::AlterUser | Opcode::CreateKey | Opcode::RevokeKey => Action::ChangeKey,
            Opcode::DescribeStore => Action::Read,
            Opcode::FormatQuery => Action::Look,
            Opcode::AlterSequence => Action::Alter,
            Opcode::Schedule | Opcode::RetryJob => Action::Schedule,
            // Of what is done in it each operation is asked about.
            Opcode::Begin | Opcode::Commit | Opcode::Abort => Action::Look,
            Opcode::Savepoint | Opcode::Rollback | Opcode::Within => Action::Look,
            Opcode::Follow | Opcode::Snapshot => Action::Replicate,
            // Numbers of commits are no secret to who may call.
            Opcode::Position => Action::Greet,
            Opcode::Promote | Opcode::Demote => Action::Lead,
        }
    }

    /// What a query does, by its verb.
    pub fn of_query(verb: &Verb) -> Action {
        match verb {
            Verb::Get(_) => Action::Read,
            Verb::Insert { .. } => Action::Write,
            Verb::Select(select) if select.output.mutates() => Action::Write,
            Verb::Select(_) => Action::Read,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Action::Greet => "connect",
            Action::Look | Action::Read => "read",
            Action::Write => "write",
            Action::Schedule => "schedule jobs",
            Action::CreateStore => "create stores",
            Action::DropStore => "drop stores",
            Action::Define => "create indexes and sequences",
            Action::Alter => "change stores and sequences and drop indexes and sequences",
            Action::Maintain => "maintain the service",
            Action::Users => "manage users",
            Action::ChangeKey => "have a key",
            Action::Replicate => "replicate the data",
            Action::Lead => "promote and demote",
        }
    }
}

/// The table of permissions. A grant puts another role in the place of the user's, in
/// one store, for what is done with its documents (`grants.rs`).
pub fn allows(role: Role, action: Action) -> bool {
    let least = match action {
        Action::Replicate if role == Role::Replica => return true,
        Action::Replicate | Action::Lead => Role::Admin,
        Action::Greet | Action::ChangeKey => Role::None,
        Action::Look | Action::Read => Role::ReadOnly,
        Action::Write => Role::ReadWrite,
        Action::CreateStore | Action::DropStore | Action::Maintain => Role::Admin,
        Action::Schedule => Role::Admin,
        Action::Define | Action::Alter | Action::Users => Role::Admin,
    };
    role >= least
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Principal;
    use crate::pql::parse;

    /// Each operation, and who may: none, replica, read_only, read_write, admin; then a service.
    const TABLE: &[(Opcode, &str)] = &[
        (Opcode::Ping, "yyyyy y"),
        (Opcode::Auth, "yyyyy y"),
        (Opcode::Stats, "--yyy y"),
        (Opcode::List, "--yyy y"),
        (Opcode::CreateStore, "----y y"),
        (Opcode::DropStore, "----y -"),
        (Opcode::Insert, "---yy y"),
        (Opcode::BatchInsert, "---yy y"),
        (Opcode::Read, "--yyy y"),
        (Opcode::Update, "---yy y"),
        (Opcode::Delete, "---yy y"),
        (Opcode::Scan, "--yyy y"),
        (Opcode::Range, "--yyy y"),
        (Opcode::Query, "--yyy y"),
        (Opcode::Flush, "----y -"),
        (Opcode::Backup, "----y -"),
        (Opcode::CreateIndex, "----y y"),
        (Opcode::DropIndex, "----y -"),
        (Opcode::AlterStore, "----y -"),
        (Opcode::CheckIndexes, "----y -"),
        (Opcode::CreateSequence, "----y y"),
        (Opcode::DropSequence, "----y -"),
        (Opcode::NextNumbers, "---yy y"),
        (Opcode::ListSequences, "--yyy y"),
        (Opcode::Stream, "--yyy y"),
        (Opcode::Fetch, "--yyy y"),
        (Opcode::CloseCursor, "--yyy y"),
        (Opcode::RunningQueries, "--yyy y"),
        (Opcode::CancelQuery, "--yyy y"),
        (Opcode::CreateUser, "----y -"),
        (Opcode::AlterUser, "yyyyy -"),
        (Opcode::DropUser, "----y -"),
        (Opcode::ListUsers, "----y -"),
        (Opcode::DescribeStore, "--yyy y"),
        (Opcode::AlterSequence, "----y -"),
        (Opcode::FormatQuery, "--yyy y"),
        (Opcode::CreateKey, "yyyyy -"),
        (Opcode::RevokeKey, "yyyyy -"),
        (Opcode::Begin, "--yyy y"),
        (Opcode::Commit, "--yyy y"),
        (Opcode::Abort, "--yyy y"),
        (Opcode::Savepoint, "--yyy y"),
        (Opcode::Rollback, "--yyy y"),
        (Opcode::Within, "--yyy y"),
        (Opcode::ReloadModule, "----y -"),
        (Opcode::Watch, "--yyy y"),
        (Opcode::Schedule, "----y y"),
        (Opcode::RetryJob, "----y y"),
        (Opcode::Apply, "--yyy y"),
        (Opcode::ReadVersion, "--yyy y"),
        (Opcode::Follow, "-y--y -"),
        (Opcode::Snapshot, "-y--y -"),
        (Opcode::Position, "yyyyy y"),
        (Opcode::Promote, "----y -"),
        (Opcode::Demote, "----y -"),
    ];

    fn row(action: Action) -> String {
        let letter = |may| if may { 'y' } else { '-' };
        let roles: String =
            Role::ALL.iter().map(|&role| letter(Principal::new("x", role).may(action))).collect();
        format!("{roles} {}", letter(Principal::service("x").may(action)))
    }

    #[test]
    fn every_operation_and_role() {
        let listed: Vec<Opcode> = TABLE.iter().map(|(opcode, _)| *opcode).collect();
        assert_eq!(listed, Opcode::ALL, "a new operation needs a line in this table");
        for &(opcode, expected) in TABLE {
            assert_eq!(row(Action::of(opcode)), expected, "{}", opcode.name());
        }
    }

    #[test]
    fn a_query_is_what_its_verb_is() {
        let key = "0".repeat(32);
        for (text, expected) in [
            (format!("s.get('{key}')"), "--yyy y"),
            ("s.filter(a = 1)".to_owned(), "--yyy y"),
            ("s.count()".to_owned(), "--yyy y"),
            ("s.groupBy(a).aggregate(n: count())".to_owned(), "--yyy y"),
            ("s.insert({a: 1})".to_owned(), "---yy y"),
            ("s.filter(a = 1).set({a: 2})".to_owned(), "---yy y"),
            ("s.filter(a = 1).delete()".to_owned(), "---yy y"),
        ] {
            let query = parse(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(row(Action::of_query(&query.verb)), expected, "{text}");
        }
    }

    #[test]
    fn names_of_roles_are_found_again() {
        for role in Role::ALL {
            assert_eq!(Role::from_name(role.name()), Some(role));
        }
        assert_eq!(Role::from_name("Admin"), None);
    }
}
