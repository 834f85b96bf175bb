"""Runs: begun, gone on with, and read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from azc.check.choose import choose_space
from azc.check.flatten import self_contained
from azc.check.program import Program, SpaceSpec
from azc.check.spaces import membership
from azc.diagnostics import DiagnosticError
from azc.search.events import Closed, Event, Fitted, Opened, Scored, Warming
from azc.search.folder import RunFolder, write_text
from azc.search.genome import Genome
from azc.search.journal import Candidate, Evaluation, Fit
from azc.search.options import EvolveOptions

__all__ = ["RunView", "evolve", "read_run", "resume"]

OnEvent = Callable[[Event], None]


def _version() -> str:
    try:
        return version("azc-lang")
    except PackageNotFoundError:
        return "unknown"


@dataclass(frozen=True)
class RunView:
    """What a run holds: read without its lock, also while it is at work.

    `candidates` by id, the first is the start. `winner` is the best candidate of the
    last round, None before any was scored.
    """

    folder: Path
    space: str
    model: str
    options: EvolveOptions
    candidates: Mapping[int, Candidate]
    evaluations: tuple[Evaluation, ...]
    rounds: tuple[tuple[int, bool], ...]
    fits: tuple[Fit, ...]
    winner: int | None

    @property
    def spent(self) -> int:
        """Evaluations that count."""
        return sum(e.status != "asked" for e in self.evaluations)

    @property
    def start(self) -> Candidate | None:
        """The program that evolution began with."""
        return self.candidates.get(1)

    @property
    def best(self) -> Candidate | None:
        """The winner's program."""
        return None if self.winner is None else self.candidates[self.winner]

    def lineage(self, candidate: int) -> list[Candidate]:
        """From the start to a candidate, parent by parent."""
        found = []
        number: int | None = candidate
        while number is not None:
            found.append(self.candidates[number])
            number = self.candidates[number].parent
        return found[::-1]

    def ranking(self) -> list[Evaluation]:
        """The last round with a score, best first: scores compare within a round only."""
        for number, _ in reversed(self.rounds):
            done = [
                e for e in self.evaluations if e.round == number and e.score is not None
            ]
            if done:
                return sorted(done, key=lambda e: (e.score, e.candidate))
        return []

    def losses(self, role: str) -> tuple[float, ...]:
        """Test losses (nats) of the winner or the start trained alone, by seed."""
        return tuple(f.loss for f in self.fits if f.role == role and f.loss is not None)

    @property
    def gain(self) -> float | None:
        """How much lower the winner's mean test loss is than the start's, in nats."""
        winner, start = self.losses("winner"), self.losses("start")
        if not winner or not start:
            return None
        return sum(start) / len(start) - sum(winner) / len(winner)

    @property
    def is_better(self) -> bool:
        """Whether the gain is larger than the seeds of either differ by."""
        gain = self.gain
        if gain is None:
            return False
        spreads = [max(x) - min(x) for x in map(self.losses, ("winner", "start"))]
        return gain > max(spreads)


def evolve(
    program: Program,
    space: str | None,
    options: EvolveOptions,
    folder: Path,
    *,
    cache: Path,
    on_event: OnEvent | None = None,
) -> RunView:
    """Begins a run in a new folder and works until its budget is spent.

    Raises `UsageError` for a folder in use, `RunError` for data that can't be had,
    `DiagnosticError` for a space whose start does not lie in it.
    """
    name, spec = choose_space(program, space)
    text = self_contained(program, _local_name(program, spec), name)
    run = RunFolder(folder)
    lock = run.lock()
    try:
        config = {
            "azc": _version(),
            "program": text,
            "space": name,
            "options": options.as_json(),
        }
        run.create(config)
        return _work(run, cache, on_event)
    finally:
        lock.release()


def _local_name(program: Program, space: SpaceSpec) -> str:
    """What the file calls the model that a space starts from."""
    for name, model in program.models.items():
        if model is space.start:
            return name
    return space.start.name


def resume(folder: Path, *, cache: Path, on_event: OnEvent | None = None) -> RunView:
    """Goes on with a run where it stopped; one that is over is only read.

    Raises `RunError` for a folder that is no run, of another format or in use, or whose
    data has changed.
    """
    run = RunFolder(folder)
    run.read()
    lock = run.lock()
    try:
        return _work(run, cache, on_event)
    finally:
        lock.release()


