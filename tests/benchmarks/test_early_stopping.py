"""Curves replayed: regret and cost of stopping early, by hand and by the real data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.early_stopping import (
    EPOCHS,
    POOLS,
    halving,
    load_curves,
    policies,
    replay,
)


def curve(*knots: float) -> list[float]:
    """The best loss so far, each knot for ten epochs."""
    return [loss for loss in knots for _ in range(EPOCHS // len(knots))]


# The second is behind at first and the best in the end; the last fails after 20 epochs.
CURVES = np.array(
    [
        curve(5.0, 4.0, 3.5, 3.4, 3.3),
        curve(6.0, 5.0, 4.0, 3.0, 2.0),
        curve(4.0, 3.9, 3.8, 3.7, 3.6),
        curve(7.0, 6.0, np.inf, np.inf, np.inf),
    ]
)
ALL = 50 + 50 + 50 + 21


@pytest.mark.parametrize(
    ("stages", "again", "regret", "epochs"),
    [
        ([(4, 50)], False, 0.0, ALL),
        # At 10 the third leads, then the first; the second is out.
        ([(4, 10), (2, 50)], False, 1.3, 4 * 10 + 2 * 40),
        ([(4, 10), (2, 50)], True, 1.3, 4 * 10 + 2 * 50),
        ([(4, 10), (1, 50)], False, 1.6, 4 * 10 + 40),
        # At 40 the second leads.
        ([(4, 40), (1, 50)], False, 0.0, 3 * 40 + 21 + 10),
        ([(4, 10), (3, 40), (1, 50)], False, 0.0, 4 * 10 + 3 * 30 + 10),
    ],
)
def test_a_pool_by_hand(
    stages: list[tuple[int, int]], again: bool, regret: float, epochs: int
) -> None:
    found, cost = replay(CURVES, stages, again)
    assert found == pytest.approx(regret)
    assert cost == pytest.approx(epochs / ALL)


@pytest.mark.parametrize("pool", POOLS)
def test_policies_train_the_last_stage_to_the_end(pool: int) -> None:
    for stages, _ in policies(pool).values():
        sizes, epochs = zip(*stages, strict=True)
        assert sizes[0] == pool
        assert epochs[-1] == EPOCHS
        assert list(sizes) == sorted(sizes, reverse=True)
        assert list(epochs) == sorted(set(epochs))


def test_halving_keeps_one_in_eta() -> None:
    assert halving(24, 2, 3) == [(24, 12), (12, 25), (6, 50)]
    assert halving(6, 4, 2) == [(6, 12), (2, 50)]


def test_the_real_curves(azc_data: Path) -> None:
    curves = load_curves(azc_data / "nas-bench-nlp")
    assert curves.shape == (345, EPOCHS)
    assert np.isinf(curves[:, -1]).sum() == 4
    assert not np.isnan(curves).any()
    assert (np.diff(curves[np.isfinite(curves[:, -1])]) <= 0).all()
