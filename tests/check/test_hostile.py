"""Hostile inputs: what is looked at, and told, is bounded whatever a file holds.

How many seconds the worst of them take, benchmarks/hostile.py says; here are the counts
that keep it so.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from azc import diagnostics
from azc.check import params, resolve
from azc.check.collect import Findings
from azc.check.resolve import MAX_IMPORTED, check_file, check_source
from azc.check.spaces import MAX_SPACES
from azc.diagnostics import Diagnostic, DiagnosticError, listed, nearest, render
from azc.source import Source
from azc.syntax.parse import MAX_TEXT
from benchmarks import hostile


def check(text: str) -> tuple[Diagnostic, ...]:
    """What is wrong with a text."""
    try:
        check_source(Source("hostile.azg", text))
    except DiagnosticError as error:
        return error.diagnostics
    return ()


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many names each search for a nearest one has compared."""
    found: list[int] = []
    search = difflib.get_close_matches

    def counted(name: str, known: list[str], n: int, cutoff: float) -> list[str]:
        found.append(len(known))
        return search(name, known, n, cutoff)

    monkeypatch.setattr(diagnostics.difflib, "get_close_matches", counted)
    return found


@pytest.mark.parametrize("kind", sorted(hostile.kinds(1_000)))
def test_every_kind_is_answered_briefly(kind: str, compared: list[int]) -> None:
    text = hostile.kinds(6_000)[kind]
    for diagnostic in check(text):
        assert len(diagnostic.message) <= 500
        assert len(diagnostic.help or "") <= 500
        assert len(render([diagnostic])) < 1_500
    # Mends are tried, each in a check of its own.
    assert len(compared) <= Findings.LIMIT * (Findings.TRIES + 1) * 2
    assert max(compared, default=0) <= 100


def test_a_search_looks_at_some_of_many_names() -> None:
    def known() -> Iterator[str]:
        for number in count():
            assert number < 20_000
            yield f"name_{number}"

    assert nearest("nane_7", known()) is not None
    assert nearest("n" * 1_000, ["n" * 999]) is None
    assert nearest("", ["a"]) is None


def test_the_nearest_of_many_has_the_same_first_letter() -> None:
    known = [f"other_{number}" for number in range(500)]
    assert nearest("softmx", [*known, "softmax"]) == "softmax"


def test_lists_are_cut() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed([f"a{i}" for i in range(1_012)], 2) == "a0, a1 and 1,010 more"


def test_what_is_repeated_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    real = params.layer_parameters

    def counted(*args: object) -> int:
        asked.append(args)
        return real(*args)

    monkeypatch.setattr(params, "layer_parameters", counted)
    text = "attention a(q) { return q }\n"
    text += "model m { layers { a\nrepeat 999 { a } } }"
    program = check_source(Source("m.azg", text))
    assert len(asked) == 2
    once = check_source(Source("m.azg", text.replace("repeat 999 { a }", "")))
    monkeypatch.undo()
    model, single = program.models["m"], once.models["m"]
    layer = params.layer_parameters(model, model.layers[0])
    alone = params.model_parameters(single)
    assert params.model_parameters(model) == alone + 999 * layer


def test_too_many_spaces() -> None:
    head = "attention a(q) { return q }\nmodel m { layers { a } }\n"
    fine = "".join(f"space s{i} {{ start = m }}\n" for i in range(MAX_SPACES))
    assert check(head + fine) == ()
    (found,) = check(head + fine + "space one_more { start = m }\n")
    assert found.code == "AZG508"
    assert found.span is not None
    assert found.span.text == "one_more"


# Imports


def imports(folder: Path, files: int, body: str) -> Path:
    """A file that imports as many, all with the same text."""
    for number in range(files):
        (folder / f"f{number}.azg").write_text(body)
    lines = (f"from .f{i} import a as a{i}\n" for i in range(files))
    (folder / "main.azg").write_text("".join(lines))
    return folder / "main.azg"


def refused(path: Path) -> tuple[Diagnostic, ...]:
    with pytest.raises(DiagnosticError) as caught:
        check_file(path)
    return caught.value.diagnostics


def test_too_much_text_is_imported(tmp_path: Path) -> None:
    head = "attention a(q) { return q }\n"
    body = head + "#" * (MAX_TEXT - len(head))
    files = MAX_IMPORTED // MAX_TEXT
    found = refused(imports(tmp_path, files + 3, body))
    # The main file has characters too: one less than would fit by themselves.
    assert [each.code for each in found] == ["AZG506"] * 4
    assert [each.span.line for each in found if each.span] == [3, 4, 5, 6]
    assert "300,000 characters" in found[0].message
    (tmp_path / "fits").mkdir()
    assert check_file(imports(tmp_path / "fits", files - 1, body)).attentions


def test_files_are_not_read_once_nothing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    real = resolve.read_source

    def counted(path: Path, name: str | None = None) -> Source:
        read.append(path)
        return real(path, name)

    monkeypatch.setattr(resolve, "read_source", counted)
    wrong = "".join(f"x{i} = z{i}\n" for i in range(30))
    body = f"attention a(q) {{\n{wrong}return q\n}}\n"
    found = refused(imports(tmp_path, 50, body))
    assert len(found) == Findings.LIMIT
    assert len(read) == 5  # the main file, and three and a bit full of errors


def test_the_names_in_a_folder_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    real = resolve.os.scandir

    def counted(folder: object) -> object:
        asked.append(folder)
        return real(folder)

    monkeypatch.setattr(resolve.os, "scandir", counted)
    (tmp_path / "mine.azg").write_text("attention a(q) { return q }\n")
    path = tmp_path / "main.azg"
    path.write_text("".join(f"from .mine{i} import a\n" for i in range(50)))
    found = [each for each in refused(path) if each.code == "AZG123"]
    assert len(found) == 50
    assert found[0].help == "did you mean `mine`?"
    assert len(asked) == 1
