"""Text to train on: Python's own documentation, files, folders and data sets.

Codes: D001 the data does not exist; D002 the data contains no text; D003 the data
cannot be read; D005 the name of the data is invalid.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from azc.data import hub, pydocs
from azc.data.documents import PARAGRAPH, check_division, check_undivided
from azc.data.files import TABLE_ENDINGS, TextFile, ending, scan
from azc.data.progress import Progress, Tell, silent
from azc.diagnostics import RunError, UsageError

__all__ = ["Corpus", "Source", "load_corpus"]

_OFTEN = 2**20  # bytes of text between two reports


@dataclass(frozen=True)
class Source:
    """Where the documents of a corpus come from.

    Attributes:
        files: Files that were read; 0 where the text is no file.
        left_out: Files in the folder that were not read, by the ends of their names.
        rows: Rows of tables and data sets.
        blank_rows: Rows without text, of which no document was made.
    """

    files: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    rows: int = 0
    blank_rows: int = 0

    def without(self, kind: str) -> Source:
        """Leave out a file that was to be read."""
        left_out = {**self.left_out, kind: self.left_out.get(kind, 0) + 1}
        return replace(self, files=self.files - 1, left_out=left_out)


@dataclass(frozen=True)
class Corpus:
    """Documents of text under a name.

    Attributes:
        name: What `--data` calls the text.
        documents: The documents, read anew each time; none is blank.
        fingerprint: The sha256 of all documents.
        size: Bytes of all documents (UTF-8).
        source: Where they come from.
    """

    name: str
    documents: Iterable[str]
    fingerprint: str
    size: int
    source: Source = Source()

    @classmethod
    def of(
        cls, name: str, documents: Iterable[str], source: Source = Source()
    ) -> Corpus:
        """Make a corpus of these documents, none of which is blank."""
        digest = _Digest()
        for document in documents:
            digest.add(document)
        return cls(name, documents, digest.value, digest.size, source)

    def read(self, stage: str, tell: Tell = silent) -> Iterator[str]:
        """Yield the documents, and report how far it is under the name of a stage.

        Raises:
            RunError: D003 where the text is not what it was when the corpus was made.
        """
        digest, told = _Digest(), 0
        tell(Progress(stage, 0, self.size))
        for document in self.documents:
            digest.add(document)
            if digest.size - told >= _OFTEN:
                told = digest.size
                tell(Progress(stage, told, self.size))
            yield document
        if digest.value != self.fingerprint:
            raise RunError(
                "D003",
                f"{self.name} has changed while it was read",
                "wait until it is written, or name a copy of it",
            )


class _Digest:
    """The fingerprint and the size of documents that come one after the other."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self.size = 0

    def add(self, document: str) -> None:
        encoded = document.encode("utf-8", "surrogatepass")
        self._sha256.update(len(encoded).to_bytes(8, "little"))
        self._sha256.update(encoded)
        self.size += len(encoded)

    @property
    def value(self) -> str:
        return self._sha256.hexdigest()


def load_corpus(
    spec: str,
    *,
    division: str = PARAGRAPH,
    cache: Path | None = None,
    tell: Tell = silent,
) -> Corpus:
    """Read the corpus that `spec` names once, to see what there is.

    Args:
        spec: `python` is the standard library's own documentation; `hf:NAME/CONFIG` is
            a data set of the Hugging Face hub or of this disk; all else is a path: a
            text file (`.gz` too), a table (parquet, csv, tsv, json, jsonl) or a folder
            of both.
        division: How text files are divided into documents, one of
            `azc.data.documents.DIVISIONS`. A row of a table is a document.
        cache: Keeps the text of `python`.
        tell: Is told how far it is.

    Raises:
        UsageError: D005 for an empty specification, D006 for a division of what is no
            text file.
        RunError: D001 to D004 where there is nothing, no text, no readable text, or a
            data set that does not load.
    """
    check_division(division)
    if not spec.strip():
        raise UsageError(
            "D005",
            "the data has an empty name",
            "name a text file, a folder, `python` or `hf:NAME/CONFIG`",
        )
    if spec == "python":
        check_undivided(spec, division)
        return _read(spec, [pydocs.documents(cache)], Source(), tell)
    if spec.startswith("hf:"):
        check_undivided(spec, division)
        rows = hub.load(spec.removeprefix("hf:"))
        return _read(spec, [rows], Source(rows=len(rows)), tell)
    path = Path(spec)
    try:
        if path.is_dir():
            paths, left_out = scan(path)
        elif path.is_file():
            paths, left_out = [path], {}
        elif path.exists():
            raise RunError("D003", f"{spec} is neither a file nor a directory")
        else:
            raise RunError(
                "D001",
                f"there is no data at {spec}",
                "name a text file, a folder, `python` or `hf:NAME/CONFIG`",
            )
        if all(ending(path) in TABLE_ENDINGS for path in paths):
            check_undivided(spec, division)
        return _read_files(spec, paths, Source(len(paths), left_out), division, tell)
    except OSError as error:
        raise RunError("D003", f"{spec} can't be read: {error.strerror}") from error


def _read_files(
    spec: str, paths: list[Path], source: Source, division: str, tell: Tell
) -> Corpus:
    """Read the texts and tables of these files."""
    found: list[Iterable[str]] = []
    for path in paths:
        if ending(path) in TABLE_ENDINGS:
            tell(Progress(f"reading {path.name}", 0))
            try:
                rows = hub.load_table(path)
            except hub.NoText:
                if len(paths) == 1:
                    raise
                source = source.without(f"{ending(path)} without a column of text")
                continue
            source = replace(source, rows=source.rows + len(rows))
            found.append(rows)
        else:
            found.append(TextFile(path, division))
    sizes = [each.size for each in found if isinstance(each, TextFile)]
    known = [size for size in sizes if size is not None]
    total = sum(known) if len(known) == len(found) else None
    return _read(spec, found, source, tell, total)


def _read(
    name: str,
    parts: list[Iterable[str]],
    source: Source,
    tell: Tell,
    total: int | None = None,
) -> Corpus:
    """Look once at the documents of all parts; `total`: about how many bytes they have."""
    stage, told, filled = "reading the text", 0, 0
    digest = _Digest()
    tell(Progress(stage, 0, total))
    for part in parts:
        for document in _Documents([part]):
            digest.add(document)
            filled += not isinstance(part, TextFile)
            if digest.size - told >= _OFTEN:
                told = digest.size
                tell(Progress(stage, told, total))
    if not digest.size:
        help_ = "name data with some sentences in it"
        raise RunError("D002", f"{name} holds no text", help_)
    source = replace(source, blank_rows=max(0, source.rows - filled))
    return Corpus(name, _Documents(parts), digest.value, digest.size, source)


@dataclass(frozen=True)
class _Documents:
    """The documents of several parts without the white space around them, and without
    those that have no text.
    """

    parts: list[Iterable[str]]

    def __iter__(self) -> Iterator[str]:
        for part in self.parts:
            for text in part:
                if found := text.strip():
                    yield found
