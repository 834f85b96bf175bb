"""Descriptions of operations, derived from their definitions: types, costs, absence,
time, an example.

Each is derived from the definition or compared with it, so it can't disagree.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from itertools import product

from azc.diagnostics import InternalError
from azc.ops.axes import Time, TimeFault
from azc.ops.contract import Attribute, Op, Sizes, TypeFault
from azc.shapes import ALL_SHAPES, ONE, TOKENS, D, Dim, N, Shape
from azc.syntax import ast
from azc.syntax.format import format_expr, format_file

__all__ = [
    "absence_text",
    "attribute_text",
    "causal_texts",
    "cost_texts",
    "example_text",
    "group_text",
    "source_text",
    "type_text",
    "typical_types",
    "weight_texts",
    "written_text",
]

# Types


# Type rules in words, which are compared with the type rule of an operation.
_PATTERNS = (
    "[n, d] → [n, d]",
    "[n, n] → [n, n]",
    "[a, b] → [a, b]",
    "[a, b] → [a, 1]",
    "[a, b] → [b, a]",
    "[a, b] × [b, c] → [a, c]",
    "[a, c] × [b, c] → [a, b]",
)
_BROADCAST = "broadcast"


def _result(pattern: str, shapes: tuple[Shape, ...]) -> Shape | None:
    """Return the type that a pattern gives for operands of these types, or None."""
    *operands, last = [part.split(", ") for part in re.findall(r"\[(.*?)\]", pattern)]
    known: dict[str, Dim] = {"n": N, "d": D, "1": ONE}
    if len(operands) != len(shapes):
        return None
    for (rows, cols), shape in zip(operands, shapes, strict=True):
        for letter, dim in ((rows, shape.rows), (cols, shape.cols)):
            if known.setdefault(letter, dim) is not dim:
                return None
    return Shape(known[last[0]], known[last[1]])


def _typed(op: Op, shapes: tuple[Shape, ...]) -> Shape | None:
    try:
        return op.result(shapes)
    except TypeFault:
        return None


def type_text(op: Op) -> str:
    """Return the type rule: `[a, b] → [a, 1]`.

    Raises:
        InternalError: If no pattern describes it.
    """
    cases = list(product(ALL_SHAPES, repeat=len(op.operands)))
    for pattern in _PATTERNS:
        if all(_typed(op, shapes) == _result(pattern, shapes) for shapes in cases):
            return pattern
    if len(op.operands) == 2 and all(
        _typed(op, (a, b)) == a.broadcast(b) for a, b in cases
    ):
        return _BROADCAST
    raise InternalError(f"azc/ops/describe.py has no words for the type of {op.name}")


def typical_types(op: Op) -> list[tuple[Shape, ...]]:
    """Return operand types without an axis of length 1, one for each type of the
    result.

    Types with a row for each token come first.
    """
    found: dict[Shape, tuple[Shape, ...]] = {}
    order = [TOKENS, TOKENS.T, Shape(N, N), Shape(D, D)]
    cases = product(order, repeat=len(op.operands))
    for shapes in sorted(cases, key=lambda each: Shape(D, D) in each):
        result = _typed(op, shapes)
        if result is not None:
            found.setdefault(result, shapes)
    return list(found.values())


def _signature(shapes: tuple[Shape, ...], result: Shape) -> str:
    return f"{' × '.join(map(str, shapes))} → {result}"


# Notation


def written_text(op: Op) -> str:
    """Return a call of the operation as a program writes it, with its symbol if it has
    one.
    """
    operands = tuple(ast.Name(name) for name in op.operands)
    attrs = tuple(ast.Attr(a.name, ast.Name(a.name[0])) for a in op.attrs)
    return format_expr(ast.Apply(op.name, operands, attrs))


def source_text(op: Op) -> str:
    """Return the paper or the function that the operation comes from."""
    return op.source.removeprefix("torch: ")


def group_text(op: Op) -> str:
    """Return the heading of an operation's group: the beginning of its module's
    docstring.
    """
    text = sys.modules[op.lower.__module__].__doc__ or ""
    return re.split(r"[,:.]", text, maxsplit=1)[0]


def attribute_text(attribute: Attribute) -> str:
    """Return the values that an attribute takes."""
    kind = "an odd number" if attribute.odd else "a whole number"
    return f"{kind} from {attribute.minimum:,} to {attribute.maximum:,}"


def weight_texts(op: Op) -> dict[str, str]:
    """Return the shape of each learned weight, by its name: `[heads, d, kernel]`."""
    found = {}
    least = {a.name: a.minimum for a in op.attrs}
    most = {a.name: a.maximum for a in op.attrs}
    for weight, large in zip(op.weights(least), op.weights(most), strict=True):
        # An axis whose length follows an attribute is called by its name.
        names: dict[str | int, str] = {value: name for name, value in most.items()}
        axes = [names.get(axis, str(axis)) for axis in large.axes]
        found[weight.name] = f"[{', '.join(axes)}]"
    return found


# Costs

_DIGITS = 10**6  # larger than any factor of a cost
_POWERS = 4  # larger than any power of one size


def cost_texts(op: Op) -> dict[str, str]:
    """Return the floating point operations of one head by typical types, as `2·n²·d`.

    A multiply-add counts as two.
    """
    found = {}
    for shapes in typical_types(op):
        found[_signature(shapes, op.result(shapes))] = _cost(op, shapes)
    return found


def _cost(op: Op, shapes: tuple[Shape, ...]) -> str:
    """Return the cost as a polynomial with whole factors.

    The factors are read from the digits of its value at numbers so far apart that each
    term has its own digits.
    """
    names = ["d", "n", *(a.name for a in op.attrs)]
    sizes = {name: _DIGITS ** (_POWERS**i) for i, name in enumerate(names)}
    rest = _flops(op, shapes, sizes)
    terms = []
    place = 0
    while rest:
        rest, factor = divmod(rest, _DIGITS)
        if factor:
            powers = [place // _POWERS**i % _POWERS for i in range(len(names))]
            terms.append((factor, dict(zip(names, powers, strict=True))))
        place += 1
    for numbers in ({name: 3 + i for i, name in enumerate(names)}, sizes):
        total = 0
        for factor, powers_ in terms:
            for name, power in powers_.items():
                factor *= numbers[name] ** power
            total += factor
        if total != _flops(op, shapes, numbers):
            raise InternalError(f"the cost of {op.name} is not a polynomial")
    return " + ".join(_term(*term) for term in reversed(terms)) or "0"


def _flops(op: Op, shapes: tuple[Shape, ...], numbers: Mapping[str, int]) -> int:
    attrs = {a.name: numbers[a.name] for a in op.attrs}
    sizes = Sizes(numbers["n"], numbers["d"])
    return op.flops(sizes, shapes, op.result(shapes), attrs)


def _term(factor: int, powers: Mapping[str, int]) -> str:
    signs = {1: "", 2: "²", 3: "³"}
    order = sorted(powers, key=lambda name: (name == "d", name == "n"))
    parts = [f"{name}{signs[powers[name]]}" for name in order if powers[name]]
    return "·".join([*([str(factor)] if factor > 1 or not parts else []), *parts])


# Absence and time

# The treatment of absent entries, by the axes of an operation.
_ABSENCE = {
    "a b -> a b": "an absent entry stays absent",
    "a b, a b -> a b": "an entry is present where it is in both operands",
    "a b -> b a": "an absent entry stays absent, in its new place",
    "a f -> a b": "goes over the present entries of a row; an absent one stays absent",
    "a f -> a 1": "goes over the present entries of a row; the result is present, and 0"
    " where there are none",
    "a f, f b -> a b": "goes over what is present in both operands; the result is present,"
    " and 0 where there is nothing",
    "a f, b f -> a b": "goes over what is present in both operands; the result is present,"
    " and 0 where there is nothing",
    "f b -> a b": "goes over the present tokens; an absent one stays absent",
}


def absence_text(op: Op) -> str:
    """Describe how the operation treats absent entries."""
    operands = ", ".join(" ".join(pair) for pair in op.axes.operands)
    return _ABSENCE[f"{operands} -> {' '.join(op.axes.result)}"]


_TIMES = {
    Time.CONSTANT: "the same at every token",
    Time.STREAM: "a row for each token, computed when the token arrives",
    Time.MIRROR: "a column for each token, computed when the token arrives",
    Time.STATE: "computed anew at every token, from the tokens so far",
    Time.SNAPSHOT: "a column for each token so far, all computed anew at every token",
}
_NONE = "no causal meaning"


def causal_texts(op: Op) -> dict[str, str]:
    """Describe when the result is computed in a causal model.

    Returns:
        The descriptions by typical types of operands that each have a row, or a
        column, for every token.
    """
    found = {}
    for shapes in typical_types(op):
        result = op.result(shapes)
        operands = [(shape, _time_of(shape)) for shape in shapes]
        try:
            text = _TIMES[op.axes.time(operands, result)]
        except TimeFault:
            text = _NONE
        found[_signature(shapes, result)] = text
    return found


def _time_of(shape: Shape) -> Time:
    if shape.rows is N:
        return Time.STREAM
    return Time.MIRROR if shape.cols is N else Time.STATE


# An example

_Q, _K, _V = map(ast.Name, "qkv")
_KEYS = ast.Apply("transpose", (_K,))
_SCORES = ast.Apply("matmul", (_Q, _KEYS))
_OF_SCORES = frozenset(("softmax", "scale"))  # usually applied to scores


def example_text(op: Op) -> str:
    """Return an attention program that uses the operation."""
    choices: list[tuple[tuple[Shape, ...], tuple[ast.Expr, ...]]] = [
        ((TOKENS,), (_Q,)),
        ((Shape(N, N),), (_SCORES,)),
        ((TOKENS, TOKENS), (_Q, _K)),
        ((TOKENS, TOKENS.T), (_Q, _KEYS)),
    ]
    if op.name in _OF_SCORES:
        choices = choices[1:]
    number = len(op.operands)
    fitting = (c for c in choices if len(c[0]) == number and _typed(op, c[0]))
    shapes, operands = next(fitting)
    attrs = tuple(ast.Attr(a.name, ast.Number("3")) for a in op.attrs)
    value = _to_tokens(ast.Apply(op.name, operands, attrs), op.result(shapes))
    used = {e.id for e in ast.expressions(value) if isinstance(e, ast.Name)}
    params = tuple(ast.Param(name) for name in "qkv" if name in used)
    node = ast.Attention("example", params, (ast.Return(value),))
    return format_file(ast.File((node,)))


def _to_tokens(value: ast.Expr, shape: Shape) -> ast.Expr:
    """Convert an expression of another type to one of type [n, d]."""
    if shape == TOKENS:
        return value
    if shape == TOKENS.T:
        value, shape = ast.Apply("matmul", (_K, value)), Shape(N, N)
    if shape != Shape(N, N):
        return ast.Apply("mul", (value, _V))
    weights = value
    if not isinstance(value, ast.Apply) or value.op != "softmax":
        weights = ast.Apply("softmax", (value,))
    return ast.Apply("matmul", (weights, _V))
