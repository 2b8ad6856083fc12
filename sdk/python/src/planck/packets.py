"""Packets as bytes: the header, the body of every request, the body of every reply. Nothing is sent here.

What must stay true: what is encoded is exactly what the protocol draws (the golden packets of its annex
are the tests); whatever is decoded gives a value or a `ProtocolError`, and takes no more memory than the
bytes that are there warrant.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Union

from . import documents
from .documents import Document
from .errors import ProtocolError, UsageError
from .shapes import (
    DOCUMENT,
    FLAG,
    ITEMS,
    KEY,
    MAYBE_DOCUMENT,
    MAYBE_KEY,
    MAYBE_STR16,
    NO_KEY,
    REST,
    STEPS,
    STR16,
    TEXT32,
    U16,
    U32,
    U64,
    Reader,
    Shape,
)
from .values import Key

MAGIC = b"PLNK"
VERSION = 1
HEADER_BYTES = 24
MAX_ERROR_TEXT = 4096

_HEADER = struct.Struct("<4sBBHQII")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


class Kind(enum.IntEnum):
    """What a packet is."""

    REQUEST = 0
    REPLY = 1
    CANCEL = 2


class Op(enum.IntEnum):
    """The operations."""

    PING = 1
    AUTH = 2
    STATS = 3
    LIST = 4
    CREATE_STORE = 5
    DROP_STORE = 6
    INSERT = 7
    BATCH_INSERT = 8
    READ = 9
    UPDATE = 10
    DELETE = 11
    SCAN = 12
    RANGE = 13
    QUERY = 14
    FLUSH = 15
    BACKUP = 16
    CREATE_INDEX = 17
    DROP_INDEX = 18
    ALTER_STORE = 19
    CHECK_INDEXES = 20
    CREATE_SEQUENCE = 21
    DROP_SEQUENCE = 22
    NEXT_NUMBERS = 23
    LIST_SEQUENCES = 24
    STREAM = 25
    FETCH = 26
    CLOSE_CURSOR = 27
    RUNNING_QUERIES = 28
    CANCEL_QUERY = 29
    CREATE_USER = 30
    ALTER_USER = 31
    DROP_USER = 32
    LIST_USERS = 33
    DESCRIBE_STORE = 34
    ALTER_SEQUENCE = 35
    FORMAT_QUERY = 36
    CREATE_KEY = 37
    REVOKE_KEY = 38
    BEGIN = 39
    COMMIT = 40
    ABORT = 41
    SAVEPOINT = 42
    ROLLBACK = 43
    WITHIN = 44
    RELOAD_MODULE = 45
    WATCH = 46
    SCHEDULE = 48
    RETRY_JOB = 49
    APPLY = 52
    READ_VERSION = 53
    FOLLOW = 54
    SNAPSHOT = 55
    POSITION = 56
    PROMOTE = 57
    DEMOTE = 58


@dataclass(frozen=True)
class Packet:
    """A header and its body."""

    kind: Kind
    code: int
    id: int
    body: bytes = field(default=b"", repr=False)
    patience: int = 0


def encode_packet(packet: Packet) -> bytes:
    """The bytes of a packet."""
    head = _HEADER.pack(MAGIC, VERSION, packet.kind, packet.code, packet.id, len(packet.body), packet.patience)
    return head + packet.body


class Framer:
    """Cuts what arrives into packets. A header that is wrong is told as soon as it is there, before its body."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Takes bytes that arrived."""
        self._buffer += data

    def next(self) -> Packet | None:
        """The next whole packet, if it is there."""
        if len(self._buffer) < HEADER_BYTES:
            if not MAGIC.startswith(self._buffer[: len(MAGIC)]):
                raise ProtocolError("what was received is no packet of Planck")
            return None
        magic, version, kind, code, number, length, patience = _HEADER.unpack_from(self._buffer)
        if magic != MAGIC:
            raise ProtocolError("what was received is no packet of Planck")
        if version != VERSION:
            raise ProtocolError(
                f"the peer speaks version {version} of the protocol (status {code}), this client version {VERSION}"
            )
        if kind > max(Kind) or (kind == Kind.CANCEL and (code or length or patience)):
            raise ProtocolError(f"a packet of kind {kind} and {length} bytes is none")
        if HEADER_BYTES + length > self.limit:
            raise ProtocolError(f"a packet of {HEADER_BYTES + length} bytes; at most {self.limit} are taken")
        if len(self._buffer) < HEADER_BYTES + length:
            return None
        body = bytes(self._buffer[HEADER_BYTES : HEADER_BYTES + length])
        del self._buffer[: HEADER_BYTES + length]
        return Packet(Kind(kind), code, number, body, patience)

    @property
    def pending(self) -> int:
        """Bytes of a packet that is not whole yet."""
        return len(self._buffer)


