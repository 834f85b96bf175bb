"""What an operation is: the contract that every definition in `azc/ops/defs` fulfils.

A definition is data and small functions. Nothing here imports torch or NumPy: the
reference semantics gets NumPy handed in, the lowering names torch's functions.

Absence. A value's entry can be absent: a padding token, or outside a `window`. Each
operation says what it needs to stand in its operands' absent entries before it runs
(`Absence.fill`) and what is known of its result's (`Absence.after`). The compiler puts
the masks in from that, and leaves out those that change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from azc.shapes import N, Shape

__all__ = [
    "Absence",
    "Attribute",
    "Attrs",
    "Builder",
    "Cost",
    "ErrorSample",
    "Fill",
    "Frame",
    "Op",
    "Operand",
    "Sample",
    "Sizes",
    "State",
    "TypeFault",
    "Value",
    "Weight",
]

Attrs = Mapping[str, int]
Place = Literal["rows", "cols", "band"]
ALL_PLACES: frozenset[Place] = frozenset(("rows", "cols", "band"))


class TypeFault(Exception):
    """Operand types that an operation does not take.

    `help` may hold `{0}`, `{1}`, … for the text of the operands.
    """

    def __init__(self, message: str, help: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.help = help


@dataclass(frozen=True)
class Attribute:
    """An integer given by keyword: `radius = 16`. Both bounds are allowed values."""

    name: str
    doc: str
    minimum: int
    maximum: int
    odd: bool


@dataclass(frozen=True)
class Weight:
    """A learned weight of an operation.

    `axes`: each "heads", "d" (head width) or a number. `cut`: how a smaller weight is
    taken from a larger shared one, an axis at a time: its first entries or its centre.
    `init(np, shape)` gives the value training starts from.
    """

    name: str
    axes: tuple[str | int, ...]
    cut: tuple[Literal["first", "centre"], ...]
    init: Callable[[Any, tuple[int, ...]], Any]

    def shape(self, heads: int, d: int) -> tuple[int, ...]:
        """The shape in numbers."""
        known = {"heads": heads, "d": d}
        return tuple(
            known[axis] if isinstance(axis, str) else axis for axis in self.axes
        )


# Reference semantics: NumPy, float64, one head of one unpadded sequence


@dataclass(frozen=True)
class Value:
    """A value in the interpreter: `data` and what is `present` of it, both [r, c]."""

    data: Any
    present: Any


@dataclass(frozen=True)
class Frame:
    """What an operation's reference may look at beside its operands.

    `np` is NumPy; `head` counts from 0; `weights` maps a weight's name to its array for
    this head.
    """

    np: Any
    n: int
    d: int
    head: int
    heads: int
    weights: Mapping[str, Any]

    def filled(self, value: Value, fill: float) -> Any:
        """The data with `fill` at absent entries."""
        return self.np.where(value.present, value.data, fill)


# Absence


@dataclass(frozen=True)
class State:
    """What the compiler knows of a value's absent entries.

    `radius`: entries with |i−j| > radius are absent (None: no window). `zero`: the
    places whose absent entries are known to hold 0.
    """

    shape: Shape
    radius: int | None
    zero: frozenset[Place]

    @property
    def places(self) -> frozenset[Place]:
        """Where entries can be absent at all."""
        found: set[Place] = set()
        if self.shape.rows is N:
            found.add("rows")
        if self.shape.cols is N:
            found.add("cols")
        if self.radius is not None:
            found.add("band")
        return frozenset(found)


@dataclass(frozen=True)
class Fill:
    """The number an operation needs in an operand's absent entries at `places`."""

    value: float
    places: frozenset[Place]


@dataclass(frozen=True)
class Absence:
    """How an operation treats absent entries.

    `fill`: one for each operand, None where anything may stand there. `after`: from the
    operands' states (before the fill), the result's type and the attributes, the state
    of the result.
    """

    fill: tuple[Fill | None, ...]
    after: Callable[[tuple[State, ...], Shape, Attrs], State]


