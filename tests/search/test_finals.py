"""The end of a run: who is trained alone, for how long, beside whom."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import azc
from azc.check.flatten import self_contained
from azc.check.resolve import check_source
from azc.check.spaces import membership
from azc.mixing.convolution import ConvUse
from azc.report.comparison import last_table
from azc.search.baselines import baselines
from azc.search.genome import Genome, program_key
from azc.search.neighbours import neighbours
from azc.search.ranking import contenders
from azc.search.records import Evaluation
from azc.search.run import resume
from azc.search.score import Job, Scorer
from azc.search.view import RunView
from azc.source import Source
from tests.runs import PROGRAM, Killed, cut_at, result, run_here, tiny

ROOT = Path(__file__).resolve().parents[2]


def done(round: int, candidate: int, score: float) -> Evaluation:
    return Evaluation(round, candidate, "done", {"loss": score}, None, 0.1)


def test_contenders_are_of_the_last_round_and_the_best_of_earlier_ones() -> None:
    rounds = [(0, True), (1, True), (2, True)]
    evaluations = [
        *(done(0, n, n / 10) for n in (1, 2, 3)),
        *(done(1, n, n / 10) for n in (4, 5, 1)),
        *(done(2, n, n / 10) for n in (6, 7, 8, 4)),
    ]

    # The last round is ranked 4, 6, 7, 8; 1 was the best of both others.
    def chosen(most: int, found: list[Evaluation], **more: object) -> list[int]:
        options = tiny("none", evaluations=10, contenders=most, **more)
        return contenders(rounds, found, options)

    assert chosen(4, evaluations) == [4, 6, 1, 7]
    assert chosen(3, evaluations) == [4, 6, 1]
    assert chosen(1, evaluations) == [4]
    assert chosen(99, evaluations) == [4, 6, 7, 8, 1]
    assert chosen(4, []) == []
    # From fresh weights all scores compare.
    assert chosen(4, evaluations, weights="fresh") == [1, 2, 3, 4]


@pytest.fixture(scope="module")
def whole(home: Path) -> RunView:
    options = tiny(
        home / "corpus.txt",
        evaluations=8,
        contenders=4,
        baselines=True,
        neighbours=2,
        final_steps=4,
    )
    return run_here(options, home / "finals", home / "cache")


def test_everyone_is_trained_as_is_said(whole: RunView) -> None:
    options, names = whole.options, {n: e.name for n, e in whole.entrants.items()}
    by_steps: dict[tuple[str, int], list[str]] = {}
    for fit in whole.fits:
        by_steps.setdefault((fit.split, fit.steps), []).append(names[fit.entrant])
    mine = [name for name in names.values() if name.startswith("candidate")]
    sampled = [name for name in names.values() if name.startswith("random")]
    assert len({*mine, "the start"} & set(names.values())) >= 4
    # Random sampling begins with as many steps as the search has taken.
    taken = options.warm_up + whole.spent * options.steps
    first = by_steps["validation", 2]
    samples = [name for name in first if name.startswith("random")]
    assert len(samples) * 2 == taken
    assert sampled == samples == first
    last = by_steps["validation", 4]
    assert len(last) == 8
    assert sum(name.startswith("random") for name in last) == 4
    # The winner is the best of the contenders; so is the best of random sampling.
    losses = {
        names[f.entrant]: f.loss
        for f in whole.fits
        if (f.split, f.steps) == ("validation", 4)
    }
    for place, sampled in ((0, False), (4, True)):
        some = [name for name in losses if name.startswith("random") is sampled]
        assert whole.rows[place].entrant.name == min(some, key=losses.__getitem__)
    roles = [row.role for row in whole.rows]
    assert roles[:5] == ["winner", "start", "neighbour", "neighbour", "random"]
    assert set(roles[5:]) == {"hand"}
    assert all(row.is_sound for row in whole.rows)
    assert (whole.folder / "best.azg").read_text() == whole.rows[0].entrant.program


@pytest.mark.parametrize("event", [24, 29, 35, 42, 50])
def test_cut_off_anywhere_it_ends_the_same(
    whole: RunView, home: Path, tmp_path: Path, event: int
) -> None:
    run = tmp_path / "run"
    with pytest.raises(Killed):
        run_here(whole.options, run, home / "cache", on_event=cut_at(event))
    view = resume(run, cache=home / "cache")
    assert view.is_over
    assert result(run) == result(whole.folder)


def test_a_search_of_one_candidate(go: Callable[..., RunView], home: Path) -> None:
    view = go(tiny(home / "corpus.txt", evaluations=1, contenders=8, baselines=True))
    assert view.is_over
    assert view.winner == 1
    # The start is the winner: the two rows are one program, trained once.
    assert view.rows[0].entrant == view.rows[1].entrant
    assert 1 not in view.verdicts


def test_random_sampling_begins_as_the_search_does(
    go: Callable[..., RunView], home: Path
) -> None:
    """What a person would try first is among what random sampling has tried."""
    how = {"weights": "fresh", "evaluations": 12, "contenders": 3, "baselines": True}
    view = go(tiny(home / "corpus.txt", by_hand=True, **how))
    names = {n: e.name for n, e in view.entrants.items()}
    validated = {names[fit.entrant] for fit in view.fits if fit.split == "validation"}
    hand = {row.entrant.name for row in view.rows if row.role == "hand"}
    assert len(hand) > 3
    assert hand < validated
    samples = [name for name in validated if name.startswith("random")]
    assert view.sampled == len(hand) + len(samples) == view.spent
    (random,) = (row for row in view.rows if row.role == "random")
    assert random.entrant.name in {*hand, *samples}
    table = last_table(view)
    assert table.rows[2].name == f"random sampling, best of {view.spent}"


def test_equal_programs_are_trained_once(
    go: Callable[..., RunView], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A candidate that a person would have typed is trained once for both its rows."""
    trained: list[tuple[object, ...]] = []
    train = Scorer.train

    def counted(self: Scorer, job: Job, *rest: Any) -> Any:
        if job.kind == "alone":
            trained.append((job.program, job.seed, job.steps, job.split))
        return train(self, job, *rest)

    monkeypatch.setattr(Scorer, "train", counted)
    how = {"weights": "fresh", "evaluations": 8, "contenders": 8, "baselines": True}
    view = go(tiny(home / "corpus.txt", by_hand=True, neighbours=3, **how))
    assert len(trained) == len(set(trained))
    fits = [
        (view.entrants[f.entrant].program, f.seed, f.steps, f.split) for f in view.fits
    ]
    assert len(fits) > len(trained)
    assert set(fits) == set(trained)


