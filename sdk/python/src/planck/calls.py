"""Requests and what is made of their replies, one function for each operation.

What must stay true: `repeatable` is said only of what the protocol lists as safe to ask again after a
connection broke. What it does not list is not repeated.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, Union

from .connection import Call, Connection
from .documents import Document
from .errors import ProtocolError, ServerError, Status
from .packets import Answer, Count, Empty, Keys, OneKey, Op, Reply, Row, Rows, WithVersion, encode_request
from .shapes import Step
from .values import DateTime, Int64, Key, KeyLike

T = TypeVar("T")

IndexField = Union[str, Mapping[str, Any]]
"""`"a.b"`, `"-c"` for a descending one, or `{"path": "-d", "descending": True}`."""


Item = Union[Mapping[str, Any], tuple[Union[KeyLike, None], Mapping[str, Any]]]
"""A document to insert, or a key and a document."""


def _call(op: Op, repeatable: bool, convert: Callable[[Reply], T], **fields: Any) -> Call[T]:
    # `from` is a word of Python, so it is passed as `from_`.
    named = {name.rstrip("_"): value for name, value in fields.items()}

    def take(reply: Reply, connection: Connection) -> T:
        return convert(reply)

    return Call(op, encode_request(op, named), repeatable, take)


def _wrong(reply: Reply) -> ProtocolError:
    return ProtocolError(f"the server answered with {type(reply).__name__}, which is no answer to this request")


def nothing(reply: Reply) -> None:
    """Takes an Empty."""
    if not isinstance(reply, Empty):
        raise _wrong(reply)


def key_of(reply: Reply) -> Key:
    """Takes a Key."""
    if not isinstance(reply, OneKey):
        raise _wrong(reply)
    return reply.key


def count_of(reply: Reply) -> int:
    """Takes a Count."""
    if not isinstance(reply, Count):
        raise _wrong(reply)
    return reply.count


def document_of(reply: Reply) -> Document:
    """Takes a Document."""
    if not isinstance(reply, Answer):
        raise _wrong(reply)
    return reply.document


def _text_of(reply: Reply) -> str:
    text = document_of(reply).get("text")
    if not isinstance(text, str):
        raise ProtocolError("the server's answer has no `text`")
    return text


def _numbers_of(reply: Reply) -> range:
    document = document_of(reply)
    first, count = document.get("first"), document.get("count")
    if not isinstance(first, int) or not isinstance(count, int) or count < 1:
        raise ProtocolError("the server's answer has no `first` and `count`")
    return range(first, first + count)


def rows_of(reply: Reply) -> Rows:
    """Takes Rows."""
    if not isinstance(reply, Rows):
        raise _wrong(reply)
    return reply


def _list_of(reply: Reply) -> list[Document]:
    rows = rows_of(reply)
    if rows.more is not None:
        raise ProtocolError("the server says that a list goes on, and there is no way to ask for the rest")
    return [row.document for row in rows.rows]


def _users_of(after: str | None) -> Callable[[Reply], tuple[list[Document], str | None]]:
    def take(reply: Reply) -> tuple[list[Document], str | None]:
        rows = rows_of(reply)
        users = [row.document for row in rows.rows]
        if rows.more is None:
            return users, None
        last = users[-1].get("name") if users else None
        # One that does not come further would be asked for ever. Names are ASCII.
        if isinstance(rows.more, int) or not isinstance(last, str) or last <= (after or ""):
            raise _wrong(reply)
        return users, last

    return take


def _keyed_of(reply: Reply) -> Rows:
    rows = rows_of(reply)
    if not rows.keyed or isinstance(rows.more, int) or (rows.more is not None and not rows.rows):
        raise _wrong(reply)
    return rows


def _row_of(reply: Reply) -> Row:
    rows = _keyed_of(reply).rows
    if len(rows) != 1:
        raise _wrong(reply)
    return rows[0]


def _keys_of(count: int) -> Callable[[Reply], list[Key]]:
    def take(reply: Reply) -> list[Key]:
        if not isinstance(reply, Keys) or len(reply.keys) != count:
            raise _wrong(reply)
        return list(reply.keys)

    return take


def _some(**fields: Any) -> Document:
    """A definition of the fields that are given: those that are None are left out."""
    return {name: value for name, value in fields.items() if value is not None}


def ping() -> Call[None]:
    """Does nothing, and keeps a session from being idle."""
    return _call(Op.PING, True, nothing)


def stats() -> Call[Document]:
    """Figures of the server."""
    return _call(Op.STATS, True, document_of)


def list_stores() -> Call[list[Document]]:
    """A document about each store."""
    return _call(Op.LIST, True, _list_of)


def create_store(store: str, if_not_exists: bool) -> Call[None]:
    """Makes a store."""
    return _call(Op.CREATE_STORE, if_not_exists, nothing, store=store, if_not_exists=if_not_exists)


def drop_store(store: str, if_exists: bool) -> Call[None]:
    """Removes a store and all in it."""
    return _call(Op.DROP_STORE, if_exists, nothing, store=store, if_exists=if_exists)


def insert(store: str, document: Mapping[str, Any], key: KeyLike | None) -> Call[Key]:
    """Adds a document."""
    return _call(Op.INSERT, key is not None, key_of, store=store, key=key, document=document)


def insert_many(store: str, documents: Iterable[Item]) -> Call[list[Key]]:
    """Adds all documents or none."""
    items = [item if isinstance(item, tuple) else (None, item) for item in documents]
    keyed = all(key is not None for key, _ in items)
    return _call(Op.BATCH_INSERT, keyed, _keys_of(len(items)), store=store, items=items)


def read(store: str, key: KeyLike) -> Call[Row]:
    """One document."""
    return _call(Op.READ, True, _row_of, store=store, key=key)


def update(store: str, key: KeyLike, document: Mapping[str, Any], upsert: bool) -> Call[Key]:
    """Puts a document in the place of another."""
    return _call(Op.UPDATE, True, key_of, store=store, upsert=upsert, key=key, document=document)


def delete(store: str, key: KeyLike, missing_ok: bool) -> Call[bool]:
    """Removes a document; says whether there was one."""
    call = _call(Op.DELETE, True, lambda reply: count_of(reply) > 0, store=store, key=key)
    return replace(call, recover=_missing(False)) if missing_ok else call


def get(store: str, key: KeyLike) -> Call[Document | None]:
    """One document, or None."""

    def take(reply: Reply) -> Document | None:
        return _row_of(reply).document

    return replace(_call(Op.READ, True, take, store=store, key=key), recover=_missing(None))


def read_version(store: str, key: KeyLike) -> Call[WithVersion | None]:
    """One document and its version, or None."""

    def take(reply: Reply) -> WithVersion | None:
        if not isinstance(reply, WithVersion):
            raise _wrong(reply)
        return reply

    return replace(_call(Op.READ_VERSION, True, take, store=store, key=key), recover=_missing(None))


def apply(steps: Sequence[Step]) -> Call[tuple[int, list[Key]]]:
    """Several steps, all or none: the version that was written, and the key of each step."""

    def take(reply: Reply) -> tuple[int, list[Key]]:
        told = document_of(reply)
        version, keys = told.get("version"), told.get("keys")
        if not isinstance(version, int) or not isinstance(keys, bytes) or len(keys) != 16 * len(steps):
            raise ProtocolError("the server's answer has no `version`, or not a key for each step")
        return int(version), [Key(keys[at : at + 16]) for at in range(0, len(keys), 16)]

    return _call(Op.APPLY, all(step.key is not None for step in steps), take, steps=list(steps))


def _missing(value: T) -> Callable[[ServerError], T]:
    """Takes `PLK-1301`, no document under that key, for a value. Other errors stay errors."""

    def take(error: ServerError) -> T:
        if error.status != Status.NOT_FOUND:
            raise error
        return value

    return take


def scan(store: str, reverse: bool, after: KeyLike | None, limit: int) -> Call[Rows]:
    """A page of documents in the order of keys."""
    return _call(Op.SCAN, True, _keyed_of, store=store, reverse=reverse, after=after, limit=limit)


def key_range(store: str, reverse: bool, first: KeyLike, last: KeyLike, limit: int) -> Call[Rows]:
    """A page of documents between two keys, both included."""
    return _call(Op.RANGE, True, _keyed_of, store=store, reverse=reverse, from_=first, to=last, limit=limit)


def describe_store(store: str) -> Call[Document]:
    """All there is to say of a store."""
    return _call(Op.DESCRIBE_STORE, True, document_of, store=store)


def alter_store(store: str, change: Mapping[str, Any]) -> Call[None]:
    """Changes a store. A rename is not done twice: the second would not find it."""
    return _call(Op.ALTER_STORE, "rename" not in change, nothing, store=store, change=change)


def create_index(
    store: str,
    fields: Iterable[IndexField],
    name: str | None,
    unique: bool,
    sparse: bool,
    where: str | None,
    if_not_exists: bool,
) -> Call[Document]:
    """Makes an index, which is built while writes go on."""
    definition = _some(name=name, fields=list(fields), unique=unique or None, sparse=sparse or None, filter=where)
    return _call(
        Op.CREATE_INDEX,
        if_not_exists,
        document_of,
        store=store,
        if_not_exists=if_not_exists,
        definition=definition,
    )


def drop_index(store: str, index: str, if_exists: bool) -> Call[None]:
    """Removes an index."""
    return _call(Op.DROP_INDEX, if_exists, nothing, store=store, index=index, if_exists=if_exists)


def check_indexes(store: str, index: str) -> Call[list[Document]]:
    """Compares indexes with documents."""
    return _call(Op.CHECK_INDEXES, True, _list_of, store=store, index=index)


def create_sequence(sequence: str, if_not_exists: bool) -> Call[None]:
    """Makes a sequence."""
    return _call(Op.CREATE_SEQUENCE, if_not_exists, nothing, sequence=sequence, if_not_exists=if_not_exists)


def drop_sequence(sequence: str, if_exists: bool) -> Call[None]:
    """Removes a sequence."""
    return _call(Op.DROP_SEQUENCE, if_exists, nothing, sequence=sequence, if_exists=if_exists)


def next_numbers(sequence: str, count: int) -> Call[range]:
    """Takes numbers of a sequence."""
    return _call(Op.NEXT_NUMBERS, False, _numbers_of, sequence=sequence, count=count)


def list_sequences() -> Call[list[Document]]:
    """A document about each sequence."""
    return _call(Op.LIST_SEQUENCES, True, _list_of)


def alter_sequence(sequence: str, change: Mapping[str, Any]) -> Call[None]:
    """Changes a sequence: one of `rename` and `next`, which is an int64."""
    return _call(Op.ALTER_SEQUENCE, "rename" not in change, nothing, sequence=sequence, change=change)


def running_queries() -> Call[list[Document]]:
    """A document about each query that runs or waits."""
    return _call(Op.RUNNING_QUERIES, True, _list_of)


def cancel_query(query: int) -> Call[None]:
    """Ends a query of any session."""
    return _call(Op.CANCEL_QUERY, False, nothing, query=query)


def format_query(text: str) -> Call[str]:
    """A query in its canonical form."""
    return _call(Op.FORMAT_QUERY, True, _text_of, text=text)


def flush() -> Call[None]:
    """Moves what is in memory to the trees."""
    return _call(Op.FLUSH, True, nothing)


def backup(begin: bool, full: bool) -> Call[Document]:
    """Asks for a backup, or how the last one goes."""
    return _call(Op.BACKUP, not begin, document_of, begin=begin, full=full)


def reload_module() -> Call[Document]:
    """Reads the guest's module again, and has the new one serve."""
    return _call(Op.RELOAD_MODULE, True, document_of)


