"""Tables of docs/results.md: every claim with its sample, effect and test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import sqrt
from statistics import NormalDist
from typing import Any

from azc.training.verdict import LEVEL, NO_DIFFERENCE, Verdict
from benchmarks import demo, one_program, scratch, strategies
from benchmarks.fidelity import CEILING
from benchmarks.tables import (
    RESULTS,
    format_p,
    format_test,
    format_value,
    holm,
    result,
    table,
)

DEMO, EARLIER = "demo", "demo-earlier"
# Budgets of the claims about strategies in a table, in evaluations.
OF = "evaluations"

Found = Mapping[str, Any]


def is_published(name: str) -> bool:
    """Return whether there are results of this name."""
    return (RESULTS / f"{name}.json").exists()


def percent(share: float, digits: int = 0) -> str:
    """Format a share as a percentage."""
    return f"{share:.{digits}%}".replace("%", " %")


def corrected(tests: Mapping[str, Verdict]) -> dict[str, Verdict]:
    """Correct the p-values of a family of tests, and the words with them (Holm 1979)."""
    known = {name: each for name, each in tests.items() if each.p is not None}
    values = holm([each.p for each in known.values() if each.p is not None])
    found = dict(tests)
    for (name, each), p in zip(known.items(), values, strict=True):
        word = each.word if p < LEVEL else NO_DIFFERENCE
        found[name] = replace(each, p=p, word=word)
    return found


# The demo


def demo_against(name: str) -> dict[str, Verdict]:
    """Return the corrected tests of a winner of the demo, by what it is compared with."""
    return corrected({row: each for row, _, each, _ in demo.comparisons(result(name))})


def demo_claims(name: str) -> str:
    """Render the claims about one recipe of the demo, empty before it is published."""
    if not is_published(name):
        return ""
    found = result(name)
    rows = list(found["runs"].values())
    first = sum(map(demo.is_first, rows))
    better, count = (sum(row[key] for row in rows) for key in ("better", "rows"))
    lines = [
        f"- The winner has the lowest loss of its comparison on {first} of {len(rows)}"
        " seeds.",
        "- A single run shows its winner better than"
        f" {percent(better / max(count, 1))} of the other rows on average.",
    ]
    if attentive := [row for row in rows if "attention" in row]:
        evolved = sum(row["attention"] for row in attentive)
        lines.append(
            f"- The winner has an evolved attention program on {evolved} of {len(attentive)}"
            " seeds."
        )
    return "\n\n".join([demo.render_tests(found), "\n".join(lines)])


# Other searches


def strategies_against() -> dict[tuple[str, int], Verdict]:
    """Return the corrected tests of op-nas, by strategy and budget in evaluations."""
    found = result(strategies.NAME)
    keys = {
        f"{name} {budget}": ((name, budget), figures["less_than_default"][place])
        for name, figures in found[OF].items()
        if name != strategies.DEFAULT
        for place, budget in enumerate(found["budgets"])
    }
    tests = {key: strategies.difference(figures) for key, (_, figures) in keys.items()}
    return {keys[key][0]: each for key, each in corrected(tests).items()}


def table_claims() -> str:
    """Render the claims about strategies in a table of trained encoders."""
    against = strategies_against()
    budgets = result(strategies.NAME)["budgets"]
    lines = [
        [f"`{name}`", *(format_test(against[name, budget], 2) for budget in budgets)]
        for name in dict.fromkeys(name for name, _ in against)
    ]
    return table(["ahead of", *(f"{budget} {OF}" for budget in budgets)], lines)


def scratch_against() -> dict[str, Verdict]:
    """Return the corrected tests of op-nas in the space `scratch`."""
    rows = result(scratch.NAME)["scratch"]
    (typed,) = scratch.TYPED["scratch"]
    start = [{**row, "start": {"losses": row["op-nas"]["start"]}} for row in rows]
    return corrected(
        {
            "the start, which mixes no tokens": scratch.lead(start, other="start"),
            "`random`": scratch.lead(rows),
            "`sdpa` in its place": scratch.lead(rows, other=typed),
        }
    )


def scratch_counts() -> tuple[int, int, int]:
    """Return the seeds on which op-nas and random are as good as `sdpa`, and all."""
    rows = result(scratch.NAME)["scratch"]
    (typed,) = scratch.TYPED["scratch"]
    mine, theirs = (scratch.as_good(rows, name, typed) for name in ("op-nas", "random"))
    return mine, theirs, len(rows)


def scratch_claims() -> str:
    """Render the claims about attention from scratch."""
    mine, theirs, count = scratch_counts()
    lines = [[name, str(count), *_cells(x, 3)] for name, x in scratch_against().items()]
    return (
        f"{table(['ahead of', 'seeds', 'nats (95 % interval)', 'p'], lines)}\n\nAs good as"
        f" `sdpa` (within {scratch.MARGIN} nats): `op-nas` on {mine} and `random` on"
        f" {theirs} of {count} seeds."
    )


def _cells(found: Verdict, digits: int) -> list[str]:
    known = found.low is not None and found.high is not None
    ends = (found.low, found.high) if known else None
    return [format_value(found.gain, ends, digits), format_p(found.p)]


def program_claims() -> str:
    """Render the claims about one program above a convolution."""
    above = result(one_program.NAME)["above"]
    share = percent(one_program.LONG_WARMUP["above"])
    lines = []
    for name, models in (
        ("10 % of the steps", above["library"]),
        (f"{share} of the steps", above["slower"]),
    ):
        found = one_program.against(models)
        best = min(found, key=lambda other, of=models: one_program.mean_loss(of, other))
        words = [each.word for each in found.values()]
        lines.append(
            [
                name,
                f"{sum(each.gain > 0 for each in found.values())} of {len(found)}",
                str(words.count("better")),
                str(words.count(NO_DIFFERENCE)),
                f"{format_test(found[best])} (`{best}`)",
            ]
        )
    head = ["warm-up", "lower mean loss than", "better than"]
    return table([*head, "no difference shown", "nats ahead of the next"], lines)


# Proxies and speed


def tau_p(tau: float, count: int) -> float:
    """Return the p-value of no association, by the normal approximation of Kendall's τ.

    Kendall (1948), Rank Correlation Methods: the variance is 2 (2n + 5) / 9n (n − 1).
    """
    deviation = sqrt(2 * (2 * count + 5) / (9 * count * (count - 1)))
    return 2 * NormalDist().cdf(-abs(tau) / deviation)


_PROXIES = (
    CEILING,
    "first 400 of the long steps, another seed",
    "400 steps, own schedule",
    "200 steps, own schedule",
    "100 steps, own schedule",
    "shared weights, 1600 warm-up (layers), 20 steps",
    "shared weights, 1600 warm-up (mutants), 20 steps",
    "parameters (fewer)",
)


def proxy_claims() -> str:
    """Render the claims about proxies."""
    studies = result("fidelity")
    lines = []
    for name in _PROXIES:
        cells = [name]
        for study in studies.values():
            row = study["agreement"].get(name)
            cells += _of_tau(row) if row else ["–", "–"]
        lines.append(cells)
    heads = [
        cell
        for name, study in studies.items()
        for cell in (f"{name} ({_count(study['agreement'])}): τ", "p")
    ]
    return table(["score", *heads], lines)


def _count(rows: Mapping[str, Found]) -> int:
    return max(row["programs"] for row in rows.values())


def _of_tau(row: Found) -> list[str]:
    p = tau_p(row["tau"], row["programs"])
    return [format_value(row["tau"], row["interval"]), format_p(p)]


def cheap_claims() -> str:
    """Render the claims about training-free scores and early stopping."""
    found = result("bert500")
    scores = found["scores"]
    first = []
    for key in ("tau", "tau_within"):
        best = max(scores, key=lambda name, key=key: scores[name][key])
        tau = format_value(scores[best][key], scores[best][f"{key}_interval"])
        first.append(f"{best}, τ = {tau}")
    stopping = result("early-stopping")
    pool = stopping["pools"]["24"]
    halving, again = pool["η = 4: 12, 50"], pool["halves: 25, 50, from scratch"]
    return "\n".join(
        [
            f"- The best of {len(scores)} training-free scores over {found['architectures']}"
            f" encoders is {first[0]}; the best within one size is {first[1]}. Intervals are"
            " a bootstrap over architectures.",
            "- Successive halving (12 and 50 epochs, η = 4) finds the best of 24 training"
            f" curves with a regret of {halving['regret']['mean']:.3f} nats for"
            f" {percent(halving['cost']['mean'])} of the epochs, if training continues. If"
            f" each stage starts over, two halves cost {percent(again['cost']['mean'])}."
            f" Means over {stopping['seeds']} pools.",
        ]
    )


def speed_claims() -> str:
    """Render the claims about the speed of a search."""
    found = result("scale")
    one, two = found["workers"]
    journal = {row["candidates"]: row for row in found["journal"]}
    few, many = min(journal), max(journal)
    key = "a round beside training"
    same = "an identical run" if two["the same run"] else "another run"
    return "\n".join(
        [
            f"- Two workers give {same}, {two['times as fast']:.2f} times as fast"
            f" ({two['seconds']:.0f} s instead of {one['seconds']:.0f} s).",
            f"- With one worker, {percent(one['share not of candidates'], 1)} of the time"
            " is neither training nor evaluation.",
            f"- A round without its training takes {journal[few][key]:.2f} s of CPU time"
            f" after {few} candidates, and {journal[many][key]:.2f} s after {many:,}. A run"
            f" of {many:,} candidates resumes within"
            f" {journal[many]['seconds to the first']:.1f} s.",
        ]
    )


def seeds(rows: Sequence[Found]) -> str:
    """Format a number of seeds."""
    return "one seed" if len(rows) == 1 else f"{len(rows)} seeds"
