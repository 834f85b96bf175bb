"""One model fitted to masked text, and measured on text held out.

Codes: T001 a loss that is not a number, T002 out of memory, T003 options that make no
sense.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from azc.diagnostics import AzcError, UsageError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from azc.data.mlm import MaskedLMData, Split

__all__ = [
    "FitOptions",
    "FitResult",
    "TrainingFailed",
    "default_device",
    "evaluate",
    "fit",
]

SCHEDULES = ("linear", "cosine", "constant_with_warmup", "constant")


class TrainingFailed(AzcError):
    """A fit that came to nothing; `step` (from 1) is where, None while measuring."""

    def __init__(
        self, code: str, message: str, help: str | None = None, step: int | None = None
    ) -> None:
        super().__init__(code, message, help)
        self.step = step


@dataclass(frozen=True)
class FitOptions:
    """How to train: AdamW with a schedule; `warmup` is a fraction of the steps.

    `clip` is the norm that gradients are cut to, 0 for no cut. `seed` orders and masks
    the batches and seeds dropout. Raises UsageError T003 for values out of range.
    """

    steps: int = 100
    batch_size: int = 32
    learning_rate: float = 3e-3
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    schedule: str = "linear"
    seed: int = 0

    def __post_init__(self) -> None:
        checks: list[tuple[str, bool, str]] = [
            ("steps", self.steps >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("learning_rate", 0 < self.learning_rate < math.inf, "above 0"),
            ("warmup", 0 <= self.warmup <= 1, "from 0 to 1"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "at least 0"),
            ("clip", 0 <= self.clip < math.inf, "at least 0"),
            ("schedule", self.schedule in SCHEDULES, f"one of {', '.join(SCHEDULES)}"),
        ]
        for name, right, wanted in checks:
            if not right:
                found = getattr(self, name)
                raise UsageError("T003", f"{name} is {found}, it must be {wanted}")


@dataclass(frozen=True)
class FitResult:
    """What a fit did: up to 20 `(step, mean loss since the one before)` points, its
    number of steps, real tokens seen, and seconds of wall time.
    """

    curve: tuple[tuple[int, float], ...]
    steps: int
    tokens: int
    seconds: float


def default_device() -> torch.device:
    """CUDA where there is one, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fit(
    model: PreTrainedModel,
    data: MaskedLMData,
    options: FitOptions,
    *,
    on_step: Callable[[int, float], None] | None = None,
    device: torch.device | str | None = None,
) -> FitResult:
    """Train `model` in place on batches of `data`, leaving it in evaluation mode.

    `model(input_ids=, attention_mask=, labels=)` gives a `.loss`; `on_step(step, loss)`
    is called after each step, counted from 1. The same seed on the same machine gives
    the same weights to the last bit. The global state of torch's random numbers is left
    as it was found.

    Raises TrainingFailed T001 for a loss that is NaN or infinite, before it reaches the
    weights, and T002 when memory runs out.
    """
    import torch
    from transformers import get_scheduler

    device = torch.device(device) if device is not None else default_device()
    module: Any = model
    module.to(device)
    module.train()
    optimizer = torch.optim.AdamW(_groups(module, options.weight_decay), fused=True)
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] = options.learning_rate
    scheduler: Any = get_scheduler(
        options.schedule,
        optimizer,
        num_warmup_steps=round(options.warmup * options.steps),
        num_training_steps=options.steps,
    )
    parameters = [p for p in module.parameters() if p.requires_grad]
    batches = data.batches(options.batch_size, seed=options.seed)
    losses: list[float] = []
    tokens = 0
    start = time.perf_counter()
    with _seeded(options.seed, device):
        for step in range(1, options.steps + 1):
            batch = next(batches)
            with _memory_guard(step):
                loss = module(**batch.inputs(device)).loss
                value = float(loss.detach())
                if not math.isfinite(value):
                    raise TrainingFailed(
                        "T001", f"the loss is {value} at step {step}", step=step
                    )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                if options.clip:
                    torch.nn.utils.clip_grad_norm_(parameters, options.clip)
                optimizer.step()
                scheduler.step()
            losses.append(value)
            tokens += int(batch.attention_mask.sum())
            if on_step is not None:
                on_step(step, value)
    module.eval()
    return FitResult(_curve(losses), options.steps, tokens, time.perf_counter() - start)


def evaluate(
    model: PreTrainedModel,
    data: MaskedLMData,
    split: Split = "validation",
    *,
    blocks: int | None = None,
    batch_size: int = 64,
    device: torch.device | str | None = None,
) -> float:
    """Mean cross-entropy of `model`, in nats a masked token, on a split's fixed masks.

    `blocks` measures on the first so many blocks alone. Raises TrainingFailed T001 for
    a loss that is NaN or infinite and T002 when memory runs out.
    """
    import torch

    device = torch.device(device) if device is not None else default_device()
    module: Any = model
    was_training = module.training
    module.to(device)
    module.eval()
    total, count = 0.0, 0
    try:
        with torch.inference_mode(), _memory_guard(None):
            for batch in data.held_out(split, batch_size, blocks=blocks):
                masked = batch.masked
                if masked:  # the mean over nothing is NaN
                    total += float(module(**batch.inputs(device)).loss) * masked
                    count += masked
    finally:
        module.train(was_training)
    mean = total / count if count else math.nan
    if not math.isfinite(mean):
        raise TrainingFailed("T001", f"the loss on the {split} split is {mean}")
    return mean


def _groups(module: Any, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; biases and gains (one axis) do not, as is the custom for BERT."""
    trained = [p for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _curve(losses: list[float]) -> tuple[tuple[int, float], ...]:
    stride = max(1, -(-len(losses) // 20))
    return tuple(
        (min(start + stride, len(losses)), math.fsum(part) / len(part))
        for start in range(0, len(losses), stride)
        for part in [losses[start : start + stride]]
    )


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Dropout's randomness from `seed`, and the caller's own put back at the end."""
    import torch

    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


@contextmanager
def _memory_guard(step: int | None) -> Iterator[None]:
    import torch

    try:
        yield
    except (MemoryError, RuntimeError) as error:
        full = isinstance(error, MemoryError | torch.OutOfMemoryError) or (
            "can't allocate memory" in str(error)  # the CPU's allocator
        )
        if not full:
            raise
        place = "while measuring" if step is None else f"at step {step}"
        raise TrainingFailed(
            "T002",
            f"memory ran out {place}",
            "take smaller batches, shorter sequences or a smaller model",
            step,
        ) from error
