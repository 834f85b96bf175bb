"""Text files and folders as documents.

A file is read again in each iteration over its documents, one chunk at a time.

Codes: D002 the data contains no text; D003 the data cannot be read.
"""

from __future__ import annotations

import codecs
import gzip
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from azc.data.documents import divided
from azc.diagnostics import RunError

__all__ = ["TABLE_ENDINGS", "TEXT_ENDINGS", "TextFile", "ending", "scan"]

TEXT_ENDINGS = frozenset({".txt", ".text", ".md", ".markdown", ".rst", ".tex", ".org"})
TABLE_ENDINGS = frozenset({".parquet", ".csv", ".tsv", ".json", ".jsonl"})
# Metadata of models and datasets on the Hugging Face Hub: `datasets` skips them, too.
_SETTINGS = frozenset(
    {"config.json", "dataset_dict.json", "dataset_info.json", "dataset_infos.json"}
)
_CHUNK = 2**20  # bytes


@dataclass(frozen=True)
class TextFile:
    """The documents of a UTF-8 text file, which may be compressed with gzip.

    Iterating raises RunError D003 for a file that can't be read or is not text.
    """

    path: Path
    division: str

    @property
    def size(self) -> int | None:
        """Bytes of text; None for a compressed file, whose size is not known in
        advance.
        """
        return None if _is_packed(self.path) else self.path.stat().st_size

    def __iter__(self) -> Iterator[str]:
        return divided(self._chunks, self.division)

    def _chunks(self) -> Iterator[str]:
        """Yield the text in chunks, with Unix line ends."""
        held = ""
        for chunk in _decoded(self.path):
            text = held + chunk
            held = "\r" if text.endswith("\r") else ""
            yield text.removesuffix("\r").replace("\r\n", "\n")
        yield held


def _decoded(path: Path) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    done, mark = 0, "\ufeff"  # a byte order mark may precede the first character
    try:
        for raw in _bytes(path):
            if b"\0" in raw:
                message = f"{path} is not text: it contains zero bytes"
                raise RunError("D003", message)
            done += len(raw)
            if text := decoder.decode(raw):
                yield text.removeprefix(mark)
                mark = ""
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        # The decoder may have buffered the start of a character from the last chunk.
        place = done - len(error.object) + error.start
        raise RunError(
            "D003",
            f"{path} is not UTF-8 text (byte {place})",
            "convert it first, for example with `iconv -t utf-8`",
        ) from error


def _bytes(path: Path) -> Iterator[bytes]:
    """Yield the content of a file, decompressed."""
    try:
        with gzip.open(path) if _is_packed(path) else path.open("rb") as file:
            while raw := file.read(_CHUNK):
                yield raw
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise RunError("D003", f"{path} is not a complete gzip file") from error
    except OSError as error:
        raise RunError("D003", f"{path} can't be read: {error.strerror}") from error


def _is_packed(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def ending(path: Path) -> str:
    """Return the file extension in lower case: `.txt` for `a.TXT` and for
    `a.txt.gz`.
    """
    inner = path.with_suffix("") if _is_packed(path) else path
    return inner.suffix.lower()


def scan(folder: Path) -> tuple[list[Path], Mapping[str, int]]:
    """Find the texts and tables in a folder and its subfolders.

    Hidden files and folders, whose names begin with a dot, are skipped.

    Returns:
        The files to read, sorted, and the number of other files by extension (`.png`).

    Raises:
        RunError: D002, if there is no text or table.
        OSError: If a folder can't be read.
    """
    known = TEXT_ENDINGS | TABLE_ENDINGS
    found: list[Path] = []
    others: Counter[str] = Counter()
    for place, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(place, name) for name in names if not name.startswith(".")):
            if path.name in _SETTINGS:
                others[path.name] += 1
            elif ending(path) in known and path.is_file():
                found.append(path)
            else:
                others[path.suffix.lower() or "no ending"] += 1
    if not found:
        raise RunError(
            "D002",
            f"the folder {folder} holds no text file and no table",
            "these file extensions are read: "
            f"{' '.join(sorted(TEXT_ENDINGS))}; {' '.join(sorted(TABLE_ENDINGS))}",
        )
    return sorted(found), dict(others)


def _raise(error: OSError) -> None:
    raise error
