"""Results page by page, and pipelines."""

from __future__ import annotations

import gc
import threading
import time
import unittest
from typing import Any

from support import KEY, PATIENCE, Peer, after, answering, client_of, serving

from planck import (
    Cancellation,
    CancelledError,
    ConnectionLost,
    DeadlineExceeded,
    InvalidError,
    NotFoundError,
    ProtocolError,
    ServerTimeout,
    UsageError,
    calls,
)
from planck.packets import Count, Empty, Failure, Kind, OneKey, Op, Reply, Row, Rows
from planck.result import only_reads, parameters_of

CURSOR = 42


def page(first: int, count: int, more: bool) -> Rows:
    return Rows(False, [Row(None, {"n": n}) for n in range(first, first + count)], CURSOR if more else None)


class Pages:
    """A server of a stream: so many pages of ten rows."""

    def __init__(self, pages: int, last_is_empty: bool = False) -> None:
        self.pages = pages
        self.last_is_empty = last_is_empty
        self.asked: list[tuple[Op, dict[str, Any]]] = []
        self.arrived = threading.Condition()

    def __call__(self, peer: Peer) -> None:
        peer.accept_auth()
        served = 0
        while True:
            op, fields, number = peer.request()
            with self.arrived:
                self.asked.append((op, fields))
                self.arrived.notify_all()
            if op in (Op.STREAM, Op.QUERY, Op.FETCH):
                assert op is not Op.FETCH or fields == {"cursor": CURSOR}, fields
                served += 1
                last = served >= self.pages
                peer.reply(number, page(served * 10 - 10, 0 if last and self.last_is_empty else 10, not last))
            else:
                peer.reply(number, Empty())

    def wait_for(self, count: int) -> None:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.asked) >= count, PATIENCE), self.asked

    def ops(self) -> list[Op]:
        with self.arrived:
            return [op for op, _ in self.asked]


