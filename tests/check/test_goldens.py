"""What the checker says: every diagnostic beside a file that brings it up."""

from __future__ import annotations

import re
from collections import Counter
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


# Mends


def lines_of(diagnostic: Diagnostic) -> tuple[int, int]:
    """The lines that a diagnostic and its fix are about."""
    spans = [diagnostic.span, diagnostic.fix and diagnostic.fix.span]
    places = [(s.line, s.source.position(s.end)[0]) for s in spans if s]
    return min(first for first, _ in places), max(last for _, last in places)


def suggestions() -> list[object]:
    """Every fix of every golden."""
    found: list[object] = []
    for path in sorted(
        p for p in GOLDEN.rglob("*.azg") if p.with_suffix(".err").exists()
    ):
        for each in told(read_source(path, path.name)):
            where = f"{path.parent.name}/{path.stem}:{each.span and each.span.line}"
            offered = "did you mean" in (each.help or "")
            if each.fix is not None or offered:
                found.append(pytest.param(each, id=f"{where}:{each.code}"))
    assert len(found) > 100
    return found


@pytest.mark.parametrize("suggested", suggestions())
def test_every_suggestion_mends_what_it_is_for(suggested: Diagnostic) -> None:
    fix = suggested.fix
    assert fix is not None, "a mend is offered that no one can make"
    assert suggested.help is not None
    if "did you mean" in suggested.help and len(fix.text) <= 60:
        # Parentheses may be needed in the text around it.
        offered = suggested.help.split("`")[1]
        assert fix.text.strip("()") == offered.strip("()")
    source = fix.span.source
    before = told(source)
    first, last = lines_of(suggested)
    shift = fix.text.count("\n") - fix.span.text.count("\n")
    after = told(Source(source.name, fix.applied()))

    def here(found: list[Diagnostic], last: int) -> Counter[tuple[str, str]]:
        return Counter(
            (each.code, each.message)
            for each in found
            if each.severity == suggested.severity
            and each.span is not None
            and first <= each.span.line <= last
        )

    left = here(before, last)
    left[suggested.code, suggested.message] -= 1
    assert here(after, last + shift) <= left
    errors = [each for each in after if each.severity == "error"]
    assert len(errors) <= sum(each.severity == "error" for each in before)


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
