"""Helpers of the benchmarks: real data, statistics, tables, pages."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau, spearmanr

from azc.training.verdict import Verdict

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
RESULTS = Path(__file__).resolve().parent / "results"
RESAMPLES = 1000

Row = Sequence[str]
Statistic = Callable[[np.ndarray[Any, Any]], float]


def data_folder(name: str) -> Path:
    """Return a folder of real data.

    It is in the folder that AZC_DATA names, or in `shared/data` beside the checkout.
    Exits if it does not exist.
    """
    named = os.environ.get("AZC_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not (folder / name).is_dir():
        sys.exit(
            f"{folder / name} does not exist: set AZC_DATA to the folder of real data"
        )
    return folder / name


# Statistics


def tau(x: Iterable[float], y: Iterable[float]) -> float:
    """Return Kendall's τ-b, 0 if one of them is constant."""
    found = float(kendalltau(list(x), list(y)).statistic)
    return found if np.isfinite(found) else 0.0


def rho(x: Iterable[float], y: Iterable[float]) -> float:
    """Return Spearman's ρ, 0 if one of them is constant."""
    x, y = list(x), list(y)
    if len(set(x)) < 2 or len(set(y)) < 2:
        return 0.0
    return float(spearmanr(x, y).statistic)


def within(
    statistic: Callable[[Iterable[float], Iterable[float]], float],
    x: Sequence[float],
    y: Sequence[float],
    groups: Sequence[Hashable],
) -> float:
    """Average a correlation over groups, weighted by their numbers of pairs."""
    total = pairs = 0.0
    for group in dict.fromkeys(groups):
        members = [i for i, each in enumerate(groups) if each == group]
        weight = len(members) * (len(members) - 1) / 2
        if weight:
            found = statistic([x[i] for i in members], [y[i] for i in members])
            total, pairs = total + weight * found, pairs + weight
    return total / pairs if pairs else 0.0


def interval(size: int, statistic: Statistic, seed: int = 0) -> list[float]:
    """Return a 95 % percentile bootstrap interval (Efron 1979).

    Args:
        size: Size of the sample.
        statistic: Computes a value from the indices of a resample.
        seed: Random seed of the resamples.
    """
    rng = np.random.default_rng(seed)
    found = [statistic(rng.integers(0, size, size)) for _ in range(RESAMPLES)]
    return [float(each) for each in np.quantile(found, [0.025, 0.975])]


def tau_interval(
    x: Sequence[float],
    y: Sequence[float],
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> list[float]:
    """Return the bootstrap interval of τ-b, or of its mean within groups.

    Only the number of draws of each member matters, so that the sums over pairs of all
    resamples are three matrix products.
    """
    groups = [0] * len(x) if groups is None else groups
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(x), np.full(len(x), 1 / len(x)), RESAMPLES).astype(
        float
    )
    total, pairs = np.zeros(RESAMPLES), np.zeros(RESAMPLES)
    for group in dict.fromkeys(groups):
        members = [i for i, each in enumerate(groups) if each == group]
        signs = [
            np.sign(np.subtract.outer(each, each))
            for each in (np.asarray(x)[members], np.asarray(y)[members])
        ]
        times = drawn[:, members]
        agree, of_x, of_y = (
            np.einsum("ri,ri->r", times @ matrix, times)
            for matrix in (signs[0] * signs[1], signs[0] ** 2, signs[1] ** 2)
        )
        norm = np.sqrt(of_x * of_y)
        found = np.divide(agree, norm, out=np.zeros(RESAMPLES), where=norm > 0)
        size = times.sum(1)
        weight = size * (size - 1) / 2
        total, pairs = total + weight * found, pairs + weight
    return [float(each) for each in np.quantile(total / pairs, [0.025, 0.975])]


def mean_interval(values: Sequence[float]) -> dict[str, Any]:
    """Return the mean of independent values with its bootstrap interval."""
    array = np.asarray(values, float)
    ends = interval(len(array), lambda taken: float(array[taken].mean()))
    return {"mean": float(array.mean()), "interval": ends}


