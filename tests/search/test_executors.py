"""Executors: the same outcomes here and in worker processes, also when those die."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from azc.check.resolve import check_source
from azc.diagnostics import InternalError, RunError
from azc.search.events import Event, Retried
from azc.search.executors import pool as pool_module
from azc.search.executors.choose import choose_executor
from azc.search.executors.pool import PoolExecutor
from azc.search.executors.serial import SerialExecutor
from azc.search.executors.worker import Fault
from azc.search.records import START
from azc.search.score import Bench, Job, Outcome, Scorer, build_candidate
from azc.search.trials import Trials
from azc.source import Source
from azc.supernet.supernet import Supernet
from azc.training import fit as fit_module
from tests.runs import PROGRAM, result, run_here, tiny

MODEL = PROGRAM[: PROGRAM.index("space tiny")]


@pytest.fixture(scope="module")
def scorer(home: Path) -> Scorer:
    options = tiny(home / "corpus.txt", workers=2)
    return Scorer(Bench(options, 96, home / "cache", None))


@pytest.fixture(scope="module")
def pool(scorer: Scorer) -> Iterator[PoolExecutor]:
    made = PoolExecutor(scorer.bench, scorer.data, 2)
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
        Job("score", i, text, "start", 5, snapshot, home / f"{i}.safetensors", steps=2)
        for i, text in enumerate(texts, start=1)
    ]
    alone = Job("alone", 9, MODEL, "start", 1, steps=3, split="test", name="the start")
    return [*found, alone]


def values(found: Iterator[tuple[Job, Outcome]]) -> dict[int, tuple[object, object]]:
    return {job.candidate: (o.loss, o.reason) for job, o in found}


@pytest.fixture(scope="module")
def expected(scorer: Scorer, jobs: list[Job]) -> dict[int, tuple[object, object]]:
    """What comes of the jobs here."""
    return values(SerialExecutor(scorer).run(jobs))


def kill_workers() -> int:
    children = multiprocessing.active_children()
    for child in children:
        child.kill()
        child.join()
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


def test_idle_workers_that_die_are_replaced(
    pool: PoolExecutor, jobs: list[Job], expected: dict[int, tuple[object, object]]
) -> None:
    values(pool.run(jobs[:2]))
    assert kill_workers() == 2
    assert values(pool.run(jobs[:1])) == {1: expected[1]}


def test_workers_read_no_text(
    scorer: Scorer,
    jobs: list[Job],
    home: Path,
    tmp_path: Path,
    expected: dict[int, tuple[object, object]],
) -> None:
    """They map the tokens that the first process has; without these, they read it."""
    text, cache = tmp_path / "corpus.txt", tmp_path / "cache"
    shutil.copy(home / "corpus.txt", text)
    options = replace(scorer.bench.options, data=str(text))
    bench = replace(scorer.bench, options=options, cache=cache)
    read = Scorer(bench)
    bench = replace(bench, fingerprint=read.fingerprint)
    with closing(PoolExecutor(bench, read.data, 1)) as pool:
        text.unlink()
        assert values(pool.run(jobs[:1])) == {1: expected[1]}
        assert kill_workers() >= 1
        shutil.copy(home / "corpus.txt", text)
        shutil.rmtree(cache)
        assert values(pool.run(jobs[:1])) == {1: expected[1]}


# Workers that die or hang at work, and what is the machine's fault


def hit(
    monkeypatch: pytest.MonkeyPatch, how: signal.Signals, hits: Mapping[int, int]
) -> list[int]:
    """Sends a signal to whichever worker is at work on a candidate, so many times; the
    candidates hit, in order.
    """
    left = dict(hits)
    at_work: dict[pool_module._Worker, int] = {}
    found: list[int] = []
    original_send = pool_module._Worker.send
    original_answer = pool_module._Worker.answer

    def strike(worker: pool_module._Worker) -> None:
        candidate = at_work.get(worker, 0)
        if worker.begun and left.get(candidate, 0):
            left[candidate] -= 1
            found.append(at_work.pop(worker))
            os.kill(worker.process.pid or 0, how)
            if how == signal.SIGSTOP:
                worker.limit = 0.0  # no need to wait for it

    def send(worker: pool_module._Worker, job: Job) -> bool:
        at_work[worker] = job.candidate
        taken = original_send(worker, job)
        strike(worker)
        return taken

    def answer(worker: pool_module._Worker) -> object:
        told = original_answer(worker)
        if told is None:  # one that has just begun, perhaps
            strike(worker)
        return told

    monkeypatch.setattr(pool_module._Worker, "send", send)
    monkeypatch.setattr(pool_module._Worker, "answer", answer)
    return found


def trials(pool: PoolExecutor, told: list[Retried]) -> Trials:
    def tell(event: Event) -> None:
        assert isinstance(event, Retried)
        told.append(event)

    return Trials(pool, MODEL, Path("run"), pool.bench.options, tell)


SIGNALS = {
    signal.SIGKILL: "a process was ended by SIGKILL (out of memory?)",
    signal.SIGSTOP: "it took longer than 0 seconds",
}


@pytest.mark.parametrize("how", SIGNALS, ids=lambda how: how.name)
def test_a_job_whose_worker_dies_or_hangs_once_comes_to_the_same(
    pool: PoolExecutor,
    jobs: list[Job],
    expected: dict[int, tuple[object, object]],
    monkeypatch: pytest.MonkeyPatch,
    how: signal.Signals,
) -> None:
    told: list[Retried] = []
    hits = hit(monkeypatch, how, {2: 1})
    assert values(trials(pool, told).run(jobs)) == expected
    assert hits == [2]
    assert told == [Retried("candidate 0002", SIGNALS[how])]
    assert len(multiprocessing.active_children()) <= 2


@pytest.mark.parametrize("how", SIGNALS, ids=lambda how: how.name)
def test_a_job_whose_workers_die_or_hang_twice_fails(
    pool: PoolExecutor,
    jobs: list[Job],
    expected: dict[int, tuple[object, object]],
    monkeypatch: pytest.MonkeyPatch,
    how: signal.Signals,
) -> None:
    """The start, on trial, lives: it is the program's fault."""
    told: list[Retried] = []
    hits = hit(monkeypatch, how, {4: 2})
    found = list(trials(pool, told).run(jobs))
    assert hits == [4, 4]
    assert values(iter(found)) == {**expected, 4: (None, SIGNALS[how])}
    exceeded = {job.candidate: outcome.exceeded for job, outcome in found}
    assert exceeded[4] == ("time_limit" if how == signal.SIGSTOP else None)


