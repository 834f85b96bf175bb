"""Jobs in worker processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

from azc.diagnostics import AzcError, InternalError, RunError
from azc.search.score import Bench, Job, Outcome, Scorer

__all__ = ["PoolExecutor"]

_DIED = "its process died (out of memory?)"


@dataclass(frozen=True)
class _Fault:
    """What kept a worker from its work, through no fault of the job."""

    code: str | None
    message: str
    help: str | None

    def error(self) -> Exception:
        if self.code is None:
            return InternalError(self.message)
        return RunError(self.code, self.message, self.help)


_Answer = Outcome | _Fault | OSError | None


def _outcome(answer: _Answer) -> Outcome | None:
    if isinstance(answer, OSError):
        raise answer
    if isinstance(answer, _Fault):
        raise answer.error()
    return answer


class PoolExecutor:
    """Runs jobs in `workers` processes, each with its share of the cores.

    They end with this one, however it ends.
    """

    def __init__(self, bench: Bench, workers: int) -> None:
        import torch

        self.bench = bench
        self.workers = workers
        self.threads = max(1, torch.get_num_threads() // workers)
        self._idle: list[_Worker] = []

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
        """Every job with its outcome, as they end.

        A job whose process dies is run again when all others are done, alone: memory may
        have run out because of its neighbours. Then it fails. Raises `RunError` and
        `OSError` for what is no job's fault.
        """
        again = []
        for job, outcome in self._share(jobs, self.workers):
            if outcome is None:
                again.append(job)
            else:
                yield job, outcome
        for job, outcome in self._share(again, 1):
            yield job, outcome or Outcome(None, _DIED, 0.0)

    def close(self) -> None:
        """Ends the workers."""
        while self._idle:
            self._idle.pop().end()

    def _share(
        self, jobs: Sequence[Job], count: int
    ) -> Iterator[tuple[Job, Outcome | None]]:
        """Every job with its outcome, None where its process died."""
        waiting = deque(jobs)
        busy: dict[Connection, tuple[_Worker, Job]] = {}
        try:
            while waiting or busy:
                while waiting and len(busy) < count:
                    worker = self._send(waiting[0])
                    busy[worker.pipe] = worker, waiting.popleft()
                for pipe in wait(list(busy)):
                    assert isinstance(pipe, Connection)
                    worker, job = busy.pop(pipe)
                    answer = worker.receive()
                    if answer is None:
                        worker.end()
                    else:
                        self._idle.append(worker)
                    yield job, _outcome(answer)
        finally:
            for worker, _ in busy.values():  # whoever asked has gone
                worker.end()

    def _send(self, job: Job) -> _Worker:
        """A worker that has the job: an idle one that lives, or a new one."""
        while self._idle:
            worker = self._idle.pop()
            if worker.send(job):
                return worker
            worker.end()
        worker = _Worker(self.bench, self.threads)
        worker.send(job)  # where even a new one died, receive tells
        return worker


class _Worker:
    """One process and the pipe to it."""

    def __init__(self, bench: Bench, threads: int) -> None:
        # A fork would share torch's threads and locks with this process.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(theirs, bench, threads, os.getpid()), daemon=True
        )
        with _uninterrupted():
            self.process.start()
        theirs.close()  # so that the pipe ends with the process

    def send(self, job: Job) -> bool:
        """Whether the process took the job: a dead one can't."""
        try:
            self.pipe.send(job)
        except OSError:
            return False
        return True

    def receive(self) -> _Answer:
        """What it says of its job, None where it has died."""
        try:
            answer: _Answer = self.pipe.recv()
        except (EOFError, OSError):
            return None
        return answer

    def end(self) -> None:
        """Ends the process, whatever it does."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """A process that starts in here ignores Ctrl-C, which is this one's to answer."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


# In the other process


def _serve(pipe: Connection, bench: Bench, threads: int, parent: int) -> None:
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    import torch

    torch.set_num_threads(threads)
    scorer: Scorer | None = None
    while True:
        try:
            job: Job = pipe.recv()
        except EOFError:
            return
        answer: _Answer
        try:
            scorer = scorer or Scorer(bench)
            answer = scorer(job)
        except OSError as error:
            answer = error
        except AzcError as error:
            answer = _Fault(error.code, error.message, error.help)
        except Exception as error:
            answer = _Fault(None, f"{type(error).__name__}: {error}", None)
        pipe.send(answer)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)
