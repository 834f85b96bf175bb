"""Options of a search. They are stored with the run and never change.

Codes: D033 a mask rate was passed for a causal model; U020 an option of a search is
invalid.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import Any

from azc.check.program import ModelSpec
from azc.data.documents import DIVISIONS, PARAGRAPH
from azc.diagnostics import UsageError, nearest
from azc.numbers import in_bytes, in_seconds
from azc.search.objectives import (
    LOSS,
    check_objectives,
    checked_limit,
    read_limit,
    read_objective,
)

__all__ = [
    "EXECUTORS",
    "MOST_EVALUATIONS",
    "PRESETS",
    "WEIGHTS",
    "EvolveOptions",
    "derived",
    "read_memory_limit",
    "read_time_limit",
    "resolve",
]

EXECUTORS = ("local", "ray")

# The constants of Gao et al. 2022: parents and the size of the population, which is a
# round here; a child has both an inter-layer and an intra-layer mutation; and a plain
# softmax. Their alpha is not known, and the proxy's size is not part of it.
PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "paper": MappingProxyType(
            {
                "strategy": "op-nas",
                "round_size": 100,
                "parents": 5,
                "mutations": 1,
                "temperature": 1.0,
                "patience": 0,
                "learn_kinds": False,
                "inter_rate": 1.0,
                "intra_rate": 1.0,
                "by_hand": False,
            }
        )
    }
)

WEIGHTS = ("shared", "fresh")

MOST_EVALUATIONS = 10**9
_MANY = 10**9  # more than any of them is ever meant to be
_WHOLE = {
    "evaluations": (1, MOST_EVALUATIONS),
    "seed": (0, math.inf),
    "round_size": (2, 10**4),  # it is made as a whole
    "parents": (1, _MANY),
    "mutations": (1, _MANY),
    "patience": (0, _MANY),
    "population": (1, _MANY),
    "tournament": (1, _MANY),
    "warm_up": (0, _MANY),
    "steps": (1, _MANY),
    "schedule_steps": (1, _MANY),
    "score_seeds": (1, 10**4),
    "batch_size": (1, 10**6),
    "length": (8, _MANY),
    "blocks": (1, _MANY),
    "final_steps": (1, _MANY),
    "contenders": (1, _MANY),
    "neighbours": (0, 10**4),
    "workers": (1, 10**5),
    "threads": (1, 1024),  # OpenMP ends the process where it has no memory for more
    "memory_limit": (1, 2**60),
}
_OPTIONAL = {
    "schedule_steps",
    "mutations",
    "blocks",
    "tokenizer",
    "device",
    "memory_limit",
}
_MOST = {
    "alpha": math.inf,
    "inter_rate": 1.0,
    "intra_rate": 1.0,
    "warmup_ratio": 1.0,
}
_ABOVE_0 = ("learning_rate", "time_limit", "temperature", "mask_rate", "seconds_alone")
_SEEDS = 2**32  # NumPy takes no larger ones


@dataclass(frozen=True)
class EvolveOptions:
    """Options of a search.

    Attributes:
        data: The data, see `azc.data.load.DataSpec`.
        documents: How text files are split into documents, see `azc.data.documents`.
        tokenizer: A folder or name; None trains a tokenizer on the text.
        evaluations: The budget. Failed candidates count, and so do candidates that are
            scored again, unless their scores are known.
        objectives: Objectives to minimize, see `azc.search.objectives`.
        limits: Objectives with maximum values. A child beyond one is not trained.
        seconds_alone: Training time for the timed loss, in seconds.
        seed: Random seed.
        strategy: A name in `azc.search.strategies.choose.STRATEGIES`, or `my.py:Mine`
            for a class in a file.
        round_size: Number of candidates that are scored from one snapshot of the
            supernet.
        parents: Number of best candidates whose weights are copied to the supernet, and
            which are scored again in the next round, up to a third of it.
        alpha: Weight of novelty in op-nas's priorities.
        temperature: Temperature of op-nas's priorities.
        patience: Rounds without improvement after which op-nas restarts from the start
            model; 0 for never.
        learn_kinds: Whether op-nas has priorities for kinds of mutation, too.
        by_hand: Whether op-nas, regularized, local and random begin with the models
            that a person would try first, in addition to the start model.
        mutations: Maximum number of mutations between parent and child, each number
            equally likely; None for the strategy's default.
        population: Population size of regularized.
        tournament: Tournament size of regularized.
        inter_rate: Probability of an inter-layer mutation.
        intra_rate: Probability of an intra-layer mutation.
        weights: "shared": candidates start from the supernet; "fresh": each is trained
            from scratch with the same seed, and always has the same score.
        warm_up: Training steps of the supernet before the search.
        steps: Training steps of a candidate before it is scored.
        schedule_steps: Length of the schedule that these are the first steps of.
        score_seeds: Number of trainings that a score is the mean of, with fresh
            weights.
        batch_size: Batch size, in sequences.
        length: Sequence length, in tokens.
        learning_rate: Peak learning rate.
        warmup_ratio: Fraction of a schedule in which the learning rate rises from 0; it
            falls to 0 over the rest.
        mask_rate: Fraction of text tokens masked in training. Validation and test use
            15 %.
        blocks: Number of validation sequences for a score; None for all.
        contenders: Number of best candidates to train from scratch, with as many seeds
            as a score has. The best of them is the winner.
        final_steps: Training steps in the final comparison.
        final_seeds: Seeds of the final comparison; without any, there is none, and
            contenders are not trained.
        baselines: Whether to compare the winner with the best of random sampling that
            trains for as many steps as the search, and with the models that a person
            would try first. It is always compared with the start model.
        neighbours: Number of models to compare it with that differ from it in one
            thing.
        workers: Number of processes that score candidates, on this machine or, with the
            executor "ray", on a cluster. Scores do not depend on it.
        threads: CPU threads per candidate. Scores depend on it in their last bits.
        executor: One of `EXECUTORS`.
        time_limit: Seconds to score a candidate with one seed. Training from scratch
            has more time in proportion to its steps.
        memory_limit: Bytes of memory that a candidate may use; None for no limit.
        device: The device; None for the best available.

    Raises:
        UsageError: U020 for invalid values.
    """

    data: str = "python"
    documents: str = PARAGRAPH
    tokenizer: str | None = None
    evaluations: int = 60
    objectives: tuple[str, ...] = (LOSS,)
    limits: tuple[tuple[str, float], ...] = ()
    seconds_alone: float = 60.0
    seed: int = 0
    strategy: str = "op-nas"
    round_size: int = 12
    parents: int = 3
    alpha: float = 0.5
    temperature: float = 1.0
    patience: int = 8
    learn_kinds: bool = True
    by_hand: bool = True
    mutations: int | None = None
    population: int = 24
    tournament: int = 6
    inter_rate: float = 0.7
    intra_rate: float = 0.7
    weights: str = "shared"
    warm_up: int = 1600
    steps: int = 20
    schedule_steps: int | None = None
    score_seeds: int = 1
    batch_size: int = 8
    length: int = 64
    learning_rate: float = 4e-3
    warmup_ratio: float = 0.1
    mask_rate: float = 0.4
    blocks: int | None = None
    contenders: int = 6
    final_steps: int = 400
    final_seeds: tuple[int, ...] = (1, 2, 3)
    baselines: bool = True
    neighbours: int = 4
    workers: int = 1
    threads: int = 1
    executor: str = "local"
    time_limit: float = 1800.0
    memory_limit: int | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        for name, (least, highest) in _WHOLE.items():
            value = getattr(self, name)
            if name in _OPTIONAL and value is None:
                continue
            if not _is_whole(value, least):
                raise _wrong(name, value, f"a whole number, at least {least}")
            if value > highest:
                raise _wrong(name, value, f"at most {highest:,}")
        for name, most in _MOST.items():
            value = getattr(self, name)
            if not (_is_real(value) and 0 <= value <= most):
                wanted = "at least 0" if most == math.inf else f"from 0 to {most:g}"
                raise _wrong(name, value, f"a number, {wanted}")
        for name in _ABOVE_0:
            value = getattr(self, name)
            if not (_is_real(value) and value > 0):
                raise _wrong(name, value, "a number above 0")
        if self.schedule_steps is not None and self.schedule_steps < self.steps:
            raise _wrong("schedule_steps", self.schedule_steps, "at least the steps")
        if self.score_seeds > 1 and not self.is_fresh:
            raise _wrong("score_seeds", self.score_seeds, "1 with shared weights")
        if self.inter_rate == self.intra_rate == 0:
            raise _wrong("intra_rate", 0, "above 0 where inter_rate is 0")
        if self.mask_rate > 1:
            raise _wrong("mask_rate", self.mask_rate, "at most 1")
        if self.weights not in WEIGHTS:
            raise _wrong("weights", self.weights, f"one of {', '.join(WEIGHTS)}")
        for name in ("baselines", "by_hand", "learn_kinds"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise _wrong(name, value, "true or false")
        if self.documents not in DIVISIONS:
            raise _wrong("documents", self.documents, f"one of {', '.join(DIVISIONS)}")
        if self.executor not in EXECUTORS:
            raise _wrong("executor", self.executor, f"one of {', '.join(EXECUTORS)}")
        for name in ("data", "strategy", "tokenizer", "device"):
            value = getattr(self, name)
            left_out = name in _OPTIONAL and value is None
            if not (isinstance(value, str) or left_out):
                raise _wrong(name, value, "a text")
        check_objectives(self.objectives)
        for limit in self.limits:
            if checked_limit(*limit, limit)[0] != limit[0]:
                raise UsageError("U020", f"{limit[0]!r} is not an objective")
        seeds = self.final_seeds
        if not all(_is_whole(seed, 0) and seed < _SEEDS for seed in seeds):
            raise _wrong("final_seeds", seeds, f"whole numbers from 0 to {_SEEDS - 1}")
        if len(set(seeds)) != len(seeds):
            raise _wrong("final_seeds", seeds, "different from each other")

    def as_json(self) -> dict[str, Any]:
        """Return a JSON object of all fields."""
        lists: dict[str, Any] = {
            "final_seeds": list(self.final_seeds),
            "objectives": list(self.objectives),
            "limits": [list(limit) for limit in self.limits],
        }
        return {**asdict(self), **lists}

    @property
    def is_fresh(self) -> bool:
        """True if every candidate is scored from fresh weights."""
        return self.weights == "fresh"

    def seeds(self, purpose: str) -> list[int]:
        """Return the seeds of the trainings that a loss is averaged over."""
        more = range(1, self.score_seeds)
        return [
            derived(self.seed, purpose),
            *(derived(self.seed, purpose, n) for n in more),
        ]

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> EvolveOptions:
        """Create options from the object that `as_json` returned. Raise `UsageError`
        U020 for any other.
        """
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise UsageError("U020", f"unknown options: {', '.join(sorted(unknown))}")
        lists = {}
        for name in ("final_seeds", "objectives", "limits"):
            found = values.get(name, getattr(cls, name))
            if not isinstance(found, list | tuple):
                raise _wrong(name, found, "a list")
            lists[name] = tuple(found)
        pairs = all(
            isinstance(e, list | tuple) and len(e) == 2 for e in lists["limits"]
        )
        if not pairs:
            raise _wrong(
                "limits", lists["limits"], "pairs of an objective and a number"
            )
        lists["limits"] = tuple((str(name), most) for name, most in lists["limits"])
        return cls(**{**values, **lists})


def resolve(given: Mapping[str, Any], start: ModelSpec) -> EvolveOptions:
    """Create options from values given on the command line or in Python, applying the
    rules between options.

    Args:
        given: Values by the names of the fields of `EvolveOptions`, without defaults.
            `preset` names one of `PRESETS`, for values that are not given. Values may
            be written as on the command line: a name or a list of `objectives`, where
            `params` stands for parameters; `limits` as texts such as `"params=30e6"`,
            as pairs or as a mapping; `time_limit` as `"30min"`, `memory_limit` as
            `"4GB"`; `final_seeds` as their number.
        start: The start model of the search space.

    Returns:
        The options.

    Raises:
        UsageError: U020 for an invalid name or value, D033 for a mask rate with a
            causal model.
    """
    values = dict(given)
    preset = _preset(values.pop("preset", None))
    known = [field.name for field in fields(EvolveOptions)]
    for name in values:
        if name not in known:
            near = nearest(name, [*known, "preset"])
            help_ = f"did you mean `{near}`?" if near else None
            raise UsageError("U020", f"there is no option `{name}`", help_)
    if "mask_rate" in values and start.causal:
        raise UsageError(
            "D033",
            f"a mask rate is for encoders, and `{start.name}` is causal",
            "causal models predict every token: leave the mask rate out",
        )
    values = {**preset, **values}
    for name, read in _READERS.items():
        if name in values:
            values[name] = read(values[name])
    if len(values.get("objectives", ())) > 1:
        values.setdefault("strategy", "nsga2")
    return EvolveOptions(**values)


def _preset(name: object) -> Mapping[str, Any]:
    if name is None:
        return {}
    if not isinstance(name, str) or name not in PRESETS:
        known = ", ".join(PRESETS)
        raise UsageError("U020", f"there is no preset {name!r}", f"presets: {known}")
    return PRESETS[name]


def _objectives(given: Any) -> tuple[str, ...]:
    names = [given] if isinstance(given, str) else _listed("objectives", given)
    return tuple(read_objective(str(name)) for name in names)


def _limits(given: Any) -> tuple[tuple[str, float], ...]:
    if isinstance(given, Mapping):
        given = given.items()
    elif isinstance(given, str):
        given = [given]
    return tuple(map(_limit, _listed("limits", given)))


def _limit(given: Any) -> tuple[str, float]:
    if isinstance(given, str):
        return read_limit(given)
    if not isinstance(given, list | tuple) or len(given) != 2:
        raise _wrong("limits", given, "an objective and a number, or params=30e6")
    name, most = given
    if isinstance(most, str):
        return read_limit(f"{name}={most}")
    return checked_limit(name, most, given)


def _seeds(given: Any) -> tuple[int, ...]:
    if _is_whole(given, 0):
        return tuple(range(1, given + 1))
    return tuple(_listed("final_seeds", given))


def _listed(name: str, given: Any) -> list[Any]:
    try:
        return list(given)
    except TypeError:
        raise _wrong(name, given, "a list") from None


def read_time_limit(given: Any) -> Any:
    """Parse a time limit such as `30min` into seconds; numbers are returned as they
    are. Raise `UsageError` U020 if it is invalid.
    """
    if not isinstance(given, str):
        return given
    seconds = in_seconds(given)
    if seconds is None:
        message = f"{given!r} is not a time"
        raise UsageError("U020", message, "write it like 90s, 30min or 2h")
    return seconds


def read_memory_limit(given: Any) -> Any:
    """Parse a memory limit such as `4GB` into bytes; `none` is no limit. Raise
    `UsageError` U020 if it is invalid.
    """
    if not isinstance(given, str):
        return given
    if given.strip() == "none":
        return None
    size = in_bytes(given)
    if not size:
        message = f"{given!r} is not an amount of memory"
        raise UsageError("U020", message, "write it like 4GB or 512MiB")
    return size


_READERS: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {
        "objectives": _objectives,
        "limits": _limits,
        "final_seeds": _seeds,
        "time_limit": read_time_limit,
        "memory_limit": read_memory_limit,
    }
)


def derived(seed: int, *purpose: object) -> int:
    """Derive a seed of 32 bits for one purpose of a run."""
    text = " ".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_real(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)  # type: ignore[arg-type]


def _wrong(name: str, value: object, wanted: str) -> UsageError:
    return UsageError("U020", f"{name} is {value!r}, it must be {wanted}")
