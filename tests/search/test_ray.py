"""Jobs on a real Ray cluster of two nodes, one of which is killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from azc.diagnostics import RunError
from azc.search.executors.serial import SerialExecutor
from azc.search.run import resume
from azc.search.score import Bench, Job, Outcome, Scorer, build_candidate
from azc.supernet.supernet import Supernet
from tests.runs import (
    PROGRAM,
    arguments,
    log_lines,
    result,
    run_here,
    scored,
    start,
    tiny,
    until,
)

ray: Any = pytest.importorskip("ray", reason="the dev extra has Ray")

from ray.cluster_utils import Cluster  # noqa: E402

from azc.search.executors.ray import RayExecutor  # noqa: E402

MODEL = PROGRAM[: PROGRAM.index("space tiny")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A node that stays, with room for one worker."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv(
            "RAY_raylet_start_wait_time_s", "120"
        )  # a busy machine takes its time
        patch.setenv("PYTHONPATH", str(Path(__file__).resolve().parent.parent.parent))
        node = {
            "num_cpus": 1,
            "include_dashboard": False,
            # A node counts as dead after three seconds of silence, not thirty.
            "_system_config": {
                "health_check_period_ms": 1000,
                "health_check_failure_threshold": 3,
            },
        }
        found = Cluster(initialize_head=True, head_node_args=node)
        patch.setenv("RAY_ADDRESS", found.address)
        yield found
        ray.shutdown()
        found.shutdown()


@pytest.fixture(scope="module")
def node(cluster: Any) -> Any:
    """Another one, that does not."""
    return cluster.add_node(num_cpus=1)


@pytest.fixture(scope="module")
def scorer(home: Path) -> Scorer:
    options = tiny(home / "corpus.txt", executor="ray", workers=2)
    found = Scorer(Bench(options, 96, home / "cache", None))
    # Files of this machine, which others don't have. What is mapped of them stays so.
    for path in (home / "cache").glob("tokens-*"):
        path.unlink()
    return found


@pytest.fixture(scope="module")
def executor(node: Any, scorer: Scorer) -> Iterator[RayExecutor]:
    bench = replace(scorer.bench, fingerprint=scorer.fingerprint)
    with closing(RayExecutor(bench, scorer.data, 2)) as found:
        yield found
    assert not ray.is_initialized()


@pytest.fixture(scope="module")
def jobs(home: Path) -> list[Job]:
    """Three to score, one of which fails, and one to train alone."""
    model, spec = build_candidate(MODEL, "start", 0)
    supernet = Supernet()
    supernet.admit(model, spec)
    snapshot = home / "0000.safetensors"
    supernet.save(snapshot)
    texts = [
        MODEL,
        MODEL.replace("repeat 2", "conv(kernel = 3)\n        repeat 1"),
        MODEL.replace("            sdpa", "            nonsense"),
    ]
    found = [
        Job("score", i, text, "start", 5, snapshot, home / f"{i}.safetensors", steps=2)
        for i, text in enumerate(texts, start=1)
    ]
    return [*found, alone(9, 3)]


def alone(number: int, steps: int, **more: Any) -> Job:
    return Job("alone", number, MODEL, "start", 1, steps=steps, **more)


def values(found: Iterator[tuple[Job, Outcome]]) -> dict[int, tuple[object, ...]]:
    return {job.candidate: (o.loss, o.reason, o.weights) for job, o in found}


def at_work() -> list[int]:
    """The processes of this machine that are at a job."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if words.startswith(b"ray::_Remote.score"):
            found.append(int(folder.name))
    return found


def both_begin(executor: RayExecutor) -> None:
    """One that begins late would find all the jobs done."""
    while sum(each.begun for each in executor._staff) < 2:
        list(executor.run([alone(9, 1)]))


def strike(
    monkeypatch: pytest.MonkeyPatch, count: int, how: Callable[[list[int]], None]
) -> list[int]:
    """Does this to the workers, once to each, as soon as so many are at work; who was."""
    original = RayExecutor._wait
    struck: set[Any] = set()
    found: list[int] = []

    def wait(executor: RayExecutor) -> Any:
        busy = {each for each in executor._staff if each.job} - struck
        if len(busy) == count:
            while len(pids := [pid for pid in at_work() if pid not in found]) < count:
                time.sleep(0.01)
            struck.update(busy)
            found.extend(pids)
            how(pids)
        return original(executor)

    monkeypatch.setattr(RayExecutor, "_wait", wait)
    return found


def die(cluster: Any, node: Any) -> None:
    """Without power, nothing of a node has the time for a last word."""
    (raylet,) = (each.process.pid for each in node.all_processes["raylet"])
    for pid in [raylet, *children(raylet)]:
        os.kill(pid, signal.SIGKILL)
    cluster.remove_node(node, allow_graceful=False)


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


