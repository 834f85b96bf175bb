"""What a run writes for TensorBoard and Trackio, read back with readers of their own."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from azc.diagnostics import UsageError
from azc.search.run import read_run
from azc.search.sinks import find_sink
from azc.search.view import RunView
from tests.runs import PROGRAM, arguments, start, tiny, until

event_accumulator = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard"
)


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """The value of every tag by step."""
    read = event_accumulator.EventAccumulator(str(folder))
    read.Reload()
    return {
        tag: {each.step: each.value for each in read.Scalars(tag)}
        for tag in read.Tags()["scalars"]
    }


def test_a_run_and_its_end(home: Path, tmp_path: Path) -> None:
    options = tiny(home / "corpus.txt", evaluations=4)
    program, run = tmp_path / "tiny.azg", tmp_path / "run"
    program.write_text(PROGRAM, encoding="utf-8")
    words = ("evolve", program, *arguments(options), "-o", run, "--log", "tensorboard")
    process = start(*words, cache=home / "cache")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    view, found = read_run(run), scalars(run / "tensorboard")
    scores = [e.score for e in view.evaluations if e.score is not None]
    assert sorted(found["score/loss"].values()) == pytest.approx(sorted(scores))
    assert sorted(found["score/loss"]) == [1, 2, 3, 4]
    assert found["round/loss"] == pytest.approx({1: min(scores)})
    for name, losses in alone(view).items():
        assert found[name] == pytest.approx(losses)
    assert max(found["warm-up"].values()) == 1.0


def alone(view: RunView) -> dict[str, dict[int, float]]:
    """What the programs trained alone came to: tests by seed, the others by steps."""
    found: dict[str, dict[int, float]] = {}
    for fit in view.fits:
        step = fit.seed if fit.split == "test" else fit.steps
        name = f"{fit.split}/{view.entrants[fit.entrant].name}"
        assert fit.loss is not None
        assert step not in found.setdefault(name, {})
        found[name][step] = fit.loss
    assert found
    return found


class Store:
    """Trackio's store in a folder, read with Trackio's own command."""

    def __init__(self, folder: Path) -> None:
        self.env = {"TRACKIO_DIR": str(folder)}
        self.file = folder / "azc.db"

    def ask(self, *words: str) -> Any:
        """What `trackio … --json` answers for the project."""
        command = [sys.executable, "-m", "trackio.cli", *words]
        found = subprocess.run(
            [*command, "--project", "azc", "--json"],
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(found.stdout)

    def count(self) -> int:
        """How many steps are in it, without the second that Trackio takes to begin."""
        try:
            opened = sqlite3.connect(f"{self.file.as_uri()}?mode=ro", uri=True)
            with closing(opened) as db:
                (found,) = db.execute("SELECT count(*) FROM metrics").fetchone()
        except sqlite3.OperationalError:  # it is being made
            return 0
        return int(found)

    def rows(self) -> list[tuple[str, int, float]]:
        """Every scalar with its step, as they came."""
        asked = "SELECT step, metrics FROM metrics ORDER BY id"
        rows = self.ask("query", "project", "--sql", asked)["rows"]
        pairs = [(row["step"], json.loads(row["metrics"])) for row in rows]
        return [(name, s, value) for s, each in pairs for name, value in each.items()]

    def run(self) -> tuple[str, str]:
        """The name and the number of the only run there is."""
        asked = "SELECT DISTINCT run_name, run_id FROM metrics"
        (row,) = self.ask("query", "project", "--sql", asked)["rows"]
        return row["run_name"], row["run_id"]

    def config(self) -> dict[str, Any]:
        """The configuration of that run."""
        found: dict[str, Any] = self.ask("get", "run", "--run", self.run()[0])["config"]
        return found


@pytest.fixture
def store(tmp_path: Path) -> Store:
    pytest.importorskip("trackio", reason="needs trackio")
    return Store(tmp_path / "store")


class Elsewhere:
    """All that Trackio's settings can name beside the store: a hub, somebody who is
    logged in there, a bucket of theirs, a server for figures.
    """

    def __init__(self, server: socket.socket) -> None:
        server.setblocking(False)
        self.server = server
        self.callers: list[object] = []
        place = f"http://127.0.0.1:{server.getsockname()[1]}"
        self.env = {
            "HF_ENDPOINT": place,
            "HF_HUB_OFFLINE": "0",
            "HF_TOKEN": "hf_none",
            "TRACKIO_BUCKET_ID": "somebody/bucket",
            "TRACKIO_SERVER_URL": f"{place}/?write_token=none",
        }

    def is_called(self) -> bool:
        """Whether anybody has connected."""
        with suppress(BlockingIOError):
            self.callers.append(self.server.accept())
        return bool(self.callers)


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield Elsewhere(server)


def test_trackio_goes_on_after_a_kill_and_calls_nobody(
    home: Path, tmp_path: Path, store: Store, elsewhere: Elsewhere
) -> None:
    options = tiny(home / "corpus.txt", evaluations=60)
    program, run = tmp_path / "tiny.azg", tmp_path / "first"
    env = {**store.env, **elsewhere.env}
    program.write_text(PROGRAM, encoding="utf-8")
    words = "evolve", program, *arguments(options), "-o", run, "--log", "trackio"
    process = start(*words, cache=home / "cache", env=env)
    # Three rows of the warm-up come before those of candidates.
    assert until(process, lambda: store.count() >= 5 or elsewhere.is_called())
    process.kill()
    process.communicate(timeout=60)
    assert not elsewhere.is_called()
    assert process.returncode == -signal.SIGKILL  # it was still at work
    killed_after = read_run(run).spent
    budget = killed_after + 3

    words = "resume", run, "--evaluations", str(budget), "--log", "trackio", "--json"
    process = start(*words, cache=home / "cache", env=env)
    answer, errors = process.communicate(timeout=300)
    assert not elsewhere.is_called()
    assert (process.returncode, errors) == (0, "")
    assert json.loads(answer)["evaluations"]["spent"] == budget

    view, found = read_run(run), store.rows()
    scores = Counter(e.score for e in view.evaluations)
    told = {step: value for name, step, value in found if name == "score/loss"}
    # A kill between the journal and the log takes one.
    assert {*range(1, budget + 1)} - told.keys() <= {killed_after}
    assert Counter(told.values()) <= scores
    assert told.keys() == {step for name, step, _ in found if name == "seconds"}
    for name, losses in alone(view).items():
        assert losses == {step: value for n, step, value in found if n == name}
    assert len({(name, step) for name, step, _ in found}) == len(found)
    known = json.loads((run / "trackio.json").read_text(encoding="utf-8"))
    assert store.run() == ("first", known["id"])
    frozen = {**view.options.as_json(), "evaluations": budget, "space": "tiny"}
    config = store.config()
    assert frozen == {name: config[name] for name in frozen}


# The sink of a run in a process of its own, as the command makes it.
_LOGGED = """\
import resource, sys
from pathlib import Path
from azc.cli.output import Output
from azc.cli.working import _Log
from azc.search.events import Warming

