"""The formatter: the canonical text of a syntax tree, which `azc fmt` writes.

Indentation is four spaces and lines have 88 columns (comments not counted). There is one
statement per line and one blank line between declarations (none between imports unless
the author left one). An expression or list that does not fit is broken inside brackets:
one element per line with a comma after each, or one operand per line after its operator.
Blank lines inside a body are kept, at most one in a row and none at its ends. An empty
body is `{}`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from azc.diagnostics import Diagnostic, DiagnosticError, InternalError
from azc.source import Source
from azc.syntax import ast
from azc.syntax.doc import (
    HARD,
    LINE,
    SOFT,
    Doc,
    Either,
    Own,
    Suffix,
    comments,
    concat,
    flat,
    group,
    indent,
    render,
)
from azc.syntax.operators import UNARY
from azc.syntax.parse import MAX_DEPTH, MAX_TEXT, parse

__all__ = ["format_expr", "format_file", "format_text"]


def _tidy(lines: Sequence[str], first: bool) -> list[str]:
    """Return the lines with at most one blank line in a row, and none at the top if
    `first`.
    """
    tidy: list[str] = []
    for line in lines:
        if line or (tidy[-1] if tidy else not first):
            tidy.append(line)
    return tidy


def _own_lines(lines: Sequence[str]) -> list[Doc]:
    parts: list[Doc] = []
    for line in lines:
        parts.extend((Own(line), HARD) if line else (HARD,))
    return parts


def _closing(lines: Sequence[str], empty: bool) -> list[Doc]:
    """Return the comments before a closing bracket, each after a line break."""
    tidy = _tidy(lines, first=empty)
    while tidy and not tidy[-1]:
        tidy.pop()
    return [part for line in tidy for part in ((HARD, Own(line)) if line else (HARD,))]


def _suffix(node: ast.Node) -> list[Doc]:
    return [Suffix(node.comments.after)] if node.comments.after else []


def _end(node: ast.Node) -> list[Doc]:
    """Return the comment at the end of a node's last line."""
    if isinstance(node, _WITH_BODY):
        return [Suffix(node.comments.end)] if node.comments.end else []
    return _suffix(node)


def _nesting(text: str) -> int:
    depth = deepest = 0
    for char in text:
        if char in "([":
            depth += 1
            deepest = max(deepest, depth)
        elif char in ")]":
            depth -= 1
    return deepest


