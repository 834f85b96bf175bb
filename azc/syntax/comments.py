"""Attachment of comments and blank lines to the nodes that they describe.

A comment at the end of a line belongs to the node that ends there. A comment on its own
line belongs to the node after it, or at the end of a block, list or call, to that
block, list or call. In the middle of an expression it belongs to the operand before or
after it, and so does a comment after the last operand in parentheses. If no operand
could be on a line of its own, the comment moves above the statement or the argument.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from typing import Any

from azc.syntax import ast

__all__ = ["attach"]

_BLOCKS = (
    ast.File,
    ast.Attention,
    ast.Model,
    ast.Space,
    ast.Layers,
    ast.Repeat,
    ast.Block,
)
_BRACKETS = (ast.List, ast.Layer, ast.Import)


def _start(node: ast.Node) -> int:
    return node.span.start


def _parts(node: ast.Node) -> list[ast.Node]:
    """Return the direct children of `node`, in the order of the text."""
    return sorted(ast.parts(node), key=_start)


def _in_brackets(node: ast.Node) -> bool:
    """Return whether `node` is printed as elements in brackets, which can carry
    comments.
    """
    if isinstance(node, ast.Apply):
        return ast.operator(node) is None
    return isinstance(node, _BRACKETS)


def _infix(node: ast.Node) -> bool:
    found = ast.operator(node)
    return found is not None and found.fixity == "infix"


def _in_parentheses(outer: ast.Node, chain: ast.Node) -> bool:
    """Return whether `chain`, an operator chain directly below `outer`, is printed in
    parentheses.
    """
    if not _infix(chain) or isinstance(outer, ast.Bind | ast.Return):
        return _infix(chain)
    found = ast.operator(outer)
    if found is None or found.fixity != "infix":
        return found is not None
    last = chain is _parts(outer)[-1]
    return ast.precedence(chain) < found.precedence + last


class _Attach:
    def __init__(self, file: ast.File) -> None:
        self.file = file
        self.source = file.span.source
        self.text = self.source.text
        self.braces: list[int] = []
        self.brackets: list[int] = []  # offsets of `(` and `)`
        self.open = [0]  # number open before the first bracket and after each
        for found in re.finditer(r"#[^\n]*|[{()]", self.text):
            if found[0] == "{":
                self.braces.append(found.start())
            elif found[0] in "()":
                self.brackets.append(found.start())
                self.open.append(self.open[-1] + (1 if found[0] == "(" else -1))
        self.parts: dict[int, list[ast.Node]] = {}
        self.around: set[int] = set()  # ids of nodes with comments inside
        self.before: dict[int, list[str]] = defaultdict(list)
        self.hoisted: dict[int, list[str]] = defaultdict(list)
        self.after: dict[int, str] = {}
        self.closing: dict[int, list[str]] = defaultdict(list)
        self.params: dict[int, list[str]] = defaultdict(list)
        self.end: dict[int, str] = {}

    def parts_of(self, node: ast.Node) -> list[ast.Node]:
        if id(node) not in self.parts:
            self.parts[id(node)] = _parts(node)
        return self.parts[id(node)]

    def blank_above(self, offset: int) -> list[str]:
        line = self.source.position(offset)[0]
        return [""] if line > 1 and not self.source.line(line - 1).strip() else []

    def same_line(self, start: int, end: int) -> bool:
        return self.text.find("\n", start, end) < 0

    def follows(self, offset: int) -> bool:
        """Return whether there is code before the comment at `offset` in its line."""
        start = self.text.rfind("\n", 0, offset) + 1
        return not self.text[start:offset].isspace() and start < offset

    def behind(self, node: ast.Node, text: str) -> None:
        """Make a comment the one at the end of a node's line; an earlier one moves
        above the node.
        """
        old = self.after.get(id(node))
        if old is not None:
            self.hoisted[id(node)].append(old)
        self.after[id(node)] = text

    def depth(self, offset: int) -> int:
        """Return the number of parentheses open at `offset`."""
        return self.open[bisect_left(self.brackets, offset)]

    def brace(self, block: ast.Node) -> int:
        """Return the offset of the brace that opens the body of `block`."""
        return self.braces[bisect_left(self.braces, block.span.start)]

    def place(self, offset: int, text: str) -> None:
        """Find the innermost node around a comment and attach the comment there."""
        owner: ast.Node = self.file
        # From the innermost node with a line of its own down to the owner.
        path: list[ast.Node] = [self.file]
        while True:
            self.around.add(id(owner))
            parts = self.parts_of(owner)
            index = bisect_right(parts, offset, key=_start)
            if not index or parts[index - 1].span.end <= offset:
                break
            if isinstance(owner, _BLOCKS) or _in_brackets(owner):
                path = []
            owner = parts[index - 1]
            path.append(owner)
        previous = parts[index - 1] if index else None
        following = parts[index] if index < len(parts) else None
        if isinstance(owner, _BLOCKS):
            self.in_block(owner, previous, following, offset, text)
        elif _in_brackets(owner):
            self.between(owner, previous, following, offset, text)
        else:
            self.in_line(path, previous, following, offset, text)

    def in_line(
        self,
        path: list[ast.Node],
        previous: ast.Node | None,
        following: ast.Node | None,
        offset: int,
        text: str,
    ) -> None:
        """Attach a comment inside a statement or an element to one of its operands."""
        carrier = path[0]
        if previous is not None and (following is None or self.follows(offset)):
            self.behind(self.ends(path, previous, offset), text)
            return
        if following is not None:
            held = self.starts(path, following)
            if held is not carrier:
                self.before[id(held)].append(text)
                return
        self.hoisted[id(carrier)].append(text)

    def starts(self, path: list[ast.Node], node: ast.Node) -> ast.Node:
        """Return the largest part of a chain that starts with `node` and follows an
        operator, or `path[0]` if there is none.
        """
        for above in reversed(path):
            if _infix(above) and node is not self.parts_of(above)[0]:
                return node
            node = above
        return path[0]

    def ends(self, path: list[ast.Node], node: ast.Node, offset: int) -> ast.Node:
        """Return the largest part of a chain that ends with `node` before `offset` and
        is followed by an operator or by the parenthesis that closes the chain, or
        `path[0]` if there is none.
        """
        if self.encloses(path[-1], node, offset):
            self.around.add(id(node))
            return self.parts_of(node)[-1]
        for place in reversed(range(len(path))):
            above = path[place]
            inside = place > 0 and self.encloses(path[place - 1], above, offset)
            if _infix(above) and (inside or node is not self.parts_of(above)[-1]):
                return node
            node = above
        return path[0]

    def encloses(self, outer: ast.Node, chain: ast.Node, offset: int) -> bool:
        """Return whether `chain` is in parentheses that are still open at `offset` and
        that the canonical form keeps where the chain takes several lines.
        """
        return (
            _in_parentheses(outer, chain)
            and self.depth(offset) > self.depth(outer.span.start)
        )  # fmt: skip

    def in_block(
        self,
        block: ast.Node,
        previous: ast.Node | None,
        following: ast.Node | None,
        offset: int,
        text: str,
    ) -> None:
        if not isinstance(block, ast.File):
            brace = self.brace(block)
            if offset < brace:
                self.in_params(block, previous, following, offset, text)
                return
            if previous is not None and previous.span.start < brace:
                previous = None  # a parameter, or a count
            if previous is None and self.same_line(brace, offset):
                self.after[id(block)] = text
                return
        self.between(block, previous, following, offset, text)

    def in_params(
        self,
        block: ast.Node,
        previous: ast.Node | None,
        following: ast.Node | None,
        offset: int,
        text: str,
    ) -> None:
        if isinstance(following, ast.Param) or (
            previous is not None and self.follows(offset)
        ):
            self.between(block, previous, following, offset, text)
        elif isinstance(block, ast.Attention):
            self.params[id(block)].extend([*self.blank_above(offset), text])
        else:
            self.hoisted[id(block)].append(text)

    def between(
        self,
        owner: ast.Node,
        previous: ast.Node | None,
        following: ast.Node | None,
        offset: int,
        text: str,
    ) -> None:
        if previous is not None and self.follows(offset):
            if isinstance(previous, _BLOCKS):
                self.end[id(previous)] = text
            else:
                self.behind(previous, text)
            return
        lines = [*self.blank_above(offset), text]
        if following is not None:
            self.before[id(following)].extend(lines)
        elif isinstance(owner, ast.Layer) and not owner.args:
            self.hoisted[id(owner)].append(text)
        else:
            self.closing[id(owner)].extend(lines)

    def enters(self, node: ast.Node) -> bool:
        """Return whether nodes below `node` may have comments, or blank lines above
        them.
        """
        return isinstance(node, _BLOCKS) or id(node) in self.around

    def carried(self, node: ast.Node, above: ast.Node | None) -> dict[str, Any]:
        """Return the changed `comments` field of `node`, or nothing if it has no
        comments.
        """
        key = id(node)
        before = list(self.before.get(key, ()))
        # Parameters and the count of a `repeat` stand in the block's first line.
        in_line = isinstance(node, ast.Param | ast.Number)
        if isinstance(above, _BLOCKS) and not in_line:
            before.extend(self.blank_above(node.span.start))
        before.extend(self.hoisted.get(key, ()))
        closing = self.closing.get(key, ())
        comments = ast.Comments(
            tuple(before),
            self.after.get(key),
            tuple(closing),
            tuple(self.params.get(key, ())),
            self.end.get(key),
        )
        return {"comments": comments} if comments != ast.NO_COMMENTS else {}


def attach(file: ast.File, comments: list[tuple[int, str]]) -> ast.File:
    """Attach each comment to the node that it describes.

    Args:
        file: The parsed file, without comments.
        comments: The offset and text of each comment, in the order of the text.

    Returns:
        The file with comments and blank lines in its nodes.
    """
    work = _Attach(file)
    for offset, text in comments:
        work.place(offset, text.rstrip())
    return ast.rebuilt(file, work.carried, work.enters)
