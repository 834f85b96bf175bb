"""The interface between a search and the executor of its jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from azc.search.score import Job, Outcome

__all__ = ["Executor"]


class Executor(Protocol):
    """Runs jobs, each once. The outcome of a job depends only on the job, not on where
    or when it runs.
    """

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
        """Yield every job with its outcome, in the order of completion.

        A failure that may not be the fault of the job has an outcome that is `suspect`.

        Raises:
            RunError: For errors that are certainly not the fault of a job; likewise
                OSError.
        """

    def close(self) -> None:
        """Release the resources of the executor."""
