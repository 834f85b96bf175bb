"""Text to train on: Python's own documentation, files, folders and data sets.

Codes: D001 there is no data of that name; D002 the data holds no text; D003 the data
can't be read; D005 the name of the data makes no sense.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from azc.data import hub, pydocs
from azc.diagnostics import RunError, UsageError

__all__ = ["Corpus", "load_corpus"]

TEXT_SUFFIXES = frozenset({".txt", ".text", ".md", ".markdown", ".rst", ".tex", ".org"})
TABLE_SUFFIXES = frozenset({".parquet", ".csv", ".tsv", ".json", ".jsonl"})
_LINES_A_DOCUMENT = 32  # where a file has no blank lines to divide it


@dataclass(frozen=True)
class Corpus:
    """Documents of text under a name; `fingerprint` is the sha256 of their contents."""

    name: str
    documents: tuple[str, ...]
    fingerprint: str


def load_corpus(spec: str, *, cache: Path | None = None) -> Corpus:
    """The corpus that `spec` names.

    `python` is the standard library's own documentation (kept in `cache` if given);
    `hf:NAME/CONFIG` is a data set of the Hugging Face hub or of this disk; all else
    is a path: a text file (`.gz` too), a table (parquet, csv, tsv, json, jsonl) or a
    folder of text files.

    Raises UsageError D005 for an empty specification, and RunError D001 to D004 where
    there is nothing, no text, no readable text, or a data set that does not load.
    """
    if not spec.strip():
        raise UsageError(
            "D005",
            "the data has an empty name",
            "name a text file, a folder, `python` or `hf:NAME/CONFIG`",
        )
    if spec == "python":
        return _corpus(spec, pydocs.documents(cache))
    if spec.startswith("hf:"):
        return _corpus(spec, hub.load(spec.removeprefix("hf:")))
    path = Path(spec)
    try:
        if path.is_dir():
            return _corpus(spec, _folder(path))
        if not path.exists():
            raise RunError(
                "D001",
                f"there is no data at {spec}",
                "name a text file, a folder, `python` or `hf:NAME/CONFIG`",
            )
        if path.suffix.lower() in TABLE_SUFFIXES:
            return _corpus(spec, hub.load_table(path))
        if not path.is_file():
            raise RunError("D003", f"{spec} is neither a file nor a directory")
        return _corpus(spec, _split(_read(path)))
    except OSError as error:
        raise RunError("D003", f"{spec} cannot be read: {error.strerror}") from error


def _corpus(name: str, texts: Iterable[str]) -> Corpus:
    documents = tuple(text for text in map(str.strip, texts) if text)
    if not documents:
        raise RunError(
            "D002", f"{name} holds no text", "name data with some sentences in it"
        )
    digest = hashlib.sha256()
    for document in documents:
        encoded = document.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return Corpus(name, documents, digest.hexdigest())


def _folder(folder: Path) -> list[str]:
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in TEXT_SUFFIXES and path.is_file()
    )
    if not paths:
        known = " ".join(sorted(TEXT_SUFFIXES))
        raise RunError(
            "D002",
            f"the folder {folder} holds no text file",
            f"text files are known by their endings: {known}",
        )
    return [_read(path) for path in paths]


def _read(path: Path) -> str:
    raw = path.read_bytes()
    if path.suffix.lower() == ".gz":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise RunError("D003", f"{path} is not a complete gzip file") from error
    if b"\0" in raw:
        raise RunError("D003", f"{path} is not text: it has zero bytes in it")
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise RunError(
            "D003",
            f"{path} is not UTF-8 text (byte {error.start})",
            "convert it first, for example with `iconv -t utf-8`",
        ) from error


def _split(text: str) -> list[str]:
    """Documents of one file: blocks between blank lines, or else groups of lines."""
    blocks = [block for block in re.split(r"\n[ \t]*\n", text) if block.strip()]
    if len(blocks) != 1:
        return blocks
    lines = text.strip().split("\n")
    return [
        "\n".join(lines[start : start + _LINES_A_DOCUMENT])
        for start in range(0, len(lines), _LINES_A_DOCUMENT)
    ]
