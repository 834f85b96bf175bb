"""Commands that need no torch answer at once, because they do not import it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from azc.search.folder import RunFolder
from tests.runs import PROGRAM

HEAVY = ("torch", "transformers", "datasets", "tokenizers", "safetensors", "numpy")

CODE = """
import sys
sys.argv = ["azc", *{args!r}]
from azc.cli.main import main
try:
    main()
except SystemExit as end:
    assert end.code == {code}, end.code
print([name for name in sys.modules if "." not in name], file=sys.stderr)
"""


def imported(cwd: Path, args: list[str], code: int = 0) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(args=args, code=code)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(eval(done.stderr.strip().splitlines()[-1]))


@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["check", "good.azg"],
        ["check", "-v", "good.azg", "--space", "near_small"],
        ["fmt", "--check", "good.azg"],
        ["show", "good.azg", "--ir"],
        ["show", "std.models:gpt2"],
        ["explain", "std.attention:linear_attention"],
        ["diff", "good.azg", "std.models:bert_tiny"],
        ["evolve", "--help"],
        ["report", "--help"],
        ["best", "--help"],
    ],
    ids=" ".join,
)
def test_light_commands(tmp_path: Path, good: str, args: list[str]) -> None:
    found = imported(tmp_path, args)
    assert "azc" in found
    assert not found & set(HEAVY)


def test_check_and_fmt_need_no_rich(tmp_path: Path, good: str) -> None:
    for command in ("check", "fmt"):
        assert "rich" not in imported(tmp_path, [command, good])


def test_errors_are_told_as_fast(tmp_path: Path) -> None:
    (tmp_path / "bad.azg").write_text("attention a(q) { return x }")
    assert not imported(tmp_path, ["check", "bad.azg"], code=1) & {*HEAVY, "rich"}


AT_TORCH = """
import sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Finder())
from azc.cli.main import main
main()
"""


def test_a_search_is_there_before_torch_is_imported(tmp_path: Path) -> None:
    """And goes on where it was interrupted there."""
    (tmp_path / "tiny.azg").write_text(PROGRAM)
    loading = "the run in run: loading PyTorch and the data (task:recall)"
    for words, does in (
        (["evolve", "tiny.azg", "--data", "task:recall", "-o", "run"], "starting"),
        (["resume", "run"], "continuing"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", AT_TORCH, *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr.splitlines() == [
            f"{does} {loading}",
            "to continue: azc resume run",
            "interrupted",
        ]
        assert done.returncode == 130
    run = RunFolder(tmp_path / "run")
    assert run.options(run.read()).data == "task:recall"


def test_compile_does_need_torch(tmp_path: Path, good: str) -> None:
    assert "torch" in imported(tmp_path, ["compile", good, "-o", "out"])
