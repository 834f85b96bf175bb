"""Types of attention programs (AZG1xx names, AZG2xx types, AZG006, AZG503)."""

from __future__ import annotations

import keyword
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace

from azc.check.collect import Findings, Offer, Offers
from azc.check.fixes import Scene, fixes
from azc.check.program import AttentionSpec
from azc.check.rewrite import attribute_help, calls, counted, operation_help, over_axis
from azc.check.words import NAMES
from azc.diagnostics import Fix, Note, nearby
from azc.mixing.attention import live_statements
from azc.ops.contract import Attribute, Op, TypeFault
from azc.ops.table import load_ops
from azc.shapes import SCALAR, TOKENS, D, N, Shape
from azc.source import Span
from azc.syntax import ast
from azc.syntax.format import format_expr

__all__ = ["MAX_OPERATIONS", "check_attention", "count_operations"]

MAX_OPERATIONS = 1000  # operations in one attention program
MAX_NUMBER = 2.0**128 - 2.0**104  # the largest float32
# Arguments and globals of compiled programs, which are Python functions.
RESERVED = frozenset(
    "mask head heads weights self torch operator math inf nan device slice getattr"
    " azc __debug__".split()
) | frozenset(keyword.kwlist)


def count_operations(node: ast.Attention) -> int:
    """Count the operations written in a program: its size in a search space."""
    return sum(
        isinstance(expr, ast.Apply)
        for statement in node.body
        for expr in ast.expressions(statement.value)
    )


def check_attention(
    node: ast.Attention, findings: Findings, programs: Collection[str] = ()
) -> AttentionSpec | None:
    """Check an attention program and infer its types.

    Args:
        node: The declaration.
        findings: Collects the diagnostics.
        programs: Names of attention programs in scope, which expressions can't use.

    Returns:
        The typed program, or None if an error was found.
    """
    spec = _check(node, findings, programs)

    def again(other: ast.Declaration, trial: Findings) -> None:
        assert isinstance(other, ast.Attention)
        _check(other, trial, programs)

    findings.settle(node, again)
    return spec


def _check(
    node: ast.Attention, findings: Findings, programs: Collection[str]
) -> AttentionSpec | None:
    before = findings.count
    size = count_operations(node)
    if size > MAX_OPERATIONS:
        message = (
            f"`{node.name}` has {size:,} operations; the limit is {MAX_OPERATIONS:,}"
        )
        findings.error("AZG503", message, node.name_span)
        return None
    checker = _Checker(node, findings, programs)
    checker.params()
    bindings = checker.body()
    _warn_unused(node, findings)
    if findings.count > before:
        return None
    params = tuple(param.name for param in node.params)
    return AttentionSpec(node.name, params, node, node.body, bindings)


# Yields replacements for the expression of a statement, each with an explanation.
_Candidates = Callable[
    [Scene, ast.Expr, tuple[int, ...]], Iterator[tuple[ast.Expr, str]]
]


