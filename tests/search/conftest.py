"""Runs of the search in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from azc.search.options import EvolveOptions
from azc.search.view import RunView
from tests.runs import PROGRAM, run_here, tiny, write_corpus


@pytest.fixture(scope="module", autouse=True)
def _one_thread(one_thread: None) -> None:
    """In every module here."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the corpus and the cache of a module's runs are."""
    folder = tmp_path_factory.mktemp("home")
    write_corpus(folder / "corpus.txt")
    return folder


@pytest.fixture(scope="module")
def options(home: Path) -> EvolveOptions:
    """Two rounds of four."""
    return tiny(home / "corpus.txt", evaluations=8)


@pytest.fixture
def go(home: Path, tmp_path: Path) -> Callable[..., RunView]:
    """Makes a run in `tmp_path / "run"`."""

    def run(options: EvolveOptions, text: str = PROGRAM, **more: Any) -> RunView:
        return run_here(options, tmp_path / "run", home / "cache", text, **more)

    return run
