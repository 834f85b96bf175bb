"""Core operations, which only passes insert; they are not part of the language.

    fill x         a number in some of the absent entries of x: a mask
    so_far x       in a decoder, x extended by earlier tokens, as far back as is read
                   (`reach`; without it, all)
    dropout x      dropout, in training

None of them changes the meaning of a program: the reference of each is its operand. (A
fill may replace present entries if all uses of the value treat them as absent.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from azc.ops.axes import axes
from azc.ops.contract import (
    Absence,
    Builder,
    Fill,
    Frame,
    FxNode,
    Op,
    Operand,
    Sample,
    State,
    Value,
)
from azc.ops.rules import (
    all_before,
    fill_nothing,
    keep,
    no_weights,
    omit_nothing,
    per_entry,
    same,
)
from azc.shapes import ALL_SHAPES, N, Shape

__all__ = ["DROPOUT", "FILL", "OPS", "SO_FAR"]

Given = Mapping[str, Any]
FILL, SO_FAR, DROPOUT = "fill", "so_far", "dropout"


def _operand(frame: Frame, x: Value, **attrs: Any) -> Value:
    return x


def _fill_lower(b: Builder, x: Operand, attrs: Given) -> FxNode:
    return b.fill(x, attrs["fill"])


def _so_far_lower(b: Builder, x: Operand, attrs: Given) -> FxNode:
    return b.so_far(x, attrs["axis"], attrs.get("reach"))


def _dropout_lower(b: Builder, x: Operand, attrs: Given) -> FxNode:
    return b.dropout(x.node, attrs["rate"])


def _after_fill(states: tuple[State, ...], result: Shape, attrs: Given) -> State:
    (state,), fill = states, attrs["fill"]
    if fill.value != 0.0:
        return State(result, state.radius, state.zero - fill.places)
    filled = fill.places if fill.radius == state.radius else fill.places - {"band"}
    return State(result, state.radius, state.zero | (filled & state.places))


def _core(
    name: str,
    doc: str,
    lower: Callable[..., FxNode],
    after: Callable[[tuple[State, ...], Shape, Given], State],
    samples: tuple[Sample, ...],
) -> Op:
    return Op(
        name=name,
        doc=doc,
        source="the compiler",
        operands=("x",),
        attrs=(),
        axes=axes("a b -> a b"),
        reach=all_before,
        typing=same,
        weights=no_weights,
        reference=_operand,
        lower=lower,
        precision="same",
        flops=per_entry(0),
        absence=Absence(fill=fill_nothing, omits=omit_nothing, after=after, local=True),
        samples=samples,
        errors=(),
    )


def _fill_samples() -> tuple[Sample, ...]:
    found: list[Sample] = []
    for shape in ALL_SHAPES:
        places = State(shape, None, frozenset()).places
        for value in (0.0, 1.0, float("-inf")):
            fill = Fill(value, places, None)
            found += [Sample((shape,), {"fill": fill})] if places else []
    return tuple(found)


OPS = (
    _core(
        FILL,
        "a number in absent entries at some places",
        _fill_lower,
        _after_fill,
        _fill_samples(),
    ),
    _core(
        SO_FAR,
        "the operand extended by the tokens so far along an axis, all or a limited number",
        _so_far_lower,
        keep,
        tuple(
            Sample((x,), {"axis": -2, **reach})
            for x in ALL_SHAPES
            if x.rows is N
            for reach in ({}, {"reach": 2})
        ),
    ),
    _core(
        DROPOUT,
        "dropout at a rate, in training",
        _dropout_lower,
        keep,
        tuple(Sample((x,), {"rate": 0.5}) for x in ALL_SHAPES),
    ),
)
