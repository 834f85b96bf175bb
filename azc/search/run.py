"""Starting and resuming of runs.

Codes: R031 a file of a run was changed or damaged; R042 a file of the run cannot be
written; U022 the budget is out of range, or below the evaluations already spent; U023
the sequences are too long for the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azc.check.choose import choose_space, choose_start
from azc.check.flatten import self_contained
from azc.check.program import ModelSpec, Program, SpaceSpec
from azc.check.spaces import membership
from azc.data.load import DataSpec
from azc.data.progress import silent
from azc.diagnostics import DiagnosticError, RunError, UsageError
from azc.search.acts import ALLOW, BUDGET, GO_ON, NewAct, budget_after, is_paused
from azc.search.events import Event, Read, Started
from azc.search.folder import RunFolder
from azc.search.genome import Genome
from azc.search.journal import Journal
from azc.search.objectives import costs, over_limits, start_over_limit
from azc.search.options import MOST_EVALUATIONS, EvolveOptions
from azc.search.run_log import RunLog
from azc.search.strategies.base import MakeStrategy
from azc.search.strategies.choose import choose_strategy, strategy_text
from azc.search.strategies.own import own_file, read_own
from azc.search.view import RunView, read_run

if TYPE_CHECKING:
    from azc.search.executors.base import Executor
    from azc.search.score import Bench

__all__ = ["RunView", "evolve", "read_run", "resume"]

OnEvent = Callable[[Event], None]

_RESUME = "azc resume"  # the author of its actions


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
    """Start a run in a new folder, and work until its budget is spent or the strategy
    has nothing new.

    The folder is created and `on_event` is called before PyTorch is imported and the
    data is loaded; a run that is killed after that can be resumed. If there is an error
    in the data or the device, the folder is removed again. `strategy` replaces the one
    that the options name.

    Raises:
        UsageError: If the folder is not empty, the strategy does not exist, or options
            do not fit the model.
        RunError: For unavailable data or devices, or an error in a strategy's file.
        DiagnosticError: If the start model is not in its space.
    """
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
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    with _files_told(folder), run.lock():
        run.create(
            {
                "azc": _version(),
                "program": text,
                "space": name,
                "options": options.as_json(),
                "strategy": own,
            }
        )
        try:
            bench, place = _prepare(run, options, cache, on_event, is_new=True)
        except Exception:
            run.discard(new)
            raise
        return _work(run, bench, place, strategy, on_event)


def resume(
    folder: Path,
    *,
    cache: Path,
    evaluations: int | None = None,
    executor: str | None = None,
    workers: int | None = None,
    allow: Mapping[str, Any] = {},
    on_event: OnEvent | None = None,
    strategy: MakeStrategy | None = None,
) -> RunView:
    """Continue a run where it stopped. A complete run is only read.

    With `evaluations`, the run gets a new budget, and has the same results as a run
    that had it from the beginning. `executor` and `workers` choose where it continues,
    without an effect on the results. `allow` has a new `time_limit` or `memory_limit`.

    Raises:
        UsageError: U022, if the budget is below the evaluations spent; U020 for invalid
            limits.
        RunError: For a folder that is not a run, has another format or is in use, or
            whose files or data have changed.
    """
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
    wanted: dict[str, Any] = {
        "evaluations": evaluations,
        "executor": executor,
        "workers": workers,
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    options = replace(view.options, **given, **allow)
    same_budget = options.evaluations == view.options.evaluations
    if view.is_over and same_budget and _best_is_written(run, view):
        return view
    if strategy is None:
        own = config.get("strategy")
        _check_own(options.strategy, own)
        strategy = choose_strategy(options.strategy, own)
    with _files_told(folder), run.lock():
        bench, place = _prepare(run, options, cache, on_event, is_new=False)
        return _work(run, bench, place, strategy, on_event, evaluations, allow)


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
    """Raise `RunError` R031 if the file of a user's strategy has changed since the run
    started. The file may be missing.
    """
    own = own_file(strategy)
    if own is not None and own[0].is_file() and read_own(own[0]) != kept:
        raise RunError(
            "R031",
            f"{own[0]} has changed since the run started",
            "restore it, or give the changed file another name: the run has its own copy",
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
    """Make paths in the options absolute."""

    def settled(name: str) -> str:
        # An empty name is not a path: it would be the working directory.
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
    """Convert an OSError into an error that says how to continue, for example if the
    disk is full.
    """
    try:
        yield
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        help_ = None
        if RunFolder(folder).config_file.is_file():
            help_ = f"fix that, then continue with azc resume {folder}"
        where = error.filename or folder
        raise RunError("R042", f"{where}: {words}", help_) from error


@contextmanager
def _telling(
    run: RunFolder, on_event: OnEvent | None
) -> Iterator[tuple[RunLog, OnEvent]]:
    """Open the log of a run whose lock is held; yield it and a function that writes an
    event to it before `on_event` is called.
    """
    with closing(RunLog(run.log_file)) as log:

        def tell(event: Event) -> None:
            log.event(event)
            if on_event is not None:
                on_event(event)

        try:
            yield log, tell
        except BaseException as error:
            with suppress(OSError):
                log.line(f"stopped: {type(error).__name__}: {error}")
            raise


def _prepare(
    run: RunFolder,
    options: EvolveOptions,
    cache: Path,
    on_event: OnEvent | None,
    *,
    is_new: bool,
) -> tuple[Bench, Executor]:
    """Import PyTorch, load the data and reach the workers, which takes seconds.

    An event announces it. Facts about the data are stored in the configuration.
    """
    config = run.read()
    _, space = run.space(config)
    start, kept = space.start, config.get("fingerprint")
    with _telling(run, on_event) as (log, tell):
        log.line(f"azc {_version()} at work")
        tell(Started(run.path, options.data, is_new))

        from azc.search.executors.choose import check_executor, choose_executor
        from azc.search.score import Bench, Scorer

        check_executor(options)
        bench = Bench(options, start.vocab, cache, kept, start.causal)
        scorer = Scorer(bench, tell=on_event or silent)
        summary = scorer.data.summary
        if kept is None:
            run.complete(
                fingerprint=scorer.fingerprint,
                bytes_per_token=scorer.data.bytes_per_token,
                text=summary and summary.as_json(),
            )
        if summary is not None:
            tell(Read(summary))
        bench = replace(scorer.bench, fingerprint=scorer.fingerprint)
        return bench, choose_executor(bench, scorer.data)


def _work(
    run: RunFolder,
    bench: Bench,
    executor: Executor,
    make: MakeStrategy,
    on_event: OnEvent | None,
    evaluations: int | None = None,
    allow: Mapping[str, Any] = {},
) -> RunView:
    """Run the loop in a folder whose lock is held, and close the executor."""
    from azc.search.loop import Loop

    config = run.read()
    start, space = _start(run.program(config), config["space"])
    with (
        closing(executor),
        _telling(run, on_event) as (log, tell),
        closing(run.open()) as journal,
    ):
        journal.check()
        run.check_config(journal)
        begun = journal.budget()
        # The loop applies limits that actions have set, round by round.
        options = replace(
            run.options(config),
            evaluations=begun or bench.options.evaluations,
            time_limit=bench.options.time_limit,
            memory_limit=bench.options.memory_limit,
        )
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
        if allow:
            journal.act(NewAct(ALLOW, allow, _RESUME))
        try:
            loop.run()
        finally:
            journal.settle()
        log.line("done")
    return read_run(run.path)


def _goes_on(journal: Journal, evaluations: int | None) -> None:
    """Continue a paused run, and set a new budget."""
    acts = journal.acts()
    if is_paused(acts):
        journal.act(NewAct(GO_ON, {}, _RESUME))
    if evaluations not in (None, budget_after(acts, journal.budget())):
        journal.act(NewAct(BUDGET, {"evaluations": evaluations}, _RESUME))
