"""Text to train on: Python's own documentation, files, folders and datasets.

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
    """Origin of the documents of a corpus.

    Attributes:
        files: Number of files that were read; 0 if the text is not from files.
        left_out: Number of files in the folder that were not read, by file extension.
        rows: Number of rows in tables and datasets.
        blank_rows: Number of rows without text, which are skipped.
    """

    files: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    rows: int = 0
    blank_rows: int = 0

    def without(self, kind: str) -> Source:
        """Return the source with one file fewer, counted as left out."""
        left_out = {**self.left_out, kind: self.left_out.get(kind, 0) + 1}
        return replace(self, files=self.files - 1, left_out=left_out)


@dataclass(frozen=True)
class Corpus:
    """A named collection of documents.

    Attributes:
        name: Name of the text in `--data`.
        documents: The documents, read again in each iteration; none is blank.
        fingerprint: The sha256 of all documents.
        size: Bytes of all documents (UTF-8).
        source: Origin of the documents.
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
        """Create a corpus from documents, none of which is blank."""
        digest = _Digest()
        for document in documents:
            digest.add(document)
        return cls(name, documents, digest.value, digest.size, source)

    def read(self, stage: str, tell: Tell = silent) -> Iterator[str]:
        """Yield the documents, and report progress under the name of a stage.

        Raises:
            RunError: D003, if the text has changed since the corpus was created.
        """
        digest, reported = _Digest(), 0
        tell(Progress(stage, 0, self.size))
        for document in self.documents:
            digest.add(document)
            if digest.size - reported >= _OFTEN:
                reported = digest.size
                tell(Progress(stage, reported, self.size))
            yield document
        if digest.value != self.fingerprint:
            raise RunError(
                "D003",
                f"{self.name} changed while it was being read",
                "wait until it is complete, or use a copy of it",
            )


class _Digest:
    """Fingerprint and size of a sequence of documents."""

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
    """Read the corpus that `spec` names once, and summarize it.

    Args:
        spec: `python` is the documentation of the standard library; `hf:NAME/CONFIG` is
            a dataset on the Hugging Face Hub or on disk; anything else is a path: a
            text file (also `.gz`), a table (parquet, csv, tsv, json, jsonl) or a folder
            of both.
        division: How text files are split into documents, one of
            `azc.data.documents.DIVISIONS`. A row of a table is a document.
        cache: Folder in which the text of `python` is cached.
        tell: Called with the progress.

    Returns:
        The corpus.

    Raises:
        UsageError: D005 for an empty specification, D006 for a division of data that
            has no text file.
        RunError: D001 if there is no such data, D002 if it has no text, D003 if it
            can't be read, D004 if a dataset can't be loaded.
    """
    check_division(division)
    if not spec.strip():
        raise UsageError(
            "D005",
            "the data has an empty name",
            "use a text file, a folder, `python` or `hf:NAME/CONFIG`",
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
                "use a text file, a folder, `python` or `hf:NAME/CONFIG`",
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
                source = source.without(f"{ending(path)} without a text column")
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
    """Read the documents of all parts once; `total` is their approximate size in
    bytes.
    """
    stage, reported, filled = "reading the text", 0, 0
    digest = _Digest()
    tell(Progress(stage, 0, total))
    for part in parts:
        for document in _Documents([part]):
            digest.add(document)
            filled += not isinstance(part, TextFile)
            if digest.size - reported >= _OFTEN:
                reported = digest.size
                tell(Progress(stage, reported, total))
    if not digest.size:
        help_ = "use data with some sentences in it"
        raise RunError("D002", f"{name} holds no text", help_)
    source = replace(source, blank_rows=max(0, source.rows - filled))
    return Corpus(name, _Documents(parts), digest.value, digest.size, source)


@dataclass(frozen=True)
class _Documents:
    """Documents of several parts, stripped of surrounding white space, without blank
    ones.
    """

    parts: list[Iterable[str]]

    def __iter__(self) -> Iterator[str]:
        for part in self.parts:
            for text in part:
                if found := text.strip():
                    yield found
