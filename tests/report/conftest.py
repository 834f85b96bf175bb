"""One real run for all tests of the page, and the page of it as a tree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from azc.report.page import page
from azc.search.displays import displays
from azc.search.records import START, Evaluation
from azc.search.view import RunView
from tests.browser import Page, binary, browser
from tests.cli.conftest import azc as azc
from tests.report.dom import Node, parse
from tests.runs import PROGRAM, run_here, tiny, write_corpus

# What a page must show and never obey.
HOSTILE = (
    "</script><script>window.owned = 1</script><img src=x onerror='window.owned = 2'>"
    '"><svg onload=window.owned=3> --><!-- ]]> &lt; {{ 7 * 7 }} {% raw %}'
)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the corpus and the cache of the runs are."""
    folder = tmp_path_factory.mktemp("report")
    write_corpus(folder / "corpus.txt")
    return folder


@pytest.fixture(scope="session")
def view(home: Path) -> RunView:
    """A run of three rounds, whose program and whose folder's name are hostile."""
    options = tiny(
        home / "corpus.txt",
        evaluations=15,
        round_size=5,
        final_seeds=(1, 2, 3),
        baselines=True,
    )
    folder = home / HOSTILE.replace("/", "∕")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return run_here(options, folder, home / "cache", f"# {HOSTILE}\n{PROGRAM}")
    finally:
        torch.set_num_threads(threads)


def descended(view: RunView, last: int, family: int = 1) -> RunView:
    """A run of so many candidates: each has so many children, one after the other."""
    start = view.candidates[START]
    candidates = {START: start} | {
        n: replace(
            start,
            id=n,
            parents=((n - 2) // family + 1,),
            mutation=f"step {n}",
            program=f"# {n}\n{start.program}",
        )
        for n in range(2, last + 1)
    }
    scores = tuple(
        Evaluation(0, n, "done", {"loss": 9.0 - n / last}, None, 1.0)
        for n in candidates
    )
    return replace(
        view,
        candidates=candidates,
        evaluations=scores,
        rounds=((0, True),),
        table=(),
        entrants={},
        fits=(),
    )


@pytest.fixture(scope="session")
def big(view: RunView) -> RunView:
    """A run of more candidates than a page shows at once; nobody has trained them."""
    return descended(view, 320, family=40)


@pytest.fixture(scope="session")
def html(view: RunView) -> str:
    """The page of the run."""
    return page(view, displays(view))


@pytest.fixture(scope="session")
def dom(html: str) -> Node:
    """The page as a tree."""
    return parse(html)


@pytest.fixture(scope="session")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A tab of a real browser; without one, a skip."""
    if binary() is None:
        pytest.skip("there is no Chromium here: AZC_CHROMIUM may name one")
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page
