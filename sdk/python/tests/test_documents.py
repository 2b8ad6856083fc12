"""Documents: all types both ways, what is refused, and that no bytes do harm."""

from __future__ import annotations

import datetime
import decimal
import random
import struct
import unittest
import uuid
from collections.abc import Callable
from typing import Any

import support

from planck import (
    Binary,
    DateTime,
    Decimal128,
    DocumentError,
    Int64,
    Key,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
    UsageError,
    decode,
    encode,
)
from planck.documents import MAX_DEPTH

UTC = datetime.timezone.utc


def document(*elements: bytes) -> bytes:
    body = b"".join(elements)
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


def random_value(rng: random.Random, depth: int) -> Any:
    kinds = 18 if depth else 16
    kind = rng.randrange(kinds)
    if kind == 16:
        return random_document(rng, depth - 1)
    if kind == 17:
        return [random_value(rng, depth - 1) for _ in range(rng.randrange(12))]
    makers: list[Callable[[], Any]] = [
        lambda: None,
        lambda: rng.random() < 0.5,
        lambda: rng.choice([0, 1, -1, (1 << 31) - 1, -(1 << 31), rng.randint(-(1 << 31), (1 << 31) - 1)]),
        lambda: Int64(rng.choice([0, 5, (1 << 63) - 1, -(1 << 63), rng.randint(-(1 << 63), (1 << 63) - 1)])),
        lambda: rng.choice([0.0, -0.0, 1.5, float("inf"), rng.uniform(-1e300, 1e300)]),
        lambda: "".join(rng.choice("aé\0\U0001f600$.") for _ in range(rng.randrange(9))),
        lambda: rng.randbytes(rng.randrange(20)),
        lambda: uuid.UUID(bytes=rng.randbytes(16)),
        lambda: Binary(rng.randbytes(rng.randrange(20)), rng.choice([1, 3, 5, 6, 128, 255])),
        lambda: ObjectId(rng.randbytes(12)),
        lambda: datetime.datetime.fromtimestamp(rng.randint(-60_000_000_000, 200_000_000_000), UTC),
        lambda: DateTime(rng.choice([-(1 << 63), (1 << 63) - 1])),
        lambda: Timestamp(rng.randrange(1 << 32), rng.randrange(1 << 32)),
        lambda: Regex("^a(é)", rng.choice(["", "i", "im"])),
        lambda: Decimal128(rng.randbytes(16)),
        lambda: rng.choice([MinKey(), MaxKey()]),
    ]
    return makers[kind]()


def random_document(rng: random.Random, depth: int) -> dict[str, Any]:
    names = ["", "a", "é", "0", "$x", "a.b", "key"] + [f"f{n}" for n in range(9)]
    return {name: random_value(rng, depth) for name in rng.sample(names, rng.randrange(8))}


class RoundTrips(unittest.TestCase):
    def test_random_documents(self) -> None:
        rng = random.Random(20)
        for _ in range(400):
            value = random_document(rng, 4)
            data = encode(value)
            again = decode(data)
            self.assertEqual(again, value)
            self.assertEqual(list(again), list(value))
            self.assertEqual(encode(again), data)

    def test_types_are_kept(self) -> None:
        value = {"small": 1, "wide": Int64(1), "float": 1.0, "yes": True}
        again = decode(encode(value))
        self.assertEqual({name: type(v) for name, v in again.items()}, {n: type(v) for n, v in value.items()})

    def test_an_int_takes_32_bits_if_it_fits(self) -> None:
        for number, kind in ((1 << 31) - 1, 0x10), (1 << 31, 0x12), (-(1 << 31), 0x10), (-(1 << 31) - 1, 0x12):
            self.assertEqual(encode({"a": number})[4], kind)
            self.assertEqual(decode(encode({"a": number})), {"a": number})

    def test_other_python_values(self) -> None:
        offset = datetime.timezone(datetime.timedelta(hours=2))
        written = {
            "tuple": (1, 2),
            "decimal": decimal.Decimal("1.10"),
            "bytearray": bytearray(b"ab"),
            "zone": datetime.datetime(2013, 1, 1, 5, 15, 0, 999_999, tzinfo=offset),
        }
        read = {
            "tuple": [1, 2],
            "decimal": Decimal128.of("1.10"),
            "bytearray": b"ab",
            "zone": datetime.datetime(2013, 1, 1, 3, 15, 0, 999_000, tzinfo=UTC),
        }
        self.assertEqual(decode(encode(written)), read)

    def test_nan(self) -> None:
        value = decode(encode({"a": float("nan")}))["a"]
        self.assertNotEqual(value, value)

    def test_moments_at_the_edge_of_datetime(self) -> None:
        first = datetime.datetime(1, 1, 1, tzinfo=UTC)
        last = datetime.datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)
        self.assertEqual(decode(encode({"a": first, "b": last})), {"a": first, "b": last})
        millis = struct.unpack_from("<q", encode({"a": first}), 7)[0]
        self.assertEqual(decode(encode({"a": DateTime(millis - 1)})), {"a": DateTime(millis - 1)})
        self.assertEqual(decode(encode({"a": DateTime(millis)})), {"a": first})

    def test_depth_at_its_edge(self) -> None:
        self.assertEqual(decode(encode(nested(MAX_DEPTH))), nested(MAX_DEPTH))
        with self.assertRaises(DocumentError):
            encode(nested(MAX_DEPTH + 1))
        with self.assertRaises(DocumentError):
            encode({"a": [nested(MAX_DEPTH - 1)]})
        data = encode(nested(MAX_DEPTH))
        deeper = (len(data) + 8).to_bytes(4, "little") + b"\3a\0" + data + b"\0"
        with self.assertRaises(DocumentError):
            decode(deeper)
        with self.assertRaises(DocumentError):
            decode((len(data) + 8).to_bytes(4, "little") + b"\4" + b"0\0" + data + b"\0")

    def test_a_document_within_itself(self) -> None:
        value: dict[str, Any] = {}
        value["a"] = [value]
        with self.assertRaises(DocumentError):
            encode(value)


