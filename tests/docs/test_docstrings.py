"""Docstrings of the public API say what a thing is or does, and the shapes of tensors."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Files and folders whose docstrings were revised.
FINISHED = (
    "azc/__init__.py",
    "azc/__main__.py",
    "azc/api.py",
    "azc/autoclasses.py",
    "azc/check",
    "azc/compare",
    "azc/diagnostics.py",
    "azc/facts",
    "azc/files.py",
    "azc/ir",
    "azc/mixing",
    "azc/model",
    "azc/numbers.py",
    "azc/ops",
    "azc/passes",
    "azc/resources.py",
    "azc/saved.py",
    "azc/scores",
    "azc/shapes.py",
    "azc/source.py",
    "azc/supernet",
    "azc/syntax",
    "azc/training",
)
CLAUSE = re.compile(r"\W*(what|whether|how|where|which|who|when)\b", re.IGNORECASE)
TENSOR = re.compile(r"\bTensor\b")
SHAPE = re.compile(r"\[[^\]]*\w[^\]]*\]")  # [B, N], [outer, inner]

Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = Function | ast.ClassDef


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Every revised module, by its path."""
    for name in FINISHED:
        path = ROOT / name
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        assert files, name
        for file in files:
            text = file.read_text("utf-8")
            yield file.relative_to(ROOT).as_posix(), ast.parse(text)


def public(body: list[ast.stmt]) -> Iterator[Documented]:
    """Public classes and functions, and those in public classes."""
    for node in body:
        if isinstance(node, Documented) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body)


def opens_with_a_clause(node: Documented | ast.Module) -> bool:
    return CLAUSE.match(ast.get_docstring(node) or "") is not None


def lacks_shapes(node: Documented) -> bool:
    """Whether a function takes or returns tensors and its docstring has no shape."""
    if isinstance(node, ast.ClassDef):
        return False
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    types = [arg.annotation for arg in every] + [node.returns]
    if not any(each and TENSOR.search(ast.unparse(each)) for each in types):
        return False
    return SHAPE.search(ast.get_docstring(node) or "") is None


MODULES = dict(modules())


@pytest.mark.parametrize("path", MODULES)
def test_docstrings_name_the_thing_and_tensors_have_shapes(path: str) -> None:
    module = MODULES[path]
    assert not opens_with_a_clause(module), path
    for node in public(module.body):
        place = f"{path}:{node.lineno} {node.name}"
        assert not opens_with_a_clause(node), place
        assert not lacks_shapes(node), place


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('def f(x: Tensor):\n    """Whether x [B, N] is real."""\n', True),
        ('def f(x: Tensor):\n    """Return whether x is real."""\n', True),
        ('def f(x: Tensor):\n    """Return whether x [B, N] is real."""\n', False),
        ('def f() -> torch.Tensor:\n    """Return a mask."""\n', True),
        ('class C:\n    """What a run has."""\n', True),
        ('class C:\n    def f(self):\n        """How it ends."""\n', True),
        ('def _f(x: Tensor):\n    """How it ends."""\n', False),
    ],
)
def test_a_wrong_docstring_is_found(text: str, wrong: bool) -> None:
    nodes = list(public(ast.parse(text).body))
    assert any(map(opens_with_a_clause, nodes)) | any(map(lacks_shapes, nodes)) is wrong
