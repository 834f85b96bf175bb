"""The parser: trees, limits, recovery, and nothing but diagnostics for any text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azc.diagnostics import DiagnosticError, render
from azc.ops.table import load_ops
from azc.source import Source
from azc.syntax import ast
from azc.syntax import parse as parsing
from azc.syntax.build import MAX_DEPTH
from azc.syntax.faults import MAX_NAME
from azc.syntax.format import format_text
from azc.syntax.parse import (
    MAX_ERRORS,
    MAX_TEXT,
    is_name,
    parse,
    read_source,
    read_text,
)
from tests.golden_files import compare, golden_inputs
from tests.strategies import files, layouts


def read(text: str) -> ast.File:
    return parse(Source("test.azg", text))


def refused(text: str) -> list[str]:
    """The codes of the diagnostics for a text that must be refused."""
    with pytest.raises(DiagnosticError) as caught:
        read(text)
    assert str(caught.value)
    for diagnostic in caught.value.diagnostics:
        assert diagnostic.as_json()["line"]
    return [diagnostic.code for diagnostic in caught.value.diagnostics]


def value_of(expr: str) -> ast.Expr:
    (attention,) = read(f"attention a(q) {{ return {expr} }}").declarations
    return attention.body[0].value


@given(st.data(), files())
def test_any_layout_means_the_tree(data: st.DataObject, file: ast.File) -> None:
    text, _ = data.draw(layouts(file))
    assert read(text) == file


a, b, c = map(ast.Name, "abc")


def apply(op: str, *args: ast.Expr) -> ast.Apply:
    return ast.Apply(op, args)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a + b * c", apply("add", a, apply("mul", b, c))),
        ("a - b - c", apply("sub", apply("sub", a, b), c)),
        ("a / b @ c", apply("matmul", apply("div", a, b), c)),
        ("-a @ b", apply("matmul", apply("neg", a), b)),
        ("-a.T", apply("neg", apply("transpose", a))),
        ("a @ -b", apply("matmul", a, apply("neg", b))),
        ("--a", apply("neg", apply("neg", a))),
        ("a.T.T", apply("transpose", apply("transpose", a))),
        ("2.T", apply("transpose", ast.Number("2"))),
        ("add(a, b,)", apply("add", a, b)),
        ("f()", apply("f")),
        ("f(k = 3, a)", ast.Apply("f", (a,), (ast.Attr("k", ast.Number("3")),))),
        ("(\na\n\n+ # why\nb)", apply("add", a, b)),
        (".5", ast.Number(".5")),
        ("1_000.5e-3", ast.Number("1_000.5e-3")),
    ],
)
def test_expressions(text: str, tree: ast.Expr) -> None:
    assert value_of(text) == tree


def test_values() -> None:
    (model,) = read(
        "model m {\na = 4..12\nb = [1, [x], true,]\nc = []\nd = 1..2.5\ne = false\n"
        "f = [-1, - 1.5]\n}"
    ).declarations
    one, two, x = ast.Number("1"), ast.Number("2.5"), ast.Name("x")
    assert [setting.value for setting in model.settings] == [
        ast.Range(ast.Number("4"), ast.Number("12")),
        ast.List((one, ast.List((x,)), ast.Boolean(True))),
        ast.List(()),
        ast.Range(one, two),
        ast.Boolean(False),
        ast.List((ast.Number("-1"), ast.Number("-1.5"))),
    ]
    assert [item.value for item in model.settings[-1].value.items] == [-1, -1.5]


@pytest.mark.parametrize("names", ["a, b as c", "(a, b as c)", "(\na,\nb as c,\n)"])
def test_imports(names: str) -> None:
    (imported,) = read(f"from .std.attention import {names}").declarations
    names_ = (ast.ImportName("a"), ast.ImportName("b", "c"))
    assert imported == ast.Import(".std.attention", names_)


def test_spans() -> None:
    text = "attention name(q) {\r\n    return (q + q) # why\r\n}"
    (attention,) = read(text).declarations
    assert attention.name_span.text == "name"
    assert attention.span.text == text
    assert attention.body[0].span.text == "return (q + q)"
    assert attention.body[0].value.span.text == "q + q"


def test_empty_files() -> None:
    for text in ("", "\n\n", "  # only a comment", "\r\n \t\r\n"):
        assert read(text).declarations == ()


@pytest.mark.parametrize("path", golden_inputs("errors"), ids=lambda path: path.stem)
def test_golden_errors(path: Path, update_goldens: bool) -> None:
    source = read_source(path, f"errors/{path.name}")
    found = read_text(source, load_ops()).errors
    assert found
    compare(path.with_suffix(".err"), render(found) + "\n", update_goldens)


def test_errors_have_the_same_places_with_crlf() -> None:
    text = "model m {\n    a = \n    b = [1\n}\nmodel n { x = }\n"
    with pytest.raises(DiagnosticError) as unix:
        read(text)
    with pytest.raises(DiagnosticError) as windows:
        read(text.replace("\n", "\r\n"))
    assert str(windows.value) == str(unix.value)


def test_errors_are_limited() -> None:
    assert len(refused("model m {\n" + "a = \n" * 100 + "}")) == MAX_ERRORS


def test_a_long_text_is_not_read_over_and_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "MAX_REREAD", 1_000)
    lines = "# long\n" * 100 + "a = \n" * 10
    assert len(refused(f"model m {{\n{lines}}}")) == 2


@pytest.mark.parametrize(
    "inner",
    [
        "(" * 10_000 + "q" + ")" * 10_000,
        "(" * 10_000,
        "-" * 10_000 + "q",
        "q" + ".T" * 10_000,
        "f(" * 10_000 + ")" * 10_000,
        "f(x = " + "[" * 10_000 + "]" * 10_000 + ")",
        "f(x = " + "[" * 10_000,
    ],
    ids=lambda inner: inner[:8],
)
def test_deep_expressions_are_refused(inner: str) -> None:
    assert refused(f"attention a(q) {{\n    return {inner}\n}}") == ["AZG502"]


@pytest.mark.parametrize("symbol", ["+", "/ q @"])
def test_a_chain_is_no_deeper_than_its_operands(symbol: str) -> None:
    text = f"attention a(q) {{\n    return q{f' {symbol} -q' * 1_500}\n}}\n"
    source = Source("test.azg", text)
    (attention,) = parse(source).declarations
    assert attention.body[0].value.depth == 3
    assert parse(source) == parse(source)
    assert hash(parse(source)) == hash(parse(source))
    longer = Source("test.azg", text.replace("return q", "return k"))
    assert parse(longer) != parse(source)
    formatted = format_text(source)
    assert read(formatted) == parse(source)
    commented = formatted.replace("\n    )", "\n        # the end\n    )")
    assert "# the end" in format_text(Source("test.azg", commented))


def test_expressions_compare_by_meaning() -> None:
    same, other = value_of("a + f(b)"), value_of("a + b")
    assert same == value_of("add(a, f(b))")
    assert same != other
    assert other != same
    assert same != a
    assert a != same
    assert same != "a + f(b)"


def test_depth_counts_what_is_in_parentheses() -> None:
    assert value_of("a - b - c").depth == 2
    assert value_of("a - (b - c)").depth == 3
    assert value_of("a * b + c * d").depth == 3
    assert value_of("f(a + b) + c").depth == 4


def test_deep_layers_are_refused() -> None:
    layers = "repeat 2 {" * 8_000 + "}" * 8_000
    assert refused(f"model m {{ layers {{ {layers} }} }}") == ["AZG502"]
    assert refused("model m { layers { " + "repeat 2 {\n" * 8_000) == ["AZG502"]
    assert refused("{" * 10_000)
    assert refused("}" * 10_000)


@pytest.mark.parametrize(
    ("before", "after"), [("-", ""), ("", ".T"), ("(q + ", ")"), ("f(", ")")]
)
def test_depth_to_the_limit_is_accepted(before: str, after: str) -> None:
    def deep(levels: int) -> str:
        return "attention a(q) {\n return " + before * levels + "q" + after * levels

    read(deep(MAX_DEPTH - 1) + "\n}")
    assert refused(deep(MAX_DEPTH) + "\n}") == ["AZG502"]


def test_depth_of_layers_to_the_limit() -> None:
    def deep(levels: int) -> str:
        return "model m { layers { " + "repeat 2 {" * levels + "a" + "}" * levels + "}}"

    assert format_text(Source("test.azg", deep(MAX_DEPTH - 2)))
    assert refused(deep(MAX_DEPTH - 1)) == ["AZG502"]


def test_a_file_of_two_thousand_lines() -> None:
    lines = "".join(f"    x{i} = softmax(q @ q.T)  # {i}\n" for i in range(2_000))
    (attention,) = read(f"attention a(q) {{\n{lines}}}\n").declarations
    assert len(attention.body) == 2_000
    assert attention.body[-1].comments.after == "# 1999"


def test_a_file_too_large_is_refused() -> None:
    assert refused("#" * (MAX_TEXT + 1)) == ["AZG501"]
    assert read("#" * MAX_TEXT).comments.closing


def test_numbers_too_large_are_refused() -> None:
    text = f"model m {{\na = {'9' * 5_000}\nb = 1e999\nc = {'9' * 40}\n}}"
    assert refused(text) == ["AZG006", "AZG006"]


def test_digits_of_other_scripts_are_no_numbers() -> None:
    assert refused("model m { a = ٣ }") == ["AZG001"]


_TOKENS = """
    from import as attention model layers repeat space return true false a q Q ( ) [ ]
    { } , = . .. .T + - * / @ 1 2.5 1. 1e5 1e999 # é ' " \\ ; : _ ( ) { } attention{
