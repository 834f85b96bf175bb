"""Fidelity of the proxies of a search: which of them rank as long training does.

    python -m benchmarks fidelity --fits fits.jsonl [--programs 44] [--long 2000]
    python -m benchmarks fidelity --fits fits.jsonl --only ceiling

Programs from across one space (models typed by hand, layers drawn from the mixers of the
standard library and from convolutions, mutants of the start) are each trained alone for a
long schedule from two seeds. Their mean loss is compared with every cheap score: shared
weights after a few steps (by warm-up and its paths), few steps alone, the extrapolated
learning curve, parameters, operations. Every fit is a line of `--fits` and is not repeated;
the tables have the fits that are done. `--only ceiling` trains the long schedule alone,
from the last of the seeds, and compares it with the published results of the first.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from azc.check.flatten import self_contained
from azc.check.program import SpaceSpec
from azc.check.resolve import check_source
from azc.compare.cost import model_flops
from azc.data.contract import Data
from azc.data.load import load_data
from azc.diagnostics import AzcError
from azc.model import register
from azc.search.baselines import baselines
from azc.search.genome import Genome
from azc.search.mutate import Rates, mutate
from azc.search.options import EvolveOptions, derived
from azc.search.population import Member, Variation, evenly
from azc.search.priorities import Priorities
from azc.search.score import build_candidate
from azc.source import Source
from azc.supernet.supernet import Supernet
from azc.training.fit import FitOptions, fit, measure
from benchmarks.tables import (
    add_publish_option,
    format_value,
    publish,
    result,
    rho,
    table,
    tau,
    tau_interval,
)

SPACE = """\
from std.attention import rope_attention

model start {
    vocab = 1024
    hidden = 64
    heads = 4
    ffn = 256
    residual = pre
    positions = none
    max_length = 64
    token_types = 0
    dropout = 0
    attention_dropout = 0

    layers {
        repeat 4 {
            rope_attention
        }
    }
}

