"""What the checker says: every diagnostic beside a file that brings it up."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from azc.check.resolve import check_source
from azc.check.spaces import membership
from azc.diagnostics import Diagnostic, DiagnosticError, render
from azc.source import Source
from azc.syntax.parse import read_source
from tests.golden_files import GOLDEN, compare, golden_inputs

ROOT = Path(__file__).resolve().parents[2]


def told(source: Source) -> list[Diagnostic]:
    """Errors, or the warnings of a program without them."""
    try:
        return list(check_source(source).warnings)
    except DiagnosticError as error:
        return list(error.diagnostics)


@pytest.mark.parametrize("path", golden_inputs("check"), ids=lambda path: path.stem)
def test_golden(path: Path, update_goldens: bool) -> None:
    found = render(told(read_source(path, path.name))) + "\n"
    compare(path.with_suffix(".err"), found, update_goldens)


@pytest.mark.parametrize(
    "path", golden_inputs("membership"), ids=lambda path: path.stem
)
def test_membership_golden(path: Path, update_goldens: bool) -> None:
    program = check_source(read_source(path, path.name))
    blocks = []
    for space in program.spaces.values():
        for model in program.models.values():
            faults = membership(model, space)
            blocks.append(f"# {model.name} in {space.name}: {len(faults)} faults")
            if faults:
                blocks.append(render(faults))
    compare(path.with_suffix(".err"), "\n\n".join(blocks) + "\n", update_goldens)


# Codes

# Brought up by other tests: of files and of imports.
ELSEWHERE = {
    *("AZG004", "AZG005", "AZG120", "AZG122", "AZG123", "AZG124", "AZG125"),
    *("AZG501", "AZG506", "AZG508"),
}


def codes_used() -> set[str]:
    """Every code that the source can give."""
    texts = [path.read_text("utf-8") for path in (ROOT / "azc").rglob("*.py")]
    return {code for text in texts for code in re.findall(r'"(AZG\d{3})"', text)}


def test_every_code_has_a_golden() -> None:
    found = set()
    for path in GOLDEN.rglob("*.err"):
        text = path.read_text("utf-8")
        found.update(re.findall(r"^(?:error|warning)\[(AZG\d{3})\]", text, re.M))
    assert codes_used() - found - ELSEWHERE == set()
    assert found <= codes_used()


def test_every_code_is_documented() -> None:
    text = (ROOT / "docs" / "diagnostics.md").read_text("utf-8")
    rows = re.findall(r"^\| (AZG\d{3}) \| ([^|]+) \| ([^|]+) \|$", text, re.M)
    codes = [code for code, _, _ in rows]
    assert codes == sorted(codes_used())
    assert all(meaning.strip() and mend.strip() for _, meaning, mend in rows)


def test_messages_are_plain() -> None:
    for path in (GOLDEN / "check").glob("*.err"):
        for line in path.read_text("utf-8").splitlines():
            head = re.match(r"(?:error|warning)\[AZG\d{3}\]: (.*)", line)
            for word in (head[1],) if head else ():
                assert not word.endswith(".")
                assert "None" not in word
                assert "Shape(" not in word
                assert len(word) < 160
