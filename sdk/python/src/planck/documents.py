"""Documents as bytes: the part of BSON that Planck stores.

What must stay true: whatever the bytes are, reading them gives a document or a `DocumentError`, in time
and memory that their length bounds; what was read and is written again has the same bytes; nothing is
written that the server refuses for its form.

| BSON | read as | also written from |
|---|---|---|
| double | float | |
| string | str | |
| document | dict | any Mapping |
| array | list | tuple |
| binary | bytes, uuid.UUID, Binary | bytearray |
| objectId | ObjectId | |
| bool | bool | |
| dateTime | datetime in UTC; DateTime outside its years | any datetime with a time zone |
| null | None | |
| regex | Regex | |
| int32 | int | |
| int64 | Int64 | an int that needs it |
| timestamp | Timestamp | |
| decimal128 | Decimal128 | decimal.Decimal |
| minKey, maxKey | MinKey, MaxKey | |
"""

from __future__ import annotations

import datetime
import decimal
import struct
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from .errors import DocumentError, UsageError
from .values import (
    Binary,
    DateTime,
    Decimal128,
    Int64,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
    is_signed,
)

Document = dict[str, Any]

MAX_DEPTH = 64
"""Documents and arrays in each other, sent or received, the outermost counted."""

_I32 = struct.Struct("<i")
_I64 = struct.Struct("<q")
_F64 = struct.Struct("<d")
_STAMP = struct.Struct("<II")
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_MILLI = datetime.timedelta(milliseconds=1)
_OLD_BINARY = 2


def encode(document: Mapping[str, Any]) -> bytes:
    """The bytes of a document."""
    if not isinstance(document, Mapping):
        raise DocumentError(f"a document is a mapping of names to values, not {type(document).__name__}")
    out = bytearray()
    _write_document(out, document, 1)
    return bytes(out)


def _write_document(out: bytearray, document: Mapping[str, Any], depth: int) -> None:
    _check_depth(depth)
    start = len(out)
    out += b"\0\0\0\0"
    for name, value in document.items():
        if not isinstance(name, str):
            raise DocumentError(f"a field's name is a text, not {type(name).__name__}")
        _write_element(out, _name(name), value, depth)
    _end(out, start)


def _write_array(out: bytearray, items: list[Any] | tuple[Any, ...], depth: int) -> None:
    _check_depth(depth)
    start = len(out)
    out += b"\0\0\0\0"
    for at, item in enumerate(items):
        _write_element(out, b"%d\0" % at, item, depth)
    _end(out, start)


def _check_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise DocumentError(f"documents and arrays may be nested {MAX_DEPTH} deep")


def _end(out: bytearray, start: int) -> None:
    out.append(0)
    length = len(out) - start
    if not is_signed(length, 32):
        raise DocumentError("a document is shorter than 2 GiB")
    _I32.pack_into(out, start, length)


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise DocumentError("a text holds half of a surrogate pair, which UTF-8 cannot") from error


def _name(text: str) -> bytes:
    raw = _utf8(text)
    if b"\0" in raw:
        raise DocumentError("a field's name holds no NUL")
    return raw + b"\0"


def _put(out: bytearray, kind: int, name: bytes, value: bytes = b"") -> None:
    out.append(kind)
    out += name
    out += value


