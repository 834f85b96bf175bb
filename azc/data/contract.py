"""The interface of training data: text, tasks, or a mix of both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import torch

    from azc.data.summary import TextSummary

__all__ = ["IGNORED", "TASK", "Batch", "Data", "Split", "task_part"]

Split = Literal["train", "validation", "test"]
IGNORED = -100  # the label of a position that is not predicted
TASK = "task:"  # prefix of the name of a task in `--data`


def task_part(name: str) -> str:
    """Return the name of a task as data, as in `--data` and `Batch.part`."""
    return TASK + name


@dataclass(frozen=True)
class Batch:
    """Sequences with labels, of one part of the data.

    Attributes:
        input_ids: Token ids, [B, N], int64.
        attention_mask: True for real tokens, False for padding, [B, N].
        labels: Ids to predict, or IGNORED, [B, N], int64.
        part: Part of a mix: "text", or a name that `task_part` returns.
        causal: Whether a label is predicted at the token before it, as decoders do,
            rather than at its own place; the label of the first token is then IGNORED.
        document_ids: Document of each token in its sequence, counted from 0, and −1 for
            padding, [B, N], int64. Tokens do not see other documents. None if every
            sequence is one document.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    labels: torch.Tensor
    part: str = "text"
    causal: bool = False
    document_ids: torch.Tensor | None = None

    @property
    def asked(self) -> int:
        """The number of positions to predict."""
        return int((self.labels != IGNORED).sum())

    def inputs(self, device: Any) -> dict[str, torch.Tensor]:
        """Return keyword arguments for a masked or causal language model, moved to a
        device.

        `attention_mask` is omitted if every token is real, and `document_ids` if no
        sequence has several documents; models then build no masks.

        Args:
            device: Device of the returned tensors.

        Returns:
            `input_ids` and `labels`, and, if needed, `attention_mask` and
            `document_ids`, all [B, N].
        """
        inputs = {"input_ids": self.input_ids, "labels": self.labels}
        if self.document_ids is not None and bool((self.document_ids > 0).any()):
            inputs["document_ids"] = self.document_ids
        if not self.attention_mask.all():
            inputs["attention_mask"] = self.attention_mask
        return {name: tensor.to(device) for name, tensor in inputs.items()}

    @staticmethod
    def joined(parts: Sequence[Batch]) -> Batch:
        """Concatenate batches of one kind, none of which has `document_ids`."""
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
        """Return the sequences from `start` to `end`."""
        return self.at(slice(start, end))

    def at(self, places: slice | torch.Tensor) -> Batch:
        """Select sequences.

        Args:
            places: A slice, or places of sequences, [K], int64.

        Returns:
            A batch of the selected sequences, whose tensors are [K, N].
        """
        documents = self.document_ids
        return replace(
            self,
            input_ids=self.input_ids[places],
            attention_mask=self.attention_mask[places],
            labels=self.labels[places],
            document_ids=None if documents is None else documents[places],
        )


class Data(Protocol):
    """Batches for training and evaluation. All of them are determined by a seed."""

    summary: TextSummary | None
    """Summary of the text; None if the data has no text."""

    @property
    def vocab_size(self) -> int:
        """The size of the vocabulary: ids and labels are below it."""

    @property
    def fingerprint(self) -> str:
        """A sha256 of the data: runs with the same fingerprint had the same data."""

    @property
    def bytes_per_token(self) -> float | None:
        """Bytes of the raw test text per predicted token.

        None if some tokens of a text are not predicted, or there is no text.
        """

    def batches(self, batch_size: int, *, seed: int) -> Iterator[Batch]:
        """Yield training batches of `batch_size` sequences without end.

        The batches are the same for the same seed, and each has something to predict.
        """

    def held_out(
        self, split: Split, batch_size: int, *, blocks: int | None = None
    ) -> Iterator[Batch]:
        """Yield the first `blocks` sequences (of each part) of validation or test.

        They are the same every time.

        Raises:
            UsageError: D023 for the training split.
        """

    def check(self, blocks: int | None = None) -> None:
        """Check that every split of every part has something to predict.

        Raises:
            RunError: D024, if training, validation (its first `blocks` sequences) or
                test has nothing to predict, so that its loss is undefined.
        """

    def in_memory(self) -> Data:
        """Return the same data without files of this machine, to send it to another
        one.
        """
