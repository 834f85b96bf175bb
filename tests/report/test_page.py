"""The page says what the run holds: every candidate once, the numbers of the view."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from azc import api
from azc.check.resolve import check_source
from azc.cli.result import result_json
from azc.report import entries
from azc.report import page as page_module
from azc.report.facts import gather, stand
from azc.report.models import Models
from azc.report.page import page
from azc.report.parts import Controls, parts
from azc.search.displays import displays
from azc.search.ranking import deciding
from azc.search.records import START, Candidate, Entrant, Evaluation, Fit
from azc.search.view import RunView, read_run
from azc.source import Source, visible
from azc.training.verdict import verdicts
from tests.report.conftest import descended
from tests.report.dom import Node, block, dots, parse, rows
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
    ranking = [e.candidate for e in view.ranking()]
    assert numbers[: len(ranking)] == ranking  # the best first
    assert sorted(numbers) == list(view.candidates)
    for number, candidate in view.candidates.items():
        found = entry(dom, number)
        assert found.one("pre", "code").text == candidate.program
        assert candidate.mutation.replace("`", "") in found.one("p", "mutation").text


def test_what_is_not_shown_first_is_packed(
    view: RunView, dom: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is left out of the markup is in the file: the same, and once."""
    monkeypatch.setattr(page_module, "_FIRST", 3)
    monkeypatch.setattr(page_module, "CHUNK", 4)
    packed = parse(page(view))
    first = [
        int(e.attributes["data-number"]) for e in packed.all("details", "candidate")
    ]
    assert first == [e.candidate for e in view.ranking()][:3]
    chunks = [
        block(packed, script.attributes["data-block"])
        for script in packed.all("script")
        if script.attributes.get("data-block", "").startswith("inside-")
    ]
    inside = {int(n): html for chunk in chunks for n, html in chunk.items()}
    assert sorted([*inside, *first]) == list(view.candidates)
    for number, html in inside.items():
        (found,) = [e for e in entry(dom, number).inside if isinstance(e, Node)][1:]
        assert parse(html).text.strip() == found.text.strip()
        assert number in map(int, block(packed, f"inside-{number // 4}"))
    assert block(packed, "rows") == block(dom, "rows")


def test_rows_say_what_a_list_needs(dom: Node, view: RunView) -> None:
    found = rows(block(dom, "rows"))
    assert list(found) == list(view.candidates)
    scores = {e.candidate: e.score for e in view.ranking()}
    assert view.winner is not None
    line = {each.id for each in view.lineage(view.winner)}
    for number, row in found.items():
        assert row["score"] == scores.get(number)
        assert row["line"] == (number in line)
        assert tuple(row["parents"]) == view.candidates[number].parents
        shown = entry(dom, number).one("summary")
        assert parse(row["row"]).one("summary").text == shown.text
        assert row["fate"] == shown.one("span", "fate").text
    texts = block(dom, "texts")
    assert {int(n) for n in texts} == set(view.candidates)
    for number, candidate in view.candidates.items():
        assert candidate.program.lower() in texts[str(number)]


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
        assert cells(table)[-1][1] == f"{parameters:,}"
        assert rows(block(dom, "rows"))[number]["parameters"] == parameters


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
    table = cells(result.one("table", "compared"))
    names = ["seed\xa01", "seed\xa02", "seed\xa03", "mean"]
    assert [table[0][0], *table[0][2:6]] == ["program", *names]
    assert len(table) - 1 == len(view.rows) > 2
    for place, (cell, row) in enumerate(zip(table[1:], view.rows, strict=True)):
        mean = sum(row.losses) / 3
        assert cell[2:6] == [f"{x:.3f}" for x in (*row.losses, mean)]
        found = view.verdicts.get(place)
        if found is not None:
            assert cell[6] == f"{found.gain:+.3f}"
            assert cell[8] == found.word
    # Below each a dot for every seed.
    strips = result.one("table", "compared").all("td", "drawn")
    assert [len(each.all("circle")) for each in strips] == [3] * len(view.rows)
    # What the search has not made has its program in the table.
    own = [row for row in view.rows if row.entrant.candidate is None]
    shown = [code.text for code in result.one("table", "compared").all("pre", "code")]
    assert shown == [row.entrant.program for row in own] != []


