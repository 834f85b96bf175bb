"""The formatter: same tree, stable, every comment kept, and how it looks."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azc.diagnostics import DiagnosticError, InternalError
from azc.source import Source
from azc.syntax import ast, format
from azc.syntax.format import format_expr, format_file, format_text
from azc.syntax.parse import MAX_DEPTH, parse, read_source
from tests.golden_files import compare, golden_inputs
from tests.strategies import decorated, exprs, files, layouts


def comments_of(text: str) -> list[str]:
    return sorted(found.rstrip() for found in re.findall("#[^\n]*", text))


def body_of(expr: str) -> str:
    """The canonical text of a statement."""
    text = f"attention a(q) {{\n return {expr}\n}}\n"
    lines = format_text(Source("test.azg", text)).splitlines()[1:-1]
    return "\n".join(line.removeprefix("    ") for line in lines)


def value_of(expr: str) -> ast.Expr:
    file = parse(Source("test.azg", f"attention a(q) {{ return {expr} }}"))
    statement = file.declarations[0].body[0]
    return statement.value


@given(files())
def test_parse_inverts_format(file: ast.File) -> None:
    text = format_file(file)
    assert parse(Source("test.azg", text)) == file
    assert format_text(Source("test.azg", text)) == text


@given(st.data(), files())
def test_any_layout_formats_the_same(data: st.DataObject, file: ast.File) -> None:
    text, comments = data.draw(layouts(file))
    found = format_text(Source("test.azg", text))
    assert parse(Source("test.azg", found)) == file
    assert comments_of(found) == sorted(comments)
    if not comments and "\n\n" not in re.sub(r"[ \t\r]", "", text):
        assert found == format_file(file)


@given(decorated())
def test_comments_on_any_node_are_kept(made: tuple[ast.File, list[str]]) -> None:
    file, comments = made
    text = format_file(file)
    assert parse(Source("test.azg", text)) == file
    assert comments_of(text) == sorted(comments)
    assert format_text(Source("test.azg", text)) == text


@given(files())
def test_canonical_lines(file: ast.File) -> None:
    text = format_file(file)
    assert text.endswith("\n") == bool(file.declarations)
    assert "\n\n\n" not in text
    for line in text.splitlines():
        assert line == line.rstrip()
        indentation = len(line) - len(line.lstrip(" "))
        assert indentation % 4 == 0


@given(exprs())
def test_expression_on_one_line(expr: ast.Expr) -> None:
    text = format_expr(expr)
    assert "\n" not in text
    assert value_of(text) == expr


@given(exprs())
def test_no_needless_parentheses(expr: ast.Expr) -> None:
    text = format_expr(expr)
    opened: list[int] = []
    for index, char in enumerate(text):
        if char == "(":
            opened.append(index)
        elif char == ")":
            start = opened.pop()
            if start and re.match(r"\w", text[start - 1]):
                continue  # a call
            without = text[:start] + " " + text[start + 1 : index] + " "
            without += text[index + 1 :]
            with suppress(DiagnosticError):
                assert value_of(without) != expr, without


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("add(q, k)", "q + k"),
        ("add(q, k, v)", "add(q, k, v)"),
        ("add(q, k, x = 1)", "add(q, k, x = 1)"),
        ("((q))", "q"),
        ("a - (b - c)", "a - (b - c)"),
        ("(a - b) - c", "a - b - c"),
        ("a + (b * c)", "a + b * c"),
        ("(a + b) * c", "(a + b) * c"),
        ("a * (b / c)", "a * (b / c)"),
        ("(-a).T", "(-a).T"),
        ("-(a).T", "-a.T"),
        ("-(a.T)", "-a.T"),
        ("(-a) @ b", "-a @ b"),
        ("-(a @ b)", "-(a @ b)"),
        ("a @ (-b)", "a @ -b"),
        ("a - (-b)", "a - -b"),
        ("-(-a)", "--a"),
        ("(a @ b).T.T", "(a @ b).T.T"),
        ("f(a).T", "f(a).T"),
        ("transpose(neg(a))", "(-a).T"),
        ("2.T", "2.T"),
        ("(1.).T", "1. .T"),
        ("f( x=1 ,q , )", "f(q, x = 1)"),
        ("f(x = [1,2 , [true, 3 .. 4]])", "f(x = [1, 2, [true, 3..4]])"),
        ("f(x = [1. .. .5])", "f(x = [1. .. .5])"),
        ("q # why", "q  # why"),
        ("q #why\t ", "q  #why"),
    ],
)
def test_canonical_expression(written: str, canonical: str) -> None:
    assert body_of(written) == f"return {canonical}"


def test_a_line_of_88_columns_stays() -> None:
    fits = f"return softmax({'x' * (88 - 4 - 16)})"
    assert body_of(fits.removeprefix("return ")) == fits
    assert len(f"    {fits}") == 88
    long = f"softmax({'x' * (88 - 4 - 15)})"
    assert body_of(long) == f"return softmax(\n    {long[8:-1]},\n)"


@pytest.mark.parametrize("path", golden_inputs("format"), ids=lambda path: path.stem)
def test_golden(path: Path, update_goldens: bool) -> None:
    found = format_text(read_source(path, path.name))
    compare(path.with_suffix(".expected"), found, update_goldens)


def test_deepest_program_formats() -> None:
    sums = "(q + " * (MAX_DEPTH - 1) + "q" + ")" * (MAX_DEPTH - 1)
    long = sums.replace("q", "a_long_name")
    for expr in (sums, long):
        text = f"attention a(q) {{ return {expr} }}"
        assert "return" in format_text(Source("test.azg", text))


def test_deepest_list_beside_an_operator() -> None:
    value = "[" * (MAX_DEPTH - 2) + "]" * (MAX_DEPTH - 2)
    text = f"attention a(q) {{ return f(x = {value}) + {'k' * 80} # c\n}}"
    found = format_text(Source("test.azg", text))
    assert parse(Source("test.azg", found)) == parse(Source("test.azg", text))
    commented = value.replace("[]", "[ # inner\n]")
    text = f"attention a(q) {{ return f(x = {commented}) + {'k' * 80} # c\n}}"
    assert comments_of(format_text(Source("test.azg", text))) == ["# c", "# inner"]


def test_thousands_of_items() -> None:
    items = ", ".join(map(str, range(3_000)))
    layers = "conv(kernel = 3)\n" * 1_500
    text = f"space s {{ x = [{items}] }}\nmodel m {{ layers {{\n{layers}}} }}"
    found = format_text(Source("test.azg", text))
    assert found.count("\n") == 3_000 + 1_500 + 9


def test_what_grows_past_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(format, "MAX_TEXT", 20)
    with pytest.raises(DiagnosticError, match="formatted file has 32 characters"):
        format_text(Source("test.azg", "model m{a=1\nb=2}"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("model {", "doesn't parse"),
        ("model n {}  # c\n", "meaning"),
        ("model m {}\n", "comment"),
        ("model m {} # c\n", "twice"),
    ],
)
def test_a_bug_is_caught(
    wrong: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = iter([wrong, format_file(parse(Source("", "model m {} # c")))])
    if message == "comment":
        texts = iter([wrong, wrong])
    monkeypatch.setattr(format, "format_file", lambda file: next(texts))
    with pytest.raises(InternalError, match=message):
        format_text(Source("test.azg", "model m { } # c"))


def test_comments_are_counted() -> None:
    text = "# a\n# a\nmodel m {} # a\n"
    found = format_text(Source("test.azg", text))
    assert Counter(comments_of(found)) == {"# a": 3}
