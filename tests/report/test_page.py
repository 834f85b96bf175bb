"""The page says what the run holds: every candidate once, the numbers of the view."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from azc import api
from azc.check.resolve import check_source
from azc.cli.result import result_json
from azc.report.facts import gather
from azc.report.page import page
from azc.report.tree import tree
from azc.search.displays import displays
from azc.search.records import START, Candidate, Entrant, Evaluation, Fit
from azc.search.view import RunView, read_run
from azc.source import Source, visible
from azc.training.verdict import verdicts
from tests.report.dom import Node, parse
from tests.runs import PROGRAM, Killed, cut_at, run_here, tiny

RIGHT_TO_LEFT = "\u202e"


def entry(dom: Node, number: int) -> Node:
    (found,) = [
        each
        for each in dom.all("details", "candidate")
        if each.attributes["data-number"] == str(number)
    ]
    return found


def cells(table: Node) -> list[list[str]]:
    return [
        [cell.text.strip() for cell in row if cell.name in ("th", "td")]
        for row in table.all("tr")
    ]


def test_every_candidate_is_there_once(dom: Node, view: RunView) -> None:
    entries = dom.all("details", "candidate")
    numbers = [int(each.attributes["data-number"]) for each in entries]
    assert numbers == list(view.candidates)
    for number, candidate in view.candidates.items():
        found = entry(dom, number)
        assert found.one("pre", "code").text == candidate.program
        assert candidate.mutation.replace("`", "") in found.one("p", "mutation").text


def test_scores_and_places_are_those_of_the_view(dom: Node, view: RunView) -> None:
    rows = {number: [] for number in view.candidates}
    for e in view.evaluations:
        of = [x for x in view.evaluations if x.round == e.round and x.score is not None]
        place = sum(x.score < e.score for x in of) + 1
        rows[e.candidate].append(
            [
                str(e.round + 1),
                f"{e.score:.4f}",
                f"{place} of {len(of)}",
                f"{e.seconds:.1f}",
                "done",
            ]
        )
    for number, wanted in rows.items():
        table = entry(dom, number).all("table")[0]
        assert cells(table)[1:] == wanted


def test_costs_are_those_of_the_compiled_model(dom: Node, view: RunView) -> None:
    for number in (START, view.winner):
        candidate = view.candidates[number]
        program = check_source(Source("x.azg", candidate.program, own=True))
        model = api.compile(program, view.model, task="base")
        parameters = sum(each.numel() for each in model.parameters())
        table = entry(dom, number).all("table")[1]
        assert cells(table)[-1][2] == f"{parameters:,}"
        assert entry(dom, number).attributes["data-parameters"] == str(parameters)


def test_the_tree_has_every_candidate_under_its_parent(
    dom: Node, view: RunView
) -> None:
    tree = dom.one("ul", "tree")
    parents: dict[int, int | None] = {}

    def walk(node: Node, above: int | None) -> None:
        for each in node.inside:
            if isinstance(each, Node) and each.name == "li":
                link = each.all("a")[0].attributes["href"]
                number = int(link.removeprefix("#c"))
                assert number not in parents
                parents[number] = above
                for inner in each.all("ul")[:1]:
                    walk(inner, number)

    walk(tree, None)
    assert parents == {n: c.parent for n, c in view.candidates.items()}


def test_the_line_to_the_winner_is_told_step_by_step(dom: Node, view: RunView) -> None:
    assert view.winner is not None
    line = view.lineage(view.winner)
    assert len(line) > 1
    steps = dom.one("ol", "steps").all("li")
    assert len(steps) == len(line)
    for step, before, candidate in zip(steps[1:], line, line[1:], strict=False):
        shown = step.one("pre", "diff").text.split("\n")
        gone = [text[2:] for text in shown if text.startswith("- ")]
        come = [text[2:] for text in shown if text.startswith("+ ")]
        assert set(gone) <= set(before.program.split("\n"))
        assert set(come) <= set(candidate.program.split("\n"))
        assert gone or come


def test_the_last_table_has_the_fits_and_the_verdict(dom: Node, view: RunView) -> None:
    result = dom.id("result")
    rows = cells(result.all("table")[0])
    assert rows[0][:5] == ["program", "seed 1", "seed 2", "seed 3", "mean"]
    assert len(rows) - 1 == len(view.rows) > 2
    for place, (cell, row) in enumerate(zip(rows[1:], view.rows, strict=True)):
        mean = sum(row.losses) / 3
        assert cell[1:5] == [f"{x:.3f}" for x in (*row.losses, mean)]
        found = view.verdicts.get(place)
        if found is not None:
            assert cell[5] == f"{found.gain:+.3f}"
            assert cell[7] == found.word
    # What the search has not made has its program in the table.
    own = [row for row in view.rows if row.entrant.candidate is None]
    shown = [code.text for code in result.one("table").all("pre", "code")]
    assert shown == [row.entrant.program for row in own] != []


def test_charts_have_a_dot_for_every_score(dom: Node, view: RunView) -> None:
    scores, _, parameters, flops = dom.id("search").all("svg")
    dots = [a.attributes["href"] for a in scores.all("a", "dot")]
    assert sorted(dots) == sorted(f"#c{e.candidate}" for e in view.evaluations)
    assert len(scores.all("a", "best")) == len(view.rounds)
    for chart in (parameters, flops):
        dots = [a.attributes["href"] for a in chart.all("a", "dot")]
        assert sorted(dots) == sorted(f"#c{e.candidate}" for e in view.ranking())


def test_what_the_strategy_showed_is_there_for_every_round(
    dom: Node, view: RunView
) -> None:
    shown = displays(view)
    assert list(shown) == [number for number, closed in view.rounds if closed]
    (table,) = [t for t in dom.id("search").all("table") if "value" in cells(t)[0][0]]
    rows = {row[0]: row[1:] for row in cells(table)[1:]}
    for name, value in shown[len(shown) - 1].items():
        assert rows[name][-1] == value


def test_it_needs_nothing_but_itself(html: str, dom: Node) -> None:
    loading = {"src", "srcset", "data", "action", "formaction", "poster", "background"}
    for each in dom:
        assert not loading & set(each.attributes), each
        assert not [name for name in each.attributes if name.startswith("on")]
        assert "style" not in each.attributes  # the policy refuses it
        if "href" in each.attributes:
            assert each.attributes["href"].startswith("#")
    assert not dom.all("link")
    assert not re.search(r"url\(|@import", dom.one("style").text)
    policy = next(m for m in dom.all("meta") if "http-equiv" in m.attributes)
    for name in ("style", "script"):
        digest = hashlib.sha256(dom.one(name).text.encode()).digest()
        assert base64.b64encode(digest).decode() in policy.attributes["content"]


def test_every_way_leads_somewhere(dom: Node) -> None:
    ids = [each.attributes["id"] for each in dom if "id" in each.attributes]
    assert len(set(ids)) == len(ids)
    assert {a.attributes["href"].removeprefix("#") for a in dom.all("a")} <= set(ids)


def test_tables_and_headings_are_for_everyone(dom: Node) -> None:
    levels = [int(each.name[1]) for each in dom if re.fullmatch(r"h[1-6]", each.name)]
    assert levels[0] == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))
    for table in dom.all("table"):
        assert all("scope" in th.attributes for th in table.all("th"))
    for chart in dom.all("svg", "chart"):
        assert chart.attributes["aria-label"]
    assert dom.one("html").attributes["lang"] == "en"


# What is not as usual


def test_failures_are_grouped_by_reason(view: RunView) -> None:
    first, second, *others = (e for e in view.evaluations if e.candidate != START)
    reason = f"out of memory <b>{RIGHT_TO_LEFT}\x1b[31m"
    failed = [
        replace(e, status="failed", scores=None, reason=reason) for e in (first, second)
    ]
    last = replace(others[-1], status="failed", scores=None, reason="not finite")
    start = [e for e in view.evaluations if e.candidate == START]
    changed = (*start, *failed, *others[:-1], last)
    dom = parse(page(replace(view, evaluations=changed)))
    groups = dom.id("failures").all("li")
    assert [len(each.all("a")) for each in groups] == [2, 1]
    assert groups[0].one("p", "bad").text == "out of memory <b>\\u202e\\x1b[31m"
    assert "failed: not finite" in entry(dom, last.candidate).text
    assert entry(dom, first.candidate).attributes["data-fate"] == "failed"


def test_a_program_of_another_azc_is_shown_as_it_is(view: RunView) -> None:
    odd = Candidate(
        f"nothing {RIGHT_TO_LEFT} {{ <i>", (1,), "by hand", "key", "function", 99, 0
    )
    found = replace(view, candidates={**view.candidates, 99: odd})
    assert gather(found)[99].model is None
    shown = entry(parse(page(found)), 99)
    assert shown.one("pre", "code").text == visible(odd.program)
    assert "can't read" in shown.text
    assert shown.attributes["data-fate"] == "waiting"


def test_nothing_hidden_is_left_anywhere(view: RunView) -> None:
    text = "a\u202eb\u2066c\x00d\x1be\u200bf"
    candidates = {
        n: replace(c, mutation=text, program=f"# {text}\n{c.program}")
        for n, c in view.candidates.items()
    }
    options = replace(view.options, data=text)
    odd = replace(
        view, candidates=candidates, options=options, ending=text, folder=Path(text)
    )
    found = page(odd, {0: {text: text}})
    assert not [x for x in found if not (x.isprintable() or x in "\n\t")]
    assert found.count(r"a\u202eb\u2066c\x00d\x1be\u200bf") > 3 * len(candidates)


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ((1.0, 1.01, 1.02), "The winner is better than the start"),
        ((9.0, 9.01, 9.02), "The winner is worse than the start"),
        ((5.2, 4.9, 5.0), "The winner is not significantly different from the start"),
        ((5.0, 5.1), "No comparison: winner, seed 3: gone."),
    ],
)
def test_the_sentence_is_the_verdict(
    view: RunView, losses: tuple[float, ...], said: str
) -> None:
    found = dict(zip((1, 2, 3), losses, strict=False))
    known = {"winner": found, "the start": {1: 5.0, 2: 5.1, 3: 4.9}}
    shown = compared(view, known)
    dom = parse(page(shown))
    verdict = dom.one("p", "verdict").text
    assert said in verdict
    # The same words as on a terminal and for programs.
    told = result_json(shown)["comparison"]["sentence"]
    assert verdict.lower() == told.replace("`", "").lower() + "."
    assert ("failed" in dom.id("result").text) == (len(losses) < 3)


def compared(view: RunView, rows: Mapping[str, Mapping[int, float]]) -> RunView:
    """The run with this last comparison: losses by seed; a seed that lacks has failed."""
    numbers = {"winner": view.winner, "the start": START}
    roles = {"winner": "winner", "the start": "start"}
    entrants = {
        n: Entrant(name, view.candidates[START].program, numbers.get(name), n)
        for n, name in enumerate(rows, 1)
    }
    steps = view.options.final_steps
    fits = []
    for number, losses in enumerate(rows.values(), 1):
        for seed in (1, 2, 3):
            loss = losses.get(seed)
            end = ("failed", None, "gone") if loss is None else ("done", loss, None)
            fits.append(Fit(number, seed, steps, "test", *end))
    table = [(roles.get(name, "hand"), n) for n, name in enumerate(rows, 1)]
    return replace(view, entrants=entrants, fits=tuple(fits), table=tuple(table))


def test_a_table_has_any_number_of_rows(view: RunView) -> None:
    names = ["winner", "the start", *(f"typed by hand <{n}>" for n in range(9))]
    losses = {
        name: {seed: 5 + (n * 7 % 5) / 10 + seed * (n % 3) / 50 for seed in (1, 2, 3)}
        for n, name in enumerate(names)
    }
    dom = parse(page(compared(view, losses)))
    rows = cells(dom.id("result").all("table")[0])[1:]
    assert len(rows) == len(dom.id("result").one("svg").all("g", "row")) == len(names)
    mine = list(losses["winner"].values())
    others = {n: list(losses[name].values()) for n, name in enumerate(names) if n}
    words = {names[n]: found for n, found in verdicts(mine, others).items()}
    for row, name in zip(rows[1:], names[1:], strict=True):
        assert row[0].startswith(name)
        assert row[7] == words[name].word
    # Few words, however many rows: counts, and the name of what is alone.
    said = dom.one("p", "verdict").text
    hand = [words[name].word for name in names[2:]]
    assert hand.count("better") == 7
    assert "better than the start and 7 of the 9 baselines" in said
    assert "not significantly different from 2 of the 9 baselines" in said
    few = dict(list(losses.items())[:4])
    said = parse(page(compared(view, few))).one("p", "verdict").text
    assert "better than any of the 3 others (paired" in said


def test_a_run_that_was_killed_has_a_page_that_says_so(
    home: Path, tmp_path: Path
) -> None:
    options = tiny(home / "corpus.txt", evaluations=8)
    with pytest.raises(Killed):
        run_here(options, tmp_path / "run", home / "cache", PROGRAM, on_event=cut_at(5))
    view = read_run(tmp_path / "run")
    waiting = [e for e in view.evaluations if e.status == "asked"]
    assert waiting
    assert view.spent
    dom = parse(page(view, displays(view)))
    assert "This run is not over" in dom.one("header").text
    for e in waiting:
        assert entry(dom, e.candidate).attributes["data-fate"] == "waiting"


def test_a_run_without_anything_has_a_page(view: RunView) -> None:
    nothing = RunView(Path("r"), "s", "m", view.options, None, {}, (), (), (), {}, ())
    dom = parse(page(nothing, displays(nothing)))
    assert "nothing has been scored" in dom.id("result").text
    assert "The run has no candidate yet" in dom.id("candidates").text
    evaluations = (Evaluation(0, 1, "failed", None, "not finite", 1.0),)
    start = {1: view.candidates[START]}
    failed = replace(
        nothing, candidates=start, rounds=((0, True),), evaluations=evaluations
    )
    assert parse(page(failed)).id("failures").all("li")


def test_any_number_of_generations_is_told(view: RunView) -> None:
    one, last = gather(view)[START], 1500
    line = {
        n: replace(
            one,
            candidate=replace(one.candidate, id=n),
            children=(n + 1,) if n < last else (),
        )
        for n in range(1, last + 1)
    }
    links = [a.attributes["href"] for a in parse(tree(line)).all("a")]
    assert links == [f"#c{n}" for n in line]
