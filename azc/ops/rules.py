"""Type, absence and cost rules that several operations share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from azc.ops.contract import (
    Absent,
    Attrs,
    Fill,
    Frame,
    Place,
    Sizes,
    State,
    TypeFault,
    Value,
    Weight,
)
from azc.shapes import ONE, N, Shape

__all__ = [
    "Fills",
    "all_before",
    "cleared",
    "dirty",
    "each",
    "expressed",
    "fill_in_row",
    "fill_nothing",
    "fill_result",
    "keep",
    "meet",
    "no_weights",
    "omit_in_row",
    "omit_nothing",
    "one_column",
    "per_entry",
    "per_operand_entry",
    "row_reduce",
    "rows_only",
    "same",
]

Fills = Callable[[tuple[State, ...], State], tuple[Fill | None, ...]]


def no_weights(attrs: Attrs) -> tuple[Weight, ...]:
    """Return no weights."""
    return ()


# Time


def all_before(attrs: Attrs) -> int | None:
    """Return None: a row depends on every token so far."""
    return None


# Types


def same(x: Shape) -> Shape:
    """Return the type of the operand: [a, b] → [a, b]."""
    return x


def one_column(x: Shape) -> Shape:
    """Return the type of a reduction of rows: [a, b] → [a, 1]."""
    return Shape(x.rows, ONE)


def meet(a: Shape, b: Shape) -> Shape:
    """Return the type of an elementwise operation, broadcast over axes of length 1.

    Raises:
        TypeFault: If the types do not match.
    """
    result = a.broadcast(b)
    if result is None:
        raise TypeFault(f"{a} and {b} do not meet: only 1 broadcasts")
    return result


# Absence


def keep(states: tuple[State, ...], result: Shape, attrs: Attrs) -> State:
    """Return a state: present where all operands are present, 0 where all have the axis
    and are 0.
    """
    radii = [s.radius for s in states if s.radius is not None]
    radius = min(radii, default=None)
    zero = frozenset.intersection(*(s.zero for s in states))
    if any(s.shape.rows is not result.rows for s in states):
        zero -= {"rows"}
    if any(s.shape.cols is not result.cols for s in states):
        zero -= {"cols"}
    if any(s.radius != radius for s in states):
        zero -= {"band"}
    return State(result, radius, zero)


def dirty(states: tuple[State, ...], result: Shape, attrs: Attrs) -> State:
    """Return a state: present where all operands are present; absent entries may hold
    anything.
    """
    return State(result, keep(states, result, attrs).radius, frozenset())


def cleared(states: tuple[State, ...], result: Shape, attrs: Attrs) -> State:
    """Return the state of `keep` for an operation that is 0 if one operand is 0.

    The operands are filled so that one of them is 0 in all of the result's absent
    entries. Only entries that are absent in every operand are known to be 0: 0 times a
    present entry may be 0 times infinity.
    """
    found = State(result, keep(states, result, attrs).radius, frozenset())
    zero = found.places
    for state in states:
        zero &= (
            state.places if state.radius == found.radius else state.places - {"band"}
        )
    return State(result, found.radius, zero)


def row_reduce(states: tuple[State, ...], result: Shape, attrs: Attrs) -> State:
    """Return the state of a contraction or reduction over rows: all of it is
    present.
    """
    return State(result, None, frozenset())


def rows_only(states: tuple[State, ...], result: Shape, attrs: Attrs) -> State:
    """Return the state of `keep` where only absent rows may be known to be 0."""
    kept = keep(states, result, attrs)
    return State(result, kept.radius, kept.zero & {"rows"})


# Reference


def each(function: Callable[..., Any]) -> Callable[..., Value]:
    """Return the reference of an elementwise operation `function(np, *arrays)`."""

    def reference(frame: Frame, *values: Value) -> Value:
        present = values[0].present
        for value in values[1:]:
            present = present & value.present
        data = function(frame.np, *(value.data for value in values))
        return Value(data, present)

    return reference


# Cost


def per_entry(count: int) -> Callable[[Sizes, tuple[Shape, ...], Shape, Attrs], int]:
    """Return a cost of `count` floating point operations for each entry of the
    result.
    """

    def flops(
        sizes: Sizes, shapes: tuple[Shape, ...], result: Shape, attrs: Attrs
    ) -> int:
        rows, cols = result.sizes(sizes.n, sizes.d)
        return count * rows * cols

    return flops


def per_operand_entry(
    count: int,
) -> Callable[[Sizes, tuple[Shape, ...], Shape, Attrs], int]:
    """Return a cost of `count` floating point operations for each entry of the first
    operand.
    """

    def flops(
        sizes: Sizes, shapes: tuple[Shape, ...], result: Shape, attrs: Attrs
    ) -> int:
        rows, cols = shapes[0].sizes(sizes.n, sizes.d)
        return count * rows * cols

    return flops


# Fills


def expressed(state: State, result: State) -> frozenset[Place]:
    """Return the places of the result's absent entries at which an operand has
    entries.
    """
    own = State(state.shape, result.radius, frozenset()).places
    if state.shape.rows is not N or state.shape.cols is not N:
        own -= {"band"}
    # An operand that is broadcast over later tokens is expanded there.
    return result.places & (own | {"future"})


def fill_nothing(states: tuple[State, ...], result: State) -> tuple[Fill | None, ...]:
    """Return no fills: absent entries may hold anything."""
    return (None,) * len(states)


def omit_nothing(states: tuple[State, ...]) -> tuple[Absent | None, ...]:
    """Return None for each operand: the operation need not know its absent entries."""
    return (None,) * len(states)


def omit_in_row(states: tuple[State, ...]) -> tuple[Absent | None, ...]:
    """Return the absent entries in the rows of each operand, which the operation must
    leave out.
    """
    found = []
    for state in states:
        places = state.places - {"rows"}
        found.append(Absent(places, state.radius) if places else None)
    return tuple(found)


def fill_result(value: float) -> Fills:
    """Return a rule that fills operands with `value` wherever the result is absent."""

    def fill(states: tuple[State, ...], result: State) -> tuple[Fill | None, ...]:
        return tuple(
            Fill(value, expressed(state, result), result.radius) for state in states
        )

    return fill


def fill_in_row(value: float) -> Fills:
    """Return a rule that fills the absent entries of each row with `value`."""
    places: frozenset[Place] = frozenset(("cols", "band", "future"))

    def fill(states: tuple[State, ...], result: State) -> tuple[Fill | None, ...]:
        return tuple(
            Fill(value, state.places & places, state.radius) for state in states
        )

    return fill
