"""The seam between a search and where its jobs run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from azc.search.score import Job, Outcome

__all__ = ["Executor"]


class Executor(Protocol):
    """Runs jobs, each once. A job's outcome depends on the job alone, not on where or
    when it runs.
    """

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
        """Every job with its outcome, as they end.

        Raises `RunError` and `OSError` for what is certainly not the fault of a job. What
        may be is an outcome that is `suspect`.
        """

    def close(self) -> None:
        """Gives back what the executor holds."""
