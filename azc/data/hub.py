"""Data sets read by `datasets`: of the Hugging Face hub, or tables on this disk.

Codes: D002 the data holds no text; D003 the data can't be read; D004 a data set of the
hub can't be loaded; D005 the name of the data makes no sense.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from azc.diagnostics import RunError, UsageError

__all__ = ["load", "load_table"]

_COLUMNS = ("text", "sentence", "content", "document", "article", "body")


def load(name: str) -> list[str]:
    """Rows of text of `NAME`, `NAME/CONFIG` or `OWNER/NAME/CONFIG`.

    Raises UsageError D005 for a name of another form, RunError D002 for a data set
    without a column of text and D004 for one that does not load.
    """
    parts = name.split("/")
    if name and Path(name).exists():
        attempts: list[tuple[str, str | None]] = [(name, None)]
    elif not all(parts) or len(parts) > 3:
        raise UsageError(
            "D005",
            f"hf:{name} is not the name of a data set",
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
        except Exception as error:  # its loaders raise what they like
            reasons.append(_first_line(error))
    raise RunError(
        "D004",
        f"the data set hf:{name} could not be loaded: {reasons[-1]}",
        "check the name, and that this machine reaches the hub or has it in its cache",
    )


def load_table(path: Path) -> list[str]:
    """Rows of text of a parquet, csv, tsv, json or jsonl file; raises as `load`."""
    kind = path.suffix.lower().lstrip(".")
    options: dict[str, Any] = {"data_files": str(path)}
    if kind == "tsv":
        options |= {"delimiter": "\t", "quoting": 3, "keep_default_na": False}
    builder = {"tsv": "csv", "jsonl": "json"}.get(kind, kind)
    try:
        return _read(str(path), builder, None, **options)
    except RunError:
        raise
    except Exception as error:
        raise RunError(
            "D003", f"{path} cannot be read as {kind}: {_first_line(error)}"
        ) from error


def _read(name: str, path: str, config: str | None, **options: Any) -> list[str]:
    import datasets

    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        # What is on this disk needs no copy in the cache of `datasets`, which may be
        # full, write-protected, or damaged by a kill.
        if options or Path(path).exists():
            options["cache_dir"] = folder
        loaded = datasets.load_dataset(path, config, **options)
        split = "train" if "train" in loaded else next(iter(loaded))
        return list(_texts(name, loaded[split]))


def _texts(name: str, rows: Any) -> Iterator[str]:
    """The column of text, or all columns of strings joined where none stands out."""
    strings = [
        column
        for column, feature in rows.features.items()
        if getattr(feature, "dtype", None) in ("string", "large_string")
    ]
    if not strings:
        raise RunError(
            "D002",
            f"{name} has no column of text (its columns: {', '.join(rows.features)})",
        )
    chosen = [column for column in _COLUMNS if column in strings][:1] or strings
    return (
        "\n".join(str(row[column]) for column in chosen if row[column]) for row in rows
    )


def _first_line(error: Exception) -> str:
    # `datasets` wraps the reason: the cause says more than "an error occurred".
    cause = error.__cause__ or error
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__
