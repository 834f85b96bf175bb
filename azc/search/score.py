"""One candidate trained and measured: what executors run, here or in other processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from azc.diagnostics import AzcError, RunError
from azc.search.options import EvolveOptions

if TYPE_CHECKING:
    from azc.check.program import ModelSpec
    from azc.model.modeling import AzcForMaskedLM

__all__ = ["Bench", "Job", "Outcome", "Scorer", "build_candidate"]


@dataclass(frozen=True)
class Bench:
    """What every job of a run shares: options, the vocabulary's size, where corpora and
    tokenizers are cached, and the fingerprint of the corpus (None: not yet known).
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
        not those that the run began with.
        """
        from azc.data.corpus import load_corpus
        from azc.data.mlm import MaskedLMData
        from azc.data.tokenizer import load_tokenizer
        from azc.model import register

        register()
        self.bench = bench
        options = bench.options
        corpus = load_corpus(options.data, cache=bench.cache)
        self.fingerprint = corpus.fingerprint
        if bench.fingerprint not in (None, corpus.fingerprint):
            raise RunError(
                "R033",
                f"the data {options.data} is not what the run began with",
                "scores of one run compare only on the same text; start a new run",
            )
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
        self.data = MaskedLMData(
            corpus, tokenizer, length=options.length, seed=options.seed
        )

    def __call__(self, job: Job) -> Outcome:
        """Trains and measures one program; whatever goes wrong in it is its outcome.

        Raises OSError where its weights can't be written: that is not its fault.
        """
        import torch

        start = time.perf_counter()
        try:
            with torch.random.fork_rng():
                if job.kind == "alone":
                    value, rate = self._alone(job)
                    save = None
                else:
                    value, rate, save = self._score(job)
        except AzcError as error:
            return Outcome(None, error.message, time.perf_counter() - start)
        except (MemoryError, torch.OutOfMemoryError):
            return Outcome(None, "memory ran out", time.perf_counter() - start)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".strip()[:500]
            return Outcome(None, reason, time.perf_counter() - start)
        if save is not None:
            save()
        return Outcome(value, None, time.perf_counter() - start, rate)

    def _score(self, job: Job) -> tuple[float, float, Callable[[], None]]:
        from azc.supernet.supernet import Supernet, save_atomically
        from azc.training.fit import FitOptions, evaluate, fit

        options = self.bench.options
        assert job.snapshot is not None
        assert job.weights is not None
        weights = job.weights
        model, spec = build_candidate(job.program, job.model, job.seed)
        Supernet.read(job.snapshot).give(model, spec)
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
        rate = done.tokens / max(done.seconds, 1e-9)
        return loss, rate, lambda: save_atomically(trained, weights)

    def _alone(self, job: Job) -> tuple[float, float]:
        from azc.training.compare import compare_alone
        from azc.training.fit import FitOptions

        options = self.bench.options
        fit_options = FitOptions(
            steps=options.final_steps,
            batch_size=options.batch_size,
            learning_rate=options.learning_rate,
        )
        done = compare_alone(
            {"it": lambda seed: build_candidate(job.program, job.model, seed)[0]},
            self.data,
            replace(fit_options, seed=job.seed),
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
