"""Every fault ends in a message and an exit code: the real command, in a process."""

from __future__ import annotations

import os
import platform
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import azc as package
from azc import api
from azc.diagnostics import InternalError
from tests.cli.conftest import Azc

Write = Callable[[str, str], str]
AZC = [sys.executable, "-m", "azc"]


def run(*args: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*AZC, *args],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )


def test_exit_codes(tmp_path: Path, good: str, write: Write) -> None:
    assert run("check", good, cwd=tmp_path).returncode == 0
    bad = write("bad.azg", "attention a(q) { return x }")
    found = run("check", bad, cwd=tmp_path)
    assert found.returncode == 1
    assert found.stdout == ""
    assert found.stderr.startswith("error[AZG101]: unknown name `x`")
    found = run("chek", cwd=tmp_path)
    assert found.returncode == 2
    assert "check" in found.stderr
    assert "Traceback" not in found.stderr


def test_the_version(tmp_path: Path) -> None:
    found = run("--version", cwd=tmp_path)
    assert (found.returncode, found.stdout) == (0, f"azc {package.__version__}\n")


def test_nobody_reads_on(tmp_path: Path) -> None:
    command = f"{' '.join(AZC)} show std.models:bert_base --code --ir"
    done = subprocess.run(
        ["bash", "-c", f"{command} | true; echo ${{PIPESTATUS[0]}}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout == "0\n"


def test_standard_output_is_full(tmp_path: Path, good: str) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*AZC, "show", good],
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "no space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_interrupted(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*AZC, "check", "-"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # Until it waits for its input: a read (system call 0) of file 0.
    system_call = Path(f"/proc/{process.pid}/syscall")
    if platform.machine() != "x86_64" or not system_call.exists():
        process.kill()
        pytest.skip("can't see what a process waits for here")
    while not system_call.read_text().startswith("0 0x0 "):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err


def test_a_terminal_without_the_characters(tmp_path: Path, good: str) -> None:
    found = run("show", good, cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert found.returncode == 0
    assert "2 ? 872" in found.stdout


def on_terminal(*args: str, cwd: Path, **env: str) -> str:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
    process = subprocess.Popen(
        [*AZC, *args],
        cwd=cwd,
        env={**environment, "TERM": "xterm-256color", **env},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    found = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # how Linux tells that the other end is closed
            break
        if not part:
            break
        found += part
    process.wait()
    os.close(ours)
    return found.decode()


@pytest.mark.parametrize("command", ["check", "show", "diff"])
def test_colours_on_terminals_only(
    tmp_path: Path, good: str, write: Write, command: str
) -> None:
    bad = write("bad.azg", "attention a(q) { return x }")
    args = {
        "check": ["check", bad],
        "show": ["show", good],
        "diff": ["diff", good, "std.models:bert_tiny"],
    }[command]
    assert "\x1b[" in on_terminal(*args, cwd=tmp_path)
    assert "\x1b" not in on_terminal(*args, cwd=tmp_path, NO_COLOR="1")
    assert "\x1b" not in on_terminal(*args, cwd=tmp_path, TERM="dumb")
    piped = run(*args, cwd=tmp_path)
    assert "\x1b" not in piped.stdout + piped.stderr


def _broken(*args: object) -> None:
    raise InternalError("the sum is off")


def _odd(*args: object) -> None:
    raise ValueError("odd")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (_broken, "please report it: the sum is off"),
        (_odd, "report it: ValueError: odd"),
    ],
)
def test_bugs_say_that_they_are_bugs(
    azc: Azc,
    good: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    fault: Callable[..., None],
    words: str,
) -> None:
    monkeypatch.setattr(api, "find_file", fault)
    found = azc("check", good)
    assert found.code == 1
    assert "error[X001]: internal error, " in found.err
    assert words in found.err
    assert "AZC_DEBUG=1" in found.err
    assert azc("check", "--json", good).json["error"]["code"] == "X001"


def test_a_traceback_where_it_is_asked_for(
    tmp_path: Path, good: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import azc.api, sys\n"
        "azc.api.find_file = None\n"
        f"sys.argv = ['azc', 'check', {good!r}]\n"
        "from azc.cli.main import main\n"
        "main()\n"
    )
    for debug, shown in (("", False), ("1", True)):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, "AZC_DEBUG": debug},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert ("Traceback" in done.stderr) == shown
        assert "internal error, please report it: TypeError" in done.stderr


def test_json_of_wrong_usage(azc: Azc) -> None:
    found = azc("show", "std.models:nothing", "--json")
    assert found.code == 2
    error = found.json["error"]
    assert error["code"] == "U101"
    assert error["message"] == "std/models.azg has no model `nothing`"
    assert error["help"].startswith("it has: bert_tiny, ")
    found = azc("show", "nothing.azg", "--json")
    assert found.code == 1
    assert found.json["diagnostics"][0]["code"] == "AZG005"


@pytest.mark.parametrize(
    "command", ["check", "fmt", "show", "compile", "diff", "evolve", "resume", "log"]
)
def test_help_has_an_example(azc: Azc, command: str) -> None:
    found = azc(command, "--help")
    assert found.code == 0
    assert f"azc {command} " in found.out.split("Options")[0].split("Usage")[1][40:]
    assert azc(command, "-h").out == found.out


def test_without_a_command_comes_the_help(azc: Azc) -> None:
    found = azc()
    assert found.code in (0, 2)
    assert "Write, check, compile and evolve attention programs." in (
        found.out + found.err
    )


def test_interrupted_while_a_text_is_executed() -> None:
    """As where a class is being made: CPython would end by the signal all the same."""
    program = """
import typer
from azc.cli.output import Command

app = typer.Typer()

@app.command(cls=Command)
def command() -> None:
    exec("raise KeyboardInterrupt")

app()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
