"""Measured costs of a model on a device: latency, and memory of a training step."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING, Any

from azc.training.calls import extras

if TYPE_CHECKING:
    import torch

__all__ = ["latency", "peak_memory", "steady"]

_WARM_UP = 3  # calls before the measurement
_REPEATS = 9  # calls per block, of which the median is taken
_AGREE = 0.03  # relative difference allowed between the two lowest blocks
_LEAST, _MOST = 4, 15  # blocks


def steady(sample: Callable[[], float]) -> float:
    """Measure a value that other load on the machine can only increase.

    The median of a block of calls ignores single slow calls. Blocks are repeated until
    the two lowest agree within 3 %, and the lowest is returned.
    """
    for _ in range(_WARM_UP):
        sample()
    blocks: list[float] = []
    while True:
        blocks.append(median(sample() for _ in range(_REPEATS)))
        lowest = sorted(blocks)[:2]
        agree = len(lowest) == 2 and lowest[1] <= lowest[0] * (1 + _AGREE)
        if len(blocks) >= _MOST or (len(blocks) >= _LEAST and agree):
            return lowest[0]


def latency(model: Any, batch: tuple[int, int], device: torch.device) -> float:
    """Measure the time of one forward pass.

    Args:
        model: A model of transformers; it is moved to `device`.
        batch: The number of sequences, and of tokens in each.
        device: The device.

    Returns:
        Milliseconds; see `steady`.
    """
    import torch

    model = model.to(device).eval()
    tokens = torch.zeros(batch, dtype=torch.long, device=device)
    tokens += torch.arange(batch[1], device=device) % model.config.vocab_size

    also = extras(model)

    def sample() -> float:
        _wait(device)
        start = time.perf_counter()
        model(input_ids=tokens, **also)
        _wait(device)
        return (time.perf_counter() - start) * 1000

    with torch.inference_mode():
        return steady(sample)


def peak_memory(model: Any, batch: tuple[int, int], device: torch.device) -> float:
    """Measure the largest amount of memory that tensors hold in a forward and backward
    pass.

    It covers weights, gradients and saved activations, but not the optimizer's state.
    On CUDA it is the memory that the allocator handed out; elsewhere, the storages of
    all live tensors, which does not depend on the machine.

    Args:
        model: A model of transformers; it is moved to `device`.
        batch: The number of sequences, and of tokens in each.
        device: The device.

    Returns:
        MiB.
    """
    import torch

    before = 0
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    model = model.to(device).train()
    tokens = torch.zeros(batch, dtype=torch.long, device=device)

    def step() -> None:
        model(input_ids=tokens, labels=tokens).loss.backward()
        model.zero_grad(set_to_none=True)

    if device.type == "cuda":
        step()
        _wait(device)
        peak = torch.cuda.max_memory_allocated(device) - before
    else:
        with _alive_mode()(model.parameters()) as alive:
            step()
        peak = alive.peak
    return peak / 2**20


def _wait(device: torch.device) -> None:
    import torch

    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _alive_mode() -> Any:
    import weakref

    from torch import Tensor
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves
    from torch.utils.weak import WeakIdKeyDictionary

    class Alive(TorchDispatchMode):
        """Counter of the bytes of storages, from the operation that creates them until
        they are freed.
        """

        def __init__(self, weights: Any) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.known = WeakIdKeyDictionary()
            self.now = self.peak = 0
            for weight in weights:
                self.count(weight)

        def count(self, tensor: Tensor) -> None:
            storage = tensor.untyped_storage()
            if storage not in self.known:
                self.known[storage] = True
                size = storage.nbytes()
                self.now += size
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self.gone, size)

        def gone(self, size: int) -> None:
            self.now -= size

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            found = func(*args, **(kwargs or {}))
            for each in tree_leaves(found):
                if isinstance(each, Tensor):
                    self.count(each)
            return found

    return Alive
