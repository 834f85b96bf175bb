"""Crossover along the shortest edit path."""

from __future__ import annotations

import random
import re
from itertools import combinations

import pytest

from azc.check.program import AttentionUse
from azc.check.spaces import membership
from azc.compare.models import compare_models
from azc.passes.pipeline import program_graph
from azc.search.genome import Genome
from azc.search.mutate.crossover import EditPath, crossover
from azc.search.options import EvolveOptions
from azc.search.population import Member, Variation, evenly
from tests.runs import PROGRAM
from tests.search.rounds import ROW, space_of


def mutants(text: str, count: int, seed: int = 0) -> list[Genome]:
    """Models some mutations away from a start, the start first."""
    start, space = space_of(text)
    deep = Variation(evenly(space, EvolveOptions()), 6)
    rng = random.Random(seed)
    found = deep.children(count, lambda _: Member(1, start), rng, {start.key: 1})
    return [start, *(child.genome for child in found)]


def distance(one: Genome, other: Genome) -> int:
    """Between the programs of two first layers."""
    old, new = (
        program_graph(use.program)
        for use in (each.spec.layers[0].mixing for each in (one, other))
        if isinstance(use, AttentionUse)
    )
    return EditPath().cost(old.output, new.output)


def of_body(body: str) -> Genome:
    """A model of one program."""
    params = ", ".join(name for name in "qkv" if re.search(rf"\b{name}\b", body))
    program = f"attention sdpa({params}) {{\n    return {body}\n}}\n"
    text = PROGRAM.replace("from std.attention import sdpa\n", program)
    return Genome.from_text(text, "start")


PROGRAMS = [
    each
    for each in mutants(PROGRAM, 40)
    if isinstance(each.spec.layers[0].mixing, AttentionUse)
]


def test_the_edit_distance_is_one() -> None:
    for one, other in combinations(PROGRAMS[:14], 2):
        there, back = distance(one, other), distance(other, one)
        assert there == back
        assert distance(one, one) == 0
        for third in PROGRAMS[:5]:
            assert there <= distance(one, third) + distance(third, other)


@pytest.mark.parametrize(
    ("old", "new", "edits"),
    [
        ("softmax(q @ k.T) @ v", "softmax(scale(q @ k.T)) @ v", 1),
        ("softmax(q @ k.T) @ v", "tanh(q @ k.T) @ v", 1),
        ("q + v", "v + q", 0),
        ("q + v", "v + tanh(q)", 1),
        ("q + v", "-v", 2),
    ],
)
def test_edits_that_are_known(old: str, new: str, edits: int) -> None:
    one, other = map(of_body, (old, new))
    assert distance(one, other) == edits


def test_a_child_lies_between_its_parents() -> None:
    """On a shortest path: the ways to both are together as long as that from one to the
    other.
    """
    _, space = space_of(PROGRAM)
    rng = random.Random(0)
    between = 0
    for one, other in combinations(PROGRAMS[:12], 2):
        # Alike in all layers, so that nothing but the program differs.
        made = crossover(one, other, space, rng)
        if made is None:
            continue
        assert not membership(made.genome.spec, space)
        assert made.genome.key not in (one.key, other.key)
        mixing = made.genome.spec.layers[0].mixing
        if isinstance(mixing, AttentionUse):
            whole = distance(one, other)
            parts = distance(one, made.genome) + distance(made.genome, other)
            # Lined up with another layer, its program is of another pair.
            between += parts == whole
    assert between >= 20


def test_layers_are_of_one_or_the_other() -> None:
    _, space = space_of(ROW)
    rng = random.Random(1)
    for one, other in combinations(mutants(ROW, 8), 2):
        made = crossover(one, other, space, rng)
        ways = compare_models(one.spec, other.spec, 1).layers
        differ = sum(each.status != "same" for each in ways)
        if differ < 2:
            assert made is None
            continue
        if made is None:
            continue
        theirs = {each.mixing for g in (one, other) for each in g.spec.layers}
        assert {each.mixing for each in made.genome.spec.layers} <= theirs


def test_names_do_not_grow() -> None:
    _, space = space_of(PROGRAM)
    rng = random.Random(2)
    members = PROGRAMS[:6]
    for _ in range(20):
        made = crossover(*rng.sample(members, 2), space, rng)
        if made is not None:
            members = [*members[1:], made.genome]
    names = {d for each in members for d in each.program.attentions}
    assert all(name.count("_") <= 1 for name in names)
