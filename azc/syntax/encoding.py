"""Encodings of text other than UTF-8, by the first bytes of a file."""

from __future__ import annotations

import codecs

__all__ = ["wide_encoding"]

# The longer mark comes first: that of UTF-16 begins it.
_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_LOOKED_AT = 200  # bytes of a file without a mark


def wide_encoding(data: bytes) -> str | None:
    """Return the encoding of text in units of two or four bytes, None for any other text.

    Without a mark at its beginning, it is known by the zeros that nearly every second
    byte is.
    """
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            return encoding
    even, odd = data[:_LOOKED_AT:2], data[1:_LOOKED_AT:2]
    for encoding, high, low in ("UTF-16LE", odd, even), ("UTF-16BE", even, odd):
        if 0 not in low and high.count(0) > max(1, 3 * len(high) // 4):
            return encoding
    return None
