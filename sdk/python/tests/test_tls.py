"""The fingerprint: the walk through certificates, and connections to servers that are not what they should be."""

from __future__ import annotations

import random
import ssl
import unittest

from support import CERTIFICATES, FINGERPRINT, OTHER_FINGERPRINT, Peer, client_of, server_context, serving

from planck import (
    CertificateRefused,
    Client,
    ClientCertificate,
    ConnectFailed,
    FingerprintMismatch,
    ProtocolError,
    UsageError,
    fingerprint_of_pem,
)
from planck.packets import Empty
from planck.tls import fingerprint_of, parse_fingerprint, public_key_info

RSA_FINGERPRINT = "4269b39b349ca813688bf51a7ae5e82a03a588d01db11b58465349fa48ece13d"


def pem(name: str) -> str:
    return (CERTIFICATES / f"{name}.pem").read_text()


def der(name: str) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem(name))


def element(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    raw = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(raw)]) + raw + content


def certificate(*parts: bytes) -> bytes:
    return element(0x30, element(0x30, b"".join(parts)) + element(0x30, b""))


class Fingerprints(unittest.TestCase):
    def test_they_are_what_openssl_computes(self) -> None:
        """`openssl x509 -pubkey -noout | openssl pkey -pubin -outform DER | sha256sum`."""
        self.assertEqual(fingerprint_of(der("server")), FINGERPRINT)
        self.assertEqual(fingerprint_of(der("other")), OTHER_FINGERPRINT)
        self.assertEqual(fingerprint_of(der("rsa")), RSA_FINGERPRINT)

    def test_a_renewed_certificate_has_the_same(self) -> None:
        self.assertNotEqual(der("renewed"), der("server"))
        self.assertEqual(fingerprint_of(der("renewed")), FINGERPRINT)
        self.assertEqual(fingerprint_of(der("expired")), FINGERPRINT)

    def test_the_first_certificate_of_a_chain_counts(self) -> None:
        self.assertEqual(fingerprint_of_pem("text\n" + pem("server") + pem("other")), FINGERPRINT)
        for text in ("", "-----BEGIN CERTIFICATE-----", pem("server")[:-30], pem("server").replace("MII", "M!I", 1)):
            with self.subTest(text[:40]), self.assertRaises((UsageError, ProtocolError)):
                fingerprint_of_pem(text)

    def test_how_they_are_written(self) -> None:
        colons = ":".join(FINGERPRINT[at : at + 2] for at in range(0, 64, 2)).upper()
        for text in (FINGERPRINT, FINGERPRINT.upper(), colons, f"  {FINGERPRINT}\n"):
            self.assertEqual(parse_fingerprint(text), FINGERPRINT)
        for text in ("", FINGERPRINT[1:], FINGERPRINT + "0", "g" + FINGERPRINT[1:], "٣" + FINGERPRINT[1:]):
            with self.subTest(text), self.assertRaises(UsageError):
                parse_fingerprint(text)


class Walk(unittest.TestCase):
    NUMBER, ITEM, KEY = element(0x02, b"\1"), element(0x30, b""), element(0x30, b"key")

    def test_with_and_without_a_version(self) -> None:
        rest = (self.NUMBER, self.ITEM, self.ITEM, self.ITEM, self.ITEM, self.KEY)
        self.assertEqual(public_key_info(certificate(*rest)), self.KEY)
        self.assertEqual(public_key_info(certificate(element(0xA0, element(2, b"\2")), *rest)), self.KEY)

    def test_lengths_of_each_size(self) -> None:
        for size in (0, 0x7F, 0x80, 0xFF, 0x100, 0xFFFF, 0x10000):
            key = element(0x30, bytes(size))
            parts = (self.NUMBER, self.ITEM, self.ITEM, self.ITEM, self.ITEM, key)
            self.assertEqual(public_key_info(certificate(*parts)), key)

    def test_each_prefix_is_refused(self) -> None:
        whole = der("server")
        for length in range(len(whole)):
            with self.assertRaises(ProtocolError):
                public_key_info(whole[:length])
        with self.assertRaises(ProtocolError):
            public_key_info(whole + b"\0")

    def test_forms_that_are_not_der(self) -> None:
        parts = (self.NUMBER, self.ITEM, self.ITEM, self.ITEM, self.ITEM)
        for name, data in {
            "no length": certificate(*parts, b"\x30"),
            "indefinite": certificate(*parts, b"\x30\x80key\0\0"),
            "longer than it need be": certificate(*parts, b"\x30\x81\x03key"),
            "leading zero": certificate(*parts, b"\x30\x82\x00\x80" + bytes(0x80)),
            "five bytes of length": certificate(*parts, b"\x30\x85\x01\x00\x00\x00\x00"),
            "beyond the end": certificate(*parts, b"\x30\x04key"),
            "a long tag": certificate(*parts, b"\x3f\x03key"),
            "the key is no sequence": certificate(*parts, element(0x31, b"key")),
            "no key": certificate(*parts),
            "no number": certificate(*parts[1:], self.KEY, self.KEY),
            "a set": b"\x31" + certificate(*parts, self.KEY)[1:],
        }.items():
            with self.subTest(name), self.assertRaises(ProtocolError):
                public_key_info(data)

    def test_no_bytes_do_harm(self) -> None:
        rng = random.Random(22)
        whole = der("rsa")
        for _ in range(3000):
            broken = bytearray(whole)
            for _ in range(rng.randrange(1, 4)):
                broken[rng.randrange(60 if rng.random() < 0.7 else len(broken))] = rng.randrange(256)
            try:
                found = public_key_info(bytes(broken))
            except ProtocolError:
                continue
            self.assertIn(found, bytes(broken))