def watch(what: Mapping[str, Any]) -> Call[Document]:
    """What changed in stores since a place in the log."""
    return _call(Op.WATCH, True, document_of, what=what)


def position(lsn: int, max_wait_ms: int) -> Call[Document]:
    """How far the server is, once the commit ``lsn`` can be read there; waited for so long."""
    return _call(Op.POSITION, True, document_of, what={"lsn": Int64(lsn), "max_wait_ms": max_wait_ms})


def follow(what: Mapping[str, Any]) -> Call[Document]:
    """A page of the log, as a replica asks for it."""
    return _call(Op.FOLLOW, True, document_of, what=what)


def snapshot(what: Mapping[str, Any]) -> Call[Document]:
    """The data whole, or a piece of it, as a replica asks for it."""
    return _call(Op.SNAPSHOT, True, document_of, what=what)


def promote() -> Call[Document]:
    """Makes a replica the primary."""
    return _call(Op.PROMOTE, False, document_of)


def demote() -> Call[Document]:
    """Makes a primary a replica."""
    return _call(Op.DEMOTE, False, document_of)


def create_user(
    user: str, role: str, key: str | None, if_not_exists: bool, grants: Mapping[str, str] | None = None
) -> Call[Document]:
    """Makes a user. Without a key the answer has the one that was made, so it is not asked for twice."""
    return _call(
        Op.CREATE_USER,
        if_not_exists and key is not None,
        document_of,
        user=user,
        if_not_exists=if_not_exists,
        definition=_some(role=role, key=key, grants=dict(grants) if grants else None),
    )


