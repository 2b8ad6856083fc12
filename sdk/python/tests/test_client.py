"""The client against a server that does as the test says: answers, faults, broken connections, bounds."""

from __future__ import annotations

import pathlib
import tempfile
import threading
import time
import unittest
from collections.abc import Callable
from typing import Any

from support import (
    CERTIFICATES,
    FINGERPRINT,
    KEY,
    PATIENCE,
    ROW,
    Peer,
    after,
    answering,
    asked,
    client_of,
    serving,
)

from planck import (
    Cancellation,
    CancelledError,
    Client,
    ConflictError,
    ConnectionLost,
    DeadlineExceeded,
    DeniedError,
    FailedError,
    InvalidError,
    Key,
    NotFoundError,
    PoolTimeout,
    ProtocolError,
    ServerTimeout,
    TooLargeError,
    UsageError,
    parse_address,
)
from planck.packets import (
    Answer,
    Count,
    Empty,
    Failure,
    Keys,
    Kind,
    OneKey,
    Op,
    Reply,
    Row,
    Rows,
)


class Operations(unittest.TestCase):
    def run_one(self, reply: Reply, work: Callable[[Client], Any]) -> Any:
        with serving(answering(reply)) as server, client_of(server) as client:
            return work(client)

    def test_answers_as_values(self) -> None:
        cases: list[tuple[Reply, Callable[[Client], Any], Any]] = [
            (OneKey(KEY), lambda c: c.store("a").insert({}), KEY),
            (Keys([KEY, KEY]), lambda c: c.store("a").insert_many([{}, (KEY, {})]), [KEY, KEY]),
            (Rows(True, [ROW]), lambda c: c.store("a").get(KEY), {"a": 7}),
            (Rows(True, [ROW]), lambda c: c.store("a").read(KEY), ROW),
            (Failure(1301, ""), lambda c: c.store("a").get(KEY), None),
            (Count(1), lambda c: c.store("a").delete(KEY), True),
            (Failure(1301, ""), lambda c: c.store("a").delete(KEY, missing_ok=True), False),
            (OneKey(KEY), lambda c: c.store("a").replace(KEY, {}), None),
            (OneKey(KEY), lambda c: c.store("a").upsert(KEY, {}), None),
            (Answer({"first": 5, "count": 3}), lambda c: c.sequence("a").next(3), range(5, 8)),
            (Answer({"text": "a.all()"}), lambda c: c.format_query("a . all()"), "a.all()"),
            (Rows(False, [Row(None, {"name": "a"})]), lambda c: c.stores(), [{"name": "a"}]),
            (Count(9), lambda c: c.query("a.count()").count, 9),
            (OneKey(KEY), lambda c: c.query("a.insert({})").value, KEY),
            (Answer({"plan": []}), lambda c: c.query("a.all().explain()").value, {"plan": []}),
            (Answer({"x": 1}), lambda c: c.stats(), {"x": 1}),
        ]
        for reply, work, value in cases:
            with self.subTest(repr(reply)):
                self.assertEqual(self.run_one(reply, work), value)

    def test_an_answer_of_another_shape_is_told(self) -> None:
        for work in (
            lambda c: c.ping(),
            lambda c: c.stats(),
            lambda c: c.stores(),
            lambda c: c.store("a").insert({}),
            lambda c: c.store("a").read(KEY),
            lambda c: list(c.store("a").scan()),
            lambda c: c.sequence("a").next(),
        ):
            with self.assertRaises(ProtocolError):
                self.run_one(Count(1), work)
        for work, reply in (
            (lambda c: c.store("a").insert_many([{}, {}]), Keys([KEY])),
            (lambda c: c.store("a").read(KEY), Rows(True, [])),
            (lambda c: c.store("a").read(KEY), Rows(False, [Row(None, {})])),
            (lambda c: c.stores(), Rows(False, [], 4)),
            (lambda c: c.query("a.all()"), Empty()),
            (lambda c: c.query("a.all()"), Rows(True, [ROW], KEY)),
            (lambda c: c.sequence("a").next(), Answer({"first": 1, "count": -5})),
        ):
            with self.subTest(repr(reply)), self.assertRaises(ProtocolError):
                self.run_one(reply, work)

    def test_errors_by_class(self) -> None:
        for status, kind in (
            (1401, InvalidError),
            (1202, NotFoundError),
            (1503, DeniedError),
            (1303, ConflictError),
            (1603, CancelledError),
            (1403, TooLargeError),
            (1602, ServerTimeout),
            (1902, FailedError),
            (1777, FailedError),
        ):
            with self.subTest(status), self.assertRaises(kind) as caught:
                self.run_one(Failure(status, "what to do"), lambda c: c.store("a").get(KEY))
            self.assertEqual((caught.exception.status, caught.exception.message), (status, "what to do"))

    def test_a_value_and_rows_are_not_mixed_up(self) -> None:
        with self.assertRaises(UsageError):
            self.run_one(Count(1), lambda c: list(c.query("a.count()")))
        with self.assertRaises(UsageError):
            self.run_one(Rows(True, [ROW]), lambda c: c.query("a.all()").value)
        with self.assertRaises(UsageError):
            self.run_one(OneKey(KEY), lambda c: c.query("a.insert({})").count)

    def test_what_the_server_says_of_the_session(self) -> None:
        self.assertEqual(self.run_one(Empty(), lambda c: c.session())["role"], "admin")