def hello(peer: Peer) -> None:
    peer.accept_auth()
    peer.serve(lambda op, fields: Empty())


class Connecting(unittest.TestCase):
    def test_the_right_server(self) -> None:
        for name in ("server", "renewed", "expired"):
            with self.subTest(name), serving(hello, context=server_context(name)) as server:
                with client_of(server, fingerprint=FINGERPRINT) as client:
                    client.ping()

    def test_another_key_is_refused_before_anything_is_sent(self) -> None:
        with serving(hello, context=server_context("other")) as server:
            with client_of(server, fingerprint=FINGERPRINT) as client:
                with self.assertRaises(FingerprintMismatch) as caught:
                    client.ping()
        self.assertEqual((caught.exception.expected, caught.exception.found), (FINGERPRINT, OTHER_FINGERPRINT))
        self.assertIn(FINGERPRINT, str(caught.exception))
        self.assertIn(OTHER_FINGERPRINT, str(caught.exception))
        self.assertEqual([peer.seen for peer in server.peers if peer.seen], [])

    def test_another_alpn_is_refused(self) -> None:
        for alpn in (None, "planck/2", "h2"):
            with self.subTest(alpn), serving(hello, context=server_context(alpn=alpn)) as server:
                with client_of(server, fingerprint=FINGERPRINT, retries=0) as client:
                    with self.assertRaises((ProtocolError, ConnectFailed)):
                        client.ping()
                self.assertEqual([peer.seen for peer in server.peers if peer.seen], [])

    def test_an_older_tls_is_refused(self) -> None:
        context = server_context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with serving(hello, context=context) as server:
            with client_of(server, fingerprint=FINGERPRINT, retries=0) as client:
                with self.assertRaises(ConnectFailed):
                    client.ping()

    def test_there_is_no_falling_back_to_plaintext(self) -> None:
        first: list[bytes] = []
        with serving(lambda peer: first.append(peer.sock.recv(1 << 16))) as server:
            with client_of(server, fingerprint=FINGERPRINT, retries=0) as client:
                with self.assertRaises(ConnectFailed):
                    client.ping()
        self.assertEqual([(data[0], b"battery" in data) for data in first], [(0x16, False)])

    def test_one_of_the_two_must_be_said(self) -> None:
        for options in ({}, {"plaintext": True, "fingerprint": FINGERPRINT}):
            with self.assertRaises(UsageError):
                Client("localhost", user="ann", key="k", **options)  # type: ignore[arg-type]

    def test_a_client_certificate(self) -> None:
        context = server_context()
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(CERTIFICATES / "client.pem")
        shown = ClientCertificate(CERTIFICATES / "client.pem", CERTIFICATES / "client.key")
        with serving(hello, context=context) as server:
            with client_of(server, fingerprint=FINGERPRINT, client_certificate=shown) as client:
                client.ping()
            # The handshake succeeds all the same: it is told at the first read, and not asked again.
            with client_of(server, fingerprint=FINGERPRINT, retries=3) as client:
                with self.assertRaises(CertificateRefused):
                    client.ping()
            self.assertEqual(len(server._threads), 2)
        with self.assertRaises(UsageError):
            client_of(server, fingerprint=FINGERPRINT, client_certificate=ClientCertificate("/no/such/file"))

    def test_large_packets(self) -> None:
        """Many records of TLS each way."""
        with serving(hello, context=server_context()) as server:
            with client_of(server, fingerprint=FINGERPRINT) as client:
                with self.assertRaises(ProtocolError):
                    client.store("a").insert({"a": "x" * 900_000})  # answered with Empty, which is no key
        self.assertGreater(max(len(packet.body) for packet in server.peers[0].seen), 900_000)


if __name__ == "__main__":
    unittest.main()
