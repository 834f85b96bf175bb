"""Executors: the same outcomes here and in worker processes, also when those die."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from azc.check.resolve import check_source
from azc.diagnostics import InternalError, RunError
from azc.search.executors.pool import PoolExecutor, _Fault
from azc.search.executors.serial import SerialExecutor
from azc.search.score import Bench, Job, Outcome, Scorer, build_candidate
from azc.source import Source
from azc.supernet.supernet import Supernet
from tests.runs import PROGRAM, tiny, write_corpus

MODEL = PROGRAM[: PROGRAM.index("space tiny")]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("executors")
    write_corpus(folder / "corpus.txt")
    return folder


@pytest.fixture(scope="module")
def scorer(home: Path) -> Iterator[Scorer]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)  # of which each of two workers has one
    options = tiny(home / "corpus.txt", workers=2)
    yield Scorer(Bench(options, 96, home / "cache", None))
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pool(scorer: Scorer) -> Iterator[PoolExecutor]:
    made = PoolExecutor(replace(scorer.bench, fingerprint=scorer.fingerprint), 2)
    yield made
    made.close()
    assert multiprocessing.active_children() == []


@pytest.fixture(scope="module")
def jobs(home: Path) -> list[Job]:
    """Four to score, one of which fails, and one to train alone."""
    model, spec = build_candidate(MODEL, "start", 0)
    supernet = Supernet()
    supernet.admit(model, spec)
    snapshot = home / "0000.safetensors"
    supernet.save(snapshot)
    texts = [
        MODEL,
        MODEL.replace("repeat 2", "conv(kernel = 3)\n        repeat 1"),
        MODEL.replace("            sdpa", "            nonsense"),
        MODEL.replace("repeat 2", "conv(kernel = 5)\n        repeat 1"),
    ]
    found = [
        Job("score", i, text, "start", 5, snapshot, home / f"{i}.safetensors")
        for i, text in enumerate(texts, start=1)
    ]
    return [*found, Job("alone", 9, MODEL, "start", 1)]


def values(found: Iterator[tuple[Job, Outcome]]) -> dict[int, tuple[object, object]]:
    return {job.candidate: (o.value, o.reason) for job, o in found}


@pytest.fixture(scope="module")
def expected(scorer: Scorer, jobs: list[Job]) -> dict[int, tuple[object, object]]:
    """What comes of the jobs here, with one thread."""
    torch.set_num_threads(1)
    found = values(SerialExecutor(scorer).run(jobs))
    torch.set_num_threads(2)
    return found


def kill_workers() -> int:
    children = multiprocessing.active_children()
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid or 0, signal.SIGKILL)
    return len(children)


def test_a_job_is_scored_or_fails(
    expected: dict[int, tuple[object, object]], jobs: list[Job]
) -> None:
    assert list(expected) == [job.candidate for job in jobs]
    value, reason = expected.pop(3)
    assert (value, reason) == (None, "unknown name `nonsense`") or "nonsense" in str(
        reason
    )
    expected[3] = (value, reason)
    for number, (found, why) in expected.items():
        assert (found is None) == (number == 3)
        assert (why is None) == (number != 3)
    assert jobs[0].weights is not None
    assert jobs[0].weights.exists()
    assert jobs[2].weights is not None
    assert not jobs[2].weights.exists()


def test_workers_give_the_same_to_the_last_bit(
    pool: PoolExecutor, jobs: list[Job], expected: dict[int, tuple[object, object]]
) -> None:
    written = {job.weights: job.weights.read_bytes() for job in jobs[:2] if job.weights}
    assert values(pool.run(jobs)) == expected
    assert {path: path.read_bytes() for path in written} == written
    assert len(multiprocessing.active_children()) == 2


@pytest.mark.parametrize("executor", ["serial", "pool"])
def test_a_broken_snapshot_is_no_fault_of_the_job(
    pool: PoolExecutor, scorer: Scorer, jobs: list[Job], home: Path, executor: str
) -> None:
    broken = home / "broken.safetensors"
    broken.write_bytes(b"nothing")
    chosen = pool if executor == "pool" else SerialExecutor(scorer)
    with pytest.raises(RunError, match=r"broken\.safetensors") as caught:
        list(chosen.run([replace(jobs[0], snapshot=broken)]))
    assert caught.value.code == "R030"


@pytest.mark.parametrize("executor", ["serial", "pool"])
def test_files_that_can_not_be_written_are_no_fault_of_the_job(
    pool: PoolExecutor, scorer: Scorer, jobs: list[Job], home: Path, executor: str
) -> None:
    target = home / "corpus.txt" / "below.safetensors"
    chosen = pool if executor == "pool" else SerialExecutor(scorer)
    with pytest.raises(OSError, match=r"below\.safetensors"):
        list(chosen.run([replace(jobs[0], weights=target)]))


def test_jobs_of_workers_that_die_run_again(
    pool: PoolExecutor, jobs: list[Job], expected: dict[int, tuple[object, object]]
) -> None:
    """One may be idle, one at work: both are killed after the first outcome."""
    found: dict[int, tuple[object, object]] = {}
    killed = 0
    for job, outcome in pool.run(jobs):
        if not found:
            killed = kill_workers()
        found[job.candidate] = (outcome.value, outcome.reason)
    assert killed == 2
    assert found == expected


def test_a_job_whose_workers_die_twice_fails(
    pool: PoolExecutor, jobs: list[Job], expected: dict[int, tuple[object, object]]
) -> None:
    """Those that are idle die before: they are replaced, and that counts for nothing."""
    kill_workers()
    stop = threading.Event()

    def hunt() -> None:
        while not stop.wait(0.01):
            kill_workers()

    hunter = threading.Thread(target=hunt)
    hunter.start()
    try:
        (found,) = values(pool.run(jobs[:1])).values()
    finally:
        stop.set()
        hunter.join()
    assert found == (None, "its process died (out of memory?)")
    assert values(pool.run(jobs[:1])) == {1: expected[1]}


def test_whoever_stops_asking_leaves_no_work_behind(
    pool: PoolExecutor, jobs: list[Job], expected: dict[int, tuple[object, object]]
) -> None:
    asked = pool.run(jobs)
    next(asked)
    asked.close()  # type: ignore[attr-defined]
    assert values(pool.run(jobs[:1])) == {1: expected[1]}


def test_a_bug_in_a_worker_is_told_as_ours() -> None:
    with pytest.raises(InternalError, match="please report it: KeyError: 3"):
        raise _Fault(None, "KeyError: 3", None).error()


def test_the_program_of_the_jobs_checks() -> None:
    assert list(check_source(Source("tiny.azg", MODEL)).models) == ["start"]
