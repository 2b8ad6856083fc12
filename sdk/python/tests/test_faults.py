"""What a server must not do, and connections that break: each is told, bounded, and repeated only if that is safe."""

from __future__ import annotations

import socket
import ssl
import threading
import time
import unittest
from collections.abc import Callable
from typing import Any

from support import (
    FINGERPRINT,
    KEY,
    PATIENCE,
    ROW,
    Peer,
    answering,
    asked,
    client_of,
    cut,
    raw_reply,
    server_context,
    serving,
)

from planck import (
    BusyError,
    Client,
    ConflictError,
    ConnectFailed,
    ConnectionLost,
    DeadlineExceeded,
    DeniedError,
    InvalidError,
    PlanckError,
    ProtocolError,
)
from planck.packets import (
    Empty,
    Failure,
    Kind,
    OneKey,
    Op,
    Packet,
    Reply,
    Rows,
    encode_packet,
)


class Hostile(unittest.TestCase):
    def test_bytes_that_are_no_reply(self) -> None:
        length = (1 << 32) - 1
        head = b"PLNK\1\1\0\0" + (2).to_bytes(8, "little")
        for name, data in {
            "another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
            "4 GiB": head + length.to_bytes(4, "little") + bytes(4),
            "over the limit by one": head + ((1 << 20) - 23).to_bytes(4, "little") + bytes(4),
            "a request": encode_packet(Packet(Kind.REQUEST, 1, 2)),
            "no body": encode_packet(Packet(Kind.REPLY, 0, 2)),
            "rows without end": encode_packet(Packet(Kind.REPLY, 0, 2, b"\5\0\0" + bytes(16) + b"\xff" * 4)),
            "another id": encode_packet(Packet(Kind.REPLY, 0, 3, b"\0")),
            "two replies": encode_packet(Packet(Kind.REPLY, 0, 3, b"\0")) * 2,
        }.items():
            with self.subTest(name), serving(raw_reply(data)) as server, client_of(server) as client:
                start = time.monotonic()
                with self.assertRaises(ProtocolError):
                    client.store("a").insert({})
                self.assertLess(time.monotonic() - start, 2)

    def test_a_second_reply_ends_the_connection_and_not_the_client(self) -> None:
        twice = encode_packet(Packet(Kind.REPLY, 0, 2, b"\0")) * 2
        with serving(raw_reply(twice), answering(Empty())) as server, client_of(server) as client:
            client.ping()
            client.ping()

    def test_an_error_about_the_connection(self) -> None:
        data = encode_packet(Packet(Kind.REPLY, 1001, 0, b"no packet"))
        with serving(raw_reply(data)) as server, client_of(server) as client:
            with self.assertRaises(InvalidError):
                client.ping()

    def test_a_server_that_floods_before_the_auth(self) -> None:
        def flood(peer: Peer) -> None:
            peer.request()
            peer.sock.sendall(b"PLNK\1\1\0\0" + (1).to_bytes(8, "little") + (1 << 30).to_bytes(4, "little") + bytes(4))
            while True:
                peer.sock.sendall(bytes(1 << 16))

        with serving(flood) as server, client_of(server) as client:
            with self.assertRaises(ProtocolError):
                client.ping()

    def test_a_server_that_trickles(self) -> None:
        """Bytes that come, but no reply: the caller's time ends all the same."""

        def trickle(peer: Peer) -> None:
            peer.accept_auth()
            peer.request()
            peer.sock.sendall(b"PLNK\1\1\0\0" + (2).to_bytes(8, "little") + (1000).to_bytes(4, "little") + bytes(4))
            for _ in range(900):
                peer.sock.sendall(b"x")
                time.sleep(0.01)

        with serving(trickle) as server, client_of(server, timeout=0.2, grace=0.1) as client:
            start = time.monotonic()
            with self.assertRaises(DeadlineExceeded):
                client.store("a").insert({})
            self.assertLess(time.monotonic() - start, 2)