class _Checker:
    """Type checker of one program. A type of None means that an error was reported
    already.
    """

    def __init__(
        self, node: ast.Attention, findings: Findings, programs: Collection[str]
    ) -> None:
        self.node = node
        self.findings = findings
        self.programs = programs
        self.types: dict[str, Shape | None] = {}
        self.places: dict[str, Span] = {}  # where a name is bound first
        self.reported: list[ast.Expr] = []  # expressions with a reported error
        self.place = 0  # index of the current statement

    def params(self) -> None:
        node = self.node
        if not node.params:
            message = f"`{node.name}` has no parameters"
            help_ = "each parameter is a projection of the layer's input: (q, k, v)"
            self.findings.error("AZG104", message, node.name_span, help_)
        for param in node.params:
            if param.name in self.types:
                message = f"duplicate parameter `{param.name}`"
                notes = self.first(param.name)
                self.findings.error("AZG102", message, param.span, notes=notes)
            elif param.name in RESERVED:
                message = f"a parameter can't be called `{param.name}`"
                help_ = "the name is reserved in compiled programs"
                self.findings.error("AZG105", message, param.span, help_)
            self.types[param.name] = TOKENS
            self.places.setdefault(param.name, param.span)

    def body(self) -> tuple[tuple[str, Shape], ...]:
        node = self.node
        bindings: list[tuple[str, Shape]] = []
        returned = False
        for place, statement in enumerate(node.body):
            self.place = place
            if returned:
                message = "nothing runs after `return`"
                self.findings.error("AZG107", message, statement.span)
                break
            shape = ast.fold(statement.value, self.part)
            if isinstance(statement, ast.Return):
                returned = True
                self._result(statement, shape)
                continue
            if statement.name in self.types:
                message = f"`{statement.name}` is already bound"
                help_ = "a name can be bound only once; choose another"
                notes = self.first(statement.name)
                self.findings.error(
                    "AZG102", message, statement.span, help_, notes=notes
                )
            self.types[statement.name] = shape
            self.places.setdefault(statement.name, statement.span)
            if shape is not None:
                bindings.append((statement.name, shape))
        if not returned:
            message = f"`{node.name}` returns nothing"
            help_ = "end it with `return` and an expression of type [n, d]"
            self.findings.error("AZG106", message, node.name_span, help_)
        return tuple(bindings)

    def _result(self, statement: ast.Return, shape: Shape | None) -> None:
        if shape is None or shape == TOKENS:
            return
        help_ = _RESULT_HELP.get(str(shape))
        message = f"the result has type {shape}; it must be {TOKENS}"
        offers = self.offers(statement.value, _fixed)
        notes = self.bound(statement.value)
        self.findings.error(
            "AZG202", message, statement.value.span, help_, offers, notes
        )

    def first(self, name: str) -> tuple[Note, ...]:
        """Return a note that shows where a name is first bound."""
        return (Note(f"`{name}` is first bound here", self.places[name]),)

    def bound(self, *exprs: ast.Expr) -> tuple[Note, ...]:
        """Return notes that show where operands have their types from, if each is made
        of one name.
        """
        found: dict[str, Note] = {}
        params = {param.name for param in self.node.params}
        for expr in exprs:
            while isinstance(expr, ast.Apply) and len(expr.args) == 1:
                expr = expr.args[0]
            if isinstance(expr, ast.Name) and expr.id in self.types.keys() - params:
                message = f"`{expr.id}` is {self.types[expr.id]}"
                found[expr.id] = Note(message, self.places[expr.id])
        return tuple(found.values())

    # Expressions

    def part(self, expr: ast.Expr, shapes: list[Shape | None]) -> Shape | None:
        """Return the type of an expression from the types of its operands."""
        if isinstance(expr, ast.Number):
            return self.number(expr)
        if isinstance(expr, ast.Name):
            if expr.id in self.types:
                return self.types[expr.id]
            self._unknown_name(expr)
            return None
        op = load_ops().get(expr.op)
        if op is None:
            self._unknown_operation(expr)
            return None
        attrs_fine = self._attrs(op, expr)
        if len(shapes) != len(op.operands):
            self._arity(op, expr)
            return None
        known_shapes = tuple(shape for shape in shapes if shape is not None)
        if len(known_shapes) != len(shapes):
            return None
        try:
            shape = op.result(known_shapes)
        except TypeFault as fault:
            self.reported.append(expr)
            message = f"{op.name}: {fault.message}"
            offers = self.offers(expr, _fixed)
            notes = self.bound(*expr.args)
            self.findings.error("AZG201", message, expr.span, fault.help, offers, notes)
            return None
        return shape if attrs_fine else None

    def number(self, expr: ast.Number) -> Shape | None:
        if abs(float(expr.value)) > MAX_NUMBER:
            message = f"the number `{expr.text}` is too large for float32"
            self.findings.error("AZG006", message, expr.span, "the limit is 3.4e38")
            return None
        return SCALAR

    def _unknown_name(self, expr: ast.Name) -> None:
        self.reported.append(expr)
        name = expr.id
        if self.findings.full:
            self.findings.error("AZG101", f"unknown name `{name}`", expr.span)
            return
        later = [s for s in self.node.body[self.place :] if isinstance(s, ast.Bind)]
        bound = next((s.span for s in later if s.name == name), None)
        notes: tuple[Note, ...] = ()
        help_: str | None
        if bound is not None:
            help_ = "a name must be bound before it is used"
            notes = (Note(f"`{name}` is bound here", bound),)
        elif name in self.programs:
            help_ = f"`{name}` is an attention program: a layer, not an expression"
        elif name in load_ops():
            names = ", ".join(load_ops()[name].operands)
            help_ = f"`{name}` is an operation; call it: `{name}({names})`"
        else:
            help_ = NAMES.get(name)
        known = list(self.types)

        def candidates(
            scene: Scene, root: ast.Expr, path: tuple[int, ...]
        ) -> Iterator[tuple[ast.Expr, str]]:
            for way, new in counted(root, path, scene):
                yield ast.put(root, way, new), ""
            if help_ is None:
                for near in nearby(name, known):
                    yield ast.put(root, path, ast.Name(near)), ""

        offers = self.offers(expr, candidates)
        self.findings.unknown(
            "AZG101",
            "name",
            name,
            known,
            expr.span,
            help=help_,
            offers=offers,
            notes=notes,
        )

    def _unknown_operation(self, expr: ast.Apply) -> None:
        self.reported.append(expr)
        name, start = expr.op, expr.span.start
        span = Span(expr.span.source, start, start + len(name))
        if self.findings.full:
            self.findings.error("AZG103", f"unknown operation `{name}`", span)
            return
        help_: str | None
        if name in self.types:
            help_ = f"`{name}` is a value; to multiply, write `{self._product(name)}`"
        elif name in self.programs:
            help_ = f"`{name}` is an attention program: a layer, not an expression"
        else:
            help_ = operation_help(name)

        def candidates(
            scene: Scene, root: ast.Expr, path: tuple[int, ...]
        ) -> Iterator[tuple[ast.Expr, str]]:
            for new, why in calls(expr) if name not in self.types else ():
                yield ast.put(root, path, new), why
            for near in nearby(name, load_ops()) if help_ is None else ():
                yield ast.put(root, path, replace(expr, op=near)), ""

        offers = self.offers(expr, candidates)
        known = sorted(load_ops())
        self.findings.unknown(
            "AZG103", "operation", name, known, span, help=help_, offers=offers
        )

    def _product(self, name: str) -> str:
        """Return how a value is multiplied with one of type [n, d]."""
        shape = self.types[name] or TOKENS
        tokens = {N: f"{name} @ x", D: f"{name} @ x.T"}
        return tokens.get(shape.cols, f"{name} * x")

    def _arity(self, op: Op, expr: ast.Apply) -> None:
        self.reported.append(expr)
        takes = len(op.operands)
        plural = "" if takes == 1 else "s"
        message = f"`{op.name}` takes {takes} operand{plural}, not {len(expr.args)}"

        def candidates(
            scene: Scene, root: ast.Expr, path: tuple[int, ...]
        ) -> Iterator[tuple[ast.Expr, str]]:
            if op.name == "transpose" and expr.args:  # transpose(x, -2, -1)
                yield ast.put(root, path, replace(expr, args=expr.args[:1])), ""
            if len(expr.args) != takes + 1:
                return
            extra = expr.args[-1]
            missing = [
                a for a in op.attrs if a.name not in {e.name for e in expr.attrs}
            ]
            if missing and isinstance(extra, ast.Number):
                attr = ast.Attr(missing[0].name, extra)
                new = replace(expr, args=expr.args[:-1], attrs=(*expr.attrs, attr))
                yield ast.put(root, path, new), ""
            yield from _ranked(over_axis(expr, None), scene, root, path)

        help_ = _usage(op)
        if len(expr.args) > takes and op.attrs:
            help_ = f"pass attributes by name: {_call(op)}"
        offers = self.offers(expr, candidates)
        self.findings.error("AZG203", message, expr.span, help_, offers)

    def _attrs(self, op: Op, expr: ast.Apply) -> bool:
        before = self.findings.count
        known = {attribute.name: attribute for attribute in op.attrs}
        given: dict[str, Span] = {}
        slips: set[str] = set()
        for attr in expr.attrs:
            if attr.name not in known:
                self._unknown_attr(op, expr, attr)
                if not self.findings.full:
                    slips.update(nearby(attr.name, known))
            elif attr.name in given:
                message = f"`{attr.name}` is passed twice"
                notes = (Note("it is first passed here", given[attr.name]),)
                self.findings.error("AZG204", message, attr.span, notes=notes)
            else:
                _check_attribute(known[attr.name], attr, self.findings)
            given.setdefault(attr.name, attr.span)
        for attribute in op.attrs:
            # A misspelled name, or a value without a name, is one error and not two.
            unnamed = len(expr.args) > len(op.operands)
            if attribute.name not in given.keys() | slips and not unnamed:
                message = f"`{op.name}` needs `{attribute.name}`: {attribute.doc}"
                help_ = f"{op.name}({', '.join(op.operands)}, {attribute.name} = 3)"
                self.findings.error("AZG205", message, expr.span, help_)
        return self.findings.count == before

    def _unknown_attr(self, op: Op, expr: ast.Apply, attr: ast.Attr) -> None:
        known = [attribute.name for attribute in op.attrs]

        def candidates(
            scene: Scene, root: ast.Expr, path: tuple[int, ...]
        ) -> Iterator[tuple[ast.Expr, str]]:
            yield from _ranked(over_axis(expr, attr), scene, root, path)
            for near in nearby(attr.name, known):
                new = ast.swapped(expr, attr, replace(attr, name=near))
                yield ast.put(root, path, new), ""

        message = f"`{op.name}` takes no `{attr.name}`"
        offers = self.offers(expr, candidates)
        help_ = attribute_help(expr, attr.name) or _usage(op)
        self.findings.error("AZG204", message, attr.span, help_, offers)

    # Fixes

    def offers(self, expr: ast.Expr, candidates: _Candidates) -> Offers | None:
        """Return fixes for an error in an expression of the current statement."""
        made = expr.span.source is ast.NO_SPAN.source
        if made or self.findings.trial or self.findings.full:
            return None
        place, types = self.place, dict(self.types)

        def offers() -> Iterable[Offer]:
            statement, *rest = self.node.body[place:]
            root = statement.value
            path = _way(root, expr)
            reported = [other for other in self.reported if other is not expr]
            params = [param.name for param in self.node.params]
            used = _used(self.node.body)
            unused = [name for name in params if name not in used]
            scene = Scene(types, statement, rest, reported, unused, params)
            for new, why in candidates(scene, root, path):
                fix = _fix(root, new, path)
                if fix is not None:
                    body = list(self.node.body)
                    body[place] = replace(statement, value=new)
                    words = f"did you mean `{_shortened(fix.text)}`?"
                    words += f" {_sentence(why)}" if why else ""
                    yield Offer(replace(self.node, body=tuple(body)), fix, words)

        return offers


