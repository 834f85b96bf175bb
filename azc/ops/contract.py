"""What an operation is: the contract that every definition in `azc/ops/defs` fulfils.

A definition is data and small functions. Nothing here imports torch or NumPy: the
reference semantics gets NumPy handed in, the lowering names torch's functions.

Absence. A value's entry can be absent: a padding token, or outside a `window`. Each
operation says what is known of its result's absent entries (`Absence.after`), and what
it needs to stand in its operands' entries before it runs (`Absence.fill`). A pass
(`azc.passes.masks`) puts the masks in from that, as operations of the graph
(`azc.ops.core`), and leaves out those that change nothing.

An absent entry holds a finite number, and nothing more is known of it unless it is 0.
So an operation whose value or slope could be infinite there has its operands filled
wherever its *result* is absent: an infinite slope times a gradient of 0 is NaN, and a
broadcast operand would carry it to entries that are present.

Precision. In float16 and bfloat16, what torch computes in float32 under autocast is
computed in float32 here too (`Op.precision`), and so are products that sum over the tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from azc.ops.axes import Axes
from azc.shapes import N, Shape

if TYPE_CHECKING:
    import torch
    from torch.fx import Node as FxNode

    Argument = (
        FxNode | torch.dtype | str | float | slice | EllipsisType | None
        | Sequence["Argument"]
    )  # fmt: skip
else:
    FxNode = Any

__all__ = [
    "Absence",
    "Absent",
    "Attribute",
    "Attrs",
    "Builder",
    "Cost",
    "ErrorSample",
    "Fill",
    "Frame",
    "FxNode",
    "Number",
    "Op",
    "Operand",
    "Place",
    "Precision",
    "Sample",
    "Sizes",
    "State",
    "TypeFault",
    "Value",
    "Weight",
]

Attrs = Mapping[str, int]
Place = Literal["rows", "cols", "band", "future"]
Precision = Literal["same", "wide", "inside", "product", "weights"]
Number = int | float | FxNode  # known, or as the graph runs


class TypeFault(Exception):
    """Operand types that an operation does not take; `help` says what it is for."""

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
    taken from a larger shared one, an axis at a time: its first entries, or the taps of
    a kernel, which are its centre, or its last where a model is causal.
    `init(np, shape, causal)` gives the value training starts from.
    """

    name: str
    axes: tuple[str | int, ...]
    cut: tuple[Literal["first", "taps"], ...]
    init: Callable[[Any, tuple[int, ...], bool], Any]

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
    this head. With `causal` the n tokens are those so far, and the last row of the
    result is that of the token that has just arrived.
    """

    np: Any
    n: int
    d: int
    head: int
    heads: int
    weights: Mapping[str, Any]
    causal: bool = False

    def filled(self, value: Value, fill: float) -> Any:
        """The data with `fill` at absent entries."""
        return self.np.where(value.present, value.data, fill)

    def norm(self, data: Any) -> Any:
        """The Euclidean norm of every row, [..., 1]; its square may be out of range."""
        np = self.np
        largest = np.abs(data).max(-1, keepdims=True, initial=0.0)
        fits = (largest > 0.0) & (largest < np.inf)
        scale = np.where(fits, largest, 1.0)
        return np.sqrt(((data / scale) ** 2).sum(-1, keepdims=True)) * scale


# Absence


@dataclass(frozen=True)
class State:
    """What the compiler knows of a value's absent entries.

    `radius`: entries with |i−j| > radius are absent (None: no window). `zero`: the
    places whose absent entries are known to hold 0. `causal`: where the value is
    [n, n], entries with j > i are absent.
    """

    shape: Shape
    radius: int | None
    zero: frozenset[Place]
    causal: bool = False

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
        if self.causal and self.shape == Shape(N, N):
            found.add("future")
        return frozenset(found)


@dataclass(frozen=True)
class Fill:
    """The number an operation needs in an operand's entries at `places`; `radius` is
    that of the band.
    """

    value: float
    places: frozenset[Place]
    radius: int | None


@dataclass(frozen=True)
class Absent:
    """Where entries of a value are absent; `radius` is that of the band."""

    places: frozenset[Place]
    radius: int | None


@dataclass(frozen=True)
class Absence:
    """How an operation treats absent entries.

    `after`: from the operands' states, the result's type and the
    attributes, the state of the result. `fill`: from the operands' states and the
    result's, what each operand is filled with, None where anything may stand. `omits`:
    from the operands' states, what is absent of each one's rows where the operation has to
    know (a mean divides by the entries that are there); else None. `local`:
    an entry of the result depends on no entry of an [n, n] operand but the one at its
    own place (or, of a transpose, at the mirrored place).
    """

    fill: Callable[[tuple[State, ...], State], tuple[Fill | None, ...]]
    omits: Callable[[tuple[State, ...]], tuple[Absent | None, ...]]
    after: Callable[[tuple[State, ...], Shape, Attrs], State]
    local: bool


# Lowering


@dataclass(frozen=True)
class Operand:
    """An operand on its way to torch: the fx node (tensor [B, H, r, c], absent entries
    filled as the operation asked) and its symbolic type.

    `wide`: it is in float32 where the program's inputs are in a narrower type, or has
    the range of it, and autocast must not narrow it (`azc.lower.exact`).
    `whole`: its rows are all tokens so far, where a model is called with the next ones
    alone. `omits`: what is absent of its rows, where the operation has to know.
    """

    node: FxNode
    shape: Shape
    wide: bool
    whole: bool = False
    omits: Absent | None = None


class Builder(Protocol):
    """What a lowering may ask for."""

    def call(self, target: str, *args: Argument, **kwargs: Argument) -> FxNode:
        """A call of a function by its dotted name."""

    def number(self, operator: str, *args: Number) -> Number:
        """A call of a function of the module `operator` for numbers; one itself where
        all of them are known.
        """

    def method(self, name: str, *args: Argument, **kwargs: Argument) -> FxNode:
        """A call of a method of the first argument."""

    def weight(self, name: str) -> FxNode:
        """The operation's own weight [H or 1, d or 1, …] by name."""

    def heads(self) -> int | FxNode:
        """The number of heads, an int if it is known."""

    def width(self) -> int | FxNode:
        """The width d of one head, an int if it is known."""

    def tokens(self) -> FxNode:
        """The length N of the padded sequence."""

    def positions(self, like: FxNode) -> FxNode:
        """The index of every token among the real ones, [B or 1, 1, N, 1], in the type
        of the inputs but at least float32.
        """

    def distance(self, like: FxNode) -> FxNode:
        """|i − j| for every two tokens, [B or 1, 1, N, N], typed as positions."""

    def gone(self, operand: Operand) -> FxNode | None:
        """What the operation omits of a row, bool, broadcasts over [B, H, r, c]; None,
        now or as the graph runs, where nothing is absent.
        """

    def fill(self, operand: Operand, fill: Fill) -> FxNode:
        """The operand's node with a number in its absent entries."""

    def so_far(self, operand: Operand, axis: int, reach: int | None) -> FxNode:
        """The operand's node with the tokens so far along an axis, −2 or −1, all (None) or
        so many before its own, where a model is called with the next ones alone.
        """

    def packed(self, node: FxNode) -> FxNode:
        """[B, H, N, d], 0 in padding, with the real tokens of each sequence side by
        side.
        """

    def unpacked(self, node: FxNode) -> FxNode:
        """Undoes `packed`."""

    @property
    def causal(self) -> bool:
        """Whether a token sees no later one."""

    def dropout(self, node: FxNode, rate: float) -> FxNode:
        """Dropout, in training."""


