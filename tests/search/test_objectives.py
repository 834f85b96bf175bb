"""Objectives and limits of a run: what candidates are scored by, and what is refused."""

from __future__ import annotations

import json
import math
import sqlite3
import subprocess
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from azc.check.resolve import check_source
from azc.cli.app import app
from azc.cli.progress import LineProgress, LiveProgress
from azc.compare.summary import summarise
from azc.diagnostics import UsageError
from azc.numbers import amount
from azc.report.page import page
from azc.search.archive import archive
from azc.search.branch import Branch
from azc.search.events import Closed, Event, Opened, Scored
from azc.search.folder import RunFolder
from azc.search.objectives import (
    headings,
    in_order,
    read_limit,
    read_objective,
    shown_scores,
)
from azc.search.options import EvolveOptions
from azc.search.pareto import fronts, points
from azc.search.ranking import contenders, pareto_front
from azc.search.records import Evaluation
from azc.search.refused import refused_words
from azc.search.run import resume
from azc.search.score import build_candidate
from azc.search.sinks import _scalars as scalars
from azc.search.view import RunView
from azc.source import Source
from azc.training.costs import peak_memory
from tests.report.dom import block, parse
from tests.report.dom import rows as rows_of
from tests.runs import (
    PROGRAM,
    Killed,
    arguments,
    cut_at,
    log_lines,
    result,
    run_here,
    tiny,
)

SEVERAL = ("loss", "parameters", "flops")
MEASURED = ("loss", "latency", "memory", "timed-loss")


@pytest.fixture(scope="module")
def several(home: Path) -> tuple[RunView, list[Event]]:
    """Three rounds of four with NSGA-II, by costs that are read off a program."""
    events: list[Event] = []
    options = tiny(
        home / "corpus.txt",
        evaluations=12,
        objectives=SEVERAL,
        strategy="nsga2",
        contenders=4,
    )
    view = run_here(options, home / "several", home / "cache", on_event=events.append)
    return view, events


def test_every_score_is_there_and_right(several: tuple[RunView, list[Event]]) -> None:
    view, _ = several
    assert view.is_over
    for e in view.evaluations:
        assert e.scores is not None
        assert tuple(e.scores) == SEVERAL
        text = view.candidates[e.candidate].program
        spec = check_source(Source("x.azg", text)).models[view.model]
        costs = summarise(spec, view.options.length)
        assert (e.scores["parameters"], e.scores["flops"]) == (
            costs.parameters,
            costs.flops,
        )
        assert e.score == e.scores["loss"]


def test_a_front_lives_on(several: tuple[RunView, list[Event]]) -> None:
    """Of each round the better half, front by front, is scored again in the next."""
    view, _ = several
    for number, _ in view.rounds[1:]:
        before = [e for e in view.evaluations if e.round == number - 1]
        now = {e.candidate for e in view.evaluations if e.round == number}
        first = [before[i].candidate for i in fronts(points(before, SEVERAL))[0]]
        again = [e.candidate for e in before if e.candidate in now]
        assert len(again) == len(before) // 2
        assert set(again) <= set(first) or set(first) <= set(again)


def in_words(scores: Mapping[str, float], digits: int = 3) -> str:
    """The scores of SEVERAL, as people are to read them."""
    loss, parameters, flops = (scores[name] for name in SEVERAL)
    counts = f"{parameters:,.0f} parameters, {flops:,.0f} FLOPs per token"
    return f"{loss:.{digits}f} nats, {counts}"