_STORE = ("store", STR16)
_IF_EXISTS, _IF_NOT_EXISTS = ("if_exists", FLAG), ("if_not_exists", FLAG)
_TRANSACTION = ("transaction", U64)
_QUERY = (("text", TEXT32), ("parameters", MAYBE_DOCUMENT))

FIELDS: dict[Op, tuple[tuple[str, Shape], ...]] = {
    Op.PING: (),
    Op.AUTH: (("user", STR16), ("key", STR16)),
    Op.STATS: (),
    Op.LIST: (),
    Op.CREATE_STORE: (_STORE, _IF_NOT_EXISTS),
    Op.DROP_STORE: (_STORE, _IF_EXISTS),
    Op.INSERT: (_STORE, ("key", MAYBE_KEY), ("document", DOCUMENT)),
    Op.BATCH_INSERT: (_STORE, ("items", ITEMS)),
    Op.READ: (_STORE, ("key", KEY)),
    Op.UPDATE: (_STORE, ("upsert", FLAG), ("key", KEY), ("document", DOCUMENT)),
    Op.DELETE: (_STORE, ("key", KEY)),
    Op.SCAN: (_STORE, ("reverse", FLAG), ("after", MAYBE_KEY), ("limit", U32)),
    Op.RANGE: (_STORE, ("reverse", FLAG), ("from", KEY), ("to", KEY), ("limit", U32)),
    Op.QUERY: _QUERY,
    Op.FLUSH: (),
    Op.BACKUP: (("begin", FLAG), ("full", FLAG)),
    Op.CREATE_INDEX: (_STORE, _IF_NOT_EXISTS, ("definition", DOCUMENT)),
    Op.DROP_INDEX: (_STORE, ("index", STR16), _IF_EXISTS),
    Op.ALTER_STORE: (_STORE, ("change", DOCUMENT)),
    Op.CHECK_INDEXES: (_STORE, ("index", STR16)),
    Op.CREATE_SEQUENCE: (("sequence", STR16), _IF_NOT_EXISTS),
    Op.DROP_SEQUENCE: (("sequence", STR16), _IF_EXISTS),
    Op.NEXT_NUMBERS: (("sequence", STR16), ("count", U32)),
    Op.LIST_SEQUENCES: (),
    Op.STREAM: (("rows", U32), ("bytes", U32), *_QUERY),
    Op.FETCH: (("cursor", U64),),
    Op.CLOSE_CURSOR: (("cursor", U64),),
    Op.RUNNING_QUERIES: (),
    Op.CANCEL_QUERY: (("query", U64),),
    Op.CREATE_USER: (("user", STR16), _IF_NOT_EXISTS, ("definition", DOCUMENT)),
    Op.ALTER_USER: (("user", STR16), ("change", DOCUMENT)),
    Op.DROP_USER: (("user", STR16), _IF_EXISTS),
    Op.LIST_USERS: (("after", MAYBE_STR16),),
    Op.DESCRIBE_STORE: (_STORE,),
    Op.ALTER_SEQUENCE: (("sequence", STR16), ("change", DOCUMENT)),
    Op.FORMAT_QUERY: (("text", TEXT32),),
    Op.CREATE_KEY: (("user", STR16), ("definition", DOCUMENT)),
    Op.REVOKE_KEY: (("user", STR16), ("key", STR16), _IF_EXISTS),
    Op.BEGIN: (("read_only", FLAG), ("milliseconds", U32)),
    Op.COMMIT: (_TRANSACTION,),
    Op.ABORT: (_TRANSACTION,),
    Op.SAVEPOINT: (_TRANSACTION,),
    Op.ROLLBACK: (_TRANSACTION, ("savepoint", U64)),
    Op.WITHIN: (_TRANSACTION, ("operation", U16), ("body", REST)),
    Op.RELOAD_MODULE: (),
    Op.WATCH: (("what", DOCUMENT),),
    Op.SCHEDULE: (("job", DOCUMENT),),
    Op.RETRY_JOB: (("job", KEY),),
    Op.APPLY: (("steps", STEPS),),
    Op.READ_VERSION: (_STORE, ("key", KEY)),
    Op.FOLLOW: (("what", DOCUMENT),),
    Op.SNAPSHOT: (("what", DOCUMENT),),
    Op.POSITION: (("what", DOCUMENT),),
    Op.PROMOTE: (),
    Op.DEMOTE: (),
}
"""The fields of each request, in their order."""


def encode_request(op: Op, fields: Mapping[str, Any] | None = None) -> bytes:
    """The body of a request. Each field must be given, and no other."""
    fields = fields or {}
    shapes = FIELDS[op]
    if fields.keys() != {name for name, _ in shapes}:
        raise UsageError(f"{op.name} has the fields {', '.join(name for name, _ in shapes) or 'none'}")
    out = bytearray()
    for name, shape in shapes:
        shape.put(out, fields[name])
    return bytes(out)


