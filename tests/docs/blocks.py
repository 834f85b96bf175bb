"""The code blocks of a page, run in order in one folder as a reader would run them.

A comment in front of a block says what the page does not show: `<!-- file: mine.azg -->`
stores the block in that file, `<!-- with: --steps 2 -->` adds arguments to its searches so
that they take seconds, `<!-- not run: REASON -->` leaves it out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Block", "Folder", "blocks"]

_BLOCK = re.compile(
    r"^(?:<!-- (?P<order>file|with|not run): (?P<words>[^\n]*) -->\n+)?"
    r"```(?P<language>[^\n`]*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_COMMAND = "$ "
_SECONDS = 300


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the comment in front of it, its line."""

    language: str
    text: str
    order: str | None
    words: str
    line: int


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            match["language"].strip(),
            match["text"],
            match["order"],
            match["words"] or "",
            text.count("\n", 0, match.start("language")) + 1,
        )
        for match in _BLOCK.finditer(text)
    ]


@dataclass
class Folder:
    """The folder of one page, and the names that its Python blocks have bound."""

    path: Path
    environment: Mapping[str, str]
    names: dict[str, Any]

    def run(self, block: Block) -> None:
        """Run a block, and compare what it prints with what the page shows."""
        if block.order == "not run":
            return
        if block.order == "file":
            file = self.path / block.words
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            exec(compile(block.text, f"line {block.line}", "exec"), self.names)
        elif block.language == "console":
            for command, shown in _commands(block.text):
                self._command(command, shown, block.words)

    def _command(self, command: str, shown: str, words: str) -> None:
        if words and command.startswith(("azc evolve", "azc resume")):
            # In front of a comment, which would hide them.
            program, mark, comment = command.partition("  #")
            command = f"{program.rstrip()} {words} {mark}{comment}"
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.path,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        told = done.stdout + done.stderr
        faulty = re.match(r"(error|warning)\b", shown) is not None
        assert done.returncode == int(shown.startswith("error")), f"{command}\n{told}"
        if shown:
            printed = told if faulty else done.stdout
            assert _matches(shown, printed), f"{command}\n{printed}"


def _commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command of a console block with the output below it."""
    command, shown = "", ""
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith(_COMMAND):
            if command:
                yield command, shown
            command, shown = line.removeprefix(_COMMAND), ""
            while command.endswith("\\"):
                command = command[:-1] + next(lines).strip()
        else:
            shown += line + "\n"
    if command:
        yield command, shown


def _matches(shown: str, printed: str) -> bool:
    """Whether the output is as shown, where `…` stands for anything, lines included."""
    parts = [re.escape(_bare(part)) for part in _bare(shown).split("…")]
    return re.fullmatch(r"(?s:.*?)".join(parts), _bare(printed)) is not None


def _bare(text: str) -> str:
    lines = [line.rstrip() for line in text.splitlines()]
    return "\n".join(line for line in lines if line)


def environment(cache: Path) -> dict[str, str]:
    """Return a reader's shell: azc on the path, its cache, 88 columns, an author in git."""
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "AZC_CACHE": str(cache),
        "COLUMNS": "88",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "NO_COLOR": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{who}_NAME": "A reader" for who in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{who}_EMAIL": "reader@example.org" for who in ("AUTHOR", "COMMITTER")},
    }
