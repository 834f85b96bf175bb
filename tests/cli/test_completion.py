"""What a shell completes, as the shells ask for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import azc as package
from azc.cli.app import app
from azc.cli.completion import complete
from azc.search.strategies.choose import STRATEGIES
from tests.cli.conftest import GOOD

Offered = Callable[..., list[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Programs, a run, and what is neither."""
    for name in (
        "good.azg",
        "goods/one.azg",
        "goods/two.azg",
        "other.txt",
        ".good.azg",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(GOOD)
    (tmp_path / "good.azg").write_text(GOOD + "\nmodel larger { layers { sdpa } }\n")
    (tmp_path / "runs" / "first").mkdir(parents=True)
    (tmp_path / "runs" / "first" / "run.json").write_text("{}")
    (tmp_path / "runs" / "none").mkdir()
    return tmp_path


@pytest.fixture
def offered(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Offered:
    """What is offered for the last word of a command line, as a shell splits it."""
    monkeypatch.chdir(folder)

    def ask(line: str, shell: str = "bash") -> list[str]:
        environment = {"_AZC_COMPLETE": f"complete_{shell}"}
        if shell == "bash":
            words: list[str] = []
            for word in line.split(" "):
                parts = word.replace(":", "\n:\n").split("\n")
                # Nothing stands behind a colon that ends the line.
                words += [part for part in parts if part or len(parts) == 1]
            environment["COMP_WORDS"] = "\n".join(words)
            environment["COMP_CWORD"] = str(len(words) - 1)
        else:
            environment["_TYPER_COMPLETE_ARGS"] = line
            environment["_TYPER_COMPLETE_FISH_ACTION"] = "get-args"
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            complete(partial(app, prog_name="azc"))
        assert not ended.value.code
        return [each for each in capsys.readouterr().out.splitlines() if each]

    return ask


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("azc check go", ["good.azg", "goods/one.azg", "goods/two.azg"]),
        ("azc diff good.azg goods/t", ["goods/two.azg"]),
        ("azc show std.mod", ["std.models"]),
        # Of what stands behind a colon, bash replaces that alone.
        ("azc show good.azg:s", ["softplus_key", "small"]),
        ("azc show good.azg:", ["softplus_key", "small", "larger"]),
        ("azc diff good.azg:small good.azg:la", ["larger"]),
        ("azc compile good.azg --model la", ["larger"]),
        (
            "azc compile --model larger goo",
            ["good.azg", "goods/one.azg", "goods/two.azg"],
        ),
        ("azc show std.models --model gpt", ["gpt2"]),
        ("azc evolve good.azg --space ne", ["near_small"]),
        ("azc log ru", ["runs/first"]),
        ("azc ops softm", ["softmax"]),
        ("azc help di", ["diff"]),
        # The shell completes what files there are.
        ("azc check oth", []),
        ("azc nothing x", []),
    ],
)
def test_bash(offered: Offered, line: str, expected: list[str]) -> None:
    assert offered(line) == expected


def test_strategies(offered: Offered) -> None:
    found = offered("azc evolve good.azg --strategy ")
    assert found == list(STRATEGIES)


def test_other_shells(offered: Offered) -> None:
    assert offered("azc show good.azg:sm", "fish") == ["good.azg:small"]
    (found,) = offered("azc show good.azg:sm", "zsh")
    assert "good.azg\\\\:small" in found
    (found,) = offered("azc ops softm", "fish")
    assert found.startswith("softmax\teˣ divided by the sum")


def test_a_real_bash(folder: Path) -> None:
    """The script that is installed, in the shell that it is for."""
    (folder / "bin").mkdir()
    script = folder / "bin" / "azc"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m azc "$@"\n')
    script.chmod(0o755)
    commands = """
    source <(azc --show-completion bash)
    complete -p azc
    COMP_WORDS=(azc compile good.azg : la) COMP_CWORD=4
    _azc_completion azc
    printf '%s\\n' "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "-c", commands],
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{script.parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(Path(package.__file__).parents[1]),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    installed, *found = done.stdout.splitlines()
    assert installed == "complete -o default -F _azc_completion azc"
    assert found == ["larger"]
