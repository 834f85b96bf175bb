"""Jobs in worker processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from azc.search.score import Bench, Job, Outcome, Scorer

__all__ = ["PoolExecutor"]

_scorer: Scorer | None = None


def _start(bench: Bench, threads: int, parent: int) -> None:
    """Makes a worker ready: its share of the cores, the data, and an end with its
    parent's, also when that is killed.
    """
    global _scorer
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    import torch

    torch.set_num_threads(threads)
    _scorer = Scorer(bench)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _run(job: Job) -> Outcome:
    assert _scorer is not None
    return _scorer(job)


class PoolExecutor:
    """Runs jobs in `workers` processes, each with its share of the cores."""

    def __init__(self, bench: Bench, workers: int) -> None:
        self.bench = bench
        self.workers = workers
        self._pool = self._open()

    def _open(self) -> ProcessPoolExecutor:
        threads = max(1, (os.cpu_count() or 1) // self.workers)
        return ProcessPoolExecutor(
            self.workers,
            # A fork would share torch's threads and locks with this process.
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start,
            initargs=(self.bench, threads, os.getpid()),
        )

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
        """Every job with its outcome, as they end.

        Where a worker dies, the jobs under way are run again one at a time: the one
        that kills its worker fails, the others don't.
        """
        left = dict.fromkeys(jobs)
        futures: dict[Future[Outcome], Job] = {
            self._pool.submit(_run, job): job for job in jobs
        }
        try:
            for future in as_completed(futures):
                outcome = future.result()
                del left[futures[future]]
                yield futures[future], outcome
            return
        except BrokenProcessPool:
            self._restart()
        finally:
            for future in futures:
                future.cancel()
        for job in left:
            try:
                yield job, self._pool.submit(_run, job).result()
            except BrokenProcessPool:
                self._restart()
                yield job, Outcome(None, "its process died (out of memory?)", 0.0)

    def _restart(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = self._open()

    def close(self) -> None:
        """Ends the workers."""
        self._pool.shutdown(wait=True, cancel_futures=True)
