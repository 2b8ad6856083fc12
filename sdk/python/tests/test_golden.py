"""The document of the protocol against this client: every golden packet, every operation, every status."""

from __future__ import annotations

import datetime
import re
import struct
import unittest
import uuid
from typing import Any

from support import KEY, ROW, golden_packets, protocol_document, reply_bytes, whole

from planck import (
    Binary,
    Decimal128,
    Int64,
    Key,
    MaxKey,
    MinKey,
    ObjectId,
    ProtocolError,
    Regex,
    Timestamp,
    calls,
    result,
)
from planck.connection import Call
from planck.errors import Status, class_of, name_of
from planck.packets import (
    FIELDS,
    Answer,
    Count,
    Empty,
    Failure,
    Framer,
    Keys,
    Kind,
    OneKey,
    Op,
    Packet,
    Reply,
    Row,
    Rows,
    WithVersion,
    decode_reply,
    decode_request,
    encode_packet,
    encode_request,
)
from planck.session import CLOSES, Session, State
from planck.shapes import Condition, Step, StepKind
from planck.transaction import part_of

D = {"a": 7}
FIRST_KEY = Key((1).to_bytes(16, "big"))
EVERY_KIND = {
    "double": 1.5,
    "string": "né",
    "document": {},
    "array": [1, 2],
    "binary": b"\1\2\3",
    "objectId": ObjectId(bytes(range(1, 13))),
    "bool": True,
    "dateTime": datetime.datetime(2023, 11, 14, 22, 13, 20, tzinfo=datetime.timezone.utc),
    "null": None,
    "regex": Regex("^a", "i"),
    "int32": -1,
    "timestamp": Timestamp(1_700_000_000, 5),
    "int64": Int64(1 << 40),
    "decimal128": Decimal128.of("123.45"),
    "minKey": MinKey(),
    "maxKey": MaxKey(),
}

KEY_ENDS = datetime.datetime(2027, 1, 15, 8, tzinfo=datetime.timezone.utc)

STEPS = [
    Step(StepKind.REPLACE, "flights", Condition.VERSION, 1234, KEY, D),
    Step(StepKind.INSERT, "flights", Condition.NONE, 0, None, D),
    Step(StepKind.DELETE, "seats", Condition.PRESENT, 0, KEY, None),
    Step(StepKind.CHECK, "seats", Condition.ABSENT, 0, KEY.successor(), None),
]

