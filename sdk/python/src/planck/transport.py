"""Bytes to and from a server: one socket, with TLS or, if asked for by name, without.

What must stay true: one thread may receive while another sends, and neither waits for the other: the
reader never sends, so that it goes on reading while a writer is held up; OpenSSL's object is touched by
one thread at a time; nothing of the caller is sent before the server's key was checked; every wait ends
with its deadline, or when the transport is shut.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading

from .errors import CertificateRefused, ConnectFailed, ConnectionLost, DeadlineExceeded
from .tls import check_peer, refuses_certificate
from .waiting import Deadline

_PIECE = 64 << 10
_STALL_SECONDS = 60.0
"""A write without any progress for so long is given up: the server closes after 30 s."""


class Transport:
    """A connection that carries bytes. TLS if a context and a fingerprint are given."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext | None) -> None:
        self._sock = sock
        self._shut = False
        self.orderly = False
        """The server said that this is the end, as TLS says it: what it had begun it has answered."""
        self._lock = threading.Lock()
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        if context is not None:
            # The server looks at no name, so it is told none that the network could read.
            self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        sock.setblocking(False)
        self._readable = selectors.DefaultSelector()
        self._readable.register(sock, selectors.EVENT_READ)

    @classmethod
    def connect(
        cls,
        host: str,
        port: int,
        context: ssl.SSLContext | None,
        fingerprint: str | None,
        deadline: Deadline,
    ) -> Transport:
        """Connects, and checks the server's key. Without a context there is no TLS."""
        left = deadline.remaining()
        try:
            sock = socket.create_connection((host, port), timeout=None if left is None else max(left, 0.001))
        except (OSError, UnicodeError) as error:
            raise ConnectFailed(f"cannot connect to {host} port {port}: {error}") from error
        transport = cls(sock, context)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _keep_alive(sock)
            if transport._tls is not None:
                assert fingerprint is not None
                transport._shake_hands(deadline)
                check_peer(transport._tls, fingerprint)
        except (DeadlineExceeded, ConnectionLost) as error:
            transport.close()
            raise ConnectFailed(f"no TLS session with {host} port {port}: {error.args[0]}") from error
        except BaseException:
            transport.close()
            raise
        return transport

    def _shake_hands(self, deadline: Deadline) -> None:
        assert self._tls is not None
        while True:
            try:
                self._tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                done = False
            except ssl.SSLError as error:
                with contextlib.suppress(OSError, DeadlineExceeded):
                    self._send_raw(self._outgoing.read(), Deadline(1))
                raise ConnectionLost(f"the TLS handshake failed: {error}", sent=False) from error
            self._send_raw(self._outgoing.read(), deadline)
            if done:
                return
            self._fill(deadline)

    def _fill(self, deadline: Deadline) -> None:
        """Takes some bytes from the socket into OpenSSL."""
        data = self._receive_raw(deadline)
        with self._lock:
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()

    def _receive_raw(self, deadline: Deadline) -> bytes:
        while True:
            try:
                return self._sock.recv(_PIECE)
            except (BlockingIOError, InterruptedError):
                if not self._readable.select(deadline.remaining()) and deadline.passed():
                    raise DeadlineExceeded("no answer in time") from None
            except OSError as error:
                raise ConnectionLost(f"the connection broke: {error}") from error

    def _wait_to_write(self, seconds: float) -> bool:
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._sock, selectors.EVENT_WRITE)
                return bool(selector.select(seconds))
        except (OSError, ValueError) as error:
            raise ConnectionLost("the connection was closed") from error

    def receive(self, deadline: Deadline) -> bytes:
        """Some bytes; none at the end. One thread at a time."""
        if self._tls is None:
            return self._receive_raw(deadline)
        while True:
            with self._lock:
                try:
                    data = self._tls.read(_PIECE)
                    # Nothing is read only behind the peer's close_notify.
                    self.orderly = not data and not self._shut
                    return data
                except ssl.SSLWantReadError:
                    pass
                except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                    return b""
                except ssl.SSLError as error:
                    if refuses_certificate(error):
                        raise CertificateRefused(
                            "the server refused the certificate of this client, or asks for one and was shown none: "
                            f"{error.reason}"
                        ) from error
                    raise ConnectionLost(f"the TLS connection broke: {error}") from error
            self._fill(deadline)

    def send(self, data: bytes, deadline: Deadline) -> None:
        """Sends all of it. One thread at a time.

        Raises `ConnectionLost`, whose `sent` says whether any byte may have reached the server. After an
        error nothing more may be sent.
        """
        if self._tls is None:
            self._send_raw(data, deadline)
            return
        sent = False
        view = memoryview(data)
        while view:
            with self._lock:
                try:
                    # OpenSSL may take less, and says how much.
                    taken = self._tls.write(view[:_PIECE])
                except ssl.SSLError as error:
                    raise ConnectionLost(f"the TLS connection broke: {error}", sent) from error
                sealed = self._outgoing.read()
            self._send_raw(sealed, deadline, sent)
            sent = True
            view = view[taken:]

    def _send_raw(self, data: memoryview | bytes, deadline: Deadline, sent: bool = False) -> None:
        view = memoryview(data)
        while view:
            try:
                count = self._sock.send(view)
            except (BlockingIOError, InterruptedError):
                left = deadline.remaining()
                wait = _STALL_SECONDS if left is None else min(left, _STALL_SECONDS)
                if not self._wait_to_write(wait):
                    raise DeadlineExceeded("the server does not read what is sent to it") from None
            except OSError as error:
                raise ConnectionLost(f"the connection broke: {error}", sent) from error
            else:
                sent = True
                view = view[count:]

    def shut(self) -> None:
        """Ends both directions, so that whoever waits for them wakes. May be called from any thread."""
        if self._shut:
            return
        self._shut = True
        farewell = b""
        if self._tls is not None and self._lock.acquire(timeout=1.0):
            try:
                with contextlib.suppress(ssl.SSLError, ValueError):
                    self._tls.unwrap()
                farewell = self._outgoing.read()
            finally:
                self._lock.release()
        with contextlib.suppress(OSError):
            if farewell:
                self._sock.send(farewell)
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Gives the socket back. Only the reader does, when it has ended."""
        self.shut()
        self._readable.close()
        self._sock.close()


def _keep_alive(sock: socket.socket) -> None:
    """Looks whether a silent server is still there: after 60 s, 6 times 10 s apart."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 6)):
        option = getattr(socket, name, None)
        if option is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
