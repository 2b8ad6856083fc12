"""Changes as they come: each once, whatever connections break, and documents before them."""

from __future__ import annotations

import contextlib
import datetime
import unittest
from typing import Any

from support import KEY, Peer, client_of, serving

from planck import ConflictError, Event, Row, Status, UsageError
from planck.packets import Answer, Empty, Failure, Op, Reply, Rows, decode_request
from planck.values import Int64

NOW = datetime.datetime.fromtimestamp(1, datetime.timezone.utc)


def page(events: list[tuple[int, int, bool]], end: str, durable: int = 9) -> Reply:
    """A page of the events of commits."""
    told = [
        {
            "lsn": Int64(lsn),
            "at": Int64(at),
            "last": last,
            "time": NOW,
            "store": "s",
            "op": "insert",
            "key": str(KEY),
            "document": {"n": lsn},
        }
        for lsn, at, last in events
    ]
    return Answer({"events": told, "next": end, "durable": Int64(durable)})


class Breaks(Exception):
    """The connection is to break."""


class Fake:
    """A server whose first connection breaks as it waits."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.broken = False
        self.watches = 0

    def __call__(self, peer: Peer) -> None:
        peer.accept_auth()
        with contextlib.suppress(Breaks):
            peer.serve(self.answer)

    def answer(self, op: Op, fields: dict[str, Any]) -> Reply:
        """Answers, and notes what was asked."""
        if op is Op.WITHIN:
            inner = decode_request(Op(fields["operation"]), fields["body"])
            self.asked.append(inner["text"])
            return Rows(True, [Row(KEY, {"n": 1})])
        if op is not Op.WATCH:
            self.asked.append(op.name)
            begun = {"transaction": Int64(3), "lsn": Int64(9), "time_ms": Int64(9)}
            return Answer(begun) if op is Op.BEGIN else Empty()
        since = fields["what"].get("since")
        self.asked.append(str(since if isinstance(since, str) or since is None else int(since)))
        if since == 9:
            self.watches += 1
            events = [(10, 1, True)] if self.watches > 2 else []
            return page(events, "l.1.10.0", 8 if self.watches == 1 else 9)
        if since is None:
            return page([], "l.1.3.0")
        if since == "l.1.3.0":
            return page([(4, 1, True), (5, 1, False)], "l.1.5.1")
        if since == "l.1.5.1":
            return page([(5, 2, True), (6, 1, True)], "l.1.8.0")
        if since == "l.1.8.0" and not self.broken:
            self.broken = True
            raise Breaks
        return page([], "l.1.9.0") if since == "l.1.8.0" else Failure(Status.WATCH_GAP, "gone")


class Watches(unittest.TestCase):
    def test_what_is_asked_for_next_is_behind_what_was_given_whatever_breaks(self) -> None:
        fake = Fake()
        with serving(fake) as server, client_of(server) as client:
            watch = client.watch(["s"])
            told = []
            for _ in range(4):
                event = next(watch)
                assert isinstance(event, Event)
                self.assertEqual((event.key, event.document), (KEY, {"n": event.lsn}))
                self.assertEqual(event.token, watch.token)
                told.append((event.lsn, event.at, event.token))
            self.assertEqual(told, [(4, 1, "l.1.4.0"), (5, 1, "l.1.5.1"), (5, 2, "l.1.5.0"), (6, 1, "l.1.6.0")])
            with self.assertRaises(ConflictError) as raised:
                next(watch)
            self.assertEqual(raised.exception.status, Status.WATCH_GAP)
            self.assertEqual(watch.token, "l.1.9.0")
            places = ["None", "l.1.3.0", "l.1.5.1", "l.1.8.0", "l.1.8.0", "l.1.9.0"]
            self.assertEqual(fake.asked, places)
            # Another one goes on in the middle of a commit; and this one with the documents.
            event = next(client.watch(["s"], since="l.1.5.1"))
            assert isinstance(event, Event)
            self.assertEqual((event.lsn, event.at), (5, 2))
            watch.begin_anew()
            self.assertEqual(next(watch), Row(KEY, {"n": 1}))

    def test_documents_come_first_of_one_snapshot_that_is_durable(self) -> None:
        fake = Fake()
        some = {"store": "b", "filter": "n = $1", "parameters": {"1": 1}, "from": "0" * 32}
        with serving(fake) as server, client_of(server) as client:
            watch = client.watch(["a", some], documents=True)
            self.assertEqual([next(watch), next(watch)], [Row(KEY, {"n": 1})] * 2)
            self.assertIsNone(watch.token)
            self.assertIsNone(next(watch))
            event = next(watch)
            assert isinstance(event, Event)
            self.assertEqual((event.lsn, watch.token), (10, "l.1.10.0"))
            text = f"b.filter(n = $1).filter(key >= '{'0' * 32}')"
            self.assertEqual(fake.asked, ["BEGIN", "9", "9", "a", text, "ABORT", "9"])
            # One that is not read to its end gives its connection back.
            watch = client.watch(["a"], documents=True)
            next(watch)
            watch.close()
            self.assertEqual(fake.asked[-1], "ABORT")

    def test_what_is_no_list_of_stores_is_refused(self) -> None:
        with serving(Fake()) as server, client_of(server) as client:
            with self.assertRaises(UsageError):
                client.watch("s")
            with self.assertRaises(UsageError):
                client.watch([])
            with self.assertRaises(UsageError):
                client.watch(["s"], since=1, documents=True)
