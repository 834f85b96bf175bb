"""`python -m benchmarks`: every benchmark is in the list, and runs from there."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import BENCHMARKS, listing, main

# Modules that others share, and that have no command.
SHARED = {"__main__", "claims", "findings", "flexibert", "recall", "tables"}


def test_every_benchmark_is_listed(root: Path) -> None:
    modules = {file.stem for file in (root / "benchmarks").glob("*.py")} - SHARED
    assert modules == set(BENCHMARKS.values())
    for module in modules:
        tree = ast.parse((root / "benchmarks" / f"{module}.py").read_text("utf-8"))
        functions = [each.name for each in tree.body if hasattr(each, "name")]
        assert "main" in functions
        # The line of the list.
        first = (ast.get_docstring(tree) or "").split("\n", 1)[0]
        assert first.endswith((".", ":"))
        assert first in listing()


def test_a_benchmark_runs_with_its_options(root: Path) -> None:
    command = [sys.executable, "-m", "benchmarks"]
    ran = subprocess.run(
        [*command, "early-stopping", "--help"], cwd=root, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("usage: python -m benchmarks early-stopping [-h]")
    assert "--seeds" in ran.stdout


def test_another_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mutant"]) == 2
    assert "did you mean mutants?" in capsys.readouterr().err
    assert main([]) == 0
    assert "early-stopping" in capsys.readouterr().out
