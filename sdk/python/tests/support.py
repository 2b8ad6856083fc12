"""What the tests share: the document of the protocol, certificates, and a server that does as it is told.

What must stay true: nothing here waits without a bound, so a test that goes wrong fails and does not hang.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import queue
import re
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))

from planck import Client, Key  # noqa: E402
from planck.packets import (  # noqa: E402
    Answer,
    Empty,
    Framer,
    Kind,
    Op,
    Packet,
    Reply,
    Row,
    decode_request,
    encode_packet,
    encode_reply,
)

CERTIFICATES = HERE / "certificates"
FINGERPRINT = "9553819a3d7b49bd517a92f64d734ff5151651ef9842919d729738bf79c284dc"
"""Of server.pem, as openssl computes it."""

OTHER_FINGERPRINT = "0bf8dab18ad55d855b3f12e2c1128ee68ec533e3fcbee7d342c17ff53e29b0a9"
"""Of other.pem."""

KEY = Key.of("0190b0c2a1d07e3f8c4d5e6f708192a3")
PATIENCE = 10.0
"""Seconds after which a test that waits has failed."""

SESSION = {
    "server": "fake 0",
    "protocol": 1,
    "session": 7,
    "user": "ann",
    "role": "admin",
    "max_message_size": 1 << 20,
    "max_in_flight": 64,
    "idle_timeout_ms": 60_000,
}


def protocol_document() -> str | None:
    """The text of the protocol: from PLANCK_PROTOCOL, or docs/protocol.md of the repository.

    None only if this is no repository (a copy of the package alone) and no path was given.
    """
    given = os.environ.get("PLANCK_PROTOCOL")
    path = pathlib.Path(given) if given else HERE.parents[2] / "docs" / "protocol.md"
    if not given and not path.exists():
        return None
    return path.read_text(encoding="utf-8")


def golden_packets(text: str) -> dict[str, bytes]:
    """The packets of the annex, by name."""
    blocks = re.findall(r"^```hex (\S+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return {name: bytes.fromhex(digits) for name, digits in blocks}


def reply_bytes(number: int, reply: Reply) -> bytes:
    """The packet of a reply."""
    code, body = encode_reply(reply)
    return encode_packet(Packet(Kind.REPLY, code, number, body))


def whole(data: bytes) -> Packet:
    """The packet that the bytes are."""
    framer = Framer(1 << 20)
    framer.feed(data)
    packet = framer.next()
    assert packet is not None and framer.pending == 0
    return packet


class Peer:
    """The server's side of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._framer = Framer(1 << 26)
        self.seen: list[Packet] = []

    def packet(self) -> Packet | None:
        """The next packet of the client; None at the end."""
        while (packet := self._framer.next()) is None:
            data = self.sock.recv(1 << 16)
            if not data:
                return None
            self._framer.feed(data)
        self.seen.append(packet)
        return packet

    def request(self) -> tuple[Op, dict[str, Any], int]:
        """The next request: its operation, fields and id. Cancels are passed over."""
        while (packet := self.packet()) is not None:
            if packet.kind is Kind.REQUEST:
                return Op(packet.code), decode_request(Op(packet.code), packet.body), packet.id
        raise EOFError

    def reply(self, number: int, reply: Reply) -> None:
        """Answers."""
        self.sock.sendall(reply_bytes(number, reply))

    def accept_auth(self, **changes: Any) -> None:
        """Takes the Auth and says yes to it. A field that is changed to None is left out."""
        op, fields, number = self.request()
        assert op is Op.AUTH, op
        assert fields == {"user": "ann", "key": "correct horse battery"}, fields
        document = {name: value for name, value in {**SESSION, **changes}.items() if value is not None}
        self.reply(number, Answer(document))

    def serve(self, answer: Callable[[Op, dict[str, Any]], Reply]) -> None:
        """Answers each request until the end."""
        with contextlib.suppress(EOFError):
            while True:
                op, fields, number = self.request()
                self.reply(number, Empty() if op is Op.CLOSE_CURSOR else answer(op, fields))


Script = Callable[[Peer], object]


