"""Sizes of an AV1 picture, by its sequence headers; numbers of sections are the specification's."""

from collections.abc import Iterator
from contextlib import suppress

_SEQUENCE_HEADER = 1
_MOST_UNITS = 4_096


class TooManyUnits(ValueError):
    """A picture in more units than any honest one; says so as the end of a sentence."""


def av1_sizes(data: memoryview) -> Iterator[tuple[int, int]]:
    """(height, width) of each sequence header; one that is cut short has none.

    Args:
        data: Open bitstream units, one after the other (5.3).

    Raises: TooManyUnits: there are more than are read.
    """
    at, units = 0, 0
    while at < len(data):
        units += 1
        if units > _MOST_UNITS:
            raise TooManyUnits(f"one of its pictures is in more than {_MOST_UNITS} units")
        head = data[at]
        kind, extended, sized = head >> 3 & 15, head >> 2 & 1, head >> 1 & 1
        at += 1 + extended
        length = len(data) - at
        if sized:
            length, at = _leb128(data, at)
        if kind == _SEQUENCE_HEADER:
            # A decoder goes on behind one that it cannot read.
            with suppress(EOFError):
                yield _size(_Bits(data[at : at + min(length, 512)]))
        at += length


def _leb128(data: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits a byte (4.10.5), and where the next byte is."""
    value = 0
    for index, byte in enumerate(data[at : at + 8]):
        value |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            return value, at + index + 1
    return len(data), at + 8


class _Bits:
    """Bits of some bytes, the highest first."""

    def __init__(self, data: memoryview) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        """The next ones as a number. Raises: EOFError."""
        if count > self._left:
            raise EOFError
        self._left -= count
        return self._value >> self._left & (1 << count) - 1

    def take_uvlc(self) -> None:
        """Pass over a number of unknown length (4.10.3)."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        if zeros < 32:
            self.take(zeros)


def _size(bits: _Bits) -> tuple[int, int]:
    """Of a sequence header (5.5.1)."""
    bits.take(4)
    if bits.take(1):
        bits.take(5)
    else:
        _skip_operating_points(bits)
    across, down = bits.take(4) + 1, bits.take(4) + 1
    width, height = bits.take(across) + 1, bits.take(down) + 1
    return height, width


def _skip_operating_points(bits: _Bits) -> None:
    delay_bits = 0
    if bits.take(1):
        # timing_info (5.5.3)
        bits.take(64)
        if bits.take(1):
            bits.take_uvlc()
        if bits.take(1):
            # decoder_model_info (5.5.4)
            delay_bits = bits.take(5) + 1
            bits.take(42)
    delayed = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        # A level above 7 has a tier.
        if bits.take(5) > 7:
            bits.take(1)
        if delay_bits and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if delayed and bits.take(1):
            bits.take(4)
