"""Packets and the session as a machine: what may be said when, and every answer a server must not give."""

from __future__ import annotations

import random
import struct
import unittest
from typing import Any

from support import KEY, SESSION, reply_bytes

from planck import DeniedError, FailedError, InvalidError, ProtocolError, TooLargeError, UsageError, encode
from planck.errors import BusyError, StatusClass, class_of, error_of, name_of
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
    decode_reply,
    decode_request,
    encode_packet,
    encode_reply,
    encode_request,
)
from planck.session import MAX_AUTH, Session, State
from planck.shapes import Condition, Step, StepKind


def ready(**changes: Any) -> Session:
    session = Session(1 << 20, 64)
    session.auth("ann", "key")
    list(session.receive(reply_bytes(1, Answer({**SESSION, **changes}))))
    return session


class Bodies(unittest.TestCase):
    def test_each_request_must_have_its_fields_and_no_more(self) -> None:
        with self.assertRaises(UsageError):
            encode_request(Op.READ, {"store": "a"})
        with self.assertRaises(UsageError):
            encode_request(Op.PING, {"store": "a"})

    def test_each_request_cut_or_longer_is_refused(self) -> None:
        samples: dict[str, Any] = {"document": {"a": 1}, "definition": {}, "change": {}, "what": {}}
        job_of = {Op.SCHEDULE: {"path": "/a"}, Op.RETRY_JOB: KEY}
        samples["items"] = [(KEY, {}), (None, {})]
        check = Step(StepKind.CHECK, "s", Condition.VERSION, 7, KEY, None)
        samples["steps"] = [Step(StepKind.INSERT, "s", Condition.NONE, 0, None, {"a": 1}), check]
        samples |= {"parameters": {"1": 1}, "limit": 5, "count": 5, "rows": 5, "bytes": 5, "cursor": 5, "query": 5}
        samples |= {"milliseconds": 5, "transaction": 5, "savepoint": 5, "operation": 9, "body": b""}
        samples |= {"key": KEY, "from": KEY, "to": KEY, "after": KEY}
        for op, shapes in FIELDS.items():
            fields = {name: samples.get(name, "text") for name, _ in shapes}
            flags = {"if_exists", "if_not_exists", "upsert", "reverse", "begin", "full", "read_only"}
            fields = {name: True if name in flags else value for name, value in fields.items()}
            if op in (Op.AUTH, Op.REVOKE_KEY):
                fields["key"] = "secret"
            if op is Op.LIST_USERS:
                fields["after"] = "bob"
            if op in job_of:
                fields["job"] = job_of[op]
            body = encode_request(op, fields)
            with self.subTest(op.name):
                self.assertEqual(decode_request(op, body), fields)
                # A query is whole without its parameters too, a list of users without the name to go on behind.
                whole = len(encode_request(op, {**fields, "parameters": None})) if "parameters" in fields else None
                whole = 0 if op is Op.LIST_USERS else whole
                for length in range(len(body)):
                    if length == whole:
                        continue
                    with self.assertRaises(ProtocolError):
                        decode_request(op, body[:length])
                if op is Op.WITHIN:
                    # What is behind it is the body of the operation.
                    self.assertEqual(decode_request(op, body + b"\0")["body"], b"\0")
                    continue
                with self.assertRaises(ProtocolError):
                    decode_request(op, body + b"\0")

    def test_values_that_do_not_fit_are_refused(self) -> None:
        for op, fields in (
            (Op.CREATE_STORE, {"store": "a" * 65536, "if_not_exists": False}),
            (Op.CREATE_STORE, {"store": "\ud800", "if_not_exists": False}),
            (Op.CREATE_STORE, {"store": 5, "if_not_exists": False}),
            (Op.FETCH, {"cursor": 1 << 64}),
            (Op.FETCH, {"cursor": -1}),
            (Op.NEXT_NUMBERS, {"sequence": "a", "count": 1 << 32}),
            (Op.READ, {"store": "a", "key": b"short"}),
        ):
            with self.subTest(op.name), self.assertRaises(UsageError):
                encode_request(op, fields)

    def test_flags_and_keys_that_are_not_there(self) -> None:
        body = bytearray(encode_request(Op.SCAN, {"store": "a", "reverse": False, "after": None, "limit": 5}))
        for at, value in ((3, 2), (4, 2), (20, 1)):
            broken = body[:at] + bytes([value]) + body[at + 1 :]
            with self.subTest(at), self.assertRaises(ProtocolError):
                decode_request(Op.SCAN, bytes(broken))

    def test_replies_that_are_none(self) -> None:
        rows = b"\5\0\0" + bytes(16)
        for name, body in {
            "nothing": b"",
            "an unknown tag": b"\6",
            "empty and more": b"\0\0",
            "a key cut short": b"\1" + bytes(15),
            "a key and more": b"\1" + bytes(17),
            "more keys than there are": b"\2\xff\xff\xff\xff" + bytes(32),
            "fewer keys than there are": b"\2\1\0\0\0" + bytes(32),
            "a count cut short": b"\3" + bytes(7),
            "no document": b"\4",
            "a document longer than the body": b"\4\xff\xff\xff\x7f\0",
            "a broken document": b"\4\6\0\0\0\1\0",
            "a document and more": b"\4\5\0\0\0\0\0",
            "rows cut short": b"\5\0\0",
            "more rows than there are": rows + b"\xff\xff\xff\xff",
            "fewer rows than there are": rows + b"\0\0\0\0" + encode({}),
            "keyed by 2": b"\5\2\0" + bytes(16) + b"\0\0\0\0",
            "more of 3": b"\5\0\3" + bytes(16) + b"\0\0\0\0",
            "no more, and where": b"\5\0\0" + bytes(15) + b"\1" + b"\0\0\0\0",
            "a cursor of 128 bits": b"\5\0\2" + b"\1" + bytes(15) + b"\0\0\0\0",
        }.items():
            with self.subTest(name), self.assertRaises(ProtocolError):
                decode_reply(0, body)

    def test_no_bytes_do_harm(self) -> None:
        rng = random.Random(23)
        replies: list[Reply] = [
            Rows(True, [Row(KEY, {"a": [1, {"b": "c"}]}), Row(KEY, {})], KEY),
            Rows(False, [Row(None, {"a": 1.5})], 7),
            Keys([KEY, KEY]),
            Answer({"a": None}),
            Count(3),
            OneKey(KEY),
        ]
        for _ in range(4000):
            body = bytearray(encode_reply(rng.choice(replies))[1])
            for _ in range(rng.randrange(1, 4)):
                body[rng.randrange(len(body))] = rng.choice([0, 1, 2, 0xFF, rng.randrange(256)])
            try:
                reply = decode_reply(0, bytes(body))
            except ProtocolError:
                continue
            self.assertEqual(encode_reply(reply), (0, bytes(body)))

    def test_the_text_of_an_error_need_not_be_right(self) -> None:
        reply = decode_reply(1999, b"\xff" * 5000)
        assert isinstance(reply, Failure)
        self.assertLessEqual(len(reply.message), 4096)

    def test_statuses_that_are_not_known_are_of_class_failed(self) -> None:
        self.assertIs(class_of(4711), StatusClass.FAILED)
        self.assertEqual(name_of(4711), "Unknown")
        self.assertIs(type(error_of(4711, "new")), FailedError)
        self.assertEqual(str(error_of(4711, "new")), "PLK-4711: new")
        self.assertIs(type(error_of(1503, "")), DeniedError)
        self.assertIsInstance(error_of(1602, ""), TimeoutError)


