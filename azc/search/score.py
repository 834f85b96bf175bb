"""One candidate trained and measured: what executors run, here or in other processes.

Codes: R033 data that is not what the run began with, R041 a device that is not there,
R043 a machine at fault, R044 an installation that lacks something.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from azc.diagnostics import AzcError, RunError
from azc.search.folder import fingerprint
from azc.search.objectives import LOSS, Scores
from azc.search.options import EvolveOptions

if TYPE_CHECKING:
    import torch

    from azc.check.program import ModelSpec
    from azc.data.contract import Split
    from azc.model.modeling import AzcForMaskedLM
    from azc.supernet.supernet import Supernet

__all__ = [
    "Bench",
    "Job",
    "Outcome",
    "Scorer",
    "blamed",
    "build_candidate",
    "cannot_import",
    "late",
    "machine_at_fault",
]


@dataclass(frozen=True)
class Bench:
    """What every job of a run shares: options, the vocabulary's size, where corpora and
    tokenizers are cached, and the fingerprint of the data (None: not yet known).
    """

    options: EvolveOptions
    vocab: int
    cache: Path
    fingerprint: str | None


@dataclass(frozen=True)
class Job:
    """A program to train and measure.

    It trains for `steps` from fresh weights of `seed`, or from those of the supernet in
    `snapshot`; its trained weights are written to `weights`. "score": it is measured as
    the options say; "alone": on the whole `split`, and it is called `name`. It has
    `limit` seconds.
    """

    kind: Literal["score", "alone"]
    candidate: int
    program: str
    model: str
    seed: int
    snapshot: Path | None = None
    weights: Path | None = None
    limit: float = math.inf
    steps: int = 0
    split: str = "validation"
    name: str = ""

    @property
    def label(self) -> str:
        """What it is called where it is spoken of."""
        return self.name or f"candidate {self.candidate:04}"


@dataclass(frozen=True)
class Outcome:
    """What came of a job: `scores` by objective, or the reason of a failure.

    `suspect`: it failed in a way that may be the machine's fault and not the program's
    (memory, time, a process that died). `weights`: the fingerprint of the file written.
    """

    scores: Scores | None
    reason: str | None
    seconds: float
    suspect: bool = False
    weights: str | None = None

    @property
    def loss(self) -> float | None:
        """The loss in nats; None if it failed."""
        return None if self.scores is None else self.scores[LOSS]


class _Late(Exception):
    """The time of a job is over."""


class Scorer:
    """Runs jobs; holds the data."""

    def __init__(self, bench: Bench) -> None:
        """Loads the data. Raises `AzcError` where it can't be had or is not what the run
        began with, or where there is no such device.
        """
        from azc.data.load import load_data
        from azc.model import register

        options = bench.options
        _check_device(options.device)
        register()
        self.bench = bench
        self.data = load_data(
            options.data,
            vocab=bench.vocab,
            length=options.length,
            seed=options.seed,
            tokenizer=options.tokenizer,
            cache=bench.cache,
            mask_rate=options.mask_rate,
        )
        self.fingerprint = self.data.fingerprint
        if bench.fingerprint not in (None, self.fingerprint):
            raise RunError(
                "R033",
                f"the data of {options.data} is not what the run began with: a text, its"
                " tokenizer or a task has changed",
                "scores of one run compare only on the same data; start a new run",
            )

    def __call__(self, job: Job) -> Outcome:
        """Trains and measures one program; whatever goes wrong in it is its outcome.

        Its time limit is looked at after every step. Raises `OSError` where files can't
        be written and `RunError` where the snapshot can't be read or the installation
        lacks something: that is not its fault.
        """
        import torch

        from azc.supernet.supernet import Supernet, save_atomically

        start = time.perf_counter()

        def on_step(step: int, loss: float) -> None:
            if time.perf_counter() - start > job.limit:
                raise _Late(late(job.limit))

        shared = Supernet.read(job.snapshot) if job.snapshot is not None else None
        try:
            with torch.random.fork_rng():
                loss, trained = self._train(job, shared, on_step)
        except Exception as error:
            reason, suspect = blamed(error)
            return Outcome(None, reason, time.perf_counter() - start, suspect)
        weights = None
        if job.weights is not None:
            save_atomically(trained, job.weights)
            weights = fingerprint(job.weights)
        seconds = time.perf_counter() - start
        return Outcome({LOSS: loss}, None, seconds, weights=weights)

    def _train(
        self,
        job: Job,
        shared: Supernet | None,
        on_step: Callable[[int, float], None],
    ) -> tuple[float, dict[str, torch.Tensor]]:
        """The loss after training, and the weights."""
        from azc.training.fit import FitOptions, evaluate, fit

        options = self.bench.options
        model, spec = build_candidate(job.program, job.model, job.seed)
        if shared is not None:
            shared.give(model, spec)
        fit(
            model,
            self.data,
            FitOptions(
                steps=job.steps,
                batch_size=options.batch_size,
                learning_rate=options.learning_rate,
                seed=job.seed,
            ),
            on_step=on_step,
            device=options.device,
        )
        split: Split = "test" if job.split == "test" else "validation"
        blocks = options.blocks if job.kind == "score" else None
        loss = evaluate(model, self.data, split, blocks=blocks, device=options.device)
        trained = {n: p.detach().cpu() for n, p in model.named_parameters()}
        return loss, trained


def build_candidate(
    program: str, name: str, seed: int
) -> tuple[AzcForMaskedLM, ModelSpec]:
    """A masked-language model of a self-contained program with fresh weights from a
    seed, and its spec. Raises `DiagnosticError` for a program that does not check.
    """
    import torch

    from azc.model.config import AzcConfig, spec_of
    from azc.model.modeling import AzcForMaskedLM

    torch.manual_seed(seed)
    config = AzcConfig(program=program, model=name)
    return AzcForMaskedLM(config), spec_of(config)


def blamed(error: Exception) -> tuple[str, bool]:
    """Why a program failed, in one line, and whether that may be the machine's fault.

    Raises what is certainly not the program's: `OSError`, and for a module that can't be
    imported `RunError`.
    """
    import torch

    if isinstance(error, OSError):
        raise error
    if isinstance(error, ImportError):
        raise cannot_import(error) from error
    out_of_memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
    if out_of_memory or (isinstance(error, AzcError) and error.code == "T002"):
        return "memory ran out", True
    if isinstance(error, _Late):
        return str(error), True
    text = error.message if isinstance(error, AzcError) else str(error)
    if not isinstance(error, AzcError):
        text = f"{type(error).__name__}: {text}"
    # After one of these a device computes nothing more in this process.
    return " ".join(text.split())[:500], isinstance(error, torch.AcceleratorError)


def late(limit: float) -> str:
    """What is said of what took longer than so many seconds."""
    return f"it took longer than {limit:,.10g} seconds"


def cannot_import(error: ImportError) -> RunError:
    """What is said where the installation lacks something."""
    return RunError(
        "R044",
        f"azc can't work in this installation: {type(error).__name__}: {error}",
        "once that is mended, azc resume goes on",
    )


def machine_at_fault(found: str, reason: str) -> RunError:
    """What is said where a program that should train does not."""
    return RunError(
        "R043",
        f"{found}: {reason}; the machine seems to be at fault, not the programs",
        "nothing was marked as failed: azc resume goes on, once that is mended",
    )


def _check_device(name: str | None) -> None:
    import torch

    try:
        torch.ones(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        message = f"there is no device `{name}` to compute on: {reason}"
        help_ = "without --device, azc takes CUDA where there is one, else the CPU"
        raise RunError("R041", message, help_) from error
