"""One model fitted to masked or to causal text, and measured on text held out.

The loop is the Trainer of transformers, told to report nothing and to save nothing.

Codes: T001 the loss is not finite; T002 training ran out of memory; T003 a training
option is invalid.
"""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from azc.data.contract import IGNORED
from azc.diagnostics import AzcError, UsageError, out_of_memory
from azc.training.calls import extras

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from azc.data.contract import Batch, Data, Split

__all__ = [
    "FitOptions",
    "Measured",
    "TrainingFailed",
    "default_device",
    "evaluate",
    "fit",
    "load",
    "measure",
    "resolved_device",
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
    """How to train: AdamW with a schedule; `warmup` is a fraction of its steps.

    `schedule_steps`: the learning rate goes as if training took so many steps (None: as
    many as it does), so that a short training is the beginning of a long one. `clip` is
    the norm that gradients are cut to, 0 for no cut. `seed` orders and masks the
    batches and seeds dropout. Raises UsageError T003 for values out of range.
    """

    steps: int = 100
    batch_size: int = 32
    learning_rate: float = 3e-3
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    schedule: str = "linear"
    schedule_steps: int | None = None
    seed: int = 0

    @property
    def whole(self) -> int:
        """The steps of the whole schedule."""
        return self.steps if self.schedule_steps is None else self.schedule_steps

    def __post_init__(self) -> None:
        checks: list[tuple[str, bool, str]] = [
            ("steps", self.steps >= 1, "at least 1"),
            ("schedule_steps", self.whole >= self.steps, "at least the steps"),
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


def default_device() -> torch.device:
    """CUDA where there is one, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load() -> None:
    """Imports what the first fit would import: that takes seconds."""
    _trainer_class()


def fit(
    model: PreTrainedModel,
    data: Data,
    options: FitOptions,
    *,
    on_step: Callable[[int, float], None] | None = None,
    device: torch.device | str | None = None,
) -> None:
    """Train `model` in place on batches of `data`, leaving it in evaluation mode.

    `model(input_ids=, labels=)`, with `attention_mask=` where there is padding and
    `document_ids=` where sequences hold several documents, gives a `.loss`;
    `on_step(step, loss)` is called after each step, counted from 1. The same seed on the
    same machine gives the same weights to the last bit. The global states of random
    numbers are left as they were found.

    Raises TrainingFailed T001 for a loss that is NaN or infinite, before it reaches the
    weights, and T002 when memory runs out.
    """
    import torch

    device = resolved_device(device)
    module: Any = model
    batches = data.batches(options.batch_size, seed=options.seed)
    feed = _Feed(batches, device, extras(module))
    with _isolated(module, device), tempfile.TemporaryDirectory() as folder:
        arguments = _arguments(options, device, folder)
        trainer = _trainer_class()(module, arguments, feed, on_step, options.whole)
        torch.manual_seed(options.seed)
        with _memory_guard(lambda: trainer.state.global_step + 1):
            trainer.train()
    module.eval()


@dataclass(frozen=True)
class Measured:
    """What a model came to on held-out data.

    `loss`: mean cross-entropy in nats, of each part of the data first. `right`: of each
    part by name, the share of what is asked for that the model gives first.
    """

    loss: float
    right: Mapping[str, float]


def evaluate(
    model: PreTrainedModel,
    data: Data,
    split: Split = "validation",
    *,
    blocks: int | None = None,
    batch_size: int = 64,
    device: torch.device | str | None = None,
) -> float:
    """The loss of `model`: see `measure`."""
    return measure(
        model, data, split, blocks=blocks, batch_size=batch_size, device=device
    ).loss


def measure(
    model: PreTrainedModel,
    data: Data,
    split: Split = "validation",
    *,
    blocks: int | None = None,
    batch_size: int = 64,
    device: torch.device | str | None = None,
) -> Measured:
    """Loss and accuracy of `model` on what a split asks for.

    `blocks` measures on the first so many sequences (of each part) alone. Raises
    TrainingFailed T001 for a loss that is NaN or infinite and T002 when memory runs out.
    """
    import torch

    device = resolved_device(device)
    module: Any = model
    also = extras(module)
    was_training = module.training
    module.to(device)
    module.eval()
    totals: dict[str, tuple[float, int, int]] = {}
    try:
        with torch.inference_mode(), _memory_guard(lambda: None):
            for batch in data.held_out(split, batch_size, blocks=blocks):
                asked = batch.asked
                if asked:  # the mean over nothing is NaN
                    output = module(**batch.inputs(device), **also)
                    total, right, count = totals.get(batch.part, (0.0, 0, 0))
                    totals[batch.part] = (
                        total + float(output.loss) * asked,
                        right + _right(output.logits, batch),
                        count + asked,
                    )
    finally:
        module.train(was_training)
    losses = [total / count for total, _, count in totals.values()]
    mean = sum(losses) / len(losses) if losses else math.nan
    if not math.isfinite(mean):
        raise TrainingFailed("T001", f"the loss on the {split} split is {mean}")
    return Measured(
        mean, {part: right / count for part, (_, right, count) in totals.items()}
    )


def _right(logits: torch.Tensor, batch: Batch) -> int:
    """How many answers are right. `logits` are of every token, or of those asked for."""
    found, labels = logits.argmax(-1).cpu(), batch.labels
    if batch.causal:  # a token is told where the one before it stands
        found, labels = found[:, :-1], labels[:, 1:]
    asked = labels != IGNORED
    if found.shape == asked.shape:
        found = found[asked]
    return int((found == labels[asked]).sum())


def resolved_device(device: torch.device | str | None) -> torch.device:
    """The device with its number, where there may be several."""
    import torch

    device = default_device() if device is None else torch.device(device)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    return device


def _arguments(options: FitOptions, device: torch.device, folder: str) -> Any:
    """What the Trainer is told: to log, measure and save nothing. `folder` stays empty."""
    import torch
    from transformers import TrainingArguments

    arguments: Any = TrainingArguments(
        output_dir=folder,
        max_steps=options.steps,
        per_device_train_batch_size=options.batch_size,
        gradient_accumulation_steps=1,
        optim="adamw_torch_fused",
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        adam_beta1=0.9,
        adam_beta2=0.999,
        adam_epsilon=1e-8,
        max_grad_norm=options.clip,
        lr_scheduler_type=options.schedule,
        warmup_steps=round(options.warmup * options.whole),
        seed=options.seed % 2**32,  # all that NumPy takes
        use_cpu=device.type == "cpu",
        bf16=False,
        fp16=False,
        remove_unused_columns=False,
        dataloader_num_workers=0,
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="no",
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
    )
    if device.type == "cuda":  # of itself it takes all that there are
        arguments._n_gpu = 1
        arguments.__dict__["_setup_devices"] = device
        torch.cuda.set_device(device)
    return arguments


class _Feed:
    """Endless inputs of a model, made from batches as they are asked for."""

    def __init__(self, batches: Iterator[Batch], device: Any, extras: dict[str, Any]):
        self.batches = batches
        self.device = device
        self.extras = extras

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.batches:
            yield batch.inputs(self.device) | self.extras


@cache
def _trainer_class() -> Any:
    """Trainer on our batches; made on first use, because its import takes a second."""
    from transformers import Trainer, TrainerCallback
    from transformers.trainer_callback import PrinterCallback

    class Told(TrainerCallback):
        def __init__(self, losses: list[float], on_step: Callable[[int, float], None]):
            self.losses = losses
            self.on_step = on_step

        def on_step_end(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
            self.on_step(state.global_step, self.losses[-1])

    class Fit(Trainer):
        def __init__(
            self,
            module: Any,
            arguments: Any,
            feed: _Feed,
            on_step: Callable[[int, float], None] | None,
            schedule_steps: int,
        ) -> None:
            self.schedule_steps = schedule_steps
            self.feed = feed
            self.losses: list[float] = []
            super().__init__(module, arguments)
            self.remove_callback(PrinterCallback)
            if on_step is not None:
                self.add_callback(Told(self.losses, on_step))

        def create_accelerator_and_postprocess(self) -> None:
            super().create_accelerator_and_postprocess()
            # There is nothing to free yet, and to look for garbage among the objects
            # of transformers takes half a second.
            accelerator: Any = self.accelerator
            accelerator.free_memory = lambda *objects: [None for _ in objects]

        def create_scheduler(
            self, num_training_steps: int, *args: Any, **kw: Any
        ) -> Any:
            return super().create_scheduler(self.schedule_steps, *args, **kw)

        def get_train_dataloader(self) -> Any:
            return self.feed

        def get_decay_parameter_names(self, model: Any) -> list[str]:
            """Matrices; not biases and gains (one axis), as is the custom for BERT."""
            return [name for name, p in model.named_parameters() if p.ndim > 1]

        def compute_loss(self, model: Any, inputs: Any, *args: Any, **kw: Any) -> Any:
            loss = model(**inputs).loss
            value = float(loss.detach())
            if not math.isfinite(value):
                step = self.state.global_step + 1
                raise TrainingFailed(
                    "T001", f"the loss is {value} at step {step}", step=step
                )
            self.losses.append(value)
            return loss

        def floating_point_ops(self, inputs: Any) -> int:
            return 0  # not reported

    return Fit


@contextmanager
def _isolated(module: Any, device: torch.device) -> Iterator[None]:
    """Puts back what the Trainer changes of the process and of the model.

    That is every random state that its seed sets, the current CUDA device, the shared
    state of accelerate, which may belong to a caller of it, and two marks on the model.
    """
    import numpy as np
    import torch
    from accelerate.state import AcceleratorState, GradientState, PartialState

    devices: list[int] = []
    if torch.cuda.is_initialized() or device.type == "cuda":
        devices = list(range(torch.cuda.device_count()))
    current = torch.cuda.current_device() if devices else -1
    shared: list[dict[str, Any]] = [
        of._shared_state for of in (PartialState, AcceleratorState, GradientState)
    ]
    kept = [dict(state) for state in shared]
    settings: dict[str, Any] = vars(module.config)
    cached = {key: settings[key] for key in ("use_cache",) if key in settings}
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        if devices:
            torch.cuda.set_device(current)
        for state, before in zip(shared, kept, strict=True):
            state.clear()
            state.update(before)
        settings.pop("use_cache", None)
        settings.update(cached)
        vars(module).pop("_is_accelerate_prepared", None)


@contextmanager
def _memory_guard(step: Callable[[], int | None]) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        at = step()
        place = "while measuring" if at is None else f"at step {at}"
        raise TrainingFailed(
            "T002",
            f"memory ran out {place}",
            "take smaller batches, shorter sequences or a smaller model",
            at,
        ) from error
