"""Objectives of a search: the values that candidates are scored by, all to be
minimized.

Codes: U020 an option of a search is invalid; U026 the start exceeds a limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from azc.check.program import ModelSpec
from azc.compare.summary import summarise
from azc.diagnostics import UsageError, nearest
from azc.numbers import in_bytes, in_milliseconds

__all__ = [
    "LATENCY",
    "LIMITED",
    "LOSS",
    "MEASURED",
    "MEMORY",
    "OBJECTIVES",
    "TIMED_LOSS",
    "WRITTEN",
    "Objective",
    "Scores",
    "check_objectives",
    "checked_limit",
    "costs",
    "first_score",
    "headings",
    "in_order",
    "over_limits",
    "read_change",
    "read_limit",
    "read_objective",
    "shown_limit",
    "shown_scores",
    "start_over_limit",
]

LOSS = "loss"
TIMED_LOSS = "timed-loss"
LATENCY, MEMORY = "latency", "memory"
PARAMETERS, FLOPS = "parameters", "flops"

# Scores by objective. A search by one number uses the first.
Scores = Mapping[str, float]


@dataclass(frozen=True)
class Objective:
    """An objective.

    Attributes:
        name: Its name.
        unit: The unit of its values.
        digits: The format of its values.
        says: A description, including the unit.
    """

    name: str
    unit: str
    digits: str
    says: str

    def shown(self, value: float) -> str:
        """Format a value without its unit."""
        return format(value, self.digits)


def _table(*rows: Objective) -> Mapping[str, Objective]:
    return MappingProxyType({row.name: row for row in rows})


OBJECTIVES = _table(
    Objective(LOSS, "nats", ".3f", "validation loss"),
    Objective(TIMED_LOSS, "nats", ".3f", "validation loss after a fixed training time"),
    Objective(PARAMETERS, "parameters", ",.0f", "parameters"),
    Objective(FLOPS, "FLOPs per token", ",.0f", "FLOPs per token"),
    Objective(LATENCY, "ms", ",.2f", "milliseconds a batch"),
    Objective(MEMORY, "MiB", ",.1f", "MiB in a training step"),
)
WRITTEN = (PARAMETERS, FLOPS)  # read off a program
MEASURED = (LATENCY, MEMORY, TIMED_LOSS)  # on the device, of one candidate at a time
LIMITED = (*WRITTEN, LATENCY, MEMORY)
_LOSSES = (LOSS, TIMED_LOSS)
_SHORT = {"params": PARAMETERS}


def read_objective(name: str, *, among: Iterable[str] = OBJECTIVES) -> str:
    """Return the objective of a name; `params` stands for parameters. Raise
    `UsageError` U020 if there is none.
    """
    found = _SHORT.get(name, name)
    known = tuple(among)
    if found not in known:
        near = nearest(name, known)
        hint = f"did you mean {near}? " if near else ""
        message = f"there is no objective {name!r}"
        if found in OBJECTIVES:
            message = f"{name} can't be limited"
        raise UsageError("U020", message, f"{hint}objectives: {', '.join(known)}")
    return found


def read_limit(text: str) -> tuple[str, float]:
    """Parse a limit into an objective and a number in its unit.

    Examples are `params=30e6`, `latency=2ms` and `memory=64MB`.

    Raises:
        UsageError: U020, if it is invalid.
    """
    name, _, amount = text.partition("=")
    objective = read_objective(name.strip(), among=LIMITED)
    most: float | None
    if objective == LATENCY:
        most = in_milliseconds(amount)
    elif objective == MEMORY:
        size = in_bytes(amount)
        most = None if size is None else size / 2**20
    else:
        try:
            most = float(amount.replace("_", ""))
        except ValueError:
            most = None
    return checked_limit(objective, most, text)


def read_change(text: str) -> tuple[str, float | None]:
    """Parse a limit like `read_limit`, where `params=none` removes it. Raise
    `UsageError` U020 if it is invalid.
    """
    name, _, amount = text.partition("=")
    if amount.strip() == "none":
        return read_objective(name.strip(), among=LIMITED), None
    return read_limit(text)


def shown_limit(name: str, most: float) -> str:
    """Format a limit, with its unit unless the name says it."""
    unit = OBJECTIVES[name].unit
    return f"{most:,.10g}" if unit == name else f"{most:,.10g} {unit}"


_WRITTEN_AS = {LATENCY: "a time, as latency=2ms", MEMORY: "a size, as memory=64MB"}


def checked_limit(name: object, most: object, shown: object) -> tuple[str, float]:
    """Return a limit after checking it. Raise `UsageError` U020 if it is invalid."""
    objective = read_objective(str(name), among=LIMITED)
    real = isinstance(most, int | float) and not isinstance(most, bool)
    if not real or not 0 < float(str(most)) < float("inf"):
        message = f"{shown!r} is not a limit"
        wanted = _WRITTEN_AS.get(objective, "a number above 0: params=30e6")
        raise UsageError("U020", message, f"a limit is {wanted}")
    return objective, float(str(most))


def check_objectives(names: Sequence[object]) -> None:
    """Raise `UsageError` U020 if objectives are unknown or repeated, or none of them is
    a loss.
    """
    for name in names:
        if not isinstance(name, str) or name not in OBJECTIVES:
            read_objective(str(name))
            raise UsageError("U020", f"{name!r} is not an objective")
    if len(set(names)) != len(names):
        raise UsageError("U020", "an objective is repeated")
    if not set(names) & set(_LOSSES):
        raise UsageError(
            "U020",
            f"the objectives have no loss: {', '.join(map(str, names)) or 'none'}",
            f"a model that learns nothing is the smallest and fastest; add {LOSS}",
        )


def in_order(names: Sequence[str]) -> tuple[str, ...]:
    """Return everything that candidates are scored by.

    First comes the loss that a search by one number uses. The loss after a fixed number
    of steps is always included.
    """
    first = LOSS if LOSS in names else TIMED_LOSS
    return tuple(dict.fromkeys((first, *names, LOSS)))


def first_score(scores: Scores | None) -> float | None:
    """Return the score for a search by one number, or None for a failure."""
    return None if scores is None else next(iter(scores.values()))


def headings(names: Iterable[str]) -> dict[str, str]:
    """Return what to write above the values of each objective: its unit, after its name
    where another has the same unit.
    """
    names = tuple(names)
    units = [OBJECTIVES[name].unit for name in names]
    return {
        name: unit if units.count(unit) == 1 else f"{name}, {unit}"
        for name, unit in zip(names, units, strict=True)
    }


def shown_scores(
    scores: Scores, *, of: str = "", digits: int = 3, skip: int = 0
) -> str:
    """Write all scores of a candidate, each with its unit: `3.214 nats, 9,312 parameters`.

    Args:
        scores: Values by objective.
        of: What the losses are the mean over, to be written after their unit.
        digits: Decimal places of the losses.
        skip: How many scores to leave out, the first ones.
    """
    found = []
    for name, heading in headings(scores).items():
        unit = OBJECTIVES[name].unit
        value = OBJECTIVES[name].shown(scores[name])
        if name in _LOSSES:
            value, unit = f"{scores[name]:.{digits}f}", f"{unit} {of}".strip()
        is_unit = heading == OBJECTIVES[name].unit
        found.append(f"{value} {unit}" if is_unit else f"{value} {unit} ({name})")
    return ", ".join(found[skip:])


def costs(spec: ModelSpec, tokens: int) -> dict[str, float]:
    """Return the parameters and FLOPs of a model, for sequences of `tokens` tokens."""
    found = summarise(spec, tokens)
    return {PARAMETERS: float(found.parameters), FLOPS: found.flops}


def over_limits(found: Scores, limits: Iterable[tuple[str, float]]) -> str | None:
    """Return the reason why a candidate with these values exceeds a limit, or None.

    Objectives that are not in `found` are ignored. A measured value follows a colon.
    """
    for name, most in limits:
        value = found.get(name)
        if value is None or value <= most:
            continue
        objective = OBJECTIVES[name]
        if name in WRITTEN:
            return f"it has more than {most:,.10g} {objective.unit}"
        return f"it takes more than {most:.6g} {objective.says}: {value:.6g}"
    return None


def start_over_limit(why: str) -> UsageError:
    """Create the error U026 for a start model that exceeds a limit."""
    help_ = "raise the limit, or start from a smaller model"
    return UsageError("U026", f"the start model exceeds a limit: {why}", help_)
