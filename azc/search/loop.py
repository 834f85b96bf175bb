"""The main loop of a run: ask, evaluate, tell; then the final comparison.

Every step can be interrupted and repeated: results are in the journal, or in a file
whose fingerprint is there, and a step depends only on these and on the seed. The loop
owns the budget, and does not know how a strategy searches.

Codes: R031 a file of a run was changed or damaged.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from azc.check.program import SpaceSpec
from azc.diagnostics import RunError
from azc.files import write_text
from azc.search.acts import (
    DRAW,
    LIMIT,
    PROPOSE,
    Act,
    Limits,
    Taken,
    draws,
    limits_after,
)
from azc.search.admission import Admission, proposed
from azc.search.barred import Barred
from azc.search.costing import Costing
from azc.search.events import (
    Acted,
    Closed,
    Ended,
    Event,
    Noisy,
    Opened,
    Scored,
    Skipped,
)
from azc.search.executors.base import Executor
from azc.search.finals import Finals
from azc.search.folder import RunFolder, fingerprint
from azc.search.genome import Genome
from azc.search.heeding import Heeding
from azc.search.journal import Journal
from azc.search.noise import Repeats
from azc.search.objectives import Scores, start_over_limit
from azc.search.options import EvolveOptions, derived
from azc.search.ranking import deciding, leading, winner
from azc.search.records import Candidate, Evaluation, NewCandidate, ranked
from azc.search.refused import Refused, refused_reason, refused_words
from azc.search.score import Job, Outcome
from azc.search.shared import FreshWeights, SharedWeights, Weights
from azc.search.strategies.base import MakeStrategy, Strategy
from azc.search.strategies.base import Scored as Told
from azc.search.trials import Trials

__all__ = ["Loop"]


@dataclass
class Loop:
    """The loop of a run in its folder, whose lock is held."""

    folder: RunFolder
    journal: Journal
    options: EvolveOptions
    start: Genome
    space: SpaceSpec
    make: MakeStrategy
    executor: Executor
    tell: Callable[[Event], None]

    def check(self) -> None:
        """Raise `RunError` if the weights of a run that has started were changed or are
        missing.
        """
        number, _ = self._place()
        self.weights.check(number)

    def run(self) -> None:
        """Do everything that is left to do."""
        self._begin()
        candidates = self.journal.candidates()
        self.folder.check_programs(candidates)
        self.folder.write_candidates(candidates)
        number, _ = self._place()
        self.acts.heed(number)
        taken = [act for act in self.journal.acts() if act.round is not None]
        self._limit(limits_after(taken, self.options.limits))
        self._steer(draws(taken))
        over = self.costing.over(self.start)
        if over is not None:
            raise start_over_limit(over)
        self.folder.clean()
        self.folder.sweep(number)
        self.weights.warm_up()
        done = False
        while not done:
            while self._step():
                pass
            waiting = self.acts.waiting()
            # Actions that were requested in the meantime come first.
            done = self._compare() and self.acts.waiting() <= waiting

    def _step(self) -> bool:
        """Take one step of the search; return whether there may be another one."""
        number, is_open = self._place()
        self.acts.heed(number)
        if not is_open:
            if number and self.options.is_fresh:
                self._warn_of_noise()
            return self._left() > 0 and self._open(number)
        if not self._waiting(number):
            self._close(number)
            return True
        if self._left() <= 0:
            return False  # the round stays open for a larger budget
        self._score(number)
        return True

    @cached_property
    def weights(self) -> Weights:
        """The initial weights of candidates."""
        if self.options.is_fresh:
            return FreshWeights(self.options, self.start.model)
        return SharedWeights(
            self.folder,
            self.journal,
            self.options,
            self.start,
            self.space,
            self.trials,
            self.tell,
            self._listen,
        )

    @cached_property
    def trials(self) -> Trials:
        """The executor, with retries that tell faults of the machine from those of
        programs.
        """
        where, how = self.folder.path, self.options
        return Trials(self.executor, self.start.text, where, how, self.tell)

    @property
    def costing(self) -> Costing:
        """The costs that objectives and limits need in addition to the loss."""
        return Costing(self.journal, self.options, self.trials, self._genome)

    def _begin(self) -> None:
        """Store the start model as the first candidate of the run."""
        if self.journal.budget():
            return
        genome = self.start
        start = NewCandidate(genome.text, (), "the start", genome.key, genome.function)
        config = self.folder.config_file
        files = {config.name: fingerprint(config)}
        self.journal.begin(start, self.options.evaluations, files)

    def _steer(self, times: dict[str, float]) -> None:
        """Create the strategy with these factors for features, and restore its
        state.
        """
        self.steered = replace(self.space, draws=times)
        self.strategy: Strategy = self.make(self.start, self.steered, self.options)
        state = self.journal.state()
        if state is None:
            return
        try:
            self.strategy.restore(state, self._genome)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            message = f"{self.journal.path} has the state of another strategy"
            raise RunError("R031", message) from error

    def _limit(self, limits: Limits) -> None:
        """Set the limits on candidates from now on."""
        self.options = replace(self.options, limits=limits)

    def _genome(self, candidate: int) -> Genome:
        program = self.journal.candidate(candidate).program
        return Genome.from_text(program, self.start.model)

    def _place(self) -> tuple[int, bool]:
        """Return the round to work on, and whether it is open."""
        last = self.journal.last_round()
        if last is None:
            return 0, False
        number, closed = last
        return (number + 1, False) if closed else (number, True)

    def _left(self) -> int:
        return self.options.evaluations - self.journal.spent()

    # Acts

    @cached_property
    def acts(self) -> Heeding:
        """The actions that people and agents apply to the run."""
        return Heeding(self.journal, self.tell, self._spend, self.options.is_fresh)

    def _spend(self, evaluations: int) -> None:
        self.options = replace(self.options, evaluations=evaluations)

    def _listen(self) -> bool:
        """Apply actions between rounds, see `Heeding.heed`."""
        return self.acts.heed(self._place()[0])

    # Ask

    def _open(self, number: int) -> bool:
        """Open a round; return whether there was anything to score.

        A round is always requested as a whole, even if the budget ends earlier, so that
        a run with a larger budget makes the same requests.
        """
        rng = random.Random(derived(self.options.seed, "round", number))
        size = self.options.round_size
        keys = self.journal.keys()
        waiting = self.journal.acts(waiting=True)
        times = draws([a for a in self.journal.acts() if a.kind == DRAW])
        if times != self.steered.draws:
            self._steer(times)
        taken = [self._take_limit(act) for act in waiting if act.kind == LIMIT]
        taken += [Taken(act.id) for act in waiting if act.kind == DRAW]
        admission = Admission(
            self.start, self.steered, size, keys, self._genome, self.costing.over
        )
        proposals = [act for act in waiting if act.kind == PROPOSE]
        taken += [self._propose(act, admission) for act in proposals[:size]]
        while True:
            asked = self.strategy.ask(size, rng, admission.known)
            if not admission.take(asked):
                break
        refused = admission.refused
        if admission.is_used_up or self._is_known(admission.members):
            self._end(number, refused, taken)
            return False
        state = self.strategy.state()
        self.journal.open_round(number, admission.members, state, refused, taken)
        self._taken(waiting, taken)
        self.folder.write_candidates(self.journal.candidates(number))
        self._skipped(number, refused)
        return True

    def _is_known(self, members: Sequence[int | NewCandidate]) -> bool:
        """Return whether a round would train nothing. Such rounds could repeat
        forever.
        """
        again = [member for member in members if isinstance(member, int)]
        if not self.options.is_fresh or len(again) < len(members):
            return False
        return len(self.journal.known(again)) == len(again)

    def _skipped(self, number: int, refused: Sequence[Refused]) -> None:
        if refused:
            self.tell(Skipped(number, refused_words(refused)))

    def _take_limit(self, act: Act) -> Taken:
        """Set a limit, unless the start model exceeds it, which may need a
        measurement.
        """
        before = self.options.limits
        self._limit(limits_after([act], before))
        over = self.costing.over(self.start)
        if over is None:
            return Taken(act.id)
        self._limit(before)
        return Taken(act.id, reason=f"the start model exceeds it: {over}")

    def _propose(self, act: Act, admission: Admission) -> Taken:
        place, refused = admission.propose(proposed(act, self.start.model))
        return Taken(act.id, place, refused_reason(refused) if refused else None)

    def _taken(self, waiting: Sequence[Act], taken: Sequence[Taken]) -> None:
        reasons = {each.act: each.reason for each in taken}
        for act in waiting:
            if act.id in reasons:
                self.tell(Acted(act.words, reasons[act.id]))

    def _end(
        self, number: int, refused: Sequence[Refused], taken: Sequence[Taken]
    ) -> None:
        reason = "nothing new was found in the space"
        if 0 in self.steered.draws.values():
            reason += " without what is banned"
        self.journal.end(reason, number, refused, taken)
        self._skipped(number, refused)
        spent, budget = self.journal.spent(), self.options.evaluations
        self.tell(Ended(reason, spent, budget))

    # Evaluate

    def _score(self, number: int) -> None:
        """Score the remaining candidates of a round, as far as the budget allows."""
        candidates = self.journal.candidates(number)
        waiting = self._waiting(number)
        budget, left = self.options.evaluations, self._left()
        known = self.journal.known(waiting) if self.options.is_fresh else {}
        new = [candidate for candidate in waiting if candidate not in known]
        size = len(candidates) - len(new[left:])
        display = self.strategy.display()
        names = self.options.objectives
        self.tell(Opened(number, size, budget - left, budget, display, names))
        over = self._over([*known, *new[:left]])
        for candidate, why in over.items():
            seconds = None if candidate in known else 0.0
            self._record(number, candidates[candidate], Outcome(None, why, seconds))
        for candidate, scores in known.items():
            if candidate not in over:  # the result would be the same
                outcome = Outcome(scores, None, None)
                self._record(number, candidates[candidate], outcome)
        jobs = [
            replace(
                self.weights.job(number, candidates[candidate]),
                stop=self.folder.stop_file(candidate),
            )
            for candidate in new[:left]
            if candidate not in over
        ]
        for batch in self.costing.batches(jobs):
            costs: dict[Job, Scores] = {}
            for job in batch:
                found = self.costing.of(job)
                if found.scores is None:
                    self._settle(number, candidates[job.candidate], found)
                else:
                    costs[job] = found.scores
            for job, outcome in self.trials.run(list(costs)):
                scored = self.costing.scored(outcome, costs[job])
                self._settle(number, candidates[job.candidate], scored)

    def _over(self, asked: Sequence[int]) -> dict[int, str]:
        """Return the candidates that exceed a limit that was set after their creation,
        with the reasons.
        """
        if not self.options.limits:
            return {}
        found = {each: self.costing.over(self._genome(each)) for each in asked}
        return {each: why for each, why in found.items() if why is not None}

    def _settle(self, number: int, candidate: Candidate, outcome: Outcome) -> None:
        """Record the outcome of a job, unless the candidate was stopped in the
        meantime.
        """
        self.acts.heed(number)
        if candidate.id in self._waiting(number):
            self._record(number, candidate, outcome)

    def _waiting(self, number: int) -> list[int]:
        """Return the candidates of a round that are not scored yet, in the order of the
        requests.
        """
        evaluations = self.journal.evaluations(number)
        return [e.candidate for e in evaluations if e.status == "asked"]

    def _record(self, number: int, candidate: Candidate, outcome: Outcome) -> None:
        """Store the outcome of a candidate, and report it unless it was already
        known.
        """
        self.journal.record(
            Evaluation(
                number,
                candidate.id,
                "failed" if outcome.scores is None else "done",
                outcome.scores,
                outcome.reason,
                outcome.seconds,
                outcome.weights,
            )
        )
        if outcome.seconds is None and outcome.scores is not None:
            return
        self.tell(
            Scored(
                round=number,
                candidate=candidate.id,
                parents=candidate.parents,
                mutation=candidate.mutation,
                scores=outcome.scores,
                reason=outcome.reason,
                seconds=outcome.seconds or 0.0,
                spent=self.journal.spent(),
                budget=self.options.evaluations,
            )
        )

    # Tell

    def _close(self, number: int) -> None:
        """Close the round, and pass its scores to the strategy."""
        evaluations = self.journal.evaluations(number)
        candidates = self.journal.candidates(number)
        done = ranked(evaluations)
        # The best comes last, so that its weights replace those of the others.
        best = [candidates[e.candidate] for e in done[: self.options.parents]]
        snapshot = self.weights.give_back(number, reversed(best))
        first = leading(done, self.options.objectives)
        if first is not None:
            program = candidates[first.candidate].program
            write_text(self.folder.best_file, program)
        self.strategy.tell([self._told(e, candidates) for e in evaluations])
        self.journal.close_round(number, self.strategy.state(), snapshot)
        self.folder.sweep(number + 1)
        found = (first.candidate, first.scores) if first else (None, None)
        self.tell(Closed(number, *found))

    def _told(
        self, evaluation: Evaluation, candidates: Mapping[int, Candidate]
    ) -> Told:
        candidate = candidates[evaluation.candidate]
        is_new = candidate.round == evaluation.round
        genome = Genome.from_text(candidate.program, self.start.model)
        kinds = candidate.kinds if is_new else ()
        return Told(candidate.id, genome, evaluation.scores, kinds)

    @cached_property
    def repeats(self) -> Repeats:
        """The noise of the scores."""
        return Repeats(self.journal, self.options, self.trials)

    def _warn_of_noise(self) -> None:
        """Warn, once, if the scores differ by no more than seeds do."""
        first = leading(ranked(self.journal.evaluations(0)), self.options.objectives)
        if first is None:
            return
        best = self.journal.candidate(first.candidate)
        found = self.repeats.warning(best, self.weights.job(0, best))
        if found is not None:
            self.tell(Noisy(found))

    # The end

    def _compare(self) -> bool:
        """Select the winner and compare it with other models. Return whether that is
        complete, and was not interrupted by an action.
        """
        journal = self.journal
        finals = Finals(
            self.folder,
            journal,
            self.options,
            self.start,
            self.space,
            self.trials,
            self.tell,
            self.costing.over,
            self._listen,
        )
        if not finals.run():
            return False
        out = Barred(
            journal.acts(), lambda each: self.costing.known_over(self._genome(each))
        )
        evaluations = journal.evaluations()
        ranking = deciding(journal.rounds(), evaluations, self.options, out)
        names = self.options.objectives
        found = winner(journal.table(), journal.entrants(), ranking, names)
        if found is not None:
            write_text(self.folder.best_file, journal.candidate(found).program)
        return True
