"""Jobs on a Ray cluster, on whichever of its nodes there is room.

This process alone sees the folder of the run. What a job starts from reaches the workers
through Ray's object store, by the sha256 of its content; what it has trained comes back
the same way, and is written here. Data that was read here is read nowhere else.

Codes: R030 weights of a run cannot be read; R044 the installation is incomplete, or
workers cannot start.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

from azc.data.contract import Data
from azc.diagnostics import RunError
from azc.files import write_bytes
from azc.search.executors.cluster import Cluster, last_line
from azc.search.executors.worker import (
    Begun,
    Fault,
    answered,
    limit_memory,
    settle,
    usual_start,
)
from azc.search.score import (
    TIME_LIMIT,
    Bench,
    Job,
    Outcome,
    Scorer,
    check_device,
    late,
)

__all__ = ["RayExecutor"]

_STARTS = 3  # consecutive attempts in which no worker can start
_DEATHS = 2  # workers that die in one job before the job is suspected
_LONGEST_WAIT = 3600.0  # seconds

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Lost:
    """A worker that died, or can't be reached any more."""

    why: str


class RayExecutor:
    """Runs jobs in up to `workers` processes of a cluster, as many as it has room for.

    The cluster is the one that RAY_ADDRESS names, or one that runs on this machine, or
    else one is started here. If a node dies, its jobs go to other workers, and new
    nodes are used. A worker that exceeds the time limit of its job is killed.
    """

    def __init__(
        self,
        bench: Bench,
        data: Data,
        workers: int,
        start_limit: float | None = None,
    ) -> None:
        """Connect to a cluster.

        `start_limit` is the number of seconds that workers have until one of them
        starts a job; None derives it from the time limit of a candidate.

        Raises:
            RunError: R051, if the cluster can't be reached.
        """
        self.bench = bench
        self.workers = workers
        self.start_limit = start_limit or usual_start(bench)
        self._cluster = Cluster()
        # Workers of one node share the tokens that Ray's object store has there.
        self._needs: Any = ray.put((bench, data.in_memory(), _versions()))
        self._kept: tuple[str, Any] = ("", None)  # the last snapshot, by its key
        self._staff: list[_Worker] = []
        self._failed = 0  # consecutive attempts in which no worker could start
        self._why = ""

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
        """Yield every job with its outcome, in the order of completion.

        Raises:
            RunError: R044 if no worker can start; other codes, and OSError, for errors
                that are certainly not the fault of a job.
        """
        waiting = deque(jobs)
        deaths: Counter[Job] = Counter()
        try:
            while waiting or any(worker.job for worker in self._staff):
                self._engage()
                for worker in self._staff:
                    if waiting and worker.is_free:
                        worker.send(waiting[0], *self._snapshot(waiting[0]))
                        waiting.popleft()
                for worker in self._wait():
                    job = worker.job
                    outcome = self._outcome(worker)
                    if job is None:
                        continue
                    if outcome is None:  # the worker died at it
                        deaths[job] += 1
                        if deaths[job] < _DEATHS:
                            _log.warning(
                                "a worker died, and another takes %s", job.label
                            )
                            waiting.appendleft(job)
                            continue
                        outcome = Outcome(None, self._why, 0.0, suspect=True)
                    yield job, outcome
        finally:
            for worker in [each for each in self._staff if each.job]:
                self._dismiss(worker)  # the caller has stopped iterating

    def close(self) -> None:
        """End the workers, and leave the cluster."""
        for worker in list(self._staff):
            self._dismiss(worker)
        self._cluster.close()

    # Workers

    def _engage(self) -> None:
        """Start the missing workers, all at once, because that takes seconds."""
        while len(self._staff) < self.workers and self._failed < _STARTS:
            self._staff.append(_Worker(self.bench, self._needs, self._failed))
        if not self._staff:
            self._failed = 0
            raise _never_began(self._why)

    def _dismiss(self, worker: _Worker) -> None:
        self._staff.remove(worker)
        worker.end()

    def _wait(self) -> list[_Worker]:
        """Wait, and return the workers that have an answer or exceed their time."""
        tasks = {each.task: each for each in self._staff if each.task is not None}
        now = time.monotonic()
        able = [each for each in self._staff if each.begun]
        ends = [each.since + each.job.limit for each in able if each.job]
        if not able:
            ends.append(max(each.since for each in self._staff) + self.start_limit)
        rest = max(0.0, min([*ends, now + _LONGEST_WAIT]) - now)
        done, _ = ray.wait(list(tasks), timeout=rest)
        self._cluster.report_deaths()
        now = time.monotonic()
        if not done and not able and now >= ends[0]:
            limit = f"{self.start_limit:,.10g} seconds"
            raise _never_began(f"the cluster had no free resources for {limit}")
        tardy = [w for w in able if w.job and now > w.since + w.job.limit]
        return list(dict.fromkeys([*(tasks[each] for each in done), *tardy]))

    def _outcome(self, worker: _Worker) -> Outcome | None:
        """Return the result of a worker's job, or None if it had no job or died."""
        job, answer, trained = worker.job, *worker.answer()
        if isinstance(answer, Begun):
            self._failed = 0
            return None
        if isinstance(answer, Outcome) and not answer.suspect:
            if job and job.weights and answer.scores is not None:
                write_bytes(job.weights, trained)
                return replace(answer, weights=_key(trained))
            return answer
        self._dismiss(worker)
        if isinstance(answer, OSError):
            raise answer
        if isinstance(answer, Fault):
            raise answer.error()
        if isinstance(answer, _Lost):
            self._why = answer.why
            if not worker.begun and worker.wave == self._failed:
                self._failed += 1  # those that began beside it are the same failure
            for idle in [each for each in self._staff if each.is_free]:
                self._dismiss(idle)  # it may have died with the node, and can't tell
            return None
        assert isinstance(answer, Outcome)
        return answer

    def _snapshot(self, job: Job) -> tuple[str, list[Any]]:
        """Return the key of the snapshot that a job starts from, and its reference in
        the object store.
        """
        if job.snapshot is None:
            return "", []
        try:
            content = job.snapshot.read_bytes()
        except OSError as error:
            raise RunError("R030", f"can't read {job.snapshot}: {error}") from error
        key = _key(content)
        if self._kept[0] != key:
            self._kept = key, ray.put(content)
        return key, [self._kept[1]]