# The first of all: the workers that other tests share would leave it no room.
def test_a_run_with_a_node_killed_in_its_midst(
    cluster: Any, home: Path, tmp_path: Path
) -> None:
    """And then it is killed itself, and goes on without the cluster."""
    options = tiny(home / "corpus.txt", evaluations=16)
    whole = run_here(options, tmp_path / "whole", home / "cache").folder
    (tmp_path / "tiny.azg").write_text(PROGRAM)
    words = ["evolve", tmp_path / "tiny.azg", *arguments(options)]
    run = tmp_path / "run"
    node = cluster.add_node(num_cpus=1)
    process = start(
        *words, "--executor", "ray", "--workers", "2", "-o", run, cache=home / "cache"
    )
    assert until(process, lambda: len(scored(run)) >= 3), process.communicate()
    known = set(scored(run))
    die(cluster, node)
    assert until(process, lambda: len(scored(run)) >= 9), process.communicate()
    process.kill()
    process.communicate()
    assert known <= set(scored(run))
    known = set(scored(run))
    assert not any("failed" in line for line in log_lines(run))
    view = resume(run, cache=home / "cache", executor="local", workers=1)
    assert view.is_over
    assert known <= set(scored(run))
    assert result(run) == result(whole)


def test_a_cluster_gives_the_same_to_the_last_bit(
    executor: RayExecutor, scorer: Scorer, jobs: list[Job]
) -> None:
    expected = values(SerialExecutor(scorer).run(jobs))
    files = [job.weights for job in jobs if job.weights]
    written = {path: path.read_bytes() for path in files if path.exists()}
    assert len(written) == 2
    for path in written:
        path.unlink()
    assert values(executor.run(jobs)) == expected
    assert values(executor.run(jobs[:1])) == {1: expected[1]}
    assert {path: path.read_bytes() for path in written} == written


def test_a_snapshot_that_can_not_be_read_is_no_fault_of_the_job(
    executor: RayExecutor, jobs: list[Job], home: Path
) -> None:
    with pytest.raises(RunError, match=r"none\.safetensors") as caught:
        list(executor.run([replace(jobs[0], snapshot=home / "none.safetensors")]))
    assert caught.value.code == "R030"


def test_a_worker_that_hangs_is_given_up(
    executor: RayExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(pids: list[int]) -> None:
        os.kill(pids[0], signal.SIGSTOP)

    hit = strike(monkeypatch, 1, stop)
    ((_, outcome),) = executor.run([alone(1, 10**6, limit=0.5)])
    assert len(hit) == 1
    assert outcome.suspect
    assert outcome.reason == "it took longer than 0.5 seconds"
    os.kill(hit[0], signal.SIGKILL)  # Ray can't, as long as it is stopped
    while hit[0] in at_work():
        time.sleep(0.01)


def test_a_job_at_which_workers_die_again_and_again_is_suspect(
    executor: RayExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(pids: list[int]) -> None:
        os.kill(pids[0], signal.SIGKILL)

    hit = strike(monkeypatch, 1, kill)
    ((_, outcome),) = executor.run([alone(1, 10**6)])
    assert len(set(hit)) == 2
    assert outcome.suspect
    assert outcome.reason == "a process died (out of memory?)"


def test_a_node_that_dies_at_work(
    cluster: Any,
    node: Any,
    executor: RayExecutor,
    scorer: Scorer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its job goes to the other one."""
    two = [alone(number, 300) for number in (1, 2)]
    expected = values(SerialExecutor(scorer).run([two[0]]))
    both_begin(executor)
    alive = [node]

    def end(pids: list[int]) -> None:
        if alive:
            die(cluster, alive.pop())

    hit = strike(monkeypatch, 2, end)
    found = values(executor.run(two))
    assert len(hit) == 2
    assert found == {1: expected[1], 2: expected[1]}
    assert "a worker died, and another takes candidate" in caplog.text


def test_a_dead_node_is_one_sentence(
    cluster: Any,
    executor: RayExecutor,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Ray prints the last lines of the node's log, which are pages, and a paragraph."""
    list(executor.run([alone(9, 1)]))  # nodes that died before are known
    caplog.clear()
    node = cluster.add_node(num_cpus=1)
    name = node.node_id
    (raylet,) = (each.process.pid for each in node.all_processes["raylet"])
    while not alive(name):
        time.sleep(0.1)
    os.kill(raylet, signal.SIGKILL)
    while alive(name):
        time.sleep(0.1)
    for _ in range(3):
        list(executor.run([alone(9, 1)]))
    told = [each.getMessage() for each in caplog.records if "node" in each.getMessage()]
    assert len(told) == 1
    assert told[0].startswith("a node of the Ray cluster died (")
    assert capfd.readouterr().out == ""
    cluster.remove_node(node, allow_graceful=False)


def alive(name: str) -> bool:
    return any(each["NodeID"] == name and each["Alive"] for each in ray.nodes())
