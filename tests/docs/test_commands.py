"""Every command that a text shows is there, with the options that it shows."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from azc.cli.app import app
from azc.numbers import in_seconds
from azc.search.options import EvolveOptions

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# In backticks, or a line that is typed.
SHOWN = re.compile(r"`(azc [^`]+)`|^\$ (azc (?:\\\n|[^\n])+)$", re.MULTILINE)
ROOT_COMMAND: Any = get_command(app)
# Options of a search whose fields have other names.
NAMES = {"round_size": "round", "batch_size": "batch", "objectives": "objective"}


def texts() -> Iterator[tuple[str, str]]:
    """Pages, and the strings of the source, with their places."""
    for page in PAGES:
        yield page.name, page.read_text("utf-8")
    for path in sorted((ROOT / "azc").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield path.name, node.value


def shown() -> list[tuple[str, str]]:
    """The commands, each once, and where one stands."""
    found = {
        " ".join((match[1] or match[2]).replace("\\\n", "").split()): place
        for place, text in texts()
        for match in SHOWN.finditer(text)
    }
    assert len(found) > 60
    return list(found.items())


def missing(command: str) -> list[str]:
    """What of a command line is not there."""
    line = command.split(" # ")[0].split(" | ")[0].split(" > ")[0]
    _, *words = shlex.split(line, comments=True)
    options = {option for param in ROOT_COMMAND.params for option in param.opts}
    options |= {"--help", "-h"}
    # `azc COMMAND --help` is said of all.
    if words and not words[0].startswith("-") and words[0].islower():
        name = words.pop(0)
        if name not in ROOT_COMMAND.commands:
            return [name]
        params = ROOT_COMMAND.commands[name].params
        options = {"--help", "-h", *(o for p in params for o in p.opts)}
    given = (word.split("=")[0] for word in words if re.match(r"-[-a-zA-Z]", word))
    return [option for option in given if option not in options]


@pytest.mark.parametrize(("command", "place"), shown())
def test_a_command_is_there(command: str, place: str) -> None:
    assert missing(command) == [], place


def test_what_is_not_there_is_found() -> None:
    assert missing("azc chek x.azg") == ["chek"]
    assert missing("azc check x.azg --jsno") == ["--jsno"]
    assert missing("azc show --tokens=3 x") == []
    assert missing("azc --verson") == ["--verson"]


def test_the_reference_has_every_option_of_a_search_with_its_default() -> None:
    page = (ROOT / "docs" / "search-reference.md").read_text("utf-8")
    rows = {
        option: default.strip()
        for names, default in re.findall(r"^\| (`-.*?) \| (.*?) \|", page, re.MULTILINE)
        for option in re.findall(r"--[a-z-]+", names)
    }
    defaults = EvolveOptions()
    params = [p for p in ROOT_COMMAND.commands["evolve"].params if p.opts[0] != "file"]
    options = {option: param for param in params for option in param.opts}
    assert set(rows) >= {option for option in options if option.startswith("--")} - {
        "--help"
    }
    for field in fields(EvolveOptions):
        option = "--" + NAMES.get(field.name, field.name.replace("_", "-"))
        value = getattr(defaults, field.name)
        if option not in rows or isinstance(value, bool) or not value:
            continue
        if field.name == "final_seeds":
            value = len(value)
        shown = rows[option].strip("`").split("`")[0]
        if field.name == "time_limit":
            shown = str(in_seconds(shown))
        same = (
            float(shown) == value if isinstance(value, float) else shown == str(value)
        )
        assert same or field.name == "objectives", option