def _write_element(out: bytearray, name: bytes, value: Any, depth: int) -> None:
    if value is None:
        _put(out, 0x0A, name)
    elif isinstance(value, str):
        raw = _utf8(value)
        _put(out, 0x02, name, _length(len(raw) + 1) + raw + b"\0")
    elif isinstance(value, bool):
        _put(out, 0x08, name, b"\1" if value else b"\0")
    elif isinstance(value, int):
        if not isinstance(value, Int64) and is_signed(value, 32):
            _put(out, 0x10, name, _I32.pack(value))
        elif is_signed(value, 64):
            _put(out, 0x12, name, _I64.pack(value))
        else:
            raise DocumentError("an integer has at most 64 bits; a Decimal holds 34 digits")
    elif isinstance(value, float):
        _put(out, 0x01, name, _F64.pack(value))
    elif isinstance(value, Mapping):
        _put(out, 0x03, name)
        _write_document(out, value, depth + 1)
    elif isinstance(value, (list, tuple)):
        _put(out, 0x04, name)
        _write_array(out, value, depth + 1)
    elif isinstance(value, (bytes, bytearray)):
        _put(out, 0x05, name, _length(len(value)) + b"\0" + value)
    elif isinstance(value, datetime.datetime):
        _put(out, 0x09, name, _I64.pack(_millis(value)))
    else:
        _write_rare(out, name, value)


def _write_rare(out: bytearray, name: bytes, value: Any) -> None:
    if isinstance(value, uuid.UUID):
        _put(out, 0x05, name, _length(16) + b"\4" + value.bytes)
    elif isinstance(value, Binary):
        if value.subtype == _OLD_BINARY:
            raise DocumentError("binary of subtype 2 is not stored; use subtype 0")
        _put(out, 0x05, name, _length(len(value.data)) + bytes([value.subtype]) + value.data)
    elif isinstance(value, ObjectId):
        _put(out, 0x07, name, value.raw)
    elif isinstance(value, DateTime):
        _put(out, 0x09, name, _I64.pack(value.millis))
    elif isinstance(value, Regex):
        _put(out, 0x0B, name, _name(value.pattern) + _name(value.options))
    elif isinstance(value, Timestamp):
        _put(out, 0x11, name, _STAMP.pack(value.counter, value.seconds))
    elif isinstance(value, Decimal128):
        _put(out, 0x13, name, value.raw)
    elif isinstance(value, decimal.Decimal):
        try:
            _put(out, 0x13, name, Decimal128.of(value).raw)
        except UsageError as error:
            raise DocumentError(str(error)) from error
    elif isinstance(value, MinKey):
        _put(out, 0xFF, name)
    elif isinstance(value, MaxKey):
        _put(out, 0x7F, name)
    else:
        raise DocumentError(f"a document cannot hold a value of type {type(value).__name__}")


def _length(number: int) -> bytes:
    if not is_signed(number, 32):
        raise DocumentError("a value is shorter than 2 GiB")
    return _I32.pack(number)


def _millis(value: datetime.datetime) -> int:
    if value.tzinfo is None or value.utcoffset() is None:
        raise DocumentError("a datetime needs a time zone: which moment is meant?")
    return (value - _EPOCH) // _MILLI


def decode(data: bytes) -> Document:
    """The document that the bytes are, all of them."""
    try:
        document, end = _read_document(data, 0, len(data), MAX_DEPTH)
    except UnicodeDecodeError as error:
        raise DocumentError("a text in the document is not UTF-8") from error
    if end != len(data):
        raise DocumentError(f"{len(data) - end} bytes behind the end of the document")
    return document


def _frame(data: bytes, pos: int, end: int, depth: int) -> int:
    """Where the document that begins at `pos` has its final 00."""
    if depth <= 0:
        raise DocumentError("the document is nested too deep")
    if end - pos < 5:
        raise DocumentError("the document is cut short")
    length: int = _I32.unpack_from(data, pos)[0]
    if length < 5 or length > end - pos:
        raise DocumentError("the length of a document does not fit")
    stop = pos + length - 1
    if data[stop] != 0:
        raise DocumentError("a document does not end with 00")
    return stop


def _read_document(data: bytes, pos: int, end: int, depth: int) -> tuple[Document, int]:
    stop = _frame(data, pos, end, depth)
    pos += 4
    document: Document = {}
    while pos < stop:
        kind = data[pos]
        zero = data.find(0, pos + 1, stop)
        if zero < 0:
            raise DocumentError("a field's name does not end")
        name = data[pos + 1 : zero].decode()
        if name in document:
            raise DocumentError("a field is there twice")
        document[name], pos = _read_value(kind, data, zero + 1, stop, depth)
    return document, stop + 1


