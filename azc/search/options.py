"""What a search is run with, frozen with the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from azc.diagnostics import UsageError

__all__ = ["EvolveOptions"]


@dataclass(frozen=True)
class EvolveOptions:
    """How to search.

    `evaluations`: the budget; a failed candidate and a parent scored again count one
    each. `round_size` candidates are scored from one snapshot of the supernet, the
    `parents` best of the round before among them. `warm_up` steps train the supernet
    first; `steps` train a candidate before it is scored on `blocks` validation blocks
    (None: all). The winner and the start are trained alone for `final_steps` from each
    of `final_seeds`; no final seeds, no comparison. `workers` processes score at a time.
    Sequences have `length` tokens, batches `batch_size` of them. Raises `UsageError` for
    values that make no sense.
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
    device: str | None = None

    def __post_init__(self) -> None:
        whole = (
            "evaluations",
            "round_size",
            "parents",
            "steps",
            "batch_size",
            "workers",
        )
        for name in (*whole, "final_steps"):
            if getattr(self, name) < 1:
                raise UsageError("U020", f"{name} is {getattr(self, name)}; at least 1")
        if self.warm_up < 0 or (self.blocks is not None and self.blocks < 1):
            raise UsageError("U020", "warm_up is at least 0 and blocks at least 1")
        if self.parents >= self.round_size and self.round_size > 1:
            message = f"{self.parents} parents leave no room in a round"
            raise UsageError("U020", f"{message} of {self.round_size}")
        if len(set(self.final_seeds)) != len(self.final_seeds):
            raise UsageError("U020", "final seeds are different from each other")

    def as_json(self) -> dict[str, Any]:
        """A JSON object of all fields."""
        return {**asdict(self), "final_seeds": list(self.final_seeds)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> EvolveOptions:
        """The options that `as_json` wrote. Raises `UsageError` for unknown ones."""
        known = {field.name for field in fields(cls)}
        unknown = set(values) - known
        if unknown:
            raise UsageError("U020", f"unknown options: {', '.join(sorted(unknown))}")
        seeds = tuple(values.get("final_seeds", cls.final_seeds))
        return cls(**{**values, "final_seeds": seeds})
