"""Nothing in a program, a name or a journal steers the terminal that shows it."""

from __future__ import annotations

import io
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azc.cli.output import Output
from azc.cli.progress import LineProgress, LiveProgress
from azc.cli.visible import console
from azc.diagnostics import Diagnostic, DiagnosticError, UsageError
from azc.search.events import Retried, Scored
from azc.source import Source, visible
from tests.cli.conftest import Azc
from tests.cli.test_faults import on_terminal

# Control characters (ESC, BEL, CSI and the rest), marks of direction, of no width, ends
# of lines that only some programs know, tags.
STEERING = "".join(
    char
    for char in map(chr, range(sys.maxunicode + 1))
    if unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp")
)
LAYOUT = "\n\t"
CODES = "".join(char for char in STEERING if char not in "\n\0")


def steers(text: str) -> str:
    """What in a text is not for reading."""
    return "".join(char for char in text if char in STEERING and char not in LAYOUT)


@given(st.text())
def test_visible_is_printable(text: str) -> None:
    found = visible(text)
    assert not steers(found)
    assert "\n" not in found
    assert found.encode("utf-8").decode("utf-8") == found
    assert visible(found) == found
    if not set(text) & set(STEERING) and text.isprintable():
        assert found == text


def test_what_is_written_out() -> None:
    assert visible("\x1b[31m red \u202e\r\ud800", "\r") == (
        "\\x1b[31m red \\u202e\r\\ud800"
    )
    assert visible("é 漢\u3000字\xa0") == "é 漢\u3000字\xa0"
    assert len(STEERING) > 200


NAME = "a\x1b[31m\x9b31m\x07\u202e[red].azg"
BAD = f"attention a(q) {{  # {CODES}\n    return q + x{CODES[:40]}\n}}\n"
FINE = f"attention a(q)   {{ return q }}  # {CODES}\n"
MODEL = f"# {CODES}\nattention a(q) {{ return q }}\nmodel m {{ layers {{ a }} }}\n"


@pytest.mark.parametrize(
    "words",
    [
        ["check", NAME],
        ["check", "fine.azg", "bad.azg", "nothing" + CODES[:20], "--space", CODES[:9]],
        ["check", "-v", NAME, "model.azg"],
        ["fmt", "--check", "fine.azg", NAME],
        ["fmt", NAME, "bad.azg"],
        ["show", NAME],
        ["show", f"{NAME}:b"],
        ["show", "model.azg", "--model", CODES],
        ["diff", "model.azg:m", NAME],
        ["diff", "model.azg", f"other{NAME}"],
        ["compile", NAME, "-o", "out"],
        ["compile", "model.azg", "-o", NAME],
        ["evolve", "model.azg", "--space", CODES[:30], "-o", NAME],
        ["evolve", NAME, "-o", "run"],
        ["resume", NAME],
        ["log", NAME],
        ["log", CODES[:30]],
        ["check", f"--{CODES[:30]}"],
        ["show", "model.azg", f"--tokens={CODES[:30]}"],
        [CODES[:30]],
    ],
)
def test_no_command_passes_it_on(azc: Azc, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / NAME).write_text(BAD)
    (tmp_path / f"other{NAME}").write_text(MODEL.replace("return q", "return -q"))
    for name, text in (("fine", FINE), ("bad", BAD), ("model", MODEL)):
        (tmp_path / f"{name}.azg").write_text(text)
    found = azc(*words)
    assert found.out + found.err
    assert steers(found.out + found.err) == ""


@pytest.mark.parametrize(
    "words",
    [
        ["fmt", "--diff", f"fine{NAME}"],
        ["fmt", "-"],
        ["diff", "--text", f"model{NAME}", "other.azg"],
        ["diff", f"model{NAME}", "other.azg"],
        ["show", f"model{NAME}", "--ir"],
        ["check", f"bad{NAME}"],
    ],
)
def test_no_command_sends_it_to_a_terminal(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / f"fine{NAME}").write_text(FINE)
    (tmp_path / f"bad{NAME}").write_text(BAD)
    (tmp_path / f"model{NAME}").write_text(MODEL)
    (tmp_path / "other.azg").write_text(MODEL.replace("return q", "return -q"))
    found = on_terminal(*words, cwd=tmp_path, NO_COLOR="1")
    # A terminal makes CR LF of line ends.
    assert steers(found.replace("\r\n", "\n")) == ""


def test_what_is_piped_is_exact(azc: Azc, tmp_path: Path) -> None:
    (tmp_path / "fine.azg").write_text(FINE)
    canonical = azc("fmt", "-", stdin=FINE).out
    assert CODES in canonical
    assert CODES in azc("fmt", "--diff", "fine.azg").out
    assert azc("fmt", "fine.azg").code == 0
    assert (tmp_path / "fine.azg").read_bytes().decode() == canonical


def test_errors_as_text() -> None:
    source = Source(NAME, f"\t{CODES}ab = {CODES}\n")
    start = len(CODES) + 1
    span = source.span(start, start + 2)
    found = str(DiagnosticError([Diagnostic("AZG001", CODES, span, CODES)]))
    assert steers(found) == ""
    *_, text, carets, _ = found.split("\n")
    assert text.index("ab") == carets.index("^^")
    assert carets.count("^") == 2
    assert steers(str(UsageError("U101", CODES))) == ""


def test_carets_under_what_is_written_out() -> None:
    source = Source("a.azg", "x \x1b y")
    found = str(DiagnosticError([Diagnostic("AZG001", "no", source.span(2, 3))]))
    assert found.split("\n")[-2:] == ["1 | x \\x1b y", "  |   ^^^^"]


def test_output(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output("log", as_json=False)
    output.line(CODES)
    output.note(CODES)
    output.diff(f"--- {CODES}\n+++ {CODES}\n-{CODES}\n+ a\n")
    output.console().print(CODES)
    found = capsys.readouterr()
    assert steers(found.out + found.err) == ""
    assert found.out.count("\\x1b") >= 4
    Output("log", as_json=True).result(text=CODES)
    assert steers(capsys.readouterr().out) == ""


def test_the_display_of_a_search(capsys: pytest.CaptureFixture[str]) -> None:
    scored = Scored(
        candidate=1,
        parents=(),
        mutation=CODES,
        round=0,
        scores=None,
        reason=CODES,
        seconds=1.0,
        spent=1,
        budget=2,
    )
    LineProgress(quiet=False)(scored)
    assert steers(capsys.readouterr().err) == ""
    page = io.StringIO()
    display = LiveProgress(console(file=page, width=200))
    display(scored)
    display(Retried(name="candidate 0001", reason=CODES))
    display.display = {CODES[26:40]: CODES[26:40]}
    display.console.print(display._draw())
    assert "\\x1b" in page.getvalue()
    assert steers(page.getvalue()) == ""
