"""What may be said of two programs trained alone from the same seeds.

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

LEVEL = 0.05  # how often at most chance alone gives any "better" or "worse" of a table

Word = Literal["better", "no significant difference", "worse"]
NO_DIFFERENCE: Word = "no significant difference"


@dataclass(frozen=True)
class Verdict:
    """How one program's losses compare with another's, seed by seed.

    `gain`: how much lower its mean loss is, in nats; `low` and `high`, the interval that
    covers it with a probability of 1 − `LEVEL`, corrected for the number of comparisons
    (None for a single seed). `p`: how often chance alone gives a difference as large,
    corrected likewise (two-sided; None for a single seed).
    """

    gain: float
    low: float | None
    high: float | None
    p: float | None
    word: Word


def verdict(
    losses: Sequence[float], others: Sequence[float], table: int = 1
) -> Verdict:
    """The verdict on `losses` beside `others`, from the same seeds in the same order.

    A paired t-test (Student 1908), corrected for `table` comparisons (Bonferroni). Raises
    UsageError T004 for lists of unlike lengths, or empty ones.
    """
    if not losses or len(losses) != len(others):
        raise UsageError(
            "T004",
            f"{len(losses)} losses beside {len(others)}: a paired comparison takes the"
            " same seeds for both",
        )
    gains = [other - loss for loss, other in zip(losses, others, strict=True)]
    gain = fmean(gains)
    if len(gains) == 1 or not all(map(math.isfinite, gains)):
        return Verdict(gain, None, None, None, NO_DIFFERENCE)
    if len(set(gains)) == 1:
        # Without any spread no test is needed; two like programs are like ones.
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
    """The verdict beside each of several, corrected for how many they are.

    By Holm 1979: the smallest of k values of p is corrected for k comparisons, the next
    for k − 1, and so on for as long as there is a difference; an interval is corrected
    as its comparison is. So chance alone gives a "better" or "worse" in a table as
    rarely as with Bonferroni's correction, and what is far off doesn't hide what is
    near.
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
    """Kendall's τ-b of two rankings (1945), NaN where one of them is all ties."""
    from scipy import stats

    return float(stats.kendalltau(*zip(*pairs, strict=True)).statistic)
