"""Acts of people and agents, looked at and written to the journal of a run.

Nothing here needs the run's lock, and nothing that is sent runs: a program is text that
is checked.

Codes: R040 a run has not come so far yet; R046 a proposed program is known; R047 a
proposed program computes what a candidate does; R048 a proposed program can't be
trained; U022 a budget is below what was spent, or no budget; U025 an act makes no sense
for its run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azc.check.choose import choose_model
from azc.check.flatten import self_contained
from azc.check.program import Program, SpaceSpec
from azc.check.spaces import membership
from azc.diagnostics import DiagnosticError, RunError, UsageError, nearest, whole
from azc.search.acts import (
    BUDGET,
    DRAW,
    GO_ON,
    PAUSE,
    PROPOSE,
    STOP,
    Act,
    NewAct,
)
from azc.search.admission import Admission, proposed
from azc.search.folder import RunFolder
from azc.search.genome import Genome, space_features
from azc.search.journal import Journal
from azc.search.objectives import costs, over_limits
from azc.search.records import START
from azc.search.refused import KNOWN
from azc.source import visible

__all__ = ["Desk"]

_MOST = 10**9  # evaluations
_LOUDEST = 1000.0  # times as often
_LONGEST = 200  # characters of a note or a name


@dataclass(frozen=True)
class Desk:
    """What can be done to one run, by one author.

    Each method writes one act and gives it back. Raises `RunError` as `RunFolder.read`
    and `RunFolder.desk`, `UsageError` U025 for what makes no sense.
    """

    folder: Path
    author: str

    def pause(self) -> Act:
        """The run is to wait, once what is being trained is."""
        return self._act(PAUSE, {})

    def go_on(self) -> Act:
        """The run is to wait no more."""
        return self._act(GO_ON, {})

    def draw(self, feature: str, times: float) -> Act:
        """From the next round on, an operation or a width of convolution is to be drawn so
        many times as often as the strategy would: 0 bans it, 1 leaves it to that.
        """
        run = RunFolder(self.folder)
        _, space = run.space(run.read())
        known = space_features(space)
        if feature not in known:
            near = nearest(feature, known)
            help_ = f"did you mean `{near}`?" if near else f"it has: {', '.join(known)}"
            raise _senseless(f"the space has no `{feature}` to vary", help_)
        if not 0 <= times <= _LOUDEST:  # nor NaN
            wanted = f"a number from 0 to {_LOUDEST:g}"
            raise _senseless(f"`{feature}` can't be drawn {times:g} times: {wanted}")
        return self._act(DRAW, {"feature": feature, "times": float(times)})

    def budget(self, evaluations: int) -> Act:
        """From here on the run has this budget."""

        def check(journal: Journal) -> None:
            least = max(1, journal.spent())
            whole("the budget", evaluations, least, _MOST, "U022")

        return self._act(BUDGET, {"evaluations": evaluations}, check)

    def stop(self, candidate: int) -> Act:
        """A candidate is to be trained no more; what it has come to in the round under way
        counts as a failure, and it is nobody's parent.
        """

        def check(journal: Journal) -> None:
            if candidate == START:
                raise _senseless("the start can't be stopped")
            _candidate(journal, candidate)

        act = self._act(STOP, {"candidate": candidate}, check)
        RunFolder(self.folder).stop_file(candidate).touch()
        return act

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
            raise DiagnosticError(faults)
        text = self_contained(program, name, called=start)
        genome = Genome.from_text(text, start)
        parents = list(dict.fromkeys(parents))
        value = {"program": genome.text, "parents": parents, "note": _line(note)}
        options = run.options(config)

        def over(genome: Genome) -> str | None:
            # What has to be measured the run decides on.
            return over_limits(costs(genome.spec, options.length), options.limits)

        def check(journal: Journal) -> None:
            for parent in parents:
                _candidate(journal, parent)
            _admit(NewAct(PROPOSE, value, self.author), start, space, over, journal)

        return self._act(PROPOSE, value, check)

    def _act(
        self,
        kind: str,
        value: Mapping[str, Any],
        check: Callable[[Journal], None] = lambda journal: None,
    ) -> Act:
        run = RunFolder(self.folder)
        run.read()
        author = _line(self.author) or "somebody"
        with closing(run.desk()) as journal:
            if not journal.budget():
                raise RunError("R040", f"{self.folder} has not begun yet")
            check(journal)
            return journal.act(NewAct(kind, value, author))


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