class Refused(unittest.TestCase):
    def test_what_cannot_be_written(self) -> None:
        for value in (
            1 << 63,
            -(1 << 63) - 1,
            object(),
            {1: 2},
            {"a\0": 1},
            "\ud800",
            {"\ud800": 1},
            datetime.datetime(2013, 1, 1),
            datetime.date(2013, 1, 1),
            Binary(b"", 2),
            decimal.Decimal("1E7000"),
            {1, 2},
            1j,
        ):
            with self.subTest(repr(value)), self.assertRaises(DocumentError):
                encode({"a": value})
        with self.assertRaises(DocumentError):
            encode([1])  # type: ignore[arg-type]

    def test_what_cannot_be_read(self) -> None:
        nil = b"\x0aa\0"
        for name, data in {
            "nothing": b"",
            "four bytes": b"\4\0\0\0",
            "shorter than it says": document(nil)[:-1],
            "longer than it says": document(nil) + b"\0",
            "a length below 5": b"\4\0\0\0\0",
            "a negative length": b"\xff\xff\xff\xff\0",
            "no 00 at the end": b"\5\0\0\0\1",
            "a name without end": document(b"\x0aa"),
            "a name twice": document(nil, nil),
            "undefined": document(b"\x06a\0"),
            "a pointer": document(b"\x0ca\0\2\0\0\0a\0" + bytes(12)),
            "code": document(b"\x0da\0\2\0\0\0a\0"),
            "symbol": document(b"\x0ea\0\2\0\0\0a\0"),
            "code with scope": document(b"\x0fa\0" + bytes(20)),
            "type 00": document(b"\x00a\0"),
            "old binary": document(b"\x05a\0\0\0\0\0\2"),
            "a bool of 2": document(b"\x08a\0\2"),
            "a text without 00": document(b"\x02a\0\2\0\0\0ab"),
            "a text of length 0": document(b"\x02a\0\0\0\0\0"),
            "a text longer than the document": document(b"\x02a\0\xff\0\0\0a\0"),
            "a text of negative length": document(b"\x02a\0\xff\xff\xff\xffa\0"),
            "a text that is not UTF-8": document(b"\x02a\0\2\0\0\0\xff\0"),
            "a name that is not UTF-8": document(b"\x0a\xff\0"),
            "binary beyond the document": document(b"\x05a\0\2\0\0\0\0a"),
            "binary of negative length": document(b"\x05a\0\xff\xff\xff\xff\0"),
            "a regex without options": document(b"\x0ba\0a\0"),
            "an int cut short": document(b"\x10a\0\1\0\0"),
            "an array that begins with 1": document(b"\x04a\0" + document(b"\x0a1\0")),
            "an array with 00 for 0": document(b"\x04a\0" + document(b"\x0a00\0")),
            "an array that counts 0, 2": document(b"\x04a\0" + document(b"\x0a0\0", b"\x0a2\0")),
            "a document that overlaps": document(b"\x03a\0" + b"\x07\0\0\0\0"),
        }.items():
            with self.subTest(name), self.assertRaises(DocumentError):
                decode(data)

    def test_no_bytes_do_harm(self) -> None:
        """Changed, cut and invented bytes: a document that makes bytes again, or an error."""
        rng = random.Random(21)
        for _ in range(60):
            data = encode(random_document(rng, 3))
            for _ in range(40):
                broken = bytearray(data)
                for _ in range(rng.randrange(1, 4)):
                    broken[rng.randrange(len(broken))] = rng.choice([0, 1, 4, 0x7F, 0xFF, rng.randrange(256)])
                if rng.random() < 0.2:
                    del broken[rng.randrange(len(broken)) :]
                try:
                    value = decode(bytes(broken))
                except DocumentError:
                    continue
                self.assertEqual(encode(value), bytes(broken))


