"""Comments: which node each is handed to, and the blank lines kept with them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azc.source import Source
from azc.syntax import ast
from azc.syntax.format import format_file
from azc.syntax.parse import parse
from tests.strategies import files, layouts


def read(text: str) -> ast.File:
    return parse(Source("test.azg", text))


def all_comments(node: ast.Node) -> list[str]:
    """Every comment in a tree, wherever it is attached."""
    held = node.comments
    found = [*held.before, *held.closing, *held.params]
    found += filter(None, [held.after, held.end])
    for value in vars(node).values():
        children = value if isinstance(value, tuple) else (value,)
        for child in children:
            if isinstance(child, ast.Node):
                found += all_comments(child)
    return [comment for comment in found if comment]


@given(st.data(), files())
def test_every_comment_is_attached_once(data: st.DataObject, file: ast.File) -> None:
    text, comments = data.draw(layouts(file))
    assert sorted(all_comments(read(text))) == sorted(comments)


def test_statements() -> None:
    (attention,) = read(
        "attention a(q) {  # opening\n"
        "    # above\n"
        "    x = q  # beside\n"
        "\n"
        "    # apart\n"
        "\n"
        "    return x\n"
        "    # closing\n"
        "}  # after\n"
    ).declarations
    bind, returned = attention.body
    assert attention.comments == ast.Comments(
        after="# opening", closing=("# closing",), end="# after"
    )
    assert bind.comments == ast.Comments(("# above",), "# beside")
    assert returned.comments == ast.Comments(("", "# apart", ""))


def test_header_stays_apart() -> None:
    file = read("# header\n\n# about\nmodel m {}\n# last\n")
    assert file.declarations[0].comments.before == ("# header", "", "# about")
    assert file.comments.closing == ("# last",)


@pytest.mark.parametrize(
    "text",
    [
        "space s {\n x = [\n # above\n neg, # beside\n add\n # closing\n ]\n}",
        "model m {\n x = [ # above\n neg # beside\n , add, # closing\n ]\n}",
    ],
)
def test_list_elements(text: str) -> None:
    (declaration,) = read(text).declarations
    items = declaration.items[0].value
    assert items.items[0].comments == ast.Comments(("# above",), "# beside")
    if "add\n" in text:
        assert items.comments.closing == ("# closing",)
    else:
        assert items.items[1].comments.after == "# closing"


def test_call_arguments() -> None:
    (attention,) = read(
        "attention a(q) {\n"
        "    return f(\n"
        "        # above\n"
        "        q @ q.T,  # beside\n"
        "        k = 3  # keyword\n"
        "        # closing\n"
        "    )  # statement\n"
        "}"
    ).declarations
    statement = attention.body[0]
    call = statement.value
    assert statement.comments == ast.Comments(after="# statement")
    assert call.comments == ast.Comments(closing=("# closing",))
    assert call.args[0].comments == ast.Comments(("# above",), "# beside")
    assert call.attrs[0].comments == ast.Comments(after="# keyword")


def test_params_and_imports() -> None:
    imported, attention = read(
        "from a import (\n"
        "    b,  # of b\n"
        "    # above c\n"
        "    c\n"
        "    # closing\n"
        ")  # of the import\n"
        "attention a(  # above q\n"
        "    q,  # of q\n"
        "    k\n"
        "    # under k\n"
        ") { return q }\n"
    ).declarations
    assert imported.comments == ast.Comments(
        after="# of the import", closing=("# closing",)
    )
    assert imported.names[0].comments.after == "# of b"
    assert imported.names[1].comments.before == ("# above c",)
    assert attention.params[0].comments == ast.Comments(("# above q",), "# of q")
    assert attention.params[1].comments == ast.NO_COMMENTS
    assert attention.comments == ast.Comments(params=("# under k",))


def test_inside_an_expression_it_stays_with_an_operand() -> None:
    (attention,) = read(
        "attention a(q) {\n"
        "    # above\n"
        "    x = (q  # behind q\n"
        "        + f(q  # argument\n"
        "            * q)\n"
        "        # above the term\n"
        "        - q)  # beside\n"
        "}"
    ).declarations
    bind = attention.body[0]
    assert bind.comments == ast.Comments(("# above",), "# beside")
    total, term = bind.value.args
    assert term.comments == ast.Comments(("# above the term",))
    assert total.args[0].comments == ast.Comments(after="# behind q")
    argument = total.args[1].args[0]
    assert argument.args[0].comments == ast.Comments(after="# argument")


def test_where_no_operand_can_have_it_a_comment_goes_above() -> None:
    (attention,) = read(
        "attention a(q) {\n"
        "    x = (  # what follows\n"
        "        q + -(  # a sign\n"
        "            q))  # beside\n"
        "}"
    ).declarations
    bind = attention.body[0]
    assert bind.comments == ast.Comments(("# what follows",), "# beside")
    assert bind.value.args[1].comments == ast.Comments(("# a sign",))


def test_blocks_of_layers() -> None:
    (model,) = read(
        "model m {  # model\n"
        "    layers {  # layers\n"
        "        sdpa  # first\n"
        "        repeat 2 { sdpa }  # repeat\n"
        "        repeat 3 {\n"
        "            conv(kernel = 3)\n"
        "        }  # end\n"
        "    }\n"
        "}"
    ).declarations
    layers = model.items[0]
    assert model.comments.after == "# model"
    assert layers.comments.after == "# layers"
    assert layers.items[0].comments.after == "# first"
    assert layers.items[1].comments == ast.Comments(end="# repeat")
    assert layers.items[2].comments == ast.Comments(end="# end")


def test_crlf_and_trailing_whitespace() -> None:
    text = "model m {\r\n x = 1 # beside \t\r\n\r\n # above\r\n y = 2\r\n}"
    (model,) = read(text).declarations
    first, second = model.items
    assert first.comments.after == "# beside"
    assert second.comments.before == ("", "# above")


def test_comments_move_with_their_node() -> None:
    file = read(
        "model m {\n"
        "    layers {\n"
        "        # why\n"
        "        a  # beside\n"
        "        b\n"
        "    }\n"
        "}\n"
    )
    (model,) = file.declarations
    layers = model.items[0]
    turned = replace(layers, items=layers.items[::-1])
    moved = replace(file, declarations=(replace(model, items=(turned,)),))
    assert format_file(moved) == (
        "model m {\n"
        "    layers {\n"
        "        b\n"
        "        # why\n"
        "        a  # beside\n"
        "    }\n"
        "}\n"
    )