class Framing(unittest.TestCase):
    def test_packets_in_pieces_of_each_size(self) -> None:
        data = b"".join(reply_bytes(n, Count(n)) for n in range(1, 6))
        for size in (1, 2, 23, 24, 25, 33, 34, len(data)):
            framer, found = Framer(1 << 20), []
            for at in range(0, len(data), size):
                framer.feed(data[at : at + size])
                while (packet := framer.next()) is not None:
                    found.append(packet.id)
            self.assertEqual((found, framer.pending), ([1, 2, 3, 4, 5], 0))

    def test_what_is_no_packet_is_told_at_once(self) -> None:
        good = reply_bytes(1, Empty())
        for name, data in {
            "another protocol": b"HTTP/1.1 400 Bad Request",
            "one byte of it": b"H",
            "a kind of 3": good[:5] + b"\3" + good[6:24],
            "a cancel with a body": good[:5] + b"\2" + good[6:24],
            "another version": good[:4] + b"\2" + good[5:24],
            "too long": good[:16] + struct.pack("<I", 1001 - 24) + good[20:24],
        }.items():
            framer = Framer(1000)
            framer.feed(data)
            with self.subTest(name), self.assertRaises(ProtocolError):
                framer.next()

    def test_the_limit_at_its_edge(self) -> None:
        data = encode_packet(Packet(Kind.REPLY, 1999, 1, bytes(976)))
        framer = Framer(1000)
        framer.feed(data)
        self.assertIsNotNone(framer.next())
        framer = Framer(999)
        framer.feed(data[:24])
        with self.assertRaises(ProtocolError):
            framer.next()