class Streams(unittest.TestCase):
    def test_pages_join(self) -> None:
        for pages, empty in ((1, False), (2, False), (5, False), (5, True), (1, True)):
            for ahead in (True, False):
                script = Pages(pages, empty)
                with serving(script) as server, client_of(server) as client:
                    rows = client.query("a.all()", ahead=ahead).documents()
                    self.assertEqual([row["n"] for row in rows], list(range(10 * pages - (10 if empty else 0))))
                    self.assertEqual(script.ops(), [Op.STREAM] + [Op.FETCH] * (pages - 1))

    def test_a_page_that_does_not_lead_on_is_a_fault(self) -> None:
        """No page but the last is empty, and those of a query go on by a cursor."""
        for first in (Rows(False, [], CURSOR), Rows(True, [Row(KEY, {})], KEY)):
            with serving(answering(first)) as server, client_of(server) as client:
                with self.assertRaises(ProtocolError):
                    client.query("a.all()")

    def test_one_page_is_asked_for_ahead_and_no_more(self) -> None:
        script = Pages(5)
        with serving(script) as server, client_of(server) as client:
            result = client.query("a.all()", page_rows=10, page_bytes=0)
            script.wait_for(2)
            for _ in range(10):
                next(result)
            client.ping()
            self.assertEqual(script.ops(), [Op.STREAM, Op.FETCH, Op.PING])
            next(result)
            script.wait_for(4)
            client.ping()
            self.assertEqual(script.ops(), [Op.STREAM, Op.FETCH, Op.PING, Op.FETCH, Op.PING])
            expected = {"rows": 10, "bytes": 0, "text": "a.all()", "parameters": None}
            self.assertEqual(script.asked[0][1], expected)
            self.assertEqual(len(list(result)), 39)

    def test_nothing_is_asked_ahead_if_it_shall_not(self) -> None:
        script = Pages(3)
        with serving(script) as server, client_of(server) as client:
            result = client.query("a.all()", ahead=False)
            for _ in range(10):
                next(result)
            client.ping()
            self.assertEqual(script.ops(), [Op.STREAM, Op.PING])
            self.assertEqual(len(list(result)), 20)

    def test_other_work_goes_on_meanwhile(self) -> None:
        """Also with one connection, within the loop."""
        with serving(Pages(4)) as server, client_of(server, max_connections=1) as client:
            for _ in client.query("a.all()"):
                client.ping()

    def test_closing_gives_the_cursor_back(self) -> None:
        script = Pages(5)
        with serving(script) as server, client_of(server) as client:
            with client.query("a.all()") as result:
                next(result)
            script.wait_for(3)
            self.assertEqual(script.ops(), [Op.STREAM, Op.FETCH, Op.CLOSE_CURSOR])
            client.ping()
            self.assertEqual(script.asked[2][1], {"cursor": CURSOR})
            with self.assertRaises(StopIteration):
                next(result)
            self.assertEqual(client._pool._idle[0].cursors, 0)

    def test_forgetting_gives_the_cursor_back(self) -> None:
        script = Pages(5)
        with serving(script) as server, client_of(server) as client:
            result = client.query("a.all()", ahead=False)
            next(result)
            del result
            gc.collect()
            client.ping()
            self.assertEqual(script.ops(), [Op.STREAM, Op.CLOSE_CURSOR, Op.PING])
            client.ping()
            self.assertEqual(len(server.peers), 1)

    def test_a_result_read_to_its_end_closes_nothing(self) -> None:
        script = Pages(2)
        with serving(script) as server, client_of(server) as client:
            with client.query("a.all()") as result:
                result.all()
            client.ping()
            self.assertEqual(script.ops(), [Op.STREAM, Op.FETCH, Op.PING])

    def test_an_error_of_a_page_is_told_when_the_page_is_wanted(self) -> None:
        def script(peer: Peer) -> None:
            peer.accept_auth()
            peer.reply(peer.request()[2], page(0, 2, True))
            peer.reply(peer.request()[2], Failure(1405, "too late"))
            peer.serve(lambda op, fields: Empty())

        with serving(script) as server, client_of(server) as client:
            result = client.query("a.all()")
            self.assertEqual([next(result)["n"], next(result)["n"]], [0, 1])
            with self.assertRaises(NotFoundError):
                next(result)
            with self.assertRaises(StopIteration):
                next(result)
            client.ping()

    def test_a_connection_that_breaks_between_pages(self) -> None:
        def script(peer: Peer) -> None:
            peer.accept_auth()
            peer.reply(peer.request()[2], page(0, 2, True))

        with serving(script) as server, client_of(server) as client:
            result = client.query("a.all()")
            self.assertEqual([next(result)["n"], next(result)["n"]], [0, 1])
            with self.assertRaises(ConnectionLost):
                next(result)

    def test_pages_without_end_and_without_rows(self) -> None:
        def script(peer: Peer) -> None:
            peer.accept_auth()
            peer.serve(lambda op, fields: page(0, 0, True))

        with serving(script) as server, client_of(server) as client:
            with self.assertRaises(ProtocolError):
                list(client.query("a.all()"))

    def test_a_slow_reader_is_no_fault(self) -> None:
        with serving(Pages(3)) as server, client_of(server, grace=0.1) as client:
            result = client.query("a.all()", timeout=0.1)
            rows = [next(result) for _ in range(5)]
            time.sleep(0.3)
            self.assertEqual(len(rows) + len(list(result)), 30)

    def test_a_slow_page(self) -> None:
        def script(peer: Peer) -> None:
            peer.accept_auth()
            peer.reply(peer.request()[2], page(0, 1, True))
            while peer.packet():
                pass

        with serving(script) as server, client_of(server, grace=0.1) as client:
            result = client.query("a.all()", timeout=0.1)
            next(result)
            with self.assertRaises(DeadlineExceeded):
                next(result)

    def test_cancelling_between_pages(self) -> None:
        script = Pages(5)
        cancel = Cancellation()
        with serving(script) as server, client_of(server) as client:
            result = client.query("a.all()", cancel=cancel, ahead=False)
            next(result)
            cancel.cancel()
            with self.assertRaises(CancelledError):
                list(result)
            client.ping()
            self.assertEqual(script.ops(), [Op.STREAM, Op.CLOSE_CURSOR, Op.PING])

    def test_cancelling_a_page(self) -> None:
        def script(peer: Peer) -> None:
            peer.accept_auth()
            peer.reply(peer.request()[2], page(0, 1, True))
            _, _, number = peer.request()
            fetching.set()
            packet = peer.packet()
            assert packet is not None and (packet.kind, packet.id) == (Kind.CANCEL, number)
            peer.reply(number, Failure(1603, "cancelled"))
            peer.serve(lambda op, fields: Empty())

        fetching = threading.Event()
        cancel = Cancellation()
        with serving(script) as server, client_of(server) as client:
            result = client.query("a.all()", cancel=cancel)
            next(result)
            after(fetching, cancel.cancel)
            with self.assertRaises(CancelledError):
                next(result)
            client.ping()

    def test_cursors_are_spread_over_connections(self) -> None:
        with serving(Pages(1000)) as server, client_of(server, max_connections=2) as client:
            results = [client.query("a.all()", ahead=False) for _ in range(17)]
            self.assertEqual(len(server.peers), 2)
            self.assertEqual(sorted(c.cursors for c in client._pool._idle), [1, 16])
            for result in results:
                result.close()
            self.assertEqual([c.cursors for c in client._pool._idle], [0, 0])


