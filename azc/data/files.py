"""Text files and folders, read as documents.

A file is read anew whenever its documents are asked for, a chunk at a time.

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
# Of models and data sets of the Hugging Face hub: `datasets` passes them over, too.
_SETTINGS = frozenset(
    {"config.json", "dataset_dict.json", "dataset_info.json", "dataset_infos.json"}
)
_CHUNK = 2**20  # bytes


@dataclass(frozen=True)
class TextFile:
    """The documents of a text file in UTF-8, which may be compressed with gzip.

    Iterating raises RunError D003 for a file that can't be read or is no text.
    """

    path: Path
    division: str

    @property
    def size(self) -> int | None:
        """Bytes of text; None for a compressed file, where nobody knows."""
        return None if _is_packed(self.path) else self.path.stat().st_size

    def __iter__(self) -> Iterator[str]:
        return divided(self._chunks, self.division)

    def _chunks(self) -> Iterator[str]:
        """The text, with line ends as Unix has them."""
        held = ""
        for chunk in _decoded(self.path):
            text = held + chunk
            held = "\r" if text.endswith("\r") else ""
            yield text.removesuffix("\r").replace("\r\n", "\n")
        yield held


def _decoded(path: Path) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    done, mark = 0, "\ufeff"  # a byte order mark may stand before the first character
    try:
        for raw in _bytes(path):
            if b"\0" in raw:
                message = f"{path} is not text: it has zero bytes in it"
                raise RunError("D003", message)
            done += len(raw)
            if text := decoder.decode(raw):
                yield text.removeprefix(mark)
                mark = ""
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        # The decoder had kept the beginning of a character from the chunk before.
        place = done - len(error.object) + error.start
        raise RunError(
            "D003",
            f"{path} is not UTF-8 text (byte {place})",
            "convert it first, for example with `iconv -t utf-8`",
        ) from error


def _bytes(path: Path) -> Iterator[bytes]:
    """The content of a file, unpacked."""
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
    """Return what kind of file a name says: `.txt` for `a.TXT` and for `a.txt.gz`."""
    inner = path.with_suffix("") if _is_packed(path) else path
    return inner.suffix.lower()


def scan(folder: Path) -> tuple[list[Path], Mapping[str, int]]:
    """Find the texts and tables in a folder and in the folders below it.

    Hidden files and folders, whose names begin with a dot, are passed over.

    Returns:
        The files that are read, in order, and how many files are not, by the ends of
        their names (`.png`).

    Raises:
        RunError: D002 where there is no text or table.
        OSError: Where a folder can't be read.
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
            "files are read by the ends of their names: "
            f"{' '.join(sorted(TEXT_ENDINGS))}; {' '.join(sorted(TABLE_ENDINGS))}",
        )
    return sorted(found), dict(others)


def _raise(error: OSError) -> None:
    raise error