def holm(values: Sequence[float]) -> list[float]:
    """Correct p-values for their number (Holm 1979)."""
    order = sorted(range(len(values)), key=values.__getitem__)
    found, least = [0.0] * len(values), 0.0
    for place, which in enumerate(order):
        least = max(least, min(1.0, values[which] * (len(values) - place)))
        found[which] = least
    return found


# Tables and pages


def table(head: Row, rows: Iterable[Row]) -> str:
    """Render a Markdown table: text in the first column, numbers in the others."""
    lines = [f"| {' | '.join(head)} |", f"|---|{'--:|' * (len(head) - 1)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)


def format_value(
    value: float, ends: Sequence[float] | None = None, digits: int = 2
) -> str:
    """Format a value, with its interval if there is one, and typographic minus signs."""
    text, *rest = (f"{each:z.{digits}f}" for each in (value, *(ends or ())))
    if rest:
        text += f" ({rest[0]} to {rest[1]})"
    return text.replace("-", "−")


def format_p(p: float | None) -> str:
    """Format a p-value: `0.012`, `< 0.001`, or a dash if there is none."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def format_test(found: Verdict, digits: int = 3) -> str:
    """Format a difference with its interval and p-value, if there are any."""
    if found.low is None or found.high is None or found.p is None:
        return format_value(found.gain, digits=digits)
    text = format_value(found.gain, (found.low, found.high), digits)
    p = format_p(found.p)
    return f"{text.removesuffix(')')}; p {p if p[0] == '<' else f'= {p}'})"


def made_with() -> dict[str, str]:
    """Return the versions that a benchmark runs with."""
    import torch

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
    }


def versions(figures: Mapping[str, Any]) -> list[str]:
    """Return a line with the versions that the figures were made with, if known."""
    known = figures.get("made_with")
    if not known:
        return []
    return [
        f"Made with Python {known['python']} and PyTorch {known['torch']} on"
        f" {known['machine']}."
    ]


def marks(name: str) -> tuple[str, str]:
    """Return the comments around a generated section of a page."""
    return f"<!-- generated: {name} -->\n", f"<!-- end of {name} -->"


def pages() -> list[Path]:
    """Return the pages of the documentation."""
    return sorted(DOCS.rglob("*.md"))


def page_of(name: str) -> Path:
    """Return the page with the section `name`.

    Raises:
        ValueError: If no page has the section, or several have it.
    """
    first, last = marks(name)
    found = []
    for page in pages():
        _, start, rest = page.read_text(encoding="utf-8").partition(first)
        if start and last in rest:
            found.append(page)
    if len(found) != 1:
        count = "several pages have" if found else "no page has"
        raise ValueError(f"{count} the section {name}: {first}{last}")
    return found[0]


def section(name: str) -> str:
    """Return the text of a generated section."""
    first, last = marks(name)
    text = page_of(name).read_text(encoding="utf-8")
    return text.partition(first)[2].partition(last)[0]


def write_section(name: str, text: str) -> None:
    """Replace the text of a generated section. Raises ValueError as `page_of` does."""
    first, last = marks(name)
    page = page_of(name)
    before, _, rest = page.read_text(encoding="utf-8").partition(first)
    after = rest.partition(last)[2]
    body = f"{text.rstrip()}\n" if text else ""
    page.write_text(f"{before}{first}{body}{last}{after}", encoding="utf-8")


def add_publish_option(parser: argparse.ArgumentParser) -> None:
    """Add `--publish` to a benchmark that has a section in the documentation."""
    what = "write benchmarks/results, and the tables into their page under docs"
    parser.add_argument("--publish", action="store_true", help=what)


def publish(name: str, figures: dict[str, Any], text: str) -> None:
    """Write the results of a benchmark, and its section. Raises as `page_of` does."""
    write_section(name, text)
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}.json"
    file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print("To update docs/results.md: python -m benchmarks results --publish")


def result(name: str) -> dict[str, Any]:
    """Read the results of a benchmark that were published last."""
    text = (RESULTS / f"{name}.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found
