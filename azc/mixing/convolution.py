"""Token mixing by a convolution layer, and the kinds of convolution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Any

from azc.mixing.contract import ConvKind, LayerSizes, Learned

__all__ = ["CONV_KINDS", "DEFAULT_KIND", "ConvUse", "conv_feature"]


@dataclass(frozen=True)
class ConvUse:
    """Token mixing by a convolution layer of odd width `kernel`."""

    kernel: int
    kind: str

    @property
    def row(self) -> ConvKind:
        """The definition of its kind."""
        return CONV_KINDS[self.kind]

    @property
    def reach(self) -> int:
        """The number of tokens before its own that a token reads in a causal model."""
        return self.kernel - 1

    @property
    def text(self) -> str:
        """The text in a model."""
        kind = "" if self.kind == DEFAULT_KIND else f", kind = {self.kind}"
        return f"conv(kernel = {self.kernel}{kind})"

    @property
    def features(self) -> frozenset[str]:
        """Its width; the kind is not a feature."""
        return frozenset({conv_feature(self.kernel)})

    @property
    def headed(self) -> bool:
        """True if the number of heads matters."""
        return self.row.headed

    def linears(self, hidden: int) -> tuple[tuple[int, int], ...]:
        """Return the sizes of the map to the values and their gates, and of the output
        map.
        """
        return (hidden, 2 * hidden), (hidden, hidden)

    def own_parameters(self, sizes: LayerSizes) -> int:
        """Count the parameters of its kind."""
        return sum(prod(each.shape) for each in self.row.learned(sizes, self.kernel))

    def flops(self, sizes: LayerSizes, n: int) -> int:
        """Count the floating point operations of the gates and the convolution on n
        tokens.
        """
        return 4 * n * sizes.hidden + self.row.flops(sizes, self.kernel, n)


def conv_feature(kernel: int) -> str:
    """Return the name of a convolution width as a feature."""
    return f"conv {kernel}"


# Parts that the kinds share


def _convolved(np: Any, sizes: LayerSizes, taps: Any, x: Any) -> Any:
    """Convolve x [n, C] with kernels [n or 1, C, K] (Wu et al. 2019, section 2):
    centered, or in a causal model over a token and those before it.
    """
    n, kernel = len(x), taps.shape[-1]
    before = kernel - 1 if sizes.causal else kernel // 2
    rows = np.pad(x, ((before, kernel - 1 - before), (0, 0)))
    return sum(rows[i : i + n] * taps[..., i] for i in range(kernel))


def _of_heads(np: Any, sizes: LayerSizes, logits: Any) -> Any:
    """Expand kernels of heads [..., H, K], before their softmax, to channels [..., C,
    K].
    """
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    kernels = powers / powers.sum(-1, keepdims=True)
    return kernels.repeat(sizes.hidden // sizes.heads, -2)


def _one_pass(sizes: LayerSizes, kernel: int, n: int) -> int:
    return 2 * n * sizes.hidden * kernel


# light


def _light_learned(sizes: LayerSizes, kernel: int) -> tuple[Learned, ...]:
    return (Learned("kernel", (sizes.heads, kernel), ("first", "taps")),)


def _light_reference(
    np: Any, sizes: LayerSizes, kernel: int, weights: Mapping[str, Any], x: Any
) -> Any:
    taps = _of_heads(np, sizes, weights["kernel"])
    return _convolved(np, sizes, taps[None], x)


LIGHT = ConvKind(
    name="light",
    doc="one per head, learned, softmax over its width",
    source="Wu et al. 2019, equation 6",
    headed=True,
    learned=_light_learned,
    flops=_one_pass,
    reference=_light_reference,
    module="azc.lower.modules.LightConv",
)


# dynamic


def _dynamic_learned(sizes: LayerSizes, kernel: int) -> tuple[Learned, ...]:
    heads, hidden = sizes.heads, sizes.hidden
    weight = Learned(
        "predict.weight", (heads, kernel, hidden), ("first", "taps", "first")
    )
    bias = Learned("predict.bias", (heads, kernel), ("first", "taps"))
    return (weight, bias) if sizes.bias else (weight,)


def _dynamic_flops(sizes: LayerSizes, kernel: int, n: int) -> int:
    return _one_pass(sizes, kernel, n) + 2 * n * sizes.hidden * sizes.heads * kernel


def _dynamic_reference(
    np: Any, sizes: LayerSizes, kernel: int, weights: Mapping[str, Any], x: Any
) -> Any:
    logits = np.einsum("hkc,nc->nhk", weights["predict.weight"], x)
    logits = logits + weights.get("predict.bias", 0.0)
    return _convolved(np, sizes, _of_heads(np, sizes, logits), x)


DYNAMIC = ConvKind(
    name="dynamic",
    doc="one per head and token, predicted from the token, softmax over its width",
    source="Wu et al. 2019, equation 7",
    headed=True,
    learned=_dynamic_learned,
    flops=_dynamic_flops,
    reference=_dynamic_reference,
    module="azc.lower.modules.DynamicConv",
)


# depthwise


def _depthwise_learned(sizes: LayerSizes, kernel: int) -> tuple[Learned, ...]:
    return (Learned("kernel", (sizes.hidden, kernel), ("first", "taps")),)


def _depthwise_reference(
    np: Any, sizes: LayerSizes, kernel: int, weights: Mapping[str, Any], x: Any
) -> Any:
    return _convolved(np, sizes, weights["kernel"][None], x)


DEPTHWISE = ConvKind(
    name="depthwise",
    doc="one per feature, learned, not normalized",
    source="Wu et al. 2019, section 2",
    headed=False,
    learned=_depthwise_learned,
    flops=_one_pass,
    reference=_depthwise_reference,
    module="azc.lower.modules.DepthwiseConv",
)

# In the order used by messages.
CONV_KINDS: Mapping[str, ConvKind] = MappingProxyType(
    {kind.name: kind for kind in (LIGHT, DYNAMIC, DEPTHWISE)}
)
DEFAULT_KIND = LIGHT.name
