"""Runs that are killed, interrupted, or short of space, and gone on with."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import select
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from azc.cli.app import app
from tests.runs import (
    PROGRAM,
    arguments,
    log_lines,
    result,
    rows,
    scored,
    start,
    tiny,
    until,
    write_corpus,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    (folder / "tiny.azg").write_text(PROGRAM, encoding="utf-8")
    write_corpus(folder / "corpus.txt")
    return folder


@pytest.fixture(scope="module")
def words(home: Path) -> list[str | Path]:
    """`evolve` with everything but the folder of the run."""
    options = tiny(home / "corpus.txt")
    return ["evolve", home / "tiny.azg", *arguments(options)]


@pytest.fixture(scope="module")
def whole(home: Path, words: list[str | Path]) -> Path:
    """The same run, which nothing interrupted."""
    answer = here(*words, "-o", home / "whole", cache=home / "cache")
    assert answer.exit_code == 0, answer.output
    return home / "whole"


@pytest.fixture(params=["op-nas", "regularized"])
def searched(
    request: pytest.FixtureRequest, home: Path, words: list[str | Path], whole: Path
) -> tuple[list[str | Path], Path]:
    """`evolve` with a strategy, and the same run, which nothing interrupted."""
    name = request.param
    if name == "op-nas":
        return words, whole
    other = [*words, "--strategy", name, "--population", "5", "--tournament", "2"]
    folder = home / name
    if not folder.exists():
        answer = here(*other, "-o", folder, cache=home / "cache")
        assert answer.exit_code == 0, answer.output
    return other, folder


def here(*words: str | Path, cache: Path) -> Result:
    """`azc` in this process."""
    environment = {"AZC_CACHE": str(cache), "COLUMNS": "200"}
    return CliRunner().invoke(app, [*map(str, words)], env=environment)


def killed_when(process: subprocess.Popen[str], there: Callable[[], bool]) -> None:
    """Kills a process at work as soon as something is there."""
    assert until(process, there), process.communicate()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def started_with(cache: Path) -> list[int]:
    """Processes that were given a cache, and those that they have started."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # no process, one that has ended, or not ours
            continue
        if f"AZC_CACHE={cache}".encode() in words:
            found.append(int(folder.name))
    return found


