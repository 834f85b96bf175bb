"""Fixes for expressions whose types do not fit: a search over small edits.

Each edited expression is typed again; if the edit leads to another fault further out,
edits for that fault follow. The cheapest sequence of edits to an expression without a
fault comes first. Costs say how likely a slip is: a forgotten transposition costs 1,
and all other costs are relative to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import count

from azc.ops.contract import TypeFault
from azc.ops.table import load_ops
from azc.shapes import SCALAR, TOKENS, N, Shape
from azc.syntax import ast
from azc.syntax.operators import ATOM

__all__ = ["Fault", "Scene", "fixes", "transposed"]

_STEPS = 150  # expressions examined in one search
_WORK = 10_000  # approximate number of their parts in total
_DEAREST = 2.5  # largest total cost of a suggested edit
_WIDE = 40  # parts of a faulty expression that are edited
_ELSEWHERE = 2.0  # cost of a fault that appears in a later statement

_REDUCE = frozenset({"sum", "mean", "amax"})

_Path = tuple[int, ...]
_Edit = tuple[float, ast.Expr]
_Tree = tuple[ast.Expr, _Path, ast.Expr]  # root, path, and the new part at that path


@dataclass(frozen=True)
class Fault:
    """The place where an expression has no type.

    Its operands don't fit or, if `result`, the type of the whole expression is not the
    wanted one.
    """

    path: _Path
    expr: ast.Expr
    shapes: tuple[Shape, ...]
    result: bool = False


class Scene:
    """The context that an expression is typed in: names in scope and the statements
    after it.

    `reported` holds parts that already have an error; they are taken to be of any type.
    """

    def __init__(
        self,
        types: Mapping[str, Shape | None],
        statement: ast.Statement,
        rest: Sequence[ast.Statement],
        reported: Iterable[ast.Expr],
        unused: Sequence[str],
        params: Sequence[str],
    ) -> None:
        self.types = types
        self.statement = statement
        self.rest = rest
        self.reported = {id(expr): expr for expr in reported}
        self.unused = unused
        self.params = params
        self.shape: Shape | None = None  # of the expression typed last
        self._known: dict[int, tuple[ast.Expr, Shape | None]] = {
            key: (expr, None) for key, expr in self.reported.items()
        }

    def fault(self, root: ast.Expr) -> Fault | None:
        """Return the first fault of an expression in place of the statement's."""
        found = _first_fault(root, self.types, self._known)
        if isinstance(found, Fault):
            return found
        self.shape = found
        returned = isinstance(self.statement, ast.Return)
        if returned and found is not None and found != TOKENS:
            return Fault((), root, (found,), result=True)
        return None

    def typed(self, part: ast.Expr) -> Shape | None:
        """Return the type of a part, or None if it is unknown."""
        found = _first_fault(part, self.types, self._known)
        return None if isinstance(found, Fault) else found

    def upsets(self) -> bool:
        """Return whether the type of the last typed expression causes a fault in a
        later statement.
        """
        if isinstance(self.statement, ast.Return):
            return False
        types = {**self.types, self.statement.name: self.shape}
        known = {key: (expr, None) for key, expr in self.reported.items()}
        later: dict[int, tuple[ast.Expr, Shape | None]] = dict(known)
        for statement in self.rest:
            found = _first_fault(statement.value, types, later)
            if isinstance(found, Fault):
                return True
            if isinstance(statement, ast.Return):
                return found is not None and found != TOKENS
            types.setdefault(statement.name, found)
        return False


def _first_fault(
    root: ast.Expr,
    types: Mapping[str, Shape | None],
    known: dict[int, tuple[ast.Expr, Shape | None]],
) -> Fault | Shape | None:
    """Return the first fault of an expression, or its type; None means any type.
    `known` caches the types of parts.
    """
    shapes: list[Shape | None] = []
    # Entries that are ready are the ancestors; each has its index among the operands.
    todo: list[tuple[ast.Expr, int, bool]] = [(root, 0, False)]
    while todo:
        expr, place, ready = todo.pop()
        shape: Shape | None
        if id(expr) in known:
            shape = known[id(expr)][1]
        elif isinstance(expr, ast.Name):
            shape = types.get(expr.id)
        elif isinstance(expr, ast.Number):
            shape = SCALAR
        elif not ready:
            todo.append((expr, place, True))
            inner = [(arg, i, False) for i, arg in enumerate(expr.args)]
            todo.extend(reversed(inner))
            continue
        else:
            first = len(shapes) - len(expr.args)
            operands = shapes[first:]
            del shapes[first:]
            found = _applied(expr, operands)
            if isinstance(found, tuple):
                way = [above for _, above, waits in todo if waits]
                return Fault((*way, place)[1:], expr, found)
            shape = found
        known[id(expr)] = expr, shape
        shapes.append(shape)
    return shapes[0]


