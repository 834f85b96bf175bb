"""The command line itself: help, version, wrong usage, colours."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import azc as package
from azc.cli.app import app
from tests.cli.conftest import Azc
from tests.cli.test_faults import on_terminal, run

Write = Callable[[str, str], str]
COMMANDS = [command.name for command in app.registered_commands]


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_the_version(azc: Azc, flag: str) -> None:
    found = azc(flag)
    assert (found.code, found.out) == (0, f"azc {package.__version__}\n")


@pytest.mark.parametrize("command", [*COMMANDS, None])
def test_help_is_that_of_the_option(azc: Azc, command: str | None) -> None:
    words = [] if command is None else [command]
    found = azc("help", *words)
    assert (found.code, found.err) == (0, "")
    assert found.out == azc(*words, "--help").out == azc(*words, "-h").out
    assert "Usage: azc" in found.out


def test_help_of_nothing(azc: Azc) -> None:
    found = azc("help", "chek")
    assert (found.code, found.out) == (2, "")
    assert "No such command" in found.err
    assert "check" in found.err


@pytest.mark.parametrize(
    ("words", "command", "message"),
    [
        (["check", "a.azg", "--jso", "--json"], "check", "No such option: --jso"),
        (["check", "--json"], "check", "Missing argument 'FILE'."),
        (["show", "a.azg", "--json", "--tokens", "x"], "show", "'--tokens'"),
        (["show", "a.azg", "--json", "--tokens", "0"], "show", "'--tokens'"),
        (["compile", "a.azg", "--json", "-o", "x", "--task", "t"], "compile", "--task"),
        (["diff", "a.azg", "--json"], "diff", "Missing argument 'NEW'."),
        (["chek", "--json"], "azc", "No such command 'chek'."),
        (["--json"], "azc", "No such option: --json"),
        (["serve", "x", "--json", "--port", "99999999"], "serve", "'--port'"),
        (["log", "--json"], "log", "Missing argument 'RUN'."),
        (["fmt", "\x1b[31m", "--\x1b[31m", "--json"], "fmt", "\\x1b[31m"),
    ],
)
def test_wrong_usage_as_json(
    azc: Azc, words: list[str], command: str, message: str
) -> None:
    found = azc(*words)
    assert found.code == 2
    answer = found.json
    assert answer["command"] == command
    assert answer["error"]["code"] == "U100"
    assert message in answer["error"]["message"]
    assert "\n" not in answer["error"]["message"]
    shown = answer["error"]["help"]
    assert "--help` shows the usage" in shown
    (path,) = re.findall(r"`(.*)`", shown)
    assert azc(*path.split()[1:]).code == 0


def test_a_file_may_be_called_so(azc: Azc) -> None:
    found = azc("check", "--", "--json")
    assert found.code == 1
    assert "can't read --json" in found.err


@pytest.mark.parametrize("code", [0, 1])
def test_json_ends_as_text_does(azc: Azc, good: str, write: Write, code: int) -> None:
    bad = write("bad.azg", "attention a(q) { return x }\n")
    file = bad if code else good
    assert azc("check", file).code == azc("check", file, "--json").code == code


def test_wrong_usage_in_a_process(tmp_path: Path) -> None:
    found = run("check", "--jsno", "--json", cwd=tmp_path)
    assert (found.returncode, found.stderr) == (2, "")
    assert json.loads(found.stdout)["ok"] is False


# Colours

COLOUR = "\x1b["


@pytest.mark.parametrize("command", ["check", "show", "diff", "ops"])
@pytest.mark.parametrize(
    ("environment", "coloured"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, True),
        ({"FORCE_COLOR": ""}, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colours_into_a_pipe(
    azc: Azc,
    good: str,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    environment: dict[str, str],
    coloured: bool,
) -> None:
    bad = write("bad.azg", "attention a(q) { return x }")
    words = {
        "check": ["check", bad],
        "show": ["show", good],
        "diff": ["diff", good, "std.models:bert_tiny"],
        "ops": ["ops"],
    }[command]
    for name, value in {"NO_COLOR": "", "FORCE_COLOR": "", **environment}.items():
        monkeypatch.setenv(name, value)
    found = azc(*words)
    assert (COLOUR in found.out + found.err) == coloured
    # A pipe has no width: rows are whole.
    if command == "ops":
        plain = re.sub(r"\x1b\[[0-9;]*m", "", found.out)
        assert "then every other slope of the next one\n" in re.sub(" +\n", "\n", plain)


def test_no_colours_on_a_terminal(tmp_path: Path, good: str) -> None:
    assert COLOUR not in on_terminal(
        "show", good, cwd=tmp_path, NO_COLOR="1", FORCE_COLOR="1"
    )
