"""Admission of children to a round: nothing is trained twice, or in vain.

A child is refused if its text in normal form is that of a candidate, if it computes the
same function as a candidate, if a program of its own can't be trained, if it exceeds a
limit, or if it has a banned feature that none of its parents has. Proposed programs
come first, in addition to the children of the strategy, whose number does not depend on
them.

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

_PATIENCE = 100  # consecutive refusals after which the space counts as exhausted


def proposed(act: NewAct, model: str) -> Child:
    """Create the child that an action proposes."""
    genome = Genome.from_text(act.value["program"], model)
    words = f"proposed by {act.author}"
    words += f": {act.value['note']}" if act.value["note"] else ""
    return Child(genome, tuple(act.value["parents"]), words)


class Admission:
    """The members of one round, collected from the answers of a strategy.

    Args:
        start: The start model.
        space: The search space.
        size: Number of members.
        keys: Keys and functions of all candidates, with their numbers.
        genome: Returns the program of a candidate.
        over: Returns the reason why a program exceeds a limit, or None.

    Attributes:
        members: The members so far.
        refused: The children that were refused.
        known: For the strategy's next answer: the keys and functions of all candidates
            with their numbers, and those seen in this round with the number of a
            related candidate.
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
        self._taken = set(keys)  # keys and functions of candidates and members
        self._before: dict[str, Refused] = {}  # by key
        self._idle = 0  # refusals since a child was accepted
        self._proposed = 0
        self._in_vain = 0  # refused proposals
        self._answered = False

    @property
    def is_used_up(self) -> bool:
        """True if children were requested, but none of them was new."""
        new = any(isinstance(member, NewCandidate) for member in self.members)
        in_vain = len(self.refused) > self._in_vain
        return not new and (in_vain or not self.members)

    def take(self, asked: Sequence[int | Child]) -> bool:
        """Add the members that a strategy asks for.

        Returns:
            Whether the strategy should be asked again, to replace the children that
            were refused.

        Raises:
            RunError: R038, if it asks for something that can't be scored.
        """
        if not self._answered:
            # The first answer sets the size of the round.
            self.size = self._proposed + min(self.size, len(set(asked)))
            self._answered = True
        refused = len(self.refused)
        for each in asked:
            if len(self.members) >= self.size:
                return False
            if isinstance(each, int):
                there = each in self._numbers
                _require(there, f"candidate {each}, which does not exist")
                if each not in self.members:
                    self.members.append(each)
            else:
                self._child(each)
        again = len(self.refused) > refused and len(self.members) < self.size
        return again and self._idle < _PATIENCE

    def propose(self, child: Child) -> tuple[int | None, Refused | None]:
        """Add a proposed program, before the strategy is asked.

        Returns:
            Its place among the members, or its refusal.
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
            message = f"a child of candidate {parent}, which does not exist"
            _require(parent in self._numbers, message)
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
        """Return the refusal of a child, or None if it may be trained."""
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
            # Faults of the start model and of parents are taken as intended.
            meant = {*self.start.faults}
            for parent in child.parents:
                meant |= self.genome(parent).faults.keys()
            for program in sorted(faults.keys() - meant):
                return refused(FAULT, None, faults[program])
        if genome.function in self._taken:
            return refused(EQUAL, genome.function)
        for feature in self._banned(child) if bans else ():
            return refused(FAULT, None, f"`{feature}` is banned")
        over = self.over(genome)  # last, because it may need a measurement
        if over is not None:
            return refused(FAULT, None, over)
        return None

    def _banned(self, child: Child) -> list[str]:
        """Return the banned features of a child that none of its parents has."""
        banned = {each for each, times in self.space.draws.items() if times == 0}
        banned &= child.genome.features
        for parent in child.parents if banned else ():
            banned -= self.genome(parent).features
        return sorted(banned)


def _require(met: bool, what: str) -> None:
    if not met:
        message = f"the strategy asked for something that can't be scored: {what}"
        raise RunError("R038", message)