def alter_user(user: str, change: Mapping[str, Any]) -> Call[Document]:
    """Changes a user's role, grants or key. A key ends sessions, perhaps this client's: it is not set twice."""
    return _call(Op.ALTER_USER, "key" not in change, document_of, user=user, change=change)


def create_key(user: str, name: str, expires: datetime.datetime | DateTime | None) -> Call[Document]:
    """Makes one more key for a user. It is told once, so it is not asked for twice."""
    return _call(Op.CREATE_KEY, False, document_of, user=user, definition=_some(name=name, expires=expires))


def revoke_key(user: str, key: str, if_exists: bool) -> Call[None]:
    """Takes a key from a user, by its name."""
    return _call(Op.REVOKE_KEY, if_exists, nothing, user=user, key=key, if_exists=if_exists)


def _number_of(name: str) -> Callable[[Reply], int]:
    def take(reply: Reply) -> int:
        number = document_of(reply).get(name)
        if not isinstance(number, int):
            raise ProtocolError(f"the server's answer has no `{name}`")
        return int(number)

    return take


def begin(read_only: bool, milliseconds: int) -> Call[int]:
    """Begins a transaction, which lasts so long at most; 0: as long as the server allows. Gives its number."""
    return _call(Op.BEGIN, False, _number_of("transaction"), read_only=read_only, milliseconds=milliseconds)


