"""A comment between any two tokens of a file stays between them when it is formatted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from azc.diagnostics import DiagnosticError
from azc.source import Source
from azc.syntax import ast
from azc.syntax.format import format_text
from azc.syntax.parse import parse

ROOT = Path(__file__).resolve().parents[2]
FILES = [
    ROOT / "stdlib" / "spaces.azg",
    ROOT / "examples" / "text.azg",
    ROOT / "tests" / "golden" / "format" / "language.azg",
    *sorted((ROOT / "tests" / "golden" / "format").glob("[!l]*.azg")),
    *sorted((ROOT / "examples").glob("0*.azg")),
]

MARK = "#@"
_TOKEN = re.compile(
    r"#[^\n]*|[A-Za-z_]\w*|\.\.|\.T\b|\d+(?=\.\.)|\d[\w.]*(?:(?<=[eE])[+-]\d+)?|\n|\S"
)
# In an expression a comment may go to the other side of these: operators come first in
# their line, and what has no line of its own (`.T`, the value after `=`) can have none.
_GLUE = frozenset({"+", "-", "*", "/", "@", ".T", "="})


def read(text: str) -> ast.File | None:
    try:
        return parse(Source("test.azg", text))
    except DiagnosticError:
        return None


def tokens(text: str) -> list[str]:
    """The tokens of code and the mark, without commas and parentheses, which layout
    adds and takes away.
    """
    found = _TOKEN.findall(text)
    code = [each for each in found if each == MARK or not each.startswith("#")]
    return [each for each in code if each not in (",", "(", ")", "\n")]


def gaps(text: str) -> list[int]:
    """Where tokens of code end, and the start of the text."""
    found = [m for m in _TOKEN.finditer(text) if m.group()[0] not in "#\n"]
    return [0, *(match.end() for match in found)]


def moved(before: list[str], after: list[str]) -> list[str]:
    """The tokens that the mark has passed."""
    first, second = sorted((before.index(MARK), after.index(MARK)))
    bare = [each for each in before if each != MARK]
    return bare[first:second]


def above(text: str) -> bool:
    """Whether the mark has a line of its own."""
    lines = [line.strip() for line in text.split("\n")]
    return MARK in lines


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
@pytest.mark.parametrize("mark", [f"  {MARK}\n", f"\n{MARK}\n"], ids=["behind", "own"])
def test_a_comment_stays(path: Path, mark: str) -> None:
    source = path.read_text("utf-8")
    file = read(source)
    if file is None:
        pytest.skip("not a program")
    text = format_text(Source("test.azg", source))
    tried = 0
    for gap in gaps(text):
        marked = text[:gap] + mark + text[gap:]
        if read(marked) != file:
            continue  # a line can't end here
        tried += 1
        # It stops what would move at all: lost, unstable, or another program.
        found = format_text(Source("test.azg", marked))
        passed = moved(tokens(marked), tokens(found))
        # Only inside a statement: to the operand that it is about, or else above.
        assert not {"{", "}"} & set(passed), found
        assert set(passed) <= _GLUE or above(found), found
    assert tried > 3 or not tokens(text)


def broken_expressions() -> list[tuple[str, int, int]]:
    """Statements of canonical texts that are on several lines: text, first, last line."""
    found = []
    for path in sorted((ROOT / "tests" / "golden" / "format").glob("*.expected")):
        lines = re.sub(r" *#.*", "", path.read_text("utf-8")).splitlines()
        text = format_text(Source(path.name, "\n".join(lines) + "\n"))
        file = parse(Source(path.name, text))
        for node in file.declarations:
            for statement in getattr(node, "body", ()):
                last = statement.span.source.position(statement.span.end)[0]
                if last > statement.span.line:
                    found.append((text, statement.span.line, last))
    return found


@pytest.mark.parametrize(("text", "first", "last"), broken_expressions())
def test_comments_at_the_ends_of_lines_stay_there(
    text: str, first: int, last: int
) -> None:
    lines = text.splitlines()
    for place in range(first - 1, last):
        # Behind an opening bracket nothing stands that it could be about.
        if not lines[place].endswith(("(", "[")):
            lines[place] += f"  # {place}"
    marked = "\n".join(lines) + "\n"
    assert format_text(Source("test.azg", marked)) == marked


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(q @ (k  # x\n).T)  # y", "(\n        q\n        @ k.T  # x\n    )  # y"),
        ("-(q @ (k  # x\n).T)", "-(\n        q\n        @ k.T  # x\n    )"),
        ("(q + (k  # x\n) )  # y", "(\n        q\n        + k  # x\n    )  # y"),
        (
            "(q - (k - (v * q  # x\n) # y\n)  # z\n)",
            "(\n        q\n        - (\n            k\n            # x\n"
            "            - v * q  # y\n        )  # z\n    )",
        ),
        ("exp(q + (k  # x\n))  # y", "exp(\n        q + k,  # x\n    )  # y"),
        ("((k  # x\n).T  # y\n)  # z", "k.T  # z"),
    ],
)
def test_several_comments_of_one_expression(text: str, expected: str) -> None:
    found = format_text(Source("a", f"attention a(q, k, v) {{\n    s = {text}\n}}\n"))
    assert f"    s = {expected}\n" in found
    assert sorted(re.findall(r"# (\w)", found)) == sorted(re.findall(r"# (\w)", text))
