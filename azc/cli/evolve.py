"""`azc evolve`: run a search.

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

_SEARCH = "Search"
_PROXY = "Evaluation of candidates"
_FINAL = "Final comparison"


def evolve(
    context: typer.Context,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A program that declares a search space; FILE:SPACE selects one of "
            "several.",
            autocompletion=programs,
        ),
    ],
    folder: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="RUN", help="Folder of the run to create."
        ),
    ],
    space: Annotated[
        str | None,
        typer.Option(
            "--space",
            metavar="NAME",
            help="Search space to use.",
            autocompletion=spaces,
        ),
    ] = None,
    data: Annotated[
        str,
        typer.Option(
            "--data",
            metavar="D",
            help="Data to train on. A text: `python` (docstrings of the standard "
            "library), a file, a folder of texts and tables, or hf:NAME/CONFIG. A "
            "task: task:recall, task:copy, task:induction or task:listops. Or both: "
            "python+task:recall.",
        ),
    ] = "python",
    documents: Annotated[
        str,
        typer.Option(
            "--documents",
            metavar="D",
            help="How text files are split into documents: by `paragraph` (at blank "
            "lines), `line` or `file`. A row of a table is always one document.",
        ),
    ] = "paragraph",
    tokenizer: Annotated[
        str | None,
        typer.Option(
            "--tokenizer",
            metavar="DIR_OR_NAME",
            help="Transformers tokenizer to use; by default, one is trained on the "
            "text.",
        ),
    ] = None,
    evaluations: Annotated[
        int,
        typer.Option(
            "--evaluations",
            metavar="N",
            min=1,
            help="Budget of the search, in evaluations.",
            rich_help_panel=_SEARCH,
        ),
    ] = 60,
    objectives: Annotated[
        list[str] | None,
        typer.Option(
            "--objective",
            metavar="NAME",
            help="Objective to minimize: loss (default), params, flops, latency, "
            "memory or timed-loss (see --seconds-alone); repeat it for several.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    limits: Annotated[
        list[str] | None,
        typer.Option(
            "--limit",
            metavar="NAME=N",
            help="Limit on an objective: params=30e6, flops=2e6 (per token), "
            "latency=2ms (forward pass of a batch), memory=64MB (during a training "
            "step). Candidates beyond it are not trained; repeat it for several.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    seconds_alone: Annotated[
        float,
        typer.Option(
            "--seconds-alone",
            metavar="SECONDS",
            help="Training time of a candidate for timed-loss, in seconds.",
            rich_help_panel=_PROXY,
        ),
    ] = 60.0,
    strategy: Annotated[
        str,
        typer.Option(
            "--strategy",
            metavar="NAME",
            help="Search strategy: `op-nas`, `regularized`, `random`, `local`, "
            "`nsga2` (the default with several objectives), `sepx`, `surrogate`, or "
            "your own class, such as `my.py:Mine`.",
            rich_help_panel=_SEARCH,
            autocompletion=strategies,
        ),
    ] = "op-nas",
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="NAME",
            help="Named set of option values. `paper`: the constants of Gao et al. "
            "2022. Options on the command line take precedence.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            metavar="S",
            min=0,
            help="Random seed.",
            rich_help_panel=_SEARCH,
        ),
    ] = 0,
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            metavar="N",
            min=1,
            help="Number of processes that evaluate candidates in parallel. It does "
            "not change the results.",
            rich_help_panel=_SEARCH,
        ),
    ] = 1,
    threads: Annotated[
        int,
        typer.Option(
            "--threads",
            metavar="N",
            min=1,
            help="CPU threads per evaluation. Results may differ in the last bits "
            "with another number.",
            rich_help_panel=_SEARCH,
        ),
    ] = 1,
    executor: Annotated[
        str,
        typer.Option(
            "--executor",
            metavar="NAME",
            help="Where the workers run: `local` (this machine), or `ray` (a Ray "
            "cluster; needs the ray extra).",
            rich_help_panel=_SEARCH,
        ),
    ] = "local",
    time_limit: Annotated[
        str,
        typer.Option(
            "--time-limit",
            metavar="TIME",
            help="Time that a candidate may take, such as 90s, 30min or 2h. One that "
            "takes longer is evaluated again, then recorded as failed.",
            rich_help_panel=_SEARCH,
        ),
    ] = "30min",
    memory_limit: Annotated[
        str | None,
        typer.Option(
            "--memory-limit",
            metavar="SIZE",
            help="Memory of this machine that evaluating a candidate may use, such "
            "as 4GB or 512MiB; unlimited by default.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    round_size: Annotated[
        int,
        typer.Option(
            "--round",
            metavar="N",
            min=2,
            help="Number of candidates in a round. All of them start from the same "
            "snapshot of the shared weights.",
            rich_help_panel=_SEARCH,
        ),
    ] = 12,
    parents: Annotated[
        int,
        typer.Option(
            "--parents",
            metavar="K",
            min=1,
            help="Number of best candidates of a round that are evaluated again in "
            "the next one, and whose weights update the shared weights. In op-nas, "
            "they are also the parents.",
            rich_help_panel=_SEARCH,
        ),
    ] = 3,
    by_hand: Annotated[
        bool,
        typer.Option(
            "--by-hand/--no-by-hand",
            help="Start with the models that a person would try first (op-nas, "
            "regularized, local, random).",
            rich_help_panel=_SEARCH,
        ),
    ] = True,
    mutations: Annotated[
        int | None,
        typer.Option(
            "--mutations",
            metavar="N",
            min=1,
            help="Maximum number of mutations between a parent and its child; by "
            "default 1, and 8 for random.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    alpha: Annotated[
        float,
        typer.Option(
            "--alpha",
            metavar="A",
            min=0,
            help="How strongly op-nas favors operations that were rarely tried.",
            rich_help_panel=_SEARCH,
        ),
    ] = 0.5,
    temperature: Annotated[
        float,
        typer.Option(
            "--temperature",
            metavar="T",
            help="Temperature of op-nas's priorities: with lower values, priorities "
            "matter more.",
            rich_help_panel=_SEARCH,
        ),
    ] = 1.0,
    patience: Annotated[
        int,
        typer.Option(
            "--patience",
            metavar="N",
            min=0,
            help="Number of rounds without improvement after which op-nas restarts; "
            "0 disables restarts.",
            rich_help_panel=_SEARCH,
        ),
    ] = 8,
    learn_kinds: Annotated[
        bool,
        typer.Option(
            "--learn-kinds/--no-learn-kinds",
            help="Let op-nas also learn which kinds of mutation improve candidates.",
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
            help="Size of the population in regularized.",
            rich_help_panel=_SEARCH,
        ),
    ] = 24,
    tournament: Annotated[
        int,
        typer.Option(
            "--tournament",
            metavar="N",
            min=1,
            help="Size of a tournament in regularized: the number of candidates that "
            "a parent is selected from.",
            rich_help_panel=_SEARCH,
        ),
    ] = 6,
    weights: Annotated[
        str,
        typer.Option(
            "--weights",
            metavar="W",
            help="Initial weights of candidates. `shared`: they inherit shared "
            "weights. `fresh`: each is trained from scratch with the same seed, "
            "which needs more --steps.",
            rich_help_panel=_PROXY,
        ),
    ] = "shared",
    warm_up: Annotated[
        int,
        typer.Option(
            "--warm-up",
            metavar="N",
            min=0,
            help="Training steps of the shared weights before the search.",
            rich_help_panel=_PROXY,
        ),
    ] = 1600,
    steps: Annotated[
        int,
        typer.Option(
            "--steps",
            metavar="N",
            min=1,
            help="Training steps of a candidate before it is scored.",
            rich_help_panel=_PROXY,
        ),
    ] = 20,
    schedule_steps: Annotated[
        int | None,
        typer.Option(
            "--schedule-steps",
            metavar="N",
            min=1,
            help="Length of the learning rate schedule, if it is longer than "
            "--steps, so that candidates train as at the start of a long training. "
            "By default, the schedule ends after --steps.",
            rich_help_panel=_PROXY,
        ),
    ] = None,
    score_seeds: Annotated[
        int,
        typer.Option(
            "--score-seeds",
            metavar="N",
            min=1,
            help="Score a candidate by its mean loss over N seeds (only with "
            "--weights fresh). The contenders are compared in the same way.",
            rich_help_panel=_PROXY,
        ),
    ] = 1,
    batch_size: Annotated[
        int,
        typer.Option(
            "--batch",
            metavar="N",
            min=1,
            help="Batch size, in sequences.",
            rich_help_panel=_PROXY,
        ),
    ] = 8,
    length: Annotated[
        int,
        typer.Option(
            "--length",
            metavar="N",
            min=8,
            help="Sequence length, in tokens.",
            rich_help_panel=_PROXY,
        ),
    ] = 64,
    learning_rate: Annotated[
        float,
        typer.Option(
            "--learning-rate",
            metavar="R",
            help="Peak learning rate of AdamW.",
            rich_help_panel=_PROXY,
        ),
    ] = 4e-3,
    warmup_ratio: Annotated[
        float,
        typer.Option(
            "--warmup-ratio",
            metavar="R",
            help="Fraction of the schedule in which the learning rate rises from 0.",
            rich_help_panel=_PROXY,
        ),
    ] = 0.1,
    mask_rate: Annotated[
        float,
        typer.Option(
            "--mask-rate",
            metavar="R",
            help="Fraction of text tokens that are masked in training. The loss is "
            "always measured with 15 % masked. Causal models predict every token and "
            "do not use it.",
            rich_help_panel=_PROXY,
        ),
    ] = 0.4,
    blocks: Annotated[
        int | None,
        typer.Option(
            "--blocks",
            metavar="N",
            min=1,
            help="Number of validation sequences to score on; all by default.",
            rich_help_panel=_PROXY,
        ),
    ] = None,
    final_steps: Annotated[
        int,
        typer.Option(
            "--final-steps",
            metavar="N",
            min=1,
            help="Training steps for each model in the final comparison.",
            rich_help_panel=_FINAL,
        ),
    ] = 400,
    final_seeds: Annotated[
        int,
        typer.Option(
            "--final-seeds",
            metavar="N",
            min=0,
            help="Number of seeds for each model in the final comparison; 0 skips "
            "the comparison and the selection among contenders.",
            rich_help_panel=_FINAL,
        ),
    ] = 3,
    contenders: Annotated[
        int,
        typer.Option(
            "--contenders",
            metavar="N",
            min=1,
            help="Number of the best candidates to train from scratch at the end. "
            "The best of them is the winner.",
            rich_help_panel=_FINAL,
        ),
    ] = 6,
    baselines: Annotated[
        bool,
        typer.Option(
            "--baselines/--no-baselines",
            help="Compare with random sampling that uses the same number of training "
            "steps, and with models typed by hand.",
            rich_help_panel=_FINAL,
        ),
    ] = True,
    neighbours: Annotated[
        int,
        typer.Option(
            "--neighbours",
            metavar="N",
            min=0,
            help="Compare with N variants of the winner that differ in one thing: "
            "first with its attention programs replaced by standard ones, then with "
            "random mutations.",
            rich_help_panel=_FINAL,
        ),
    ] = 4,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="D",
            help="Device to train on: cpu, cuda, …; the best available one by default.",
        ),
    ] = None,
    git: Git = False,
    log: Log = None,
    as_json: Json = False,
) -> None:
    """Search for a model that is better than the start model of a search space.

    A strategy mutates programs, and each one is evaluated in seconds. The run is stored
    in a
    folder: if the process is killed, no evaluation is lost, and `azc resume RUN`
    continues. At the end, the best candidates are trained from scratch. The winner is
    compared with the start model, random sampling and models typed by hand, on held-out
    data.

    Example: azc evolve mine.azg --evaluations 60 --seed 0 -o runs/first
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