name, run, what = sys.argv[1:]
for _ in range(2):
    log = _Log(name, Path(run), Output("evolve", False))
    for step in range(3):
        log(Warming(step, 2))
    log.close()
if what == "full":
    log = _Log(name, Path(run), Output("evolve", False))
    log(Warming(0, 2))
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
    log(Warming(1, 9))
    log(Warming(2, 9))
    log.close()
if what == "import":
    from trackio import fragments
    print(fragments.import_inbox_dir())
"""


def logged(name: str, run: Path, what: str, **env: str) -> tuple[str, str]:
    """What that process writes on its standard output and error."""
    found = subprocess.run(
        [sys.executable, "-c", _LOGGED, name, run, what],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout, found.stderr


@pytest.mark.parametrize(("mode", "what"), [("sqlite", ""), ("jsonl", "import")])
def test_what_trackio_is_told_twice(
    go: Callable[..., RunView], home: Path, store: Store, mode: str, what: str
) -> None:
    """Into its database, and into files beside it on a network's disk."""
    run = go(tiny(home / "corpus.txt", evaluations=1, final_seeds=())).folder
    env = {**store.env, "TRACKIO_STORAGE_MODE": mode}
    answer, errors = logged("trackio", run, what, **env)
    assert (answer, errors) == (f"{6}\n" if what else "", "")
    assert store.rows() == [
        ("warm-up", 0, 0.0),
        ("warm-up", 1, 0.5),
        ("warm-up", 2, 1.0),
    ]
    assert store.config()["folder"] == str(run)


@pytest.mark.parametrize("name", ["tensorboard", "trackio"])
def test_a_disk_that_is_full(
    go: Callable[..., RunView], home: Path, store: Store, name: str
) -> None:
    run = go(tiny(home / "corpus.txt", evaluations=1, final_seeds=())).folder
    answer, errors = logged(name, run, "full", **store.env)
    assert answer == ""
    (line,) = errors.splitlines()
    place = {"tensorboard": run / "tensorboard", "trackio": store.file.parent}[name]
    assert line.startswith(f"{place}: ")
    assert line.endswith("; logging stopped")


def test_a_store_that_is_none(
    go: Callable[..., RunView], home: Path, store: Store
) -> None:
    """The search goes on, and says that it is not logged."""
    run = go(tiny(home / "corpus.txt", evaluations=1, final_seeds=())).folder
    store.file.parent.mkdir()
    store.file.write_bytes(b"This is no database. " * 500)
    words = "resume", run, "--evaluations", "3", "--log", "trackio"
    process = start(*words, cache=home / "cache", env=store.env)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    told = f"{store.file.parent}: file is not a database; logging stopped"
    assert errors.splitlines().count(told) == 1
    assert "Traceback" not in errors
    assert read_run(run).spent == 3


@pytest.mark.parametrize(
    ("name", "meant"), [("tensorbord", "tensorboard"), ("trackoi", "trackio")]
)
def test_a_log_that_is_none(name: str, meant: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_sink(name)
    assert caught.value.code == "U027"
    assert f"did you mean {meant}" in (caught.value.help or "")
