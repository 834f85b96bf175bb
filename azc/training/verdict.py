"""Statistical comparison of two programs trained from the same seeds.

Codes: T004 the losses to compare have different seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

from azc.diagnostics import UsageError

__all__ = [
    "LEVEL",
    "NO_DIFFERENCE",
    "Verdict",
    "Word",
    "kendall",
    "verdict",
    "verdicts",
]

LEVEL = 0.05  # family-wise error rate: of any "better" or "worse" in a table by chance

Word = Literal["better", "no significant difference", "worse"]
NO_DIFFERENCE: Word = "no significant difference"


@dataclass(frozen=True)
class Verdict:
    """The comparison of one program's losses with another's, paired by seed.

    `gain` is the difference of the mean losses in nats, positive if the program is
    better. `low` and `high` bound its confidence interval at level 1 − `LEVEL`,
    corrected for the number of comparisons (None for a single seed). `p` is the
    two-sided p-value, corrected likewise (None for a single seed).
    """

    gain: float
    low: float | None
    high: float | None
    p: float | None
    word: Word


def verdict(
    losses: Sequence[float], others: Sequence[float], table: int = 1
) -> Verdict:
    """Compare losses of the same seeds in the same order with a paired t-test (Student
    1908).

    Args:
        losses: The losses of a program.
        others: The losses of the program to compare with.
        table: The number of comparisons to correct for (Bonferroni).

    Raises:
        UsageError: T004, if the lists differ in length or are empty.
    """
    if not losses or len(losses) != len(others):
        raise UsageError(
            "T004",
            f"{len(losses)} losses and {len(others)} others: a paired comparison needs"
            " the same seeds for both",
        )
    gains = [other - loss for loss, other in zip(losses, others, strict=True)]
    gain = fmean(gains)
    if len(gains) == 1 or not all(map(math.isfinite, gains)):
        return Verdict(gain, None, None, None, NO_DIFFERENCE)
    if len(set(gains)) == 1:
        # Without any spread no test is needed; equal losses are no difference.
        word: Word = "better" if gain > 0 else "worse"
        same = Verdict(gain, gain, gain, 1.0, NO_DIFFERENCE)
        return same if gain == 0 else Verdict(gain, gain, gain, 0.0, word)
    from scipy import stats

    found = stats.ttest_rel(others, losses)
    interval = found.confidence_interval(1 - LEVEL / table)
    low, high = float(interval.low), float(interval.high)
    p = min(1.0, float(found.pvalue) * table)
    word = "better" if low > 0 else "worse" if high < 0 else NO_DIFFERENCE
    return Verdict(gain, low, high, p, word)


def verdicts(
    losses: Sequence[float], others: Mapping[int, Sequence[float]]
) -> dict[int, Verdict]:
    """Compare losses with those of several programs, corrected for the number of
    comparisons.

    The correction is that of Holm 1979: the smallest of k p-values is corrected for k
    comparisons, the next for k − 1, and so on as long as differences are significant;
    intervals are corrected like their comparison. The family-wise error rate is that of
    Bonferroni's correction, with more power.

    Args:
        losses: The losses of a program.
        others: The losses of each other program, by key.

    Returns:
        The verdicts, by key.
    """
    alone = {name: verdict(losses, other) for name, other in others.items()}
    order = sorted(
        alone, key=lambda name: (alone[name].p is None, alone[name].p or 0.0)
    )
    found: dict[int, Verdict] = {}
    left, least = len(order), 0.0
    for name in order:
        corrected = verdict(losses, others[name], left)
        if corrected.p is not None:
            least = max(least, corrected.p)  # never smaller than the one before
            corrected = replace(corrected, p=least)
        found[name] = corrected
        if corrected.word != NO_DIFFERENCE:
            left -= 1
    return {name: found[name] for name in others}


def kendall(pairs: Sequence[tuple[float | None, float | None]]) -> float:
    """Return Kendall's τ-b of two rankings (1945), NaN if one of them is all ties."""
    from scipy import stats

    return float(stats.kendalltau(*zip(*pairs, strict=True)).statistic)
