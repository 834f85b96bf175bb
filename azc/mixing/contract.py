"""What a layer's token mixing is, and what a kind of convolution layer is.

A layer maps the features of its tokens, mixes what comes of it over the tokens, and maps
that to the residual. All mixings tell the same of this (`Mixing`). What is between the
maps is a graph for an attention program: how it is computed, its FLOPs and what a decoder
keeps of it are read from there (`azc.lower`, `azc.compare.cost`). For a convolution it is
a row of data (`ConvKind`).

Nothing here imports torch or NumPy: a reference gets NumPy handed in, and a row names the
module that computes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

__all__ = ["ConvKind", "LayerSizes", "Learned", "Mixing"]


@dataclass(frozen=True)
class LayerSizes:
    """What a layer has of its model. `bias`: whether its linear maps have one; `causal`:
    whether a token sees no later one.
    """

    hidden: int
    heads: int
    bias: bool
    causal: bool


class Mixing(Protocol):
    """What a layer mixes its tokens with."""

    @property
    def text(self) -> str:
        """As a model has it: `sdpa`, `conv(kernel = 9)`."""

    @property
    def features(self) -> frozenset[str]:
        """What a search keeps priorities for."""

    @property
    def headed(self) -> bool:
        """Whether the number of heads means anything."""

    def linears(self, hidden: int) -> tuple[tuple[int, int], ...]:
        """Its linear maps from and to the layer's features: sizes (inner, outer)."""

    def own_parameters(self, sizes: LayerSizes) -> int:
        """The parameters of what is between these maps."""


@dataclass(frozen=True)
class Learned:
    """A parameter of a convolution's module, by its name there.

    `shape`: of the tensor that it is shared as, which may split axes of the module's own.
    `cut`: how a smaller one is taken from a larger shared one, an axis at a time, as of
    `azc.ops.contract.Weight`.
    """

    name: str
    shape: tuple[int, ...]
    cut: tuple[Literal["first", "taps"], ...]


@dataclass(frozen=True)
class ConvKind:
    """A kind of convolution layer, for every odd width `kernel`. No field has a default.

    `doc`: what its kernels are. `headed`: whether the number of heads means anything.
    `learned(sizes, kernel)`: its parameters. `flops(sizes, kernel, n)`: floating point
    operations on n tokens, of the convolution and of what makes its kernels.
    `reference(np, sizes, kernel, weights, x)`: the semantics in NumPy, from x [n, hidden],
    one sequence without padding, to the same shape; `weights` by name, shaped as shared.
    `module`: the dotted path of the module that computes it, which is made of (sizes,
    kernel) and called with [B, N, hidden], in which neighbours stand side by side and
    padding holds 0.
    """

    name: str
    doc: str
    source: str
    headed: bool
    learned: Callable[[LayerSizes, int], tuple[Learned, ...]]
    flops: Callable[[LayerSizes, int, int], int]
    reference: Callable[[Any, LayerSizes, int, Mapping[str, Any], Any], Any]
    module: str
