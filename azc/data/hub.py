"""Datasets read with `datasets`: from the Hugging Face Hub, or tables on disk.

Codes: D002 the data contains no text; D003 the data cannot be read; D004 a data set of
the hub cannot be loaded; D005 the name of the data is invalid.
"""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from azc.data.documents import bounded
from azc.data.files import ending
from azc.diagnostics import RunError, UsageError

__all__ = ["NoText", "Rows", "load", "load_table"]

_COLUMNS = ("text", "sentence", "content", "document", "article", "body")
_BATCH = 64  # rows in memory at a time


class NoText(RunError):
    """A table without a text column."""


class Rows:
    """The text of each row of a dataset.

    It is the text column, or all string columns joined if no column has a well-known
    name.
    """

    def __init__(self, name: str, rows: Any) -> None:
        """Choose the columns.

        Raises:
            NoText: If the dataset has no text column.
            RunError: D002, if a text column has values that are not strings.
        """
        strings = [
            column
            for column, feature in rows.features.items()
            if getattr(feature, "dtype", None) in ("string", "large_string")
        ]
        if not strings:
            raise _without_text(name, rows)
        chosen = [column for column in _COLUMNS if column in strings][:1] or strings
        self._rows = rows.select_columns(chosen)
        self._columns = chosen

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[str]:
        for batch in self._rows.iter(batch_size=_BATCH):
            for values in zip(*(batch[name] for name in self._columns), strict=True):
                yield from bounded(["\n".join(str(value) for value in values if value)])


def load(name: str) -> Rows:
    """Load the dataset `NAME`, `NAME/CONFIG` or `OWNER/NAME/CONFIG`.

    Raises:
        UsageError: D005 for a name of another form.
        RunError: D002 for a dataset without a text column, D004 for one that can't be
            loaded.
    """
    parts = name.split("/")
    if name and Path(name).exists():
        attempts: list[tuple[str, str | None]] = [(name, None)]
    elif not all(parts) or len(parts) > 3:
        raise UsageError(
            "D005",
            f"hf:{name} is not the name of a dataset",
            "write hf:NAME, hf:NAME/CONFIG or hf:OWNER/NAME/CONFIG",
        )
    elif len(parts) == 3:
        attempts = [("/".join(parts[:2]), parts[2])]
    elif len(parts) == 2:
        attempts = [(name, None), (parts[0], parts[1])]
    else:
        attempts = [(name, None)]
    reasons = []
    for path, config in attempts:
        try:
            return _read(f"hf:{name}", path, config)
        except RunError:
            raise
        except Exception as error:  # loaders raise exceptions of any type
            reasons.append(_first_line(error))
    raise RunError(
        "D004",
        f"the dataset hf:{name} could not be loaded: {reasons[-1]}",
        "check the name, and that the Hub is reachable or the dataset is cached",
    )


def load_table(path: Path) -> Rows | list[str]:
    """Load a parquet, csv, tsv, json or jsonl file, which may be compressed with gzip.

    Raises:
        NoText: For a table without a text column.
        RunError: D002 if a text column has values that are not strings, D003 if the
            file can't be read.
    """
    if path.stat().st_size == 0:
        return []
    kind = ending(path).lstrip(".")
    options: dict[str, Any] = {"data_files": str(path)}
    if kind == "tsv":
        options |= {"delimiter": "\t", "quoting": 3, "keep_default_na": False}
    builder = {"tsv": "csv", "jsonl": "json"}.get(kind, kind)
    try:
        return _read(str(path), builder, None, **options)
    except RunError:
        raise
    except Exception as error:  # readers raise exceptions of any type
        reason = _first_line(error)
        if kind == "jsonl":
            reason = _wrong_row(path) or reason
        raise RunError("D003", f"{path} can't be read as {kind}: {reason}") from error


def _read(name: str, path: str, config: str | None, **options: Any) -> Rows:
    import datasets

    with _quiet(), tempfile.TemporaryDirectory() as folder:
        # Local files need no copy in the cache of `datasets`, which may be full,
        # read-only, or damaged by a killed process. The copy made here is mapped into
        # memory, so it stays readable after its folder is deleted.
        if options or Path(path).exists():
            options["cache_dir"] = folder
        loaded = datasets.load_dataset(path, config, **options)
        split = "train" if "train" in loaded else next(iter(loaded))
        return Rows(name, loaded[split])


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep `datasets` from printing. Its errors are reported through exceptions."""
    import datasets

    verbosity = datasets.logging.get_verbosity()
    bars = datasets.is_progress_bar_enabled()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(verbosity)
        if bars:
            datasets.enable_progress_bars()


def _without_text(name: str, rows: Any) -> RunError:
    """Create the error of a dataset without a text column; name the row at fault, if
    there is one.
    """
    for column in _COLUMNS:
        if column not in rows.features:
            continue
        for number, row in enumerate(rows.select_columns([column]), start=1):
            value = row[column]
            if value is not None and not isinstance(value, str):
                message = f"{name}, row {number}: `{column}` is {value!r}, not a string"
                return RunError("D002", message, "every row needs a string, or nothing")
    columns = ", ".join(rows.features)
    return NoText("D002", f"{name} has no text column (its columns: {columns})")


def _wrong_row(path: Path) -> str | None:
    """Describe the first line of a JSON Lines file that is not a JSON object, if there
    is one.
    """
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                return f"line {number}: {getattr(error, 'msg', error)}"
            if not isinstance(row, dict):
                return f"line {number} is not a JSON object"
    return None


def _first_line(error: Exception) -> str:
    # `datasets` wraps the reason: the cause says more than "an error occurred".
    cause = error.__cause__ or error
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__
