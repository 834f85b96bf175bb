"""What was read of a text, and what was not: said where a run begins, and kept with it."""

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
    """A part of a text.

    Attributes:
        documents: Documents in it.
        tokens: Their tokens, without those that a tokenizer puts around documents.
        sequences: Sequences that these are cut into.
    """

    documents: int
    tokens: int
    sequences: int


@dataclass(frozen=True)
class TextSummary:
    """A text that a run learns from.

    Attributes:
        name: What `--data` calls it.
        files: Files that were read; 0 where the text is no file.
        rows: Rows of tables and data sets that were read.
        documents: Documents of the text, all of them.
        splits: The parts that they are divided into.
        vocabulary: Tokens that the tokenizer knows.
        tokenizer: The tokenizer that was named; None where it was trained on the text.
        left_out_files: Files in the folder that were not read, by the ends of their names.
        blank_rows: Rows without text.
        repeated: Documents that equal an earlier one, which are left out.
        empty: Documents without tokens, which are left out.
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
        """Count what is left of documents."""
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
        """Tokens of all parts."""
        return sum(each.tokens for each in self.splits.values())

    def sentences(self) -> Iterator[str]:
        """Say what was read, how it is divided, and what was left out, if anything was."""
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
        """What was left out, each with its number."""
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
        """A JSON object of all fields."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TextSummary:
        """The summary that `as_json` wrote. Raises TypeError, KeyError or AttributeError
        for anything else.
        """
        splits = {name: SplitSummary(**each) for name, each in values["splits"].items()}
        return cls(**{**values, "splits": splits})