class _Worker:
    """An actor, and the job that it runs."""

    def __init__(self, bench: Bench, needs: Any, wave: int) -> None:
        self.wave = wave
        self.begun = False
        self.job: Job | None = None
        self.since = time.monotonic()
        actor: Any = ray.remote(_Remote).options(
            num_cpus=bench.options.threads,
            num_gpus=_gpus(bench.options.device),
            max_restarts=0,
            scheduling_strategy="SPREAD",
        )
        self.actor = actor.remote()
        self.task: Any = self.actor.begin.remote(needs)

    @property
    def is_free(self) -> bool:
        return self.begun and self.task is None

    def send(self, job: Job, key: str, where: list[Any]) -> None:
        """Send a job, without paths that only exist on this machine."""
        self.job, self.since = job, time.monotonic()
        away = replace(job, snapshot=None, weights=None)
        self.task = self.actor.score.remote(away, key, where, job.weights is not None)

    def answer(self) -> tuple[Any, bytes]:
        """Return the result of its task, and the trained weights."""
        task, job = self.task, self.job
        self.task = self.job = None
        try:
            found: tuple[Any, bytes] = ray.get(task, timeout=0)
        except ray.exceptions.GetTimeoutError:
            assert job is not None
            seconds = time.monotonic() - self.since
            why = late(job.limit)
            return Outcome(None, why, seconds, True, exceeded=TIME_LIMIT), b""
        except OutOfMemoryError:
            return _Lost("memory ran out"), b""
        except RayError as error:
            if not self.begun:
                return _Lost(last_line(error)), b""
            if isinstance(error, RayTaskError):  # an exception inside the worker
                return Fault(None, last_line(error), None), b""
            return _Lost("a process died (out of memory?)"), b""
        self.begun = True
        return found

    def end(self) -> None:
        """Kill the process."""
        ray.kill(self.actor)


def _never_began(why: str) -> RunError:
    return RunError(
        "R044",
        f"workers of the cluster can't start: {why}",
        "fix that, then continue with azc resume",
    )


def _gpus(device: str | None) -> int:
    if device is None:
        return int("GPU" in ray.cluster_resources())
    return int(device.startswith("cuda"))


def _versions() -> dict[str, str]:
    """Return the versions of the packages that scores depend on."""
    return {name: version(name) for name in ("azc-lang", "torch", "transformers")}


def _key(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# In the other process, on whatever node


class _Remote:
    """A worker as an actor of Ray."""

    def __init__(self) -> None:
        self._scorer: Scorer | None = None
        self._held: tuple[str, bytes] = ("", b"")

    def begin(
        self, needs: tuple[Bench, Data, dict[str, str]]
    ) -> tuple[Begun | Fault | OSError, bytes]:
        """Prepare for jobs."""
        return answered(partial(self._begin, *needs)), b""

    def _begin(self, bench: Bench, data: Data, versions: dict[str, str]) -> Begun:
        for name, here in _versions().items():
            if here != versions[name]:
                raise RunError(
                    "R044",
                    f"a node of the cluster has {name} {here}, and the run"
                    f" {versions[name]}",
                    "install the same on every node",
                )
        check_device(bench.options.device)
        settle()
        self._scorer = Scorer(bench, data)
        limit_memory(bench.options.memory_limit)
        return Begun()

    def score(
        self, job: Job, key: str, where: list[Any], wanted: bool
    ) -> tuple[Outcome | Fault | OSError, bytes]:
        """Run a job and return its outcome, and the trained weights if they are
        wanted.
        """
        found = answered(partial(self._score, job, key, where, wanted))
        return found if isinstance(found, tuple) else (found, b"")

    def _score(
        self, job: Job, key: str, where: list[Any], wanted: bool
    ) -> tuple[Outcome, bytes]:
        from safetensors.torch import load, save

        from azc.supernet.supernet import Supernet

        assert self._scorer is not None
        if where and self._held[0] != key:
            self._held = key, ray.get(where[0])
        content = self._held[1]
        shared = (lambda: Supernet(load(content))) if where else None
        outcome, trained = self._scorer.train(job, shared)
        return outcome, save(trained) if wanted and trained else b""
