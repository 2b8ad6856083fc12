"""A real server for the tests: a `planck` in a directory of its own, stopped at the end."""

from __future__ import annotations

import os
import pathlib
import re
import select
import signal
import subprocess
import tempfile
import threading
import time
from typing import Any

import support  # finds the package

from planck import Client, ConnectionLost
from planck.packets import Framer, Kind, Op, Packet, encode_packet, encode_request
from planck.tls import make_context
from planck.transport import Transport
from planck.waiting import Deadline

BINARY = os.environ.get("PLANCK_BINARY")
WAIT = 3 * support.PATIENCE
"""Seconds that a server may take to start, to answer, to stop."""


class Server:
    """A `planck` of a temporary directory."""

    def __init__(self, settings: str = "") -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="planck-python-")
        self.root = pathlib.Path(self._folder.name)
        self._settings = settings
        self.port = 0
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        assert BINARY is not None
        self._reader: threading.Thread | None = None
        (self.root / "db.yaml").write_text(f"port: {self.port}\n{self._settings}")
        self._log = (self.root / "log").open("ab")
        self._process = subprocess.Popen(
            [BINARY, "--dir", str(self.root)], stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        self.fingerprint = self._wait_for_line()
        self.address = self._wait_for_address()
        self.port = int(self.address.rpartition(":")[2])
        self.key = (self.root / "admin.key").read_text().strip()

    def _wait_for_line(self) -> str:
        assert self._process.stdout is not None
        end = time.monotonic() + WAIT
        while time.monotonic() < end:
            if not select.select([self._process.stdout], [], [], 1.0)[0]:
                continue
            line = self._process.stdout.readline()
            if not line:
                break
            if found := re.search(r"wire listening on \S+ \(TLS 1\.3, fingerprint ([0-9a-f]{64})[,)]", line):
                self._drain()
                return found.group(1)
        raise AssertionError(f"the server did not start: {(self.root / 'log').read_text()[-2000:]}")

    def _drain(self) -> None:
        """Reads on, so that the server never waits for who reads what it says."""
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._process.stdout.read, daemon=True)
        self._reader.start()

    def _wait_for_address(self) -> str:
        """The file with the address, whole: it ends with a line break."""
        file = self.root / "run" / "wire.addr"
        end = time.monotonic() + WAIT
        while not (file.exists() and file.read_text().endswith("\n")):
            if time.monotonic() > end or self._process.poll() is not None:
                raise AssertionError(f"the server did not start: {(self.root / 'log').read_text()[-2000:]}")
            time.sleep(0.01)
        return file.read_text().strip()

    def client(self, user: str = "admin", key: str | None = None, **options: Any) -> Client:
        options.setdefault("fingerprint", self.fingerprint)
        return Client(self.address, user=user, key=key or self.key, **options)

    def raw(self) -> Raw:
        return Raw(self)

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(WAIT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._reader is not None:
            self._reader.join(WAIT)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._log.close()

    def close(self) -> None:
        self.stop()
        self._folder.cleanup()


class Raw:
    """A connection without a session: any bytes can be sent."""

    def __init__(self, server: Server) -> None:
        host, _, port = server.address.rpartition(":")
        context = make_context()
        self._transport = Transport.connect(host, int(port), context, server.fingerprint, Deadline(WAIT))
        self._framer = Framer(1 << 24)
        self._auth = encode_request(Op.AUTH, {"user": "admin", "key": server.key})

    def send(self, code: int, number: int, body: bytes = b"", kind: Kind = Kind.REQUEST) -> None:
        self.bytes(encode_packet(Packet(kind, code, number, body)))

    def bytes(self, data: bytes) -> None:
        self._transport.send(data, Deadline(WAIT))

    def auth(self) -> Packet | None:
        self.send(Op.AUTH, 1, self._auth)
        return self.reply()

    def reply(self) -> Packet | None:
        """The next reply; None if the server closed."""
        while (packet := self._framer.next()) is None:
            try:
                data = self._transport.receive(Deadline(WAIT))
            except ConnectionLost:
                return None
            if not data:
                return None
            self._framer.feed(data)
        return packet

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *args: object) -> None:
        self._transport.close()


class PlainServer(Server):
    """One that says nothing of a fingerprint: it is up when its address is there."""

    def _wait_for_line(self) -> str:
        self._drain()
        return "0" * 64