# Lowering


@dataclass(frozen=True)
class Operand:
    """An operand on its way to torch: the fx node (tensor [B, H, r, c], absent entries
    already filled as the operation asked) and the state it had before the fill.
    """

    node: Any
    state: State

    @property
    def shape(self) -> Shape:
        """The symbolic type."""
        return self.state.shape


class Builder(Protocol):
    """What a lowering may ask for. Nodes are `torch.fx.Node`s."""

    def call(self, target: str, *args: Any, **kwargs: Any) -> Any:
        """A call of a function by its dotted name; folded when all is known."""

    def method(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """A call of a method of the first argument."""

    def weight(self, name: str) -> Any:
        """The operation's own weight [H or 1, d or 1, …] by name."""

    def heads(self) -> Any:
        """The number of heads: an int if it is known, or a node."""

    def width(self) -> Any:
        """The width d of one head: an int if it is known, or a node."""

    def tokens(self) -> Any:
        """The length N of the padded sequence, a node."""

    def wide(self, node: Any) -> Any:
        """The node in float32 if its own type is narrower."""

    def positions(self, like: Any) -> Any:
        """The index of every token among the real ones, [B or 1, 1, N, 1], in the type
        of `like` but at least float32.
        """

    def distance(self, like: Any) -> Any:
        """|i − j| for every two real tokens, [B or 1, 1, N, N], typed as positions."""

    def present(self, operand: Operand) -> Any | None:
        """Which entries of a row are present, bool, broadcasts over [B, H, r, c];
        None if all of them always are.
        """

    def packed(self, node: Any) -> Any:
        """[B, H, N, d] with the real tokens of each sequence first, in order."""

    def unpacked(self, node: Any) -> Any:
        """Undoes `packed`."""

    def dropout(self, node: Any) -> Any:
        """Attention dropout, where the model has it."""


# Cost


@dataclass(frozen=True)
class Sizes:
    """The numbers a cost is computed for: n tokens, head width d."""

    n: int
    d: int


@dataclass(frozen=True)
class Cost:
    """For one head and one sequence: floating point operations, learned parameters, and
    bytes read and written in float32.
    """

    flops: int
    params: int
    bytes: int


# The operation


@dataclass(frozen=True)
class Sample:
    """Operand types and attributes that the operation takes."""

    shapes: tuple[Shape, ...]
    attrs: Attrs


@dataclass(frozen=True)
class ErrorSample:
    """Operand types that it refuses, and words of the message."""

    shapes: tuple[Shape, ...]
    message: str


@dataclass(frozen=True)
class Op:
    """One operation. No field has a default: what is missing fails on loading."""

    name: str
    doc: str
    source: str
    operands: tuple[str, ...]
    attrs: tuple[Attribute, ...]
    typing: Callable[..., Shape]
    weights: Callable[[Attrs], tuple[Weight, ...]]
    reference: Callable[..., Value]
    lower: Callable[..., Any]
    flops: Callable[[Sizes, tuple[Shape, ...], Shape, Attrs], int]
    absence: Absence
    samples: tuple[Sample, ...]
    errors: tuple[ErrorSample, ...]

    def result(self, shapes: tuple[Shape, ...]) -> Shape:
        """The type of the result. Raises `TypeFault`."""
        return self.typing(*shapes)

    def cost(self, sizes: Sizes, shapes: tuple[Shape, ...], attrs: Attrs) -> Cost:
        """The cost for one head of one sequence."""
        result = self.result(shapes)
        moved = sum(r * c for r, c in (s.sizes(sizes.n, sizes.d) for s in shapes))
        rows, cols = result.sizes(sizes.n, sizes.d)
        params = 0
        for weight in self.weights(attrs):
            size = 1
            for length in weight.shape(1, sizes.d):
                size *= length
            params += size
        return Cost(
            flops=self.flops(sizes, shapes, result, attrs),
            params=params,
            bytes=4 * (moved + rows * cols + params),
        )