def test_where_the_start_dies_too_the_machine_is_at_fault(
    pool: PoolExecutor, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Retried] = []
    hit(monkeypatch, signal.SIGKILL, {1: 9, 2: 9, 4: 9})
    found = trials(pool, told).run([*jobs[1:4], jobs[0]])
    assert next(found)[0].candidate == 3
    with pytest.raises(
        RunError, match=r"candidate 000\d could not be trained"
    ) as caught:
        list(found)
    assert caught.value.code == "R043"
    assert sorted(each.name for each in told) == [
        *(f"candidate {number:04}" for number in (1, 2, 4))
    ]


def test_workers_that_never_begin_stop_the_run(
    scorer: Scorer, jobs: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module that can't be imported there, though it could be here."""
    (tmp_path / "tokenizers.py").write_text("raise ImportError('broken')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with closing(PoolExecutor(scorer.bench, scorer.data, 2)) as broken:
        with pytest.raises(RunError, match="ImportError: broken") as caught:
            list(broken.run(jobs))
        assert caught.value.code == "R044"
    assert multiprocessing.active_children() == []


def test_a_module_that_breaks_at_work_stops_the_run(
    scorer: Scorer, jobs: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "accelerate.py").write_text("raise ImportError('broken')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with closing(PoolExecutor(scorer.bench, scorer.data, 1)) as broken:
        with pytest.raises(RunError, match="ImportError") as caught:
            list(broken.run(jobs[:1]))
        assert caught.value.code == "R044"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_workers_that_die_or_hang_before_they_begin_stop_the_run(
    scorer: Scorer,
    jobs: list[Job],
    monkeypatch: pytest.MonkeyPatch,
    how: signal.Signals,
) -> None:
    original = pool_module._Worker.send

    def send(worker: pool_module._Worker, job: Job) -> bool:
        os.kill(worker.process.pid or 0, how)
        return original(worker, job)

    monkeypatch.setattr(pool_module._Worker, "send", send)
    with closing(PoolExecutor(scorer.bench, scorer.data, 1, start_limit=0.5)) as broken:
        with pytest.raises(RunError, match="worker processes can't start") as caught:
            list(broken.run(jobs[:2]))
        assert caught.value.code == "R044"
    assert multiprocessing.active_children() == []


def test_time_is_looked_at_after_every_step(scorer: Scorer, jobs: list[Job]) -> None:
    ((_, outcome),) = SerialExecutor(scorer).run([replace(jobs[0], limit=1e-9)])
    assert outcome.suspect
    assert (outcome.loss, outcome.reason) == (
        None,
        "it took longer than 1e-09 seconds",
    )
    assert outcome.exceeded == "time_limit"


def test_whoever_stops_asking_leaves_no_work_behind(
    pool: PoolExecutor, jobs: list[Job], expected: dict[int, tuple[object, object]]
) -> None:
    asked = pool.run(jobs)
    next(asked)
    asked.close()  # type: ignore[attr-defined]
    assert values(pool.run(jobs[:1])) == {1: expected[1]}


# Limits


def test_a_job_that_takes_more_memory_than_it_may_fails(
    scorer: Scorer, jobs: list[Job], expected: dict[int, tuple[object, object]]
) -> None:
    """And leaves the others as they are, on the same workers."""
    options = replace(scorer.bench.options, memory_limit=300_000_000)
    bench = Bench(options, 96, scorer.bench.cache, scorer.fingerprint)
    large = MODEL.replace("hidden = 8", "hidden = 8192").replace("= 16", "= 65536", 1)
    told: list[Retried] = []
    with closing(choose_executor(bench, scorer.data)) as limited:
        assert isinstance(limited, PoolExecutor)
        found = values(
            trials(limited, told).run(
                [replace(jobs[0], candidate=7, program=large), *jobs]
            )
        )
    why = "memory ran out (it may take 300,000,000 bytes)"
    assert found == {**expected, 7: (None, why)}
    assert told == [Retried("candidate 0007", why)]


def test_one_worker_with_a_limit_of_memory_is_another_process(scorer: Scorer) -> None:
    bench = replace(scorer.bench, options=tiny("-", memory_limit=10**9))
    with closing(choose_executor(bench, scorer.data)) as found:
        assert isinstance(found, PoolExecutor)
        assert found.workers == 1
    bench = replace(scorer.bench, options=tiny("-"))
    assert isinstance(choose_executor(bench, scorer.data), SerialExecutor)


def test_where_memory_runs_out_the_system_ends_a_worker_first(
    pool: PoolExecutor, jobs: list[Job]
) -> None:
    values(pool.run(jobs[:1]))
    for child in multiprocessing.active_children():
        kept = Path(f"/proc/{child.pid}/oom_score_adj").read_text()
        assert int(kept) > int(Path("/proc/self/oom_score_adj").read_text())


def test_a_path_of_the_warm_up_that_hangs_is_run_again(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = tiny(home / "corpus.txt", evaluations=4, final_seeds=())
    whole = run_here(options, tmp_path / "whole", home / "cache")
    hits = hit(monkeypatch, signal.SIGSTOP, {START: 1})
    events: list[Event] = []
    run = run_here(
        replace(options, workers=2),
        tmp_path / "run",
        home / "cache",
        on_event=events.append,
    )
    assert hits == [START]
    assert Retried("the start", SIGNALS[signal.SIGSTOP]) in events
    assert result(run.folder) == result(whole.folder)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_job_is_computed_with_as_many_threads_as_the_run_has(
    scorer: Scorer, jobs: list[Job], monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    found = []
    original = fit_module.fit

    def fit(*args: object, **more: object) -> None:
        found.append(torch.get_num_threads())
        original(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(fit_module, "fit", fit)
    before = torch.get_num_threads()
    bench = replace(
        scorer.bench, options=replace(scorer.bench.options, threads=threads)
    )
    assert not Scorer(bench, scorer.data)(jobs[0]).suspect
    assert found == [threads]
    assert torch.get_num_threads() == before


def test_a_bug_in_a_worker_is_told_as_ours() -> None:
    with pytest.raises(InternalError, match="please report it: KeyError: 3"):
        raise Fault(None, "KeyError: 3", None).error()


def test_the_program_of_the_jobs_checks() -> None:
    assert list(check_source(Source("tiny.azg", MODEL)).models) == ["start"]