# Cost


@dataclass(frozen=True)
class Sizes:
    """The numbers a cost is computed for: n tokens, head width d."""

    n: int
    d: int


@dataclass(frozen=True)
class Cost:
    """For one head and one sequence: floating point operations, learned parameters."""

    flops: int
    params: int


# The operation


@dataclass(frozen=True)
class Sample:
    """Operand types and attributes that the operation takes."""

    shapes: tuple[Shape, ...]
    attrs: Mapping[str, Any]


@dataclass(frozen=True)
class ErrorSample:
    """Operand types that it refuses, and words of the message."""

    shapes: tuple[Shape, ...]
    message: str


@dataclass(frozen=True)
class Op:
    """One operation. No field has a default: what is missing fails on loading.

    `precision`, where the program's inputs are narrower than float32: "same" computes
    in the operands' type; "wide" in float32, where the result stays (it may be out of
    the narrow type's range); "inside" in float32, and back in the operands' type;
    "product" in float32 where `azc.facts.precision` says that the result is, else in the
    type of the inputs; "weights" in float32 where it says so, else in the operands' type.
    `axes`: which axes of the operands the result has.
    `reach`: in a causal model, how many tokens before its own a row of the result takes
    of an operand that it does not read row by row; None for all.
    """

    name: str
    doc: str
    source: str
    operands: tuple[str, ...]
    attrs: tuple[Attribute, ...]
    axes: Axes
    reach: Callable[[Attrs], int | None]
    typing: Callable[..., Shape]
    weights: Callable[[Attrs], tuple[Weight, ...]]
    reference: Callable[..., Value]
    lower: Callable[..., FxNode]
    precision: Precision
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
        params = 0
        for weight in self.weights(attrs):
            size = 1
            for length in weight.shape(1, sizes.d):
                size *= length
            params += size
        return Cost(
            flops=self.flops(sizes, shapes, result, attrs),
            params=params,
        )
