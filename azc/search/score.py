"""One candidate trained and measured: what executors run, here or in other processes.

Codes: R033 text that is not what the run began with, R034 a tokenizer too large, R041 a
device that is not there.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from azc.diagnostics import AzcError, RunError
from azc.search.options import EvolveOptions

if TYPE_CHECKING:
    import torch

    from azc.check.program import ModelSpec
    from azc.data.mlm import MaskedLMData
    from azc.model.modeling import AzcForMaskedLM
    from azc.supernet.supernet import Supernet

__all__ = ["Bench", "Job", "Outcome", "Scorer", "build_candidate", "reason_of"]


@dataclass(frozen=True)
class Bench:
    """What every job of a run shares: options, the vocabulary's size, where corpora and
    tokenizers are cached, and the fingerprint of the text (None: not yet known).
    """

    options: EvolveOptions
    vocab: int
    cache: Path
    fingerprint: str | None


@dataclass(frozen=True)
class Job:
    """A program to train and measure.

    "score": from the supernet's `snapshot`, its trained weights written to `weights`.
    "alone": from fresh weights of `seed`.
    """

    kind: Literal["score", "alone"]
    candidate: int
    program: str
    model: str
    seed: int
    snapshot: Path | None = None
    weights: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a job: `value` in nats a masked token, or the reason of a failure."""

    value: float | None
    reason: str | None
    seconds: float
    tokens_per_second: float | None = None


class Scorer:
    """Runs jobs; holds the data."""

    def __init__(self, bench: Bench) -> None:
        """Loads corpus and tokenizer. Raises `AzcError` where they can't be had or are
        not those that the run began with, or where there is no such device.
        """
        from azc.data.corpus import load_corpus
        from azc.data.mlm import MaskedLMData
        from azc.data.tokenizer import load_tokenizer
        from azc.model import register

        options = bench.options
        _check_device(options.device)
        register()
        corpus = load_corpus(options.data, cache=bench.cache)
        tokenizer = load_tokenizer(
            corpus,
            vocab_size=bench.vocab,
            name_or_path=options.tokenizer,
            cache=bench.cache,
        )
        if len(tokenizer) > bench.vocab:
            message = (
                f"the tokenizer has {len(tokenizer)} tokens, the model {bench.vocab}"
            )
            raise RunError("R034", message, f"vocab = {len(tokenizer)} in the model")
        self.bench = bench
        self.data = MaskedLMData(
            corpus, tokenizer, length=options.length, seed=options.seed
        )
        self.fingerprint = _fingerprint(self.data)
        if bench.fingerprint not in (None, self.fingerprint):
            raise RunError(
                "R033",
                f"the text of {options.data}, or its tokenizer, is not what the run"
                " began with",
                "scores of one run compare only on the same text; start a new run",
            )

    def __call__(self, job: Job) -> Outcome:
        """Trains and measures one program; whatever goes wrong in it is its outcome.

        Raises `OSError` where files can't be written and `RunError` where the snapshot
        can't be read: that is not its fault.
        """
        import torch

        from azc.supernet.supernet import Supernet, save_atomically

        start = time.perf_counter()
        shared = Supernet.read(job.snapshot) if job.snapshot is not None else None
        trained: dict[str, torch.Tensor] = {}
        try:
            with torch.random.fork_rng():
                if shared is None:
                    value, rate = self._alone(job)
                else:
                    value, rate, trained = self._score(job, shared)
        except OSError:
            raise
        except Exception as error:
            return Outcome(None, reason_of(error), time.perf_counter() - start)
        if job.weights is not None:
            try:
                save_atomically(trained, job.weights)
            except OSError as error:
                reason = error.strerror or str(error)
                raise OSError(error.errno, reason, str(job.weights)) from error
        return Outcome(value, None, time.perf_counter() - start, rate)

    def _score(
        self, job: Job, shared: Supernet
    ) -> tuple[float, float, dict[str, torch.Tensor]]:
        from azc.training.fit import FitOptions, evaluate, fit

        options = self.bench.options
        model, spec = build_candidate(job.program, job.model, job.seed)
        shared.give(model, spec)
        done = fit(
            model,
            self.data,
            FitOptions(
                steps=options.steps,
                batch_size=options.batch_size,
                learning_rate=options.learning_rate,
                seed=job.seed,
            ),
            device=options.device,
        )
        loss = evaluate(
            model, self.data, "validation", blocks=options.blocks, device=options.device
        )
        trained = {n: p.detach().cpu() for n, p in model.named_parameters()}
        return loss, done.tokens / max(done.seconds, 1e-9), trained

    def _alone(self, job: Job) -> tuple[float, float]:
        from azc.training.compare import compare_alone
        from azc.training.fit import FitOptions

        options = self.bench.options
        done = compare_alone(
            {"it": lambda seed: build_candidate(job.program, job.model, seed)[0]},
            self.data,
            FitOptions(
                steps=options.final_steps,
                batch_size=options.batch_size,
                learning_rate=options.learning_rate,
            ),
            [job.seed],
            device=options.device,
        )
        return done["it"].mean, done["it"].tokens_per_second


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


def reason_of(error: Exception) -> str:
    """Why a candidate failed, in one line."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "memory ran out"
    text = error.message if isinstance(error, AzcError) else str(error)
    if not isinstance(error, AzcError):
        text = f"{type(error).__name__}: {text}"
    return " ".join(text.split())[:500]


def _fingerprint(data: MaskedLMData) -> str:
    """The sha256 of all tokens, in the order and the splits that they are used in."""
    digest = hashlib.sha256()
    for split, blocks in data.blocks.items():
        digest.update(f"{split} {tuple(blocks.shape)}".encode())
        digest.update(blocks.numpy().tobytes())
    return digest.hexdigest()


def _check_device(name: str | None) -> None:
    import torch

    try:
        torch.ones(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        message = f"there is no device `{name}` to compute on: {reason}"
        help_ = "without --device, azc takes CUDA where there is one, else the CPU"
        raise RunError("R041", message, help_) from error
