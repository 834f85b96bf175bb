from __future__ import annotations

import json
import math
import random
from collections import Counter
from dataclasses import FrozenInstanceError

import pytest

from azc.search.priorities import Priorities

A, B, AB = frozenset("a"), frozenset("b"), frozenset("ab")


def told() -> Priorities:
    start = Priorities.start(["a", "b", "c"], alpha=0.5)
    return start.tell([(A, 3.0), (AB, 1.0), (B, 2.0)])


def test_upper_confidence_bound_by_hand() -> None:
    # Ranks 1, 0 and 1/2: a is in two candidates with a mean of 1/2, b in two with 1/4,
    # c in none: it counts as seen once, with the mean of all, 1/2. N = 3.
    found = told()
    assert found.mean("a") == pytest.approx(0.5)
    assert found.mean("b") == pytest.approx(0.25)
    assert found.mean("c") == pytest.approx(0.5)
    assert found.priority("a") == pytest.approx(0.5 + 0.5 * 1.0481470739)
    assert found.priority("b") == pytest.approx(0.25 + 0.5 * 1.0481470739)
    assert found.priority("c") == pytest.approx(0.5 + 0.5 * 1.4823038073)
    a, b, c = (math.exp(u) for u in (1.0240735370, 0.7740735370, 1.2411519036))
    total = a + b + c
    weights = found.weights(["a", "b", "c"])
    assert weights == pytest.approx([a / total, b / total, c / total], rel=1e-6)
    # Of two, the softmax is over these two alone.
    assert found.weights(["b", "a"]) == pytest.approx([b / (a + b), a / (a + b)])


@pytest.mark.parametrize("temperature", [2.0, 1.0, 0.25, 1e-4])
def test_the_temperature_divides_the_bounds(temperature: float) -> None:
    start = Priorities.start(["good", "bad"], 0.0, temperature)
    found = start.tell([(frozenset(["good"]), 1.0), (frozenset(["bad"]), 0.0)])
    good, bad = found.weights(["good", "bad"])
    assert bad / good == pytest.approx(math.exp(-1 / temperature))
    assert found.draw(["good", "bad"], random.Random(0)) in ("good", "bad")
    assert Priorities.from_json(json.loads(json.dumps(found.as_json()))) == found


def test_nothing_told_makes_all_alike() -> None:
    start = Priorities.start("xyz", alpha=2.0)
    assert start.weights(["x", "y", "z", "unheard of"]) == pytest.approx([0.25] * 4)
    assert start.tell([]) == start


def test_only_ranks_in_a_round_count() -> None:
    # Another snapshot of the shared weights moves and stretches all scores of a round.
    start = Priorities.start("ab", alpha=1.0)
    one = start.tell([(A, -5.0), (B, -4.0), (AB, -4.5)])
    other = start.tell([(A, -0.5), (B, 100.0), (AB, 0.0)])
    assert one == other


@pytest.mark.parametrize(
    ("scores", "ranks"),
    [
        ([1.0, 2.0, 3.0], [0.0, 0.5, 1.0]),
        ([2.0, 2.0, 1.0], [0.75, 0.75, 0.0]),
        ([7.0, 7.0], [0.5, 0.5]),
        ([7.0], [0.5]),
        ([math.nan, 1.0, 2.0], [0.0, 0.0, 1.0]),
        ([-math.inf, math.inf, 1.0], [0.0, 0.0, 0.5]),
        ([math.nan, math.nan], [0.0, 0.0]),
    ],
)
def test_ranks(scores: list[float], ranks: list[float]) -> None:
    names = [str(i) for i in range(len(scores))]
    found = Priorities.start(names, alpha=0.0).tell(
        (frozenset([name]), score) for name, score in zip(names, scores, strict=True)
    )
    assert [found.mean(name) for name in names] == pytest.approx(ranks)


def test_rounds_add_up() -> None:
    found = told().tell([(A, 1.0), (B, 2.0)])
    assert found.candidates == 5
    assert found.seen == {"a": 3, "b": 3, "c": 0}
    assert found.mean("a") == pytest.approx((1.0 + 0.0 + 0.0) / 3)
    assert found.mean("b") == pytest.approx((0.0 + 0.5 + 1.0) / 3)


def test_immutable() -> None:
    start = Priorities.start("ab", alpha=0.5)
    start.tell([(AB, 1.0), (A, 2.0)])
    assert start.candidates == 0
    assert start.seen == {"a": 0, "b": 0}
    with pytest.raises(FrozenInstanceError):
        start.alpha = 1.0  # type: ignore[misc]
    with pytest.raises(TypeError):
        start.seen["a"] = 3  # type: ignore[index]


def test_json_round_trip() -> None:
    found = told()
    again = Priorities.from_json(json.loads(json.dumps(found.as_json())))
    assert again == found
    assert again.table() == found.table()
    with pytest.raises(KeyError):
        Priorities.from_json({"alpha": 1.0})


def test_table_has_the_highest_first() -> None:
    assert [row.feature for row in told().table()] == ["c", "a", "b"]
    row = told().table()[1]
    assert (row.seen, row.mean, row.priority) == (2, 0.5, told().priority("a"))


def test_draws_follow_the_weights() -> None:
    found, rng = told(), random.Random(3)
    count = Counter(found.draw(["a", "b", "c"], rng) for _ in range(6000))
    for name, weight in zip("abc", found.weights("abc"), strict=True):
        assert count[name] / 6000 == pytest.approx(weight, abs=0.03)
    first, second = random.Random(5), random.Random(5)
    draws = [found.draw("abc", first) for _ in range(50)]
    assert draws == [found.draw("abc", second) for _ in range(50)]


def test_what_is_untried_is_tried_and_what_is_good_is_kept() -> None:
    start = Priorities.start(["good", "bad", "new"], alpha=0.5)
    found = start
    for _ in range(20):
        found = found.tell([(frozenset(["good"]), 1.0), (frozenset(["bad"]), 0.0)])
    good, bad, new = found.weights(["good", "bad", "new"])
    assert new > good > bad
    found = Priorities.from_json({**found.as_json(), "alpha": 0.0})
    good, bad, new = found.weights(["good", "bad", "new"])
    assert good > new > bad
