"""The shapes of fields in the bodies of packets, written and read.

What must stay true: a value that does not fit its shape is refused before anything is sent; reading never
goes beyond the body, and makes nothing that the bytes of the body do not pay for.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from . import documents
from .documents import Document
from .errors import DocumentError, ProtocolError, UsageError
from .values import Key, KeyLike

NO_KEY = bytes(16)

_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


class Reader:
    """Takes a body apart from its beginning to its end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.pos = 0

    @property
    def left(self) -> int:
        """Bytes not taken yet."""
        return len(self.data) - self.pos

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if count > self.left:
            raise ProtocolError("the body of a packet is cut short")
        self.pos += count
        return self.data[self.pos - count : self.pos]

    def u8(self) -> int:
        """A u8."""
        return self.take(1)[0]

    def flag(self) -> bool:
        """A flag."""
        value = self.u8()
        if value > 1:
            raise ProtocolError("a flag is neither 0 nor 1")
        return value == 1

    def u16(self) -> int:
        """A u16."""
        return int(_U16.unpack(self.take(2))[0])

    def u32(self) -> int:
        """A u32."""
        return int(_U32.unpack(self.take(4))[0])

    def u64(self) -> int:
        """A u64."""
        return int(_U64.unpack(self.take(8))[0])

    def text(self, length: int) -> str:
        """So many bytes of UTF-8."""
        try:
            return self.take(length).decode()
        except UnicodeDecodeError as error:
            raise ProtocolError("a text in a packet is not UTF-8") from error

    def document(self) -> Document:
        """A document, as long as it says itself."""
        if self.left < 5:
            raise ProtocolError("the body of a packet is cut short")
        length = int.from_bytes(self.data[self.pos : self.pos + 4], "little")
        try:
            return documents.decode(self.take(length))
        except DocumentError as error:
            raise ProtocolError(f"a document in a packet cannot be read: {error}") from error

    def end(self) -> None:
        """Asks that nothing is left."""
        if self.left:
            raise ProtocolError(f"{self.left} bytes behind the end of a packet's last field")


class Shape(Protocol):
    """How one field of a request is written."""

    def put(self, out: bytearray, value: Any) -> None:
        """Appends a value."""

    def get(self, reader: Reader) -> Any:
        """Takes a value."""


class _Number:
    def __init__(self, form: struct.Struct) -> None:
        self._form = form
        self._end = 1 << 8 * form.size

    def put(self, out: bytearray, value: Any) -> None:
        if not isinstance(value, int) or not 0 <= value < self._end:
            raise UsageError(f"a number from 0 to {self._end - 1} is needed")
        out += self._form.pack(value)

    def get(self, reader: Reader) -> int:
        return int(self._form.unpack(reader.take(self._form.size))[0])


class _Flag:
    def put(self, out: bytearray, value: Any) -> None:
        out.append(1 if value else 0)

    def get(self, reader: Reader) -> bool:
        return reader.flag()


class _Key:
    def put(self, out: bytearray, value: Any) -> None:
        out += Key.of(value).raw

    def get(self, reader: Reader) -> Key:
        return Key(reader.take(16))


class _MaybeKey:
    def put(self, out: bytearray, value: Any) -> None:
        out.append(0 if value is None else 1)
        out += NO_KEY if value is None else Key.of(value).raw

    def get(self, reader: Reader) -> Key | None:
        there, raw = reader.flag(), reader.take(16)
        if not there and raw != NO_KEY:
            raise ProtocolError("a key that is not there is not zeros")
        return Key(raw) if there else None


class _Text:
    def __init__(self, form: struct.Struct) -> None:
        self._form = form
        self._end = 1 << 8 * form.size

    def put(self, out: bytearray, value: Any) -> None:
        if not isinstance(value, str):
            raise UsageError(f"a text is needed, not {type(value).__name__}")
        try:
            raw = value.encode()
        except UnicodeEncodeError as error:
            raise UsageError("a text holds half of a surrogate pair, which UTF-8 cannot") from error
        if len(raw) >= self._end:
            raise UsageError(f"a text of {len(raw)} bytes; here it has at most {self._end - 1}")
        out += self._form.pack(len(raw))
        out += raw

    def get(self, reader: Reader) -> str:
        return reader.text(int(self._form.unpack(reader.take(self._form.size))[0]))


class _Document:
    def put(self, out: bytearray, value: Any) -> None:
        out += documents.encode(value)

    def get(self, reader: Reader) -> Document:
        return reader.document()


class _MaybeDocument:
    def put(self, out: bytearray, value: Any) -> None:
        if value is not None:
            out += documents.encode(value)

    def get(self, reader: Reader) -> Document | None:
        return reader.document() if reader.left else None


class _MaybeText:
    def put(self, out: bytearray, value: Any) -> None:
        if value is not None:
            STR16.put(out, value)

    def get(self, reader: Reader) -> str | None:
        return STR16.get(reader) if reader.left else None


class _Rest:
    def put(self, out: bytearray, value: Any) -> None:
        out += value

    def get(self, reader: Reader) -> bytes:
        return reader.take(reader.left)


class _Items:
    def put(self, out: bytearray, value: Any) -> None:
        out += _U32.pack(len(value))
        for key, document in value:
            _MaybeKey().put(out, key)
            out += documents.encode(document)

    def get(self, reader: Reader) -> list[tuple[Key | None, Document]]:
        return [(_MaybeKey().get(reader), reader.document()) for _ in range(reader.u32())]


class StepKind(enum.IntEnum):
    """What a step of an Apply does."""

    INSERT = 0
    PUT = 1
    REPLACE = 2
    DELETE = 3
    CHECK = 4


class Condition(enum.IntEnum):
    """What must hold of its document first."""

    NONE = 0
    ABSENT = 1
    PRESENT = 2
    VERSION = 3


@dataclass(frozen=True)
class Step:
    """One step of an Apply. `version` is 0 but for the condition VERSION."""

    kind: StepKind
    store: str
    condition: Condition
    version: int
    key: KeyLike | None
    document: Mapping[str, Any] | None


class _Steps:
    def put(self, out: bytearray, value: Any) -> None:
        out += _U32.pack(len(value))
        for step in value:
            out.append(step.kind)
            STR16.put(out, step.store)
            out.append(step.condition)
            U64.put(out, step.version)
            MAYBE_KEY.put(out, step.key)
            if step.kind <= StepKind.REPLACE:
                out += documents.encode(step.document)

    def get(self, reader: Reader) -> list[Step]:
        return [self._step(reader) for _ in range(reader.u32())]

    @staticmethod
    def _step(reader: Reader) -> Step:
        try:
            kind, store, condition = StepKind(reader.u8()), str(STR16.get(reader)), Condition(reader.u8())
        except ValueError as error:
            raise ProtocolError("a step is of no kind, or under no condition, that there is") from error
        version, key = reader.u64(), MAYBE_KEY.get(reader)
        return Step(kind, store, condition, version, key, reader.document() if kind <= StepKind.REPLACE else None)


FLAG: Shape = _Flag()
KEY: Shape = _Key()
MAYBE_KEY: Shape = _MaybeKey()
U16: Shape = _Number(_U16)
U32: Shape = _Number(_U32)
U64: Shape = _Number(_U64)
STR16: Shape = _Text(_U16)
TEXT32: Shape = _Text(_U32)
DOCUMENT: Shape = _Document()
MAYBE_DOCUMENT: Shape = _MaybeDocument()
MAYBE_STR16: Shape = _MaybeText()
ITEMS: Shape = _Items()
STEPS: Shape = _Steps()
REST: Shape = _Rest()
