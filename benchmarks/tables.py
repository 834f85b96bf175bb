"""What the benchmarks with tables share: real data, rank correlations, pages."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau, spearmanr

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
RESULTS = Path(__file__).resolve().parent / "results"
RESAMPLES = 1000

Row = Sequence[str]
Statistic = Callable[[np.ndarray[Any, Any]], float]


def data_folder(name: str) -> Path:
    """A folder of real data: in the one that AZC_DATA names, or in `shared/data` beside
    the checkout. Ends the program where there is none.
    """
    named = os.environ.get("AZC_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not (folder / name).is_dir():
        sys.exit(
            f"{folder / name} is not there: AZC_DATA names the folder of real data"
        )
    return folder / name


# Figures


def tau(x: Iterable[float], y: Iterable[float]) -> float:
    """Kendall's τ-b; 0 where one of them is constant."""
    found = float(kendalltau(list(x), list(y)).statistic)
    return found if np.isfinite(found) else 0.0


def rho(x: Iterable[float], y: Iterable[float]) -> float:
    """Spearman's ρ; 0 where one of them is constant."""
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
    """The mean of a correlation in each group, weighted by its number of pairs."""
    total = pairs = 0.0
    for group in dict.fromkeys(groups):
        members = [i for i, each in enumerate(groups) if each == group]
        weight = len(members) * (len(members) - 1) / 2
        if weight:
            found = statistic([x[i] for i in members], [y[i] for i in members])
            total, pairs = total + weight * found, pairs + weight
    return total / pairs if pairs else 0.0


def interval(size: int, statistic: Statistic, seed: int = 0) -> list[float]:
    """The 95 % interval of a statistic of a sample of so many, which is given what to
    take of it: percentile bootstrap (Efron 1979).
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
    """The interval of τ-b, or of its mean within groups, as `interval` has it.

    How often each member was drawn is all that matters: the sums over pairs of all
    resamples are three products of matrices.
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
    """The mean of independent values, with its bootstrap interval."""
    array = np.asarray(values, float)
    ends = interval(len(array), lambda taken: float(array[taken].mean()))
    return {"mean": float(array.mean()), "interval": ends}


# Pages


def table(head: Row, rows: Iterable[Row]) -> str:
    """A Markdown table: the first column is text, the others are numbers."""
    lines = [f"| {' | '.join(head)} |", f"|---|{'--:|' * (len(head) - 1)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)


def shown(value: float, ends: Sequence[float] | None = None, digits: int = 2) -> str:
    """A figure, with its interval; minus signs as in print."""
    text = f"{value:.{digits}f}"
    if ends is not None:
        text += f" ({ends[0]:.{digits}f} to {ends[1]:.{digits}f})"
    return text.replace("-", "−")


def made_with() -> dict[str, str]:
    """What figures were made with."""
    import torch

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
    }


def marks(name: str) -> tuple[str, str]:
    """What stands on the page before and after the tables of a benchmark."""
    return f"<!-- python -m benchmarks {name} -->\n", f"<!-- end of {name} -->"


def publishes(parser: argparse.ArgumentParser) -> None:
    """The option of a benchmark that has a place in docs/benchmarks.md."""
    what = "write the results, and their tables into docs/benchmarks.md"
    parser.add_argument("--publish", action="store_true", help=what)


def publish(name: str, figures: dict[str, Any], text: str) -> None:
    """Writes the results, and their tables into the page. Raises ValueError where the page
    has no place for them.
    """
    first, last = marks(name)
    page = PAGE.read_text(encoding="utf-8")
    before, here, rest = page.partition(first)
    _, end, after = rest.partition(last)
    if not (here and end):
        raise ValueError(f"{PAGE.name} has no place for {name}: {first}{last}")
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}.json"
    file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    PAGE.write_text(f"{before}{first}{text.rstrip()}\n{last}{after}", encoding="utf-8")


def result(name: str) -> dict[str, Any]:
    """The results of a benchmark, as they were last published."""
    text = (RESULTS / f"{name}.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found