class Texts(unittest.TestCase):
    def test_what_only_reads(self) -> None:
        for text in (
            "a.all()",
            "a.filter(a = 1 and (b > 2 or not (c in [1]))).orderBy(f, desc).limit(3).pluck(a, b)",
            'a.filter(x = ".delete()").count()',
            "a.filter(x = 'it\\'s .delete()').count()",
            'a.filter(day >= date("2013-01-01")).aggregate(n: count(), m: max(x)).having((n > 1))',
            "a.lookupOne(b, x = y as z).get(0190b0c2a1d07e3f8c4d5e6f708192a3)",
        ):
            with self.subTest(text):
                self.assertTrue(only_reads(text))

    def test_what_may_change(self) -> None:
        for text in (
            "a.all().delete()",
            "a.insert({})",
            "a.filter(x = 1) . set ({a: 1})",
            "a.filter(x = 1).delete\n\t()",
            'a.filter(`a"b` = 1).delete().filter(x = "")',
            'a.filter(x = "\\\\").delete().filter(x = "")',
            "a.all().`delete`()",
            "a.all().purge()",
            "a.all().delete\u200b()",
            "a.all().delete\u00a0()",
            "a.filter(x = 1).upsert({}).inc({n: 1})",
        ):
            with self.subTest(text):
                self.assertFalse(only_reads(text))

    def test_parameters(self) -> None:
        self.assertEqual(parameters_of([7, "x"]), {"1": 7, "2": "x"})
        self.assertEqual(parameters_of({"1": 7}), {"1": 7})
        self.assertIsNone(parameters_of(None))
        for wrong in ("7", b"7"):
            with self.assertRaises(UsageError):
                parameters_of(wrong)


