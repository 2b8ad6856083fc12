"""TLS as the protocol asks for it, and the fingerprint that a server is known by.

What must stay true: version 1.3 and no other, ALPN `planck/1`, and a peer whose public key has exactly the
fingerprint that was given; names, dates and issuers of certificates decide nothing. The walk through a
certificate never reads outside of its bytes, whatever they are, and takes no form but DER.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import ssl
from dataclasses import dataclass

from .errors import FingerprintMismatch, ProtocolError, UsageError

ALPN = "planck/1"

_SEQUENCE = 0x30
_INTEGER = 0x02
_VERSION = 0xA0


@dataclass(frozen=True)
class ClientCertificate:
    """What a client shows of itself, if the server asks: files in PEM."""

    cert_file: str | os.PathLike[str]
    key_file: str | os.PathLike[str] | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"ClientCertificate({os.fspath(self.cert_file)!r})"


def parse_fingerprint(text: str) -> str:
    """A fingerprint as 64 lowercase digits, from either case, with or without colons and space around it."""
    digits = text.strip().replace(":", "").lower()
    if len(digits) != 64 or any(digit not in "0123456789abcdef" for digit in digits):
        raise UsageError("a fingerprint is 64 hexadecimal digits, as `planck` prints it when it starts")
    return digits


def fingerprint_of(certificate: bytes) -> str:
    """The fingerprint of a certificate in DER: SHA-256 of its SubjectPublicKeyInfo."""
    return hashlib.sha256(public_key_info(certificate)).hexdigest()


def fingerprint_of_pem(text: str) -> str:
    """The fingerprint of the first certificate of a file in PEM."""
    start = text.find("-----BEGIN CERTIFICATE-----")
    end_line = "-----END CERTIFICATE-----"
    end = text.find(end_line, start)
    if start < 0 or end < 0:
        raise UsageError("there is no certificate in this file")
    try:
        return fingerprint_of(ssl.PEM_cert_to_DER_cert(text[start : end + len(end_line)]))
    except ValueError as error:
        raise UsageError("the certificate in this file is damaged") from error


def public_key_info(certificate: bytes) -> bytes:
    """The SubjectPublicKeyInfo of a certificate, its tag and length included.

    Certificate is a sequence that begins with TBSCertificate, which is: version [0] if it is not 1,
    serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo, and more.
    """
    tag, start, end = _element(certificate, 0, len(certificate))
    if tag != _SEQUENCE or end != len(certificate):
        raise ProtocolError("the server's certificate is not one DER sequence")
    tag, pos, stop = _element(certificate, start, end)
    if tag != _SEQUENCE:
        raise ProtocolError("the server's certificate has no body")
    if pos < stop and certificate[pos] == _VERSION:
        _, _, pos = _element(certificate, pos, stop)
    for expected in (_INTEGER, _SEQUENCE, _SEQUENCE, _SEQUENCE, _SEQUENCE):
        tag, _, pos = _element(certificate, pos, stop)
        if tag != expected:
            raise ProtocolError("the server's certificate is not of the form of X.509")
    tag, _, end = _element(certificate, pos, stop)
    if tag != _SEQUENCE:
        raise ProtocolError("the server's certificate has no public key where it must be")
    return certificate[pos:end]


def _element(data: bytes, pos: int, stop: int) -> tuple[int, int, int]:
    """The tag of the element at `pos`, where its content begins and where it ends, within `stop`."""
    if stop - pos < 2:
        raise ProtocolError("the server's certificate is cut short")
    tag, length = data[pos], data[pos + 1]
    if tag & 0x1F == 0x1F:
        raise ProtocolError("the server's certificate has a tag that X.509 does not")
    pos += 2
    if length >= 0x80:
        count = length & 0x7F
        if not 1 <= count <= 4 or count > stop - pos:
            raise ProtocolError("the server's certificate has a length that is not DER")
        length = int.from_bytes(data[pos : pos + count], "big")
        if length < 0x80 or data[pos] == 0:
            raise ProtocolError("the server's certificate has a length that is not DER")
        pos += count
    if length > stop - pos:
        raise ProtocolError("the server's certificate is cut short")
    return tag, pos, pos + length


def make_context(client_certificate: ClientCertificate | None = None) -> ssl.SSLContext:
    """The settings of all connections.

    The chain is not verified: the fingerprint takes its place. OpenSSL still checks that the server has
    the private key of the certificate that it shows.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([ALPN])
    if client_certificate is not None:
        password = client_certificate.password
        try:
            context.load_cert_chain(client_certificate.cert_file, client_certificate.key_file, lambda: password or "")
        except (OSError, ValueError) as error:
            raise UsageError(f"the client's certificate cannot be used: {error}") from error
    return context


def refuses_certificate(error: ssl.SSLError) -> bool:
    """Whether it is an alert about this client's certificate. In TLS 1.3 one comes at the first read, not before."""
    reason = error.reason or ""
    return "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason)


def check_peer(tls: ssl.SSLObject, fingerprint: str) -> None:
    """Asks that a handshake that is done led to the server that is meant. Nothing was sent to it before."""
    if tls.version() != "TLSv1.3":
        raise ProtocolError(f"the server speaks {tls.version()}, not TLS 1.3")
    if tls.selected_alpn_protocol() != ALPN:
        raise ProtocolError(f"the server does not speak {ALPN}: is this the address of a Planck server?")
    certificate = tls.getpeercert(binary_form=True)
    if not certificate:
        raise ProtocolError("the server showed no certificate")
    found = fingerprint_of(certificate)
    if not hmac.compare_digest(found, fingerprint):
        raise FingerprintMismatch(fingerprint, found)
