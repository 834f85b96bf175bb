"""Searches on tasks, and on text and tasks: what they say, refuse and come to."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from azc.cli.app import app
from azc.search.run import read_run
from tests.runs import (
    PROGRAM,
    arguments,
    result,
    scored,
    start,
    tiny,
    until,
    write_corpus,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "tiny.azg").write_text(PROGRAM, encoding="utf-8")
    write_corpus(folder / "corpus.txt")
    return folder


def words(home: Path, data: str, run: Path, *more: str) -> list[str | Path]:
    options = tiny(data, evaluations=4, round_size=3)
    return ["evolve", home / "tiny.azg", *arguments(options), "-o", run, *more]


def here(*words: str | Path, home: Path) -> Result:
    """`azc` in this process."""
    environment = {"AZC_CACHE": str(home / "cache"), "COLUMNS": "200"}
    return CliRunner().invoke(app, [*map(str, words)], env=environment)


@pytest.fixture(scope="module")
def whole(home: Path) -> tuple[Path, str]:
    """A run that nothing interrupted, and what it said."""
    process = start(*words(home, "task:recall", home / "whole"), cache=home / "cache")
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return home / "whole", output


def test_the_unit_is_said(whole: tuple[Path, str], home: Path) -> None:
    run, output = whole
    assert "validation loss per answer after a few steps" in output
    assert "loss on held-out rows, nats per answer" in output
    assert "masked token" not in output
    log = here("log", run, home=home)
    assert re.search(r"round 1: \d\.\d{3} nats per answer$", log.stdout, re.MULTILINE)
    answer = json.loads(here("resume", run, "--json", home=home).stdout)
    assert (answer["data"], answer["unit"]) == ("task:recall", "per answer")
    assert answer["evaluations"]["spent"] == 4
    assert not (home / "cache").exists()  # there is no text to keep
    # Of every program trained alone, the share of answers that are right.
    assert "task:recall right" in output
    for row in answer["comparison"]["rows"]:
        (shares,) = row["right"].values()
        assert len(shares) == len(row["losses"]) > 0
        assert all(0 <= share <= 1 for share in shares)


def test_killed_and_gone_on_with_in_another_process(
    whole: tuple[Path, str], home: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = start(*words(home, "task:recall", run), cache=home / "cache")
    assert until(process, lambda: len(scored(run)) >= 2), process.communicate()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(scored(run)) < 4
    answer = here("resume", run, home=home)
    assert answer.exit_code == 0, answer.output
    assert result(run) == result(whole[0])


def test_text_and_a_task(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text's path means the same in another folder."""
    run = tmp_path / "run"
    text = PROGRAM.replace("vocab = 96", "vocab = 160")
    (tmp_path / "tiny.azg").write_text(text, encoding="utf-8")
    monkeypatch.chdir(home)
    data = "corpus.txt+task:copy"
    answer = here(*words(tmp_path, data, run), home=home)
    assert answer.exit_code == 0, answer.output
    assert "loss on held-out text and rows, nats per masked token or answer" in (
        answer.stdout
    )
    assert read_run(run).options.data == f"{home / 'corpus.txt'}+task:copy"
    monkeypatch.chdir(tmp_path)
    answer = here("resume", run, "--evaluations", "5", home=home)
    assert answer.exit_code == 0, answer.output
    assert len(scored(run)) == 5


def test_a_task_is_no_path(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_corpus(tmp_path / "task:recall")
    monkeypatch.chdir(tmp_path)
    for number, data, settled in (
        (1, "task:recall", "task:recall"),
        (2, "./task:recall", str(tmp_path / "task:recall")),
    ):
        run = tmp_path / f"run-{number}"
        few = ["--evaluations", "1", "--final-seeds", "0", "--warm-up", "0"]
        answer = here(*words(home, data, run, *few), home=home)
        assert answer.exit_code == 0, answer.output
        assert read_run(run).options.data == settled


@pytest.mark.parametrize(
    ("data", "more", "status", "code"),
    [
        ("task:recal", [], 2, "D030"),
        ("task:recall", ["--length", "8"], 2, "D031"),
        ("task:recall", ["--tokenizer", "x"], 2, "D032"),
        ("task:recall+task:copy", [], 1, "R034"),
        ("python+task:recall", [], 1, "R034"),
    ],
)
def test_what_can_not_be_is_refused_before_anything_is_written(
    home: Path, tmp_path: Path, data: str, more: list[str], status: int, code: str
) -> None:
    run = tmp_path / "run"
    answer = here(*words(home, data, run, "--json", *more), home=home)
    error = json.loads(answer.stdout)["error"]
    assert (answer.exit_code, error["code"]) == (status, code)
    assert not run.exists()