class Scans(unittest.TestCase):
    ROWS = [Row(Key(bytes([n]) * 16), {"n": n}) for n in (0, 1, 2, 3, 255)]

    def page(self, op: Op, fields: dict[str, Any]) -> Reply:
        rows = self.ROWS
        if op is Op.SCAN and fields["after"] is not None:
            after, reverse = fields["after"], fields["reverse"]
            rows = [r for r in rows if r.key is not None and (r.key < after if reverse else r.key > after)]
        if op is Op.RANGE:
            assert fields["from"] <= fields["to"]
            rows = [r for r in rows if r.key is not None and fields["from"] <= r.key <= fields["to"]]
        rows = rows[::-1] if fields["reverse"] else rows
        page = rows[: min(fields["limit"] or 2, 2)]
        return Rows(True, page, page[-1].key if len(page) < len(rows) else None)

    def test_pages_join(self) -> None:
        with serving(answering(self.page)) as server, client_of(server) as client:
            store = client.store("a")
            self.assertEqual([r["n"] for r in store.scan()], [0, 1, 2, 3, 255])
            self.assertEqual([r["n"] for r in store.scan(reverse=True)], [255, 3, 2, 1, 0])
            self.assertEqual([r["n"] for r in store.scan(after=bytes([1]) * 16)], [2, 3, 255])
            self.assertEqual([r["n"] for r in store.scan(limit=3)], [0, 1, 2])
            self.assertEqual([r["n"] for r in store.scan(limit=0)], [])
            self.assertEqual([r["n"] for r in store.range()], [0, 1, 2, 3, 255])
            self.assertEqual([r["n"] for r in store.range(reverse=True)], [255, 3, 2, 1, 0])
            self.assertEqual([r["n"] for r in store.range(b"\1" * 16, b"\3" * 16, limit=3)], [1, 2, 3])
            self.assertEqual([r["n"] for r in store.range(b"\1" * 16, b"\3" * 16, reverse=True)], [3, 2, 1])

    def test_a_server_that_goes_in_circles_is_told(self) -> None:
        circles: list[Reply] = [
            Rows(True, [ROW], KEY),
            Rows(True, [ROW], KEY.successor()),
            Rows(True, [], KEY),
            Rows(True, [ROW], 5),
        ]
        for reply in circles:
            with serving(answering(reply)) as server, client_of(server) as client:
                for scan in (client.store("a").scan(), client.store("a").scan(reverse=True)):
                    with self.subTest(repr(reply)), self.assertRaises(ProtocolError):
                        for _ in range(10):
                            next(scan)

    def test_users_come_in_pages(self) -> None:
        names = ["ann", "bob", "cid", "dan", "eve"]

        def page(op: Op, fields: dict[str, Any]) -> Reply:
            self.assertIs(op, Op.LIST_USERS)
            left = [name for name in names if name > (fields["after"] or "")]
            rows = [Row(None, {"name": name}) for name in left[:2]]
            return Rows(False, rows, Key(bytes(16)) if len(left) > 2 else None)

        with serving(answering(page)) as server, client_of(server) as client:
            self.assertEqual([user["name"] for user in client.users()], names)
        for reply in (Rows(False, [Row(None, {"name": "ann"})], Key(bytes(16))), Rows(False, [], Key(bytes(16)))):
            with serving(answering(reply)) as server, client_of(server) as client:
                with self.subTest(repr(reply)), self.assertRaises(ProtocolError):
                    client.users()


