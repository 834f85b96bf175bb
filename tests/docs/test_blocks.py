"""Every code block of the documents runs, in order, in one folder a page."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.docs.blocks import Folder, blocks, environment

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN = {"python", "console"}  # the others are files, or shown alone


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs_as_it_is_read(
    page: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = blocks(page)
    if not any(block.language in RUN for block in found):
        pytest.skip("nothing to run")
    cache = tmp_path_factory.getbasetemp() / "documents"
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    settings = environment(cache)
    monkeypatch.chdir(tmp_path)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    folder = Folder(tmp_path, settings, {"__name__": "__main__"})
    for block in found:
        try:
            folder.run(block)
        except BaseException as error:
            error.add_note(f"{page.relative_to(ROOT)}, the block at line {block.line}")
            raise
