"""What a search is run with, frozen with the run."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from azc.diagnostics import UsageError

__all__ = ["EvolveOptions", "derived"]

_LEAST = {
    "evaluations": 1,
    "seed": 0,
    "round_size": 2,
    "parents": 1,
    "warm_up": 0,
    "steps": 1,
    "batch_size": 1,
    "length": 8,
    "blocks": 1,
    "final_steps": 1,
    "workers": 1,
}
_MOST = {"alpha": math.inf, "inter_rate": 1.0, "intra_rate": 1.0}
_SEEDS = 2**32  # NumPy takes no larger ones


@dataclass(frozen=True)
class EvolveOptions:
    """How to search.

    `evaluations`: the budget; a failed candidate and a parent scored again count one
    each. `round_size` candidates are scored from one snapshot of the supernet; the
    `parents` best of the round before have the children, and at most a third of a round
    are parents scored again. `warm_up` steps train the supernet first; `steps` train a
    candidate before it is scored on `blocks` validation blocks (None: all). The winner
    and the start are trained alone for `final_steps` from each of `final_seeds`; no final
    seeds, no comparison. `workers` processes score at a time and share the cores: a score
    depends, in its last bits, on how many threads it is computed with. A candidate has
    `time_limit` seconds to be scored, and in the comparison as many times more as it has
    more steps. Sequences have
    `length` tokens, batches `batch_size` of them. `device`: None for the best there is.
    Raises `UsageError` U020 for values that make no sense.
    """

    data: str = "python"
    tokenizer: str | None = None
    evaluations: int = 60
    seed: int = 0
    round_size: int = 12
    parents: int = 3
    alpha: float = 0.5
    inter_rate: float = 0.7
    intra_rate: float = 0.7
    warm_up: int = 400
    steps: int = 20
    batch_size: int = 32
    length: int = 64
    learning_rate: float = 3e-3
    blocks: int | None = None
    final_steps: int = 400
    final_seeds: tuple[int, ...] = (1, 2)
    workers: int = 1
    time_limit: float = 1800.0
    device: str | None = None

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if not (_is_whole(value, least) or (name == "blocks" and value is None)):
                raise _wrong(name, value, f"a whole number, at least {least}")
        for name, most in _MOST.items():
            value = getattr(self, name)
            if not (_is_real(value) and 0 <= value <= most):
                wanted = "at least 0" if most == math.inf else f"from 0 to {most:g}"
                raise _wrong(name, value, f"a number, {wanted}")
        for name in ("learning_rate", "time_limit"):
            value = getattr(self, name)
            if not (_is_real(value) and value > 0):
                raise _wrong(name, value, "a number above 0")
        for name in ("data", "tokenizer", "device"):
            value = getattr(self, name)
            if not isinstance(value, str) and (value is not None or name == "data"):
                raise _wrong(name, value, "a text")
        seeds = self.final_seeds
        if not all(_is_whole(seed, 0) and seed < _SEEDS for seed in seeds):
            raise _wrong("final_seeds", seeds, f"whole numbers from 0 to {_SEEDS - 1}")
        if len(set(seeds)) != len(seeds):
            raise _wrong("final_seeds", seeds, "different from each other")

    def as_json(self) -> dict[str, Any]:
        """A JSON object of all fields."""
        return {**asdict(self), "final_seeds": list(self.final_seeds)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> EvolveOptions:
        """The options that `as_json` wrote. Raises `UsageError` U020 for any other."""
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise UsageError("U020", f"unknown options: {', '.join(sorted(unknown))}")
        seeds = values.get("final_seeds", cls.final_seeds)
        if not isinstance(seeds, list | tuple):
            raise _wrong("final_seeds", seeds, "a list")
        return cls(**{**values, "final_seeds": tuple(seeds)})


def derived(seed: int, *purpose: object) -> int:
    """A seed of 32 bits for one purpose of a run."""
    text = " ".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_real(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)  # type: ignore[arg-type]


def _wrong(name: str, value: object, wanted: str) -> UsageError:
    return UsageError("U020", f"{name} is {value!r}, it must be {wanted}")
