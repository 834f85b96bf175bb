"""Requests for actions: checked, and written to the journal of a run.

None of this needs the lock of the run, and no code that is sent is executed: a program
is a text that is checked.

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
_LOUDEST = 1000.0  # maximum factor by which a feature is drawn more often
_LONGEST = 200  # maximum length of a note or a name, in characters


@dataclass(frozen=True)
class Desk:
    """Applies the actions of one author to a run.

    Each method writes an action to the journal (`steer` may write several), and returns
    it.

    Raises:
        RunError: As `RunFolder.read` and `RunFolder.desk`.
        UsageError: U025 for an invalid request.
    """

    folder: Path
    author: str

    def pause(self) -> Act:
        """Pause the run once the current evaluations are done."""
        return self._one(pause=True)

    def go_on(self) -> Act:
        """Continue a paused run."""
        return self._one(pause=False)

    def draw(self, feature: str, times: float) -> Act:
        """Draw an operation or a width of convolution more or less often, from the next
        round on.

        It is drawn `times` as often as the strategy would: 0 bans it, 1 restores the
        default.
        """
        return self._one(draws=[(feature, times)])

    def limit(self, objective: str, most: float | None) -> Act:
        """From the next round on, train no candidate beyond this limit; None removes
        the limit.

        Raises:
            UsageError: U020 for an invalid limit, U026 if the start model exceeds it.
        """
        return self._one(limits=[(objective, most)])

    def budget(self, evaluations: int) -> Act:
        """Set the total number of evaluations of the run.

        Raises:
            UsageError: U022, if more evaluations are already spent, or the number is
                out of range.
        """
        return self._one(evaluations=evaluations)

    def stop(self, candidate: int) -> Act:
        """Stop training a candidate.

        It counts as failed in the current round, and has no more children after that.
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
        """Apply several actions at once, in the order of the arguments, or none if one
        is invalid.

        Args:
            draws: See `draw`.
            limits: See `limit`.
            stops: Candidates to stop.
            evaluations: See `budget`.
            pause: True to pause, False to continue.

        Returns:
            The actions. Raises as the methods for single actions.
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
                    raise _senseless("the start model can't be stopped")
                _candidate(journal, each)
            if evaluations is not None:
                least = max(1, journal.spent())
                whole("the budget", evaluations, least, MOST_EVALUATIONS, "U022")

        acts = self._acts(wanted, check)
        for each in stops:
            # Without this file, the run sees the action when the training is done.
            with suppress(OSError):
                run.stop_file(each).touch()
        return acts

    def _check_limits(
        self,
        journal: Journal,
        limits: Sequence[tuple[str, float | None]],
        start: ModelSpec,
    ) -> None:
        """Check limits against the start model.

        Measured limits are checked by the run itself.
        """
        options = self._options(journal)
        for name, most in limits:
            if most is None and name not in dict(options.limits):
                raise _senseless(f"there is no limit on {name} to remove")
        new = [(name, most) for name, most in limits if most is not None]
        over = over_limits(costs(start, options.length), new)
        if over is not None:
            raise start_over_limit(over)

    def _options(self, journal: Journal) -> EvolveOptions:
        """Return the options of the run with the limits of the next round."""
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
        """Propose a model as a candidate of the next round.

        Args:
            program: A program.
            name: The model in it; may be omitted if there is only one.
            note: A comment in one line.
            parents: Numbers of candidates that it was derived from.

        Raises:
            DiagnosticError: If it is not in the search space.
            RunError: R046 to R048, if training it would be useless.
            UsageError: U101 to U103, if the file has no such model, or several.
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
                # Measured limits are checked by the run itself.
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
                raise RunError("R040", f"{self.folder} has not started yet")
            check(journal)
            return journal.act(*(NewAct(*each, author) for each in wanted))


def _as_proposed(fault: Diagnostic, space: SpaceSpec) -> Diagnostic:
    """Adapt the help of a diagnostic: the search space of a run can't be changed any
    more.
    """
    has = {"AZG415": space.inputs, "AZG416": space.ops}.get(fault.code)
    if not has:
        return fault
    return replace(fault, help=f"the space of the run has: {', '.join(sorted(has))}")


def _once(
    pairs: Iterable[tuple[str, _Wanted]],
) -> list[tuple[str, _Wanted]]:
    """Return each name once with its value; reject contradictions."""
    found: dict[str, _Wanted] = {}
    for name, wanted in pairs:
        if name in found and found[name] != wanted:
            raise _senseless(f"there are two different values for `{name}`")
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
        wanted = f"use a number from 0 to {_LOUDEST:g}"
        raise _senseless(f"`{feature}` can't be drawn {times} times as often: {wanted}")
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
    """Check that a proposal would be accepted if the next round were opened now.

    A run in progress decides when it applies the action.

    Raises:
        RunError: R046 to R048, if it would be refused.
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
    known = f"{author} has already proposed this program, and it is pending"
    same = f"the program that {author} has proposed"
    if number is not None:
        known = f"this program is candidate {number:04} in normal form"
        same = f"candidate {number:04}"
    if refused.why == KNOWN:
        raise RunError("R046", known)
    raise RunError("R047", f"it computes the same function as {same}")


def _candidate(journal: Journal, number: int) -> None:
    if number not in journal.keys().values():
        raise _senseless(f"the run has no candidate {number}")


def _line(text: str) -> str:
    """Shorten a text to one line."""
    words = " ".join(visible(text, "\n\t").split())
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…"


def _senseless(message: str, help: str | None = None) -> UsageError:
    return UsageError("U025", message, help)
