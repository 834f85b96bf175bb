"""Executor that runs jobs in worker processes on this machine.

Codes: R044 the installation is incomplete, or workers cannot start.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path

from azc.data.contract import Data
from azc.diagnostics import RunError
from azc.search.executors.worker import (
    Begun,
    Fault,
    answered,
    limit_memory,
    settle,
    usual_start,
)
from azc.search.score import TIME_LIMIT, Bench, Job, Outcome, Scorer, late

__all__ = ["PoolExecutor"]

_STARTS = 2  # consecutive workers that may exit before their first job
_LONGEST_WAIT = 3600.0  # seconds; the system takes no infinity
_LAST_WORDS = 5.0  # seconds until a process that has closed its pipe has a status


@dataclass(frozen=True)
class _Gone:
    """A worker that died, or exceeded a limit, which `exceeded` then names."""

    why: str
    exceeded: str | None = None


_Answer = Outcome | Fault | OSError | Begun | _Gone


class PoolExecutor:
    """Runs jobs in `workers` processes, which share the memory-mapped part of the data.

    They end with this process, however it ends. A worker is killed if it exceeds the
    time limit of its job, and after a suspect outcome; a new one takes its place.
    """

    def __init__(
        self,
        bench: Bench,
        data: Data,
        workers: int,
        start_limit: float | None = None,
    ) -> None:
        """Create the executor; workers start with the first job.

        `start_limit` is the number of seconds that a worker has until it starts its
        first job; None derives it from the time limit of a candidate.
        """
        self.bench = bench
        self._data = pickle.dumps(data)
        self.workers = workers
        self.start_limit = start_limit or usual_start(bench)
        self._idle: list[_Worker] = []

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
        """Yield every job with its outcome, in the order of completion.

        Raises:
            RunError: R044 if workers exit before they start a job; other codes, and
                OSError, for errors that are certainly not the fault of a job.
        """
        waiting = deque(jobs)
        busy: dict[Connection, tuple[_Worker, Job]] = {}
        unborn = 0
        try:
            while waiting or busy:
                while waiting and len(busy) < self.workers:
                    worker = self._send(waiting[0])
                    busy[worker.pipe] = worker, waiting.popleft()
                soonest = min(worker.deadline for worker, _ in busy.values())
                rest = soonest - time.monotonic()
                wait(list(busy), min(max(rest, 0.0), _LONGEST_WAIT))
                for worker, job in list(busy.values()):
                    answer = worker.answer()
                    if answer is None:
                        continue
                    del busy[worker.pipe]
                    unborn = 0 if worker.begun else unborn + 1
                    outcome = self._outcome(worker, answer)
                    if outcome is not None:
                        yield job, outcome
                    elif unborn < _STARTS:
                        waiting.appendleft(job)
                    else:
                        raise _never_began(answer)
        finally:
            for worker, _ in busy.values():  # the caller has stopped iterating
                worker.end()

    def close(self) -> None:
        """End the workers."""
        while self._idle:
            self._idle.pop().end()

    def _outcome(self, worker: _Worker, answer: _Answer) -> Outcome | None:
        """Return the result of a worker's job, or None if the worker exited before it
        started the job.
        """
        if isinstance(answer, Outcome) and not answer.suspect:
            self._idle.append(worker)
            return answer
        worker.end()
        if isinstance(answer, OSError):
            raise answer
        if isinstance(answer, Fault):
            raise answer.error()
        if isinstance(answer, _Gone):
            seconds = time.monotonic() - worker.since
            lost = Outcome(None, answer.why, seconds, True, exceeded=answer.exceeded)
            return lost if worker.begun else None
        assert isinstance(answer, Outcome)
        return answer

    def _send(self, job: Job) -> _Worker:
        """Send a job to an idle worker that is alive, or to a new one, and return the
        worker.
        """
        while self._idle:
            worker = self._idle.pop()
            if worker.send(job):
                return worker
            worker.end()
        worker = _Worker(self.bench, self._data, self.start_limit)
        worker.send(job)  # where even a new one died, answer tells
        return worker


def _never_began(answer: _Answer) -> RunError:
    why = answer.why if isinstance(answer, _Gone) else "it ended"
    return RunError(
        "R044",
        f"worker processes can't start: {why}",
        "fix that, then continue with azc resume",
    )


class _Worker:
    """A worker process and the pipe to it."""

    def __init__(self, bench: Bench, data: bytes, start_limit: float) -> None:
        # A fork would share torch's threads and locks with this process.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(theirs, bench, data, os.getpid()), daemon=True
        )
        self.start_limit = start_limit
        self.limit = start_limit
        self.since = time.monotonic()
        self.begun = False
        with _uninterrupted():
            self.process.start()
        theirs.close()  # so that the pipe ends with the process

    def send(self, job: Job) -> bool:
        """Send a job; return whether the process is alive and received it."""
        self.limit, self.since = job.limit, time.monotonic()
        try:
            self.pipe.send(job)
        except OSError:
            return False
        return True

    @property
    def deadline(self) -> float:
        """The time when its limit is exceeded."""
        return self.since + (self.limit if self.begun else self.start_limit)

    def answer(self) -> _Answer | None:
        """Return the result of its job, or None if there is none yet."""
        try:
            while self.pipe.poll():
                found: _Answer = self.pipe.recv()
                if not isinstance(found, Begun):
                    return found
                self.begun, self.since = True, time.monotonic()
        except (EOFError, OSError):
            return _Gone(f"a process {self._end_in_words()}")
        if time.monotonic() < self.deadline:
            return None
        if not self.begun:
            return _Gone(late(self.start_limit))
        return _Gone(late(self.limit), TIME_LIMIT)

    def _end_in_words(self) -> str:
        self.process.join(_LAST_WORDS)
        code = self.process.exitcode
        if code is None or code >= 0:
            return f"ended with status {code}"
        memory = " (out of memory?)" if -code == signal.SIGKILL else ""
        return f"was ended by {signal.Signals(-code).name}{memory}"

    def end(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Make processes that start inside the block ignore Ctrl-C, which this process
    handles.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


# In the other process


def _serve(pipe: Connection, bench: Bench, data: bytes, parent: int) -> None:
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    # If memory runs out, let the system kill this process rather than the first one.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    scorer: Scorer | None = None

    def scored(job: Job) -> Outcome:
        nonlocal scorer
        if scorer is None:
            settle()
            scorer = Scorer(bench, _received(data))
            limit_memory(bench.options.memory_limit)
            pipe.send(Begun())
        return scorer(job)

    while True:
        try:
            job: Job = pipe.recv()
        except EOFError:
            return
        pipe.send(answered(partial(scored, job)))


def _received(data: bytes) -> Data | None:
    """Unpickle the data of the first process, or return None if files that it maps are
    gone from the cache, so that the data must be loaded again.
    """
    try:
        found: Data = pickle.loads(data)
    except (OSError, ValueError):
        return None
    return found


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)
