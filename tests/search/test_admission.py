"""No work twice: what is known, equal in function or in vain is not trained."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from azc.check.program import SpaceSpec
from azc.cli.app import app
from azc.search.admission import Admission
from azc.search.events import Ended, Event, Skipped
from azc.search.genome import Genome
from azc.search.options import EvolveOptions
from azc.search.records import NewCandidate
from azc.search.refused import EQUAL, FAULT, KNOWN, Refused, refused_json, refused_words
from azc.search.run import resume
from azc.search.strategies.base import Child, Scored
from azc.search.view import RunView
from tests.runs import (
    PROGRAM,
    Killed,
    cut_at,
    log_lines,
    result,
    rows,
    run_here,
    scored,
    tiny,
)

TEXT = PROGRAM.replace("from std.attention import sdpa\n", "").replace(
    "model start",
    """attention sdpa(q, k, v) {
    return softmax(scale(q @ k.T)) @ v
}

model start""",
)
TEXT = TEXT.replace("matmul, mul, tanh]", "matmul, mul, tanh, log, sub]")
SDPA = "softmax(scale(q @ k.T)) @ v"
EQUALS = [
    "softmax(scale(q) @ k.T) @ v",
    "softmax(q @ scale(k).T) @ v",
    "softmax(scale(k @ q.T).T) @ v",
    "softmax(scale(q @ k.T) * 1) @ v",
    "(v.T @ softmax(scale(q @ k.T)).T).T",
]
NEW = ["softmax(q @ k.T) @ v", "tanh(scale(q @ k.T)) @ v", "scale(q @ k.T) @ v"]
NAN, BLIND = "log(q) @ (k.T @ v)", "(q - q) * v"


def genome(body: str, text: str = TEXT) -> Genome:
    """The start with another body of its program."""
    return Genome.from_text(text.replace(SDPA, body), "start")


def child(body: str, parent: int = 1, text: str = TEXT) -> Child:
    return Child(genome(body, text), (parent,), body)


START = genome(SDPA)
SPACE = START.program.spaces["tiny"]


def admission(size: int = 4, start: Genome = START) -> Admission:
    keys = {start.key: 1, start.function: 1}
    return Admission(start, SPACE, size, keys, {1: start}.__getitem__)


def whys(refused: Iterable[Refused]) -> list[str]:
    return [each.why for each in refused]


# One round


def test_what_is_new_is_taken() -> None:
    found = admission()
    assert not found.take([1, *map(child, NEW)])
    assert found.members[0] == 1
    new = [each for each in found.members if isinstance(each, NewCandidate)]
    assert [each.mutation for each in new] == NEW
    assert [each.function for each in new] == [genome(body).function for body in NEW]
    assert found.refused == []
    assert not found.is_used_up


def test_another_answer_is_wanted_in_place_of_what_is_refused() -> None:
    found = admission()
    asked = [1, child(SDPA), child(EQUALS[0]), child(NEW[0])]
    assert found.take(asked)
    assert [each.why for each in found.refused] == [KNOWN, EQUAL]
    assert [each.same for each in found.refused] == [START.key, START.function]
    # What it has seen is known to the strategy, with a candidate near it.
    for each in (SDPA, EQUALS[0], NEW[0]):
        assert found.known[genome(each).key] == 1
    assert found.take([1, child(EQUALS[0]), child(NEW[0]), child(NEW[1])])
    assert whys(found.refused) == [KNOWN, EQUAL, EQUAL, KNOWN]
    assert not found.take([child(each) for each in NEW])
    assert len(found.members) == 4


def test_no_more_is_wanted_than_was_asked_for_at_first() -> None:
    found = admission(size=12)
    assert found.take([child(NEW[0]), child(EQUALS[0])])
    assert not found.take(list(map(child, NEW[1:])))
    assert len(found.members) == 2


def test_equal_to_each_other() -> None:
    found = admission()
    found.take([child("tanh(q) @ (k.T @ v)"), child("(tanh(k) @ q.T) @ v")])
    assert whys(found.refused) == [EQUAL]
    assert len(found.members) == 1


@pytest.mark.parametrize(
    ("body", "said"), [(NAN, "NaN"), (BLIND, "does not depend on its inputs")]
)
def test_what_can_not_be_trained(body: str, said: str) -> None:
    found = admission()
    found.take([child(body)])
    (refused,) = found.refused
    assert (refused.why, refused.same, refused.parents) == (FAULT, None, (1,))
    assert said in str(refused.reason)


def test_one_faulty_layer_is_enough() -> None:
    text = TEXT.replace("repeat 2 {\n            sdpa\n        }", "sdpa\n        odd")
    text = text.replace(
        "model start", "attention odd(q) {\n    return log(q)\n}\n\nmodel start"
    )
    found = admission()
    found.take([Child(Genome.from_text(text, "start"), (1,), "odd")])
    assert whys(found.refused) == [FAULT]


def test_what_a_start_has_is_meant_so() -> None:
    """Its children may keep it, and get no other fault."""
    start = genome(BLIND)
    found = admission(start=start)
    convs = "repeat 2 {\n            sdpa\n        }", "sdpa\n        conv(kernel = 3)"
    kept = Genome.from_text(start.text.replace(*convs), "start")
    found.take([1, Child(kept, (1,), "kept"), child(NAN)])
    assert [getattr(each, "mutation", each) for each in found.members] == [1, "kept"]
    assert whys(found.refused) == [FAULT]


def test_what_any_parent_has_is_meant_so() -> None:
    """And what the start has, also in what nobody bore."""
    texts = {1: genome(BLIND), 2: genome(NEW[0]), 3: genome(NAN)}
    keys = {each.key: number for number, each in texts.items()}
    convs = "repeat 2 {\n            sdpa\n        }", "sdpa\n        conv(kernel = 3)"
    blind, nan = (
        Genome.from_text(texts[number].text.replace(*convs), "start")
        for number in (1, 3)
    )
    for asked, whys_ in [
        (Child(blind, (2,), ""), []),
        (Child(blind, (), ""), []),
        (Child(nan, (2, 3), ""), []),
        (Child(nan, (2, 1), ""), [FAULT]),
        (Child(nan, (), ""), [FAULT]),
    ]:
        found = Admission(texts[1], SPACE, 4, keys, texts.__getitem__)
        found.take([asked])
        assert whys(found.refused) == whys_


@pytest.mark.parametrize("body", ["-v", "q + v", "softmax(q)"])
def test_what_mixes_nothing_is_a_program(body: str) -> None:
    assert genome(body).faults == {}


def test_a_hundred_refused_and_none_new_are_enough() -> None:
    found = admission()
    answers = 1
    while found.take([child(each) for each in EQUALS]):
        answers += 1
    assert len(found.refused) == 5 * answers == 100
    assert found.is_used_up


def test_in_words_and_in_json() -> None:
    refused = [
        *(Refused((1,), "", KNOWN, "key", None) for _ in range(2)),
        Refused((1,), "", EQUAL, "function", None),
        Refused((1,), "", FAULT, None, "it gives NaN"),
    ]
    assert refused_words(refused) == (
        "4 children not trained: 2 already known, 1 equivalent to a known program, 1"
        " because it gives NaN"
    )
    assert refused_words(refused[2:3]) == (
        "1 child not trained: 1 equivalent to a known program"
    )
    assert refused_words([]) == ""
    assert refused_json(refused) == {
        "known": 2,
        "equal": 1,
        "faults": {"it gives NaN": 1},
    }


# Whole runs


class Script:
    """Answers with bodies of a list, four at a time, whatever came of the others."""

    def __init__(self, bodies: Sequence[str]) -> None:
        self.bodies = bodies
        self.place = 0

    def ask(
        self, count: int, rng: random.Random, known: Mapping[str, int]
    ) -> list[int | Child]:
        found = [self.bodies[(self.place + i) % len(self.bodies)] for i in range(4)]
        self.place += 4
        return [child(body) for body in found]

    def tell(self, round: Sequence[Scored]) -> None:
        """Nothing is learned."""

    def state(self) -> object:
        return self.place

    def restore(self, state: Any, genome: Callable[[int], Genome]) -> None:
        self.place = state

    def display(self) -> dict[str, str]:
        return {}


def script(bodies: Sequence[str]) -> Callable[..., Script]:
    def make(start: Genome, space: SpaceSpec, options: EvolveOptions) -> Script:
        return Script(bodies)

    return make


MIXED = [SDPA, EQUALS[0], NEW[0], NAN, EQUALS[1], BLIND, NEW[1], EQUALS[2], NEW[2], NAN]


@pytest.fixture(scope="module")
def mixed(home: Path) -> tuple[RunView, list[Event]]:
    """A run that is asked for what is not trained, and ends with the three that are."""
    events: list[Event] = []
    options = tiny(home / "corpus.txt", evaluations=9, warm_up=0)
    make = script(MIXED)
    folder = home / "mixed"
    view = run_here(
        options, folder, home / "cache", TEXT, strategy=make, on_event=events.append
    )
    return view, events


def test_what_is_not_trained_costs_nothing_and_is_told(
    mixed: tuple[RunView, list[Event]],
) -> None:
    view, events = mixed
    assert view.is_over
    bodies = [candidate.mutation for candidate in view.candidates.values()]
    assert bodies == ["the start", *NEW]
    assert view.spent == len(view.evaluations) == len(NEW)
    assert view.ending == "nothing new was found in the space"
    counts = refused_json(view.refused)
    assert min(counts["known"], counts["equal"], *counts["faults"].values()) >= 1
    assert len(counts["faults"]) == 2
    skipped = [event for event in events if isinstance(event, Skipped)]
    assert skipped[0].words in "\n".join(log_lines(view.folder))
    assert sum(int(event.words.split()[0]) for event in skipped) == len(view.refused)
    assert [event for event in events if isinstance(event, Ended)]


def test_the_commands_tell_it(mixed: tuple[RunView, list[Event]], home: Path) -> None:
    view, _ = mixed
    words = refused_words(view.refused)
    cache = {"AZC_CACHE": str(home / "cache")}
    for command in ("log", "resume"):
        said = CliRunner(env=cache).invoke(app, [command, str(view.folder)])
        assert " ".join(words.split()) in " ".join(said.stdout.split())
        said = CliRunner(env=cache).invoke(app, [command, str(view.folder), "--json"])
        found = json.loads(said.stdout)
        assert found["refused"] == refused_json(view.refused)


def test_what_is_not_trained_is_lost_and_counted_by_no_kill(
    mixed: tuple[RunView, list[Event]], home: Path, tmp_path: Path
) -> None:
    view, events = mixed
    options, make = view.options, script(MIXED)
    for moment in range(0, len(events), 3):
        folder = tmp_path / str(moment)
        with pytest.raises(Killed):
            run_here(
                options,
                folder,
                home / "cache",
                TEXT,
                strategy=make,
                on_event=cut_at(moment),
            )
        resume(folder, cache=home / "cache", strategy=make)
        assert result(folder) == result(view.folder)
    assert rows(view.folder, "refused")


def test_a_run_that_came_to_nothing_counts_nothing_twice(
    mixed: tuple[RunView, list[Event]], home: Path
) -> None:
    view, _ = mixed
    before = view.refused
    more = resume(
        view.folder, cache=home / "cache", evaluations=20, strategy=script(MIXED)
    )
    assert more.spent == view.spent
    assert more.refused == before


def test_a_space_that_is_used_up_in_function_ends_the_search(
    go: Callable[..., RunView], home: Path
) -> None:
    options = tiny(home / "corpus.txt", evaluations=9, warm_up=0, final_seeds=())
    view = go(options, TEXT, strategy=script(EQUALS))
    assert view.is_over
    assert view.ending == "nothing new was found in the space"
    assert scored(view.folder) == []
    assert {each.why for each in view.refused} == {EQUAL}


def test_no_two_candidates_compute_the_same(
    go: Callable[..., RunView], home: Path
) -> None:
    """As the default strategy searches."""
    options = tiny(home / "corpus.txt", evaluations=24, warm_up=0, final_seeds=())
    view = go(options)
    genomes = [
        Genome.from_text(each.program, view.model) for each in view.candidates.values()
    ]
    functions = [each.function for each in genomes]
    assert len(set(functions)) == len(functions)
    assert functions == [each.function for each in view.candidates.values()]
    assert not any(each.faults for each in genomes)
