"""Codes of errors: each has one meaning, which the document and every module that uses it
tell in the same words.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = re.compile(r"[A-Z]\d{3}")
ROW = re.compile(r"^\| ([A-Z]\d{3}) \| ([^|]+) \|", re.MULTILINE)
TOLD = re.compile(r"([A-Z]\d{3}) (.+)")


def meanings() -> dict[str, str]:
    """What the document says that each code means."""
    page = (ROOT / "docs" / "diagnostics.md").read_text(encoding="utf-8")
    rows = ROW.findall(page)
    assert len({code for code, _ in rows}) == len(rows)
    return dict(rows)


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Every module of azc, by its path."""
    for path in sorted((ROOT / "azc").rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text("utf-8"))


def used(module: ast.Module) -> set[str]:
    """The codes that stand in the code of a module."""
    return {
        node.value
        for node in ast.walk(module)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and CODE.fullmatch(node.value)
    }


def told(module: ast.Module) -> dict[str, str]:
    """What a module says, in the paragraph `Codes:` of its docstring, that its codes
    mean.
    """
    text = " ".join((ast.get_docstring(module) or "").split())
    _, _, paragraph = text.partition("Codes: ")
    parts = filter(None, paragraph.removesuffix(".").split("; "))
    found = [TOLD.fullmatch(part) for part in parts]
    assert all(found), paragraph
    return {match[1]: match[2] for match in found if match}


MODULES = [(path, module) for path, module in modules() if used(module) or told(module)]


def test_every_code_is_in_the_document() -> None:
    raised = set().union(*(used(module) for _, module in MODULES))
    assert len(raised) > 60
    assert sorted(raised ^ meanings().keys()) == []


@pytest.mark.parametrize("module", dict(MODULES).values(), ids=dict(MODULES))
def test_a_code_means_the_same_wherever_it_is_used(module: ast.Module) -> None:
    known = meanings()
    assert told(module) == {code: known.get(code) for code in used(module)}
