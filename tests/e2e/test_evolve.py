"""`azc evolve`, `resume` and `log` on the command line: what they say, and refuse."""

from __future__ import annotations

import io
import json
import re
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from azc.cli import progress as progress_module
from azc.cli.app import app
from azc.cli.progress import LiveProgress
from azc.data.summary import SplitSummary, TextSummary
from azc.search.events import (
    Closed,
    Comparing,
    Ended,
    Event,
    Fitted,
    Opened,
    Progress,
    Read,
    Retried,
    Scored,
    Warming,
)
from tests.runs import NARROW, PROGRAM, arguments, scored, start, tiny, write_corpus

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evolve")
    (folder / "tiny.azg").write_text(PROGRAM, encoding="utf-8")
    (folder / "narrow.azg").write_text(NARROW, encoding="utf-8")
    write_corpus(folder / "corpus.txt")
    return folder


@pytest.fixture(scope="module")
def words(home: Path) -> list[str | Path]:
    """`evolve` with everything but the folder of the run."""
    options = tiny(home / "corpus.txt", evaluations=6, round_size=3)
    return ["evolve", home / "tiny.azg", *arguments(options)]


@pytest.fixture(scope="module")
def told(home: Path, words: list[str | Path]) -> tuple[str, str]:
    """What a run in a process of its own says, with an empty cache and no terminal."""
    process = start(*words, "-o", home / "run", cache=home / "new" / "cache")
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return output, errors


def here(*words: str | Path, home: Path) -> Result:
    """`azc` in this process."""
    environment = {"AZC_CACHE": str(home / "cache"), "COLUMNS": "200"}
    return CliRunner().invoke(app, [*map(str, words)], env=environment)


def answer_of(result: Result) -> dict[str, Any]:
    answer = json.loads(result.stdout)
    assert isinstance(answer, dict)
    return answer


# What is said

_LINES = r"""
starting the run in .+/run: loading PyTorch and the data \(.+/corpus\.txt\)
(reading|counting|training|choosing|encoding) the .+
.+: 1 file, 100 documents, [\d,]+ tokens \(tokenizer: trained on it, \d+ tokens\)
train: 90 documents, [\d,]+ tokens; validation: 5 documents, \d+ tokens; test: 5 .+
warm-up \d+/20 steps
round \d: 3 candidates
round \d: \d+ child(ren)? not trained: .+
  \d/6  \d{4}  \d\.\d{3} nats  .+
round \d complete: best \d{4}, \d\.\d{3} nats
searching: \d/6, [\d,.]+ a minute, \d+:\d\d left in this stage
final training: about \d training runs
final training: \d/\d, [\d,.]+ a minute, \d+:\d\d left in this stage
  \d/\d  (the start|candidate \d{4}), 3 steps, seed \d+: \d\.\d{3} nats
""".strip("\n").split("\n")


def test_nobody_else_says_anything(told: tuple[str, str]) -> None:
    """No warnings, no progress bars of others, no escape codes."""
    output, errors = told
    for line in errors.splitlines():
        assert any(re.fullmatch(known, line) for known in _LINES), line
    assert len(errors.splitlines()) >= 2 + 2 * 6 + 1 + 2
    assert errors.count(" a minute, ") == 2  # rate and time left, after each round
    assert "\x1b" not in output + errors
    assert "\r" not in output + errors


def test_the_report_has_it_all(told: tuple[str, str], home: Path) -> None:
    output, _ = told
    lines = output.splitlines()
    assert lines[1] == f"6 evaluations in 2 rounds; run in {home / 'run'}"
    assert "the best programs of the last round" in output
    assert len(re.findall(r"│ \d{4}\.azg", output)) == 3
    said = "each trained from scratch for 3 steps; loss on held-out text, nats per masked token"
    assert said in output
    assert re.search(r"│ the start +│ +\d\.\d{3} ", output)
    assert re.search(r"│ winner \(candidate \d{4}\) +│ +\d\.\d{3} ", output)
    assert lines[-1].startswith("the winner is ")
    assert all(len(line) <= 200 for line in lines)


