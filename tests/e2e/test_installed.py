"""An installed wheel, outside the checkout: the command checks, compiles and evolves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

PROGRAM = """\
from std.attention import sdpa, softplus_key

model tiny {
    vocab = 200
    hidden = 16
    heads = 2
    ffn = 32
    residual = pre
    positions = none
    max_length = 16

    layers {
        sdpa
        softplus_key
    }
}

space near_tiny {
    start = tiny
    depth = 2

    attention {
        inputs = [q, k, v]
        ops = [neg, add, matmul, transpose, scale, softmax, softplus, tanh, logsigmoid]
    }

    conv {
        kernel = [3, 5]
    }
}
"""


@pytest.fixture(scope="module")
def azc(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of a fresh environment that has the wheel.

    Its dependencies are those of this environment, seen through a path file: it does not
    see the checkout, which is on this one's path by an editable installation.
    """
    folder = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
    _run([*build, "--outdir", str(folder), str(root)])
    (wheel,) = folder.glob("*.whl")
    env = folder / "env"
    _run([sys.executable, "-m", "venv", "--without-pip", str(env)])
    site = next(env.glob("lib/python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    command = ["install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    _run([*pip, "--python", str(env / "bin" / "python"), *command])
    return env / "bin" / "azc"


def _run(command: list[str], cwd: Path | None = None) -> str:
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_installed_command_checks_compiles_and_evolves(
    azc: Path, root: Path, tmp_path: Path
) -> None:
    where = "import azc; print(azc.__file__)"
    shown = _run([str(azc.parent / "python"), "-c", where], cwd=tmp_path)
    assert not Path(shown.strip()).is_relative_to(root)

    (tmp_path / "tiny.azg").write_text(PROGRAM)
    _run([str(azc), "check", "tiny.azg"], cwd=tmp_path)

    _run([str(azc), "compile", "tiny.azg", "-o", "model"], cwd=tmp_path)
    assert (tmp_path / "model" / "model.safetensors").is_file()

    text = "\n\n".join(
        f"Document {i} tells of attention, of {i} heads and of kernels."
        for i in range(60)
    )
    (tmp_path / "text.txt").write_text(text)
    small = "--evaluations 4 --round 4 --warm-up 4 --steps 2 --length 16 --batch 4"
    last = "--final-steps 2 --final-seeds 2 --contenders 2 --data text.txt -o run"
    out = _run(
        [str(azc), "evolve", "tiny.azg", *small.split(), *last.split(), "--json"],
        tmp_path,
    )
    result = json.loads(out)
    assert result["evaluations"] == {"spent": 4, "budget": 4, "failed": 0}
    rows = {row["role"]: row for row in result["comparison"]["rows"]}
    assert set(rows) == {"winner", "start", "random", "hand", "neighbour"}
    assert len(rows["start"]["losses"]) == 2
    assert (tmp_path / "run" / "best.azg").is_file()
    _run([str(azc), "check", "run/best.azg"], cwd=tmp_path)