# What each request of the annex is, made as a user of the client makes it.
REQUESTS: dict[str, Call[Any]] = {
    "ping": calls.ping(),
    "ping-with-patience": calls.ping(),
    "insert": calls.insert("flights", D, None),
    "insert-with-key": calls.insert("flights", D, str(KEY)),
    "insert-every-kind": calls.insert("flights", EVERY_KIND, None),
    "batch-insert": calls.insert_many("flights", [(FIRST_KEY, D), D]),
    "read": calls.read("flights", KEY),
    "update": calls.update("flights", KEY, D, True),
    "delete": calls.delete("flights", KEY, False),
    "scan": calls.scan("flights", False, KEY, 100),
    "range": calls.key_range("flights", True, bytes(16), b"\xff" * 16, 0),
    "query": result.query("flights.filter(a = $1)", [7], None),
    "query-without-parameters": result.query("flights.count()", None, None),
    "stream": result.stream("flights.pluck(a)", None, 1000, 1 << 20, None, None, True),
    "running-queries": calls.running_queries(),
    "cancel-query": calls.cancel_query(42),
    "format-query": calls.format_query("flights.count( )"),
    "list": calls.list_stores(),
    "create-store": calls.create_store("flights", True),
    "drop-store": calls.drop_store("flights", False),
    "alter-store": calls.alter_store("flights", {"rename": "trips"}),
    "describe-store": calls.describe_store("flights"),
    "create-index": calls.create_index("flights", ["from", "-at"], None, True, False, None, False),
    "drop-index": calls.drop_index("flights", "from_at_desc", True),
    "check-indexes": calls.check_indexes("flights", ""),
    "create-sequence": calls.create_sequence("tickets", False),
    "drop-sequence": calls.drop_sequence("tickets", True),
    "next-numbers": calls.next_numbers("tickets", 10),
    "list-sequences": calls.list_sequences(),
    "alter-sequence": calls.alter_sequence("tickets", {"next": Int64(1000)}),
    "create-user": calls.create_user("bob", "read_only", None, False),
    "alter-user": calls.alter_user("bob", {"key": None}),
    "drop-user": calls.drop_user("bob", True),
    "list-users": calls.list_users(),
    "list-users-on": calls.list_users("bob"),
    "create-key": calls.create_key("bob", "ci", KEY_ENDS),
    "revoke-key": calls.revoke_key("bob", "ci", False),
    "begin": calls.begin(False, 5000),
    "commit": calls.commit(9),
    "abort": calls.abort(9),
    "savepoint": calls.savepoint(9),
    "rollback": calls.rollback(9, 2),
    "within": part_of(calls.read("flights", KEY), 9),
    "stats": calls.stats(),
    "flush": calls.flush(),
    "backup": calls.backup(True, False),
    "reload-module": calls.reload_module(),
    "watch": calls.watch(
        {"stores": ["orders"], "since": "6f1c0000000000000000000000000a92.17.1233.0", "max_wait_ms": 30_000}
    ),
    "schedule": calls.schedule("/a", "hi", None, None, None, None, Int64(1500), Int64(3), None),
    "retry-job": calls.retry_job(KEY),
    "read-version": calls.read_version("flights", KEY),
    "apply": calls.apply(STEPS),
    "position": calls.position(Int64(1240), 5000),
    "promote": calls.promote(),
    "demote": calls.demote(),
}
SET = "6f1c0000000000000000000000000a92"
TERMS = struct.pack("<6Q", 1, 1236, 0x0A0B, 2, 1240, 0x0C0D)
FIELDS_ONLY: dict[str, tuple[Op, dict[str, Any]]] = {
    "auth": (Op.AUTH, {"user": "ann", "key": "correct horse battery"}),
    "fetch": (Op.FETCH, {"cursor": 42}),
    "close-cursor": (Op.CLOSE_CURSOR, {"cursor": 42}),
    "follow": (
        Op.FOLLOW,
        {
            "what": {
                "set": SET,
                "replica": "7a000000000000000000000000000001",
                "name": "two",
                "from": Int64(1241),
                "skip": Int64(0),
                "durable": Int64(1240),
                "terms": TERMS,
                "max_bytes": Int64(1 << 20),
                "max_wait_ms": Int64(5000),
            }
        },
    ),
    "snapshot": (Op.SNAPSHOT, {"what": {"begin": True, "name": "two"}}),
    "snapshot-piece": (
        Op.SNAPSHOT,
        {
            "what": {
                "snapshot": Int64(7),
                "file": "0000000001.pages",
                "at": Int64(4096),
                "max_bytes": Int64(1 << 20),
            }
        },
    ),
}
NEXT_KEY = KEY.successor()
MODULE = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
MODULE_BEFORE = "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"
REPLIES: dict[str, Reply] = {
    "auth-reply": Answer(
        {
            "server": "planck 0.1.0",
            "protocol": Int64(1),
            "session": Int64(7),
            "user": "ann",
            "role": "read_write",
            "max_message_size": Int64(16 << 20),
            "max_in_flight": Int64(64),
            "idle_timeout_ms": Int64(7 * 24 * 3600 * 1000),
        }
    ),
    "auth-refused": Failure(1502, "the user or the key is wrong"),
    "empty-reply": Empty(),
    "timeout-reply": Failure(1602, "the caller waited long enough"),
    "cancelled-reply": Failure(1603, "cancelled; nothing changed"),
    "unknown-version-reply": Failure(1004, "version 1 is spoken here"),
    "key-reply": OneKey(KEY),
    "keys-reply": Keys([FIRST_KEY, KEY]),
    "row-reply": Rows(True, [ROW]),
    "not-found-reply": Failure(1301, "there is no document under that key"),
    "count-reply": Count(1),
    "scan-reply": Rows(True, [Row(NEXT_KEY, D)], NEXT_KEY),
    "cursor-reply": Rows(False, [Row(None, D)], 42),
    "last-page-reply": Rows(False, []),
    "create-key-reply": Answer(
        {"user": "bob", "name": "ci", "key": "5b1ec5b7a90e41d2" + 3 * "0123456789abcdef", "expires": KEY_ENDS}
    ),
    "begin-reply": Answer({"transaction": Int64(9), "lsn": Int64(1234), "time_ms": Int64(5000)}),
    "conflict-reply": Failure(1305, "begin it again"),
    "reload-module-reply": Answer(
        {"module": MODULE, "before": MODULE_BEFORE, "changed": True, "took_us": Int64(12_345)}
    ),
    "watch-reply": Answer(
        {
            "events": [
                {
                    "lsn": Int64(1234),
                    "at": Int64(1),
                    "last": True,
                    "time": datetime.datetime.fromtimestamp(1_700_000_000, datetime.timezone.utc),
                    "store": "orders",
                    "op": "insert",
                    "key": str(KEY),
                    "document": {"n": 1},
                }
            ],
            "next": "6f1c0000000000000000000000000a92.17.1234.0",
            "durable": Int64(1234),
        }
    ),
    "watch-gap-reply": Failure(1421, "begin anew (oldest 900, newest 1234)"),
    "version-reply": WithVersion(1234, D),
    "apply-reply": Answer({"version": Int64(1240), "keys": 2 * (KEY.raw + NEXT_KEY.raw)}),
    "condition-reply": Failure(1340, "step 1: it was to have version 1234, and has version 1236"),
    "next-numbers-reply": Answer({"first": Int64(1), "count": Int64(10)}),
    "position-reply": Answer(
        {
            "role": "replica",
            "term": Int64(1),
            "lsn": Int64(1240),
            "durable": Int64(1240),
            "set": SET,
            "primary": "10.0.0.1:24010",
            "connected": True,
            "primary_durable": Int64(1242),
            "behind": Int64(2),
        }
    ),
    "not-leader-reply": Failure(1440, "send them to the primary"),
    "follow-reply": Answer(
        {
            "set": SET,
            "terms": TERMS,
            "from": Int64(1241),
            "skip": Int64(0),
            "durable": Int64(1240),
            "now": Int64(1_700_000_000_000_000),
            "behind_bytes": Int64(0),
            "frames": b"",
        }
    ),
}


