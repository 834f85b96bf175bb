"""The contracts of token mixing (`Mixing`) and of kinds of convolution layers
(`ConvKind`).

A layer maps the features of its tokens, mixes the results over the tokens, and maps
them to the residual. All mixings have the interface `Mixing`. Between the maps, an
attention program is a graph: its computation, FLOPs and decoder cache follow from the
graph (`azc.lower`, `azc.compare.cost`). A convolution is a row of data (`ConvKind`).

Nothing here imports torch or NumPy: references are called with NumPy, and rows name the
module that computes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

__all__ = ["ConvKind", "LayerSizes", "Learned", "Mixing"]


@dataclass(frozen=True)
class LayerSizes:
    """The sizes and flags of a model that its layers depend on.

    `bias`: linear maps have a bias. `causal`: tokens do not see later tokens.
    """

    hidden: int
    heads: int
    bias: bool
    causal: bool


class Mixing(Protocol):
    """The token mixing of a layer."""

    @property
    def text(self) -> str:
        """The text in a model: `sdpa`, `conv(kernel = 9)`."""

    @property
    def features(self) -> frozenset[str]:
        """The features that a search learns priorities for."""

    @property
    def headed(self) -> bool:
        """True if the number of heads matters."""

    def linears(self, hidden: int) -> tuple[tuple[int, int], ...]:
        """Return the sizes (inner, outer) of the linear maps from and to the layer's
        features.
        """

    def own_parameters(self, sizes: LayerSizes) -> int:
        """Count the parameters between these maps."""


@dataclass(frozen=True)
class Learned:
    """A parameter of a convolution's module, by its name there.

    `shape` is the shape of the shared tensor, which may split axes of the module's own.
    `cut` says for each axis how a smaller parameter is cut from a larger shared one, as
    in `azc.ops.contract.Weight`.
    """

    name: str
    shape: tuple[int, ...]
    cut: tuple[Literal["first", "taps"], ...]


@dataclass(frozen=True)
class ConvKind:
    """A kind of convolution layer, for every odd width `kernel`. No field has a
    default.

    `doc` describes its kernels. `headed`: the number of heads matters. `learned(sizes,
    kernel)` returns its parameters. `flops(sizes, kernel, n)` counts the floating point
    operations on n tokens, of the convolution and of the computation of its kernels.
    `reference(np, sizes, kernel, weights, x)` is the semantics in NumPy: it maps x [n,
    hidden], one sequence without padding, to the same shape, with `weights` by name in
    their shared shapes. `module` is the dotted path of the module that computes it; it
    is created with (sizes, kernel) and called with [B, N, hidden], in which neighbours
    are adjacent and padding holds 0.
    """

    name: str
    doc: str
    source: str
    headed: bool
    learned: Callable[[LayerSizes, int], tuple[Learned, ...]]
    flops: Callable[[LayerSizes, int, int], int]
    reference: Callable[[Any, LayerSizes, int, Mapping[str, Any], Any], Any]
    module: str