class Values(unittest.TestCase):
    def test_decimals(self) -> None:
        for text in ("0", "-0", "1", "-1.50", "123.45", "9" * 34, "1E+6144", "1E-6176", "0E+6111", "0E-6176"):
            with self.subTest(text):
                exact = decimal.Decimal(text)
                value = Decimal128.of(text)
                self.assertEqual(value.to_decimal(), exact)
                self.assertEqual(value.to_decimal().is_signed(), exact.is_signed())
                self.assertEqual(Decimal128.of(value.to_decimal()), value)
        for text in ("NaN", "sNaN", "Infinity", "-Infinity"):
            self.assertEqual(str(Decimal128.of(text)), text)
        self.assertEqual(str(Decimal128.of("1.10")), "1.10")
        self.assertEqual(str(Decimal128.of("0E+7000")), "0E+6111")
        self.assertEqual(Decimal128.of("1" + "0" * 40).to_decimal(), decimal.Decimal(10) ** 40)
        for text in ("9" * 35, "1E6145", "1E-6177", "1.5E-6176", "NaN7", "one", ""):
            with self.subTest(text), self.assertRaises(UsageError):
                Decimal128.of(text)

    def test_decimals_of_no_canonical_form_are_zero(self) -> None:
        bits = (0b11 << 125) | (6176 << 111) | 5
        self.assertEqual(Decimal128(bits.to_bytes(16, "little")).to_decimal(), 0)
        bits = (6176 << 113) | 10**34
        self.assertEqual(Decimal128(bits.to_bytes(16, "little")).to_decimal(), 0)

    def test_decimals_do_not_look_at_the_context(self) -> None:
        with decimal.localcontext() as context:
            context.prec = 3
            self.assertEqual(str(Decimal128.of("1.234567")), "1.234567")

    def test_keys(self) -> None:
        key = support.KEY
        self.assertEqual(str(key), "0190b0c2a1d07e3f8c4d5e6f708192a3")
        self.assertEqual(Key.of(str(key).upper()), key)
        self.assertEqual(Key.of(uuid.UUID(bytes=key.raw)), key)
        self.assertEqual(Key.of(key.raw), key)
        for bad in ("", "0" * 31, "0" * 33, "g" * 32, "0x" + "0" * 30, " " + "0" * 31, b"1", 5, None):
            with self.subTest(repr(bad)), self.assertRaises(UsageError):
                Key.of(bad)  # type: ignore[arg-type]
        self.assertIsNone(Key(b"\xff" * 16).successor())
        self.assertIsNone(Key(bytes(16)).predecessor())
        self.assertEqual(key.successor().predecessor(), key)  # type: ignore[union-attr]

    def test_new_keys_are_uuids_of_version_7(self) -> None:
        made = [Key.new() for _ in range(100)]
        self.assertEqual(len(set(made)), 100)
        for key in made:
            value = uuid.UUID(bytes=key.raw)
            self.assertEqual((value.version, value.variant), (7, uuid.RFC_4122))
        now = datetime.datetime.now(UTC).timestamp() * 1000
        self.assertLess(abs(int.from_bytes(made[0].raw[:6], "big") - now), 60_000)

    def test_values_at_their_edges(self) -> None:
        for make in (
            lambda: Int64(1 << 63),
            lambda: DateTime(1 << 63),
            lambda: Timestamp(1 << 32, 0),
            lambda: Timestamp(0, -1),
            lambda: ObjectId(b"1"),
            lambda: ObjectId.parse("zz"),
            lambda: Regex("a\0"),
            lambda: Binary(b"", 256),
            lambda: Decimal128(b""),
        ):
            with self.assertRaises(UsageError):
                make()


if __name__ == "__main__":
    unittest.main()
