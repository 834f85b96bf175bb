"""Models trained alone, from the same fresh seeds, and measured on text never used."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from azc.diagnostics import UsageError
from azc.training.fit import FitOptions, evaluate, fit

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from azc.data.mlm import MaskedLMData

__all__ = ["Alone", "Comparison", "compare_alone"]


@dataclass(frozen=True)
class Alone:
    """One program's fits: test losses in nats a masked token, one for each seed."""

    name: str
    losses: tuple[float, ...]
    tokens_per_second: float

    @property
    def mean(self) -> float:
        """Mean loss over the seeds."""
        return fmean(self.losses)

    @property
    def spread(self) -> float:
        """Largest less smallest loss over the seeds."""
        return max(self.losses) - min(self.losses)

    @property
    def deviation(self) -> float:
        """Standard deviation over the seeds (n - 1), 0 for a single seed."""
        return stdev(self.losses) if len(self.losses) > 1 else 0.0

    @property
    def perplexity(self) -> float:
        """The exponential of the mean loss."""
        return math.exp(self.mean)


@dataclass(frozen=True)
class Comparison:
    """What came of training several programs alone from the same `seeds`."""

    seeds: tuple[int, ...]
    options: FitOptions
    results: tuple[Alone, ...]

    def __getitem__(self, name: str) -> Alone:
        return next(result for result in self.results if result.name == name)

    def gain(self, of: str, over: str) -> float:
        """How much lower the mean loss of one is than that of the other, in nats."""
        return self[over].mean - self[of].mean

    def is_better(self, of: str, over: str) -> bool:
        """Whether the gain is more than the seeds of either differ by."""
        noise = max(self[of].spread, self[over].spread)
        return self.gain(of, over) > noise

    def as_json(self) -> dict[str, object]:
        """A JSON object: seeds, options, and the figures of each program by name."""
        return {
            "seeds": list(self.seeds),
            "options": asdict(self.options),
            "results": {
                result.name: {
                    "losses": list(result.losses),
                    "mean": result.mean,
                    "spread": result.spread,
                    "deviation": result.deviation,
                    "perplexity": result.perplexity,
                    "tokens_per_second": result.tokens_per_second,
                }
                for result in self.results
            },
        }


def compare_alone(
    builders: Mapping[str, Callable[[int], PreTrainedModel]],
    data: MaskedLMData,
    options: FitOptions,
    seeds: Sequence[int],
    *,
    on_step: Callable[[str, int, int, float], None] | None = None,
    device: torch.device | str | None = None,
) -> Comparison:
    """Train each program alone from each seed and measure it on the test split.

    A builder makes a fresh model from a seed; the same seed orders and masks its
    batches. `on_step(name, seed, step, loss)` is called after each step. Raises
    UsageError T003 without seeds, and what `fit` and `evaluate` raise.
    """
    if not seeds or len(set(seeds)) != len(seeds):
        raise UsageError("T003", "a comparison needs seeds, each a different one")
    losses: dict[str, list[float]] = {name: [] for name in builders}
    tokens = dict.fromkeys(builders, 0)
    seconds = dict.fromkeys(builders, 0.0)
    for seed in seeds:
        for name, build in builders.items():

            def report(step: int, loss: float, name: str = name, s: int = seed) -> None:
                if on_step is not None:
                    on_step(name, s, step, loss)

            model = build(seed)
            done = fit(
                model, data, replace(options, seed=seed), on_step=report, device=device
            )
            losses[name].append(evaluate(model, data, "test", device=device))
            tokens[name] += done.tokens
            seconds[name] += done.seconds
    results = tuple(
        Alone(name, tuple(losses[name]), tokens[name] / max(seconds[name], 1e-9))
        for name in builders
    )
    return Comparison(tuple(seeds), options, results)