def _applied(
    expr: ast.Apply, operands: list[Shape | None]
) -> Shape | tuple[Shape, ...] | None:
    """Return the type of an operation, None if it can't be known, or the operand types
    that don't fit.
    """
    op = load_ops().get(expr.op)
    shapes = tuple(shape for shape in operands if shape is not None)
    if op is None or not len(op.operands) == len(operands) == len(shapes):
        return None
    try:
        return op.result(shapes)
    except TypeFault:
        return shapes


def fixes(scene: Scene, root: ast.Expr) -> Iterator[ast.Expr]:
    """Iterate over expressions without a fault that may have been meant, the likeliest
    first.
    """
    order = count()
    todo: list[tuple[float, int, _Tree]] = [(0.0, next(order), (root, (), root))]
    sound: list[tuple[float, int, ast.Expr]] = []
    seen: set[ast.Expr] = set()
    size = sum(1 for _ in ast.expressions(root))
    for _ in range(min(_STEPS, 4 + _WORK // size)):
        if not todo:
            break
        cost, _, (tree, path, part) = heappop(todo)
        while sound and sound[0][0] <= cost:
            yield heappop(sound)[2]
        tree = ast.put(tree, path, part)
        if tree in seen:
            continue
        seen.add(tree)
        fault = scene.fault(tree)
        if fault is None:
            more = _ELSEWHERE if scene.upsets() else 0.0
            heappush(sound, (cost + more, next(order), tree))
            continue
        for price, way, new in _edits(fault, tree, scene):
            if cost + price <= _DEAREST:
                heappush(todo, (cost + price, next(order), (tree, way, new)))
    while sound:
        yield heappop(sound)[2]


# Edits


def transposed(expr: ast.Expr) -> ast.Expr:
    """Transpose an expression; a transpose becomes its operand."""
    if isinstance(expr, ast.Apply) and expr.op == "transpose" and len(expr.args) == 1:
        return expr.args[0]
    return ast.Apply("transpose", (expr,))


def _is_transposed(expr: ast.Expr | None) -> bool:
    return expr is not None and transposed(expr).depth < expr.depth


def _factors(expr: ast.Expr) -> tuple[ast.Expr, ast.Expr] | None:
    if not isinstance(expr, ast.Apply) or expr.op != "matmul" or len(expr.args) != 2:
        return None
    return expr.args[0], expr.args[1]


def _edits(
    fault: Fault, tree: ast.Expr, scene: Scene
) -> Iterator[tuple[float, _Path, ast.Expr]]:
    """Iterate over edits that may remove a fault: the cost, and a new part for a
    path.
    """
    if fault.result:
        first = tree is scene.statement.value
        for price, new in _result_edits(tree, fault.shapes[0], scene, first):
            yield price, (), new
    else:
        assert isinstance(fault.expr, ast.Apply)
        for price, new in _own_edits(fault.expr, fault.shapes):
            yield price, fault.path, new
    for path, part in _parts(fault.expr):
        if path or fault.result:
            for price, new in _inner_edits(part, scene, path, fault.expr):
                yield price, (*fault.path, *path), new


def _own_edits(expr: ast.Apply, shapes: tuple[Shape, ...]) -> Iterator[_Edit]:
    """Edit an operation whose operands don't fit."""
    args = expr.args
    for place in reversed(range(len(args))):
        # An extra transposition is as likely as a missing one, and more likely for the
        # last operand than for the first.
        price = 1.0 if _is_transposed(args[place]) or expr.op == "matmul" else 1.3
        turned = transposed(args[place])
        yield price + 0.1 * (len(args) - 1 - place), ast.put(expr, (place,), turned)
        part = args[place]
        if isinstance(part, ast.Apply) and part.op in _REDUCE and len(part.args) == 1:
            # A sum over the wrong axis, unless the author transposed it on purpose.
            price = 1.4 if _is_transposed(part.args[0]) else 1.05
            other = replace(part, args=(transposed(part.args[0]),))
            yield price, ast.put(expr, (place,), other)
    if len(args) == 2:
        both = all(map(_is_transposed, args))
        yield 1.2 if both else 1.9, replace(expr, args=tuple(map(transposed, args)))
    if expr.op == "matmul":
        yield from _product_edits(expr, *args)
    elif expr.op == "mul":
        a, b = args
        yield 1.2, ast.Apply("matmul", (a, b))
        yield 1.4, ast.Apply("matmul", (a, transposed(b)))
    elif len(args) == 1:
        yield from _inward_edits(expr, args[0])


def _inward_edits(expr: ast.Apply, inner: ast.Expr) -> Iterator[_Edit]:
    """Move an operation further in: rope of scores, f(x.T)."""
    if _is_transposed(inner):
        yield 1.15, transposed(replace(expr, args=(transposed(inner),)))
    factors = _factors(inner)
    if factors and expr.op == "rope":
        a, b = factors
        turned = _is_transposed(b)
        b = replace(expr, args=(transposed(b) if turned else b,))
        new = transposed(b) if turned else b
        yield 1.3, ast.Apply("matmul", (replace(expr, args=(a,)), new))


def _product_edits(expr: ast.Apply, a: ast.Expr, b: ast.Expr) -> Iterator[_Edit]:
    """Reorder factors, or move parentheses."""
    yield 1.3, replace(expr, args=(b, a))
    if (factors := _factors(a)) is not None:
        x, y = factors
        yield 1.2, ast.Apply("matmul", (x, ast.Apply("matmul", (y, b))))
    if (factors := _factors(b)) is not None:
        x, y = factors
        yield 1.2, ast.Apply("matmul", (ast.Apply("matmul", (a, x)), y))


def _result_edits(
    tree: ast.Expr, shape: Shape, scene: Scene, first: bool
) -> Iterator[_Edit]:
    """Edit a result that is not `[n, d]`; `first` if nothing else was edited."""
    if shape == TOKENS.T:
        yield 1.0, transposed(tree)
    if not first and _factors(tree) is not None:
        return  # don't multiply a product that was just edited once more
    spare = [name for name in scene.unused if name in scene.params]
    if shape == Shape(N, N):
        # Each row weighs the tokens of a parameter: one without other use, or one with
        # a name like `v`.
        named = [name for name in scene.params if name in ("v", "value", "values")]
        last = list(scene.params[-1:]) if len(scene.params) > 2 else []
        for price, name in enumerate(dict.fromkeys([*spare, *named, *last])):
            yield 1.0 + price / 10, ast.Apply("matmul", (tree, ast.Name(name)))
    elif shape.rows is shape.cols is TOKENS.cols:  # a state, read by queries
        for name in spare:
            yield 1.5, ast.Apply("matmul", (ast.Name(name), tree))


def _inner_edits(
    part: ast.Expr, scene: Scene, path: _Path, whole: ast.Expr
) -> Iterator[_Edit]:
    """Edit a part that fits its own operands, but not the expression around it."""
    if not isinstance(part, ast.Apply) or len(part.args) != 2:
        return
    a, b = part.args
    if part.op == "mul":
        yield 2.0, ast.Apply("matmul", (a, transposed(b)))
        yield 2.1, ast.Apply("matmul", (a, b))
    elif part.op == "matmul":
        # kᵀq of column vectors is q @ k.T of rows; inside a call it must be scores.
        above = ast.at(whole, path[:-1]) if path else None
        called = above is not None and ast.precedence(above) >= ATOM
        if called and _is_transposed(a) and not _is_transposed(b):
            yield 1.25, replace(part, args=(transposed(a), transposed(b)))
    elif part.op in ("cosine", "euclidean") and _is_transposed(a) and _is_transposed(b):
        yield 1.2, replace(part, args=(transposed(a), transposed(b)))


def _parts(expr: ast.Expr) -> Iterator[tuple[_Path, ast.Expr]]:
    """Iterate over an expression and its parts with their paths, the outermost
    first.
    """
    todo: list[tuple[_Path, ast.Expr]] = [((), expr)]
    for place in range(_WIDE):
        if place >= len(todo):
            return
        path, part = todo[place]
        yield path, part
        if isinstance(part, ast.Apply):
            todo.extend(((*path, i), arg) for i, arg in enumerate(part.args))
