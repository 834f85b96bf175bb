"""Runs: begun, continued and read.

Codes: R031 a file of a run was changed or damaged; R042 a file of the run cannot be
written; U022 the budget is out of range, or below the evaluations already spent; U023
the sequences are too long for the model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from azc.check.choose import choose_space, choose_start
from azc.check.flatten import self_contained
from azc.check.program import ModelSpec, Program, SpaceSpec
from azc.check.spaces import membership
from azc.data.load import DataSpec
from azc.data.progress import silent
from azc.diagnostics import DiagnosticError, RunError, UsageError
from azc.files import open_to_append
from azc.search.acts import BUDGET, GO_ON, NewAct, budget_after, is_paused
from azc.search.events import (
    Acted,
    Closed,
    Comparing,
    Ended,
    Event,
    Fitted,
    Opened,
    Paused,
    Progress,
    Read,
    Retried,
    Scored,
    Skipped,
    Warming,
)
from azc.search.folder import RunFolder
from azc.search.genome import Genome
from azc.search.journal import Journal
from azc.search.objectives import costs, first_score, over_limits, start_over_limit
from azc.search.options import MOST_EVALUATIONS, EvolveOptions
from azc.search.strategies.base import MakeStrategy
from azc.search.strategies.choose import choose_strategy, strategy_text
from azc.search.strategies.own import own_file, read_own
from azc.search.view import RunView, read_run

if TYPE_CHECKING:
    from azc.search.score import Scorer

__all__ = ["RunView", "evolve", "read_run", "resume"]

OnEvent = Callable[[Event], None]

_RESUME = "azc resume"  # the author of what it does to a run


def _version() -> str:
    try:
        return version("azc-lang")
    except PackageNotFoundError:
        return "unknown"


def evolve(
    program: Program,
    space: str | None,
    options: EvolveOptions,
    folder: Path,
    *,
    cache: Path,
    on_event: OnEvent | None = None,
    strategy: MakeStrategy | None = None,
) -> RunView:
    """Begins a run in a new folder and works until its budget is spent, or until the
    strategy has nothing new to ask for.

    All that can be wrong is looked at before anything is written. `strategy` stands in
    for the one that the options name. Raises `UsageError` for a folder that is taken, a
    strategy that is none or options that don't fit the model, `RunError` for data or a
    device that can't be had or an error in a strategy's file, `DiagnosticError` for a
    start that is not in its space.
    """
    from azc.search.executors.choose import check_executor
    from azc.search.score import Bench, Scorer

    name, spec = choose_space(program, space)
    faults = membership(spec.start, spec)
    if faults:
        raise DiagnosticError(faults)
    _check_length(options, spec.start)
    _check_limits(options, spec.start)
    text = self_contained(program, choose_start(program, name)[0], name)
    run = RunFolder(folder)
    run.check_free()
    options = _settled(options)
    own = None if strategy else strategy_text(options.strategy)
    strategy = strategy or choose_strategy(options.strategy, own)
    strategy(*_start(program, name), options)
    check_executor(options)
    start = spec.start
    bench = Bench(options, start.vocab, cache, None, start.causal)
    scorer = Scorer(bench, tell=on_event or silent)
    with _files_told(folder), run.lock():
        config = {
            "azc": _version(),
            "program": text,
            "space": name,
            "options": options.as_json(),
            "fingerprint": scorer.fingerprint,
            "bytes_per_token": scorer.data.bytes_per_token,
            "text": scorer.data.summary and scorer.data.summary.as_json(),
            "strategy": own,
        }
        run.create(config)
        return _work(run, scorer, strategy, on_event, None)


def resume(
    folder: Path,
    *,
    cache: Path,
    evaluations: int | None = None,
    executor: str | None = None,
    workers: int | None = None,
    on_event: OnEvent | None = None,
    strategy: MakeStrategy | None = None,
) -> RunView:
    """Continues a run where it stopped; one that is over is only read.

    With `evaluations`, from here on the run has this budget: it comes to what it would
    have come to with that from its beginning. `executor` and `workers` say where it goes
    on this time, which changes nothing of what it comes to. Raises `UsageError` U022 for
    less than it has spent, `RunError` for a folder that is not a run, of another format
    or in use, or whose files or data have changed.
    """
    from azc.search.executors.choose import check_executor
    from azc.search.score import Bench, Scorer

    run = RunFolder(folder)
    config = run.read()
    view = read_run(folder)
    run.check_programs(view.candidates)
    if evaluations is not None and evaluations < max(1, view.spent):
        raise UsageError(
            "U022",
            f"a budget of {evaluations:,} is too small: {view.spent:,} evaluations of"
            f" {folder} are spent",
        )
    if evaluations is not None and evaluations > MOST_EVALUATIONS:
        most = f"it may have {MOST_EVALUATIONS:,} at most"
        raise UsageError("U022", f"a budget of {evaluations:,} is too large: {most}")
    same_budget = evaluations in (None, view.options.evaluations)
    if view.is_over and same_budget and _best_is_written(run, view):
        return view
    if strategy is None:
        own = config.get("strategy")
        _check_own(view.options.strategy, own)
        strategy = choose_strategy(view.options.strategy, own)
    _, spec = run.space(config)
    options = run.options(config)
    options = replace(
        options,
        executor=executor or options.executor,
        workers=workers or options.workers,
    )
    check_executor(options)
    with _files_told(folder), run.lock():
        start, kept = spec.start, config["fingerprint"]
        bench = Bench(options, start.vocab, cache, kept, start.causal)
        scorer = Scorer(bench, tell=on_event or silent)
        return _work(run, scorer, strategy, on_event, evaluations)


def _start(program: Program, name: str) -> tuple[Genome, SpaceSpec]:
    """Return the start model and the search space."""
    model, space = choose_start(program, name)
    return Genome.from_text(self_contained(program, model), model), space


def _best_is_written(run: RunFolder, view: RunView) -> bool:
    """Return whether `best.azg` is the winner; a process may have been killed before it
    was written.
    """
    best = view.best
    with suppress(FileNotFoundError):
        return best is None or run.best_file.read_bytes() == best.program.encode()
    return False


def _check_own(strategy: str, kept: str | None) -> None:
    """Raises `RunError` R031 where the file of a user's strategy is there and is not
    what the run was begun with. A run goes on without it.
    """
    own = own_file(strategy)
    if own is not None and own[0].is_file() and read_own(own[0]) != kept:
        raise RunError(
            "R031",
            f"{own[0]} is not as the run was begun with: its contents have changed",
            "bring that back, or give the changed one another name: the run has a copy"
            " of its own to go on with",
        )


def _check_length(options: EvolveOptions, model: ModelSpec) -> None:
    if model.positions == "learned" and options.length > model.max_length:
        raise UsageError(
            "U023",
            f"sequences of {options.length} tokens are too long for {model.name}: its"
            f" max_length is {model.max_length}",
        )


def _check_limits(options: EvolveOptions, model: ModelSpec) -> None:
    """Check limits that need no measurement. Measured ones are checked once the run has
    started.
    """
    over = over_limits(costs(model, options.length), options.limits)
    if over is not None:
        raise start_over_limit(over)


def _settled(options: EvolveOptions) -> EvolveOptions:
    """With paths that mean the same in every working directory."""

    def settled(name: str) -> str:
        # An empty name is no name: a path it would be this folder's.
        exists = name.strip() and Path(name).exists()
        return str(Path(name).resolve()) if exists else name

    own = own_file(options.strategy)
    strategy = f"{own[0].resolve()}:{own[1]}" if own else options.strategy
    data, tokenizer = DataSpec.parse(options.data), options.tokenizer
    text = data.text
    if text is not None and text.startswith("hf:"):
        text = "hf:" + settled(text.removeprefix("hf:"))
    elif text is not None and text != "python":
        text = settled(text)
    named = str(replace(data, text=text))
    tokenizer = tokenizer and settled(tokenizer)
    return replace(options, data=named, tokenizer=tokenizer, strategy=strategy)


@contextmanager
def _files_told(folder: Path) -> Iterator[None]:
    """Says what to do where a file can't be written: the disk is full, say."""
    try:
        yield
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        help_ = None
        if RunFolder(folder).config_file.is_file():
            help_ = f"once that is mended, azc resume {folder} goes on"
        where = error.filename or folder
        raise RunError("R042", f"{where}: {words}", help_) from error