class Breaking(unittest.TestCase):
    def test_what_may_be_repeated_is(self) -> None:
        with serving(cut, answering(Empty())) as server, client_of(server) as client:
            client.ping()
            self.assertEqual(asked(server), [Op.PING, Op.PING])
        with serving(cut, answering(OneKey(KEY))) as server, client_of(server) as client:
            self.assertEqual(client.store("a").insert({}, KEY), KEY)
        with serving(cut, answering(Rows(True, [ROW]))) as server, client_of(server) as client:
            self.assertEqual(client.query("a.filter(x = 1)").all(), [ROW])

    def test_what_may_not_be_repeated_is_not(self) -> None:
        works: list[Callable[[Client], Any]] = [
            lambda c: c.store("a").insert({}),
            lambda c: c.store("a").insert_many([(KEY, {}), {}]),
            lambda c: c.sequence("a").next(),
            lambda c: c.query("a.all().delete()"),
            lambda c: c.store("a").create(),
            lambda c: c.store("a").drop(),
            lambda c: c.create_user("bob", "none", if_not_exists=True),
            lambda c: c.alter_user("bob", new_key=True),
            lambda c: c.backup(),
            lambda c: c.store("a").rename("b"),
        ]
        for work in works:
            with serving(cut, answering(Empty())) as server, client_of(server) as client:
                with self.assertRaises(ConnectionLost) as caught:
                    work(client)
                self.assertTrue(caught.exception.sent)
                self.assertEqual(len(asked(server)), 1)

    def test_what_the_server_did_not_begin_is_repeated(self) -> None:
        """Behind a reply that ends the session, and if the server says in TLS that it ends it."""

        def gone(peer: Peer) -> None:
            peer.accept_auth()
            first, second = peer.request()[2], peer.request()[2]
            self.assertLess(first, second)
            peer.reply(first, Failure(1501, "gone"))
            peer.packet()

        with serving(gone) as server, client_of(server) as client:
            with self.assertRaises(DeniedError), client.pipeline() as pipe:
                pipe.get("a", KEY)
                behind = pipe.insert("a", {})
            with self.assertRaises(ConnectionLost) as caught:
                behind.result()
            self.assertFalse(caught.exception.sent)

        def farewell(peer: Peer) -> None:
            peer.accept_auth()
            peer.request()
            assert isinstance(peer.sock, ssl.SSLSocket)
            peer.sock.unwrap()

        scripts, trusted = (farewell, answering(OneKey(KEY))), {"fingerprint": FINGERPRINT}
        with serving(*scripts, context=server_context()) as server, client_of(server, **trusted) as client:
            self.assertEqual(client.store("a").insert({}), KEY)
            self.assertEqual(asked(server), [Op.INSERT, Op.INSERT])
        # An end without that says nothing.
        with serving(cut, scripts[1], context=server_context()) as server, client_of(server, **trusted) as client:
            with self.assertRaises(ConnectionLost) as caught:
                client.store("a").insert({})
            self.assertTrue(caught.exception.sent)

    def test_an_error_behind_a_repeated_request_says_so(self) -> None:
        with serving(cut, answering(Failure(1302, "taken"))) as server, client_of(server) as client:
            with self.assertRaises(ConflictError) as caught:
                client.store("a").insert({}, KEY)
            self.assertTrue(caught.exception.maybe_done)
            with self.assertRaises(ConflictError) as caught:
                client.store("a").insert({}, KEY)
            self.assertFalse(caught.exception.maybe_done)

    def test_a_connection_that_broke_while_idle_is_not_used(self) -> None:
        def one(peer: Peer) -> None:
            peer.accept_auth()
            _, _, number = peer.request()
            peer.reply(number, Empty())
            idle.wait(PATIENCE)

        idle = threading.Event()
        with serving(one, answering(OneKey(KEY))) as server, client_of(server, retries=0) as client:
            client.ping()
            self.assertEqual(len(client._pool._idle), 1)
            idle.set()
            for _ in range(200):
                if not any(connection.alive for connection in client._pool._idle):
                    break
                time.sleep(0.01)
            self.assertEqual(client.store("a").insert({}), KEY)

    def test_busy_is_asked_again(self) -> None:
        answers: list[Reply] = [Failure(1601, "later"), Failure(1601, "later"), OneKey(KEY)]
        with serving(answering(lambda op, fields: answers.pop(0))) as server, client_of(server) as client:
            self.assertEqual(client.store("a").insert({}), KEY)
        with serving(answering(Failure(1601, "later"))) as server, client_of(server, retries=1) as client:
            with self.assertRaises(BusyError):
                client.ping()
            self.assertEqual(len(asked(server)), 2)

    def test_a_timeout_and_a_failure_are_not_asked_again(self) -> None:
        for status in (1602, 1902, 1603, 1304):
            with serving(answering(Failure(status, ""))) as server, client_of(server) as client:
                with self.assertRaises(PlanckError):
                    client.store("a").get(KEY)
                self.assertEqual(len(asked(server)), 1)

    def test_an_auth_that_is_refused(self) -> None:
        def refuse(status: int) -> Callable[[Peer], None]:
            def script(peer: Peer) -> None:
                peer.reply(peer.request()[2], Failure(status, "no"))

            return script

        with serving(refuse(1502)) as server, client_of(server) as client:
            with self.assertRaises(DeniedError):
                client.ping()
            self.assertEqual(len(server.peers), 1)
        with serving(refuse(1601), answering(Empty())) as server, client_of(server) as client:
            client.ping()

    def test_a_session_whose_user_is_gone_is_not_used_again(self) -> None:
        with serving(answering(Failure(1501, "gone")), answering(Empty())) as server, client_of(server) as client:
            with self.assertRaises(DeniedError):
                client.ping()
            client.ping()
            self.assertEqual(len(server.peers), 2)

    def test_nobody_listens(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        client = Client(f"127.0.0.1:{port}", user="ann", key="k", plaintext=True, retries=1)
        with self.assertRaises(ConnectFailed) as caught:
            client.store("a").insert({})
        self.assertFalse(caught.exception.sent)

    def test_a_server_that_does_not_answer_the_auth(self) -> None:
        with serving(lambda peer: peer.packet() and peer.packet()) as server:
            with client_of(server, connect_timeout=0.2, retries=0) as client:
                with self.assertRaises(ConnectFailed):
                    client.ping()

    def test_a_server_that_hangs_up_at_once(self) -> None:
        with serving(lambda peer: None) as server, client_of(server, retries=0) as client:
            with self.assertRaises(ConnectFailed):
                client.ping()


if __name__ == "__main__":
    unittest.main()
