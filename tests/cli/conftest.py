"""The command line in this process, and programs to give it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from azc.cli.app import app

GOOD = """\
# Two layers.
from std.attention import sdpa

attention softplus_key(q, k) {
    key = -logsigmoid(-k)  # softplus
    return softmax(scale(q @ key.T)) @ (q + k)
}

model small {
    vocab = 50
    hidden = 8
    heads = 2
    max_length = 16

    layers {
        softplus_key
        repeat 2 {
            sdpa
        }
        conv(kernel = 3)
    }
}

space near_small {
    start = small
    depth = 3..5

    attention {
        inputs = [q, k, v]
        ops = [neg, transpose, scale, softmax, logsigmoid, add, matmul]
    }

    conv {
        kernel = [3, 5]
    }
}
"""


@dataclass(frozen=True)
class Answer:
    """What a command wrote and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Standard output as JSON; nothing is on standard error then."""
        assert self.err == ""
        found: dict[str, Any] = json.loads(self.out)
        assert found["azc"] == 1
        assert found["ok"] == (self.code == 0)
        return found


Azc = Callable[..., Answer]


@pytest.fixture
def azc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Azc:
    """Runs a command in a folder of its own; a traceback fails the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AZC_DEBUG", raising=False)

    def run(*args: str | Path, stdin: str | bytes | None = None) -> Answer:
        found = CliRunner().invoke(
            app, [str(arg) for arg in args], input=stdin, prog_name="azc"
        )
        assert found.exception is None or isinstance(found.exception, SystemExit)
        assert "Traceback" not in found.stderr
        return Answer(found.exit_code, found.stdout, found.stderr)

    return run


@pytest.fixture
def good(tmp_path: Path) -> str:
    """A file with nothing wrong in it, in canonical form."""
    (tmp_path / "good.azg").write_text(GOOD)
    return "good.azg"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], str]:
    """Writes a file beside; gives its name."""

    def put(name: str, text: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return name

    return put
