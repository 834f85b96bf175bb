"""What `make` does to folders that are not its own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

# A Python that can't make environments, as where venv is a package of its own.
PYTHON = """#!/bin/sh
case "$1" in
    -c) exit 0 ;;
    --version) echo Python 3.11.0 ;;
    *) mkdir -p "$3/bin"; exit 1 ;;
esac
"""


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_an_environment_that_fails_takes_nothing_along(
    tmp_path: Path, root: Path
) -> None:
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    kept = tmp_path / "there" / "notes.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    for name in ("there", "new"):
        venv = tmp_path / name
        done = subprocess.run(
            ["make", f"VENV={venv}", f"PYTHON={python}", f"{venv}/bin/python"],
            cwd=root,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2
        assert "could not make a virtual environment" in done.stderr
    assert kept.read_text() == "mine"
    assert not (tmp_path / "new").exists()
