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

    `evaluations`: the budget; a failed candidate counts, and so does one that is scored
    again, unless its score is known. `strategy`: a name of
    `azc.search.strategies.choose.STRATEGIES`, or `my.py:Mine` for a class in a file.
    `round_size` candidates are scored from one snapshot of the supernet; the `parents`
    best give their weights back to it, and are scored again in the next round, where
    there are no more than a third of it. With `by_hand`, op-nas, regularized, local and
    random begin with what a person would try first, beside the start. A child is 1 to
    `mutations` mutations from its parent, each number as likely (None: as the strategy
    has it). `alpha` and `temperature` are of op-nas's priorities; after `patience`
    rounds with nothing better it begins anew from the start (0: never); with
    `learn_kinds` kinds of mutation have priorities too. `population` and `tournament`
    are of regularized; `inter_rate` and `intra_rate` are how often a mutation is of
    layers and of a program. `weights` are "shared": `warm_up` steps train the supernet
    first; or "fresh": each candidate begins anew, from the same seed, and has the same
    score whenever it is scored. `steps` train a candidate before it is scored on
    `blocks` validation blocks (None: all); with `schedule_steps` they are the first of
    a schedule of so many. The learning rate rises to `learning_rate` over the
    `warmup_ratio` of a schedule, and falls to 0 over the rest. With fresh weights a
    score may be the mean of several trainings, from `score_seeds` seeds. The best
    `contenders` are then trained alone for `final_steps`, from as many seeds: the best
    one is the winner. It is trained alone again from each of `final_seeds`, beside the
    start, beside `neighbours` models that differ from it in one thing, and, with
    `baselines`, beside the best of random sampling that has trained for as many steps,
    and what a person would try first; no final seeds, none of all this.
    `workers` processes score at a time, of this machine or, with the `executor` "ray",
    of a cluster. A score depends, in its last bits, on how many `threads` it is
    computed with, and not on how many workers there are. A candidate has `time_limit`
    seconds to be scored, for each seed, and alone as many times more as it has more
    steps; it may take `memory_limit` bytes (None: all that there are). Sequences have
    `length` tokens of documents, into which text files are divided by `documents` (see
    `azc.data.documents`), batches `batch_size` of them, in which `mask_rate` of the tokens of
    a text are masked; the masks of the validation and test text are 15 %. `objectives`:
    what is searched for the least of, see `azc.search.objectives`; a child over one of
    the `limits`, an objective with a number, is not trained; `seconds_alone`: how long
    a candidate is trained for its timed loss. `device`: None for the best there is.
    Raises `UsageError` U020 for values that make no sense.
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
    """Make the options of a search from what a person gives, on the command line or in
    Python: the rules between options are here.

    Args:
        given: What was given, by the names of the fields of `EvolveOptions`, and no
            defaults. `preset` names one of `PRESETS`, for what is not given. Values may
            be written as on the command line: a name or a list of `objectives`, where
            `params` is parameters; `limits` as texts, `"params=30e6"`, as pairs or as a
            mapping; `time_limit` as `"30min"`, `memory_limit` as `"4GB"`; `final_seeds`
            as their number.
        start: The model that the space starts from.

    Raises:
        UsageError: U020 for a name or a value that makes no sense, D033 for a mask rate
            where models are causal.
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
    """Read seconds, also from a text as `30min`. Raises `UsageError` U020."""
    if not isinstance(given, str):
        return given
    seconds = in_seconds(given)
    if seconds is None:
        message = f"{given!r} is not a time"
        raise UsageError("U020", message, "write it like 90s, 30min or 2h")
    return seconds


def read_memory_limit(given: Any) -> Any:
    """Read bytes, also from a text as `4GB`; `none` is no limit. Raises `UsageError` U020."""
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
    return UsageError("U020", f"{name} is {value!r}, but must be {wanted}")
