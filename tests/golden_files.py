"""Goldens: files in tests/golden that say what azc writes for the file beside them."""

from __future__ import annotations

from pathlib import Path

GOLDEN = Path(__file__).resolve().parent / "golden"


def golden_inputs(what: str) -> list[Path]:
    """The `.azg` files of a folder of goldens; an empty folder is an error."""
    found = sorted((GOLDEN / what).glob("*.azg"))
    assert found, f"tests/golden/{what} has no .azg files"
    return found


def compare(path: Path, found: str, update: bool) -> None:
    """Asserts that `path` says `found`, or with `update` writes it."""
    if update:
        path.write_text(found, encoding="utf-8", newline="")
    assert path.exists(), f"{path.name} is missing: run pytest --update-goldens"
    assert found == path.read_bytes().decode("utf-8")