def test_the_report_as_json(told: tuple[str, str], home: Path) -> None:
    result = here("resume", home / "run", "--json", home=home)
    assert result.exit_code == 0
    assert result.stderr == ""
    answer = answer_of(result)
    assert list(answer) == [
        *("azc", "command", "ok", "folder", "space", "model", "data", "text", "unit"),
        *("evaluations", "ending", "rounds", "refused"),
        *(
            "start",
            "winner",
            "ranking",
            "objectives",
            "front",
            "final_front",
            "agreement",
            "comparison",
        ),
    ]
    assert (answer["azc"], answer["command"], answer["ok"]) == (1, "resume", True)
    assert (answer["space"], answer["model"], answer["rounds"]) == ("tiny", "start", 2)
    assert answer["unit"] == "per masked token"
    assert answer["text"]["documents"] == 100
    splits = answer["text"]["splits"]
    assert {name: each["documents"] for name, each in splits.items()} == {
        "train": 90,
        "validation": 5,
        "test": 5,
    }
    assert answer["evaluations"] == {"spent": 6, "budget": 6, "failed": 0}
    for role in ("start", "winner"):
        assert list(answer[role]) == ["id", "program", "parameters", "flops_per_token"]
        assert answer[role]["parameters"] > 1000
        assert answer[role]["flops_per_token"] > 1000
    best = (home / "run" / "best.azg").read_text(encoding="utf-8")
    assert answer["winner"]["program"] == best
    scores = [row["scores"]["loss"] for row in answer["ranking"]]
    assert scores == sorted(scores)
    comparison = answer["comparison"]
    assert list(comparison) == ["steps", "seeds", "rows", "sentence"]
    assert (comparison["steps"], comparison["seeds"]) == (3, [1, 2])
    winner, start = comparison["rows"]
    assert (winner["role"], winner["candidate"]) == ("winner", answer["winner"]["id"])
    assert (start["role"], start["candidate"]) == ("start", 1)
    assert len(start["losses"]) == 2
    assert comparison["sentence"].startswith("the winner is ")


def test_evolve_as_json(words: list[str | Path], home: Path, tmp_path: Path) -> None:
    result = here(
        *words, "--evaluations", "2", "--json", "-o", tmp_path / "run", home=home
    )
    assert result.exit_code == 0
    assert result.stderr == ""
    answer = answer_of(result)
    assert answer["command"] == "evolve"
    assert answer["evaluations"]["spent"] == 2


def test_the_log_is_the_line_of_the_best(told: tuple[str, str], home: Path) -> None:
    result = here("log", home / "run", "--json", home=home)
    answer = answer_of(result)
    assert list(answer) == [
        *("azc", "command", "ok", "folder", "over", "steps", "refused")
    ]
    assert answer["over"] is True
    steps = answer["steps"]
    assert steps[0]["id"] == 1
    for old, new in pairwise(steps):
        assert new["parents"] == [old["id"]]
        assert f"+++ candidates/{new['id']:04}.azg" in new["diff"]
    for step in steps:
        assert list(step) == ["id", "parents", "round", "mutation", "scores", "diff"]
        assert step["round"] >= 1
        for score in step["scores"]:
            assert list(score) == ["round", "status", "scores", "reason"]
    said = here("log", home / "run", home=home).stdout
    for step in steps:
        assert f"{step['id']:04}  {step['mutation']}" in said
        assert step["diff"] in said


def test_the_log_of_all(told: tuple[str, str], home: Path) -> None:
    answer = answer_of(here("log", home / "run", "--all", "--json", home=home))
    numbers = [candidate["id"] for candidate in answer["candidates"]]
    assert numbers == list(range(1, len(numbers) + 1))
    scores = [s for c in answer["candidates"] for s in c["scores"]]
    assert len(scores) == 6
    assert {s["round"] for s in scores} == {1, 2}


# What fails