class Time(unittest.TestCase):
    def test_patience_is_what_is_left(self) -> None:
        with serving(answering(Empty())) as server, client_of(server, timeout=5.0) as client:
            client.ping()
            client.ping(timeout=0.5)
            client.ping(timeout=None)
            patiences = [packet.patience for packet in server.peers[0].seen]
        self.assertEqual(patiences[0], 0)
        self.assertTrue(4000 < patiences[1] <= 5000)
        self.assertTrue(1 <= patiences[2] <= 500)
        self.assertEqual(patiences[3], 0)

    def test_a_server_that_is_silent(self) -> None:
        def silent(peer: Peer) -> None:
            peer.accept_auth()
            while peer.packet():
                pass

        # There is room for one connection: the lost one must make way.
        options = {"grace": 0.1, "max_connections": 1}
        with serving(silent, answering(Empty())) as server, client_of(server, **options) as client:
            start = time.monotonic()
            with self.assertRaises(DeadlineExceeded):
                client.ping(timeout=0.2)
            self.assertTrue(0.25 < time.monotonic() - start < 2)
            self.assertEqual(len(server.peers), 1)
            client.ping()
            self.assertEqual(len(server.peers), 2)

    def test_an_answer_behind_the_deadline_but_within_the_grace_counts(self) -> None:
        def late(op: Op, fields: dict[str, Any]) -> Reply:
            time.sleep(0.3)
            return OneKey(KEY)

        with serving(answering(late)) as server, client_of(server, grace=2.0) as client:
            self.assertEqual(client.store("a").insert({}, timeout=0.1), KEY)

    def test_times_that_are_none(self) -> None:
        with serving(answering(Empty())) as server, client_of(server) as client:
            for seconds in (0, -1, float("nan"), float("inf")):
                with self.subTest(seconds), self.assertRaises(UsageError):
                    client.ping(timeout=seconds)

    def test_a_server_that_does_not_read(self) -> None:
        """More than the buffers of the socket hold."""
        release = threading.Event()

        def deaf(peer: Peer) -> None:
            peer.accept_auth(max_message_size=1 << 30)
            release.wait(2 * PATIENCE)

        with serving(deaf) as server, client_of(server, max_reply_bytes=1 << 30) as client:
            start = time.monotonic()
            with self.assertRaises((DeadlineExceeded, ConnectionLost)):
                client.store("a").insert({"a": bytes(16 << 20)}, timeout=0.3)
            self.assertLess(time.monotonic() - start, PATIENCE)
            release.set()


class Cancelling(unittest.TestCase):
    def test_it_reaches_the_server(self) -> None:
        def script(peer: Peer) -> None:
            peer.accept_auth()
            _, _, number = peer.request()
            begun.set()
            packet = peer.packet()
            assert packet is not None and packet.kind is Kind.CANCEL and packet.id == number, packet
            peer.reply(number, Failure(1603, "cancelled"))
            peer.serve(lambda op, fields: Empty())

        begun = threading.Event()
        cancel = Cancellation()
        with serving(script) as server, client_of(server) as client:
            thread = after(begun, cancel.cancel)
            with self.assertRaises(CancelledError):
                client.query("a.all()", cancel=cancel)
            thread.join()
            client.ping()
            with self.assertRaises(CancelledError):
                client.query("a.all()", cancel=cancel)
            self.assertEqual(len(server.peers), 1)
            self.assertEqual(asked(server), [Op.STREAM, Op.PING])

    def test_a_result_that_was_there_first_counts(self) -> None:
        def script(peer: Peer) -> None:
            peer.accept_auth()
            _, _, number = peer.request()
            cancel.cancel()
            peer.reply(number, Count(5))
            peer.serve(lambda op, fields: Empty())

        cancel = Cancellation()
        with serving(script) as server, client_of(server) as client:
            self.assertEqual(client.query("a.all().delete()", cancel=cancel).count, 5)
            client.ping()

    def test_it_reaches_who_waits_for_a_connection(self) -> None:
        release = threading.Event()

        def slow(op: Op, fields: dict[str, Any]) -> Reply:
            release.wait(PATIENCE)
            return Empty()

        with serving(answering(slow)) as server, client_of(server, max_connections=1) as client:
            holder = threading.Thread(target=client.ping)
            holder.start()
            while not client._pool._lent:
                time.sleep(0.001)
            cancel = Cancellation()
            threading.Timer(0.05, cancel.cancel).start()
            start = time.monotonic()
            with self.assertRaises(CancelledError):
                client.store("a").get(KEY, cancel=cancel)
            self.assertLess(time.monotonic() - start, 2)
            release.set()
            holder.join()