class FakeServer:
    """Listens, and runs a script for each connection: the first for the first, the last for all behind it."""

    def __init__(self, *scripts: Script, context: ssl.SSLContext | None = None) -> None:
        self._scripts = scripts
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self._faults: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
        self.port = self._listener.getsockname()[1]
        self.peers: list[Peer] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                sock.settimeout(PATIENCE)
                self._open.append(sock)
                script = self._scripts[min(len(self._threads), len(self._scripts) - 1)]
                thread = threading.Thread(target=self._run, args=(sock, script), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _run(self, sock: socket.socket, script: Script) -> None:
        try:
            if self._context is not None:
                sock = secured = self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
                self._open.append(sock)
                _shake_hands(secured)
            peer = Peer(sock)
            self.peers.append(peer)
            script(peer)
        except (OSError, EOFError):
            pass  # the client went away, which is for the client's side of the test to judge
        except BaseException as error:
            self._faults.put(error)
        finally:
            _shut(sock)
            sock.close()

    def close(self) -> None:
        """Ends all connections, and raises what a script asserted in vain."""
        _shut(self._listener)
        self._listener.close()
        for sock in self._open:
            _shut(sock)
        for thread in self._threads:
            thread.join(PATIENCE)
        if not self._faults.empty():
            raise self._faults.get()


def _shake_hands(sock: ssl.SSLSocket) -> None:
    """As the real server: after a refusal it reads on, or the alert would go with a reset."""
    try:
        sock.do_handshake()
    except ssl.SSLError:
        socket.socket.shutdown(sock, socket.SHUT_WR)
        with contextlib.suppress(OSError):
            while socket.socket.recv(sock, 4096):
                pass
        raise


def _shut(sock: socket.socket) -> None:
    """Wakes whoever waits for a socket. (`SSLSocket.shutdown` would let it read on without TLS.)"""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


@contextlib.contextmanager
def serving(*scripts: Script, context: ssl.SSLContext | None = None) -> Iterator[FakeServer]:
    """A fake server for a block."""
    server = FakeServer(*scripts, context=context)
    try:
        yield server
    finally:
        server.close()


def after(event: threading.Event, work: Callable[[], object]) -> threading.Thread:
    """Does something in another thread when the event has come."""

    def run() -> None:
        if event.wait(PATIENCE):
            work()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def client_of(server: FakeServer, **options: Any) -> Client:
    """A client of a fake server, without TLS unless a fingerprint is given."""
    options = {"timeout": 5.0, "grace": 0.2, "retries": 2, **options}
    options.setdefault("plaintext", "fingerprint" not in options)
    return Client(f"127.0.0.1:{server.port}", user="ann", key="correct horse battery", **options)


def server_context(name: str = "server", alpn: str | None = "planck/1") -> ssl.SSLContext:
    """TLS of a server with one of the certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    key = CERTIFICATES / ("other.key" if name == "other" else "server.key")
    context.load_cert_chain(CERTIFICATES / f"{name}.pem", key)
    if alpn is not None:
        context.set_alpn_protocols([alpn])
    return context


ROW = Row(KEY, {"a": 7})


def answering(answer: Callable[[Op, dict[str, Any]], Reply] | Reply, **session: Any) -> Callable[[Peer], None]:
    """A script: yes to the Auth, and this answer to all."""

    def script(peer: Peer) -> None:
        peer.accept_auth(**session)
        peer.serve(answer if callable(answer) else lambda op, fields: answer)

    return script


def raw_reply(data: bytes) -> Callable[[Peer], None]:
    """A script: yes to the Auth, and these bytes to the first request."""

    def script(peer: Peer) -> None:
        peer.accept_auth()
        peer.request()
        peer.sock.sendall(data)
        peer.packet()

    return script


def cut(peer: Peer) -> None:
    """A script: the connection ends when the first request has come."""
    peer.accept_auth()
    peer.request()


def asked(server: Any) -> list[Op]:
    return [Op(p.code) for peer in server.peers for p in peer.seen if p.kind is Kind.REQUEST and p.code != Op.AUTH]