_RESULT_HELP = {
    "[n, n]": "scores weigh the tokens of a parameter: `softmax(s) @ v`",
    "[d, d]": "a state is read by a parameter: `q @ s`",
    "[n, 1]": "a column is broadcast over a parameter: `s * v`",
    "[1, 1]": "a number is broadcast over a parameter: `2 * v`",
    "[d, n]": "its transpose is [n, d]: `s.T`",
    "[d, 1]": "its transpose is broadcast over a parameter: `s.T * v`",
    "[1, n]": "its transpose is broadcast over a parameter: `s.T * v`",
    "[1, d]": "a row is broadcast over a parameter: `s * v`",
}


def _fixed(
    scene: Scene, root: ast.Expr, path: tuple[int, ...]
) -> Iterator[tuple[ast.Expr, str]]:
    return ((new, "") for new in fixes(scene, root))


def _ranked(
    found: Iterable[tuple[ast.Expr, str]],
    scene: Scene,
    root: ast.Expr,
    path: tuple[int, ...],
) -> list[tuple[ast.Expr, str]]:
    """Put replacements at `path`, those first that cause no fault later."""
    whole = [(ast.put(root, path, new), why) for new, why in found]

    def upsets(each: tuple[ast.Expr, str]) -> bool:
        return scene.fault(each[0]) is not None or scene.upsets()

    return sorted(whole, key=upsets)


