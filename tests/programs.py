"""Hypothesis strategies: random well-typed attention programs, and ragged batches.

A program is grown from the types up: its result is [n, d], and for each type wanted an
operation that gives it is drawn from `azc.ops.table.signatures()`, then its operands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from azc.check.causality import causal_faults
from azc.check.program import AttentionSpec
from azc.check.resolve import check_source
from azc.check.types import RESERVED
from azc.ops.table import load_ops, signatures
from azc.shapes import SCALAR, TOKENS, D, N, Shape
from azc.source import Source
from azc.syntax.format import format_text
from azc.syntax.parse import is_name

__all__ = ["Batch", "attention", "batches", "programs", "spec_of"]

MAX_SIZE = 16  # operations of one program
NUMBERS = ["0", "1", "2", "0.5", "0.1", "3.25", "1e-3", "10"]
# Where tokens meet and absence counts, and what few types would bring up.
_OFTEN = ("alibi", "conv", "matmul", "rope", "softmax", "sum", "window")
_SIGNATURES = {
    shape: sorted(rows, key=lambda row: len(row[1]))
    for shape, rows in signatures().items()
}


def attention(body: str, params: str = "q, k, v") -> AttentionSpec:
    """The attention program of these statements, checked."""
    return spec_of(f"attention a({params}) {{\n{body}\n}}\n")


def spec_of(text: str) -> AttentionSpec:
    """The one attention program of a text, checked."""
    (spec,) = check_source(Source("test.azg", text)).attentions.values()
    return spec


@cache
def _names() -> st.SearchStrategy[str]:
    """Names, also those that mean something in Python or torch, or are an operation's."""
    plain = ["q", "k", "v", "x", "size", "print", "input", "real", "matmul", "add_1"]
    odd = st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True).filter(is_name)
    return st.sampled_from([*plain, *sorted(RESERVED)]).filter(is_name) | odd


@cache
def _parameters() -> st.SearchStrategy[list[str]]:
    names = _names().filter(lambda name: name not in RESERVED)
    return st.lists(names, min_size=1, max_size=4, unique=True)


class _Grower:
    """Writes one program: statements as they are needed, each value by its type."""

    def __init__(
        self, draw: st.DrawFn, params: list[str], size: int, causal: bool
    ) -> None:
        self.draw = draw
        self.causal = causal
        self.left = size
        self.lines: list[str] = []
        self.names = set(params)
        self.known: dict[Shape, list[str]] = {TOKENS: list(params)}

    def number(self, most: int) -> int:
        return self.draw(st.integers(0, most))

    def leaf(self, shape: Shape) -> str:
        """An expression of this type in few operations."""
        known = self.known.get(shape, [])
        if shape == SCALAR and (not known or self.number(2)):
            return self.draw(st.sampled_from(NUMBERS))
        if known:
            return known[self.number(len(known) - 1)]
        first, second = self.leaf(TOKENS), self.leaf(TOKENS)
        return {
            Shape(D, N): f"{first}.T",
            Shape(N, N): f"{first} @ {second}.T",
            Shape(D, D): f"{first}.T @ {second}",
            Shape(N, SCALAR.rows): f"mean({first})",
            Shape(SCALAR.rows, N): f"amax({first}).T",
            Shape(D, SCALAR.rows): f"mean({first}.T)",
            Shape(SCALAR.rows, D): f"amax({first}.T).T",
        }[shape]

    def value(self, shape: Shape, depth: int) -> str:
        """An expression of this type, in operations while there are any left."""
        if self.left <= 0 or depth > 8 or (depth > 1 and not self.number(5)):
            return f"({self.leaf(shape)})"
        self.left -= 1
        rows = _SIGNATURES[shape]
        # Operations first, then operand types: binary ones have many more of these.
        names = sorted({name for name, _ in rows})
        if self.causal and shape == Shape(N, N):
            names.remove("transpose")  # it has no causal meaning
        names += [each for each in _OFTEN if each in names for _ in range(4)]
        name = names[self.number(len(names) - 1)]
        types = [shapes for op, shapes in rows if op == name]
        shapes = types[self.number(len(types) - 1)]
        args = [self.value(operand, depth + 1) for operand in shapes]
        for attribute in load_ops()[name].attrs:
            low, high = attribute.minimum, min(attribute.maximum, 7)
            value = low + self.number(high - low)
            value += attribute.odd and value % 2 == 0
            args.append(f"{attribute.name} = {value}")
        text = f"{name}({', '.join(args)})"
        return self.bound(text, shape) if not self.number(2) else text

    def bound(self, text: str, shape: Shape) -> str:
        """The name of a statement that holds the expression, for use again."""
        name = self.draw(_names())
        while name in self.names:
            name = f"{name}_{len(self.names)}"
        self.names.add(name)
        self.lines.append(f"    {name} = {text}")
        self.known.setdefault(shape, []).append(name)
        return name


@st.composite
def programs(draw: st.DrawFn, max_size: int = MAX_SIZE, causal: bool = False) -> str:
    """The text of an attention program that checks, in canonical form or not; with
    `causal` one that has a causal meaning.
    """
    params = draw(_parameters())
    grower = _Grower(draw, params, draw(st.integers(1, max_size)), causal)
    result = grower.value(TOKENS, 0)
    head = f"attention program({', '.join(params)}) {{"
    text = "\n".join([head, *grower.lines, f"    return {result}", "}"]) + "\n"
    if draw(st.booleans()):
        text = format_text(Source("program.azg", text))
    assume(not causal or not causal_faults(spec_of(text)))
    return text


@dataclass(frozen=True)
class Batch:
    """Inputs of a program: float64 [B, H, N, D] by parameter, mask bool [B, N].

    Padding holds `garbage`; every sequence has a real token.
    """

    inputs: dict[str, np.ndarray]
    mask: np.ndarray
    garbage: str


def _mask(draw: st.DrawFn, batch: int, tokens: int) -> np.ndarray:
    rows = []
    for _ in range(batch):
        real = draw(st.integers(1, tokens))
        row = np.zeros(tokens, bool)
        match draw(st.sampled_from(["right", "left", "holes"])):
            case "right":
                row[:real] = True
            case "left":
                row[tokens - real :] = True
            case _:
                order = draw(st.permutations(range(tokens)))
                row[list(order[:real])] = True
        rows.append(row)
    return np.array(rows)


@st.composite
def batches(draw: st.DrawFn, params: tuple[str, ...]) -> Batch:
    """A ragged batch for these parameters, padded right, left or in holes."""
    batch, heads = draw(st.integers(2, 3)), draw(st.integers(1, 3))
    tokens, width = draw(st.integers(1, 7)), draw(st.integers(1, 6))
    mask = _mask(draw, batch, tokens)
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    spread = draw(st.sampled_from([0.3, 1.0, 2.0, 6.0]))
    garbage = draw(st.sampled_from(["random", "nan", "inf", "-inf", "mixed"]))
    inputs = {}
    for name in params:
        data = random.normal(0.0, spread, (batch, heads, tokens, width))
        junk = {
            "random": random.normal(0.0, 1e4, data.shape),
            "nan": math.nan,
            "inf": math.inf,
            "-inf": -math.inf,
            "mixed": random.choice([math.nan, math.inf, -math.inf, 1e30], data.shape),
        }[garbage]
        inputs[name] = np.where(mask[:, None, :, None], data, junk)
    return Batch(inputs, mask, garbage)
