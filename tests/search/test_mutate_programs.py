from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from azc.check.flatten import self_contained
from azc.check.program import AttentionSpec
from azc.check.resolve import check_source
from azc.ir.build import build_graph
from azc.ops.table import load_ops
from azc.search.genome import Genome, space_features
from azc.search.mutate import mutate
from azc.search.mutate.sense import count_idle
from azc.search.priorities import Priorities
from azc.source import Source
from tests.search.spaces import (
    INTER,
    INTRA,
    children,
    program_of,
    space_of,
    start_of,
    walk,
)


def _attention(body: str, params: str = "q, k, v") -> AttentionSpec:
    source = Source("x", f"attention a({params}) {{\n{body}\n}}\n")
    return check_source(source).attentions["a"]


# Programs of several layers


def test_a_program_of_several_layers_is_changed_for_all_or_copied() -> None:
    copies = 0
    for made in children("text", 200):
        names = [layer.mixing.name for layer in made.genome.spec.layers]  # type: ignore[union-attr]
        if "takes a copy rope_attention_2 of rope_attention" in made.description:
            copies += 1
            assert sorted(names) == [
                "rope_attention",
                "rope_attention",
                "rope_attention",
                "rope_attention_2",
            ]
            declared = made.genome.program.file.declarations
            assert [d.name for d in declared] == [
                "rope_attention",
                "rope_attention_2",
                "start",
            ]  # type: ignore[union-attr]
        else:
            assert names == ["rope_attention"] * 4
    assert 70 < copies < 130


def test_names_of_copies() -> None:
    names = {
        name for _, made in walk("text") for name in made.genome.program.attentions
    }
    assert {"rope_attention_2", "rope_attention_3"} <= names
    assert not any(re.search(r"_\d+_\d+$", name) for name in names)
    # A number that is part of the author's own name is not counted on.
    text = program_of("fixed").source.text.replace("cosine", "autobert_zero_2")
    text = text.replace("    conv {", "    attention { inputs = [q, k, v]\n ops = [")
    text = text.replace("kernel = [3, 5] }", f"{', '.join(load_ops())}] }}")
    program = check_source(Source("x", text))
    genome = Genome.from_text(self_contained(program, "start"), "start")
    space, rng = program.spaces["s"], random.Random(0)
    found = set()
    for _ in range(60):
        made = mutate(genome, space, rng, Priorities.start((), 0.5), INTRA)
        assert made is not None
        found |= set(made.genome.program.attentions)
    assert found == {"sdpa", "autobert_zero_2", "autobert_zero_2_2", "softplus_key"}


# What is drawn


def _eager_for(feature: str, name: str) -> Priorities:
    """Priorities that leave no doubt."""
    features = space_features(space_of(name))
    others = frozenset(features) - {feature}
    start = Priorities.start(features, alpha=100.0)
    return start.tell([(others, 0.0)] * 50)


@pytest.mark.parametrize("op", sorted(load_ops()))
def test_every_operation_can_be_taken_up(op: str) -> None:
    space, rng, priorities = (
        space_of("all_ops"),
        random.Random(0),
        _eager_for(op, "all_ops"),
    )
    if op in start_of("all_ops").features:
        start = Genome.from_text(
            start_of("all_ops")
            .text.replace("softmax(scale(q @ k.T)) @ v", "q * v")
            .replace("(q, k, v)", "(q, v)"),
            "start",
        )
    else:
        start = start_of("all_ops")
    for _ in range(60):
        made = mutate(start, space, rng, priorities, INTRA)
        assert made is not None
        if op in made.genome.features:
            return
    raise AssertionError(f"{op} was never drawn")


def test_priorities_say_what_is_drawn() -> None:
    rng, name = random.Random(0), "hybrids"
    eager = _eager_for("conv 17", name)
    drawn: Counter[str] = Counter()
    for _ in range(80):
        made = mutate(start_of(name), space_of(name), rng, eager, INTER)
        assert made is not None
        new = made.genome.features - start_of(name).features
        drawn.update(each for each in new if each.startswith("conv "))
    assert set(drawn) == {"conv 17"}
    eager = _eager_for("tanh", name)
    made_by = [
        made.genome.features - start_of(name).features
        for _ in range(80)
        if (made := mutate(start_of(name), space_of(name), rng, eager, INTRA))
        and made.kinds == ("replace",)
    ]
    # It can't stand where a product is.
    assert made_by.count(frozenset({"tanh"})) > 0.4 * len(made_by) > 0


def test_a_similarity_can_stand_for_a_product() -> None:
    for made in children("all_ops", 400):
        if "cosine(q, k)" in made.genome.text:
            assert made.description == "sdpa: `q @ k.T` becomes `cosine(q, k)`"
            return
    raise AssertionError("never seen")


def test_an_input_of_the_space_becomes_a_parameter() -> None:
    found = set()
    for name in ("commented", "text"):
        for _, made in walk(name):
            for spec in made.genome.program.attentions.values():
                found.add(spec.params)
                assert list(spec.params) == sorted(spec.params, key="qkv".index)
    assert {("q", "k"), ("q", "k", "v"), ("q", "v")} <= found


# Operations without an effect


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ("return softmax(q @ k.T) @ v", 0),
        ("return q * softmax(sum(q))", 1),
        ("return q * layer_norm(sum(q))", 1),
        ("return q * mean(sum(q))", 1),
        ("return q * cosine(sum(q), sum(sum(k).T))", 1),
        ("return q * sum(sum(sum(q).T)).T", 2),
        ("return q - q", 1),
        ("a = q + k\nb = q + k\nreturn a / b + v", 1),
        ("return maximum(q, q) + minimum(q, k)", 1),
        ("return q - k", 0),
        ("return q + q", 0),
        ("return cosine(q, q) @ v", 0),
        ("return q * sum(softmax(k))", 1),
        ("return q * amax(softmax(k))", 0),
        ("return q * (1 + 2)", 1),
        ("return q * (1 + sum(k))", 0),
        ("return q * tanh(3)", 1),
    ],
)
def test_idle_operations(body: str, count: int) -> None:
    assert count_idle(build_graph(_attention(body))) == count
