"""`azc evolve`: a search.

JSON: see `azc.cli.result.result_json`.

Codes: U105 two arguments name the same thing.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from azc.check.choose import choose_space
from azc.cli.completion import programs, spaces, strategies
from azc.cli.files import load, split_name
from azc.cli.options import Git, Json, Log
from azc.cli.output import out
from azc.cli.working import branch_of, cache_folder, show_run
from azc.diagnostics import UsageError

__all__ = ["evolve"]

_SEARCH = "The search"
_PROXY = "What a candidate is scored by"
_FINAL = "The comparison at the end"


def evolve(
    context: typer.Context,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A program with a space; FILE:SPACE names it.",
            autocompletion=programs,
        ),
    ],
    folder: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="RUN", help="The folder of the run."),
    ],
    space: Annotated[
        str | None,
        typer.Option(
            "--space",
            metavar="NAME",
            help="The space to search.",
            autocompletion=spaces,
        ),
    ] = None,
    data: Annotated[
        str,
        typer.Option(
            "--data",
            metavar="D",
            help="A text: `python` (docstrings of the standard library), a file, a "
            "folder of texts and tables, or hf:NAME/CONFIG; a task: task:recall, task:copy, "
            "task:induction or task:listops; or both: python+task:recall.",
        ),
    ] = "python",
    documents: Annotated[
        str,
        typer.Option(
            "--documents",
            metavar="D",
            help="Divide text files into documents by `paragraph` (at blank lines), `line` or"
            " `file`. A row of a table is a document.",
        ),
    ] = "paragraph",
    tokenizer: Annotated[
        str | None,
        typer.Option(
            "--tokenizer",
            metavar="DIR_OR_NAME",
            help="A transformers tokenizer; by default, one is trained on the text.",
        ),
    ] = None,
    evaluations: Annotated[
        int,
        typer.Option(
            "--evaluations",
            metavar="N",
            min=1,
            help="The budget: how many candidates are scored.",
            rich_help_panel=_SEARCH,
        ),
    ] = 60,
    objectives: Annotated[
        list[str] | None,
        typer.Option(
            "--objective",
            metavar="NAME",
            help="What is to be least: loss (the default), params, flops, latency, "
            "memory, timed-loss (see --seconds-alone); give it again for several.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    limits: Annotated[
        list[str] | None,
        typer.Option(
            "--limit",
            metavar="NAME=N",
            help="What is beyond it is not trained: params=30e6, flops=2e6 (a token), "
            "latency=2ms (a batch forward), memory=64MB (in a training step).",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    seconds_alone: Annotated[
        float,
        typer.Option(
            "--seconds-alone",
            metavar="SECONDS",
            help="How long a candidate is trained alone for timed-loss.",
            rich_help_panel=_PROXY,
        ),
    ] = 60.0,
    strategy: Annotated[
        str,
        typer.Option(
            "--strategy",
            metavar="NAME",
            help="`op-nas`, `regularized`, `random`, `local`, `nsga2` (where there are "
            "several objectives the default), `sepx`, `surrogate`, or a class of your "
            "own, `my.py:Mine`.",
            rich_help_panel=_SEARCH,
            autocompletion=strategies,
        ),
    ] = "op-nas",
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="NAME",
            help="`paper`: the constants of Gao et al. 2022, but for what is given.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            metavar="S",
            min=0,
            help="Seed of everything that is random.",
            rich_help_panel=_SEARCH,
        ),
    ] = 0,
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            metavar="N",
            min=1,
            help="Processes that score candidates in parallel; the run is the same.",
            rich_help_panel=_SEARCH,
        ),
    ] = 1,
    threads: Annotated[
        int,
        typer.Option(
            "--threads",
            metavar="N",
            min=1,
            help="Cores that compute a candidate. Scores depend on it in their last bits.",
            rich_help_panel=_SEARCH,
        ),
    ] = 1,
    executor: Annotated[
        str,
        typer.Option(
            "--executor",
            metavar="NAME",
            help="Where the workers are: `local`, or `ray`, on a cluster (an extra).",
            rich_help_panel=_SEARCH,
        ),
    ] = "local",
    time_limit: Annotated[
        str,
        typer.Option(
            "--time-limit",
            metavar="TIME",
            help="What a candidate may take, as 90s, 30min or 2h. One that takes longer is "
            "run again, then fails.",
            rich_help_panel=_SEARCH,
        ),
    ] = "30min",
    memory_limit: Annotated[
        str | None,
        typer.Option(
            "--memory-limit",
            metavar="SIZE",
            help="What a candidate may take of this machine's memory, as 4GB or 512MiB.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    round_size: Annotated[
        int,
        typer.Option(
            "--round",
            metavar="N",
            min=2,
            help="Candidates asked for at once; they share a snapshot of shared weights.",
            rich_help_panel=_SEARCH,
        ),
    ] = 12,
    parents: Annotated[
        int,
        typer.Option(
            "--parents",
            metavar="K",
            min=1,
            help="The best of a round, scored again in the next; op-nas's parents.",
            rich_help_panel=_SEARCH,
        ),
    ] = 3,
    by_hand: Annotated[
        bool,
        typer.Option(
            "--by-hand/--no-by-hand",
            help="Begin with the models that a person would try first (op-nas, regularized, "
            "local, random).",
            rich_help_panel=_SEARCH,
        ),
    ] = True,
    mutations: Annotated[
        int | None,
        typer.Option(
            "--mutations",
            metavar="N",
            min=1,
            help="A child is 1 to N mutations from its parent: 1, and 8 for random.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    alpha: Annotated[
        float,
        typer.Option(
            "--alpha",
            metavar="A",
            min=0,
            help="How strongly op-nas favours operations that were rarely tried.",
            rich_help_panel=_SEARCH,
        ),
    ] = 0.5,
    temperature: Annotated[
        float,
        typer.Option(
            "--temperature",
            metavar="T",
            help="Of op-nas's priorities: the lower, the more they matter.",
            rich_help_panel=_SEARCH,
        ),
    ] = 1.0,
    patience: Annotated[
        int,
        typer.Option(
            "--patience",
            metavar="N",
            min=0,
            help="Rounds with nothing better, then op-nas begins anew; 0: never.",
            rich_help_panel=_SEARCH,
        ),
    ] = 8,
    learn_kinds: Annotated[
        bool,
        typer.Option(
            "--learn-kinds/--no-learn-kinds",
            help="op-nas draws kinds of mutation by what they have brought, too.",
            rich_help_panel=_SEARCH,
        ),
    ] = True,
    inter_rate: Annotated[
        float,
        typer.Option(
            "--inter-rate",
            metavar="P",
            min=0,
            max=1,
            help="Probability that a mutation changes the layers.",
            rich_help_panel=_SEARCH,
        ),
    ] = 0.7,
    intra_rate: Annotated[
        float,
        typer.Option(
            "--intra-rate",
            metavar="P",
            min=0,
            max=1,
            help="Probability that a mutation changes an attention program; it may do both.",
            rich_help_panel=_SEARCH,
        ),
    ] = 0.7,
    population: Annotated[
        int,
        typer.Option(
            "--population",
            metavar="N",
            min=1,
            help="How many live in regularized.",
            rich_help_panel=_SEARCH,
        ),
    ] = 24,
    tournament: Annotated[
        int,
        typer.Option(
            "--tournament",
            metavar="N",
            min=1,
            help="How many are drawn for a parent in regularized.",
            rich_help_panel=_SEARCH,
        ),
    ] = 6,
    weights: Annotated[
        str,
        typer.Option(
            "--weights",
            metavar="W",
            help="`shared`: candidates begin with weights that they share; `fresh`: each is "
            "trained alone from the same seed, which takes more steps.",
            rich_help_panel=_PROXY,
        ),
    ] = "shared",
    warm_up: Annotated[
        int,
        typer.Option(
            "--warm-up",
            metavar="N",
            min=0,
            help="Training steps of shared weights before the search.",
            rich_help_panel=_PROXY,
        ),
    ] = 1600,
    steps: Annotated[
        int,
        typer.Option(
            "--steps",
            metavar="N",
            min=1,
            help="Training steps before a candidate is scored.",
            rich_help_panel=_PROXY,
        ),
    ] = 20,
    schedule_steps: Annotated[
        int | None,
        typer.Option(
            "--schedule-steps",
            metavar="N",
            min=1,
            help="They are the first of a schedule of N, as the winner's long training.",
            rich_help_panel=_PROXY,
        ),
    ] = None,
    score_seeds: Annotated[
        int,
        typer.Option(
            "--score-seeds",
            metavar="N",
            min=1,
            help="A score is the mean of N trainings from fresh weights, each from another "
            "seed; so is the choice among the contenders.",
            rich_help_panel=_PROXY,
        ),
    ] = 1,
    batch_size: Annotated[
        int,
        typer.Option(
            "--batch",
            metavar="N",
            min=1,
            help="Sequences per step.",
            rich_help_panel=_PROXY,
        ),
    ] = 8,
    length: Annotated[
        int,
        typer.Option(
            "--length",
            metavar="N",
            min=8,
            help="Tokens per sequence.",
            rich_help_panel=_PROXY,
        ),
    ] = 64,
    learning_rate: Annotated[
        float,
        typer.Option(
            "--learning-rate",
            metavar="R",
            help="Learning rate of AdamW.",
            rich_help_panel=_PROXY,
        ),
    ] = 4e-3,
    warmup_ratio: Annotated[
        float,
        typer.Option(
            "--warmup-ratio",
            metavar="R",
            help="The share of a schedule in which the learning rate rises from 0.",
            rich_help_panel=_PROXY,
        ),
    ] = 0.1,
    mask_rate: Annotated[
        float,
        typer.Option(
            "--mask-rate",
            metavar="R",
            help="The share of a text's tokens that are masked in training; it is always "
            "measured with 15 % masked. A causal model is asked for all.",
            rich_help_panel=_PROXY,
        ),
    ] = 0.4,
    blocks: Annotated[
        int | None,
        typer.Option(
            "--blocks",
            metavar="N",
            min=1,
            help="Validation sequences; all if not given.",
            rich_help_panel=_PROXY,
        ),
    ] = None,
    final_steps: Annotated[
        int,
        typer.Option(
            "--final-steps",
            metavar="N",
            min=1,
            help="Steps of what is trained alone for the last comparison.",
            rich_help_panel=_FINAL,
        ),
    ] = 400,
    final_seeds: Annotated[
        int,
        typer.Option(
            "--final-seeds",
            metavar="N",
            min=0,
            help="Number of seeds; 0 leaves out all that is trained alone.",
            rich_help_panel=_FINAL,
        ),
    ] = 3,
    contenders: Annotated[
        int,
        typer.Option(
            "--contenders",
            metavar="N",
            min=1,
            help="The best candidates, trained alone to find the winner.",
            rich_help_panel=_FINAL,
        ),
    ] = 6,
    baselines: Annotated[
        bool,
        typer.Option(
            "--baselines/--no-baselines",
            help="Compare with random sampling that trains for as many steps, and with"
            " models typed by hand.",
            rich_help_panel=_FINAL,
        ),
    ] = True,
    neighbours: Annotated[
        int,
        typer.Option(
            "--neighbours",
            metavar="N",
            min=0,
            help="Compare with N models that differ from the winner in one thing: its "
            "attention programs replaced by standard ones first, then random mutations.",
            rich_help_panel=_FINAL,
        ),
    ] = 4,
    device: Annotated[
        str | None,
        typer.Option(
            "--device", metavar="D", help="cpu, cuda, …; by default the best available."
        ),
    ] = None,
    git: Git = False,
    log: Log = None,
    as_json: Json = False,
) -> None:
    """Search a space for a better model than the one it starts from.

    A strategy mutates the programs, and each is scored in seconds. The run is a
    folder: a kill loses nothing that was scored, and `azc resume RUN` continues it. At the
    end the best are trained alone; the winner is compared with the start, with random
    sampling and with models typed by hand, on text never used.

    Example: azc evolve examples/demo.azg --evaluations 60 --seed 0 -o runs/first
    """
    from azc.search.options import EvolveOptions, resolve
    from azc.search.run import evolve as begin

    output = out(context)
    file, name = split_name(file)
    if name is not None and space is not None:
        raise UsageError("U105", "give only one of FILE:SPACE and --space")
    program = load(file)
    name, spec = choose_space(program, space or name)
    # Arguments that were not given have other defaults where others were.
    options = [*(field.name for field in fields(EvolveOptions)), "preset"]
    given = {name: context.params[name] for name in options if _given(context, name)}
    how = resolve(given, spec.start)
    show_run(
        output,
        lambda tell: begin(
            program, name, how, folder, cache=cache_folder(), on_event=tell
        ),
        folder,
        branch_of(folder, Path(file).parent) if git else None,
        log,
    )


def _given(context: typer.Context, option: str) -> bool:
    source = context.get_parameter_source(option)
    return source is not None and source.name != "DEFAULT"
