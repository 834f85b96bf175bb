"""Sentences of docs/results.md: the short answers, and claims that did not hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from azc.training.verdict import NO_DIFFERENCE, Verdict
from benchmarks import demo, one_program, scratch, strategies
from benchmarks.claims import (
    DEMO,
    EARLIER,
    demo_against,
    is_published,
    scratch_against,
    scratch_counts,
    seeds,
    strategies_against,
)
from benchmarks.tables import format_test, result


def compared(tests: Mapping[str, Verdict], unit: str = "nats", digits: int = 3) -> str:
    """Say how a winner compares with others: what it is better and worse than, and the rest.

    Args:
        tests: Verdicts on the winner, by what it is compared with.
        unit: Unit of the differences.
        digits: Decimals of the differences.
    """
    parts = []
    level = []
    for name, found in tests.items():
        other = name.replace("*", ", known only afterwards")
        if found.word == NO_DIFFERENCE:
            level.append(f"{other} ({format_test(found, digits)})")
            continue
        lead = found if found.gain >= 0 else _turned(found)
        gain, _, ends = format_test(lead, digits).partition(" (")
        test = f" ({ends}" if ends else ""
        parts.append(f"{gain} {unit} {found.word} than {other}{test}")
    if level:
        parts.append(f"not significantly different from {_joined(level)}")
    return _joined(parts)


def _turned(found: Verdict) -> Verdict:
    """Return the comparison the other way around."""
    low = None if found.high is None else -found.high
    high = None if found.low is None else -found.low
    return Verdict(-found.gain, low, high, found.p, found.word)


def _studied(text: str, page: str, title: str) -> str:
    return f"- {text} [{title}](studies/{page}.md)"


def _joined(parts: Sequence[str]) -> str:
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def _some(tests: Mapping[Any, Verdict], names: Mapping[Any, str]) -> dict[str, Verdict]:
    """Return some of the tests, under other names."""
    return {new: tests[old] for old, new in names.items() if old in tests}


_RIVALS = {f"the winner of `{name}`": f"`{name}`" for name in demo.STRATEGIES}


# Short answers


def short() -> str:
    """Render the short answers of the page."""
    name = DEMO if is_published(DEMO) else EARLIER
    tests = demo_against(name)
    runs = list(result(name)["runs"].values())
    found = result(strategies.NAME)
    last = found["budgets"][-1]
    others = {(name, last): f"`{name}`" for name in ("random", "regularized", "local")}
    table = compared(_some(strategies_against(), others), "points of GLUE", 2)
    mine, theirs, count = scratch_counts()
    words = program_words("library")
    lines = [
        f"**The demo, {seeds(runs)}.** The winner of `op-nas` is"
        f" {compared({row: x for row, x in tests.items() if row not in _RIVALS})}.",
        *(
            f"**Other strategies on the demo.** `op-nas` is {compared(rivals)}."
            for rivals in [_some(tests, _RIVALS)]
            if rivals
        ),
        f"**A table of trained encoders, {found['seeds']:,} seeds.** After {last}"
        f" evaluations, `op-nas` is {table}.",
        f"**Attention from scratch, {count} seeds.** `op-nas` finds a program as good as"
        f" `sdpa` from {mine} seeds, random sampling from {theirs}.",
        "**One program above a convolution, one search.** The evolved program learns"
        f" recall better than {words.count('better')} of the {len(words)} programs of"
        f" the library; {words.count(NO_DIFFERENCE)} show no significant difference.",
        f"**Proxies.** Of 2,000 steps, the first 400 rank programs at τ ="
        f" {_tau('first 400 of the long steps, another seed')}; 20 steps from shared weights"
        f" rank them at {_tau('shared weights, 1600 warm-up (mutants), 20 steps')}, and 100"
        f" steps alone at {_tau('100 steps, own schedule')}.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _tau(name: str) -> str:
    row = result("fidelity")["encoders"]["agreement"][name]
    return f"{row['tau']:.2f}"


def program_words(key: str) -> list[str]:
    """Return the verdicts on the evolved program beside each of the library."""
    models = result(one_program.NAME)["above"][key]
    return [str(each.word) for each in one_program.against(models).values()]


# What did not hold


def refuted() -> str:
    """Render the claims that the published results do not support."""
    groups = (_of_the_demo, _of_strategies, _of_scratch, _of_programs, _of_proxies)
    return "\n".join(line for group in groups for line in group())


def _of_the_demo() -> list[str]:
    page = "demo", "The demo"
    against = demo_against(EARLIER)
    runs = list(result(EARLIER)["runs"].values())
    lead, hand = against[demo.FREE].gain, against[demo.HAND].gain
    behind = sum(not demo.is_first(row) for row in runs)
    typed = []
    if is_published(DEMO):
        names = [demo.RANDOM, demo.HAND]
        found = compared(_some(demo_against(DEMO), {name: name for name in names}))
        line = "**The evolved attention of the demo is better than what a person would try.**"
        typed = [_studied(f"{line} Its winner is {found}.", *page)]
    return [
        *typed,
        _studied(
            "**The improvement over random sampling comes from the search.** At most"
            f" {hand:.3f} of the {lead:.3f} nats on the earlier demo do. There, `op-nas`"
            " started with handwritten models and random sampling did not. Now both start"
            " with them.",
            *page,
        ),
        _studied(
            f"**The winner is always first.** On {behind} of {seeds(runs)} of the earlier"
            " demo another row has a lower loss.",
            *page,
        ),
        _studied(
            "**op-nas is better than other strategies.** On the earlier demo it is"
            f" {compared(_some(against, _RIVALS))}.",
            *page,
        ),
    ]


def _of_strategies() -> list[str]:
    page = "strategies", "Strategies"
    budgets = result(strategies.NAME)["budgets"]
    table = strategies_against()
    names = {
        ("local", budgets[0]): "`local`",
        ("op-nas --no-learn-kinds", budgets[-1]): "without them",
    }
    early, kinds = (
        compared({name: table[key]}, "points of GLUE", 2) for key, name in names.items()
    )
    return [
        _studied(
            "**op-nas is better from the beginning.** In the table of encoders it is"
            f" {early} after {budgets[0]} evaluations.",
            *page,
        ),
        _studied(
            f"**Learned kinds of mutation help.** After {budgets[-1]} evaluations there,"
            f" op-nas with them is {kinds}.",
            *page,
        ),
    ]


def _of_scratch() -> list[str]:
    page = "scratch", "Attention from scratch"
    found = result(scratch.NAME)
    both, text = found["both"], found[scratch.TEXT]
    mine, theirs, count = scratch_counts()
    solved = sum(
        scratch.as_good(both, name, "conv, sdpa") for name in ("op-nas", "random")
    )
    names = ("op-nas", "random", "conv, conv")
    losses = [f"{fmean(scratch.losses(text, name)):.3f}" for name in names]
    lead = compared(_some(scratch_against(), {"`random`": "random sampling"}))
    return [
        _studied(
            "**op-nas finds attention where random sampling does not.** Both find it, from"
            f" {mine} and {theirs} of {count} seeds, and op-nas is {lead}.",
            *page,
        ),
        _studied(
            "**Evolution finds a convolution and attention together.** From two layers"
            f" that mix no tokens, {solved} of {2 * len(both)} searches are as good as a"
            " convolution below `sdpa`.",
            *page,
        ),
        _studied(
            f"**Attention helps on text.** From {seeds(text)}, `op-nas` reaches {losses[0]}"
            f" nats, random sampling {losses[1]} and two convolutions {losses[2]}.",
            *page,
        ),
    ]


def _of_programs() -> list[str]:
    page = "one-program", "One program"
    found = result(one_program.NAME)["layer"]
    count = found["seeds"][0]["evaluations"]
    worse = compared({"`primer`": one_program.against(found["library"])["primer"]})
    words, slower = program_words("library"), program_words("slower")
    return [
        _studied(
            "**The evolved program is better than the whole library.** It has the lowest"
            f" mean loss, but {words.count(NO_DIFFERENCE)} of {len(words)} show no"
            f" significant difference, and {slower.count(NO_DIFFERENCE)} do with a long"
            " warm-up. The space was chosen for it: the search starts from"
            " `differential`, the fastest learner of the library.",
            *page,
        ),
        _studied(
            f"**A search finds a single layer that learns recall.** After {count} evaluations"
            f" its best program is {worse}.",
            *page,
        ),
    ]


def _of_proxies() -> list[str]:
    scores = result("bert500")["scores"]
    size = scores["layers × hidden"]["tau"]
    above = sum(row["tau"] > size for row in scores.values())
    return [
        _studied(
            "**A very short training is a proxy.** 100 steps rank encoders at τ ="
            f" {_tau('100 steps, own schedule')}, the number of parameters at"
            f" {_tau('parameters (fewer)')}.",
            "fidelity",
            "Fidelity",
        ),
        _studied(
            "**A short training ranks like the beginning of a long one.** 400 steps with"
            f" their own schedule rank at τ = {_tau('400 steps, own schedule')}, the first"
            " 400 of the long schedule at"
            f" {_tau('first 400 of the long steps, another seed')}.",
            "fidelity",
            "Fidelity",
        ),
        _studied(
            f"**Training-free scores rank architectures.** {above or 'None'} of"
            f" {len(scores) - 1} ranks better than layers × hidden, which cannot"
            " rank architectures of one size.",
            "training-free-scores",
            "Training-free scores",
        ),
    ]