DOCUMENT = protocol_document()


@unittest.skipIf(DOCUMENT is None, "this copy of the package has no docs/protocol.md; PLANCK_PROTOCOL names one")
class Golden(unittest.TestCase):
    def setUp(self) -> None:
        assert DOCUMENT is not None
        self.text = DOCUMENT
        self.golden = golden_packets(self.text)

    def test_the_annex_is_read_whole(self) -> None:
        """Every block is found, none is new here, none is gone."""
        known = {*REQUESTS, *FIELDS_ONLY, *REPLIES, "cancel", "ping-of-version-2"}
        self.assertEqual(set(self.golden), known)
        self.assertEqual(len(self.golden), self.text.count("\n```hex "))

    def test_requests(self) -> None:
        for name in {*REQUESTS, *FIELDS_ONLY}:
            with self.subTest(name):
                packet = whole(self.golden[name])
                if name in REQUESTS:
                    op, body = REQUESTS[name].op, REQUESTS[name].body
                else:
                    op, fields = FIELDS_ONLY[name]
                    body = encode_request(op, fields)
                patience = 1500 if name == "ping-with-patience" else 0
                sent = Packet(Kind.REQUEST, op, packet.id, body, patience)
                self.assertEqual(encode_packet(sent).hex(), self.golden[name].hex())
                # And back: what is read from the bytes makes the same bytes.
                self.assertEqual(encode_request(op, decode_request(op, packet.body)), packet.body)

    def test_replies(self) -> None:
        for name, reply in REPLIES.items():
            with self.subTest(name):
                packet = whole(self.golden[name])
                self.assertEqual(packet.kind, Kind.REPLY)
                self.assertEqual(decode_reply(packet.code, packet.body), reply)
                self.assertEqual(reply_bytes(packet.id, reply).hex(), self.golden[name].hex())

    def test_a_session_goes_as_the_annex_does(self) -> None:
        session = Session(1 << 20, 64)
        self.assertEqual(session.auth("ann", "correct horse battery"), self.golden["auth"])
        self.assertEqual(len(list(session.receive(self.golden["auth-reply"]))), 1)
        self.assertIs(session.state, State.READY)
        self.assertEqual(session.request(Op.PING, b""), (2, self.golden["ping"]))
        self.assertEqual([packet.id for packet in session.receive(self.golden["empty-reply"])], [2])
        self.assertEqual(session.request(Op.PING, b"", 1500), (3, self.golden["ping-with-patience"]))
        self.assertEqual(session.cancel(3), self.golden["cancel"])
        (packet,) = session.receive(self.golden["cancelled-reply"])
        self.assertEqual(packet.code, 1603)
        self.assertIsNone(session.cancel(3))

    def test_every_kind_of_value(self) -> None:
        packet = whole(self.golden["insert-every-kind"])
        document = decode_request(Op.INSERT, packet.body)["document"]
        self.assertEqual(document, EVERY_KIND)
        self.assertEqual([type(value) for value in document.values()], [type(v) for v in EVERY_KIND.values()])
        self.assertEqual(Binary(b"\1\2\3", 0).data, document["binary"])
        self.assertNotIsInstance(document["binary"], uuid.UUID)

    def test_another_version_is_told(self) -> None:
        framer = Framer(1 << 20)
        framer.feed(self.golden["ping-of-version-2"])
        with self.assertRaisesRegex(ProtocolError, "version 2"):
            framer.next()

    def test_the_table_of_operations(self) -> None:
        """Code, name and the fields in their order."""
        rows = re.findall(r"^\| (\d+) \| (\w+) \|([^|]*)\|[^|]*\|[^|]*\|$", self.text, re.MULTILINE)
        self.assertEqual(len(rows), len(Op))
        for code, name, body in rows:
            with self.subTest(name):
                op = Op(int(code))
                self.assertEqual(op.name.replace("_", "").lower(), name.lower())
                fields = re.findall(r"`(\w+)`", body)
                if op is Op.APPLY:
                    self.assertEqual(fields, ["count", "count"])
                elif op is Op.BATCH_INSERT:
                    self.assertEqual(fields, ["store", "count", "count", "key", "document"])
                else:
                    self.assertEqual(fields, [field for field, _ in FIELDS[op]])

    def test_the_table_of_statuses(self) -> None:
        rows = re.findall(r"^\| (\d+) \| (\w+): .*? \| (\w+) \|([^|]*)\|$", self.text, re.MULTILINE)
        self.assertEqual([int(number) for number, *_ in rows], [int(status) for status in Status])
        for number, name, kind, ends in rows:
            with self.subTest(name):
                self.assertEqual(name_of(int(number)), name)
                self.assertEqual(class_of(int(number)).value, kind)
                # What is told with id 0, or perhaps, is not seen by the status.
                self.assertEqual(ends.strip() in ("yes", "over TCP"), int(number) in CLOSES)

    def test_the_header_is_as_drawn(self) -> None:
        packet = encode_packet(Packet(Kind.REQUEST, 7, 9, b"xy", 5))
        self.assertEqual(packet, b"PLNK\x01\x00" + struct.pack("<HQII", 7, 9, 2, 5) + b"xy")


if __name__ == "__main__":
    unittest.main()
