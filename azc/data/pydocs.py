"""The docstrings and help topics of the Python standard library as documents."""

from __future__ import annotations

import ast
import hashlib
import json
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from azc.data.store import kept

__all__ = ["documents"]

_FORMAT = 2  # raise it when the content of documents, or the file format, changes
_SKIPPED = frozenset(
    "__pycache__ site-packages dist-packages lib-dynload test tests idle_test idlelib "
    "lib2to3 turtledemo ensurepip encodings distutils pydoc_data".split()
)


def documents(cache: Path | None = None) -> list[str]:
    """Return one document for each module or class, sorted by path, then the help
    topics.

    With a `cache` folder, the text is stored there, for this Python and these files.
    """
    root = Path(sysconfig.get_path("stdlib"))
    files = list(_files(root))
    if cache is None:
        return _parse(files)
    key = hashlib.sha256(f"{_FORMAT} {sys.version} {root}".encode())
    for path in files:
        found = path.stat()
        key.update(f"{path} {found.st_size} {found.st_mtime_ns}\n".encode())
    place = cache / f"python-{key.hexdigest()[:16]}.json"
    texts = json.loads(kept(place, lambda: json.dumps(_parse(files)).encode()))
    return [str(text) for text in texts]


def _files(root: Path) -> Iterator[Path]:
    for path in sorted(root.iterdir()):
        if path.name in _SKIPPED or path.name.startswith("config-"):
            continue
        if path.is_dir():
            yield from _files(path)
        elif path.suffix == ".py":
            yield path


def _parse(files: list[Path]) -> list[str]:
    from pydoc_data.topics import topics

    texts = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        for path in files:
            try:
                tree = ast.parse(path.read_bytes())
            except (OSError, SyntaxError, ValueError):
                continue  # a template, or a file for another version of Python
            texts += [
                _document(node)
                for node in ast.walk(tree)
                if isinstance(node, ast.Module | ast.ClassDef)
            ]
    texts.extend(topics[name] for name in sorted(topics))
    return [text for text in texts if text.strip()]


def _document(node: ast.Module | ast.ClassDef) -> str:
    """Join the docstrings of a module or a class and of the functions defined in it."""
    parts = [ast.get_docstring(node)]
    parts += [
        ast.get_docstring(inner)
        for inner in node.body
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return "\n\n".join(part for part in parts if part)