space study {
    start = start
    depth = 4

    attention {
        inputs = [q, k, v]
        ops = [neg, transpose, scale, softmax, logsigmoid, softsign, add, matmul, cosine,
               euclidean, mul, tanh, softplus, sigmoid, rope, conv, window, alibi]
        size = 1..16
    }

    conv {
        kernel = [3, 5, 9, 15]
    }
}
"""
MIXERS = [
    "sdpa",
    "rope_attention",
    "alibi_attention",
    "local_attention",
    "primer",
    "gated_attention",
    "qk_norm",
    "linear_attention",
    "attention_free",
    "mean_mixing",
    *(f"conv(kernel = {kernel})" for kernel in (3, 5, 9, 15)),
]
PATH_STEPS = 10
CHECKPOINTS = (100, 200, 400, 800)
CEILING = "long training, another seed"
_OPPOSITE = "parameters (more)"  # the row of "parameters (fewer)" with another sign
_SEED = 7  # of cheap scores
_FEW = 8  # the agreement of fewer programs is not reported


@dataclass
class Study:
    """The programs, the data, and the fits that are done."""

    options: argparse.Namespace
    data: Data
    start: Genome
    space: SpaceSpec
    programs: dict[str, Genome]
    done: dict[str, Any] = field(default_factory=dict)

    def once(self, key: str, make: Callable[[], Any]) -> Any:
        """Return the result of a fit, from the file if it is there."""
        if key not in self.done:
            value = make()
            self.done[key] = value
            with self.options.fits.open("a") as file:
                print(json.dumps([key, value]), file=file, flush=True)
        return self.done[key]


def _text(causal: bool) -> str:
    """Return the space of encoders, or the same of decoders."""
    if not causal:
        return SPACE
    return SPACE.replace(
        "    token_types = 0\n", "    token_types = 0\n    causal = true\n"
    )


def spaced(text: str) -> tuple[Genome, SpaceSpec]:
    program = check_source(Source("study.azg", text, own=True))
    return Genome.from_text(self_contained(program, "start"), "start"), (
        program.spaces["study"]
    )


def drawn(start: Genome, space: SpaceSpec, count: int) -> dict[str, Genome]:
    """Return programs by name: typed by hand, drawn layer by layer, and mutated."""
    found = {"the start": start, **baselines(start, space)}
    known = {start.key, *(genome.key for genome in found.values())}
    rng = random.Random(0)

    def mixed(layers: Sequence[str]) -> None:
        genome = _of_layers(layers, start)
        if genome.key not in known:
            known.add(genome.key)
            found[", ".join(layers)] = genome

    for mixer in MIXERS[:10]:
        mixed([mixer] * 4)
    third = len(found) + (count - len(found)) // 2
    while len(found) < third:
        mixed([rng.choice(MIXERS) for _ in range(4)])
    made = Variation(evenly(space, EvolveOptions()), 8).children(
        count - len(found),
        lambda _: Member(0, start),
        rng,
        dict.fromkeys(known, 0),
    )
    for number, child in enumerate(made):
        found[f"mutant {number}"] = child.genome
    return found


def _of_layers(layers: Sequence[str], start: Genome) -> Genome:
    """Return the start with other layers."""
    head = _text(start.spec.causal).split("    layers {")[0]
    head, tail = re.sub(r"from .*\n", "", head), "\n".join(layers)
    names = sorted({name for name in layers if "(" not in name})
    imports = "".join(f"from std.attention import {name}\n" for name in names)
    text = f"{imports}{head}layers {{\n{tail}\n}}\n}}\n"
    program = check_source(Source("start.azg", text, own=True))
    return Genome.from_text(self_contained(program, "start"), "start")


# Fits


def alone(study: Study, name: str, steps: int, seed: int) -> dict[str, Any]:
    """Return the loss of a program trained alone, and its training loss on the way."""

    def make() -> dict[str, Any]:
        losses: list[float] = []
        options = _fit_options(study, steps, seed)
        try:
            model, _ = build_candidate(study.programs[name].text, "start", seed)
            fit(model, study.data, options, on_step=lambda _, loss: losses.append(loss))
            loss = measure(model, study.data, "test").loss
        except AzcError as error:
            return {"loss": None, "why": str(error)}
        curve = {
            at: fmean(losses[at - 50 : at]) for at in CHECKPOINTS if at <= len(losses)
        }
        return {"loss": loss, "curve": curve}

    return study.once(f"alone {steps} {seed} {name}", make)


def begun(study: Study, name: str, steps: int) -> float | None:
    """Return the validation loss after the first steps of the long schedule.

    The seed is not one of the long training.
    """

    def make() -> float | None:
        how = _fit_options(study, steps, _SEED, schedule_steps=study.options.long)
        try:
            model, _ = build_candidate(study.programs[name].text, "start", _SEED)
            fit(model, study.data, how)
            return measure(model, study.data, "validation").loss
        except AzcError:
            return None

    return study.once(f"begun {steps} {name}", make)


def _fit_options(study: Study, steps: int, seed: int, **how: Any) -> FitOptions:
    return FitOptions(
        steps=steps,
        batch_size=study.options.batch,
        learning_rate=study.options.learning_rate,
        seed=seed,
        **how,
    )


def _paths(study: Study, policy: str) -> Iterator[Genome]:
    """Yield random paths for the shared weights, without end.

    "mutants": the start after four mutations between layers. "deep": after 1 to 8
    mutations of all kinds. "layers": every layer drawn uniformly from the space's
    convolutions and the start's attention. "fair": the programs of the study in turn,
    which no search can know: an upper bound.
    """
    rng = random.Random(1)
    start, space = study.start, study.space
    yield start
    alike = Priorities.start((), 0.0)
    deep = Variation(evenly(space, EvolveOptions()), 8)
    while True:
        if policy == "mutants":
            genome = start
            for _ in range(4):
                made = mutate(genome, space, rng, alike, Rates(inter=1.0, intra=0.25))
                genome = made.genome if made else genome
            yield genome
        elif policy == "deep":
            yield deep.children(1, lambda _: Member(0, start), rng, {})[0].genome
        elif policy == "layers":
            convs = [f"conv(kernel = {kernel})" for kernel in sorted(space.kernels)]
            mixers = [*convs, *["rope_attention"] * len(convs)]
            yield _of_layers([rng.choice(mixers) for _ in range(4)], start)
        else:
            yield from rng.sample(list(study.programs.values()), len(study.programs))


def warmed(study: Study, policy: str, steps: int) -> Supernet:
    """Return shared weights after a warm-up of so many steps."""
    supernet = Supernet()
    model, spec = build_candidate(study.start.text, "start", 0)
    supernet.admit(model, spec)
    paths = _paths(study, policy)
    for done in range(0, steps, PATH_STEPS):
        genome = next(paths)
        seed = derived(0, "warm-up", done)
        model, spec = build_candidate(genome.text, "start", seed)
        supernet.give(model, spec)
        how = _fit_options(study, PATH_STEPS, seed, schedule="constant", warmup=0.0)
        try:
            fit(model, study.data, how)
        except AzcError:
            continue
        if all(p.isfinite().all() for p in model.parameters()):
            supernet.take(model, spec)
    return supernet


def shared(study: Study, policy: str, warm_up: int, steps: int) -> dict[str, Any]:
    """Return the loss of every program after a few steps from the shared weights."""
    kept: list[Supernet] = []

    def one(genome: Genome) -> float | None:
        if not kept:
            kept.append(warmed(study, policy, warm_up))
        model, spec = build_candidate(genome.text, "start", _SEED)
        kept[0].give(model, spec)
        try:
            fit(model, study.data, _fit_options(study, steps, _SEED))
            return measure(model, study.data, "validation").loss
        except AzcError:
            return None

    return {
        name: study.once(
            f"shared {policy} {warm_up} {steps} {name}", lambda g=genome: one(g)
        )
        for name, genome in study.programs.items()
    }


# Agreement


Scores = Mapping[str, float | None]


def extrapolated(curve: Mapping[str, float], steps: int) -> float:
    """Extrapolate a curve to `steps` by a power law through its last two points."""
    points = sorted((int(at), value) for at, value in curve.items())[-2:]
    (a, x), (b, y) = points
    slope = (math.log(y) - math.log(x)) / (math.log(b) - math.log(a))
    return y * (steps / b) ** slope


def agreement(
    truth: Mapping[str, float], scores: Scores, sizes: Mapping[str, int]
) -> dict[str, Any]:
    """Measure how scores agree with the truth.

    Returns:
        Kendall's τ-b of all, with a 95 % bootstrap interval over programs, of the best
        quarter, and among programs whose parameters differ by 2 % at most; Spearman's ρ;
        and the regret of the program with the best score, in nats.
    """
    names = [name for name in truth if scores.get(name) is not None]
    x = np.array([scores[name] for name in names], dtype=float)
    y = np.array([truth[name] for name in names])
    top = np.argsort(y)[: max(4, len(y) // 4)]
    size = np.array([sizes[name] for name in names])
    signs = [
        np.sign(x[i] - x[j]) * np.sign(y[i] - y[j])
        for i in range(len(names))
        for j in range(i)
        if abs(size[i] - size[j]) <= 0.02 * max(size[i], size[j])
    ]
    return {
        "programs": len(names),
        "tau": tau(x, y),
        "interval": tau_interval(x, y),
        "rho": rho(x, y),
        "top": tau(x[top], y[top]),
        "equal size": fmean(signs) if signs else math.nan,
        "regret": float(y[np.argmin(x)] - y.min()),
    }


def tables(study: Study) -> dict[str, Any]:
    """Return the agreement of every score with the long schedule.

    Scores that a search may use are compared with the longest of the short schedules too.
    """
    options = study.options

    def fits(steps: int, seed: int) -> dict[str, dict[str, Any]]:
        keys = {name: f"alone {steps} {seed} {name}" for name in study.programs}
        return {n: study.done[key] for n, key in keys.items() if key in study.done}

    every = [fits(options.long, seed) for seed in options.seeds]
    # A study that was stopped has the programs that were trained until then.
    most = max(map(len, every))
    long = [found for found in every if len(found) == most > _FEW]
    if not long:
        raise SystemExit("the long schedule is done for too few programs")
    whole = [name for name in study.programs if all(_ok(f, name) for f in long)]
    truth = {name: fmean(f[name]["loss"] for f in long) for name in whole}
    parameters, flops = sizes(study)
    scores: dict[str, Scores] = {
        "parameters (fewer)": parameters,
        "FLOPs (fewer)": flops,
        _OPPOSITE: {name: -value for name, value in parameters.items()},
    }
    for steps in options.short:
        found = fits(steps, options.seeds[0])
        scores[f"{steps} steps, own schedule"] = {
            n: f["loss"] for n, f in found.items()
        }
    for at in CHECKPOINTS:
        cut = {
            n: {k: v for k, v in f["curve"].items() if int(k) <= at}
            for n, f in long[0].items()
            if f["loss"] is not None
        }
        scores[f"long training, same seed, step {at}"] = {
            n: c[_key(c, at)] for n, c in cut.items()
        }
        if at > CHECKPOINTS[0]:
            scores[f"long training, same seed, extrapolated from step {at}"] = {
                n: extrapolated(c, options.long) for n, c in cut.items()
            }
    for steps in options.begun:
        found = {n: study.done.get(f"begun {steps} {n}") for n in whole}
        scores[f"first {steps} of the long steps, another seed"] = found
    for policy, warm_up, steps in options.policies:
        found = {
            n: study.done.get(f"shared {policy} {warm_up} {steps} {n}") for n in whole
        }
        scores[f"shared weights, {warm_up} warm-up ({policy}), {steps} steps"] = found
    rows = {
        name: agreement(truth, values, parameters)
        for name, values in scores.items()
        if sum(values.get(n) is not None for n in whole) > 0.9 * len(whole) > 3
    }
    for again in every[1:]:
        # Of as many programs as have been trained from another seed.
        names = [n for n in study.programs if _ok(every[0], n) and _ok(again, n)]
        if len(names) > _FEW:
            first, second = (
                {n: f[n]["loss"] for n in names} for f in (every[0], again)
            )
            rows[CEILING] = agreement(first, second, parameters)
    last = max(options.short)
    near = {n: f["loss"] for n, f in fits(last, options.seeds[0]).items() if _ok_fit(f)}
    cheap = {
        name: agreement(near, values, parameters)
        for name, values in scores.items()
        if _is_cheap(name, last) and sum(values.get(n) is not None for n in near) > _FEW
    }
    return {"truth": truth, "agreement": rows, "near": cheap, "near steps": last}


def ceiling(study: Study, published: Mapping[str, Any]) -> dict[str, Any]:
    """Return a published study with the agreement of its long schedule with itself.

    The second training has the last of the seeds. Its agreement bounds that of any cheap
    score.
    """
    options = study.options
    again = {
        n: alone(study, n, options.long, options.seeds[-1]) for n in study.programs
    }
    truth = {n: loss for n, loss in published["truth"].items() if _ok(again, n)}
    losses = {n: again[n]["loss"] for n in truth}
    row = agreement(truth, losses, sizes(study)[0])
    return {**published, "agreement": {**published["agreement"], CEILING: row}}


def _is_cheap(name: str, steps: int) -> bool:
    return name.startswith("shared") or (
        name.endswith("own schedule") and name != f"{steps} steps, own schedule"
    )


def _ok_fit(found: Mapping[str, Any]) -> bool:
    return found["loss"] is not None


def _ok(found: Mapping[str, Any], name: str) -> bool:
    return name in found and _ok_fit(found[name])


def _key(curve: Mapping[str, float], at: int) -> Any:
    return next(key for key in curve if int(key) == at)


def sizes(study: Study) -> tuple[dict[str, int], dict[str, int]]:
    """Count the parameters and the operations of every program."""
    parameters, flops = {}, {}
    for name, genome in study.programs.items():
        with torch.device("meta"):
            model, spec = build_candidate(genome.text, "start", 0)
        parameters[name] = sum(p.numel() for p in model.parameters())
        flops[name] = model_flops(spec, study.options.length)
    return parameters, flops


def render(found: Mapping[str, Any]) -> str:
    """Render the agreement with the long schedule, and with the short one."""
    steps = ", ".join(f"{study['near steps']} ({of})" for of, study in found.items())
    return "\n\n".join(
        [
            "Agreement with the long schedule:",
            _table({of: study["agreement"] for of, study in found.items()}),
            f"Agreement with a short schedule of its own, of so many steps: {steps}:",
            _table({of: study["near"] for of, study in found.items()}),
        ]
    )


def _table(studies: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Render the scores of all studies, a row each."""
    head, names = ["score"], dict[str, None]()
    for of, rows in studies.items():
        count = max(row["programs"] for row in rows.values())
        head += [f"{of} ({count}): τ", "best quarter", "regret"]
        names |= dict.fromkeys(rows)
    lines = []
    for name in names:
        if name == _OPPOSITE:
            continue
        cells = [name]
        for rows in studies.values():
            if row := rows.get(name):
                cells.append(format_value(row["tau"], row["interval"]))
                cells += [
                    format_value(row["top"]),
                    format_value(row["regret"], digits=3),
                ]
            else:
                cells += ["–"] * 3
        lines.append(cells)
    return table(head, lines)


