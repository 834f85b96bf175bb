"""What of a strategy's answers enters a round: nothing twice, and nothing in vain.

A child is not trained where its text is a candidate's in normal form, where it computes
what a candidate computes, where a program of its own can't be trained, where it is over a
limit, or where it has what is banned and no parent has. Programs that people propose come
first, and beside as many as the strategy has: what it asks for does not depend on how many
they are.

Codes: R038 a strategy returned an invalid value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from azc.check.program import SpaceSpec
from azc.check.spaces import membership
from azc.diagnostics import RunError
from azc.search.acts import NewAct
from azc.search.genome import Genome
from azc.search.records import START, NewCandidate
from azc.search.refused import EQUAL, FAULT, KNOWN, Refused
from azc.search.strategies.base import Child

__all__ = ["Admission", "proposed"]

_PATIENCE = 100  # refused one after the other until the space counts as used up


def proposed(act: NewAct, model: str) -> Child:
    """What somebody proposes, as a child."""
    genome = Genome.from_text(act.value["program"], model)
    words = f"proposed by {act.author}"
    words += f": {act.value['note']}" if act.value["note"] else ""
    return Child(genome, tuple(act.value["parents"]), words)


class Admission:
    """The members of one round, as a strategy's answers to it come in.

    `known`: for the strategy's next answer, the keys of candidates and their functions
    with their numbers, and those of what this round has seen with a candidate's near it.
    `over`: why a program is larger than is wanted, None if it is not.
    """

    def __init__(
        self,
        start: Genome,
        space: SpaceSpec,
        size: int,
        keys: Mapping[str, int],
        genome: Callable[[int], Genome],
        over: Callable[[Genome], str | None] = lambda _: None,
    ) -> None:
        self.start, self.space = start, space
        self.over = over
        self.size = size
        self.genome = genome
        self.members: list[int | NewCandidate] = []
        self.refused: list[Refused] = []
        self.known = dict(keys)
        self._numbers = set(keys.values())
        self._taken = set(keys)  # and the members'
        self._before: dict[str, Refused] = {}  # by key
        self._idle = 0  # refused since a child was taken
        self._proposed = 0
        self._in_vain = 0  # proposals refused
        self._answered = False

    @property
    def is_used_up(self) -> bool:
        """Whether children were asked for, and none was new."""
        new = any(isinstance(member, NewCandidate) for member in self.members)
        in_vain = len(self.refused) > self._in_vain
        return not new and (in_vain or not self.members)

    def take(self, asked: Sequence[int | Child]) -> bool:
        """Takes an answer in; whether another one is wanted, in place of what was
        refused. Raises `RunError` R038 for what can't be scored.
        """
        if not self._answered:
            # What a strategy asks for at first is as much as it wants.
            self.size = self._proposed + min(self.size, len(set(asked)))
            self._answered = True
        refused = len(self.refused)
        for each in asked:
            if len(self.members) >= self.size:
                return False
            if isinstance(each, int):
                there = each in self._numbers
                _require(there, f"candidate {each}, which is not there")
                if each not in self.members:
                    self.members.append(each)
            else:
                self._child(each)
        again = len(self.refused) > refused and len(self.members) < self.size
        return again and self._idle < _PATIENCE

    def propose(self, child: Child) -> tuple[int | None, Refused | None]:
        """Takes in what a person proposes, before the strategy is asked: its place among
        the members, or why it has none.
        """
        before = len(self.refused)
        self._child(child, bans=False)
        if len(self.refused) > before:
            self._in_vain += 1
            self._idle = 0
            return None, self.refused[-1]
        self._proposed += 1
        return len(self.members) - 1, None

    def _child(self, child: Child, bans: bool = True) -> None:
        genome, parents = child.genome, tuple(dict.fromkeys(child.parents))
        for parent in parents:
            _require(parent in self._numbers, f"a child of no candidate, {parent}")
        near = parents[0] if parents else START
        refused = self._verdict(child, bans)
        if refused is not None:
            self.refused.append(refused)
            self._before[genome.key] = refused
            near = self.known.get(refused.same or "", near)
            self.known.setdefault(genome.key, near)
            self._idle += 1
            return
        self._idle = 0
        for key in (genome.key, genome.function):
            self._taken.add(key)
            self.known.setdefault(key, near)
        self.members.append(
            NewCandidate(
                genome.text,
                parents,
                child.description,
                genome.key,
                genome.function,
                kinds=child.kinds,
            )
        )

    def _verdict(self, child: Child, bans: bool) -> Refused | None:
        """Why a child is not to be trained, if so."""
        genome = child.genome

        def refused(why: str, same: str | None, reason: str | None = None) -> Refused:
            return Refused(child.parents, child.description, why, same, reason)

        if genome.key in self._taken:
            return refused(KNOWN, genome.key)
        before = self._before.get(genome.key)
        if before is not None:
            return refused(before.why, before.same, before.reason)
        inside = genome.model == self.start.model
        inside = inside and not membership(genome.spec, self.space)
        _require(inside, f"a program outside the space: {child.description}")
        faults = genome.faults
        if faults:
            # Those of the start, or of what a person wrote, are meant so.
            meant = {*self.start.faults}
            for parent in child.parents:
                meant |= self.genome(parent).faults.keys()
            for program in sorted(faults.keys() - meant):
                return refused(FAULT, None, faults[program])
        if genome.function in self._taken:
            return refused(EQUAL, genome.function)
        for feature in self._banned(child) if bans else ():
            return refused(FAULT, None, f"`{feature}` is banned")
        over = self.over(genome)  # last: it may have to be measured
        if over is not None:
            return refused(FAULT, None, over)
        return None

    def _banned(self, child: Child) -> list[str]:
        """What it has that is banned and no parent has."""
        banned = {each for each, times in self.space.draws.items() if times == 0}
        banned &= child.genome.features
        for parent in child.parents if banned else ():
            banned -= self.genome(parent).features
        return sorted(banned)


def _require(met: bool, what: str) -> None:
    if not met:
        raise RunError("R038", f"the strategy asked for what can't be scored: {what}")