def read_run(folder: Path) -> RunView:
    """What a run holds. Raises `RunError` for a folder that is no run."""
    run = RunFolder(folder)
    config = run.read()
    program = run.program(config)
    name, space = choose_space(program, config["space"])
    options = run.options(config)
    view: dict[str, Any] = {
        "candidates": {},
        "evaluations": (),
        "rounds": (),
        "fits": (),
        "winner": None,
    }
    if run.journal_file.exists():
        journal = run.journal()
        try:
            view["candidates"] = journal.candidates()
            view["evaluations"] = tuple(journal.evaluations())
            view["rounds"] = tuple(journal.rounds())
            view["fits"] = tuple(journal.fits())
        finally:
            journal.close()
    found = RunView(folder, name, _local_name(program, space), options, **view)
    ranking = found.ranking()
    if not ranking:
        return found
    view["winner"] = ranking[0].candidate
    return RunView(folder, name, found.model, options, **view)


def _work(run: RunFolder, cache: Path, on_event: OnEvent | None) -> RunView:
    """Runs the loop in a folder whose lock is held."""
    from azc.search.loop import Loop
    from azc.search.mutate import Rates
    from azc.search.score import Bench, Scorer
    from azc.search.strategies.opnas import OpNas

    config = run.read()
    options = run.options(config)
    program = run.program(config)
    _, space = choose_space(program, config["space"])
    faults = membership(space.start, space)
    if faults:
        raise DiagnosticError(faults)
    model = _local_name(program, space)
    start = Genome.from_text(self_contained(program, model), model)
    start_file = run.path / "start.azg"
    if not start_file.exists():
        write_text(start_file, start.text)
    log = _Log(run.log_file)
    journal = run.journal()
    executor = None
    try:
        fingerprint = _fingerprint(run)
        bench = Bench(options, space.start.vocab, cache, fingerprint)
        scorer = Scorer(bench)
        if fingerprint is None:
            write_text(run.path / "data.sha256", scorer.fingerprint + "\n")
        executor = _executor(bench, scorer)
        loop = Loop(
            folder=run,
            journal=journal,
            options=options,
            start=start,
            space=space,
            strategy=OpNas(
                start,
                space,
                parents=options.parents,
                alpha=options.alpha,
                rates=Rates(options.inter_rate, options.intra_rate),
            ),
            scorer=scorer,
            executor=executor,
            tell=lambda event: _tell(event, log, on_event),
        )
        loop.run()
        log.line("done")
    except BaseException as error:
        with suppress(OSError):
            log.line(f"stopped: {type(error).__name__}: {error}")
        raise
    finally:
        if executor is not None:
            executor.close()
        journal.close()
        log.close()
    return read_run(run.path)


def _executor(bench: Any, scorer: Any) -> Any:
    from azc.search.executors.pool import PoolExecutor
    from azc.search.executors.serial import SerialExecutor

    workers = bench.options.workers
    return SerialExecutor(scorer) if workers == 1 else PoolExecutor(bench, workers)


def _fingerprint(run: RunFolder) -> str | None:
    """The fingerprint of the text that the run began with."""
    try:
        return (run.path / "data.sha256").read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None


class _Log:
    """`log.txt`: a line with a time for whatever happened, by Python's logging."""

    def __init__(self, path: Path) -> None:
        self._logger = logging.Logger(f"azc.run.{path}")
        self._handler = logging.FileHandler(path, encoding="utf-8")
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        self._logger.addHandler(self._handler)

    def line(self, text: str) -> None:
        """Writes one line."""
        self._logger.info(" ".join(text.split()))

    def close(self) -> None:
        """Closes the file."""
        self._handler.close()


def _tell(event: Event, log: _Log, on_event: OnEvent | None) -> None:
    log.line(_words(event))
    if on_event is not None:
        on_event(event)


def _words(event: Event) -> str:
    if isinstance(event, Warming):
        return f"warm-up {event.step}/{event.steps}"
    if isinstance(event, Opened):
        return f"round {event.round}: {event.size} candidates"
    if isinstance(event, Scored):
        found = event.reason if event.score is None else f"{event.score:.4f}"
        return f"round {event.round} candidate {event.candidate}: {found}"
    if isinstance(event, Closed):
        return f"round {event.round} over: best {event.best} at {event.score}"
    assert isinstance(event, Fitted)
    found = event.reason if event.loss is None else f"{event.loss:.4f}"
    return f"{event.role} alone, seed {event.seed}: {found}"
