"""Docstrings of the public API say what a thing is or does, and the shapes of tensors."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "azc"
FILES = sorted(path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.py"))
CLAUSE = re.compile(
    r"\W*(what|whether|how|where|which|who|whom|whose|why|when)\b", re.IGNORECASE
)
NOUN_PHRASE = re.compile(r"\W*(the|a|an|that|those|each|it|one|all)\b", re.IGNORECASE)
TENSOR = re.compile(r"\bTensor\b")
SHAPE = re.compile(r"\[[^\]]*\w[^\]]*\]")  # [B, N], [outer, inner]

Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = Function | ast.ClassDef


def documented(module: ast.Module) -> Iterator[Documented]:
    """Yield all classes and functions, also private and nested ones."""
    for node in ast.walk(module):
        if isinstance(node, Documented):
            yield node


def public(body: list[ast.stmt]) -> Iterator[Documented]:
    """Yield public classes and functions, and those in public classes."""
    for node in body:
        if isinstance(node, Documented) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body)


def opens_with_a_clause(node: Documented | ast.Module) -> bool:
    return CLAUSE.match(ast.get_docstring(node) or "") is not None


def opens_with_a_noun_phrase(node: Documented) -> bool:
    """Return whether a function's docstring names a thing in place of an action.

    A property may: it is read like an attribute.
    """
    if isinstance(node, ast.ClassDef):
        return False
    if any("property" in ast.unparse(each) for each in node.decorator_list):
        return False
    return NOUN_PHRASE.match(ast.get_docstring(node) or "") is not None


def lacks_shapes(node: Documented) -> bool:
    """Return whether a function takes or returns tensors and its docstring has no
    shape.
    """
    if isinstance(node, ast.ClassDef):
        return False
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    types = [arg.annotation for arg in every] + [node.returns]
    if not any(each and TENSOR.search(ast.unparse(each)) for each in types):
        return False
    return SHAPE.search(ast.get_docstring(node) or "") is None


def faults(module: ast.Module) -> list[str]:
    """Describe all faults of the docstrings of a module."""
    found = ["the module opens with a clause"] if opens_with_a_clause(module) else []
    for node in documented(module):
        place = f"line {node.lineno}, {node.name}"
        if opens_with_a_clause(node):
            found.append(f"{place} opens with a clause")
        if opens_with_a_noun_phrase(node):
            found.append(f"{place} opens with a noun phrase, not a verb")
    bare = filter(lacks_shapes, public(module.body))
    found += [f"line {node.lineno}, {node.name} lacks shapes" for node in bare]
    return found


@pytest.mark.parametrize("path", FILES)
def test_docstrings_name_the_thing_and_tensors_have_shapes(path: str) -> None:
    module = ast.parse((ROOT / path).read_text("utf-8"))
    assert faults(module) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('def f(x: Tensor):\n    """Whether x [B, N] is real."""\n', True),
        ('def f(x: Tensor):\n    """Return whether x is real."""\n', True),
        ('def f(x: Tensor):\n    """Return whether x [B, N] is real."""\n', False),
        ('def f() -> torch.Tensor:\n    """Return a mask."""\n', True),
        ('class C:\n    """What a run has."""\n', True),
        ('class C:\n    """A run."""\n', False),
        ('class C:\n    def f(self):\n        """How it ends."""\n', True),
        ('def _f(x: Tensor):\n    """How it ends."""\n', True),
        ('def _f(x: Tensor):\n    """Return its end."""\n', False),
        ('def _f():\n    """The end."""\n', True),
        ('def f():\n    def g():\n        """The end."""\n', True),
        ('class C:\n    @property\n    def f(self):\n        """The end."""\n', False),
        ('"""How runs end."""\n', True),
        ('"""The end of runs."""\n', False),
    ],
)
def test_a_wrong_docstring_is_found(text: str, wrong: bool) -> None:
    assert bool(faults(ast.parse(text))) is wrong