def _work(
    run: RunFolder,
    scorer: Scorer,
    make: MakeStrategy,
    on_event: OnEvent | None,
    evaluations: int | None,
) -> RunView:
    """Runs the loop in a folder whose lock is held."""
    from azc.search.executors.choose import choose_executor
    from azc.search.loop import Loop

    config = run.read()
    start, space = _start(run.program(config), config["space"])
    options = run.options(config)
    log = _Log(run.log_file)
    journal = run.open()
    bench = replace(scorer.bench, fingerprint=scorer.fingerprint)
    executor = choose_executor(bench, scorer.data)

    def tell(event: Event) -> None:
        log.line(_words(event))
        if on_event is not None:
            on_event(event)

    try:
        log.line(f"azc {_version()} at work")
        journal.check()
        run.check_config(journal)
        begun = journal.budget()
        budget = begun or evaluations or options.evaluations
        options = replace(options, evaluations=budget)
        loop = Loop(
            folder=run,
            journal=journal,
            options=options,
            start=start,
            space=space,
            make=make,
            executor=executor,
            tell=tell,
        )
        if begun:
            loop.check()  # a run that can't go on keeps its budget
            _goes_on(journal, evaluations)
        if scorer.data.summary is not None:
            tell(Read(scorer.data.summary))
        loop.run()
        log.line("done")
    except BaseException as error:
        with suppress(OSError):
            log.line(f"stopped: {type(error).__name__}: {error}")
        raise
    finally:
        executor.close()
        journal.close()
        log.close()
    return read_run(run.path)