def test_all_scores_are_told_as_they_come(
    several: tuple[RunView, list[Event]], capsys: pytest.CaptureFixture[str]
) -> None:
    """In the log, as lines, in the live display and for other logs."""
    view, events = several
    log = "\n".join(log_lines(view.folder))
    tell = LineProgress(quiet=False)
    live = LiveProgress(Console(file=StringIO(), force_terminal=True, width=160))
    for event in events:
        tell(event)
        live(event)
        said = capsys.readouterr().err
        if isinstance(event, Opened):
            assert event.objectives == SEVERAL
        if not isinstance(event, Scored | Closed) or event.scores is None:
            continue
        assert in_words(event.scores) in said
        assert in_words(event.scores, 4) in log
        kind = "score" if isinstance(event, Scored) else "round"
        figures = {name: value for name, value, _ in scalars(event)}
        for name in SEVERAL:
            assert figures[f"{kind}/{name}"] == event.scores[name]
        drawn = Console(file=StringIO(), width=160, record=True)
        drawn.print(live._draw())
        shown = drawn.export_text()
        if isinstance(event, Scored):
            assert "nats" in shown
            values = [f"{event.scores['loss']:.3f}"]
            values += [amount(event.scores[name]) for name in SEVERAL[1:]]
            row = f"{event.round + 1} {event.candidate:04} {' '.join(values)} "
            assert row in " ".join(shown.split())
        elif event.best in {e.candidate for e in live.scored}:
            best = f"{in_words(event.scores)}, candidate {event.best:04}"
            assert f"best of round {event.round + 1}: {best}" in shown


