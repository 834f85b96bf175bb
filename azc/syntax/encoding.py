"""Detection of encodings other than UTF-8 from the first bytes of a file."""

from __future__ import annotations

import codecs

__all__ = ["wide_encoding"]

# UTF-32 comes first: its mark begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_LOOKED_AT = 200  # bytes examined in a file without a mark


def wide_encoding(data: bytes) -> str | None:
    """Return the encoding of text in units of two or four bytes, or None for any other
    text.

    A byte order mark decides; without one, UTF-16 is recognised by zeros in nearly
    every second byte.
    """
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            return encoding
    even, odd = data[:_LOOKED_AT:2], data[1:_LOOKED_AT:2]
    for encoding, high, low in ("UTF-16LE", odd, even), ("UTF-16BE", even, odd):
        if 0 not in low and high.count(0) > max(1, 3 * len(high) // 4):
            return encoding
    return None