def decode_request(op: Op, body: bytes) -> dict[str, Any]:
    """The fields of a request. This is what a server does; the tests have one."""
    reader = Reader(body)
    fields = {name: shape.get(reader) for name, shape in FIELDS[op]}
    reader.end()
    return fields


@dataclass(frozen=True)
class Row:
    """A document of a result, with its key if the result has keys."""

    key: Key | None
    document: Document

    def __getitem__(self, name: str) -> Any:
        return self.document[name]

    def get(self, name: str, default: Any = None) -> Any:
        """A field of the document, or the default."""
        return self.document.get(name, default)


@dataclass(frozen=True)
class Empty:
    """It is done."""


@dataclass(frozen=True)
class OneKey:
    """The key of a document."""

    key: Key


@dataclass(frozen=True)
class Keys:
    """Keys, in the order of the request."""

    keys: Sequence[Key]


@dataclass(frozen=True)
class Count:
    """A number of documents."""

    count: int


@dataclass(frozen=True)
class Answer:
    """A document that is no stored one."""

    document: Document


@dataclass(frozen=True)
class Rows:
    """A page of rows. `more` is None after the last, a Key to go on behind, or the number of a cursor."""

    keyed: bool
    rows: Sequence[Row]
    more: Key | int | None = None


@dataclass(frozen=True)
class WithVersion:
    """A stored document and its version."""

    version: int
    document: Document


@dataclass(frozen=True)
class Failure:
    """An error."""

    status: int
    message: str


Reply = Union[Empty, OneKey, Keys, Count, Answer, Rows, WithVersion, Failure]


def encode_reply(reply: Reply) -> tuple[int, bytes]:
    """The code and body of a reply. This is what a server does; the tests have one."""
    out = bytearray()
    if isinstance(reply, Failure):
        return reply.status, reply.message.encode()
    if isinstance(reply, Empty):
        out += b"\0"
    elif isinstance(reply, OneKey):
        out += b"\1" + reply.key.raw
    elif isinstance(reply, Keys):
        out += b"\2" + _U32.pack(len(reply.keys)) + b"".join(key.raw for key in reply.keys)
    elif isinstance(reply, Count):
        out += b"\3" + _U64.pack(reply.count)
    elif isinstance(reply, Answer):
        out += b"\4" + documents.encode(reply.document)
    elif isinstance(reply, WithVersion):
        out += b"\6" + _U64.pack(reply.version) + documents.encode(reply.document)
    else:
        out += b"\5" + bytes([reply.keyed]) + _encode_more(reply.more) + _U32.pack(len(reply.rows))
        for row in reply.rows:
            if row.key is not None:
                out += row.key.raw
            out += documents.encode(row.document)
    return 0, bytes(out)


def _encode_more(more: Key | int | None) -> bytes:
    if more is None:
        return b"\0" + NO_KEY
    if isinstance(more, Key):
        return b"\1" + more.raw
    return b"\2" + more.to_bytes(16, "big")


def decode_reply(code: int, body: bytes) -> Reply:
    """What a reply says."""
    if code:
        return Failure(code, body[:MAX_ERROR_TEXT].decode(errors="replace"))
    reader = Reader(body)
    tag = reader.u8()
    reply: Reply
    if tag == 0:
        reply = Empty()
    elif tag == 1:
        reply = OneKey(Key(reader.take(16)))
    elif tag == 2:
        raw = reader.take(16 * reader.u32())
        reply = Keys([Key(raw[at : at + 16]) for at in range(0, len(raw), 16)])
    elif tag == 3:
        reply = Count(reader.u64())
    elif tag == 4:
        reply = Answer(reader.document())
    elif tag == 5:
        reply = _decode_rows(reader)
    elif tag == 6:
        reply = WithVersion(reader.u64(), reader.document())
    else:
        raise ProtocolError(f"a reply of tag {tag}, which this client does not know")
    reader.end()
    return reply


def _decode_rows(reader: Reader) -> Rows:
    keyed, kind, mark = reader.flag(), reader.u8(), reader.take(16)
    more: Key | int | None
    if kind == 0 and mark == NO_KEY:
        more = None
    elif kind == 1:
        more = Key(mark)
    elif kind == 2 and mark[:8] == NO_KEY[:8]:
        more = int.from_bytes(mark, "big")
    else:
        raise ProtocolError("a page does not say as it must whether there are more rows")
    rows = [Row(Key(reader.take(16)) if keyed else None, reader.document()) for _ in range(reader.u32())]
    return Rows(keyed, rows, more)
