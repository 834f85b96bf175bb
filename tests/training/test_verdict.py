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
    assert wider.word == "no significant difference"
    assert verdict(others, losses).word == "worse"


def test_no_spread_and_single_seeds() -> None:
    assert verdict([1.0, 2.0], [2.0, 3.0]).word == "better"
    assert verdict([2.0, 3.0], [1.0, 2.0]).word == "worse"
    assert verdict([1.0, 2.0], [1.0, 2.0]).word == "no significant difference"
    one = verdict([1.0], [5.0])
    assert (one.low, one.p, one.word) == (None, None, "no significant difference")
    infinite = verdict([1.0, 2.0], [math.inf, 3.0])
    assert infinite.word == "no significant difference"
    for losses, others in (([], []), ([1.0], [1.0, 2.0])):
        with pytest.raises(UsageError, match="same seeds"):
            verdict(losses, others)


def test_chance_alone_is_rarely_told_from_something() -> None:
    """Tables of eight equal programs, with three seeds: few have any word but one."""
    random = np.random.default_rng(0)
    tables = 600
    spoken = 0
    for _ in range(tables):
        seeds = random.normal(size=3)  # a seed moves all programs alike
        noise = random.normal(scale=0.01, size=(9, 3))
        mine, *others = (list(seeds + row) for row in noise)
        found = verdicts(mine, dict(enumerate(others)))
        spoken += any(v.word != "no significant difference" for v in found.values())
    assert spoken / tables < LEVEL
    assert spoken


def test_what_is_far_off_does_not_hide_what_is_near() -> None:
    mine = [1.0, 1.1, 0.9]
    near = [1.3, 1.5, 1.15]
    far = {
        place: [value + 5 + 0.001 * place * seed for seed, value in enumerate(mine)]
        for place in range(1, 9)
    }
    assert verdict(mine, near, 9).word == "no significant difference"
    found = verdicts(mine, {0: near, **far})
    assert {v.word for v in found.values()} == {"better"}
    assert list(found) == [0, *far]
    assert found[0].p == pytest.approx(verdict(mine, near).p)
    # Where others are not told apart, what is near has to be corrected for them.
    alike = {
        place: [v + (-1) ** s for s, v in enumerate(mine)] for place in range(1, 9)
    }
    assert verdicts(mine, {0: near, **alike})[0].word == "no significant difference"


def test_corrected_values_of_p_are_holms() -> None:
    random = np.random.default_rng(1)
    for _ in range(50):
        mine = list(random.normal(size=4))
        others = {n: list(random.normal(size=4) + n / 2) for n in range(6)}
        plain = sorted(verdict(mine, other).p for other in others.values())
        holm, least = [], 0.0
        for place, p in enumerate(plain):
            least = max(least, min(1.0, p * (len(plain) - place)))
            holm.append(least)
        found = sorted(v.p for v in verdicts(mine, others).values())
        rejected = [p < LEVEL for p in holm]
        assert [p < LEVEL for p in found] == rejected
        assert found[: sum(rejected)] == pytest.approx(holm[: sum(rejected)])