def ended(pid: int) -> bool:
    """Whether a process has ended, or does so within seconds."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], 10.0)[0])
    finally:
        os.close(handle)


def test_killed_at_five_random_moments(
    home: Path, searched: tuple[list[str | Path], Path], tmp_path: Path
) -> None:
    words, whole = searched
    run = tmp_path / "run"
    rng = random.Random(11)
    early, late = rng.randint(1, 3), rng.randint(5, 9)
    moments: list[Callable[[], bool]] = [
        lambda: "warm-up 10/20" in log_lines(run),
        lambda: len(scored(run)) >= early,
        (run / "supernet" / "0001.safetensors").exists,  # a round is being closed
        lambda: len(scored(run)) >= late,
        lambda: len(rows(run, "fit")) >= 1,
    ]
    process = start(*words, "-o", run, cache=home / "cache")
    seen: list[dict[str, set[tuple[Any, ...]]]] = []
    for moment in moments:
        if seen:
            process = start("resume", run, cache=home / "cache")
        killed_when(process, moment)
        seen.append({table: set(rows(run, table)) for table in ("candidate", "fit")})
        seen[-1]["evaluation"] = set(scored(run))
    answer = here("resume", run, cache=home / "cache")
    assert answer.exit_code == 0, answer.output
    for before in seen:
        for table, known in before.items():
            assert known <= set(rows(run, table))
    assert [len(before["evaluation"]) for before in seen][-1] == 10
    assert len(scored(run)) == 10
    assert result(run) == result(whole)


def test_killed_with_workers(
    home: Path, searched: tuple[list[str | Path], Path], tmp_path: Path
) -> None:
    words, whole = searched
    run, cache = tmp_path / "run", tmp_path / "cache"
    shutil.copytree(home / "cache", cache)
    process = start(*words, "-o", run, "--workers", "2", cache=cache)
    killed_when(process, lambda: len(scored(run)) >= 5 and bool(started_with(cache)))
    assert all(map(ended, started_with(cache)))
    before = set(scored(run))
    answer = here("resume", run, cache=cache)
    assert answer.exit_code == 0, answer.output
    assert before <= set(scored(run))
    assert result(run) == result(whole)
    assert multiprocessing.active_children() == []


def workers_of(cache: Path) -> list[int]:
    """The worker processes of the run that was given this cache."""
    found = []
    for pid in started_with(cache):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"spawn_main" in words:
            found.append(pid)
    return found


def test_a_worker_that_hangs_is_replaced(
    home: Path, words: list[str | Path], whole: Path, tmp_path: Path
) -> None:
    run, cache = tmp_path / "run", tmp_path / "cache"
    shutil.copytree(home / "cache", cache)
    limited = [*words, "--workers", "2", "--time-limit", "20"]
    process = start(*limited, "-o", run, cache=cache)
    assert until(process, lambda: len(scored(run)) >= 2), process.communicate()
    hung = workers_of(cache)
    assert hung
    for pid in hung:
        os.kill(pid, signal.SIGSTOP)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert "again: it took longer than 20 seconds" in said
    assert all(map(ended, hung))
    assert result(run) == result(whole)


def test_workers_killed_again_and_again_stop_the_run(
    home: Path, words: list[str | Path], whole: Path, tmp_path: Path
) -> None:
    run, cache = tmp_path / "run", tmp_path / "cache"
    shutil.copytree(home / "cache", cache)
    process = start(*words, "--workers", "2", "-o", run, cache=cache)

    def hunted() -> bool:
        for pid in workers_of(cache):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return False

    assert not until(process, hunted)
    _, said = process.communicate()
    assert process.returncode == 1, said
    assert "error[R04" in said
    assert scored(run) == []
    answer = here("resume", run, cache=cache)
    assert answer.exit_code == 0, answer.output
    assert result(run) == result(whole)


def test_one_process_at_a_time_and_an_interrupt(
    home: Path, words: list[str | Path], tmp_path: Path
) -> None:
    run, cache = tmp_path / "run", home / "cache"
    process = start(*words, "-o", run, "--final-steps", "5000", cache=cache)
    assert until(process, lambda: len(scored(run)) >= 3), process.communicate()

    second = here("resume", run, cache=cache)
    assert second.exit_code == 1
    assert second.stdout == ""
    assert second.stderr == (
        f"error[R037]: another process is working in {run}\n"
        " = help: wait until it ends, or stop it\n\n"
    )
    third = here(*words, "-o", run, cache=cache)
    assert third.exit_code == 2
    assert "is not empty" in third.stderr
    assert f"azc resume {run} continues the run in it" in third.stderr
    log = here("log", run, "--all", "--json", cache=cache)
    assert log.exit_code == 0
    answer = json.loads(log.stdout)
    assert not answer["over"]
    assert len(answer["candidates"]) >= 4

    assert until(process, lambda: "final training" in str(log_lines(run)))
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert said.endswith(f"to continue: azc resume {run}\ninterrupted\n")
    assert "Traceback" not in said
    assert len(scored(run)) == 10


# Space runs out


def test_files_may_not_grow(
    home: Path, words: list[str | Path], whole: Path, tmp_path: Path
) -> None:
    """As on a full disk: the first snapshot is too large."""
    run = tmp_path / "run"
    size = max(path.stat().st_size for path in (whole / "supernet").iterdir())

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1, resource.RLIM_INFINITY))

    process = start(*words, "-o", run, cache=home / "cache", preexec_fn=limit)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1, said
    assert "Traceback" not in said
    assert "error[R042]" in said
    assert "too large" in said or "input/output error" in said  # as SQLite has it
    assert f"fix that, then continue with azc resume {run}" in said
    assert not list(run.rglob("*.part"))
    gone_on = here("resume", run, cache=home / "cache")
    assert gone_on.exit_code == 0, gone_on.output
    assert len(scored(run)) == 10


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A small disk of its own, which may be made larger."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(*options: str) -> bool:
        command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(place)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    if not shutil.which("mount") or not mount("-o", "size=64k"):
        pytest.skip("no disk can be mounted here")

    def sized(size: str) -> Path:
        assert mount("-o", f"remount,size={size}")
        return place

    yield sized
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk(
    home: Path,
    words: list[str | Path],
    tmp_path: Path,
    disk: Callable[[str], Path],
) -> None:
    """Again and again, with a little more room each time."""
    said = []
    run = disk("20k") / "run"
    answer = here(*words, "-o", run, cache=home / "cache")
    for size in ("72k", "100k", "140k", "160k", "200k", "240k"):
        if answer.exit_code == 0:
            break
        said.append(answer.stderr)
        assert answer.exit_code == 1, answer.output
        if not (run / "run.json").exists():
            shutil.rmtree(run, ignore_errors=True)
            disk(size)
            answer = here(*words, "-o", run, cache=home / "cache")
            continue
        disk(size)
        before = set(scored(run))  # to read takes room, too
        answer = here("resume", run, cache=home / "cache")
        assert before <= set(scored(run))
    disk("10m")
    answer = here("resume", run, cache=home / "cache")
    assert answer.exit_code == 0, answer.output
    assert len(scored(run)) == 10
    assert not [row for row in scored(run) if row[3] == "failed"]
    assert len(said) >= 2
    for text in said:
        assert "error[R042]" in text, said
        assert "Traceback" not in text
        assert "internal" not in text
