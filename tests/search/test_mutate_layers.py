from __future__ import annotations

import pytest

from azc.search.mutate.draft import Draft
from azc.source import Source
from azc.syntax import ast
from azc.syntax.format import format_file
from azc.syntax.parse import parse

# Layers in repeats


def _layers(text: str) -> Draft:
    source = f"attention a(q) {{ return q }}\nmodel m {{ layers {{\n{text} }} }}\n"
    return Draft(parse(Source("x", source)), "m")


def _written(draft: Draft) -> str:
    """The layers of a draft, a line each, without indentation."""
    text = format_file(draft.file)
    body = text[text.index("layers {") :].splitlines()[1:-2]
    return "\n".join(line.removeprefix("        ") for line in body)


NEW = (ast.Layer("b"),)


@pytest.mark.parametrize(
    ("text", "place", "layers", "wanted"),
    [
        ("a\na\n", 1, NEW, "a|b"),
        ("repeat 4 { a }", 0, NEW, "b|repeat 3 {|    a|}"),
        ("repeat 4 { a }", 1, NEW, "a|b|repeat 2 {|    a|}"),
        ("repeat 4 { a }", 2, NEW, "repeat 2 {|    a|}|b|a"),
        ("repeat 4 { a }", 3, NEW, "repeat 3 {|    a|}|b"),
        ("repeat 4 { a }", 2, (), "repeat 3 {|    a|}"),
        ("repeat 2 { a }", 1, (), "a"),
        ("repeat 1 { a }\na", 0, (), "a"),
        ("repeat 3 { a\nc\n}", 3, NEW, "a|c|a|b|a|c"),
        ("repeat 3 { a\nc\n}", 2, (), "a|c|c|a|c"),
        (
            "repeat 3 { repeat 3 { a }\nc\n}",
            5,
            NEW,
            "repeat 3 {|    a|}|c|a|b|a|c|repeat 3 {|    a|}|c",
        ),
        (
            "x\nrepeat 3 { repeat 2 { a }\n}\ny",
            4,
            NEW,
            "x|repeat 2 {|    a|}|a|b|repeat 2 {|    a|}|y",
        ),
        (
            "# above\nrepeat 4 { # beside\n a # inside\n # end\n}",
            1,
            NEW,
            "# above|# beside|# end|a  # inside|b|repeat 2 {|    a|}",
        ),
        (
            "# above\nrepeat 4 { # beside\n a # inside\n # end\n}",
            3,
            NEW,
            "# above|repeat 3 {  # beside|    a  # inside|    # end|}|b",
        ),
        (
            "# above\nrepeat 4 { # beside\n a # inside\n}",
            0,
            NEW,
            "# above|# beside|b|repeat 3 {|    a|}",
        ),
    ],
)
def test_what_is_repeated_is_peeled(
    text: str, place: int, layers: tuple[ast.Layer, ...], wanted: str
) -> None:
    draft = _layers(text)
    names = [layer.name for layer in draft.layers]
    found = draft.with_layer(place, lambda old: layers)
    assert _written(found) == wanted.replace("|", "\n")
    names[place : place + 1] = [layer.name for layer in layers]
    assert [layer.name for layer in found.layers] == names


@pytest.mark.parametrize("place", range(8))
def test_a_layer_is_put_in(place: int) -> None:
    draft = _layers("a\nrepeat 3 { a\nc\n}")
    names = [layer.name for layer in draft.layers]
    names.insert(place, "b")
    found = draft.with_new_layer(place, ast.Layer("b"))
    assert [layer.name for layer in found.layers] == names
