"""Characters that hide or turn text, marks at the beginning, and other encodings."""

from __future__ import annotations

import codecs
import sys
import unicodedata
from pathlib import Path

import pytest

import azc
from azc.check.resolve import check_source
from azc.diagnostics import Diagnostic, DiagnosticError
from azc.source import Source
from azc.syntax.format import format_text
from azc.syntax.parse import decoded, read_source

TEXT = "attention a(q) {\n    return tanh(q)  # {}\n}\n"
# Of all that a terminal obeys or does not show, what words of some languages need.
NEEDED = "\u200c\u200d\u200e\u200f\u061c"
SAFE = "\t\f"


def warnings(comment: str) -> list[Diagnostic]:
    text = TEXT.replace("{}", comment)
    return list(check_source(Source("a.azg", text)).warnings)


_BIDI = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI", "BN")


def test_every_such_character_is_told() -> None:
    """Control characters, ends of lines, and what has no width or turns what follows."""
    steering = [
        char
        for char in map(chr, range(sys.maxunicode + 1))
        if (
            unicodedata.category(char) in ("Cc", "Zl", "Zp")
            or unicodedata.bidirectional(char) in _BIDI
        )
        and char not in f"{NEEDED}{SAFE}\n"
    ]
    assert len(steering) > 170
    for char in steering:
        found = warnings(f"a{char}b")
        assert [each.code for each in found] == ["AZG007"], ascii(char)
        assert f"U+{ord(char):04X} (" in found[0].message


@pytest.mark.parametrize(
    "comment", [NEEDED, SAFE, "\u2014 caf\u00e9 \u6f22\u3000", "ok"]
)
def test_what_words_need_is_not(comment: str) -> None:
    assert warnings(comment) == []


def test_a_comment_is_told_once_and_cleaned_at_once() -> None:
    (found,) = warnings("a\u202eb\u2066c\0\x1b[2Kd")
    assert found.severity == "warning"
    assert found.span is not None
    assert found.span.text == "\u202e"
    assert found.fix is not None
    assert found.fix.span.text.startswith("# a")
    assert found.fix.text == "# abc[2Kd"
    assert found.help == "remove them"
    program = check_source(Source("a.azg", found.fix.applied()))
    assert program.warnings == ()


def test_a_line_end_of_windows_is_none_of_them() -> None:
    text = TEXT.replace("{}", "fine").replace("\n", "\r\n")
    assert check_source(Source("a.azg", text)).warnings == ()
    assert check_source(Source("a.azg", "# the end\r")).warnings == ()


def test_formatting_leaves_comments_as_they_are() -> None:
    text = TEXT.replace("{}", "a\u202eb\0")
    assert format_text(Source("a.azg", text)) == text


@pytest.mark.parametrize("char", ["\0", "\x1b", "\u202e", "\u200b", "\u2028", "\ufeff"])
def test_elsewhere_they_are_errors(char: str) -> None:
    for text in (f"attention a(q) {{{char} return q }}", f"{char}\n" + TEXT):
        if text.startswith("\ufeff"):
            continue
        with pytest.raises(DiagnosticError) as caught:
            check_source(Source("a.azg", text))
        (found,) = caught.value.diagnostics
        assert f"unexpected U+{ord(char):04X} (" in found.message
        assert found.fix is not None
        check_source(Source("a.azg", found.fix.applied()))


# A mark at the beginning


def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path: Path) -> None:
    path = tmp_path / "marked.azg"
    path.write_bytes(codecs.BOM_UTF8 + TEXT.encode())
    assert read_source(path).text == TEXT
    assert set(azc.load(path).attentions) == {"a"}
    assert set(azc.loads("\ufeff" + TEXT).attentions) == {"a"}
    assert azc.format("\ufeff" + TEXT) == TEXT
    with pytest.raises(DiagnosticError) as caught:
        azc.loads("\ufeff" + "atention a(q) { return q }")
    (found,) = caught.value.diagnostics
    assert found.span is not None
    assert (found.span.line, found.span.column) == (1, 1)
    # Two are one too many.
    path.write_bytes(2 * codecs.BOM_UTF8 + TEXT.encode())
    with pytest.raises(DiagnosticError, match=r"U\+FEFF"):
        azc.load(path)


# Other encodings


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (TEXT.encode("utf-16"), "UTF-16"),
        (codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), "UTF-16"),
        (TEXT.encode("utf-32"), "UTF-32"),
        (codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"), "UTF-32"),
        (TEXT.encode("utf-16-le"), "UTF-16LE"),
        (TEXT.encode("utf-16-be"), "UTF-16BE"),
        (TEXT.replace("{}", "é 漢").encode("utf-16-le"), "UTF-16LE"),
    ],
    ids=["16", "16 be", "32", "32 be", "16 le, bare", "16 be, bare", "some letters"],
)
def test_text_in_wide_units_is_named(data: bytes, named: str) -> None:
    with pytest.raises(DiagnosticError) as caught:
        decoded(data, "a.azg")
    (found,) = caught.value.diagnostics
    assert (found.code, found.message) == (
        "AZG004",
        f"a.azg is {named} text, not UTF-8",
    )
    # As iconv would, Python decodes it by that name.
    assert f"iconv -f {named} -t UTF-8" in (found.help or "")
    assert "return tanh(q)" in data.decode(named)


@pytest.mark.parametrize("data", [b"", b"a", b"\0", b"\0\0", b"# a\0b", b"\0\0\0\0"])
def test_a_zero_here_and_there_is_utf_8(data: bytes) -> None:
    assert decoded(data, "a.azg").text == data.decode()


def test_other_bytes_are_refused() -> None:
    with pytest.raises(DiagnosticError) as caught:
        decoded("# café".encode("latin-1"), "a.azg")
    (found,) = caught.value.diagnostics
    assert found.message == "a.azg is not UTF-8 text (byte 5)"
    assert found.help == "save it as UTF-8"