def test_charts_have_a_dot_for_every_score(dom: Node, view: RunView) -> None:
    scores, _, parameters, flops = dom.id("search").all("svg", "chart")
    places = {  # in halves of a unit two may be one
        (n, x) for found in dots(scores).values() for n, x, _ in found
    }
    every = {e.candidate for e in view.evaluations}
    assert {n for n, _ in places} <= every
    assert len(places) > 0.8 * len(view.evaluations)
    by_round = [[e for e in view.evaluations if e.round == n] for n, _ in view.rounds]
    best = [min(found, key=lambda e: e.score) for found in by_round]
    marked = [
        n for kind in ("best", "line", "winner") for n, *_ in dots(scores).get(kind, [])
    ]
    assert {e.candidate for e in best} <= set(marked)
    assert {n for n, *_ in dots(scores)["winner"]} == {view.winner}
    for chart in (parameters, flops):
        shown = [n for found in dots(chart).values() for n, *_ in found]
        assert len(set(shown)) == len(shown)
        assert set(shown) <= {e.candidate for e in view.ranking()}
        assert dots(chart)["front"] or dots(chart)["winner"]


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
    scripts = [s for s in dom.all("script") if "type" not in s.attributes]
    assert len(scripts) == 1  # what else there is, no browser runs
    for each in (dom.one("style"), *scripts):
        digest = hashlib.sha256(each.text.encode()).digest()
        assert base64.b64encode(digest).decode() in policy.attributes["content"]


def test_every_way_leads_somewhere(dom: Node) -> None:
    ids = [each.attributes["id"] for each in dom if "id" in each.attributes]
    assert len(set(ids)) == len(ids)
    hidden = {
        each.attributes["id"]
        for each in dom.all("section")
        if "hidden" in each.attributes
    }
    assert hidden == {"failures", "tree"}  # nothing failed; the script draws the tree
    assert {a.attributes["href"].removeprefix("#") for a in dom.all("a")} <= set(ids)


def test_tables_and_headings_are_for_everyone(dom: Node) -> None:
    levels = [int(each.name[1]) for each in dom if re.fullmatch(r"h[1-6]", each.name)]
    assert levels[0] == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))
    for table in dom.all("table"):
        assert all("scope" in th.attributes for th in table.all("th"))
        if "cards" in table.attributes["class"].split():
            # Laid out as blocks on a phone, a table is none for a screen reader but by
            # its roles.
            roles = {
                "thead": "rowgroup",
                "tbody": "rowgroup",
                "tr": "row",
                "td": "cell",
            }
            assert table.attributes["role"] == "table"
            for name, role in roles.items():
                assert {e.attributes.get("role") for e in table.all(name)} == {role}
    for chart in dom.all("svg", "chart"):
        assert chart.attributes["role"] == "img"
        assert chart.attributes["aria-label"]
    for field in (*dom.all("input"), *dom.all("select"), *dom.all("textarea")):
        labels = [label for label in dom.all("label") if field in list(label)]
        assert labels, field
    # The first thing that the keyboard comes to leads past what is above the result.
    first = next(each for each in dom if each.name in ("a", "button", "input"))
    assert first.attributes == {"class": "skip", "href": "#result"}
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
    assert entry(dom, first.candidate).one("span", "fate").text == "failed"
    assert "hidden" not in dom.id("failures").attributes