def begin_snapshot() -> Call[Document]:
    """Begins a transaction that only reads. Gives its number, and the commit whose state it sees."""
    return _call(Op.BEGIN, False, document_of, read_only=True, milliseconds=0)


def commit(transaction: int) -> Call[int]:
    """Makes a transaction take effect. Gives the number of the commit."""
    return _call(Op.COMMIT, False, _number_of("lsn"), transaction=transaction)


def abort(transaction: int) -> Call[None]:
    """Lets go of a transaction."""
    return _call(Op.ABORT, False, nothing, transaction=transaction)


def savepoint(transaction: int) -> Call[int]:
    """Marks a place in a transaction. Gives its number."""
    return _call(Op.SAVEPOINT, False, count_of, transaction=transaction)


def rollback(transaction: int, savepoint: int) -> Call[None]:
    """Undoes what a transaction wrote since a savepoint."""
    return _call(Op.ROLLBACK, False, nothing, transaction=transaction, savepoint=savepoint)


def schedule(
    path: str,
    payload: str | bytes | Mapping[str, Any] | None,
    upstream: str | None,
    method: str | None,
    headers: Mapping[str, str] | None,
    due: datetime.datetime | DateTime | None,
    in_ms: int | None,
    max_attempts: int | None,
    idempotency_key: str | None,
) -> Call[Key]:
    """Has a job run when it is due. Gives its key. Not sent twice: there would be two jobs."""
    job = _some(
        path=path,
        payload=payload,
        upstream=upstream,
        method=method,
        headers=dict(headers) if headers else None,
        due=due,
        in_ms=in_ms,
        max_attempts=max_attempts,
        idempotency_key=idempotency_key,
    )
    return _call(Op.SCHEDULE, False, key_of, job=job)


def retry_job(job: KeyLike) -> Call[None]:
    """Puts a job that was given up back among those that wait."""
    return _call(Op.RETRY_JOB, False, nothing, job=job)


def drop_user(user: str, if_exists: bool) -> Call[None]:
    """Removes a user, and ends their sessions."""
    return _call(Op.DROP_USER, if_exists, nothing, user=user, if_exists=if_exists)


def list_users(after: str | None = None) -> Call[tuple[list[Document], str | None]]:
    """A document about each user behind that name, and the name to go on behind if there are more."""
    return _call(Op.LIST_USERS, True, _users_of(after), after=after)