def test_all_scores_are_shown_afterwards(
    several: tuple[RunView, list[Event]], tmp_path: Path
) -> None:
    view, _ = several
    log = CliRunner().invoke(app, ["log", "--all", str(view.folder)]).stdout
    ask = CliRunner().invoke(app, ["ask", str(view.folder)]).stdout
    for e in view.evaluations:
        assert e.scores is not None
        found = in_words(e.scores).replace("nats", "nats per masked token")
        assert f"round {e.round + 1}: {found}\n" in log
    told = archive(view, {})["candidates"]
    for each in told:
        mine = [e for e in view.evaluations if e.candidate == each["id"]]
        assert [s["scores"] for s in each["scores"]] == [dict(e.scores) for e in mine]
    assert sum(in_words(e.scores) in ask for e in view.evaluations) >= len(told) // 2
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert view.winner is not None
    Branch(tmp_path, view.folder).commit(view, view.winner)
    words = subprocess.run(
        ["git", "-C", str(tmp_path), "log", "--format=%B", "azc/several"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    last = [e for e in view.evaluations if e.candidate == view.winner][-1]
    assert f"Round {last.round + 1}: {in_words(last.scores or {}, 4)}.\n" in words


def test_scores_of_one_unit_have_names() -> None:
    scores = {"timed-loss": 2.5, "loss": 3.25, "latency": 1.234}
    assert shown_scores(scores) == (
        "2.500 nats (timed-loss), 3.250 nats (loss), 1.23 ms"
    )
    assert shown_scores({"loss": 3.25}, of="per token") == "3.250 nats per token"
    assert shown_scores(scores, skip=1) == "3.250 nats (loss), 1.23 ms"
    assert list(headings(scores).values()) == ["timed-loss, nats", "loss, nats", "ms"]


@pytest.mark.parametrize(
    ("points", "share"),
    [
        ([(1, 1)], None),  # alone, it has the whole box
        ([(1, 1), (2, 2), (3, 4)], None),
        ([(1, 1), (1, 1), (2, 2)], None),  # the same twice
        ([(1, 2), (2, 1)], None),  # the ends of the box have nothing of it
        ([(0, 1), (1, 0), (2, 2)], 3 / 4),
        ([(0, 2), (1, 1), (2, 0)], 1 / 4),
    ],
)
def test_the_hypervolume_is_left_out_where_it_says_nothing(
    points: list[tuple[int, int]], share: float | None
) -> None:
    ranking = [
        Evaluation(0, n, "done", {"loss": a, "parameters": b}, None, 1.0)
        for n, (a, b) in enumerate(points, 1)
    ]
    front = pareto_front(ranking, ("loss", "parameters"))
    assert front is not None
    assert front.hypervolume == share


def test_contenders_are_of_the_front(several: tuple[RunView, list[Event]]) -> None:
    view, _ = several
    assert view.front is not None
    front = {e.candidate for e in view.front.members}
    two = replace(view.options, contenders=2)
    chosen = contenders(view.rounds, view.evaluations, two)
    assert chosen[0] in front
    entered = {entrant.candidate for entrant in view.entrants.values()}
    assert front & entered


def test_the_front_is_shown(several: tuple[RunView, list[Event]]) -> None:
    view, _ = several
    assert view.front is not None
    members = [e.candidate for e in view.front.members]
    ranking = view.ranking()
    assert members == [
        ranking[i].candidate for i in fronts(points(ranking, SEVERAL))[0]
    ]
    share = view.front.hypervolume
    assert share is None or 0 < share < 1
    dom = parse(page(view))
    rows = dom.id("search").one("table", "front").one("tbody").all("tr")
    assert [row.one("a").attributes["href"] for row in rows] == [
        f"#c{n}" for n in members
    ]
    knees = [row.one("a").attributes["href"] for row in rows if "knee" in row.text]
    assert knees == [f"#c{view.front.knee.candidate}"]
    # Every objective stands where a score does.
    for number, row in rows_of(block(dom, "rows")).items():
        found = [
            e.scores for e in view.evaluations if e.candidate == number and e.scores
        ]
        if found:
            shown = f"{found[-1]['parameters']:,.0f} parameters"
            assert shown in parse(row["row"]).one("span", "score").text
    said = CliRunner().invoke(app, ["resume", str(view.folder)]).stdout
    assert "the Pareto front of the last round by loss, parameters, flops" in said
    assert f"knee: {view.front.knee.candidate:04}.azg" in said
    assert ("hypervolume" in said) == (share is not None)
    assert ("hypervolume" in page(view)) == (share is not None)
    answer = json.loads(
        CliRunner().invoke(app, ["resume", str(view.folder), "--json"]).stdout
    )
    assert answer["objectives"] == list(SEVERAL)
    assert answer["front"] == {
        "members": members,
        "knee": view.front.knee.candidate,
        "hypervolume": view.front.hypervolume,
    }


def test_the_winner_is_the_knee_of_the_contenders(
    several: tuple[RunView, list[Event]],
) -> None:
    """By the losses that they came to alone and what they cost, computed anew."""
    view, _ = several
    alone = {
        view.entrants[fit.entrant].candidate: fit.loss
        for fit in view.fits
        if fit.split == "validation"
    }
    assert len(alone) == view.options.contenders
    found = {}
    for number, loss in alone.items():
        text = view.candidates[number or 0].program
        costs = summarise(check_source(Source("x", text)).models[view.model], 16)
        found[number] = (loss, costs.parameters, costs.flops)
    front = {
        number: point
        for number, point in found.items()
        if not any(
            other != point and all(a <= b for a, b in zip(other, point, strict=True))
            for other in found.values()
        )
    }
    low, top = (
        [pick(axis) for axis in zip(*front.values(), strict=True)]
        for pick in (min, max)
    )

    def height(number: int | None) -> float:
        axes = zip(front[number], low, top, strict=True)
        return sum((x - a) / (b - a) if b > a else 0.0 for x, a, b in axes)

    assert view.winner == min(front, key=height)
    # The search's own knee is among those that it was chosen from.
    assert view.front is not None
    assert view.front.knee.candidate in alone
    # It is told in every place, beside the whole front.
    assert view.final_front is not None
    assert {e.candidate for e in view.final_front.members} == set(front)
    assert view.final_front.knee.candidate == view.winner
    dom = parse(page(view))
    shown = dom.id("result").one("table", "front").one("tbody").all("tr")
    assert {row.one("a").text for row in shown} == {f"{n:04}" for n in front}
    assert "By its loss alone, the winner is" in dom.one("p", "verdict").text
    runner = CliRunner()
    said = runner.invoke(app, ["resume", str(view.folder)]).stdout
    assert f"the winner is its knee: {view.winner:04}.azg" in said
    answer = json.loads(
        runner.invoke(app, ["resume", str(view.folder), "--json"]).stdout
    )
    assert answer["final_front"]["knee"] == answer["winner"]["id"] == view.winner
    pairs = zip(
        answer["final_front"]["members"], answer["final_front"]["losses"], strict=True
    )
    assert dict(pairs) == {n: alone[n] for n in front}
    best = (view.folder / "best.azg").read_text(encoding="utf-8")
    assert best == answer["winner"]["program"]
    # There is something to choose: the least loss alone is another's.
    assert view.winner != min(alone, key=lambda n: alone[n] or 0.0)


def test_several_objectives_come_to_the_same_after_kills(
    several: tuple[RunView, list[Event]], home: Path, tmp_path: Path
) -> None:
    view, events = several
    for moment in range(2, len(events), 5):
        folder = tmp_path / str(moment)
        with pytest.raises(Killed):
            run_here(view.options, folder, home / "cache", on_event=cut_at(moment))
        resume(folder, cache=home / "cache")
        assert result(folder) == result(view.folder)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_measured_is_measured_once(
    home: Path, tmp_path: Path, workers: int
) -> None:
    options = tiny(
        home / "corpus.txt",
        evaluations=8,
        objectives=MEASURED,
        seconds_alone=0.2,
        strategy="nsga2",
        final_seeds=(),
        workers=workers,
    )
    view = run_here(options, tmp_path / "run", home / "cache")
    found: dict[int, list[tuple[float, ...]]] = {}
    for e in view.evaluations:
        assert e.scores is not None
        assert tuple(e.scores) == MEASURED
        costs = tuple(e.scores[name] for name in MEASURED[1:])
        assert all(math.isfinite(value) and value > 0 for value in costs)
        found.setdefault(e.candidate, []).append(costs)
    assert any(len(each) > 1 for each in found.values())
    assert all(len(set(each)) == 1 for each in found.values())


def test_a_timed_loss_alone_is_what_is_searched_by(home: Path, tmp_path: Path) -> None:
    options = tiny(
        home / "corpus.txt",
        evaluations=4,
        objectives=("timed-loss",),
        seconds_alone=0.1,
        final_seeds=(),
    )
    view = run_here(options, tmp_path / "run", home / "cache")
    for e in view.evaluations:
        assert e.scores is not None
        assert tuple(e.scores) == ("timed-loss", "loss")
        assert e.score == e.scores["timed-loss"]
    assert view.front is None


# Limits


def test_what_is_over_a_limit_is_refused_with_its_reason(
    go: Callable[..., RunView], home: Path
) -> None:
    """In every stage: in rounds, among random samples, and among what is typed by hand."""
    start = check_source(Source("tiny.azg", PROGRAM)).models["start"]
    most = summarise(start, 16).parameters
    # Convolutions have fewer parameters than attention here: limit the FLOPs to fewer
    # than most children have.
    flops = summarise(start, 16).flops
    options = tiny(
        home / "corpus.txt",
        evaluations=8,
        limits=(("parameters", most), ("flops", flops)),
        baselines=True,
        final_seeds=(1,),
    )
    view = go(options)
    assert view.is_over
    reasons = [each.reason for each in view.refused if each.why == "fault"]
    assert f"it has more than {flops:,.10g} FLOPs per token" in reasons
    entered = [entrant.program for entrant in view.entrants.values()]
    for text in [*(c.program for c in view.candidates.values()), *entered]:
        model = check_source(Source("x.azg", text)).models[view.model]
        assert summarise(model, 16).parameters <= most
        assert summarise(model, 16).flops <= flops
    assert {row.role for row in view.rows} >= {"winner", "start", "random"}


def test_a_start_over_a_limit_is_refused(
    go: Callable[..., RunView], home: Path, tmp_path: Path
) -> None:
    options = tiny(home / "corpus.txt", limits=(("parameters", 10.0),))
    with pytest.raises(UsageError, match="it has more than 10 parameters") as caught:
        go(options)
    assert caught.value.code == "U026"
    assert not (tmp_path / "run").exists()


def costs_of(folder: Path) -> dict[tuple[str, str], float]:
    """What the journal of a run has of measured costs, by key and objective."""
    with closing(sqlite3.connect(folder / "journal.sqlite")) as db:
        rows = db.execute("SELECT key, name, value FROM cost").fetchall()
    return {(key, name): value for key, name, value in rows}


def memory_of(text: str) -> float:
    """MiB, as a run on the CPU of `tiny` options measures it: the same on any machine."""
    model, _ = build_candidate(text, "start", 0)
    options = tiny(Path("none"))
    return peak_memory(model, (options.batch_size, options.length), torch.device("cpu"))


def test_what_is_measured_beyond_a_limit_is_refused_with_its_figure(
    go: Callable[..., RunView], home: Path, tmp_path: Path
) -> None:
    most = memory_of(PROGRAM)
    options = tiny(
        home / "corpus.txt",
        evaluations=8,
        limits=(("memory", most),),
        baselines=True,
        final_seeds=(1,),
    )
    view = go(options)
    assert view.is_over
    figures = costs_of(tmp_path / "run")
    beyond = {value for (_, name), value in figures.items() if name == "memory"}
    beyond = {f"{value:.6g}" for value in beyond if value > most}
    said = f"it takes more than {most:.6g} MiB in a training step: "
    reasons = [each.reason or "" for each in view.refused if each.why == "fault"]
    told = {each.removeprefix(said) for each in reasons if each.startswith(said)}
    assert told
    assert told <= beyond
    entered = [entrant.program for entrant in view.entrants.values()]
    for text in [*(c.program for c in view.candidates.values()), *entered]:
        assert memory_of(text) <= most
    assert {row.role for row in view.rows} >= {"winner", "start", "random"}
    # Each counts for its reason, whatever the figure.
    assert refused_words(view.refused).count("MiB in a training step") == 1


def test_what_was_measured_counts_and_not_what_would_be(
    home: Path, tmp_path: Path
) -> None:
    """A run that goes on is refused what its journal says is slow."""
    options = tiny(
        home / "corpus.txt",
        evaluations=4,
        limits=(("latency", 1e6),),
        by_hand=False,
        final_seeds=(),
    )
    free = run_here(options, tmp_path / "free", home / "cache")
    assert not any("batch" in str(each.reason) for each in free.refused)
    slow = free.candidates[max(free.candidates)]
    folder = tmp_path / "run"
    with pytest.raises(Killed):
        run_here(options, folder, home / "cache", on_event=cut_at(1))
    with closing(RunFolder(folder).desk()) as journal:
        assert not journal.costs(slow.key)
        journal.record_costs(slow.key, {"latency": 123456789.0})
    before = costs_of(folder)
    view = resume(folder, cache=home / "cache")
    assert before.items() <= costs_of(folder).items()
    assert slow.key not in {c.key for c in view.candidates.values()}
    reason = "it takes more than 1e+06 milliseconds a batch: 1.23457e+08"
    assert reason in [each.reason for each in view.refused]


def test_runs_with_measured_limits_come_to_the_same_after_kills(
    home: Path, tmp_path: Path
) -> None:
    options = tiny(
        home / "corpus.txt",
        evaluations=8,
        limits=(("memory", memory_of(PROGRAM)),),
        objectives=("loss", "memory"),
        final_seeds=(),
    )
    events: list[Event] = []
    whole = run_here(
        options, tmp_path / "whole", home / "cache", on_event=events.append
    )
    for moment in range(2, len(events), 5):
        folder = tmp_path / str(moment)
        with pytest.raises(Killed):
            run_here(options, folder, home / "cache", on_event=cut_at(moment))
        before = costs_of(folder)
        resume(folder, cache=home / "cache")
        assert before.items() <= costs_of(folder).items()
        assert result(folder) == result(whole.folder)


def test_a_start_that_is_measured_beyond_a_limit_is_refused(
    home: Path, tmp_path: Path
) -> None:
    options = tiny(home / "corpus.txt", limits=(("latency", 1e-6),))
    with pytest.raises(UsageError, match="it takes more than 1e-06 mill") as caught:
        run_here(options, tmp_path / "run", home / "cache")
    assert caught.value.code == "U026"
    # Again from the journal, to the last digit.
    with pytest.raises(UsageError) as again:
        resume(tmp_path / "run", cache=home / "cache")
    assert again.value.message == caught.value.message


# Options


def test_the_first_is_a_loss() -> None:
    assert in_order(["loss"]) == ("loss",)
    assert in_order(["flops", "loss"]) == ("loss", "flops")
    assert in_order(["latency", "timed-loss"]) == ("timed-loss", "latency", "loss")


def test_names_and_limits_as_typed() -> None:
    assert read_objective("params") == read_objective("parameters") == "parameters"
    assert read_limit("params=30e6") == ("parameters", 30e6)
    assert read_limit("flops = 2_000") == ("flops", 2000.0)
    assert read_limit("latency=2ms") == ("latency", 2.0)
    assert read_limit("latency = 1.5 s") == ("latency", 1500.0)
    assert read_limit("latency=500us") == ("latency", 0.5)
    assert read_limit("memory=64MiB") == ("memory", 64.0)
    assert read_limit("memory=64MB") == ("memory", 64e6 / 2**20)


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (lambda: read_objective("paramters"), "did you mean parameters"),
        (lambda: read_limit("loss=3"), "loss can't be limited"),
        (lambda: read_limit("params=many"), "'params=many' is not a limit"),
        (lambda: read_limit("params"), "'params' is not a limit"),
        (lambda: read_limit("params=-1"), "'params=-1' is not a limit"),
        (lambda: read_limit("params=nan"), "'params=nan' is not a limit"),
        (lambda: EvolveOptions(objectives=()), "no loss: none"),
        (lambda: EvolveOptions(objectives=("flops",)), "no loss: flops"),
        (lambda: EvolveOptions(objectives=("loss", "loss")), "is repeated"),
        (lambda: EvolveOptions(objectives=("loss", "size")), "no objective 'size'"),
        (lambda: EvolveOptions(objectives=("loss", "params")), "'params' is no"),
        (lambda: read_limit("latency=2"), "a time, as latency=2ms"),
        (lambda: read_limit("latency=0ms"), "is not a limit"),
        (lambda: read_limit("memory=64m²"), "a size, as memory=64MB"),
        (lambda: EvolveOptions(limits=(("flops", 0),)), "is not a limit"),
        (lambda: EvolveOptions(limits=(("flops", True),)), "is not a limit"),
        (lambda: EvolveOptions(seconds_alone=0), "seconds_alone"),
        (lambda: EvolveOptions.from_json({"limits": 3}), "limits"),
        (lambda: EvolveOptions.from_json({"limits": ["flops"]}), "limits"),
        (lambda: EvolveOptions.from_json({"objectives": "loss"}), "objectives"),
    ],
)
def test_what_makes_no_sense_is_told(read: Callable[[], object], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read()
    assert caught.value.code == "U020"
    assert said in f"{caught.value.message} {caught.value.help}"


def test_options_go_through_json() -> None:
    options = EvolveOptions(objectives=SEVERAL, limits=(("flops", 2e6),))
    text = json.dumps(options.as_json())
    assert EvolveOptions.from_json(json.loads(text)) == options


def test_the_command_line(home: Path, tmp_path: Path) -> None:
    """Several objectives are NSGA-II's, unless another strategy is asked for."""
    file = tmp_path / "tiny.azg"
    file.write_text(PROGRAM, encoding="utf-8")
    options = tiny(home / "corpus.txt", evaluations=2, final_seeds=())
    words = ["evolve", str(file), "--data", str(home / "corpus.txt")]
    words += ["--objective", "loss", "--objective", "params", "--limit", "params=1e6"]
    for name, more in {"nsga2": [], "random": ["--strategy", "random"]}.items():
        folder = tmp_path / name
        asked = [*words, *arguments(options), *more, "-o", str(folder)]
        done = CliRunner(env={"AZC_CACHE": str(home / "cache")}).invoke(app, asked)
        assert done.exit_code == 0, done.output
        kept = json.loads((folder / "run.json").read_text(encoding="utf-8"))["options"]
        assert kept["strategy"] == name
        assert kept["objectives"] == ["loss", "parameters"]
        assert kept["limits"] == [["parameters", 1e6]]
    refused = CliRunner().invoke(app, [*words, "--objective", "size", "-o", "x"])
    assert refused.exit_code == 2
    assert "there is no objective 'size'" in refused.output


def test_contenders_of_one_objective_are_the_best() -> None:
    found = [
        Evaluation(0, n, "done", {"loss": float(n)}, None, 0.1) for n in range(1, 6)
    ]
    options = EvolveOptions(evaluations=5, contenders=3)
    assert contenders([(0, True)], found, options) == [1, 2, 3]