class Machine(unittest.TestCase):
    def test_nothing_goes_before_the_auth_is_answered(self) -> None:
        session = Session(1 << 20, 64)
        with self.assertRaises(UsageError):
            session.request(Op.PING, b"")
        session.auth("ann", "key")
        self.assertIs(session.state, State.AUTHENTICATING)
        with self.assertRaises(UsageError):
            session.request(Op.PING, b"")
        with self.assertRaises(UsageError):
            session.auth("ann", "key")
        self.assertIsNone(session.cancel(1))

    def test_an_auth_at_its_edge(self) -> None:
        fixed = 24 + 2 + len("ann") + 2
        self.assertEqual(len(Session(1 << 20, 64).auth("ann", "k" * (MAX_AUTH - fixed))), MAX_AUTH)
        with self.assertRaises(TooLargeError):
            Session(1 << 20, 64).auth("ann", "k" * (MAX_AUTH - fixed + 1))

    def test_an_auth_that_is_refused(self) -> None:
        for status, kind in ((1502, DeniedError), (1504, DeniedError), (1601, BusyError), (1004, InvalidError)):
            session = Session(1 << 20, 64)
            session.auth("ann", "key")
            with self.assertRaises(kind):
                list(session.receive(reply_bytes(1, Failure(status, "no"))))
            self.assertIs(session.state, State.CLOSED)

    def test_replies_to_an_auth_that_are_none(self) -> None:
        broken: list[Reply] = [Empty(), Count(1), Answer({})]
        for name in SESSION:
            broken += [Answer({k: v for k, v in SESSION.items() if k != name}), Answer({**SESSION, name: None})]
        broken += [Answer({**SESSION, "protocol": 2}), Answer({**SESSION, "max_in_flight": 0})]
        broken += [Answer({**SESSION, "max_message_size": 100}), Answer({**SESSION, "max_in_flight": True})]
        for reply in broken:
            session = Session(1 << 20, 64)
            session.auth("ann", "key")
            with self.subTest(repr(reply)), self.assertRaises(ProtocolError):
                list(session.receive(reply_bytes(1, reply)))
            self.assertIs(session.state, State.CLOSED)

    def test_fields_that_are_not_known_are_no_harm(self) -> None:
        session = ready(new="thing")
        assert session.info is not None
        self.assertEqual(session.info.document["new"], "thing")

    def test_the_bound_in_flight_is_the_smaller_one(self) -> None:
        for server, client in ((2, 64), (64, 2)):
            session = Session(1 << 20, client)
            session.auth("ann", "key")
            list(session.receive(reply_bytes(1, Answer({**SESSION, "max_in_flight": server}))))
            session.request(Op.PING, b"")
            session.request(Op.PING, b"")
            with self.assertRaises(UsageError):
                session.request(Op.PING, b"")
            list(session.receive(reply_bytes(2, Empty())))
            session.request(Op.PING, b"")

    def test_a_request_at_the_size_of_a_message(self) -> None:
        session = ready(max_message_size=5000)
        self.assertEqual(len(session.request(Op.PING, bytes(5000 - 24))[1]), 5000)
        with self.assertRaises(TooLargeError):
            session.request(Op.PING, bytes(5000 - 23))
        self.assertEqual(session.in_flight, (2,))

    def test_replies_come_in_order(self) -> None:
        session = ready()
        first, second = session.request(Op.PING, b"")[0], session.request(Op.PING, b"")[0]
        both = reply_bytes(first, Empty()) + reply_bytes(second, Empty())
        self.assertEqual([packet.id for packet in session.receive(both)], [first, second])
        for wrong in (first, 99):
            session = ready()
            session.request(Op.PING, b"")
            session.request(Op.PING, b"")
            with self.assertRaises(ProtocolError):
                list(session.receive(reply_bytes(3 if wrong == first else wrong, Empty())))
        session = ready()
        with self.assertRaises(ProtocolError):
            list(session.receive(reply_bytes(1, Empty())))

    def test_a_reply_before_a_fault_is_given(self) -> None:
        session = ready()
        number = session.request(Op.PING, b"")[0]
        found = []
        with self.assertRaises(ProtocolError):
            for packet in session.receive(reply_bytes(number, Empty()) + b"nonsense"):
                found.append(packet.id)
        self.assertEqual(found, [number])
        self.assertEqual(list(session.receive(reply_bytes(number, Empty()))), [])

    def test_a_reply_about_the_connection(self) -> None:
        session = ready()
        session.request(Op.PING, b"")
        with self.assertRaises(InvalidError):
            list(session.receive(reply_bytes(0, Failure(1001, "no packet"))))
        self.assertEqual((session.state, session.end()), (State.CLOSED, (2,)))
        with self.assertRaises(ProtocolError):
            list(ready().receive(reply_bytes(0, Empty())))

    def test_what_a_server_does_not_send(self) -> None:
        for packet in (Packet(Kind.REQUEST, 1, 2), Packet(Kind.CANCEL, 0, 2), Packet(Kind.REPLY, 0, 2, b"\0", 5)):
            session = ready()
            session.request(Op.PING, b"")
            with self.assertRaises(ProtocolError):
                list(session.receive(encode_packet(packet)))

    def test_the_statuses_that_close(self) -> None:
        for status in (1003, 1501, 1004):
            session = ready()
            number = session.request(Op.PING, b"")[0]
            self.assertEqual(len(list(session.receive(reply_bytes(number, Failure(status, ""))))), 1)
            self.assertIs(session.state, State.CLOSED)
        session = ready()
        number = session.request(Op.PING, b"")[0]
        list(session.receive(reply_bytes(number, Failure(1001, ""))))
        self.assertIs(session.state, State.READY)

    def test_patience_has_32_bits(self) -> None:
        _, data = ready().request(Op.PING, b"", 1 << 40)
        self.assertEqual(data[20:24], b"\xff" * 4)


if __name__ == "__main__":
    unittest.main()
