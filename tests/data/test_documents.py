"""Documents: text divided a chunk at a time is text divided as a whole."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azc.data import documents as module
from azc.data.documents import DIVISIONS, bounded, check_division, divided
from azc.diagnostics import UsageError

# What divides a text, what seems to and does not, and words.
SIGNS = ["\n", "\n", "\n", " ", "\t", "\x0c", "\r", "\u3000", "\u2028", "a", "bc", "."]


def of_a_whole(text: str) -> list[str]:
    """Documents by the definition."""
    blocks = [block for block in re.split(r"\n[ \t]*\n", text) if block.strip()]
    if len(blocks) == 1:
        lines = text.strip().split("\n")
        starts = range(0, len(lines), 32)
        blocks = ["\n".join(lines[start : start + 32]) for start in starts]
    return [block.strip() for block in blocks if block.strip()]


def chunks(text: str, size: int) -> Iterator[str]:
    for start in range(0, len(text), size):
        yield text[start : start + size]


def found(text: str, size: int, division: str = "paragraph") -> list[str]:
    parts = divided(lambda: chunks(text, size), division)
    return [part.strip() for part in parts if part.strip()]


@given(st.lists(st.sampled_from(SIGNS), max_size=200), st.integers(1, 40))
def test_paragraphs(signs: list[str], size: int) -> None:
    text = "".join(signs)
    assert found(text, size) == of_a_whole(text)


@given(st.integers(1, 150), st.integers(1, 40), st.sampled_from(["", "  ", "\x0c\n"]))
def test_groups_of_lines(count: int, size: int, before: str) -> None:
    """They are counted from the first text, with blank lines nowhere between."""
    text = before + "\n".join(f" line {number}" for number in range(count)) + "\n\n"
    groups = found(text, size)
    assert groups == of_a_whole(text)
    assert len(groups) == -(-count // 32)


@given(st.lists(st.sampled_from(SIGNS), max_size=60), st.integers(1, 20))
def test_lines_and_files(signs: list[str], size: int) -> None:
    text = "".join(signs)
    lines = [line.strip() for line in text.strip().split("\n") if line.strip()]
    assert found(text, size, "line") == lines
    assert found(text, size, "file") == ([text.strip()] if text.strip() else [])


@given(st.text("ab \n", max_size=300), st.integers(1, 20), st.sampled_from(DIVISIONS))
def test_no_document_is_endless(text: str, size: int, division: str) -> None:
    """A long one is divided where a line or a word ends, and nothing is lost."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LONGEST", 8)
        parts = list(divided(lambda: chunks(text, size), division))
    assert all(len(part) <= 8 for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.split())


def test_where_a_long_document_is_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST", 8)
    for text, parts in [
        ("abcdefgh", ["abcdefgh"]),
        ("abcdefghijk", ["abcdefgh", "ijk"]),
        ("a bcde fghijk", ["a bcde", " fghijk"]),
        ("abcde\nf ghijk", ["abcde", "\nf ghijk"]),
        ("a bcdefghijk", ["a bcdefg", "hijk"]),
    ]:
        assert list(bounded([text])) == parts


def test_a_division_that_is_none() -> None:
    with pytest.raises(UsageError, match="'sentence'") as caught:
        check_division("sentence")
    assert caught.value.code == "D006"
    assert "paragraph, line, file" in str(caught.value.help)