def test_a_program_of_another_azc_is_shown_as_it_is(view: RunView) -> None:
    odd = Candidate(
        f"nothing {RIGHT_TO_LEFT} {{ <i>", (1,), "by hand", "key", "function", 99, 0
    )
    found = replace(view, candidates={**view.candidates, 99: odd})
    models = Models(found.model, found.options.length)
    models.compile([odd])
    assert gather(found, stand(found), models)[99].model is None
    shown = entry(parse(page(found)), 99)
    assert shown.one("pre", "code").text == visible(odd.program)
    assert "can't read" in shown.text
    assert shown.one("span", "fate").text == "waiting"


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
    dom = parse(found)
    names = [s.attributes["data-block"] for s in dom.all("script") if s.attributes]
    packed = [json.dumps(block(dom, name), ensure_ascii=False) for name in names]
    for shown in (found, *packed):
        assert not [x for x in shown if not (x.isprintable() or x in "\n\t")]
    assert found.count(r"a\u202eb\u2066c\x00d\x1be\u200bf") > 2 * len(candidates)


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ((1.0, 1.01, 1.02), "The winner is better than the start."),
        ((9.0, 9.01, 9.02), "The winner is worse than the start."),
        ((5.2, 4.9, 5.0), "The winner is not significantly different from the start."),
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
    assert verdict == said
    # The same words as on a terminal and for programs.
    told = result_json(shown)["comparison"]["sentence"].replace("`", "").lower()
    test = [each.text.lower().removesuffix(".") for each in dom.all("p", "test")]
    tested = "".join(f" ({each})" for each in test)
    assert verdict.lower().removesuffix(".") + tested == told
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
    shown = cells(dom.id("result").one("table", "compared"))[1:]
    assert len(shown) == len(names)
    mine = list(losses["winner"].values())
    others = {n: list(losses[name].values()) for n, name in enumerate(names) if n}
    words = {names[n]: found for n, found in verdicts(mine, others).items()}
    for row, name in zip(shown[1:], names[1:], strict=True):
        assert row[0].startswith(name)
        assert row[8] == words[name].word
    # Few words, however many rows: counts, and the name of what is alone.
    said = dom.one("p", "verdict").text
    hand = [words[name].word for name in names[2:]]
    assert hand.count("better") == 7
    assert "better than the start and 7 of the 9 baselines" in said
    assert "not significantly different from 2 of the 9 baselines" in said
    few = dict(list(losses.items())[:4])
    said = parse(page(compared(view, few))).one("p", "verdict").text
    assert said == "The winner is better than any of the 3 others."


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
    assert "This run is not complete" in dom.one("header").text
    for e in waiting:
        assert entry(dom, e.candidate).one("span", "fate").text == "waiting"


def test_a_run_without_anything_has_a_page(view: RunView) -> None:
    nothing = RunView(Path("r"), "s", "m", view.options, None, {}, (), (), (), {}, ())
    dom = parse(page(nothing, displays(nothing)))
    assert "nothing has been scored" in dom.id("result").text
    assert "The run has no candidates yet" in dom.id("candidates").text
    evaluations = (Evaluation(0, 1, "failed", None, "not finite", 1.0),)
    start = {1: view.candidates[START]}
    failed = replace(
        nothing, candidates=start, rounds=((0, True),), evaluations=evaluations
    )
    assert parse(page(failed)).id("failures").all("li")


def test_any_number_of_generations_is_told(
    view: RunView, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Models, "compile", lambda *_: None)  # it would take a second
    dom = parse(page(descended(view, 1500)))
    line = dom.id("lineage")
    links = [a.attributes["href"] for a in line.all("a")]
    assert links == [f"#c{n}" for n in range(1, 1501)]
    assert len(line.all("pre", "diff")) == 30  # of the last ones what they changed


def test_a_large_run_is_ranked_as_often_as_a_small_one(
    view: RunView, big: RunView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What asks for the ranking once a candidate takes the square of their number."""
    monkeypatch.setattr(Models, "compile", lambda *_: None)
    times = 0

    def counted(*args: object, **more: object) -> object:
        nonlocal times
        times += 1
        return deciding(*args, **more)

    monkeypatch.setattr("azc.search.view.deciding", counted)
    found = []
    for run in (view, replace(big, options=view.options), big):
        times = 0
        standing = stand(run)
        facts = gather(run, standing, Models(run.model, run.options.length))
        parts(run, standing, facts, {}, Controls(True, ()))
        for each in facts.values():
            entries.entry(each)
        found.append(times)
    assert max(found) <= 12
