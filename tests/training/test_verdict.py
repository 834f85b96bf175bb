"""Verdicts beside a hand-worked t-test, and how often chance alone gives one."""

from __future__ import annotations

import math
from statistics import fmean, stdev

import numpy as np
import pytest

from azc.diagnostics import UsageError
from azc.training.verdict import LEVEL, verdict, verdicts


def test_by_hand() -> None:
    losses, others = [1.0, 1.1, 0.9], [1.5, 1.4, 1.4]
    gains = [0.5, 0.3, 0.5]
    found = verdict(losses, others)
    error = stdev(gains) / math.sqrt(3)
    critical = 4.302652729911275  # Student's t, two degrees of freedom, 97.5 %
    assert found.gain == pytest.approx(fmean(gains))
    assert found.low == pytest.approx(fmean(gains) - critical * error)
    assert found.high == pytest.approx(fmean(gains) + critical * error)
    assert found.word == "better"
    # For a table of ten the interval is that of 99.5 %.
    wider = verdict(losses, others, 10)
    assert wider.low == pytest.approx(fmean(gains) - 14.08904727555333 * error)
    assert wider.p == pytest.approx(10 * found.p)
    assert wider.word == "not shown to be better"
    assert verdict(others, losses).word == "worse"


def test_no_spread_and_single_seeds() -> None:
    assert verdict([1.0, 2.0], [2.0, 3.0]).word == "better"
    assert verdict([2.0, 3.0], [1.0, 2.0]).word == "worse"
    assert verdict([1.0, 2.0], [1.0, 2.0]).word == "not shown to be better"
    one = verdict([1.0], [5.0])
    assert (one.low, one.p, one.word) == (None, None, "not shown to be better")
    infinite = verdict([1.0, 2.0], [math.inf, 3.0])
    assert infinite.word == "not shown to be better"
    for losses, others in (([], []), ([1.0], [1.0, 2.0])):
        with pytest.raises(UsageError, match="same seeds"):
            verdict(losses, others)


def test_chance_alone_is_rarely_told_from_something() -> None:
    """Tables of eight equal programs, with three seeds: few have any word but one."""
    random = np.random.default_rng(0)
    tables = 2000
    spoken = 0
    for _ in range(tables):
        seeds = random.normal(size=3)  # a seed moves all programs alike
        noise = random.normal(scale=0.01, size=(9, 3))
        mine, *others = (list(seeds + row) for row in noise)
        found = verdicts(mine, dict(enumerate(others)))
        spoken += any(v.word != "not shown to be better" for v in found.values())
    assert spoken / tables < LEVEL
    assert spoken
