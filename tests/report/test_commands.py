"""`azc report` and `azc best` on the command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from azc.report.page import MARK, page
from azc.search.displays import displays
from azc.search.view import RunView, read_run
from tests.cli.conftest import Azc
from tests.runs import PROGRAM, Killed, cut_at, run_here, start, tiny


@pytest.fixture
def run(view: RunView, tmp_path: Path) -> Path:
    """The run, in a folder of the test's own."""
    return Path(shutil.copytree(view.folder, tmp_path / "run"))


@pytest.fixture
def begun(home: Path, tmp_path: Path) -> Callable[[int], Path]:
    """A run that was killed when it told its event of that number."""

    def make(number: int) -> Path:
        options = tiny(home / "corpus.txt", evaluations=8)
        with pytest.raises(Killed):
            run_here(
                options,
                tmp_path / "cut",
                home / "cache",
                PROGRAM,
                on_event=cut_at(number),
            )
        return tmp_path / "cut"

    return make


def test_report_writes_the_page(azc: Azc, run: Path, view: RunView) -> None:
    answer = azc("report", "run")
    assert (answer.code, answer.out, answer.err) == (0, "run/report.html\n", "")
    written = (run / "report.html").read_text(encoding="utf-8")
    assert MARK in written
    here = read_run(Path("run"))
    assert written == page(here, displays(here))
    # Again, in its own place and in another.
    assert azc("report", "run").code == 0
    assert azc("report", "run", "-o", "here.html").code == 0
    assert Path("here.html").read_text(encoding="utf-8") == written
    found = azc("report", "run", "--json").json
    assert found["file"] == "run/report.html"
    assert found["over"] is True


def test_the_folder_of_a_run_stands_for_its_best_program(azc: Azc, run: Path) -> None:
    best = azc("best", "run").out
    assert azc("best", "run", "-o", "best.azg").code == 0
    assert azc("diff", "run", "best.azg", "--exit-code").code == 0
    shown = azc("show", "run").out
    assert shown == azc("show", "best.azg").out
    assert azc("explain", "run").code == azc("explain", "best.azg").code
    found = azc("compile", "run", "-o", "compiled")
    assert (found.code, found.err) == (0, "")
    program = json.loads(Path("compiled/config.json").read_text())["program"]
    Path("compiled.azg").write_text(program)
    assert azc("diff", "compiled.azg", "best.azg", "--exit-code").code == 0
    # A file is what it is, and so is a run that has come to nothing.
    assert (
        azc("show", "run/start.azg").out != shown
        or best == Path("run/start.azg").read_text()
    )
    (run / "best.azg").unlink()
    found = azc("compile", "run", "-o", "other")
    assert (found.code, found.out) == (1, "")
    assert "can't read run: is a directory\n = help: this run has no best" in found.err


def test_a_page_in_the_folder_is_no_fault_of_the_run(azc: Azc, run: Path) -> None:
    assert azc("report", "run").code == 0
    assert azc("resume", "run").code == 0
    assert azc("log", "run").code == 0


def test_a_file_that_azc_did_not_write_is_left(azc: Azc, run: Path) -> None:
    Path("mine.html").write_text("<p>mine</p>")
    answer = azc("report", "run", "-o", "mine.html")
    assert answer.code == 2
    assert (
        "error[U113]: mine.html exists and is not a page that azc wrote" in answer.err
    )
    assert Path("mine.html").read_text() == "<p>mine</p>"
    Path("empty.html").touch()
    assert azc("report", "run", "-o", "empty.html").code == 0
    Path("mine.azg").write_text("# mine\n")
    answer = azc("best", "run", "-o", "mine.azg")
    assert answer.code == 2
    assert "error[U113]: mine.azg exists and is not a program of run" in answer.err
    assert Path("mine.azg").read_text() == "# mine\n"


@pytest.mark.parametrize("command", ["report", "best"])
def test_what_is_no_run_is_refused(azc: Azc, command: str, tmp_path: Path) -> None:
    assert "error[R035]: there is no folder nowhere" in azc(command, "nowhere").err
    (tmp_path / "folder").mkdir()
    answer = azc(command, "folder")
    assert answer.code == 1
    assert "error[R035]: folder is not the folder of a run" in answer.err
    assert list((tmp_path / "folder").iterdir()) == []


@pytest.mark.parametrize("command", ["report", "best"])
def test_what_can_not_be_written_is_told(azc: Azc, command: str, run: Path) -> None:
    answer = azc(command, "run", "-o", "no/such/folder/x")
    assert answer.code == 1
    assert answer.err == "error[R100]: no/such/folder/x: no such file or directory\n\n"
    answer = azc(command, "run", "-o", "run")
    assert answer.code == 1
    assert answer.err == "error[R100]: run: is a directory\n\n"
    os.mkfifo("pipe")
    answer = azc(command, "run", "-o", "pipe")
    assert answer.code == 1
    assert "pipe: it is not a regular file" in answer.err


def test_best_is_the_winner_and_checks(azc: Azc, run: Path, view: RunView) -> None:
    assert view.best is not None
    answer = azc("best", "run")
    assert (answer.code, answer.out, answer.err) == (0, view.best.program, "")
    checked = azc("check", "-", stdin=answer.out)
    assert checked.code == 0
    assert azc("best", "run", "-o", "best.azg").code == 0
    assert Path("best.azg").read_text(encoding="utf-8") == view.best.program
    # What another moment of the run has left there is replaced.
    Path("best.azg").write_text(view.candidates[1].program, encoding="utf-8")
    found = azc("best", "run", "-o", "best.azg", "--json").json
    assert found["id"] == view.winner
    assert found["program"] == Path("best.azg").read_text(encoding="utf-8")
    assert found["file"] == "best.azg"


def test_a_run_under_way(azc: Azc, begun: Callable[[int], Path]) -> None:
    folder = begun(5)
    answer = azc("report", folder)
    assert answer.code == 0
    assert "is not complete" in answer.err
    assert "This run is not complete" in (folder / "report.html").read_text("utf-8")
    assert azc("best", folder, "--json").json["over"] is False


def test_before_anything_is_scored(azc: Azc, begun: Callable[[int], Path]) -> None:
    folder = begun(0)
    assert azc("report", folder).code == 0
    answer = azc("best", folder)
    assert answer.code == 1
    assert "error[R040]: nothing has been scored" in answer.err


def test_serve_answers_until_it_is_interrupted(run: Path, home: Path) -> None:
    process = start("serve", run, cache=home / "cache")
    try:
        assert process.stdout is not None
        said, _, url = process.stdout.readline().strip().partition(": ")
        assert said == str(run)
        jar = urllib.request.HTTPCookieProcessor()
        with urllib.request.build_opener(jar).open(url, timeout=60) as answer:
            assert MARK in answer.read().decode()
            assert answer.url == url.partition("?")[0]  # the token is in a cookie now
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, told) == (130, "interrupted\n")
