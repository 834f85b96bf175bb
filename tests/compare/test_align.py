"""Alignment near the diagonal is that of the whole table, at a fraction of its work."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azc.check.program import ModelSpec
from azc.check.resolve import check_source
from azc.compare import models as compared
from azc.compare.align import ALONE, Pair, align
from azc.compare.match import ProgramDiff, match_graphs, operations
from azc.ir.graph import Graph
from azc.source import Source
from tests.compare.test_models import _LAYERS, model

Cost = Callable[[int, int], int]


def whole(rows: int, cols: int, cost: Cost) -> tuple[int, list[Pair]]:
    """The least cost and the pairs, by the table of every row and column."""
    start, end = 0, 0
    while start < min(rows, cols) and cost(start, start) == 0:
        start += 1
    most = min(rows, cols) - start
    while end < most and cost(rows - end - 1, cols - end - 1) == 0:
        end += 1
    m, n = rows - start - end, cols - start - end
    table = [[ALONE * (i + j) for j in range(n + 1)] for i in range(m + 1)]
    for i in range(1, m + 1):
        for j in range(1, n + 1):
            alone = min(table[i - 1][j], table[i][j - 1]) + ALONE
            paired = table[i - 1][j - 1] + cost(start + i - 1, start + j - 1)
            table[i][j] = min(alone, paired)
    found: list[Pair] = [(rows - k, cols - k) for k in range(1, end + 1)]
    found.reverse()
    i, j = m, n
    while i or j:
        pair: Pair
        paired = cost(start + i - 1, start + j - 1) if i and j else 0
        if i and j and table[i][j] == table[i - 1][j - 1] + paired:
            i, j, pair = i - 1, j - 1, (start + i - 1, start + j - 1)
        elif j and table[i][j] == table[i][j - 1] + ALONE:
            j, pair = j - 1, (None, start + j - 1)
        else:
            i, pair = i - 1, (start + i - 1, None)
        found.insert(0, pair)
    return table[m][n], [*((k, k) for k in range(start)), *found]


@given(st.data())
def test_any_costs(data: st.DataObject) -> None:
    # Far more places than the band that is tried first is wide, of few kinds.
    kinds = data.draw(st.integers(1, 5))
    costs = data.draw(
        st.lists(
            st.lists(st.integers(0, ALONE), min_size=kinds, max_size=kinds),
            min_size=kinds,
            max_size=kinds,
        )
    )
    places = st.lists(st.integers(0, kinds - 1), max_size=45)
    old, new = data.draw(places), data.draw(places)

    def cost(i: int, j: int) -> int:
        return costs[old[i]][new[j]]

    low = [min((costs[a][b] for b in new), default=0) for a in old]
    least = [data.draw(st.integers(0, each)) for each in low]
    found = list(align(len(old), len(new), cost, least))
    assert found == whole(len(old), len(new), cost)[1]


@pytest.mark.parametrize("least", [0, 4, 5])
def test_a_long_way_round(least: int) -> None:
    """Elements that moved far: the band has to become wide."""
    old = list(range(120))
    new = [*old[40:], *old[:40]]

    def cost(i: int, j: int) -> int:
        return 0 if old[i] == new[j] else 15

    found = list(align(120, 120, cost, [0] * 120))
    assert found == whole(120, 120, cost)[1]
    assert (40, 0) in found

    def unlike(i: int, j: int) -> int:
        return 5 + (i * j) % 3

    found = list(align(120, 120, unlike, [least] * 120))
    assert found == whole(120, 120, unlike)[1]


@given(_LAYERS, _LAYERS)
def test_what_a_layer_costs_at_least(old: str, new: str) -> None:
    layers = compared._Layers(model(old), model(new))
    for i, least in enumerate(layers.least()):
        costs = [layers.cost(i, j) for j in range(len(layers.new))]
        assert 0 <= least <= min(costs)
        assert max(costs) < 2 * ALONE


def distinct(count: int, places: Sequence[str]) -> ModelSpec:
    """A model of so many layers, each with a program of its own."""
    texts = [
        f"attention p{i}(q, k, v) {{ return softmax({places[i % len(places)]}(q @ k.T)"
        f" * {i}.5) @ v }}\n"
        for i in range(count)
    ]
    layers = "\n".join(f"p{i}" for i in range(count))
    head = "hidden = 8\nheads = 2\n"
    text = f"{''.join(texts)}model m {{\n{head}layers {{\n{layers}\n}}\n}}\n"
    return check_source(Source("text", text)).models["m"]


def work(count: int, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """How often operations are counted and layers compared for two models."""
    seen = [0, 0]

    def counted(graph: Graph) -> object:
        seen[0] += 1
        return operations(graph)

    class Layers(compared._Layers):
        def _cost(self, *pair: compared._Layer) -> int:
            seen[1] += 1
            return super()._cost(*pair)

    monkeypatch.setattr(compared, "operations", counted)
    monkeypatch.setattr(compared, "_Layers", Layers)
    old = distinct(count, ["tanh", "sigmoid", "relu"])
    new = distinct(count, ["silu", "abs", "tanh", "softsign"])
    assert len(compared.compare_models(old, new, 8).layers) >= count
    return seen[0], seen[1]


def test_work_grows_with_the_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = work(100, monkeypatch), work(200, monkeypatch)
    assert (few[0], many[0]) == (200, 400)
    assert many[1] < 200 * 100  # half of the table
    assert many[1] < 3 * few[1]


def test_a_changed_program_is_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compared_graphs = []

    def counted(old: Graph, new: Graph) -> ProgramDiff:
        compared_graphs.append((old, new))
        return match_graphs(old, new)

    monkeypatch.setattr(compared, "match_graphs", counted)
    old, new = (
        model("repeat 100 {\nplain\nfar\n}"),
        model("repeat 100 {\nkeyed\nfar\n}"),
    )
    found = compared.compare_models(old, new, 8)
    assert sum(each.program is not None for each in found.layers) == 100
    assert len(compared_graphs) == 1
