"""Training and evaluation of one candidate, in this process or in that of an executor.

Codes: R029 the trained weights are not finite; R030 weights of a run cannot be read;
R033 the data differs from the data that the run started with; R041 the device does not
exist; R043 a program that should train does not, so the machine is probably at fault;
R044 the installation is incomplete, or workers cannot start; R049 the candidate was
stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from azc.data.progress import Tell, silent
from azc.diagnostics import AzcError, RunError, out_of_memory
from azc.search.folder import fingerprint
from azc.search.objectives import LATENCY, LOSS, MEMORY, Scores
from azc.search.options import EvolveOptions

if TYPE_CHECKING:
    import torch

    from azc.check.program import ModelSpec
    from azc.data.contract import Data, Split
    from azc.model.tasks import AzcForCausalLM, AzcForMaskedLM
    from azc.supernet.supernet import Supernet
    from azc.training.fit import Measured

__all__ = [
    "MEMORY_LIMIT",
    "TIME_LIMIT",
    "Bench",
    "Blame",
    "Job",
    "Outcome",
    "Scorer",
    "blamed",
    "build_candidate",
    "cannot_import",
    "check_device",
    "late",
    "machine_at_fault",
]


TIME_LIMIT, MEMORY_LIMIT = "time_limit", "memory_limit"  # as the options have them

_ENDLESS = 10**9  # steps, where time ends a training


@dataclass(frozen=True)
class Bench:
    """Settings that all jobs of a run share.

    Attributes:
        options: Options of the run.
        vocab: Vocabulary size.
        cache: Folder for corpora and tokenizers.
        fingerprint: Fingerprint of the data; None if it is not known yet.
        causal: Whether models are causal and predict the next token instead of masked
            ones.
    """

    options: EvolveOptions
    vocab: int
    cache: Path
    fingerprint: str | None
    causal: bool = False


@dataclass(frozen=True)
class Job:
    """A program to train and measure.

    It trains for `steps` from fresh weights of `seed`, or from those of the supernet in
    `snapshot`; trained weights are written to `weights`. With `more` seeds, it is
    trained again with each of them, and its loss is the mean.

    Attributes:
        kind: "score" measures as the options say; "alone" measures on the whole
            `split`; "path" does not measure, and its loss is that of the last step;
            "measure" does not train, but measures `objectives` on the device, one of
            which may be the loss after `seconds` of training.
        name: Its name in messages.
        limit: Its time limit in seconds.
        stop: A file whose existence ends the job.
    """

    kind: Literal["score", "path", "alone", "measure"]
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
    objectives: tuple[str, ...] = ()
    seconds: float = 0.0
    stop: Path | None = None
    more: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        """The name of the job in messages."""
        return self.name or f"candidate {self.candidate:04}"


@dataclass(frozen=True)
class Outcome:
    """The result of a job.

    Attributes:
        scores: Scores by objective; None for a failure.
        reason: The reason of a failure.
        seconds: Its duration; None if nothing was done because the result was known.
        suspect: Whether the failure may be the fault of the machine rather than the
            program (memory, time, a process that died).
        weights: Fingerprint of the file that was written.
        right: Accuracy by part of the data, if it was measured.
        exceeded: The limit of the options that made it fail.
    """

    scores: Scores | None
    reason: str | None
    seconds: float | None
    suspect: bool = False
    weights: str | None = None
    right: Mapping[str, float] = field(default_factory=dict)
    exceeded: str | None = None

    @property
    def loss(self) -> float | None:
        """The loss in nats; None if it failed."""
        return None if self.scores is None else self.scores[LOSS]


class _Late(Exception):
    """The time limit of a job is exceeded."""


class _Enough(Exception):
    """The training has taken the time that it should take."""


class Scorer:
    """Runs jobs, and holds the data."""

    def __init__(
        self, bench: Bench, data: Data | None = None, tell: Tell = silent
    ) -> None:
        """Load the data, unless it is passed, and report the progress.

        Raises:
            AzcError: If it can't be loaded, or is not the data that the run started
                with.
        """
        from azc.model import register

        register()
        self.bench = bench
        self.data = _data(bench, tell) if data is None else data
        self.fingerprint = bench.fingerprint or self.data.fingerprint

    def __call__(self, job: Job) -> Outcome:
        """Train and measure one program from the files that its job names; see `train`.

        Raises:
            OSError: If files can't be written.
        """
        from azc.supernet.supernet import Supernet, save_atomically

        path = job.snapshot
        shared = None if path is None else lambda: Supernet.read(path)
        outcome, trained = self.train(job, shared)
        if outcome.scores is None or job.weights is None:
            return outcome
        save_atomically(trained, job.weights)
        return replace(outcome, weights=fingerprint(job.weights))

    def train(
        self, job: Job, shared: Callable[[], Supernet] | None
    ) -> tuple[Outcome, dict[str, torch.Tensor]]:
        """Train and measure one program. Any error in the program is part of the
        outcome.

        The time limit is checked after every step.

        Args:
            job: The job.
            shared: Returns the weights that it starts from; None for fresh weights.

        Returns:
            The outcome, and the trained weights by the names of parameters, in the
            shapes of parameters: [C, D] for a linear map from D to C features.

        Raises:
            RunError: If the shared weights can't be read, or the installation is
                incomplete; likewise OSError. Neither is the fault of the program.
        """
        import torch

        start = time.perf_counter()

        def on_step(step: int, loss: float) -> None:
            if time.perf_counter() - start > job.limit:
                raise _Late(late(job.limit))
            if job.stop is not None and job.stop.exists():
                raise RunError("R049", "stopped")  # the journal records by whom

        trained: dict[str, torch.Tensor] = {}
        right: Mapping[str, float] = {}
        try:
            with torch.random.fork_rng(), _threads(self.bench.options.threads):
                if job.kind == "measure":
                    scores = self._measure(job, on_step)
                else:
                    supernet = None if shared is None else shared()
                    found, trained = self._train(job, job.seed, supernet, on_step)
                    more = [self._train(job, s, None, on_step)[0] for s in job.more]
                    loss, right = _means([found, *more])
                    scores = {LOSS: loss}
        except Exception as error:
            blame = blamed(error, self.bench.options.memory_limit)
            seconds = time.perf_counter() - start
            reason, suspect, exceeded = blame
            return Outcome(None, reason, seconds, suspect, exceeded=exceeded), trained
        seconds = time.perf_counter() - start
        return Outcome(scores, None, seconds, right=right), trained

    def _train(
        self,
        job: Job,
        seed: int,
        shared: Supernet | None,
        on_step: Callable[[int, float], None],
    ) -> tuple[Measured, dict[str, torch.Tensor]]:
        """Train a model from shared or fresh weights; return its measurements and its
        weights.
        """
        from azc.training.fit import FitOptions, Measured, fit, measure

        options = self.bench.options
        model, spec = build_candidate(job.program, job.model, seed)
        if shared is not None:
            shared.give(model, spec)
        how = FitOptions(
            steps=job.steps,
            batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            warmup=options.warmup_ratio,
            seed=seed,
        )
        if job.kind == "path":
            how = replace(how, schedule="constant", warmup=0.0)
        elif job.kind == "score":
            how = replace(how, schedule_steps=options.schedule_steps)
        loss = math.nan

        def watched(step: int, value: float) -> None:
            nonlocal loss
            loss = value
            on_step(step, value)

        fit(model, self.data, how, on_step=watched, device=options.device)
        if job.kind == "path":
            _check_finite(model)
            found = Measured(loss, {})
        else:
            split: Split = "test" if job.split == "test" else "validation"
            blocks = options.blocks if job.kind == "score" else None
            found = measure(
                model, self.data, split, blocks=blocks, device=options.device
            )
        trained = {n: p.detach().cpu() for n, p in model.named_parameters()}
        return found, trained

    def _measure(
        self, job: Job, on_step: Callable[[int, float], None]
    ) -> dict[str, float]:
        """Measure the objectives of a job, each with a new model."""
        from azc.training.costs import latency, peak_memory
        from azc.training.fit import resolved_device

        options = self.bench.options
        device = resolved_device(options.device)
        batch = options.batch_size, options.length
        found = {}
        for name in job.objectives:
            model, _ = build_candidate(job.program, job.model, job.seed)
            if name == LATENCY:
                found[name] = latency(model, batch, device)
            elif name == MEMORY:
                found[name] = peak_memory(model, batch, device)
            else:
                found[name] = self._timed_loss(job, model, on_step)
        return found

    def _timed_loss(
        self, job: Job, model: Any, on_step: Callable[[int, float], None]
    ) -> float:
        """Return the validation loss after training from scratch for a number of
        seconds.

        The learning rate is constant, because the number of steps is not known in
        advance.
        """
        from azc.training.fit import FitOptions, evaluate, fit

        options = self.bench.options
        end = time.perf_counter() + job.seconds

        def until(step: int, loss: float) -> None:
            on_step(step, loss)
            if time.perf_counter() >= end:
                raise _Enough

        training = FitOptions(
            steps=_ENDLESS,
            batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            schedule="constant",
            warmup=0.0,
            seed=job.seed,
        )
        with suppress(_Enough):
            fit(model, self.data, training, on_step=until, device=options.device)
        model.eval()
        return evaluate(model, self.data, "validation", device=options.device)


def _data(bench: Bench, tell: Tell) -> Data:
    """Load the data of a run. Raise `RunError` R033 if it is not the data that the run
    started with, and other errors if it can't be loaded.
    """
    from azc.data.load import load_data

    options = bench.options
    data = load_data(
        options.data,
        vocab=bench.vocab,
        length=options.length,
        seed=options.seed,
        tokenizer=options.tokenizer,
        division=options.documents,
        cache=bench.cache,
        mask_rate=options.mask_rate,
        causal=bench.causal,
        blocks=options.blocks,
        tell=tell,
    )
    if bench.fingerprint not in (None, data.fingerprint):
        raise RunError(
            "R033",
            f"the data of {options.data} has changed since the run started: a text, its"
            " tokenizer or a task is different, or this version of azc reads it otherwise",
            "scores of a run are only comparable on the same data; start a new run",
        )
    return data


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Compute with a fixed number of threads, which affects how torch rounds."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _means(found: Sequence[Measured]) -> tuple[float, Mapping[str, float]]:
    """Average loss and accuracies over trainings."""
    right = {part: fmean(each.right[part] for each in found) for part in found[0].right}
    return fmean(each.loss for each in found), right


def _check_finite(model: torch.nn.Module) -> None:
    # The loss of the last step was finite, but the updated weights may not be.
    if not all(p.isfinite().all() for p in model.parameters()):
        raise RunError("R029", "the weights are not finite after the last step")


def build_candidate(
    program: str, name: str, seed: int
) -> tuple[AzcForMaskedLM | AzcForCausalLM, ModelSpec]:
    """Create a language model with fresh weights from a self-contained program.

    The model is masked or causal, as the program says.

    Returns:
        The model and its spec.

    Raises:
        DiagnosticError: If the program is invalid.
    """
    import torch

    from azc.model.config import AzcConfig, spec_of
    from azc.model.tasks import AzcForCausalLM, AzcForMaskedLM

    torch.manual_seed(seed)
    config = AzcConfig(program=program, model=name)
    spec = spec_of(config)
    return (AzcForCausalLM if spec.causal else AzcForMaskedLM)(config), spec


class Blame(NamedTuple):
    """The reason why a program failed.

    Attributes:
        reason: The reason, in one line.
        suspect: Whether the machine may be at fault.
        exceeded: The limit of the options that made it fail.
    """

    reason: str
    suspect: bool
    exceeded: str | None = None


def blamed(error: Exception, memory_limit: int | None = None) -> Blame:
    """Say why a program failed whose memory limit was `memory_limit` bytes.

    Raises:
        OSError: If `error` is one: it is certainly not the fault of the program.
        RunError: Likewise for weights that can't be read, and modules that can't be
            imported.
    """
    import torch

    # The cause tells whether memory ran out, while reading a file or in a step.
    if any(out_of_memory(each) for each in (error, error.__cause__) if each):
        if memory_limit is None:
            return Blame("memory ran out", True)
        reason = f"memory ran out (it may take {memory_limit:,} bytes)"
        return Blame(reason, True, MEMORY_LIMIT)
    if isinstance(error, OSError) or getattr(error, "code", None) == "R030":
        raise error
    if isinstance(error, ImportError):
        raise cannot_import(error) from error
    if isinstance(error, _Late):
        return Blame(str(error), True, TIME_LIMIT)
    text = error.message if isinstance(error, AzcError) else str(error)
    if not isinstance(error, AzcError):
        text = f"{type(error).__name__}: {text}"
    # After such an error, the device is unusable in this process.
    suspect = isinstance(error, torch.AcceleratorError)
    return Blame(" ".join(text.split())[:500], suspect)


def late(limit: float) -> str:
    """Return the message for a job that exceeds its time limit."""
    return f"it took longer than {limit:,.10g} seconds"


def cannot_import(error: ImportError) -> RunError:
    """Create the error for a module that can't be imported."""
    return RunError(
        "R044",
        f"azc can't work in this installation: {type(error).__name__}: {error}",
        "fix that, then continue with azc resume",
    )


def machine_at_fault(found: str, reason: str) -> RunError:
    """Create the error for a program that fails although it should train."""
    return RunError(
        "R043",
        f"{found}: {reason}; the machine seems to be at fault, not the programs",
        "nothing was recorded as failed: fix that, then continue with azc resume",
    )


def check_device(name: str | None) -> None:
    """Raise `RunError` R041 if there is no such device."""
    import torch

    try:
        torch.ones(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        message = f"there is no device `{name}` to compute on: {reason}"
        help_ = "without --device, azc uses CUDA if it is available, or the CPU"
        raise RunError("R041", message, help_) from error
