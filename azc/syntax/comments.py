"""Comments and blank lines: from where they stand to the node that they describe.

A comment at the end of a line belongs to what ends there, a comment on its own line to
what follows it, or else to the end of the block, list or call around it. In the middle
of an expression it belongs to the operand before or behind it; where there is none that
a line of its own could have, it goes above the statement, or the argument, it is in.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import fields, replace
from typing import Any, TypeVar

from azc.syntax import ast
from azc.syntax.operators import operator

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
_AnyNode = TypeVar("_AnyNode", bound=ast.Node)


def _start(node: ast.Node) -> int:
    return node.span.start


_FIELDS: dict[type[Any], tuple[str, ...]] = {}


def _fields(node: ast.Node) -> tuple[str, ...]:
    """The names of the fields that may hold nodes."""
    kind: type[Any] = type(node)
    if kind not in _FIELDS:
        skipped = {"span", "name_span", "comments", "depth"}
        _FIELDS[kind] = tuple(f.name for f in fields(kind) if f.name not in skipped)
    return _FIELDS[kind]


def _parts(node: ast.Node) -> list[ast.Node]:
    """The nodes directly below `node`, in the order of the text."""
    found: list[ast.Node] = []
    for name in _fields(node):
        value = getattr(node, name)
        if isinstance(value, ast.Node):
            found.append(value)
        elif isinstance(value, tuple):
            found.extend(value)
    return sorted(found, key=_start)


def _in_brackets(node: ast.Node) -> bool:
    """Whether `node` is printed as elements in brackets, which can carry comments."""
    if isinstance(node, ast.Apply):
        return operator(node) is None
    return isinstance(node, _BRACKETS)


def _infix(node: ast.Node) -> bool:
    found = operator(node)
    return found is not None and found.fixity == "infix"


class _Attach:
    def __init__(self, file: ast.File) -> None:
        self.file = file
        self.source = file.span.source
        self.text = self.source.text
        found = re.finditer(r"#[^\n]*|\{", self.text)
        self.braces = [m.start() for m in found if m.group() == "{"]
        self.parts: dict[int, list[ast.Node]] = {}
        self.around: set[int] = set()  # the nodes that comments were found inside
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
        """Whether something stands before a comment in its line."""
        start = self.text.rfind("\n", 0, offset) + 1
        return not self.text[start:offset].isspace() and start < offset

    def behind(self, node: ast.Node, text: str) -> None:
        """Makes a comment the one at the end of a node's line; another goes above."""
        old = self.after.get(id(node))
        if old is not None:
            self.hoisted[id(node)].append(old)
        self.after[id(node)] = text

    def brace(self, block: ast.Node) -> int:
        """Where the body of a block starts."""
        return self.braces[bisect_left(self.braces, block.span.start)]

    def place(self, offset: int, text: str) -> None:
        """Finds the innermost node around a comment, and hands it the comment."""
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
        """Hands a comment inside a statement or an element to one of its operands."""
        carrier = path[0]
        if previous is not None and (following is None or self.follows(offset)):
            self.behind(self.up(path, previous, last=True), text)
            return
        if following is not None:
            held = self.up(path, following, last=False)
            if held is not carrier:
                self.before[id(held)].append(text)
                return
        self.hoisted[id(carrier)].append(text)

    def up(self, path: list[ast.Node], node: ast.Node, last: bool) -> ast.Node:
        """The largest part of an infix chain that ends (or starts) with a node and has
        something behind (or before) it in the chain; else what all is in.
        """
        for above in reversed(path):
            parts = self.parts_of(above)
            edge = parts[-1] if last else parts[0]
            if _infix(above) and node is not edge:
                return node
            node = above
        return path[0]

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

    def rebuild(self, node: _AnyNode, in_block: bool = False) -> _AnyNode:
        """The node with its comments, and the nodes below with theirs."""
        changes: dict[str, Any] = {}
        block = isinstance(node, _BLOCKS)
        for name in _fields(node) if block or id(node) in self.around else ():
            value = getattr(node, name)
            new: Any = value
            if isinstance(value, ast.Node):
                new = self.rebuild(value)
            elif isinstance(value, tuple):
                new = tuple(self.rebuild(part, block) for part in value)
                if all(a is b for a, b in zip(new, value, strict=True)):
                    new = value
            if new is not value:
                changes[name] = new
        key = id(node)
        before = list(self.before.get(key, ()))
        if in_block and not isinstance(node, ast.Param):
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
        if comments != ast.NO_COMMENTS:
            changes["comments"] = comments
        return replace(node, **changes) if changes else node


def attach(file: ast.File, comments: list[tuple[int, str]]) -> ast.File:
    """The file with each comment (offset, text) moved to the node that it describes."""
    work = _Attach(file)
    for offset, text in comments:
        work.place(offset, text.rstrip())
    return work.rebuild(file)