class _Printer:
    """Converter from nodes to documents.

    Comments in the middle of a line are of two kinds. Those on the operands of a chain
    break the chain. The others, which mutations may leave, are strays: they move above
    the statement, or the bracketed element, around them.
    """

    def __init__(self) -> None:
        self.strays: list[str] = []

    def carry(self, node: ast.Node) -> tuple[list[str], Doc]:
        """Return the comment lines above `node`, and its document."""
        outer, self.strays = self.strays, []
        body = self.content(node)
        above = [*node.comments.before, *self.strays]
        self.strays = outer
        return above, body

    def inner(self, node: ast.Node) -> Doc:
        """Print a node in the middle of a line: its comments are strays."""
        self.stray(node)
        return self.content(node)

    def stray(self, node: ast.Node) -> None:
        self.strays.extend(filter(None, node.comments.before))
        self.strays.extend(filter(None, [node.comments.after]))

    def content(self, node: ast.Node) -> Doc:
        """Print a node without its own comments, except `closing`."""
        match node:
            case ast.Name():
                return node.id
            case ast.Number():
                return node.text
            case ast.Boolean():
                return "true" if node.value else "false"
            case ast.List():
                return self.brackets("[", node.items, "]", node.comments.closing)
            case ast.Range():
                return self.range(node)
            case ast.Attr():
                return concat((node.name, " = ", self.inner(node.value)))
            case ast.Apply() if ast.operator(node):
                return group(self.operation(node))
            case ast.Apply():
                elements = (*node.args, *node.attrs)
                call = self.brackets("(", elements, ")", node.comments.closing)
                return concat((node.op, call))
            case ast.Bind():
                return concat((node.name, " = ", self.right_side(node.value)))
            case ast.Return():
                return concat(("return ", self.right_side(node.value)))
            case ast.Setting():
                return concat((node.name, " = ", self.inner(node.value)))
            case ast.Param():
                return node.name
            case ast.ImportName():
                return f"{node.name} as {node.alias}" if node.alias else node.name
            case _:
                return self.line_like(node)

    def line_like(self, node: ast.Node) -> Doc:
        """Print a declaration, a layer or a block."""
        match node:
            case ast.Import():
                return self.import_(node)
            case ast.Attention():
                params = self.brackets("(", node.params, ")", node.comments.params)
                return self.block(node, node.body, "attention ", node.name, params)
            case ast.Model():
                return self.block(node, node.items, f"model {node.name}")
            case ast.Space():
                return self.block(node, node.items, f"space {node.name}")
            case ast.Layers():
                return self.block(node, node.items, "layers")
            case ast.Repeat():
                count = self.inner(node.count)
                return self.block(node, node.items, "repeat ", count)
            case ast.Block():
                return self.block(node, node.items, node.name)
            case ast.Layer():
                if not node.args:
                    self.strays.extend(filter(None, node.comments.closing))
                    return node.name
                args = self.brackets("(", node.args, ")", node.comments.closing)
                return concat((node.name, args))
            case _:
                raise InternalError(f"no way to print {type(node).__name__}")

    # Brackets

    def elements(self, nodes: Sequence[ast.Node], closing: Sequence[str]) -> list[Doc]:
        parts: list[Doc] = []
        for index, node in enumerate(nodes):
            above, body = self.carry(node)
            if not any(above):
                above = []
            above = _tidy(above, first=not index)
            while above and not above[-1]:
                above.pop()
            if index:
                parts.append(LINE)
            comma: Doc = "," if index < len(nodes) - 1 else Either(",", "")
            parts.extend((*_own_lines(above), body, comma, *_suffix(node)))
        parts.extend(_closing(closing, not nodes)[0 if nodes else 1 :])
        return parts

    def brackets(
        self,
        open_: str,
        nodes: Sequence[ast.Node],
        close: str,
        closing: Sequence[str] = (),
    ) -> Doc:
        if not nodes and not any(closing):
            return open_ + close
        elements = self.elements(nodes, closing)
        return group(open_, indent(SOFT, *elements), SOFT, close)

    def import_(self, node: ast.Import) -> Doc:
        names = self.elements(node.names, node.comments.closing)
        brackets = (Either("(", ""), indent(SOFT, *names), SOFT, Either(")", ""))
        return group(f"from {node.module} import ", *brackets)

    def range(self, node: ast.Range) -> Doc:
        low, high = flat(self.inner(node.low)), flat(self.inner(node.high))
        dots = " .. " if low.endswith(".") or high.startswith(".") else ".."
        return low + dots + high

    # Operators

    def right_side(self, node: ast.Expr) -> Doc:
        """Print the right side of `=` or `return`: a chain that breaks is put in
        parentheses.
        """
        self.stray(node)
        found = ast.operator(node)
        if not isinstance(node, ast.Apply) or not found or found.fixity != "infix":
            return self.content(node)
        chain = self.operation(node, closed=True)
        if _nesting(flat(chain)) + 2 > MAX_DEPTH:  # no room for one more bracket
            self.strays.extend(comments(chain))
            return flat(chain)
        return group(Either("(", ""), indent(SOFT, chain), SOFT, Either(")", ""))

    def operation(self, node: ast.Apply, closed: bool = False) -> Doc:
        """Print an operation with its symbol; an infix chain breaks before each
        operator.

        `closed` means that the chain is in parentheses, so that a line ends after its
        last operand if it breaks.
        """
        self.strays.extend(filter(None, node.comments.closing))
        found = ast.operator(node)
        assert found is not None
        first = node.args[0]
        if found.fixity == "prefix":
            self.stray(first)
            return concat((found.symbol, self.operand(first, UNARY)))
        if found.fixity == "postfix":
            self.stray(first)
            operand = self.operand(first, found.precedence)
            gap = " " if flat(operand).endswith(".") else ""  # `1..T` is a range
            return concat((operand, gap, found.symbol))
        # From the last operand to the first, each with the comments after it. Outside
        # parentheses no line ends after the last operand, so its comment moves above.
        spine: list[tuple[str, ast.Expr, list[str]]] = []
        symbol, chain, after = found.symbol, node, list[str]()
        while True:
            last = chain.args[1]
            after[:0] = filter(None, [last.comments.after])
            if not spine and not closed:
                self.strays.extend(after)
                after = []
            spine.append((symbol, last, after))
            first = chain.args[0]
            before = ast.operator(first)
            if not before or before.precedence != found.precedence:
                break
            assert isinstance(first, ast.Apply)
            self.strays.extend(filter(None, first.comments.before))
            self.strays.extend(filter(None, first.comments.closing))
            symbol, chain = before.symbol, first
            after = [*filter(None, [first.comments.after])]
        self.strays.extend(filter(None, first.comments.before))
        parts: list[Doc] = [self.operand(first, found.precedence), *_suffix(first)]
        for symbol, last, after in reversed(spine):
            own = _own_lines([*filter(None, last.comments.before)])
            doc = self.operand(last, found.precedence + 1)
            parts.extend((LINE, *own, f"{symbol} ", doc, *map(Suffix, after[:1])))
            self.strays.extend(after[1:])
        return concat(parts)

    def operand(self, node: ast.Expr, least: int) -> Doc:
        """Print an operand, in parentheses if its precedence is below `least`.

        The caller prints the operand's own comments.
        """
        found = ast.operator(node)
        if not isinstance(node, ast.Apply) or not found:
            return self.content(node)
        closed = ast.precedence(node) < least
        doc = self.operation(node, closed)
        if closed:
            return group("(", indent(SOFT, doc), SOFT, ")")
        return group(indent(doc)) if found.fixity == "infix" else doc

    # Bodies

    def block(self, node: ast.Node, items: Sequence[ast.Node], *header: Doc) -> Doc:
        parts: list[Doc] = [HARD, *self.lines(items)] if items else []
        parts.extend(_closing(node.comments.closing, not items))
        if not parts and not node.comments.after:
            return concat((*header, " {}"))
        return concat((*header, " {", *_suffix(node), indent(*parts), HARD, "}"))

    def lines(self, items: Sequence[ast.Node]) -> list[Doc]:
        parts: list[Doc] = []
        for index, item in enumerate(items):
            above, body = self.carry(item)
            if index:
                parts.append(HARD)
            parts.extend((*_own_lines(_tidy(above, first=not index)), body))
            parts.extend(_end(item))
        return parts

    def file(self, file: ast.File) -> Doc:
        parts: list[Doc] = []
        previous: ast.Declaration | None = None
        for item in file.declarations:
            above, body = self.carry(item)
            above = _tidy(above, first=previous is None)
            if previous is not None:
                parts.append(HARD)
                imports = isinstance(item, ast.Import) and isinstance(
                    previous, ast.Import
                )
                if not imports and not (above and not above[0]):
                    parts.append(HARD)
            parts.extend((*_own_lines(above), body))
            parts.extend(_end(item))
            previous = item
        closing = _closing(file.comments.closing, empty=True)
        if previous is not None and closing:
            closing = [HARD, *closing]
        elif closing:
            closing = closing[1:]
        return concat((*parts, *closing))


