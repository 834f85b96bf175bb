"""Executor that runs jobs one after the other in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from azc.search.score import Job, Outcome, Scorer

__all__ = ["SerialExecutor"]


class SerialExecutor:
    """Runs jobs in this process."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
        """Yield every job with its outcome, in order."""
        for job in jobs:
            yield job, self.scorer(job)

    def close(self) -> None:
        """Do nothing: there is nothing to release."""
