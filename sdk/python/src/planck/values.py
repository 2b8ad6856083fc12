"""Values that documents can hold and Python has no type for, and the key of a document.

What must stay true: each value keeps exactly the bits that its BSON form has, so that a document that
is read and written again has the same bytes; all of them compare by value and cannot be changed.
"""

from __future__ import annotations

import decimal
import os
import time
import uuid
from dataclasses import dataclass
from typing import Union

from .errors import UsageError


def is_signed(value: int, bits: int) -> bool:
    """Whether an integer has at most so many bits. (`in range(..)` counts through it for a subclass of int.)"""
    return -(1 << bits - 1) <= value < 1 << bits - 1


class Int64(int):
    """An integer that is stored with 64 bits however small it is. A plain `int` takes 32 if it fits."""

    __slots__ = ()

    def __new__(cls, value: int = 0) -> Int64:
        if not is_signed(value, 64):
            raise UsageError("an int64 is from -2**63 to 2**63 - 1")
        return super().__new__(cls, value)

    def __repr__(self) -> str:
        return f"Int64({int(self)})"


@dataclass(frozen=True, order=True)
class Key:
    """The primary key of a document: 16 bytes, which sort as the keys do."""

    raw: bytes

    def __post_init__(self) -> None:
        if not isinstance(self.raw, bytes) or len(self.raw) != 16:
            raise UsageError("a key is 16 bytes")

    @classmethod
    def of(cls, value: KeyLike) -> Key:
        """A key from itself, 32 hexadecimal digits, 16 bytes or a UUID."""
        if isinstance(value, Key):
            return value
        if isinstance(value, uuid.UUID):
            return cls(value.bytes)
        if isinstance(value, bytes):
            return cls(value)
        if isinstance(value, str) and len(value) == 32 and all(c in "0123456789abcdefABCDEF" for c in value):
            return cls(bytes.fromhex(value))
        raise UsageError("a key is a Key, 32 hexadecimal digits, 16 bytes or a UUID")

    @classmethod
    def new(cls) -> Key:
        """A new key in the layout of UUID version 7, so that later ones are larger.

        An insert with a key that the client chose can safely be sent again.
        """
        millis = (time.time_ns() // 1_000_000) & ((1 << 48) - 1)
        tail = int.from_bytes(os.urandom(10), "big")
        number = millis << 80 | 0x7 << 76 | (tail >> 64 & 0xFFF) << 64 | 0b10 << 62 | tail & ((1 << 62) - 1)
        return cls(number.to_bytes(16, "big"))

    @property
    def hex(self) -> str:
        """32 hexadecimal digits."""
        return self.raw.hex()

    def successor(self) -> Key | None:
        """The next key up; None after the last."""
        number = int.from_bytes(self.raw, "big") + 1
        return Key(number.to_bytes(16, "big")) if number < 1 << 128 else None

    def predecessor(self) -> Key | None:
        """The next key down; None before the first."""
        number = int.from_bytes(self.raw, "big") - 1
        return Key(number.to_bytes(16, "big")) if number >= 0 else None

    def __str__(self) -> str:
        return self.hex

    def __repr__(self) -> str:
        return f"Key('{self.hex}')"


KeyLike = Union[Key, str, bytes, uuid.UUID]


@dataclass(frozen=True, order=True)
class ObjectId:
    """12 bytes, as other databases use for keys."""

    raw: bytes

    def __post_init__(self) -> None:
        if not isinstance(self.raw, bytes) or len(self.raw) != 12:
            raise UsageError("an object id is 12 bytes")

    @classmethod
    def parse(cls, text: str) -> ObjectId:
        """From 24 hexadecimal digits."""
        try:
            return cls(bytes.fromhex(text))
        except ValueError as error:
            raise UsageError("an object id is 24 hexadecimal digits") from error

    def __str__(self) -> str:
        return self.raw.hex()


@dataclass(frozen=True)
class Binary:
    """Bytes of a subtype. Subtype 0 is read as `bytes`, 16 bytes of subtype 4 as `uuid.UUID`."""

    data: bytes
    subtype: int

    def __post_init__(self) -> None:
        if not isinstance(self.data, bytes) or not 0 <= self.subtype < 256:
            raise UsageError("a Binary is bytes and a subtype from 0 to 255")


@dataclass(frozen=True, order=True)
class DateTime:
    """Milliseconds since 1970, for moments outside the years 1 to 9999, which `datetime` cannot hold."""

    millis: int

    def __post_init__(self) -> None:
        if not is_signed(self.millis, 64):
            raise UsageError("a DateTime has 64 bits of milliseconds")


@dataclass(frozen=True, order=True)
class Timestamp:
    """Seconds since 1970 and a counter within the second, 32 bits each."""

    seconds: int
    counter: int

    def __post_init__(self) -> None:
        if not 0 <= self.seconds < 1 << 32 or not 0 <= self.counter < 1 << 32:
            raise UsageError("a Timestamp has 32 bits of seconds and 32 of a counter")


@dataclass(frozen=True)
class Regex:
    """A regular expression, which is stored and not run."""

    pattern: str
    options: str = ""

    def __post_init__(self) -> None:
        if "\0" in self.pattern or "\0" in self.options:
            raise UsageError("a Regex holds no NUL")


@dataclass(frozen=True)
class MinKey:
    """Below all other values."""


@dataclass(frozen=True)
class MaxKey:
    """Above all other values."""


_DIGITS = 34
_BIAS = 6176
_EXPONENTS = range(-_BIAS, 6112)


@dataclass(frozen=True)
class Decimal128:
    """A decimal of at most 34 digits. `raw` is its IEEE 754 form, the least byte first.

    Two are equal if their bits are: `1.0` is not `1.00` here. Compare `to_decimal()` for the numbers.
    """

    raw: bytes

    def __post_init__(self) -> None:
        if not isinstance(self.raw, bytes) or len(self.raw) != 16:
            raise UsageError("a Decimal128 is 16 bytes")

    @classmethod
    def of(cls, value: decimal.Decimal | str | int) -> Decimal128:
        """From a number, exactly; one that does not fit is refused."""
        if not isinstance(value, decimal.Decimal):
            try:
                value = decimal.Decimal(value)
            except (decimal.InvalidOperation, ValueError, TypeError) as error:
                raise UsageError("this is no decimal number") from error
        sign, digits, power = value.as_tuple()
        top = sign << 127
        if not isinstance(power, int):
            if power != "F" and digits not in ((), (0,)):
                raise UsageError("a NaN with a payload cannot be stored")
            return cls._of_bits(top | {"F": 0x78, "n": 0x7C, "N": 0x7E}[power] << 120)
        exponent: int = power
        if len(digits) > _DIGITS and not any(digits[_DIGITS:]):
            digits, exponent = digits[:_DIGITS], exponent + len(digits) - _DIGITS
        while exponent > _EXPONENTS[-1] and digits != (0,) and len(digits) < _DIGITS:
            digits, exponent = (*digits, 0), exponent - 1
        while 1 < len(digits) <= _DIGITS and digits[-1] == 0 and exponent < _EXPONENTS[0]:
            digits, exponent = digits[:-1], exponent + 1
        if digits == (0,):
            exponent = min(max(exponent, _EXPONENTS[0]), _EXPONENTS[-1])
        if len(digits) > _DIGITS or exponent not in _EXPONENTS:
            raise UsageError(f"a decimal has at most {_DIGITS} digits and an exponent from -6176 to 6111")
        coefficient = int("".join(map(str, digits)) or "0")
        return cls._of_bits(top | (exponent + _BIAS) << 113 | coefficient)

    @classmethod
    def _of_bits(cls, bits: int) -> Decimal128:
        return cls(bits.to_bytes(16, "little"))

    def to_decimal(self) -> decimal.Decimal:
        """The same number as Python's decimal, exactly, whatever the context is."""
        bits = int.from_bytes(self.raw, "little")
        sign = bits >> 127
        minus = "-" * sign
        kind = bits >> 122 & 0x1F
        if kind == 0x1F:
            return decimal.Decimal(f"{minus}{'s' if bits >> 121 & 1 else ''}NaN")
        if kind == 0x1E:
            return decimal.Decimal(f"{minus}Infinity")
        if kind >> 3 == 0b11:
            # The long form has coefficients of more than 34 digits only: by IEEE 754 they are zero.
            exponent, coefficient = bits >> 111 & 0x3FFF, 0
        else:
            exponent, coefficient = bits >> 113 & 0x3FFF, bits & ((1 << 113) - 1)
            if coefficient >= 10**_DIGITS:
                coefficient = 0
        digits = tuple(int(c) for c in str(coefficient))
        return decimal.Decimal((sign, digits, exponent - _BIAS))

    def __str__(self) -> str:
        return str(self.to_decimal())

    def __repr__(self) -> str:
        return f"Decimal128.of('{self}')"
