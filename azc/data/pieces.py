"""Splitting of long documents into pieces that a BERT tokenizer encodes like the whole.

A tokenizer needs about 50 bytes of memory for each character that it encodes at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

__all__ = ["pieces", "reads_pieces_alike"]

_SIZE = 2**16  # characters of a piece, or a little more
# In a BERT tokenizer, words end before these: ASCII spaces, punctuation, ideographs.
_CUT = re.compile(r"[ \t\n\r.,;:!?/=\"()\u4e00-\u9fff]")
# A run of letters and digits is one word, except for ideographs, which are split.
_WORD = re.compile(r"[^\W_\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")
_ENDLESS = 100_000  # characters from which on a word is shortened
_UNKNOWN = 1_000  # characters that are kept of it: enough to stay an unknown word


def reads_pieces_alike(tokenizer: Any) -> bool:
    """Return whether a tokenizer of `tokenizers` encodes a text like its pieces,
    joined.

    It does if it splits words as BERT does, and no added token could be cut.
    """
    found = json.loads(tokenizer.to_str())
    normalizer, model = found["normalizer"] or {}, found["model"]
    return (
        normalizer.get("type") == "BertNormalizer"
        and normalizer["clean_text"]
        and normalizer["handle_chinese_chars"]
        and (found["pre_tokenizer"] or {}).get("type") == "BertPreTokenizer"
        and model["type"] == "WordPiece"
        and model["max_input_chars_per_word"] < _UNKNOWN
        and not any(
            token["rstrip"] or _CUT.search(token["content"], 1)
            for token in found["added_tokens"]
        )
    )


def pieces(text: str) -> Iterator[str]:
    """Split a text before spaces and punctuation into pieces of about 65,000
    characters.

    Words of more than 100,000 letters are shortened: a BERT tokenizer does not know
    them, whatever their length.
    """
    start = 0
    while len(text) - start > _SIZE:
        found = _CUT.search(text, start + _SIZE)
        end = found.start() if found else len(text)
        yield _shortened(text[start:end])
        start = end
    yield _shortened(text[start:])


def _shortened(piece: str) -> str:
    if len(piece) < _ENDLESS:
        return piece
    return _WORD.sub(
        lambda word: word[0] if len(word[0]) < _ENDLESS else word[0][:_UNKNOWN], piece
    )