def _read_array(data: bytes, pos: int, end: int, depth: int) -> tuple[list[Any], int]:
    stop = _frame(data, pos, end, depth)
    pos += 4
    items: list[Any] = []
    while pos < stop:
        kind = data[pos]
        name = b"%d\0" % len(items)
        if not data.startswith(name, pos + 1, stop):
            raise DocumentError("the items of an array are not named 0, 1, 2 and on")
        item, pos = _read_value(kind, data, pos + 1 + len(name), stop, depth)
        items.append(item)
    return items, stop + 1


def _read_value(kind: int, data: bytes, pos: int, end: int, depth: int) -> tuple[Any, int]:
    if kind == 0x03:
        return _read_document(data, pos, end, depth - 1)
    if kind == 0x04:
        return _read_array(data, pos, end, depth - 1)
    if kind == 0x02:
        stop = _run(data, pos, end, 1)
        if data[stop - 1] != 0:
            raise DocumentError("a text does not end with 00")
        return data[pos + 4 : stop - 1].decode(), stop
    if kind == 0x05:
        return _read_binary(data, pos, end)
    if kind == 0x0B:
        first = data.find(0, pos, end)
        second = data.find(0, first + 1, end) if first >= 0 else -1
        if second < 0:
            raise DocumentError("a regular expression does not end")
        return Regex(data[pos:first].decode(), data[first + 1 : second].decode()), second + 1
    fixed = _FIXED.get(kind)
    if fixed is None:
        raise DocumentError(f"a value is of type {kind:02x}, which documents do not have")
    size, make = fixed
    if size > end - pos:
        raise DocumentError("a value is cut short")
    return make(data[pos : pos + size]), pos + size


def _run(data: bytes, pos: int, end: int, least: int) -> int:
    """The end of what begins at `pos` with its length in four bytes."""
    if end - pos < 4:
        raise DocumentError("a value is cut short")
    length: int = _I32.unpack_from(data, pos)[0]
    if length < least or length > end - pos - 4:
        raise DocumentError("the length of a value does not fit")
    return pos + 4 + length


def _read_binary(data: bytes, pos: int, end: int) -> tuple[Any, int]:
    stop = _run(data, pos, end - 1, 0) + 1
    subtype = data[pos + 4]
    raw = data[pos + 5 : stop]
    if subtype == 0:
        return raw, stop
    if subtype == _OLD_BINARY:
        raise DocumentError("binary of subtype 2")
    if subtype == 4 and len(raw) == 16:
        return uuid.UUID(bytes=raw), stop
    return Binary(raw, subtype), stop


def _read_bool(raw: bytes) -> bool:
    if raw[0] > 1:
        raise DocumentError("a bool is neither 0 nor 1")
    return raw[0] == 1


def _read_datetime(raw: bytes) -> datetime.datetime | DateTime:
    millis: int = _I64.unpack(raw)[0]
    try:
        return _EPOCH + datetime.timedelta(milliseconds=millis)
    except OverflowError:
        return DateTime(millis)


def _read_timestamp(raw: bytes) -> Timestamp:
    counter, seconds = _STAMP.unpack(raw)
    return Timestamp(seconds, counter)


_FIXED: dict[int, tuple[int, Callable[[bytes], Any]]] = {
    0x01: (8, lambda raw: _F64.unpack(raw)[0]),
    0x07: (12, ObjectId),
    0x08: (1, _read_bool),
    0x09: (8, _read_datetime),
    0x0A: (0, lambda raw: None),
    0x10: (4, lambda raw: _I32.unpack(raw)[0]),
    0x11: (8, _read_timestamp),
    0x12: (8, lambda raw: Int64(_I64.unpack(raw)[0])),
    0x13: (16, Decimal128),
    0xFF: (0, lambda raw: MinKey()),
    0x7F: (0, lambda raw: MaxKey()),
}
