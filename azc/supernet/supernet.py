"""The shared weights: copied to candidates, and back after training.

Codes: R030 weights of a run cannot be read.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from azc.diagnostics import RunError, out_of_memory
from azc.files import write_with
from azc.supernet.slots import Slot, slots

if TYPE_CHECKING:
    from azc.check.program import ModelSpec

__all__ = ["Supernet", "save_atomically"]


def save_atomically(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Write safetensors atomically.

    Args:
        tensors: Tensors by name, of any shapes, such as [heads, K].
        path: The file.

    Raises:
        OSError: If it can't be written; the error names `path`.
    """

    def save(beside: Path) -> None:
        try:
            save_file(tensors, beside)
        except SafetensorError as error:  # the disk is full, say
            raise OSError(errno.EIO, str(error)) from error

    write_with(path, save)


class Supernet:
    """Shared tensors by key, each as large as the largest parameter so far."""

    def __init__(self, tensors: dict[str, torch.Tensor] | None = None) -> None:
        self.tensors = dict(tensors or {})

    @classmethod
    def read(cls, path: Path, device: torch.device | str = "cpu") -> Supernet:
        """Read the weights that `save` wrote.

        Raises:
            RunError: If the file is broken.
        """
        try:
            return cls(load_file(path, device=str(device)))
        except (OSError, SafetensorError, MemoryError, RuntimeError) as error:
            why = "not enough memory" if out_of_memory(error) else str(error)
            raise RunError("R030", f"can't read {path}: {why}") from error

    def save(self, path: Path) -> None:
        """Write all tensors to a safetensors file, atomically."""
        cpu = {name: t.detach().cpu().contiguous() for name, t in self.tensors.items()}
        save_atomically(cpu, path)

    def admit(self, model: nn.Module, spec: ModelSpec) -> None:
        """Make room for every parameter of a model.

        Tensors that are missing or too small are filled with the model's own values.
        """
        with torch.no_grad():
            for parameter, slot in _places(model, spec):
                self._widen(slot, parameter)

    def give(self, model: nn.Module, spec: ModelSpec) -> None:
        """Copy the shared values into the model; parameters that are not shared keep
        their values.
        """
        with torch.no_grad():
            for parameter, slot in _places(model, spec):
                full = self.tensors.get(slot.key)
                if full is None:
                    continue
                target = parameter.view(slot.shape)
                inner = Slot(slot.key, _smaller(slot.shape, full.shape), slot.cut)
                source = full[inner.index(full.shape)]
                # A parameter larger than the shared tensor takes it as its own slice.
                target[inner.index(target.shape)] = source.to(target)

    def take(self, model: nn.Module, spec: ModelSpec) -> None:
        """Copy the model's values into the shared tensors."""
        self.admit(model, spec)
        with torch.no_grad():
            for parameter, slot in _places(model, spec):
                view = self._view(slot)
                view.copy_(parameter.detach().view(slot.shape))

    def _view(self, slot: Slot) -> torch.Tensor:
        full = self.tensors[slot.key]
        return full[slot.index(full.shape)]

    def _widen(self, slot: Slot, parameter: nn.Parameter) -> None:
        value = parameter.detach().view(slot.shape)
        full = self.tensors.get(slot.key)
        if full is None:
            self.tensors[slot.key] = value.clone()
            return
        wide = tuple(max(a, b) for a, b in zip(full.shape, slot.shape, strict=True))
        if wide == tuple(full.shape):
            return
        grown = full.new_zeros(wide)
        grown[slot.index(grown.shape)] = value.to(full)
        grown[Slot(slot.key, tuple(full.shape), slot.cut).index(grown.shape)] = full
        self.tensors[slot.key] = grown


def _smaller(a: tuple[int, ...], b: torch.Size) -> tuple[int, ...]:
    return tuple(min(x, y) for x, y in zip(a, b, strict=True))


def _places(model: nn.Module, spec: ModelSpec) -> list[tuple[nn.Parameter, Slot]]:
    found = slots(model, spec)
    return [(p, found[name]) for name, p in model.named_parameters()]
