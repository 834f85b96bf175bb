"""The pattern of the backend `sdpa`: softmax(query @ keyᵀ) @ value.

Factors, `alibi` and `window` may stand between the product and the softmax. Queries, keys
and values are computed beforehand, by any operations. The masks of the pattern are not
operations of the graph: `azc.lower.scaled`, which computes it, makes them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from azc.ir.graph import NUMBER, Graph, Node
from azc.ops.core import DROPOUT
from azc.shapes import N, Shape

__all__ = ["DotProduct", "dot_products", "may_stand_between"]

_SCORES = Shape(N, N)


@dataclass(frozen=True)
class Factor:
    """A number times a power of the head width d."""

    number: float = 1.0
    power: float = 0.0

    def times(self, number: float) -> Factor:
        """Return the factor times a number."""
        return replace(self, number=self.number * number)

    def at(self, width: int) -> float:
        """Return the value of the factor for a head width."""
        return float(self.number * width**self.power)


@dataclass(frozen=True)
class DotProduct:
    """A match of softmax(factor · query @ keyᵀ − biases) @ value in a graph.

    Attributes:
        output: The value that is the result.
        query: The queries, [n, f].
        key: The keys, [n, f] unless `turned`.
        turned: Whether `key` is transposed, [f, n].
        value: The values, [n, c].
        factor: The factor of the scores.
        radius: The radius of the window, None without one.
        biases: For each `alibi`, the factor of its distances.
        dropout: The dropout rate of the weights.
        inside: The intermediate values, which nothing else uses, so that they need not
            be computed.
    """

    output: Node
    query: Node
    key: Node
    turned: bool
    value: Node
    factor: Factor
    radius: int | None = None
    biases: tuple[Factor, ...] = ()
    dropout: float = 0.0
    inside: frozenset[Node] = field(default_factory=frozenset, repr=False)


def dot_products(
    graph: Graph, elsewhere: Collection[Node] = ()
) -> Mapping[Node, DotProduct]:
    """Find the dot products that `scaled_dot_product_attention` can compute.

    Args:
        graph: The program.
        elsewhere: Values that are computed otherwise, and can be no part of a match.

    Returns:
        The matches by their outputs.
    """
    uses: dict[Node, int] = dict.fromkeys(graph.nodes, 0)
    uses[graph.output] += 1
    for node in graph.nodes:
        for arg in node.args:
            uses[arg] += 1
    found = (_read(node, uses) for node in graph.nodes)
    return {
        each.output: each
        for each in found
        if each is not None
        and not (each.inside | {each.output}).intersection(elsewhere)
    }


def _read(output: Node, uses: Mapping[Node, int]) -> DotProduct | None:
    """Match the pattern that ends in a value; return None if there is no match."""
    if output.op != "matmul":
        return None
    weights, value = output.args
    inside: set[Node] = set()
    rate = 0.0
    if weights.op == DROPOUT and uses[weights] == 1:
        inside.add(weights)
        rate, weights = weights.attrs["rate"], weights.args[0]
    if weights.op != "softmax" or weights.shape != _SCORES or value.shape.cols is N:
        return None
    inside.add(weights)
    factor, radius = Factor(), None
    biases: list[Factor] = []
    scores = weights.args[0]
    while uses[weights] == 1:
        if uses[scores] != 1:
            return None
        inside.add(scores)
        if scores.op == "matmul":
            break
        if not may_stand_between(scores):
            return None
        if scores.op == "scale":
            factor = replace(factor, power=factor.power - 0.5)
        elif scores.op == "neg":
            factor = factor.times(-1.0)
        elif scores.op == "window":
            own = scores.attrs["radius"]
            radius = own if radius is None else min(radius, own)
        elif scores.op == "alibi":
            biases.append(factor)
        elif (number := _number_beside(scores)) is not None:
            factor = factor.times(number)
        scores = next(arg for arg in scores.args if arg.shape == _SCORES)
    else:
        return None
    query, key = scores.args
    turned = True
    if key.shape.rows is N or query.shape.cols is N:
        return None
    if key.op == "transpose":
        if uses[key] == 1:
            inside.add(key)
        key, turned = key.args[0], False
    return DotProduct(
        output, query, key, turned, value, factor, radius, tuple(biases),
        rate, frozenset(inside),
    )  # fmt: skip


def may_stand_between(node: Node) -> bool:
    """Return whether the pattern allows a value between the product and the softmax."""
    known = ("scale", "neg", "window", "alibi")
    return node.op in known or _number_beside(node) is not None


def _number_beside(node: Node) -> float | None:
    """Return the constant that a value multiplies its other operand by, None without one."""
    if node.op not in ("mul", "div"):
        return None
    numbers = [arg.number for arg in node.args if arg.op == NUMBER]
    if len(numbers) != 1:
        return None
    if node.op == "mul":
        return numbers[0]
    divides = node.args[1].op == NUMBER and numbers[0] != 0.0
    return 1.0 / numbers[0] if divides else None