# Neighbours of a winner


def test_attention_is_replaced_first() -> None:
    text = (ROOT / "examples/text.azg").read_text(encoding="utf-8")
    start = Genome.from_text(text, "start")
    space = start.program.spaces["text"]
    winner = text.replace(
        "from std.attention import rope_attention",
        "attention rope_attention(q, k, v) {\n    return softmax(tanh(q @ k.T)) @ v\n}",
    ).replace("repeat 4 {", "conv(kernel = 3)\n        repeat 3 {")
    found = dict(
        neighbours(Genome.from_text(winner, "start"), space, 7, random.Random(0))
    )
    mixers = {
        name: [layer.mixing for layer in genome.spec.layers]
        for name, genome in found.items()
    }
    replaced = [
        "rope_attention for its attention",
        "sdpa for its attention",
        "mean_mixing for its attention",
        "a convolution for its attention",
    ]
    assert list(mixers)[:4] == replaced
    standard = azc.load("std.attention").attentions
    for name in ("rope_attention", "sdpa", "mean_mixing"):
        first, *rest = mixers[f"{name} for its attention"]
        assert first == ConvUse(3, "light")
        keys = {program_key(each.program) for each in rest}
        assert keys == {program_key(standard[name])}
    assert mixers[replaced[3]][1:] == [ConvUse(5, "depthwise")] * 3
    # The others are mutations, which lie in the space.
    assert len(found) == 7
    for genome in list(found.values())[4:]:
        assert not membership(genome.spec, space)
    assert len({genome.key for genome in found.values()}) == 7


def test_a_winner_of_convolutions_has_neighbours_of_its_space() -> None:
    text = (ROOT / "examples/text.azg").read_text(encoding="utf-8")
    start = Genome.from_text(text, "start")
    space = start.program.spaces["text"]
    winner = baselines(start, space)["conv(3), conv(5), conv(9), conv(15)"]
    found = list(neighbours(winner, space, 4, random.Random(0)))
    assert len(found) == 4
    for _, genome in found:
        assert not membership(genome.spec, space)
        pairs = zip(genome.spec.layers, winner.spec.layers, strict=True)
        assert sum(a.mixing != b.mixing for a, b in pairs) in (1, 2)  # a swap has two
    again = list(neighbours(winner, space, 4, random.Random(0)))
    assert [name for name, _ in again] == [name for name, _ in found]
    assert not list(neighbours(winner, space, 0, random.Random(0)))


# Baselines


def test_baselines_of_the_example() -> None:
    text = (ROOT / "examples/text.azg").read_text(encoding="utf-8")
    start = Genome.from_text(text, "start")
    space = start.program.spaces["text"]
    found = baselines(start, space)
    assert "4 × conv(3)" in found
    assert "conv(3), conv(5), conv(9), conv(15)" in found
    assert any(name.startswith("3 × conv(3), ") for name in found)
    assert any(name.startswith("2 × conv(3), 2 × ") for name in found)
    keys = [genome.key for genome in found.values()]
    assert len({start.key, *keys}) == 1 + len(keys)
    for genome in found.values():
        assert not membership(genome.spec, space)
        assert len(genome.spec.layers) == len(start.spec.layers)


WITH_ROPE = PROGRAM.replace("ops = [", "ops = [rope, window, ")


def test_standard_attention_where_the_space_allows_it() -> None:
    assert WITH_ROPE != PROGRAM
    for text, allowed in ((PROGRAM, False), (WITH_ROPE, True)):
        program = check_source(Source("tiny.azg", text))
        (space,) = program.spaces.values()
        found = baselines(Genome.from_text(text, "start"), space)
        rotary = [name for name in found if "rope_attention" in name]
        assert bool(rotary) is allowed, list(found)


def test_a_start_of_standard_attention_has_its_hybrids_too() -> None:
    text = WITH_ROPE.replace("sdpa", "rope_attention")
    program = check_source(Source("tiny.azg", text))
    (space,) = program.spaces.values()
    start = Genome.from_text(self_contained(program, "start"), "start")
    found = baselines(start, space)
    assert "conv(3), rope_attention" in found, list(found)


def test_every_kind_of_convolution_grows_wider() -> None:
    text = WITH_ROPE.replace("conv {", "conv {\n        kind = [depthwise, light]")
    assert text != WITH_ROPE
    program = check_source(Source("tiny.azg", text))
    (space,) = program.spaces.values()
    start = Genome.from_text(self_contained(program, "start"), "start")
    found = baselines(start, space)
    assert "conv(3, depthwise), conv(5, depthwise)" in found, list(found)
    assert "conv(3), conv(5)" in found
    for genome in found.values():
        assert not membership(genome.spec, space)