def _goes_on(journal: Journal, evaluations: int | None) -> None:
    """Whoever continues a run does not want it paused."""
    acts = journal.acts()
    if is_paused(acts):
        journal.act(NewAct(GO_ON, {}, _RESUME))
    if evaluations not in (None, budget_after(acts, journal.budget())):
        journal.act(NewAct(BUDGET, {"evaluations": evaluations}, _RESUME))


class _Log:
    """`log.txt`: a line with a time for whatever happened."""

    def __init__(self, path: Path) -> None:
        # Without a buffer: a line that a full disk refuses is not tried again.
        self._path = path
        self._file = open_to_append(path)

    def line(self, text: str) -> None:
        """Writes one line. Raises `OSError`."""
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        try:
            self._file.write(f"{now} {' '.join(text.split())}\n".encode())
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _words(event: Event) -> str:
    match event:
        case Progress(stage):
            return stage
        case Read(text):
            return "; ".join(text.sentences())
        case Warming(step, steps, reason):
            failed = f": a path failed: {reason}" if reason else ""
            return f"warm-up {step}/{steps}{failed}"
        case Skipped(number, words):
            return f"round {number + 1}: {words}"
        case Opened():
            return f"round {event.round + 1}: {event.size} candidates"
        case Scored():
            found = event.reason if event.score is None else f"{event.score:.4f}"
            return f"round {event.round + 1} candidate {event.candidate:04}: {found}"
        case Retried(name, reason):
            return f"{name} is run again: {reason}"
        case Closed(number, best, scores):
            score = first_score(scores)
            found = f"best {best:04} at {score:.4f}" if best else "every one failed"
            return f"round {number + 1} is over: {found}"
        case Ended(reason, spent, budget):
            return f"the search is over after {spent} of {budget} evaluations: {reason}"
        case Comparing():
            return f"each alone: {event.done}/{event.total}"
        case Acted(words, reason):
            return words if reason is None else f"{words}: not done, because {reason}"
        case Paused():
            return "paused"
        case Fitted():
            found = event.reason if event.loss is None else f"{event.loss:.4f}"
            return f"{event.name}, {event.steps} steps, seed {event.seed}: {found}"
