"""What a run needs of data, whatever it is: text, tasks, or a mix of both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import torch

    from azc.data.summary import TextSummary

__all__ = ["IGNORED", "TASK", "Batch", "Data", "Split", "task_part"]

Split = Literal["train", "validation", "test"]
IGNORED = -100  # the label of a position that is not asked for
TASK = "task:"  # what the name of a task begins with, where it stands for data


def task_part(name: str) -> str:
    """What a task is called as data: in `--data`, and as a part of a mix."""
    return TASK + name


@dataclass(frozen=True)
class Batch:
    """Sequences `[B, N]` in which something is asked for: ids, which are real (bool),
    and labels or IGNORED.

    `part`: what of a mix they are from, "text" or what `task_part` gives. `causal`: a
    label is asked for at the token before it, where a decoder tells it, and not at its
    own place; the first of a sequence is then IGNORED. `document_ids`: int, which
    document of its sequence a token is of, from 0, −1 in padding: none is to see
    another's. None where every sequence is one.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    labels: torch.Tensor
    part: str = "text"
    causal: bool = False
    document_ids: torch.Tensor | None = None

    @property
    def asked(self) -> int:
        """How many positions are asked for."""
        return int((self.labels != IGNORED).sum())

    def inputs(self, device: Any) -> dict[str, torch.Tensor]:
        """Keyword arguments of a masked or a causal language model, on a device.

        Without `attention_mask` where every token is real, and without `document_ids`
        where no sequence has several: models then make no masks, and tell nothing apart.
        """
        inputs = {"input_ids": self.input_ids, "labels": self.labels}
        if self.document_ids is not None and bool((self.document_ids > 0).any()):
            inputs["document_ids"] = self.document_ids
        if not self.attention_mask.all():
            inputs["attention_mask"] = self.attention_mask
        return {name: tensor.to(device) for name, tensor in inputs.items()}

    @staticmethod
    def joined(parts: Sequence[Batch]) -> Batch:
        """The sequences of several batches of one kind, none of which has documents."""
        import torch

        first = parts[0]
        assert first.document_ids is None
        return replace(
            first,
            input_ids=torch.cat([part.input_ids for part in parts]),
            attention_mask=torch.cat([part.attention_mask for part in parts]),
            labels=torch.cat([part.labels for part in parts]),
        )

    def rows(self, start: int, end: int) -> Batch:
        """The sequences from `start` to `end`."""
        return self.at(slice(start, end))

    def at(self, places: slice | torch.Tensor) -> Batch:
        """The sequences at these places."""
        documents = self.document_ids
        return replace(
            self,
            input_ids=self.input_ids[places],
            attention_mask=self.attention_mask[places],
            labels=self.labels[places],
            document_ids=None if documents is None else documents[places],
        )


class Data(Protocol):
    """Batches to train and to measure on; a seed fixes all of them."""

    summary: TextSummary | None
    """What was read of a text; None where there is none."""

    @property
    def vocab_size(self) -> int:
        """Ids and labels are below it."""

    @property
    def fingerprint(self) -> str:
        """A sha256: two runs with the same one had the same data."""

    @property
    def bytes_per_token(self) -> float | None:
        """Bytes of the raw text of the test part, for each token of it that is asked for;
        None where not every token of a text is.
        """

    def batches(self, batch_size: int, *, seed: int) -> Iterator[Batch]:
        """Yield endless training batches of `batch_size` sequences, the same for a seed;
        each asks for something.
        """

    def held_out(
        self, split: Split, batch_size: int, *, blocks: int | None = None
    ) -> Iterator[Batch]:
        """Yield the first `blocks` sequences (of each part) of validation or test, the
        same each time. Raises UsageError D023 for the training split.
        """

    def check(self, blocks: int | None = None) -> None:
        """Raise RunError D024 where training, validation (its first `blocks` sequences) or
        test of any part asks for nothing: no loss is a number there.
        """

    def in_memory(self) -> Data:
        """The same without files of this machine: it can be sent to another one."""