""".split()
_TOKENS += ["\n", "\r\n", "\r", "\t", "# c\n", "\f", "\0", "\u2028", "\x85", "\ufeff"]


def refusal(of: Callable[[], object]) -> DiagnosticError | None:
    """The refusal that a call raises, if any; other exceptions are failures."""
    try:
        of()
    except DiagnosticError as error:
        return error
    return None


def only_diagnostics(text: str) -> None:
    """Formats a text; nothing may be raised but a refusal that can be shown."""
    source = Source("test.azg", text)
    error = refusal(lambda: format_text(source))
    if error is None:
        assert read(format_text(source)) == read(text)
        return
    assert str(error)
    assert 0 < len(error.diagnostics) <= MAX_ERRORS
    for diagnostic in error.diagnostics:
        assert diagnostic.span is not None
        assert 0 <= diagnostic.span.start <= diagnostic.span.end <= len(text)
        assert "__" not in diagnostic.message.replace(diagnostic.span.text, "")


@given(st.lists(st.sampled_from(_TOKENS), max_size=40).map(" ".join))
def test_any_tokens(text: str) -> None:
    only_diagnostics(text)


@given(st.text())
def test_any_text(text: str) -> None:
    only_diagnostics(text)


@given(st.data(), st.sampled_from(golden_inputs("format")))
def test_any_edit_of_a_program(data: st.DataObject, path: Path) -> None:
    text = path.read_bytes().decode("utf-8")
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 6)))
        text = text[:start] + data.draw(st.sampled_from(_TOKENS)) + text[end:]
    only_diagnostics(text)


@given(st.binary())
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.azg"
    path.write_bytes(data)
    error = refusal(lambda: read_source(path))
    if error is None:
        only_diagnostics(read_source(path).text)
    else:
        assert [diagnostic.code for diagnostic in error.diagnostics] == ["AZG004"]


def test_reading_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.azg"
    path.write_bytes(b"\xef\xbb\xbfmodel m {}\r\n")
    assert read_source(path, "shown.azg") == Source("shown.azg", "model m {}\r\n")
    for unreadable in (tmp_path, tmp_path / "none.azg"):
        with pytest.raises(DiagnosticError, match="can't read"):
            read_source(unreadable)


def test_names() -> None:
    assert all(map(is_name, ["q", "_", "a1", "gelu_tanh", "kernel"]))
    assert not any(map(is_name, ["", "1a", "A", "é", "a-b", "return", "ª", "a b"]))


@pytest.mark.parametrize("text", ["1_000", "1e1_0", ".5_0", "0.25", "5.", "12"])
def test_numbers_are_pythons(text: str) -> None:
    file = parse(Source("n", f"model m {{\n    x = {text}\n}}\n"))
    assert file.declarations[0].items[0].value.value == float(text)


@pytest.mark.parametrize("text", ["1_", "1__0", "1_.5", "0x10"])
def test_what_is_no_number_in_python_is_none_here(text: str) -> None:
    with pytest.raises(DiagnosticError):
        parse(Source("n", f"model m {{\n    x = {text}\n}}\n"))


def test_names_have_a_limit_and_those_that_azc_makes_some_room() -> None:
    def file(length: int) -> str:
        return f"attention {'a' * length}(q) {{ return q }}\n"

    assert read(file(MAX_NAME)).declarations
    assert refused(file(MAX_NAME + 1)) == ["AZG507"]
    assert parse(Source("own", file(MAX_NAME + 2), own=True)).declarations
    with pytest.raises(DiagnosticError, match="AZG507"):
        parse(Source("own", file(MAX_NAME + 11), own=True))