def test_where_every_candidate_fails_so_does_the_run(
    words: list[str | Path], home: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    # Weights this large are infinite after one step.
    changes = ["--learning-rate", "1e38", "--evaluations", "3"]
    result = here(*words, *changes, "--json", "-o", run, home=home)
    assert result.exit_code == 1
    error = answer_of(result)["error"]
    assert error["code"] == "R039"
    assert error["message"].startswith("every evaluation of 3 failed: the loss ")
    assert error["help"] == f"azc log --all {run} shows the candidates"
    assert len(scored(run)) == 3
    log = here("log", "--all", run, home=home)
    assert log.exit_code == 0
    assert log.stdout.count("failed: the loss ") == 3


def test_a_comparison_without_a_number_is_an_error(
    words: list[str | Path], home: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    # The learning rate rises from 0: one step changes nothing, and later ones all.
    weights = ["--weights", "fresh", "--steps", "1", "--final-steps", "9"]
    rate = ["--learning-rate", "1e30", "--warmup-ratio", "1", "--evaluations", "2"]
    result = here(*words, *weights, *rate, "-o", run, home=home)
    assert result.exit_code == 1
    assert "the best programs of the search" in result.stdout
    said = "error[R052]: the comparison has no loss of the winner: the loss is nan"
    assert said in result.stderr
    assert f"azc best {run} has the best program" in result.stderr
    best = here("best", run, home=home)
    assert best.exit_code == 0
    again = here("resume", run, "--json", home=home)
    assert again.exit_code == 1
    assert answer_of(again)["error"]["code"] == "R052"


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        (["--data", "/nothing/there.txt"], 1, "D001"),
        (["--data", "EMPTY"], 1, "D002"),
        (["--data", "SHORT"], 1, "D024"),
        (["--data", "task:copy", "--documents", "line"], 2, "D006"),
        (["--documents", "sentence"], 2, "U020"),
        (["--tokenizer", "/nothing/there"], 1, "D011"),
        (["--device", "cuda:77"], 1, "R041"),
        (["--learning-rate", "0"], 2, "U020"),
        (["--space", "nothing"], 2, "U101"),
        (["--final-seeds", "0", "--output", "FILE"], 2, "U021"),
        (["--output", "FILE/below"], 1, "R042"),
        (["--output", "/proc/nothing"], 1, "R042"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else str(value),
)
def test_faults_have_a_code_and_write_nothing(
    words: list[str | Path],
    home: Path,
    tmp_path: Path,
    changes: list[str],
    status: int,
    code: str,
) -> None:
    (tmp_path / "empty.txt").touch()
    short = tmp_path / "short.txt"
    short.write_text("one two\n\nthree four\n\nfive\n\nsix seven\n", "utf-8")
    places = {
        "EMPTY": "empty.txt",
        "SHORT": "short.txt",
        "FILE": "empty.txt",
        "FILE/below": "empty.txt/below",
    }
    changes = [str(tmp_path / places[w]) if w in places else w for w in changes]
    result = here(*words, "-o", tmp_path / "run", *changes, "--json", home=home)
    assert (result.exit_code, answer_of(result)["error"]["code"]) == (status, code)
    assert result.stderr == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "empty.txt",
        "short.txt",
    ]


@pytest.mark.parametrize("command", ["resume", "log"])
def test_what_is_no_run_is_refused(home: Path, tmp_path: Path, command: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for name, said in [
        ("file", "is not the folder of a run"),
        ("empty", "is not the folder of a run"),
        ("nothing", "there is no folder"),
    ]:
        result = here(command, tmp_path / name, home=home)
        assert result.exit_code == 1
        assert result.stdout == ""
        assert result.stderr.startswith("error[R035]: ")
        assert said in result.stderr
    assert not list((tmp_path / "empty").iterdir())


def test_a_folder_that_is_taken_is_refused(
    told: tuple[str, str], words: list[str | Path], home: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in (home / "run").rglob("*.azg")}
    result = here(*words, "-o", home / "run", home=home)
    assert result.exit_code == 2
    assert f"azc resume {home / 'run'} continues the run in it" in result.stderr
    after = {path: path.stat().st_mtime_ns for path in (home / "run").rglob("*.azg")}
    assert after == before


# The live display

_EVENTS: list[Event] = [
    Warming(0, 400),
    Warming(200, 400),
    Opened(0, 4, 0, 8, {"softmax": "50.0%", "add": "25.0%", "conv 3": "25.0%"}),
    Scored(0, 1, (), "the start", {"loss": 5.4321}, None, 0.1, 1, 8),
    Scored(0, 2, (1,), "a change " * 30, {"loss": 4.321}, None, 0.1, 2, 8),
    Scored(0, 3, (1,), "another", None, "the loss is nan", 0.1, 3, 8),
    Closed(0, 2, {"loss": 4.321}),
    Comparing(0, 4),
    Fitted("candidate 0002", 1, 400, "test", 4.0, None, 1, 4),
]


TEXT = TextSummary(
    name="texts",
    files=2,
    rows=7,
    documents=20,
    splits={
        "validation": SplitSummary(1, 30, 1),
        "test": SplitSummary(1, 20, 1),
        "train": SplitSummary(14, 1000, 17),
    },
    vocabulary=1024,
    tokenizer="bert",
    left_out_files={".png": 2, ".csv without a text column": 1},
    blank_rows=1,
    repeated=3,
    empty=1,
)
SENTENCES = [
    "texts: 2 files, 7 rows, 20 documents, 1,050 tokens (tokenizer: bert, 1,024 tokens)",
    "train: 14 documents, 1,000 tokens; validation: 1 document, 30 tokens; test: 1"
    " document, 20 tokens",
    "left out: 3 files of other kinds: .csv without a text column, .png (2), 1 row"
    " without text, 3 documents equal to another, 1 document without tokens",
]


def test_what_was_read_stays_above_the_display() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=200, height=30)
    with LiveProgress(console) as progress:
        for done in (0, 10**6, 2 * 10**6):
            progress(Progress("encoding the text", done, 4 * 10**6))
        drawn = Console(file=io.StringIO(), width=200, height=30, record=True)
        drawn.print(progress._draw())
        assert re.search(
            r"^encoding the text .* 2\.00 MB of 4\.00 MB +\d+:\d\d left$",
            drawn.export_text().strip(),
        )
        progress(Read(TEXT))
    for sentence in SENTENCES:
        assert sentence in file.getvalue()


def test_lines_say_how_far_the_reading_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seldom, and not at all where it takes no time."""
    now = 0.0
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now)
    tell = progress_module.LineProgress(quiet=False)
    tell(Progress("reading a.csv", 0))
    for second in range(60):
        now = float(second)
        tell(Progress("reading the text", second * 10**6, 100 * 10**6))
    tell(Progress("choosing the vocabulary", 0))
    tell(Read(TEXT))
    assert capsys.readouterr().err.splitlines() == [
        *(
            f"reading the text: {second}.0 MB of 100 MB, 1:{left:02} left"
            for second, left in ((10, 30), (20, 20), (30, 10))
        ),
        "reading the text: 40.0 MB of 100 MB, 1:00 left",
        "reading the text: 50.0 MB of 100 MB, 0:50 left",
        "choosing the vocabulary",
        *SENTENCES,
    ]
    quiet = progress_module.LineProgress(quiet=True)
    now += 20
    quiet(Progress("choosing the vocabulary", 0))
    quiet(Read(TEXT))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("width", [30, 80, 120])
def test_the_display_fits_the_terminal(width: int) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=width, height=30)
    seen = []
    with LiveProgress(console) as progress:
        for event in _EVENTS:
            progress(event)
            drawn = Console(file=io.StringIO(), width=width, height=30, record=True)
            drawn.print(progress._draw())
            seen.append(drawn.export_text())
    assert all(len(line) <= width for text in seen for line in text.splitlines())
    if width < 80:
        return
    assert "warming up the shared weights" in seen[0]
    assert "left" not in seen[0]  # nothing is known yet
    assert "200/400" in seen[1]
    assert "left" in seen[1]
    assert "softmax" in seen[2]
    assert "50.0%" in seen[2]
    assert "best of round 1: 5.432 nats, candidate 0001" in seen[3]
    assert "best of round 1: 4.321 nats, candidate 0002" in seen[5]
    assert "the loss is nan" in seen[5]
    assert "1 candidate failed" in seen[5]
    assert "final training" in seen[7]
    assert "1/4" in seen[8]
    assert "candidate 0002, 400 steps, seed 1: 4.000 nats" in seen[8]


def test_the_display_has_notes() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=30)
    with LiveProgress(console) as progress:
        for event, said in [
            (
                Retried("candidate 0003", "memory ran out"),
                "evaluating candidate 0003 again: memory ran out",
            ),
            (Ended("nothing new", 2, 8), "ended after 2 of 8 evaluations: nothing new"),
        ]:
            progress(event)
            drawn = Console(file=io.StringIO(), width=100, height=30, record=True)
            drawn.print(progress._draw())
            assert said in drawn.export_text()


def test_lines_say_the_time_left_in_a_long_round(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(0, 10_000, 25))
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: float(next(now)))
    tell = progress_module.LineProgress(quiet=False)
    tell(Opened(0, 8, 0, 8, {}))
    for number in range(1, 7):
        tell(Scored(0, number, (1,), "a change", {"loss": 5.0}, None, 0.1, number, 8))
    said = capsys.readouterr().err
    assert re.findall(r"searching: (\d)/8, .* a minute, \d+:\d\d left", said)


def test_a_space_that_is_used_up_is_said(
    words: list[str | Path], home: Path, tmp_path: Path
) -> None:
    narrow = ["evolve", home / "narrow.azg", *words[2:]]
    result = here(*narrow, "-o", tmp_path / "run", home=home)
    assert result.exit_code == 0
    why = "nothing new was found in the space"
    assert f"the search ended after 2 of 6 evaluations: {why}\n" in result.stderr
    assert (
        f"the search ended before its budget of 6 evaluations: {why}\n" in result.stdout
    )
    answer = answer_of(here("resume", tmp_path / "run", "--json", home=home))
    assert answer["ending"] == why
    assert answer["evaluations"] == {"spent": 2, "budget": 6, "failed": 0}


def test_a_run_that_is_over_goes_on_with_more(
    told: tuple[str, str], words: list[str | Path], home: Path, tmp_path: Path
) -> None:
    shutil.copytree(home / "run", tmp_path / "run")
    few = here("resume", tmp_path / "run", "--evaluations", "5", home=home)
    assert few.exit_code == 2
    assert "error[U022]: a budget of 5 is too small: 6 evaluations of" in few.stderr
    more = here("resume", tmp_path / "run", "--evaluations", "8", "--json", home=home)
    assert more.exit_code == 0
    answer = answer_of(more)
    assert answer["evaluations"] == {"spent": 8, "budget": 8, "failed": 0}
    assert len(answer["comparison"]["rows"]) == 2
    again = here("resume", tmp_path / "run", "--json", home=home)
    assert answer_of(again) == answer


def test_a_changed_file_is_named(
    told: tuple[str, str], home: Path, tmp_path: Path
) -> None:
    shutil.copytree(home / "run", tmp_path / "run")
    config = tmp_path / "run" / "run.json"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("hidden = 8", "hidden = 16"), encoding="utf-8")
    for command in ("resume", "log"):
        result = here(command, tmp_path / "run", home=home)
        assert result.exit_code == 1
        assert result.stderr.startswith(
            f"error[R031]: {config} has changed since the run wrote it"
        )
        assert "please report" not in result.stderr


def test_a_cache_that_can_not_be_written_is_done_without(
    words: list[str | Path], home: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    process = start(
        *words, "--evaluations", "1", "-o", tmp_path / "run", cache=tmp_path / "file"
    )
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    # A tokenizer and the tokens of the text.
    assert errors.count("can't be") == errors.count("can't be cached") == 2
    assert len(scored(tmp_path / "run")) == 1


def test_without_a_terminal_nothing_is_drawn(told: tuple[str, str]) -> None:
    assert "best of round" not in "".join(told)
