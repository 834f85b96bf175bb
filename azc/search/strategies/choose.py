"""Selection of a strategy by name: one of azc's, or a class in a user's file.

Codes: R035 a folder is not a run, or its `run.json` cannot be read; U024 unknown or
invalid strategy.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from azc.diagnostics import RunError, UsageError, nearest
from azc.search.strategies.base import MakeStrategy
from azc.search.strategies.local import local
from azc.search.strategies.nsga2 import nsga2
from azc.search.strategies.opnas import op_nas
from azc.search.strategies.own import load_own, own_file, read_own
from azc.search.strategies.random_search import random_search
from azc.search.strategies.regularized import regularized
from azc.search.strategies.sepx import sepx
from azc.search.strategies.surrogate import surrogate

__all__ = ["STRATEGIES", "choose_strategy", "strategy_text"]

STRATEGIES: Mapping[str, MakeStrategy] = MappingProxyType(
    {
        "op-nas": op_nas,
        "regularized": regularized,
        "random": random_search,
        "local": local,
        "nsga2": nsga2,
        "sepx": sepx,
        "surrogate": surrogate,
    }
)


def strategy_text(name: str) -> str | None:
    """Return the text of a user's strategy file, or None for a strategy of azc.

    Raises:
        UsageError: U024 for an unknown name, or a file that can't be read.
    """
    own = own_file(name)
    if own is not None:
        return read_own(own[0])
    if name not in STRATEGIES:
        near = nearest(name, STRATEGIES)
        hint = f"did you mean {near}? " if near else ""
        known = ", ".join(STRATEGIES)
        raise UsageError(
            "U024",
            f"there is no strategy {name!r}",
            f"{hint}strategies: {known}; or a class in a file, my.py:Mine",
        )
    return None


def choose_strategy(name: str, text: str | None) -> MakeStrategy:
    """Return the constructor of a strategy.

    A user's strategy is loaded from the text that is stored in the run.

    Raises:
        UsageError: U024 for an unknown name; otherwise as `load_own`.
    """
    own = own_file(name)
    if own is None:
        strategy_text(name)
        return STRATEGIES[name]
    if text is None:
        raise RunError("R035", f"the run has no copy of {own[0]}, its strategy")
    return load_own(*own, text)
