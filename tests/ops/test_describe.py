"""What is said of operations is what they do."""

from __future__ import annotations

import re

import numpy as np
import pytest

from azc.check.resolve import check_source
from azc.ops.axes import Time
from azc.ops.contract import Frame, Op, Sample, Sizes, Value
from azc.ops.describe import (
    _TIMES,
    absence_text,
    causal_texts,
    cost_texts,
    example_text,
    typical_types,
    written_text,
)
from azc.ops.table import load_ops
from azc.shapes import TOKENS, D, N, Shape
from azc.source import Source
from azc.syntax import ast
from azc.syntax.format import format_text

OPS = list(load_ops().values())
EACH = pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
N_TOKENS, WIDTH = 5, 4


@EACH
def test_an_example_is_a_program_that_uses_it(op: Op) -> None:
    text = example_text(op)
    source = Source("example", text)
    program = check_source(source)
    assert program.warnings == ()
    assert format_text(source) == text
    (spec,) = program.attentions.values()
    used = [
        e.op
        for statement in spec.body
        for e in ast.expressions(statement.value)
        if isinstance(e, ast.Apply)
    ]
    assert op.name in used


def polynomial(text: str, numbers: dict[str, int]) -> int:
    """The value of `2·n²·d + n`."""
    powers = {"": 1, "²": 2, "³": 3}
    total = 0
    for term in text.split(" + "):
        value = 1
        for factor in term.split("·"):
            match = re.fullmatch(r"([a-z]+)([²³]?)", factor)
            value *= numbers[match[1]] ** powers[match[2]] if match else int(factor)
        total += value
    return total


@EACH
def test_costs(op: Op) -> None:
    texts = list(cost_texts(op).values())
    for shapes, text in zip(typical_types(op), texts, strict=True):
        for n, d, attribute in ((128, 64, 9), (1, 1, 1), (1000, 3, 31)):
            attrs = {a.name: attribute for a in op.attrs}
            numbers = {"n": n, "d": d, **attrs}
            cost = op.cost(Sizes(n, d), shapes, attrs)
            assert polynomial(text, numbers) == cost.flops


def drawn(sample: Sample, op: Op, seed: int) -> tuple[Frame, list[Value]]:
    """Operands of which entries are absent as they can be: of tokens, and of scores those
    that some condition leaves out.
    """
    random = np.random.default_rng(seed)
    values = []
    for shape in sample.shapes:
        size = rows, cols = shape.sizes(N_TOKENS, WIDTH)
        there = np.ones(size, bool)
        if shape.rows is N:
            there &= random.random((rows, 1)) < 0.7
        if shape.cols is N:
            there &= random.random((1, cols)) < 0.7
        if shape == Shape(N, N):
            there &= random.random(size) < 0.7
        values.append(Value(random.normal(0.0, 1.0, size), there))
    weights = {
        w.name: random.normal(0.0, 1.0, w.shape(1, WIDTH))[0]
        for w in op.weights(sample.attrs)
    }
    return Frame(np, N_TOKENS, WIDTH, 0, 1, weights), values


def present(op: Op, values: list[Value]) -> np.ndarray:
    """Where the result is present, by what is said of it."""
    text = absence_text(op)
    masks = [value.present for value in values]
    if "the result is present" in text:
        rows = masks[0].shape[0]
        cols = {"sum": 1, "mean": 1, "amax": 1, "matmul": masks[-1].shape[1]}
        return np.ones((rows, cols.get(op.name, masks[-1].shape[0])), bool)
    if "in both operands" in text:
        return masks[0] & masks[1]
    if "in its new place" in text:
        return masks[0].T
    assert text.endswith("stays absent")
    return masks[0]


def windowed(op: Op, sample: Sample) -> np.ndarray | bool:
    """What an operation itself makes absent, as its meaning says."""
    if "become absent" not in op.doc:
        return True
    index = np.arange(N_TOKENS)
    return abs(index[:, None] - index) <= sample.attrs["radius"]


@EACH
@pytest.mark.parametrize("seed", range(3))
def test_absence(op: Op, seed: int) -> None:
    with np.errstate(all="ignore"):
        for sample in op.samples:
            frame, values = drawn(sample, op, seed)
            result = op.reference(frame, *values, **sample.attrs)
            shape = result.data.shape
            wanted = np.broadcast_to(present(op, values) & windowed(op, sample), shape)
            np.testing.assert_array_equal(
                np.broadcast_to(result.present, shape), wanted
            )
            # What is absent plays no part.
            others = [
                Value(np.where(v.present, v.data, 1e3 * (i + 1)), v.present)
                for i, v in enumerate(values)
            ]
            again = op.reference(frame, *others, **sample.attrs)
            np.testing.assert_array_equal(
                np.where(result.present, result.data, 0.0),
                np.where(again.present, again.data, 0.0),
            )
            if "and 0 where" in absence_text(op):
                nothing = [Value(v.data, v.present & False) for v in values]
                empty = op.reference(frame, *nothing, **sample.attrs)
                np.testing.assert_array_equal(empty.data, 0.0)


def test_causal_meaning() -> None:
    said = {op.name: causal_texts(op) for op in OPS}
    row, column = _TIMES[Time.STREAM], _TIMES[Time.MIRROR]
    anew, all_anew = _TIMES[Time.STATE], _TIMES[Time.SNAPSHOT]
    assert said["softmax"] == {
        "[n, d] → [n, d]": row,
        "[d, n] → [d, n]": all_anew,
        "[n, n] → [n, n]": row,
        "[d, d] → [d, d]": anew,
    }
    assert said["transpose"]["[n, n] → [n, n]"] == "no causal meaning"
    assert said["transpose"]["[n, d] → [d, n]"] == column
    assert said["matmul"]["[d, n] × [n, d] → [d, d]"] == anew
    assert said["conv"] == {"[n, d] → [n, d]": row}


def test_types_that_are_shown() -> None:
    scores = Shape(N, N)
    assert typical_types(load_ops()["matmul"])[:3] == [
        (TOKENS, TOKENS.T),
        (TOKENS.T, TOKENS),
        (TOKENS.T, scores),
    ]
    assert (scores, TOKENS) in typical_types(load_ops()["matmul"])
    assert typical_types(load_ops()["alibi"]) == [(scores,)]
    assert Shape(D, D) in [s for (s,) in typical_types(load_ops()["exp"])]


def test_how_calls_are_written() -> None:
    known = {op.name: written_text(op) for op in OPS}
    assert known["matmul"] == "a @ b"
    assert known["transpose"] == "x.T"
    assert known["neg"] == "-x"
    assert known["window"] == "window(s, radius = r)"
