"""The backend `sdpa`: `torch.nn.functional.scaled_dot_product_attention` for what is a
softmax of one product of queries and keys, in front of values.

Between the product and the softmax there may be factors, `alibi` and `window`; whatever
makes queries, keys and values is computed before. Its masks are no operations of the
graph: the function is given one, made as it runs, or makes its own. No n × n tensor is
kept where the function has a kernel without one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import nn

from azc.ir.graph import NUMBER, Graph, Node
from azc.lower.masks import gone
from azc.lower.runtime import alibi_slopes
from azc.ops.contract import Place
from azc.ops.core import DROPOUT
from azc.shapes import N, Shape

__all__ = ["DotProduct", "ScaledDotProduct", "dot_products", "may_stand_between"]

_SCORES = Shape(N, N)


@dataclass(frozen=True)
class Factor:
    """A number times a power of the head width d."""

    number: float = 1.0
    power: float = 0.0

    def times(self, number: float) -> Factor:
        """The factor times a number."""
        return replace(self, number=self.number * number)

    def at(self, width: int) -> float:
        """Its value for a head width."""
        return float(self.number * width**self.power)


@dataclass(frozen=True)
class DotProduct:
    """softmax(factor · query @ keyᵀ − biases, of a window) @ value, all of them values of
    a graph. `turned`: the key is [f, n]. `biases`: the factors of ALiBi's distances.
    `dropout`: its rate. `inside`: the values that need not be computed.
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
    """What `scaled_dot_product_attention` can serve, by the value it gives; nothing of
    what is computed `elsewhere`.
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
    """The parts of a dot product that ends in a value; None where it is none."""
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
    """Whether a value may stand between a product and its softmax."""
    known = ("scale", "neg", "window", "alibi")
    return node.op in known or _number_beside(node) is not None


def _number_beside(node: Node) -> float | None:
    """What a value is multiplied by; None where it is no plain number."""
    if node.op not in ("mul", "div"):
        return None
    numbers = [arg.number for arg in node.args if arg.op == NUMBER]
    if len(numbers) != 1:
        return None
    if node.op == "mul":
        return numbers[0]
    divides = node.args[1].op == NUMBER and numbers[0] != 0.0
    return 1.0 / numbers[0] if divides else None


class ScaledDotProduct(nn.Module):
    """A dot product as a module: `forward(query, key, value, real, row_real, positions,
    row_positions, width)`.

    `query`: [B, H, M, f]; `key`: [B, H, N, f]; `value`: [B, H, N, c]. `real`: bool
    [B, N], None where all tokens are; positions: int64 [B or 1, N]; those of rows are
    of the last M tokens. `width`: that of a head. Gives [B, H, M, c]; anything finite in
    padding.
    """

    def __init__(self, spec: DotProduct, causal: bool, inhabited: bool) -> None:
        super().__init__()
        self.factor, self.biases = spec.factor, spec.biases
        self.radius = spec.radius
        self.causal = causal
        self.inhabited = inhabited
        self.dropout = spec.dropout
        places: list[Place] = ["cols"]
        places += ["band"] if spec.radius is not None else []
        places += ["future"] if causal else []
        self.places = tuple(places)

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        real: torch.Tensor | None,
        row_real: torch.Tensor | None,
        positions: torch.Tensor,
        row_positions: torch.Tensor,
        width: int,
    ) -> torch.Tensor:
        """The sums of the values, weighted."""
        # A plain bool also where lengths are symbols.
        square = True if query.shape[-2] == key.shape[-2] else False  # noqa: SIM210
        newest = self.causal and not square and query.shape[-2] == 1
        # What is kept of earlier tokens is in the window of the next one.
        near = self.radius is None or (newest and key.shape[-2] <= self.radius + 1)
        plain = real is None and not self.biases and near
        causal = self.causal and square and plain
        mask: torch.Tensor | None = None
        if not causal and not (newest and plain):  # the newest token sees all
            places = tuple(p for p in self.places if p != "band" or not near)
            where = (real, row_real, positions, row_positions)
            mask = self.mask(query, *where, places, width)
        return F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=causal,
            scale=self.factor.at(width),
        )

    def mask(
        self,
        query: torch.Tensor,
        real: torch.Tensor | None,
        row_real: torch.Tensor | None,
        positions: torch.Tensor,
        row_positions: torch.Tensor,
        places: tuple[Place, ...],
        width: int,
    ) -> torch.Tensor | None:
        """True where a token is seen, or what is added to scores; None for nothing."""
        absent = gone(
            row_real,
            real,
            row_positions,
            positions,
            places,
            self.radius,
            spare=True,
            inhabited=self.inhabited,
        )
        if not self.biases:
            return None if absent is None else ~absent
        wide = torch.promote_types(query.dtype, torch.float32)
        apart = (row_positions[:, :, None] - positions[:, None, :]).abs().to(wide)
        slopes = alibi_slopes(query.shape[1], apart)
        slopes = slopes * sum(each.at(width) for each in self.biases)
        bias = (-slopes * apart[:, None]).to(query.dtype)
        return bias if absent is None else bias.masked_fill(absent, -math.inf)

    def extra_repr(self) -> str:
        """What it does."""
        parts = [f"factor={self.factor.number:g}·d^{self.factor.power:g}"]
        parts += [f"radius={self.radius}"] if self.radius is not None else []
        parts += ["alibi"] if self.biases else []
        parts += ["causal"] if self.causal else []
        return ", ".join(parts)
