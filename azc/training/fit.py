"""Training of one model on masked or causal text, and evaluation on held-out text.

The training loop is the Trainer of transformers, set to report and save nothing.

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
    """A failed training; `step` (from 1) is where it failed, or None during
    evaluation.
    """

    def __init__(
        self, code: str, message: str, help: str | None = None, step: int | None = None
    ) -> None:
        super().__init__(code, message, help)
        self.step = step


@dataclass(frozen=True)
class FitOptions:
    """Options of training with AdamW and a schedule; `warmup` is a fraction of its
    steps.

    `schedule_steps` is the length of the learning rate schedule, by default `steps`;
    with a larger value, a short training is the beginning of a long one. `clip` is the
    largest norm of gradients, 0 for no clipping. `seed` determines the order and the
    masks of the batches, and dropout.

    Raises:
        UsageError: T003, for values out of range.
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
                raise UsageError("T003", f"{name} is {found}; it must be {wanted}")


def default_device() -> torch.device:
    """Return CUDA if it is available, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load() -> None:
    """Import the modules that training needs, which takes seconds."""
    _trainer_class()


def fit(
    model: PreTrainedModel,
    data: Data,
    options: FitOptions,
    *,
    on_step: Callable[[int, float], None] | None = None,
    device: torch.device | str | None = None,
) -> None:
    """Train `model` in place on batches of `data`, and leave it in evaluation mode.

    The same seed on the same machine gives bitwise equal weights. The global random
    states are restored.

    Args:
        model: A model whose `model(input_ids=, labels=)` returns a `.loss`. It is
            also called with `attention_mask=` if there is padding, and with
            `document_ids=` if sequences hold several documents.
        data: The data.
        options: The options of training.
        on_step: Called as `on_step(step, loss)` after each step, counted from 1.
        device: The device; by default CUDA if it is available, else the CPU.

    Raises:
        TrainingFailed: T001 if a loss is NaN or infinite, before it reaches the
            weights; T002 if memory runs out.
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
    """Loss and accuracy of a model on held-out data.

    `loss` is the mean over the parts of the data of their mean cross-entropy in nats.
    `right` is the accuracy on each part by name: the share of targets that the model
    predicts first.
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
    """Return the held-out loss of `model`; see `measure`."""
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
    """Measure loss and accuracy of `model` on held-out data.

    Args:
        model: The model.
        data: The data.
        split: The split of the data.
        blocks: The number of sequences (of each part) to use; by default all.
        batch_size: Sequences per batch.
        device: The device; by default CUDA if it is available, else the CPU.

    Raises:
        TrainingFailed: T001 if the loss is NaN or infinite; T002 if memory runs
            out.
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
    """Count the correct predictions. `logits` cover all tokens, or only the targets."""
    found, labels = logits.argmax(-1).cpu(), batch.labels
    if batch.causal:  # a token is predicted at the position before it
        found, labels = found[:, :-1], labels[:, 1:]
    asked = labels != IGNORED
    if found.shape == asked.shape:
        found = found[asked]
    return int((found == labels[asked]).sum())


def resolved_device(device: torch.device | str | None) -> torch.device:
    """Return the device with its index, if there may be several."""
    import torch

    device = default_device() if device is None else torch.device(device)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    return device


def _arguments(options: FitOptions, device: torch.device, folder: str) -> Any:
    """Return the Trainer's arguments: log, evaluate and save nothing. `folder` stays
    empty.
    """
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
    if device.type == "cuda":  # by default the Trainer uses all GPUs
        arguments._n_gpu = 1
        arguments.__dict__["_setup_devices"] = device
        torch.cuda.set_device(device)
    return arguments


class _Feed:
    """Endless inputs of a model, made from batches on demand."""

    def __init__(self, batches: Iterator[Batch], device: Any, extras: dict[str, Any]):
        self.batches = batches
        self.device = device
        self.extras = extras

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.batches:
            yield batch.inputs(self.device) | self.extras


@cache
def _trainer_class() -> Any:
    """Return a Trainer for our batches; made on first use, because the import takes a
    second.
    """
    from transformers import Trainer, TrainerCallback
    from transformers.trainer_callback import PrinterCallback

    class StepCallback(TrainerCallback):
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
                self.add_callback(StepCallback(self.losses, on_step))

        def create_accelerator_and_postprocess(self) -> None:
            super().create_accelerator_and_postprocess()
            # There is nothing to free yet, and collecting garbage among the objects of
            # transformers takes half a second.
            accelerator: Any = self.accelerator
            accelerator.free_memory = lambda *objects: [None for _ in objects]

        def create_scheduler(
            self, num_training_steps: int, *args: Any, **kw: Any
        ) -> Any:
            return super().create_scheduler(self.schedule_steps, *args, **kw)

        def get_train_dataloader(self) -> Any:
            return self.feed

        def get_decay_parameter_names(self, model: Any) -> list[str]:
            """Return the names of matrices; not of biases and gains (one axis), as for
            BERT.
            """
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
    """Restore the state of the process and of the model that the Trainer changes.

    These are the random states that its seed sets, the current CUDA device, the shared
    state of accelerate, which may belong to the caller, and two attributes of the
    model.
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
        place = "during evaluation" if at is None else f"at step {at}"
        raise TrainingFailed(
            "T002",
            f"memory ran out {place}",
            "use smaller batches, shorter sequences or a smaller model",
            at,
        ) from error
