"""Analysis of the values that are float32 if a program's inputs have a narrower type."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from azc.ir.graph import INPUT, NUMBER, Graph, Node
from azc.ops.core import DROPOUT, FILL, SO_FAR
from azc.ops.table import operation
from azc.shapes import ONE, N

__all__ = ["wide_values"]

# The normal numbers of float16; bfloat16 has a wider range.
_SMALLEST, _LARGEST = 2.0**-14, 65504.0
# Weights that sum to about 1 leave what they average in the range of the number type.
_LEAST, _MOST = 1.0 / 16.0, 16.0
# Operations whose results are never below 0, and those that enlarge no entry.
_POSITIVE = frozenset(("abs", "exp", "relu", "sigmoid", "softplus", "square"))
_SHRINKING = frozenset(("abs", "neg", "relu", "scale", "softsign", "tanh", "window"))


def wide_values(graph: Graph) -> frozenset[Node]:
    """Return the values that are float32.

    They are the results of operations that produce float32, sums over tokens that are
    written as products (`_is_wide_product`), weights that anything but an average reads,
    all values computed from such a value, and numbers that float16 would round to 0 or
    to infinity.
    """
    wide: set[Node] = set()
    sums = _sums(graph)
    averages = _averages(graph, sums)
    weighing = _weighing(graph, sums, averages)
    for node in graph.nodes:
        if node.op == INPUT:
            continue
        if node.op == NUMBER:
            size = abs(node.number)
            if size and not _SMALLEST <= size <= _LARGEST:
                wide.add(node)
            continue
        precision = operation(node.op).precision
        inherited = any(arg in wide for arg in node.args)
        if precision == "product":
            found = _is_wide_product(node, wide, averages)
        elif precision == "weights":
            found = inherited or node not in weighing
        else:
            found = inherited or precision == "wide"
        if found:
            wide.add(node)
    return frozenset(wide)


def _is_wide_product(
    node: Node, wide: set[Node], averages: Mapping[Node, Node]
) -> bool:
    """Return whether a matrix product is in float32.

    What it sums over the tokens grows with their number, and its result may be a
    normalizer, [n, 1], which is about to divide. An average is as large as its values,
    and has their type; a state, without an axis of tokens, is in float32 in any case.
    """
    inner = node.args[0].shape.cols
    inherited = any(arg in wide for arg in node.args)
    axes = (node.shape.rows, node.shape.cols)
    if inner is ONE:  # nothing is summed
        return inherited
    if N not in axes:
        return True
    if node in averages:
        return averages[node] in wide
    return inherited or inner is N or ONE in axes


@dataclass(frozen=True)
class _Sums:
    """Bounds of the sum of the absolute entries of every row, and of every column."""

    row: float = math.inf
    column: float = math.inf

    @property
    def known(self) -> bool:
        """True if there is a bound."""
        return min(self.row, self.column) < math.inf

    def times(self, factor: float) -> _Sums:
        """Return the bounds of a multiple."""
        return _Sums(self.row * factor, self.column * factor)


def _averages(graph: Graph, sums: Mapping[Node, _Sums]) -> Mapping[Node, Node]:
    """Return the products that are averages, and the operand of each that is averaged."""
    found: dict[Node, Node] = {}
    for node in graph.nodes:
        if node.op == "matmul":
            left, right = node.args
            if _LEAST <= sums[left].row <= _MOST:
                found[node] = right
            elif _LEAST <= sums[right].column <= _MOST:
                found[node] = left
    return found


def _weighing(
    graph: Graph, sums: Mapping[Node, _Sums], averages: Mapping[Node, Node]
) -> frozenset[Node]:
    """Return the values that are read as the weights of averages alone, directly or in
    other weights.

    A weight that float16 rounds to 0 changes an average by less than its rounding. It
    would change a logarithm by far more.
    """
    others: set[Node] = set()
    for node in reversed(graph.nodes):
        for arg in node.args:
            weighs = node in averages and averages[node] is not arg
            passes = sums[node].known and node not in others
            if not (weighs or passes):
                others.add(arg)
    return frozenset(graph.nodes) - others


def _sums(graph: Graph) -> Mapping[Node, _Sums]:
    """Return the bounds of every value; infinite where nothing is known, which is always
    right, but slower.
    """
    found: dict[Node, _Sums] = {}
    for node in graph.nodes:
        found[node] = _sums_of(node, found)
    return found


def _sums_of(node: Node, sums: Mapping[Node, _Sums]) -> _Sums:
    if node.op == "softmax":
        return _Sums(row=1.0)
    if not node.args:
        return _Sums()
    own, *rest = (sums[arg] for arg in node.args)
    if node.op == "transpose":
        return _Sums(own.column, own.row)
    if node.op in (FILL, SO_FAR) or node.op in _SHRINKING:
        return own
    if node.op == DROPOUT:
        return own.times(1.0 / max(1.0 - node.attrs["rate"], 1.0 / _MOST))
    if node.op == "matmul":
        return _Sums(own.row * rest[0].row, own.column * rest[0].column)
    args = tuple(_unmasked(arg) for arg in node.args)
    if node.op in ("add", "sub") and args[0].shape == args[1].shape:
        return _Sums(own.row + rest[0].row, own.column + rest[0].column)
    if node.op == "mul":
        for value, factor in zip(node.args, args[::-1], strict=True):
            if factor.op == NUMBER:
                return sums[value].times(abs(factor.number))
    if node.op == "div":
        if args[1].op == NUMBER and args[1].number:
            return own.times(1.0 / abs(args[1].number))
        if _is_over_own_sum(*args):
            return _Sums(row=1.0)
    return _Sums()


def _unmasked(node: Node) -> Node:
    """Return what is below masks: these change absent entries alone, which no sum has."""
    while node.op == FILL:
        node = node.args[0]
    return node


def _is_over_own_sum(value: Node, divisor: Node) -> bool:
    """Return whether a value is divided by the sums of its rows, or by more than them:
    `exp(s) / sum(exp(s))`.
    """
    if divisor.op in ("add", "maximum"):
        args = [_unmasked(arg) for arg in divisor.args]
        numbers = [arg.number for arg in args if arg.op == NUMBER]
        others = [arg for arg in args if arg.op != NUMBER]
        if len(others) == 1 and numbers[0] >= 0.0:
            divisor = others[0]
    own = divisor.op == "sum" and _unmasked(divisor.args[0]) is value
    return own and value.op in _POSITIVE