def _policy(text: str) -> tuple[str, int, int]:
    name, warm_up, steps = text.split(":")
    return name, int(warm_up), int(steps)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fits", type=Path, required=True)
    parser.add_argument("--data", default="python")
    parser.add_argument("--programs", type=int, default=44)
    parser.add_argument("--long", type=int, default=2000)
    parser.add_argument("--short", type=int, nargs="*", default=[100, 200, 400])
    parser.add_argument("--begun", type=int, nargs="*", default=[200, 400])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    parser.add_argument("--mask-rate", type=float, default=0.4)
    parser.add_argument("--causal", action="store_true", help="decoders, next tokens")
    parser.add_argument("--called", help="what is studied, where it is on another text")
    parser.add_argument("--policies", type=_policy, nargs="*", default=[])
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    parser.add_argument(
        "--only",
        choices=["begun", "ceiling", "long", "short", "shared", "tables"],
    )
    add_publish_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    register()
    start, space = spaced(_text(options.causal))
    study = Study(
        options,
        load_data(
            options.data,
            vocab=1024,
            length=options.length,
            cache=options.cache,
            mask_rate=options.mask_rate,
            causal=options.causal,
        ),
        start,
        space,
        drawn(start, space, options.programs),
    )
    if options.fits.exists():
        study.done.update(map(json.loads, options.fits.read_text().splitlines()))
    if options.only in (None, "shared"):
        for policy, warm_up, steps in options.policies:
            shared(study, policy, warm_up, steps)
    if options.only in (None, "begun"):
        for steps in options.begun:
            for name in study.programs:
                begun(study, name, steps)
    for kind, lengths in (("short", options.short), ("long", [options.long])):
        if options.only in (None, kind):
            seeds = options.seeds if kind == "long" else options.seeds[:1]
            for seed in seeds:
                for steps in lengths:
                    for name in study.programs:
                        alone(study, name, steps, seed)
    models = options.called or ("decoders" if options.causal else "encoders")
    every = result("fidelity")
    if options.only == "ceiling":
        found = {models: ceiling(study, every[models])}
    else:
        found = {models: tables(study)}
    print(render(found))
    if options.publish:
        every |= found
        publish("fidelity", every, render(every))
    return 0


if __name__ == "__main__":
    sys.exit(main())
