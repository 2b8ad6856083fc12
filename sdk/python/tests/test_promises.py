"""What the protocol's document says at its edges, asked of a real server. Runs only if PLANCK_BINARY names one."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
import unittest
from typing import Any

from real_server import BINARY, WAIT, Server
from support import CERTIFICATES, KEY

from planck import (
    Binary,
    CertificateRefused,
    ClientCertificate,
    ConnectionLost,
    Decimal128,
    Key,
    Pending,
    PlanckError,
    Regex,
    ServerError,
    calls,
)
from planck.packets import Framer, Op, Rows, decode_reply, encode_request
from planck.tls import make_context


def status_of(work: Any) -> int:
    """The status of what is refused."""
    try:
        work()
    except ServerError as error:
        return error.status
    return 0


@unittest.skipUnless(BINARY, "PLANCK_BINARY names no server")
class Promises(unittest.TestCase):
    server: Server

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = Server()
        cls.addClassCleanup(cls.server.close)
        cls.client = cls.server.client()
        cls.addClassCleanup(cls.client.close)
        cls.client.store("s").create()
        cls.client.sequence("numbers").create()

    def test_statuses(self) -> None:
        low, high = Key(bytes(16)), Key(b"\xff" * 16)
        key_range = calls.key_range("s", False, high, low, 0)
        self.assertEqual(status_of(lambda: self.client.run(key_range)), 1103)
        for count in (0, 1_000_001):
            self.assertEqual(status_of(lambda: self.client.run(calls.next_numbers("numbers", count))), 1209)
        self.assertEqual(status_of(lambda: self.client.cancel_query(1 << 40)), 1406)
        self.client.store("s").upsert(KEY, {"a": 1})
        self.assertEqual(status_of(lambda: self.client.query("s.pluck(a, a)").all()), 1401)
        self.assertEqual(status_of(lambda: self.client.query("s.insert({a: $1})", [1])), 1401)
        self.assertEqual(self.client.query("s.filter(a in [$1, 2]).count()", [1]).count, 1)

    def test_a_key_that_is_not_there_is_zeros(self) -> None:
        good = encode_request(Op.SCAN, {"store": "s", "reverse": False, "after": None, "limit": 1})
        with self.server.raw() as raw:
            raw.auth()
            raw.send(Op.SCAN, 2, good[:-5] + b"\1" + good[-4:])
            refused = raw.reply()
            assert refused is not None
            self.assertEqual((refused.code, refused.id), (1001, 2))
            raw.send(Op.SCAN, 3, good)
            taken = raw.reply()
            assert taken is not None
            self.assertEqual(taken.code, 0)

    def test_more_is_said_only_of_a_row_that_is_there(self) -> None:
        store = self.client.store("paged")
        store.create()
        keys = [store.insert({}, Key(bytes(15) + bytes([n]))) for n in range(1, 4)]
        for limit, more in ((2, keys[1]), (3, None), (4, None)):
            self.assertEqual(self.client.run(calls.scan("paged", False, None, limit)).more, more)
        with self.server.raw() as raw:
            raw.auth()
            fields = {"rows": 1, "bytes": 0, "text": "paged", "parameters": None}
            raw.send(Op.STREAM, 2, encode_request(Op.STREAM, fields))
            pages = []
            while True:
                packet = raw.reply()
                assert packet is not None
                page = decode_reply(packet.code, packet.body)
                assert isinstance(page, Rows)
                pages.append(page)
                if page.more is None:
                    break
                raw.send(Op.FETCH, 3, encode_request(Op.FETCH, {"cursor": page.more}))
            # One number for all of them, and only the last is empty.
            self.assertEqual([len(page.rows) for page in pages], [1, 1, 1, 0])
            self.assertEqual(len({page.more for page in pages[:-1]}), 1)
            raw.send(Op.STREAM, 4, encode_request(Op.STREAM, fields))
            packet = raw.reply()
            assert packet is not None
            again = decode_reply(packet.code, packet.body)
            assert isinstance(again, Rows) and isinstance(again.more, int) and isinstance(pages[0].more, int)
            self.assertGreater(again.more, pages[0].more)
            for number in (5, 6):
                raw.send(Op.CLOSE_CURSOR, number, encode_request(Op.CLOSE_CURSOR, {"cursor": again.more}))
            self.assertEqual([reply.code if reply else None for reply in (raw.reply(), raw.reply())], [0, 1405])

    def test_what_is_kept_as_it_came(self) -> None:
        document = {
            "short uuid": Binary(b"abc", 4),
            "of one's own": Binary(b"", 200),
            "options": Regex("a", "xqi"),
            "bits": Decimal128(b"\xff" * 16),
        }
        self.assertEqual(self.client.store("s").get(self.client.store("s").insert(document)), document)

    def test_rows_are_no_deeper_than_documents(self) -> None:
        deep: dict[str, Any] = {}
        for _ in range(63):
            deep = {"d": deep}
        for name in ("inner", "outer"):
            self.client.store(name).create()
        self.client.store("inner").insert({"x": 1, **deep})
        self.client.store("outer").insert({"x": 1})
        self.assertIn(status_of(lambda: self.client.query("outer.lookup(inner, x = x)").all()), (1101, 1401))


@unittest.skipUnless(BINARY, "PLANCK_BINARY names no server")
class Ends(unittest.TestCase):
    def test_what_a_server_that_stops_has_not_answered_was_not_begun(self) -> None:
        """Documents go in while it stops. Those that the client says were surely not done are not there."""
        server = Server()
        self.addCleanup(server.close)
        with server.client() as client:
            client.store("s").create()
        answered: list[tuple[int, int, int]] = []
        unanswered: list[tuple[tuple[int, int, int], bool]] = []
        stopping = threading.Event()

        def work(at: int) -> None:
            with server.client(retries=0) as client:
                for n in range(100_000):
                    pending: list[Pending[Key]] = []
                    try:
                        with client.pipeline() as pipe:
                            for i in range(20):
                                pending.append(pipe.insert("s", {"at": at, "n": n, "i": i}))
                    except PlanckError:
                        for i, one in enumerate(pending):
                            try:
                                one.result()
                                answered.append((at, n, i))
                            except ConnectionLost as error:
                                unanswered.append(((at, n, i), error.sent))
                        return
                    answered.extend((at, n, i) for i in range(20))
                    if n == 3:
                        stopping.set()

        threads = [threading.Thread(target=work, args=(at,)) for at in range(4)]
        for thread in threads:
            thread.start()
        self.assertTrue(stopping.wait(WAIT))
        time.sleep(0.05)
        server.stop()
        for thread in threads:
            thread.join(WAIT)
        server.start()
        with server.client() as client:
            there = {(row["at"], row["n"], row["i"]) for row in client.query("s")}
        self.assertLessEqual(set(answered), there)
        for one, maybe in unanswered:
            if not maybe:
                self.assertNotIn(one, there)

    def test_the_file_of_the_address_of_one_that_was_killed(self) -> None:
        server = Server()
        self.addCleanup(server.close)
        file = server.root / "run" / "wire.addr"
        os.kill(server._process.pid, signal.SIGKILL)
        server._process.wait(WAIT)
        self.assertTrue(file.exists())
        server.stop()
        server.start()
        server.stop()
        self.assertFalse(file.exists())


@unittest.skipUnless(BINARY, "PLANCK_BINARY names no server")
class Certificates(unittest.TestCase):
    def test_a_server_that_asks_for_a_certificate(self) -> None:
        server = Server(f"tls:\n  client_ca_file: {CERTIFICATES / 'ca.pem'}\n")
        self.addCleanup(server.close)
        shown = ClientCertificate(CERTIFICATES / "signed.pem", CERTIFICATES / "signed.key")
        with server.client(client_certificate=shown) as client:
            client.ping()
        stranger = ClientCertificate(CERTIFICATES / "client.pem", CERTIFICATES / "client.key")
        for certificate in (None, stranger):
            with server.client(client_certificate=certificate) as client:
                with self.assertRaises(CertificateRefused):
                    client.ping()

    def test_one_without_an_alpn_is_told_in_a_packet(self) -> None:
        server = Server()
        self.addCleanup(server.close)
        context = make_context()
        context.set_alpn_protocols([])
        host, _, port = server.address.rpartition(":")
        with socket.create_connection((host, int(port)), WAIT) as plain, context.wrap_socket(plain) as secure:
            framer = Framer(4096)
            while data := secure.recv(4096):
                framer.feed(data)
            packet = framer.next()
        assert packet is not None
        self.assertEqual((packet.code, packet.id), (1001, 0))


if __name__ == "__main__":
    unittest.main()
