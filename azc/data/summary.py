"""Summary of a text: shown at the start of a run, and stored with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from azc.data.contract import Split
from azc.data.corpus import Source
from azc.numbers import count

__all__ = ["SplitSummary", "TextSummary"]


@dataclass(frozen=True)
class SplitSummary:
    """Summary of a split.

    Attributes:
        documents: Number of documents.
        tokens: Number of tokens, without the special tokens around documents.
        sequences: Number of sequences.
    """

    documents: int
    tokens: int
    sequences: int


@dataclass(frozen=True)
class TextSummary:
    """Summary of the text that a run learns from.

    Attributes:
        name: Name of the text in `--data`.
        files: Number of files that were read; 0 if the text is not from files.
        rows: Number of rows that were read from tables and datasets.
        documents: Number of documents in total.
        splits: The splits of the documents.
        vocabulary: Vocabulary size of the tokenizer.
        tokenizer: The tokenizer that was specified; None if it was trained on the text.
        left_out_files: Number of files in the folder that were not read, by extension.
        blank_rows: Number of rows without text.
        repeated: Number of documents equal to an earlier one, which are skipped.
        empty: Number of documents without tokens, which are skipped.
    """

    name: str
    files: int
    rows: int
    documents: int
    splits: Mapping[Split, SplitSummary]
    vocabulary: int
    tokenizer: str | None
    left_out_files: Mapping[str, int]
    blank_rows: int
    repeated: int
    empty: int

    @classmethod
    def of(
        cls,
        name: str,
        source: Source,
        documents: int,
        repeated: int,
        splits: Mapping[Split, SplitSummary],
        vocabulary: int,
        tokenizer: str | None,
    ) -> TextSummary:
        """Create a summary; the number of empty documents follows from the others."""
        used = sum(each.documents for each in splits.values())
        return cls(
            name,
            source.files,
            source.rows,
            documents,
            splits,
            vocabulary,
            tokenizer,
            source.left_out,
            source.blank_rows,
            repeated,
            documents - repeated - used,
        )

    @property
    def tokens(self) -> int:
        """The number of tokens in all splits."""
        return sum(each.tokens for each in self.splits.values())

    def sentences(self) -> Iterator[str]:
        """Yield lines that describe what was read, how it is split, and what was left
        out.
        """
        read = [count(self.files, "file")] if self.files else []
        read += [count(self.rows, "row")] if self.rows else []
        read.append(count(self.documents, "document"))
        kind = "trained on it" if self.tokenizer is None else self.tokenizer
        yield (
            f"{self.name}: {', '.join(read)}, {count(self.tokens, 'token')}"
            f" (tokenizer: {kind}, {count(self.vocabulary, 'token')})"
        )
        yield "; ".join(
            f"{split}: {count(each.documents, 'document')},"
            f" {count(each.tokens, 'token')}"
            for split in ("train", "validation", "test")
            for each in [self.splits[split]]
        )
        if left_out := self.left_out():
            yield f"left out: {', '.join(left_out)}"

    def left_out(self) -> list[str]:
        """List what was left out, each with its number."""
        kinds = ", ".join(
            f"{kind} ({number:,})" if number > 1 else kind
            for kind, number in sorted(self.left_out_files.items())
        )
        files = sum(self.left_out_files.values())
        found = [
            (files, f"{count(files, 'file')} of other kinds: {kinds}"),
            (self.blank_rows, f"{count(self.blank_rows, 'row')} without text"),
            (self.repeated, f"{count(self.repeated, 'document')} equal to another"),
            (self.empty, f"{count(self.empty, 'document')} without tokens"),
        ]
        return [words for number, words in found if number]

    def as_json(self) -> dict[str, Any]:
        """Return a JSON object of all fields."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TextSummary:
        """Create a summary from the object that `as_json` returned.

        Raises:
            TypeError: If it is any other value; or KeyError or AttributeError.
        """
        splits = {name: SplitSummary(**each) for name, each in values["splits"].items()}
        return cls(**{**values, "splits": splits})
