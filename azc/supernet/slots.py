"""Mapping of the parameters of compiled models to parts of shared tensors.

Parameters are shared by layer position (Gao et al. 2022, BIWS): the projections and the
output of the attention branch, the convolution branch, feed-forward networks and norms.
A smaller parameter is a slice of the widest one: the centre of a kernel over tokens (of
a causal one its last taps), the first entries of every other axis.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from azc.check.program import ConvUse, ModelSpec
from azc.lower.attention import OperationWeight

__all__ = ["Slot", "slots"]

Cut = Literal["first", "centre", "last"]
_LAYER = re.compile(r"(?P<layer>.*\blayers\.(?P<index>\d+)\.)(?P<rest>.*)")


@dataclass(frozen=True)
class Slot:
    """A part of a shared tensor: its key, the shape of the parameter, and the cut of
    each axis.
    """

    key: str
    shape: tuple[int, ...]
    cut: tuple[Cut, ...]

    def index(self, full: torch.Size) -> tuple[slice, ...]:
        """Return the slice of a shared tensor of the shape `full`, which is at least as
        large.
        """
        found = []
        for size, whole, cut in zip(self.shape, full, self.cut, strict=True):
            start = 0
            if cut != "first":
                start = (whole - size) // (2 if cut == "centre" else 1)
            found.append(slice(start, start + size))
        return tuple(found)


def slots(model: nn.Module, spec: ModelSpec) -> dict[str, Slot]:
    """Return the slot of every parameter of a compiled model of `spec`, by parameter
    name.
    """
    modules = dict(model.named_modules())
    found: dict[str, Slot] = {}
    for name, parameter in model.named_parameters():
        owner = modules[name.rpartition(".")[0]]
        found[name] = _slot(name, parameter, owner, spec)
    return found


def _slot(
    name: str, parameter: nn.Parameter, owner: nn.Module, spec: ModelSpec
) -> Slot:
    shape = tuple(parameter.shape)
    if isinstance(owner, OperationWeight):
        return Slot(name, shape, _cuts(owner.spec.cut, spec))
    match = _LAYER.fullmatch(name)
    if match and match["rest"].startswith("conv.mix."):
        layer = spec.layers[int(match["index"])]
        assert isinstance(layer.mixing, ConvUse)
        row, kernel = layer.mixing.row, layer.mixing.kernel
        leaf = match["rest"].removeprefix("conv.mix.")
        learned = {each.name: each for each in row.learned(spec.sizes(layer), kernel)}
        return Slot(
            f"{match['layer']}conv.{row.name}.{leaf}",
            learned[leaf].shape,
            _cuts(learned[leaf].cut, spec),
        )
    first: Cut = "first"
    return Slot(name, shape, (first,) * len(shape))


def _cuts(
    cut: tuple[Literal["first", "taps"], ...], spec: ModelSpec
) -> tuple[Cut, ...]:
    taps: Cut = "last" if spec.causal else "centre"
    return tuple(taps if each == "taps" else each for each in cut)
