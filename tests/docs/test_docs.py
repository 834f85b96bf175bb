"""The documents: programs in them check, tables are up to date, links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from azc.check.models import SETTINGS
from azc.check.resolve import check_source
from azc.diagnostics import render
from azc.mixing.convolution import CONV_KINDS, DEFAULT_KIND
from azc.ops.table import load_ops
from azc.source import Source
from azc.syntax.format import format_text

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LANGUAGE = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
# An opening fence with what it says, the text, and the closing fence.
FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# Sections that `python -m benchmarks` writes.
GENERATED = re.compile(r"<!-- generated: .*?<!-- end of", re.DOTALL)


def blocks(language: str) -> list[tuple[str, str]]:
    """Blocks of this language in all documents, with their place."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            if match[1].strip() == language:
                line = text.count("\n", 0, match.start()) + 1
                found.append((f"{page.name}:{line}", match[2]))
    return found


def test_the_documents_have_programs() -> None:
    assert len(blocks("azg")) >= 8


@pytest.mark.parametrize(("place", "text"), blocks("azg"))
def test_a_program_checks_without_warnings(place: str, text: str) -> None:
    warnings = check_source(Source(place, text)).warnings
    assert not warnings, render(warnings)


@pytest.mark.parametrize(("place", "text"), blocks("azg"))
def test_a_program_is_canonical(place: str, text: str) -> None:
    assert format_text(Source(place, text)) == text


def test_every_setting_is_in_the_reference() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", LANGUAGE, re.MULTILINE)
    told = {name: default.strip().strip("`") for name, default in rows}
    for name, (_, default) in SETTINGS.items():
        shown = str(default).lower() if isinstance(default, bool) else str(default)
        assert told[name] == ("4 · hidden" if default is None else shown)


def test_every_kind_of_convolution_is_in_the_reference() -> None:
    rows = []
    for kind in CONV_KINDS.values():
        name = f"`{kind.name}`" + (" (the default)" * (kind.name == DEFAULT_KIND))
        heads = "used" if kind.headed else "ignored"
        rows.append(f"| {name} | {kind.doc} | {heads} | {kind.source} |")
    head = "| kind | kernels | heads | source |\n|---|---|---|---|\n"
    assert head + "\n".join(rows) + "\n\n" in LANGUAGE


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_prose_is_wrapped(page: Path) -> None:
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    prose = re.sub(r"<!--.*-->", "", GENERATED.sub("", prose))
    lines = [line for line in prose.splitlines() if not line.startswith("|")]
    assert [line for line in lines if len(line) > 100] == []


def generator() -> ModuleType:
    path = ROOT / "docs" / "generate_operations.py"
    spec = importlib.util.spec_from_file_location("generate_operations", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_operations_is_up_to_date() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert page == generator().page(), "run python docs/generate_operations.py"
    assert all(f"| `{name}` |" in page for name in load_ops())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        other = page.parent / name if name else page
        assert other.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", other.read_text("utf-8"), re.MULTILINE)
            anchors = {
                re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles
            }
            assert anchor in anchors, target


def test_a_step_is_exported_as_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "decoders.md").read_text(encoding="utf-8")
    found = {match[1].strip(): match[2] for match in FENCE.finditer(page)}
    small = found["azg"].replace("50257", "1000").replace("repeat 3", "repeat 1")
    (tmp_path / "small.azg").write_text(small, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(found["python"], names)
    torch, model = names["torch"], names["model"]
    with torch.no_grad():
        given = [names["inputs"](torch.arange(40).view(2, 20)) for _ in range(2)]
        wanted, output = model(**given[0]), names["step"](**given[1])
        torch.testing.assert_close(output.logits, wanted.logits, rtol=1e-4, atol=1e-5)
        assert output.past_key_values.get_seq_length() == 20