_WITH_BODY = (
    ast.Attention,
    ast.Model,
    ast.Space,
    ast.Layers,
    ast.Repeat,
    ast.Block,
)


def format_file(file: ast.File) -> str:
    """Return the canonical text of a tree, parsed or produced by a mutation, with its
    comments.
    """
    text = render(_Printer().file(file))
    return text + "\n" if text else ""


def format_expr(expr: ast.Expr | ast.Value) -> str:
    """Return an expression or value as text on one line, without comments."""
    return flat(_Printer().content(expr))


def _comments(text: str) -> Counter[str]:
    return Counter(comment.rstrip() for comment in re.findall(r"#[^\n]*", text))


def format_text(source: Source) -> str:
    """Return the canonical text of a file.

    Raises:
        DiagnosticError: If the file does not parse, or its canonical text is too
            long.
        InternalError: If the canonical text is a different program, is not stable,
            or lacks a comment.
    """
    file = parse(source)
    text = format_file(file)
    if len(text) > MAX_TEXT:
        message = f"the formatted file has {len(text):,} characters; the limit is "
        message += f"{MAX_TEXT:,}"
        raise DiagnosticError([Diagnostic("AZG501", message, source.span(0, 1))])
    try:
        again = parse(Source(source.name, text))
    except DiagnosticError as error:
        message = f"formatted {source.name} doesn't parse: {error}"
        raise InternalError(message) from error
    if again != file:
        raise InternalError(f"formatting {source.name} changed its meaning")
    if format_file(again) != text:
        raise InternalError(f"formatting {source.name} twice gives two texts")
    if _comments(text) != _comments(source.text):
        raise InternalError(f"formatting {source.name} lost a comment")
    return text