class Pools(unittest.TestCase):
    def test_no_more_connections_than_allowed(self) -> None:
        busy = threading.Semaphore(0)

        def slow(op: Op, fields: dict[str, Any]) -> Reply:
            busy.release()
            time.sleep(0.02)
            return Empty()

        with serving(answering(slow)) as server, client_of(server, max_connections=3) as client:

            def work() -> None:
                for _ in range(5):
                    client.ping()

            threads = [threading.Thread(target=work) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(PATIENCE)
            self.assertEqual(len(asked(server)), 40)
            self.assertEqual(len(server.peers), 3)

    def test_waiting_has_an_end(self) -> None:
        release = threading.Event()

        def slow(op: Op, fields: dict[str, Any]) -> Reply:
            release.wait(PATIENCE)
            return Empty()

        with serving(answering(slow)) as server:
            with client_of(server, max_connections=1, pool_timeout=0.1) as client:
                holder = threading.Thread(target=client.ping)
                holder.start()
                while not client._pool._lent:
                    time.sleep(0.001)
                with self.assertRaises(PoolTimeout):
                    client.ping()
                release.set()
                holder.join()
                client.ping()

    def test_closing_ends_what_is_in_flight(self) -> None:
        begun = threading.Event()

        def silent(op: Op, fields: dict[str, Any]) -> Reply:
            begun.set()
            time.sleep(0.5)
            return Empty()

        with serving(answering(silent)) as server, client_of(server) as client:
            after(begun, client.close)
            start = time.monotonic()
            with self.assertRaises((ConnectionLost, UsageError)):
                client.ping()
            self.assertLess(time.monotonic() - start, 2)
            with self.assertRaises(UsageError):
                client.ping()

    def test_threads_end_with_their_connections(self) -> None:
        with serving(answering(Empty())) as server, client_of(server) as client:
            client.ping()
            self.assertTrue(any(t.name == "planck-reader" for t in threading.enumerate()))
            client.close()
            for _ in range(300):
                if not any(t.name == "planck-reader" for t in threading.enumerate()):
                    break
                time.sleep(0.01)
            self.assertFalse(any(t.name == "planck-reader" for t in threading.enumerate()))

    def test_a_request_too_long_is_not_sent(self) -> None:
        with serving(answering(Empty(), max_message_size=5000)) as server, client_of(server) as client:
            with self.assertRaises(TooLargeError):
                client.store("a").insert({"a": "x" * 5000})
            client.ping()
            self.assertEqual((asked(server), len(server.peers)), ([Op.PING], 1))


class Finding(unittest.TestCase):
    def test_addresses(self) -> None:
        for text, found in {
            "localhost:1": ("localhost", 1),
            "db.example": ("db.example", 24010),
            "[::1]:65535": ("::1", 65535),
            "[::1]": ("::1", 24010),
        }.items():
            self.assertEqual(parse_address(text), found)
        for text in ("", ":1", "a:0", "a:65536", "a:x", "::1:5", "a:", "a:١"):
            with self.subTest(text), self.assertRaises(UsageError):
                parse_address(text)

    def test_a_service_of_this_machine(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            root = pathlib.Path(name)
            with self.assertRaises(UsageError):
                Client.local(root)
            for folder in ("run", "tls"):
                (root / folder).mkdir()
            (root / "run" / "wire.addr").write_text("0.0.0.0:4711\n")
            (root / "admin.key").write_text("the key\n")
            (root / "tls" / "cert.pem").write_text((CERTIFICATES / "server.pem").read_text())
            options = Client.local(root)._options
            found = (options.host, options.port, options.user, options.key, options.fingerprint)
            self.assertEqual(found, ("127.0.0.1", 4711, "admin", "the key", FINGERPRINT))
            (root / "run" / "wire.addr").write_text("[::]:4711\n")
            self.assertEqual(Client.local(root)._options.host, "::1")
            with self.assertRaises(UsageError):
                Client.local(root, user="ann")
            self.assertEqual(Client.local(root, user="ann", key="hers")._options.key, "hers")

    def test_the_key_is_not_shown(self) -> None:
        client = Client("localhost", user="ann", key="very secret", plaintext=True)
        self.assertNotIn("very secret", repr(client) + repr(client._options))


if __name__ == "__main__":
    unittest.main()
