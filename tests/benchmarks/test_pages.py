"""The tables of docs/benchmarks.md are those of the results that are committed."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import tables
from benchmarks.__main__ import BENCHMARKS
from benchmarks.tables import interval, marks, rho, tau, tau_interval, within

PUBLISHED = sorted(file.stem for file in tables.RESULTS.glob("*.json"))


def test_every_section_has_results() -> None:
    page = tables.PAGE.read_text(encoding="utf-8")
    sections = re.findall(r"^<!-- end of (.*) -->$", page, re.MULTILINE)
    assert sorted(sections) == PUBLISHED
    assert PUBLISHED


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_table_is_that_of_the_results(name: str) -> None:
    module = importlib.import_module(f"benchmarks.{BENCHMARKS[name]}")
    first, last = marks(name)
    page = tables.PAGE.read_text(encoding="utf-8")
    assert page.count(first) == page.count(last) == 1
    shown = page.partition(first)[2].partition(last)[0]
    assert shown == module.written(tables.result(name)).rstrip() + "\n"


def test_publishing_touches_one_section(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(tables, "RESULTS", tmp_path / "results")
    one, other = ("".join(marks(name)) for name in ("one", "other"))
    tables.PAGE.write_text(f"# A\n\n{one}\n\nB\n\n{other}\n", encoding="utf-8")
    for text in ("old\n", "new"):
        tables.publish("one", {"x": 1}, text)
    first, last = marks("one")
    wanted = f"# A\n\n{first}new\n{last}\n\nB\n\n{other}\n"
    assert tables.PAGE.read_text(encoding="utf-8") == wanted
    assert tables.result("one") == {"x": 1}


def test_publishing_where_there_is_no_section_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(tables, "RESULTS", tmp_path / "results")
    tables.PAGE.write_text("# A\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no place for one"):
        tables.publish("one", {}, "text")
    assert tables.PAGE.read_text(encoding="utf-8") == "# A\n"
    assert not tables.RESULTS.exists()


def pairs(x: list[float], y: list[float]) -> float:
    """Kendall's τ-b by its definition (Kendall 1945)."""
    signs = [
        (np.sign(x[i] - x[j]), np.sign(y[i] - y[j]))
        for i in range(len(x))
        for j in range(i)
    ]
    agree = sum(a * b for a, b in signs)
    return float(
        agree / np.sqrt(sum(a != 0 for a, _ in signs) * sum(b != 0 for _, b in signs))
    )


def test_correlations() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 6, 30).astype(float).tolist()
    y = (np.array(x) + rng.normal(0, 3, 30)).round().tolist()
    assert tau(x, y) == pytest.approx(pairs(x, y))
    ranks = [
        [sum(b < a for b in z) + sum(b == a for b in z) / 2 for a in z] for z in (x, y)
    ]
    assert rho(x, y) == pytest.approx(np.corrcoef(ranks)[0, 1])
    assert tau([1.0] * 30, y) == rho([1.0] * 30, y) == 0.0
    # Two groups in which the order is reversed, and one that says nothing.
    groups = ["a"] * 3 + ["b"] * 2 + ["c"]
    found = within(tau, [1, 2, 3, 11, 12, 0], [3, 2, 1, 12, 11, 0], groups)
    assert found == -1.0
    found = within(tau, [1, 2, 3, 11, 12], [1, 2, 3, 12, 11], groups[:5])
    assert found == pytest.approx((3 * 1 + 1 * -1) / 4)


def test_an_interval_covers_as_often_as_it_says() -> None:
    """The mean of 40 normal numbers: of 100 intervals about 95 have 0 in them."""
    covered = 0
    for seed in range(100):
        sample = np.random.default_rng(seed).normal(size=40)
        low, high = interval(40, lambda taken, x=sample: float(x[taken].mean()))
        covered += low <= 0.0 <= high
    assert 88 <= covered <= 99


def test_the_interval_of_a_correlation_is_that_of_its_resamples() -> None:
    """Drawn one by one, and counted: the same up to the noise of 1,000 resamples."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 8, 40).astype(float)
    y = (x + rng.normal(0, 4, 40)).round()
    groups = np.arange(40) % 2

    def whole(taken: np.ndarray[Any, Any]) -> float:
        return tau(x[taken], y[taken])

    def inside(taken: np.ndarray[Any, Any]) -> float:
        return within(tau, list(x[taken]), list(y[taken]), list(groups[taken]))

    found = [*tau_interval(x, y), *tau_interval(x, y, list(groups))]
    wanted = [*interval(40, whole), *interval(40, inside)]
    assert found == pytest.approx(wanted, abs=0.04)
