"""Acts of people and agents, looked at and written to the journal of a run.

Nothing here needs the run's lock, and nothing that is sent runs: a program is text that
is checked.

Codes: R040 the run has no results yet; R046 the proposed program is already in the run;
R047 the proposed program computes the same as a candidate; R048 the proposed program
cannot be trained; U022 the budget is out of range, or below the evaluations already
spent; U025 the action is invalid for this run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from azc.check.choose import choose_model
from azc.check.flatten import self_contained
from azc.check.program import ModelSpec, Program, SpaceSpec
from azc.check.spaces import membership
from azc.diagnostics import (
    Diagnostic,
    DiagnosticError,
    RunError,
    UsageError,
    nearest,
    whole,
)
from azc.search.acts import (
    BUDGET,
    DRAW,
    GO_ON,
    LIMIT,
    PAUSE,
    PROPOSE,
    STOP,
    Act,
    NewAct,
    limits_after,
)
from azc.search.admission import Admission, proposed
from azc.search.folder import RunFolder
from azc.search.genome import Genome, space_features
from azc.search.journal import Journal
from azc.search.objectives import (
    LIMITED,
    checked_limit,
    costs,
    over_limits,
    read_objective,
    start_over_limit,
)
from azc.search.options import MOST_EVALUATIONS, EvolveOptions
from azc.search.records import START
from azc.search.refused import KNOWN
from azc.source import visible

__all__ = ["Desk"]

_Wanted = TypeVar("_Wanted")
_LOUDEST = 1000.0  # times as often
_LONGEST = 200  # characters of a note or a name


@dataclass(frozen=True)
class Desk:
    """What can be done to one run, by one author.

    Each method writes an act, `steer` several, and gives back what it has written.
    Raises `RunError` as `RunFolder.read` and `RunFolder.desk`, `UsageError` U025 for what
    makes no sense.
    """

    folder: Path
    author: str

    def pause(self) -> Act:
        """The run is to wait, once what is being trained is."""
        return self._one(pause=True)

    def go_on(self) -> Act:
        """The run is to wait no more."""
        return self._one(pause=False)

    def draw(self, feature: str, times: float) -> Act:
        """From the next round on, an operation or a width of convolution is to be drawn so
        many times as often as the strategy would: 0 bans it, 1 leaves it to that.
        """
        return self._one(draws=[(feature, times)])

    def limit(self, objective: str, most: float | None) -> Act:
        """From the next round on, what is beyond this is not to be trained, nor are
        candidates that are; None lifts the limit. Raises `UsageError` U020 for what can't
        be limited so, U026 where the start would be beyond it.
        """
        return self._one(limits=[(objective, most)])

    def budget(self, evaluations: int) -> Act:
        """From here on the run has this budget. Raises `UsageError` U022."""
        return self._one(evaluations=evaluations)

    def stop(self, candidate: int) -> Act:
        """A candidate is to be trained no more; what it has come to in the round under way
        counts as a failure, and once that is over it is nobody's parent.
        """
        return self._one(stops=[candidate])

    def _one(self, **wanted: Any) -> Act:
        (act,) = self.steer(**wanted)
        return act

    def steer(
        self,
        *,
        draws: Sequence[tuple[str, float]] = (),
        limits: Sequence[tuple[str, float | None]] = (),
        stops: Sequence[int] = (),
        evaluations: int | None = None,
        pause: bool | None = None,
    ) -> list[Act]:
        """All of these at once, in this order, or none where one makes no sense; `pause`
        is False to go on. Raises as the methods for one.
        """
        run = RunFolder(self.folder)
        _, space = run.space(run.read())
        wanted = [
            *(_draw(space, *each) for each in _once(draws)),
            *(_limit(*each) for each in _once(limits)),
            *((STOP, {"candidate": each}) for each in dict.fromkeys(stops)),
        ]
        if evaluations is not None:
            wanted.append((BUDGET, {"evaluations": evaluations}))
        if pause is not None:
            wanted.append((PAUSE if pause else GO_ON, {}))

        def check(journal: Journal) -> None:
            if limits:
                self._check_limits(journal, limits, space.start)
            for each in stops:
                if each == START:
                    raise _senseless("the start can't be stopped")
                _candidate(journal, each)
            if evaluations is not None:
                least = max(1, journal.spent())
                whole("the budget", evaluations, least, MOST_EVALUATIONS, "U022")

        acts = self._acts(wanted, check)
        for each in stops:
            # Where there is no such file, the run sees the act when the training is done.
            with suppress(OSError):
                run.stop_file(each).touch()
        return acts

    def _check_limits(
        self,
        journal: Journal,
        limits: Sequence[tuple[str, float | None]],
        start: ModelSpec,
    ) -> None:
        """What has to be measured of the start the run decides on."""
        options = self._options(journal)
        for name, most in limits:
            if most is None and name not in dict(options.limits):
                raise _senseless(f"there is no limit of {name} to be lifted")
        new = [(name, most) for name, most in limits if most is not None]
        over = over_limits(costs(start, options.length), new)
        if over is not None:
            raise start_over_limit(over)

    def _options(self, journal: Journal) -> EvolveOptions:
        """With the limits that the next round has."""
        run = RunFolder(self.folder)
        options = run.options(run.read())
        limits = limits_after(journal.acts(), options.limits)
        return replace(options, limits=limits)

    def propose(
        self,
        program: Program,
        name: str | None = None,
        *,
        note: str = "",
        parents: Sequence[int] = (),
    ) -> Act:
        """A model of a program, the one of that name, is to be a candidate of the next
        round. `parents`: candidates that it came from; `note`: why, in a line.

        Raises `DiagnosticError` where it does not lie in the space, `RunError` R046 to
        R048 where there is no use in training it, `UsageError` U101 to U103 where the
        file has no such model, or several.
        """
        run = RunFolder(self.folder)
        config = run.read()
        start, space = run.space(config)
        name, model = choose_model(program, name)
        faults = membership(model, space)
        if faults:
            raise DiagnosticError(_as_proposed(fault, space) for fault in faults)
        text = self_contained(program, name, called=start)
        genome = Genome.from_text(text, start)
        parents = list(dict.fromkeys(parents))
        value = {"program": genome.text, "parents": parents, "note": _line(note)}

        def check(journal: Journal) -> None:
            for parent in parents:
                _candidate(journal, parent)
            options = self._options(journal)

            def over(genome: Genome) -> str | None:
                # What has to be measured the run decides on.
                return over_limits(costs(genome.spec, options.length), options.limits)

            _admit(NewAct(PROPOSE, value, self.author), start, space, over, journal)

        (act,) = self._acts([(PROPOSE, value)], check)
        return act

    def _acts(
        self,
        wanted: Sequence[tuple[str, Mapping[str, Any]]],
        check: Callable[[Journal], None],
    ) -> list[Act]:
        run = RunFolder(self.folder)
        run.read()
        author = _line(self.author) or "somebody"
        with closing(run.desk()) as journal:
            if not journal.budget():
                raise RunError("R040", f"{self.folder} has not begun yet")
            check(journal)
            return journal.act(*(NewAct(*each, author) for each in wanted))


def _as_proposed(fault: Diagnostic, space: SpaceSpec) -> Diagnostic:
    """Why a proposal is not in the space of a run, which nobody can add to any more."""
    has = {"AZG415": space.inputs, "AZG416": space.ops}.get(fault.code)
    if not has:
        return fault
    return replace(fault, help=f"the space of the run has {', '.join(sorted(has))}")


def _once(
    pairs: Iterable[tuple[str, _Wanted]],
) -> list[tuple[str, _Wanted]]:
    """Each name once, with what is wanted of it."""
    found: dict[str, _Wanted] = {}
    for name, wanted in pairs:
        if name in found and found[name] != wanted:
            raise _senseless(f"two different things are wanted of `{name}` at once")
        found[name] = wanted
    return list(found.items())


def _draw(
    space: SpaceSpec, feature: str, times: float
) -> tuple[str, Mapping[str, Any]]:
    known = space_features(space)
    if feature not in known:
        near = nearest(feature, known)
        help_ = f"did you mean `{near}`?" if near else f"it has: {', '.join(known)}"
        raise _senseless(f"the space has no `{feature}` to vary", help_)
    if not 0 <= times <= _LOUDEST:  # nor NaN
        wanted = f"a number from 0 to {_LOUDEST:g}"
        raise _senseless(f"`{feature}` can't be drawn {times} times: {wanted}")
    return DRAW, {"feature": feature, "times": float(times)}


def _limit(objective: str, most: float | None) -> tuple[str, Mapping[str, Any]]:
    objective = read_objective(objective, among=LIMITED)
    if most is not None:
        _, most = checked_limit(objective, most, most)
    return LIMIT, {"objective": objective, "most": most}


def _admit(
    act: NewAct,
    start: str,
    space: SpaceSpec,
    over: Callable[[Genome], str | None],
    journal: Journal,
) -> None:
    """Raises `RunError` R046 to R048 where a proposal would be refused if the next round
    were opened now. A run that is at work decides when it takes it up.
    """

    def genome(number: int) -> Genome:
        return Genome.from_text(journal.candidate(number).program, start)

    keys = journal.keys()
    admission = Admission(genome(START), space, 1, keys, genome, over)
    waiting: dict[str, str] = {}  # who proposed a key or a function
    for other in journal.acts(waiting=True):
        if other.kind == PROPOSE:
            child = proposed(other, start)
            admission.propose(child)
            for key in (child.genome.key, child.genome.function):
                waiting.setdefault(key, other.author)
    _, refused = admission.propose(proposed(act, start))
    if refused is None:
        return
    if refused.same is None:
        raise RunError("R048", f"it can't be trained: {refused.reason}")
    number, author = keys.get(refused.same), waiting.get(refused.same)
    known, what = f"{author} has proposed this, and it waits", f"{author} has proposed"
    if number is not None:
        known = f"candidate {number:04} is this program in normal form"
        what = f"candidate {number:04} does"
    if refused.why == KNOWN:
        raise RunError("R046", known)
    raise RunError("R047", f"it computes what {what}")


def _candidate(journal: Journal, number: int) -> None:
    if number not in journal.keys().values():
        raise _senseless(f"the run has no candidate {number}")


def _line(text: str) -> str:
    """A text of a person's, in one line that is not too long."""
    words = " ".join(visible(text, "\n\t").split())
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…"


def _senseless(message: str, help: str | None = None) -> UsageError:
    return UsageError("U025", message, help)