class Pipelines(unittest.TestCase):
    def test_requests_go_out_together_and_answers_come_back_each_to_its_own(self) -> None:
        def script(peer: Peer) -> None:
            peer.accept_auth()
            requests = [peer.request() for _ in range(20)]
            for _, fields, number in requests:
                peer.reply(number, OneKey(fields["key"]))

        keys = [bytes([n]) * 16 for n in range(20)]
        with serving(script) as server, client_of(server) as client:
            with client.pipeline() as pipe:
                pending = [pipe.upsert("a", key, {}) for key in keys]
            self.assertEqual([one.result().raw for one in pending], keys)

    def test_no_more_in_flight_than_the_server_takes(self) -> None:
        most = 0

        def script(peer: Peer) -> None:
            nonlocal most
            peer.accept_auth(max_in_flight=4)
            waiting: list[int] = []
            for _ in range(50):
                waiting.append(peer.request()[2])
                peer.sock.settimeout(0.02)
                try:
                    while True:
                        waiting.append(peer.request()[2])
                except TimeoutError:
                    pass
                peer.sock.settimeout(PATIENCE)
                most = max(most, len(waiting))
                while waiting:
                    peer.reply(waiting.pop(0), Empty())

        with serving(script) as server, client_of(server) as client:
            with client.pipeline() as pipe:
                for _ in range(12):
                    pipe.send(calls.ping())
        self.assertEqual(most, 4)

    def test_replies_are_read_while_requests_are_written(self) -> None:
        """More than the buffers of both sides hold: neither waits for the other for ever."""

        def script(peer: Peer) -> None:
            peer.accept_auth()
            peer.serve(lambda op, fields: Rows(True, [Row(KEY, {"a": bytes(500_000)})]))

        with serving(script) as server, client_of(server, timeout=PATIENCE) as client:
            with client.pipeline() as pipe:
                pending = [pipe.query("a.filter(x = $1)", [bytes(500_000)]) for _ in range(30)]
            self.assertEqual({len(one.result().all()) for one in pending}, {1})

    def test_a_request_behind_a_slow_one_is_waited_for(self) -> None:
        """Its reply cannot come before that of the slow one, whatever its own time was."""

        def script(peer: Peer) -> None:
            peer.accept_auth()
            first, second = peer.request()[2], peer.request()[2]
            time.sleep(0.4)
            peer.reply(first, Count(1))
            peer.reply(second, Failure(1602, "too late"))
            peer.serve(lambda op, fields: Empty())

        with serving(script) as server, client_of(server, grace=0.1) as client:
            with client.pipeline() as pipe:
                slow, late = pipe.query("a.count()"), pipe.send(calls.ping(), timeout=0.05)
                with self.assertRaises(ServerTimeout):
                    late.result()
            self.assertEqual(slow.result().count, 1)
            client.ping()
            self.assertEqual(len(server.peers), 1)

    def test_an_error_that_nobody_looked_at_is_raised(self) -> None:
        def answer(op: Op, fields: dict[str, Any]) -> Reply:
            return Failure(1401, "no") if op is Op.QUERY else Count(1)

        def script(peer: Peer) -> None:
            peer.accept_auth()
            peer.serve(answer)

        with serving(script) as server, client_of(server) as client:
            with self.assertRaises(InvalidError):
                with client.pipeline() as pipe:
                    pipe.query("a")
                    gone = pipe.delete("a", KEY)
            self.assertIs(gone.result(), True)
            with client.pipeline() as pipe:
                failed = pipe.query("a")
                with self.assertRaises(InvalidError):
                    failed.result()
            with self.assertRaises(UsageError):
                pipe.send(calls.ping())

    def test_a_failure_in_the_block_cancels_what_is_in_flight(self) -> None:
        def script(peer: Peer) -> None:
            peer.accept_auth()
            numbers = [peer.request()[2], peer.request()[2]]
            for _ in numbers:
                packet = peer.packet()
                assert packet is not None and packet.kind is Kind.CANCEL
            for number in numbers:
                peer.reply(number, Failure(1603, "cancelled"))
            peer.serve(lambda op, fields: Empty())

        with serving(script) as server, client_of(server) as client:
            with self.assertRaises(KeyError):
                with client.pipeline() as pipe:
                    pipe.query("a.all()")
                    pipe.query("a.all()")
                    raise KeyError
            client.ping()
            self.assertEqual(len(server.peers), 1)

    def test_a_connection_that_breaks(self) -> None:
        def script(peer: Peer) -> None:
            peer.accept_auth()
            peer.reply(peer.request()[2], OneKey(KEY))
            peer.request()

        with serving(script) as server, client_of(server) as client:
            with self.assertRaises(ConnectionLost):
                with client.pipeline() as pipe:
                    first = pipe.insert("a", {})
                    second = pipe.insert("a", {})
            self.assertEqual(first.result(), KEY)
            with self.assertRaises(ConnectionLost) as caught:
                second.result()
            self.assertTrue(caught.exception.sent)

    def test_cancelling(self) -> None:
        def script(peer: Peer) -> None:
            peer.accept_auth()
            _, _, number = peer.request()
            # The client waits at the end of its block by then.
            threading.Timer(0.1, cancel.cancel).start()
            packet = peer.packet()
            assert packet is not None and (packet.kind, packet.id) == (Kind.CANCEL, number)
            peer.reply(number, Failure(1603, ""))

        cancel = Cancellation()
        with serving(script) as server, client_of(server) as client:
            with self.assertRaises(CancelledError):
                with client.pipeline(cancel=cancel) as pipe:
                    pipe.query("a.all()")

    def test_missing_documents_are_none(self) -> None:
        def script(peer: Peer) -> None:
            peer.accept_auth()
            peer.serve(lambda op, fields: Failure(1301, ""))

        with serving(script) as server, client_of(server) as client:
            with client.pipeline() as pipe:
                got, gone = pipe.get("a", KEY), pipe.delete("a", KEY, missing_ok=True)
            self.assertEqual((got.result(), gone.result()), (None, False))


if __name__ == "__main__":
    unittest.main()
