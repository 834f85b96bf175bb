"""The parts of the page: code and differences, charts, colours."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import azc.report
from azc.report.axes import Scale, ticks
from azc.report.charts import (
    Point,
    Range,
    costs_chart,
    front,
    lines_chart,
    rounds_chart,
    strip,
)
from azc.report.code import diff_lines, highlight, prose, show_diff
from azc.report.html import element, text
from azc.search.records import Evaluation
from azc.source import visible
from tests.report.dom import dots, parse
from tests.search.rounds import by_loss

CSS = (Path(azc.report.__file__).parent / "templates" / "page.css").read_text("utf-8")
TEXTS = st.text() | st.text(alphabet="<>&\"'` #\n@=().T0123abcreturn", max_size=60)


@given(TEXTS)
def test_text_is_that_text_and_no_markup(value: str) -> None:
    page = parse(element("p", value, title=value))
    assert [each.name for each in page] == ["p"]
    assert page.text == visible(value, "\n\t")
    assert page.one("p").attributes["title"] == visible(value, "\n\t")


@given(TEXTS)
def test_code_keeps_every_character(value: str) -> None:
    assert parse(highlight(value)).text == visible(value, "\n\t")


@given(TEXTS)
def test_prose_loses_nothing_but_backticks(value: str) -> None:
    found = parse(prose(value))
    pairs = value.count("`") // 2
    assert len(found.all("code")) == pairs
    assert found.text == visible(value.replace("`", "", 2 * pairs), "\n\t")


def test_code_is_coloured_by_what_it_is() -> None:
    found = parse(highlight("attention a(q) {  # softmax(1)\n  return scale(q, 2)\n}"))
    kinds = [(i.attributes["class"], i.text) for i in found.all("i")]
    assert kinds == [
        ("k", "attention"),
        ("f", "a"),
        ("c", "# softmax(1)"),
        ("k", "return"),
        ("f", "scale"),
        ("n", "2"),
    ]


LINES = st.lists(st.sampled_from(["a b", "a c", "x", "", "y(z)"]), max_size=12)


@given(LINES, LINES, st.integers(0, 3))
def test_a_difference_has_both_texts(old: list[str], new: list[str], n: int) -> None:
    a, b = "\n".join(old), "\n".join(new)
    whole = diff_lines(a, b, around=100)
    if a.removesuffix("\n") == b.removesuffix("\n"):
        assert whole == []
        return

    def side(signs: str) -> list[str]:
        return ["".join(t for t, _ in d.parts) for d in whole if d.sign in signs]

    assert "\n".join(side(" -")) == a.removesuffix("\n")
    assert "\n".join(side(" +")) == b.removesuffix("\n")
    near = [d for d in diff_lines(a, b, around=n) if d.sign in "+-"]
    assert near == [d for d in whole if d.sign in "+-"]


def test_a_changed_line_marks_its_changed_words() -> None:
    lines = diff_lines("return softmax(q)\nx", "return tanh(q)\nx", around=0)
    assert [(d.sign, d.parts) for d in lines] == [
        ("-", (("return ", False), ("softmax", True), ("(q)", False))),
        ("+", (("return ", False), ("tanh", True), ("(q)", False))),
    ]
    shown = parse(show_diff(lines))
    assert shown.text == "- return softmax(q)\n+ return tanh(q)\n"
    assert [b.text for b in shown.all("b")] == ["softmax", "tanh"]


# Charts


@given(st.floats(-1e9, 1e9), st.floats(1e-9, 1e9), st.integers(2, 10))
def test_ticks_are_round_and_inside(low: float, size: float, most: int) -> None:
    high = low + size
    found = ticks(low, high, most)
    if high - low < 1e-6 * max(abs(low), abs(high)):
        return  # finer than the numbers are
    assert len(found) <= most + 1
    assert all(low - 1e-6 * size <= x <= high + 1e-6 * size for x in found)
    steps = [b - a for a, b in pairwise(found)]
    assert all(step == pytest.approx(steps[0], rel=1e-3) for step in steps)


def test_a_scale_ends_at_its_ends() -> None:
    scale = Scale(0, 10, 100, 200)
    assert [scale(x) for x in (-1, 0, 5, 10, 99)] == [100, 100, 150, 200, 200]
    assert Scale(1, 1, 0, 10)(1) == 5


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12))
def test_the_front_is_what_nothing_dominates(pairs: list[tuple[int, int]]) -> None:
    points = [Point(i, cost, score) for i, (cost, score) in enumerate(pairs)]
    best = {
        (p.cost, p.score)
        for p in points
        if not any(
            q.cost <= p.cost
            and q.score <= p.score
            and (q.cost < p.cost or q.score < p.score)
            for q in points
        )
    }
    found = front(points)
    assert {(p.cost, p.score) for p in found} == best
    assert len(found) == len(best)


def done(round: int, candidate: int, score: float | None) -> Evaluation:
    status = "failed" if score is None else "done"
    reason = "not finite" if score is None else None
    return Evaluation(round, candidate, status, by_loss(score), reason, 1.0)


def test_a_score_far_off_does_not_press_the_others_together() -> None:
    near = [done(0, n, 1 + n / 100) for n in range(20)]
    drawn = rounds_chart([0], [*near, done(0, 99, 1e6)], [])
    assert drawn is not None
    heights = {n: y for found in dots(parse(drawn)).values() for n, _, y in found}
    assert heights[0] - heights[19] > 30
    assert heights[99] < heights[19]


def test_lines_join_one_candidate_from_round_to_round() -> None:
    found = [done(0, 1, 3.0), done(0, 2, 2.0), done(1, 2, 1.5), done(1, 3, None)]
    drawn = rounds_chart([0, 1], found, [1, 2], winner=2)
    assert drawn is not None
    page = parse(drawn)
    (line,) = page.all("path", "again")
    assert line.attributes["class"] == "again line"
    kinds = ("line", "winner")  # it is the winner where it was scored last
    places = [(x, y) for kind in kinds for n, x, y in dots(page)[kind] if n == 2]
    ends = re.findall(r"[ML]([\d.]+),([\d.]+)", line.attributes["d"])
    assert len(ends) == len(places) == 2
    for (x, y), place in zip(ends, places, strict=True):
        assert (float(x), float(y)) == pytest.approx(place, abs=0.26)
    assert rounds_chart([0], [done(0, 1, None)], []) is None


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_the_line_of_the_best_so_far_never_rises(scores: list[int]) -> None:
    found = [done(n // 4, n, float(score)) for n, score in enumerate(scores)]
    rounds = sorted({e.round for e in found})
    drawn = rounds_chart(rounds, found, [], comparable=True)
    assert drawn is not None
    (line,) = parse(drawn).all("path", "sofar")
    corners = re.findall(r"[ML]([\d.]+),([\d.]+)", line.attributes["d"])
    heights = [float(y) for _, y in corners]
    assert heights == sorted(heights)  # downwards on the page: the scores fall
    least = min(found, key=lambda e: (e.score, e.round))
    (lowest,) = {
        y for d in dots(parse(drawn)).values() for n, _, y in d if n == least.candidate
    }
    assert heights[-1] == pytest.approx(lowest, abs=0.26)


def test_a_chart_is_no_larger_than_what_can_be_seen() -> None:
    """Dots that cover each other are one, and all that look alike are one element."""
    many = [done(n // 10, n, 5 + (n * 7919 % 1000) / 1000) for n in range(10_000)]
    rounds = rounds_chart(range(1000), many, [], comparable=True)
    costs = costs_chart(
        "parameters", [Point(n, n % 50, e.score) for n, e in enumerate(many)], 7
    )
    assert rounds is not None
    for drawn in (rounds, costs):
        page = parse(drawn)
        assert len(list(page)) < 60
        for found in dots(page).values():
            places = [(x, y) for _, x, y in found]
            assert len(set(places)) == len(places)
    assert len(rounds) < 200_000


def test_the_highest_lines_have_names() -> None:
    series = {f"op {i}": [(0, 1.0), (1, 5.0 + i / 1000)] for i in range(9)}
    drawn = lines_chart(series)
    assert drawn is not None
    assert [name for name, _, _ in drawn.key] == [f"op {i}" for i in range(8, 2, -1)]
    assert drawn.others == 3
    lines = parse(drawn.chart).all("path", "series")
    colours = [line.attributes["class"].split()[1] for line in lines]
    assert sorted(colours) == ["rest"] * 3 + [colour for *_, colour in drawn.key]
    assert lines_chart({}) is None


def test_a_long_line_is_thinned_and_keeps_its_end() -> None:
    drawn = lines_chart({"op": [(n, float(n % 7)) for n in range(5000)]})
    assert drawn is not None
    (line,) = parse(drawn.chart).all("path", "series")
    corners = re.findall(r"[ML]([\d.]+),([\d.]+)", line.attributes["d"])
    assert 60 < len(corners) <= 120
    (shown,) = drawn.key
    assert shown[1] == f"{4999 % 7}%"
    assert float(corners[-1][0]) == max(float(x) for x, _ in corners)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=5))
def test_a_strip_has_its_losses_where_they_are(losses: list[float]) -> None:
    row = Range(tuple(losses), is_winner=False)
    scale = Range.scale([row, Range((0.0, 100.0), is_winner=True)])
    drawn = parse(strip(row, scale))
    places = [float(c.attributes["cx"].rstrip("%")) for c in drawn.all("circle")]
    assert places == [scale(loss) for loss in losses]
    assert all(4 <= place <= 96 for place in places)
    bar = float(drawn.one("svg", "at").attributes["x"].rstrip("%"))
    assert min(places) - 0.01 <= bar <= max(places) + 0.01


# Colours


def colours(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2.1, between 1 and 21."""

    def light(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = (
            x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts
        )
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def schemes() -> dict[str, dict[str, str]]:
    light, dark = CSS.split("@media screen and (prefers-color-scheme: dark)")[:2]
    return {"light": colours(light), "dark": colours(dark[: dark.index("}")])}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(scheme: str) -> None:
    """At least 4.5 to 1 for text, 3 to 1 for marks (WCAG 2.1, AA)."""
    found = schemes()[scheme]
    assert found.keys() == schemes()["light"].keys()
    series = [f"s{i}" for i in range(6)]
    inks = ["ink", "quiet", "link", "win", "good", "bad", "warm", *series]
    pairs = [(ink, ground) for ink in inks for ground in ("paper", "card")]
    pairs += [(ink, "soft") for ink in ("ink", "link", "win", "quiet", "good", "bad")]
    pairs += [
        ("conv-ink", "conv"),
        ("att-ink", "att"),
        ("paper", "ink"),
        ("paper", "bad"),
    ]
    pairs += [("ink", ground) for ground in ("add", "cut", "add-word", "cut-word")]
    weak = {
        pair: round(contrast(found[pair[0]], found[pair[1]]), 2)
        for pair in pairs
        if contrast(found[pair[0]], found[pair[1]]) < 4.5
    }
    assert not weak


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_colour_has_one_meaning(scheme: str) -> None:
    """What can be clicked, the winner, and what is good or bad are told apart."""
    found = schemes()[scheme]
    names = ["link", "win", "good", "bad", *(f"s{i}" for i in range(6))]
    values = [found[name] for name in names]
    assert len(set(values)) == len(values)


def test_none_and_numbers_are_texts() -> None:
    assert text(None) == ""
    assert text(3) == "3"