def _way(root: ast.Expr, part: ast.Expr) -> tuple[int, ...]:
    """Return the path from `root` to a part."""
    todo: list[tuple[ast.Expr, tuple[int, ...]]] = [(root, ())]
    while todo:
        expr, path = todo.pop()
        if expr is part:
            return path
        if isinstance(expr, ast.Apply):
            todo.extend((arg, (*path, i)) for i, arg in enumerate(expr.args))
    return ()


def _fix(root: ast.Expr, new: ast.Expr, path: tuple[int, ...]) -> Fix | None:
    """Return the smallest edit that covers the part at `path` and all changes.

    Where that would remove a comment, it is the smallest edit that covers the changes.
    """
    above: ast.Apply | None = None
    depth = 0
    while isinstance(root, ast.Apply) and isinstance(new, ast.Apply):
        if depth >= len(path) and "#" not in root.span.text:
            break
        if (root.op, root.attrs, len(root.args)) != (new.op, new.attrs, len(new.args)):
            break
        pairs = list(zip(root.args, new.args, strict=True))
        differ = [i for i, (old, other) in enumerate(pairs) if old is not other]
        outside = depth < len(path) and differ != [path[depth]]
        if len(differ) != 1 or outside:
            break
        above, root, new = root, *pairs[differ[0]]
        depth += 1
    if "#" in root.span.text:
        return None
    if _renamed(root, new):
        assert isinstance(root, ast.Apply)
        assert isinstance(new, ast.Apply)
        start = root.span.start
        return Fix(replace(root.span, end=start + len(root.op)), new.op)
    text = format_expr(new)
    if above is not None and ast.precedence(new) < _least(above, root):
        text = f"({text})"
    return Fix(root.span, text)


