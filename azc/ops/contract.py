"""The contract of operations, which every definition in `azc/ops/defs` fulfils.

A definition is data and small functions. Nothing here imports torch or NumPy: the
reference is called with NumPy, and the lowering names torch's functions.

Absence. A value's entry can be absent: a padding token, or outside a `window`. Each
operation declares what is known about absent entries of its result (`Absence.after`), and
the values it needs in absent entries of its operands (`Absence.fill`). From that a pass
(`azc.passes.masks`) inserts masks, as operations of the graph (`azc.ops.core`), and
leaves out those that change nothing.

An absent entry holds a finite number; the compiler only tracks whether it is 0. So an
operation whose value or slope could be infinite there has its operands filled
wherever its *result* is absent: an infinite slope times a gradient of 0 is NaN, and a
broadcast operand would carry it to entries that are present.

Precision. With float16 and bfloat16 inputs, operations that torch computes in float32
under autocast are computed in float32 here, too (`Op.precision`), and so are products that
sum over tokens.
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
Number = int | float | FxNode  # known, or computed when the graph runs


class TypeFault(Exception):
    """Raised for operand types that an operation does not take; `help` suggests
    others.
    """

    def __init__(self, message: str, help: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.help = help


@dataclass(frozen=True)
class Attribute:
    """An integer keyword argument, `radius = 16`. Both bounds are inclusive."""

    name: str
    doc: str
    minimum: int
    maximum: int
    odd: bool


@dataclass(frozen=True)
class Weight:
    """A learned weight of an operation.

    Each of `axes` is "heads", "d" (head width) or a number. `cut` says for each axis
    how a smaller weight is cut from a larger shared one: its first entries, or the taps
    of a kernel, which are its centre, or in a causal model its last ones. `init(np,
    shape, causal)` returns the initial value.
    """

    name: str
    axes: tuple[str | int, ...]
    cut: tuple[Literal["first", "taps"], ...]
    init: Callable[[Any, tuple[int, ...], bool], Any]

    def shape(self, heads: int, d: int) -> tuple[int, ...]:
        """Return the shape in numbers."""
        known = {"heads": heads, "d": d}
        return tuple(
            known[axis] if isinstance(axis, str) else axis for axis in self.axes
        )


# Reference semantics: NumPy, float64, one head of one unpadded sequence


@dataclass(frozen=True)
class Value:
    """A value in the interpreter: `data` and a mask of `present` entries, both [r,
    c].
    """

    data: Any
    present: Any


@dataclass(frozen=True)
class Frame:
    """The context of an operation's reference.

    `np` is NumPy; `head` counts from 0; `weights` maps a weight's name to its array for
    this head. With `causal`, the n tokens are the tokens so far, and the last row of
    the result is the one of the newest token.
    """

    np: Any
    n: int
    d: int
    head: int
    heads: int
    weights: Mapping[str, Any]
    causal: bool = False

    def filled(self, value: Value, fill: float) -> Any:
        """Return the data [r, c] with `fill` in absent entries."""
        return self.np.where(value.present, value.data, fill)

    def norm(self, data: Any) -> Any:
        """Return the Euclidean norm of every row, [..., 1], also where its square is
        out of range.
        """
        np = self.np
        largest = np.abs(data).max(-1, keepdims=True, initial=0.0)
        fits = (largest > 0.0) & (largest < np.inf)
        scale = np.where(fits, largest, 1.0)
        return np.sqrt(((data / scale) ** 2).sum(-1, keepdims=True)) * scale


# Absence


@dataclass(frozen=True)
class State:
    """Facts about the absent entries of a value.

    `radius`: entries with |i−j| > radius are absent (None: no window). `zero`: the
    places whose absent entries hold 0. `causal`: in a value [n, n], entries with j > i
    are absent.
    """

    shape: Shape
    radius: int | None
    zero: frozenset[Place]
    causal: bool = False

    @property
    def places(self) -> frozenset[Place]:
        """The places where entries can be absent."""
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
    """The places of a value's absent entries; `radius` is that of the band."""

    places: frozenset[Place]
    radius: int | None


@dataclass(frozen=True)
class Absence:
    """The treatment of absent entries by an operation.

    `after` returns the state of the result from the operands' states, the result's type
    and the attributes. `fill` returns what each operand is filled with, from the
    operands' states and the result's, None if absent entries may hold anything. `omits`
    returns the absent entries in the rows of each operand if the operation must leave
    them out (a mean divides by the number of present entries), else None, from the
    operands' states. `local`: an entry of the result depends on no entry of an [n, n]
    operand except the one at the same place (for a transpose, at the mirrored place).
    """

    fill: Callable[[tuple[State, ...], State], tuple[Fill | None, ...]]
    omits: Callable[[tuple[State, ...]], tuple[Absent | None, ...]]
    after: Callable[[tuple[State, ...], Shape, Attrs], State]
    local: bool


