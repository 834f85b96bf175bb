"""Commands that read a run do work in proportion to its size."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from benchmarks.scale import synthetic
from tests.cli.conftest import Azc
from tests.cli.conftest import azc as azc

SMALL, LARGE = 60, 480


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Runs by their numbers of candidates."""
    folder = tmp_path_factory.mktemp("scaling")
    draw = random.Random(0).random
    found = {size: folder / str(size) for size in (SMALL, LARGE)}
    for size, path in found.items():
        synthetic(path, size, "fresh", folder / "cache", draw)
    return found


@contextmanager
def counted() -> Iterator[Callable[[], int]]:
    """Count the function calls of this thread, those of C included."""
    calls = count()
    ended: list[int] = []

    def note(frame: object, event: str, _: object) -> None:
        if event in ("call", "c_call"):
            next(calls)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield lambda: ended[0]
    finally:
        sys.setprofile(before)
        ended.append(next(calls))


@pytest.mark.parametrize(
    "words", [["ask"], ["ask", "--json"], ["log", "--all", "--json"]], ids=" ".join
)
def test_the_work_of_a_candidate_does_not_grow(
    words: list[str], runs: dict[int, Path], azc: Azc
) -> None:
    command, *options = words
    calls = {}
    for size, run in runs.items():
        azc(command, run, *options)  # what is loaded once is loaded now
        with counted() as found:
            assert azc(command, run, *options).code == 0
        calls[size] = found()
    assert calls[LARGE] / calls[SMALL] < 1.3 * LARGE / SMALL, calls