def _renamed(old: ast.Expr, new: ast.Expr) -> bool:
    """Return whether a call differs only in the name of its operation."""
    return (
        isinstance(old, ast.Apply)
        and isinstance(new, ast.Apply)
        and ast.operator(new) is None
        and old.args is new.args
        and old.attrs is new.attrs
        and old.span.text.startswith(old.op)
    )


def _least(above: ast.Apply, part: ast.Expr) -> int:
    """Return the precedence that an operand needs in place of `part` without
    parentheses.
    """
    found = ast.operator(above)
    source = part.span.source.text
    before = source[: part.span.start].rstrip()[-1:]
    after = source[part.span.end :].lstrip()[:1]
    if found is None or (before == "(" and after == ")"):
        return 0
    return found.precedence + (found.fixity == "infix" and above.args[1] is part)


def _sentence(text: str) -> str:
    """Capitalise a text that does not begin with code."""
    return text if text.startswith("`") else f"{text[0].upper()}{text[1:]}"


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:28]} … {text[-28:]}"


def _call(op: Op) -> str:
    return (
        f"{op.name}({', '.join([*op.operands, *(f'{a.name} = …' for a in op.attrs)])})"
    )


def _usage(op: Op) -> str:
    return f"{_call(op)}: {op.doc}"


def _used(body: tuple[ast.Statement, ...]) -> set[str]:
    """Return the names that occur in expressions."""
    return {
        expr.id
        for statement in body
        for expr in ast.expressions(statement.value)
        if isinstance(expr, ast.Name)
    }


def _check_attribute(attribute: Attribute, attr: ast.Attr, findings: Findings) -> None:
    value = attr.value.value if isinstance(attr.value, ast.Number) else None
    low, high = attribute.minimum, attribute.maximum
    kind = "an odd number" if attribute.odd else "a whole number"
    span = attr.value.span
    if not isinstance(value, int) or not low <= value <= high:
        message = f"`{attribute.name}` must be {kind} from {low:,} to {high:,}"
        findings.error("AZG206", message, span)
    elif attribute.odd and value % 2 == 0:
        message = f"`{attribute.name}` must be {kind}, not {value}"
        findings.error("AZG206", message, span, f"{value - 1} or {value + 1}")


def _warn_unused(node: ast.Attention, findings: Findings) -> None:
    used = {
        expr.id
        for statement in live_statements(node.body)
        for expr in ast.expressions(statement.value)
        if isinstance(expr, ast.Name)
    }
    for param in node.params:
        if param.name not in used:
            message = f"the parameter `{param.name}` has no effect on the result"
            findings.warn("AZG110", message, param.span)
    for statement in node.body:
        if isinstance(statement, ast.Bind) and statement.name not in used:
            message = f"`{statement.name}` has no effect on the result"
            findings.warn("AZG111", message, statement.span)
