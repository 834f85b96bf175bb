"""Jobs one after the other, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from azc.search.score import Job, Outcome, Scorer

__all__ = ["SerialExecutor"]


class SerialExecutor:
    """Runs jobs here."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
        """Every job with its outcome, in the order given."""
        for job in jobs:
            yield job, self.scorer(job)

    def close(self) -> None:
        """Nothing is held."""
