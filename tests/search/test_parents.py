"""Candidates of any number of parents, none included."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from azc.check.program import SpaceSpec
from azc.cli.app import app
from azc.diagnostics import RunError
from azc.report.page import page
from azc.search.admission import Admission
from azc.search.events import Event, Scored
from azc.search.genome import Genome
from azc.search.options import EvolveOptions
from azc.search.records import NewCandidate
from azc.search.run import resume
from azc.search.strategies.base import Child
from azc.search.strategies.base import Scored as Told
from azc.search.view import RunView
from tests.report.dom import block, parse, rows
from tests.runs import Killed, cut_at, result, run_here, tiny
from tests.search.rounds import ROW, space_of

START, SPACE = space_of(ROW)

# Candidates by how they came about, with their parents and their kernels.
FAMILY = {
    "by hand": ((), (7, 7, 7)),
    "of the start": ((1,), (5, 3, 3)),
    "of both": ((3, 2), (5, 7, 7)),
    "of three": ((4, 1, 2), (5, 3, 7)),
}


def child(name: str) -> Child:
    parents, kernels = FAMILY[name]
    three = "conv(kernel = 3)\n        " * 3
    layers = "".join(f"conv(kernel = {kernel})\n" for kernel in kernels)
    text = ROW.replace(three.rstrip(" "), layers)
    return Child(Genome.from_text(text, "start"), parents, name)


class Family:
    """First two candidates, one that nobody bore; then one of both, then of three."""

    def __init__(self) -> None:
        self.round = 0

    def ask(
        self, count: int, rng: random.Random, known: Mapping[str, int]
    ) -> list[int | Child]:
        names = list(FAMILY)
        if self.round == 0:
            return [1, child(names[0]), child(names[1])]
        return [child(name) for name in names[self.round + 1 :][:1]]

    def tell(self, round: Sequence[Told]) -> None:
        self.round += 1

    def state(self) -> object:
        return self.round

    def restore(self, state: Any, genome: Callable[[int], Genome]) -> None:
        self.round = state

    def display(self) -> dict[str, str]:
        return {}


def family(start: Genome, space: SpaceSpec, options: EvolveOptions) -> Family:
    return Family()


@pytest.fixture(scope="module")
def run(home: Path) -> tuple[RunView, list[Event]]:
    """A run of five candidates in three rounds; the last is the winner."""
    events: list[Event] = []
    options = tiny(home / "corpus.txt", evaluations=5, warm_up=0, final_seeds=())
    view = run_here(
        options,
        home / "family",
        home / "cache",
        ROW,
        strategy=family,
        on_event=events.append,
    )
    return view, events


def test_the_journal_has_them_in_order(run: tuple[RunView, list[Event]]) -> None:
    view, events = run
    parents = {c.mutation: c.parents for c in view.candidates.values()}
    assert parents == {"the start": ()} | {n: p for n, (p, _) in FAMILY.items()}
    told = {e.mutation: e.parents for e in events if isinstance(e, Scored)}
    assert told == parents


def test_a_line_goes_by_first_parents(run: tuple[RunView, list[Event]]) -> None:
    view, _ = run
    assert [c.id for c in view.lineage(5)] == [1, 3, 4, 5]
    assert [c.id for c in view.lineage(2)] == [2]


def test_a_kill_loses_none(
    run: tuple[RunView, list[Event]], home: Path, tmp_path: Path
) -> None:
    view, events = run
    for moment in range(len(events)):
        folder = tmp_path / str(moment)
        with pytest.raises(Killed):
            run_here(
                view.options,
                folder,
                home / "cache",
                ROW,
                strategy=family,
                on_event=cut_at(moment),
            )
        resume(folder, cache=home / "cache", strategy=family)
        assert result(folder) == result(view.folder)


def test_the_commands_tell_them(run: tuple[RunView, list[Event]]) -> None:
    view, _ = run
    folder = str(view.folder)
    said = CliRunner().invoke(app, ["log", folder, "--all"]).stdout
    assert "0004  of both\n      from 0003 and 0002\n" in said
    assert "0005  of three\n      from 0004 and 0001 and 0002\n" in said
    found = json.loads(
        CliRunner().invoke(app, ["log", folder, "--all", "--json"]).stdout
    )
    assert [step["id"] for step in found["steps"]] == [1, 3, 4, 5]
    by_number = {each["id"]: each for each in found["candidates"]}
    assert {n: each["parents"] for n, each in by_number.items()} == {
        n: list(c.parents) for n, c in view.candidates.items()
    }
    assert (by_number[2]["diff"], by_number[4]["diff"] != "") == ("", True)


def test_the_page_shows_them(run: tuple[RunView, list[Event]]) -> None:
    view, _ = run
    dom = parse(page(view))
    packed = rows(block(dom, "rows"))
    assert {n: tuple(row["parents"]) for n, row in packed.items()} == {
        n: c.parents for n, c in view.candidates.items()
    }
    # In the tree each stands under its first parent, with the others named beside it.
    named = {n: parse(row["node"]).all("a")[1:] for n, row in packed.items()}
    beside = {n: [a.attributes["href"] for a in links] for n, links in named.items()}
    assert beside == {
        n: [f"#c{other}" for other in c.parents[1:]] for n, c in view.candidates.items()
    }
    for number, candidate in view.candidates.items():
        entry = next(
            e
            for e in dom.all("details")
            if e.attributes.get("data-number") == f"{number}"
        )
        ways = [link.attributes["href"] for link in entry.one("p", "mutation").all("a")]
        children = [c.id for c in view.candidates.values() if number in c.parents]
        assert ways == [f"#c{n}" for n in (*candidate.parents, *children)]


def test_only_candidates_are_parents() -> None:
    def admission() -> Admission:
        return Admission(START, SPACE, 4, {START.key: 1}, {1: START}.__getitem__)

    found = admission()
    assert not found.take([replace(child("of both"), parents=(1, 1))])
    (member,) = found.members
    assert isinstance(member, NewCandidate)
    assert member.parents == (1,)
    for parents in ((2,), (1, 2), (0, 1)):
        with pytest.raises(
            RunError, match=r"a child of candidate .*, which does not exist"
        ):
            admission().take([replace(child("of both"), parents=parents)])