# Lowering


@dataclass(frozen=True)
class Operand:
    """An operand during lowering: the fx node (a tensor [B, H, r, c], with absent
    entries filled as the operation needs them) and its symbolic type.

    `wide`: it is float32 where the program's inputs have a narrower type, or has the
    range of float32, and autocast must not narrow it (`azc.lower.exact`). `whole`: its
    rows are all tokens so far, where a model is called with only the next ones.
    `omits`: the absent entries that the operation must leave out.
    """

    node: FxNode
    shape: Shape
    wide: bool
    whole: bool = False
    omits: Absent | None = None


class Builder(Protocol):
    """The interface that lowerings use."""

    def call(self, target: str, *args: Argument, **kwargs: Argument) -> FxNode:
        """Call a function by its dotted name."""

    def number(self, operator: str, *args: Number) -> Number:
        """Call a function of the module `operator` on numbers; compute it now if all
        are known.
        """

    def method(self, name: str, *args: Argument, **kwargs: Argument) -> FxNode:
        """Call a method of the first argument."""

    def weight(self, name: str) -> FxNode:
        """Return the operation's own weight [H or 1, d or 1, …] by name."""

    def heads(self) -> int | FxNode:
        """Return the number of heads, an int if it is known."""

    def width(self) -> int | FxNode:
        """Return the width d of one head, an int if it is known."""

    def tokens(self) -> FxNode:
        """Return the length N of the padded sequence."""

    def positions(self, like: FxNode) -> FxNode:
        """Return the index of every token among the real ones, [B or 1, 1, N, 1].

        It has the type of the inputs, but at least float32.
        """

    def distance(self, like: FxNode) -> FxNode:
        """Return |i − j| for all pairs of tokens, [B or 1, 1, N, N], in the type of
        positions.
        """

    def gone(self, operand: Operand) -> FxNode | None:
        """Return a mask of the entries that the operation leaves out of a row.

        It is boolean and broadcasts over [B, H, r, c]; None, now or when the graph
        runs, if nothing is absent.
        """

    def fill(self, operand: Operand, fill: Fill) -> FxNode:
        """Return the operand's node with a number in its absent entries."""

    def so_far(self, operand: Operand, axis: int, reach: int | None) -> FxNode:
        """Return the operand's node extended by earlier tokens, where a model is called
        with only the next ones.

        `axis` is that of the tokens, −2 or −1; `reach` is the number of earlier tokens,
        None for all.
        """

    def packed(self, node: FxNode) -> FxNode:
        """Return [B, H, N, d], 0 in padding, with the real tokens of each sequence
        moved together.
        """

    def unpacked(self, node: FxNode) -> FxNode:
        """Undo `packed`."""

    @property
    def causal(self) -> bool:
        """True if tokens do not see later tokens."""

    def dropout(self, node: FxNode, rate: float) -> FxNode:
        """Apply dropout, in training."""


# Cost


@dataclass(frozen=True)
class Sizes:
    """The numbers to compute a cost for: n tokens, head width d."""

    n: int
    d: int


@dataclass(frozen=True)
class Cost:
    """Floating point operations and learned parameters for one head and one
    sequence.
    """

    flops: int
    params: int


# The operation


@dataclass(frozen=True)
class Sample:
    """Operand types and attributes that the operation accepts."""

    shapes: tuple[Shape, ...]
    attrs: Mapping[str, Any]


@dataclass(frozen=True)
class ErrorSample:
    """Operand types that the operation rejects, and words of the message."""

    shapes: tuple[Shape, ...]
    message: str


@dataclass(frozen=True)
class Op:
    """An operation. No field has a default: a missing field fails on loading.

    `precision` applies if the program's inputs are narrower than float32: "same"
    computes in the operands' type; "wide" in float32, and so is the result (it may be
    out of the narrow type's range); "inside" in float32, with the result in the
    operands' type; "product" in float32 if `azc.facts.precision` finds that the result
    needs it, else in the type of the inputs; "weights" in float32 if it finds so, else
    in the operands' type. `axes` declares the axes that the result shares with the
    operands. `reach` returns, for a causal model, how many tokens before its own a row
    of the result reads from an operand that is not read row by row; None for all.
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
        """Return the type of the result.

        Raises:
            TypeFault: If the operation does not take operands of these types.
        """
        return self.typing(*shapes)

    def cost(self, sizes: Sizes, shapes: tuple[Shape, ...], attrs: Attrs) -> Cost:
        """Return the cost for one head of one sequence."""
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
