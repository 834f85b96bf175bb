"""Shell completion of programs, their declarations, runs, operations and so on.

Where nothing is offered, the shell completes file names itself.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import typer

from azc import api
from azc.diagnostics import DiagnosticError
from azc.resources import stdlib_folder
from azc.syntax import ast
from azc.syntax.parse import read_source, read_text

__all__ = [
    "attentions",
    "commands",
    "complete",
    "models",
    "operations",
    "programs",
    "runs",
    "spaces",
    "strategies",
]

_MOST = 1_000  # entries of a folder that are examined
_SPLIT = (
    "COMP_WORDS",
    "COMP_CWORD",
)  # set by bash: the words, and the current one's index
_WHOLE = "_TYPER_COMPLETE_ARGS"  # set by the other shells

_Named = ast.Attention | ast.Model | ast.Space


def complete(run: Callable[[], None]) -> None:
    """Complete the command line that the environment variables describe.

    `run` starts the application, which writes the completions to standard output. Bash
    splits words at colons, although FILE:NAME is one argument. So the words are joined
    again, and the part before the colon is removed from each completion for bash.
    """
    words, place = (
        os.environ.get(_SPLIT[0], "").split("\n"),
        os.environ.get(_SPLIT[1], ""),
    )
    prefix = ""
    if ":" in words and place.isdigit():
        joined, at = _joined(words, int(place))
        os.environ.update(zip(_SPLIT, ("\n".join(joined), str(at)), strict=True))
        prefix = "".join(joined[at].rpartition(":")[:2]) if at < len(joined) else ""
    kept = StringIO()
    try:
        with redirect_stdout(kept):
            run()
    finally:
        lines = (line.removeprefix(prefix) for line in kept.getvalue().splitlines())
        sys.stdout.write("".join(f"{line}\n" for line in lines))


def _joined(words: list[str], place: int) -> tuple[list[str], int]:
    """Join words around a colon; return them and the new index of the word at
    `place`.
    """
    found: list[str] = []
    at = place
    for index, word in enumerate(words):
        if index and ":" in (word, words[index - 1]):
            found[-1] += word
        else:
            found.append(word)
        if index == place:
            at = len(found) - 1
    return found, at


def _typed() -> list[str]:
    """Return the words of the command line to complete."""
    if _WHOLE in os.environ:
        return os.environ[_WHOLE].split()
    return os.environ.get(_SPLIT[0], "").split("\n")


def _matching(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


# Files


def programs(incomplete: str) -> list[str]:
    """Offer `.azg` files, the standard library, and FILE:NAME behind a colon."""
    file, colon, name = incomplete.rpartition(":")
    if colon:
        return [f"{file}:{each}" for each in _matching(_declared(file), name)]
    library: list[str] = []
    if incomplete and "std.".startswith(incomplete[:4]):
        files = sorted(stdlib_folder().glob("*.azg"))
        library = _matching([f"std.{each.stem}" for each in files], incomplete)
    return [*library, *_entries(incomplete, _is_program)]


def runs(incomplete: str) -> list[str]:
    """Offer the folders of runs."""
    return _entries(incomplete, _is_run)


def _is_program(path: Path) -> bool:
    return path.suffix == ".azg" and path.is_file()


def _is_run(path: Path) -> bool:
    return (path / "run.json").is_file()


def _entries(incomplete: str, wanted: Callable[[Path], bool]) -> list[str]:
    """Return the matching entries that `wanted` accepts.

    They are in the folder typed so far, and in the folders whose names match.
    """
    folder, _, prefix = incomplete.rpartition("/")
    before = f"{folder}/" if incomplete.startswith("/") or folder else ""
    found: list[str] = []
    for path in _inside(Path(before or ".")):
        if not path.name.startswith(prefix):
            continue
        if wanted(path):
            found.append(before + path.name)
        elif path.is_dir():
            inside = filter(wanted, _inside(path))
            found.extend(f"{before}{path.name}/{each.name}" for each in inside)
    return found


def _inside(folder: Path) -> list[Path]:
    """Return the visible entries of a folder, sorted."""
    try:
        with os.scandir(folder) as entries:
            names = [
                entry.name for _, entry in zip(range(_MOST), entries, strict=False)
            ]
    except OSError:
        return []
    return [folder / name for name in sorted(names) if not name.startswith(".")]


# Declarations of files


def _declared(
    file: str, kinds: tuple[type[_Named], ...] = (ast.Model, ast.Attention)
) -> list[str]:
    try:
        path, shown = api.find_file(file)
        reading = read_text(read_source(path, shown))
    except DiagnosticError:
        return []
    nodes = reading.file.declarations if reading.file else ()
    return [node.name for node in nodes if isinstance(node, kinds)]


def _of_file(kind: type[_Named], incomplete: str) -> list[str]:
    """Complete names of one kind from the first program on the command line."""
    for word in _typed()[2:]:
        file = re.sub(r":[a-z_0-9]*\Z", "", word)
        names = [] if word.startswith("-") else _declared(file, (kind,))
        if names:
            return _matching(names, incomplete)
    return []


def models(incomplete: str) -> list[str]:
    """Offer the models of the file named earlier on the command line."""
    return _of_file(ast.Model, incomplete)


def attentions(incomplete: str) -> list[str]:
    """Offer the attention programs of the file named earlier on the command line."""
    return _of_file(ast.Attention, incomplete)


def spaces(incomplete: str) -> list[str]:
    """Offer the search spaces of the file named earlier on the command line."""
    return _of_file(ast.Space, incomplete)


# Names that azc knows


def operations(incomplete: str) -> list[tuple[str, str]]:
    """Offer operations, each with its meaning."""
    from azc.ops.table import load_ops

    known = load_ops()
    return [(name, known[name].doc) for name in _matching(known, incomplete)]


def strategies(incomplete: str) -> list[str]:
    """Offer the strategies of a search."""
    from azc.search.strategies.choose import STRATEGIES

    return _matching(STRATEGIES, incomplete)


def commands(context: typer.Context, incomplete: str) -> list[str]:
    """Offer the commands."""
    root = context.find_root().command
    return _matching(getattr(root, "commands", {}), incomplete)
