"""Imports: which file is read, what may be named, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from azc.check.program import Program
from azc.check.resolve import MAX_CHAIN, MAX_FILES, check_file, check_source
from azc.diagnostics import Diagnostic, DiagnosticError
from azc.source import Source

PLAIN = "attention plain(q) {\n    return q\n}\n"
MODEL = "model m {\n    layers {\n        NAME\n    }\n}\n"


def write(folder: Path, **files: str) -> Path:
    """Files by name, `__` for a folder; the path of `main`."""
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".azg")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return folder / "main.azg"


def refused(path: Path) -> list[Diagnostic]:
    with pytest.raises(DiagnosticError) as caught:
        check_file(path, path.name)
    return list(caught.value.diagnostics)


def codes(path: Path) -> list[str]:
    return [diagnostic.code for diagnostic in refused(path)]


def test_beside_and_below(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        main="from .mine import plain as one\nfrom .sub.deep import two\n"
        + MODEL.replace("NAME", "one\ntwo"),
        mine=PLAIN,
        sub__deep="from .beside import plain as two_\n"
        "attention two(q) { return q }\nmodel m { layers { two_ } }\n",
        sub__beside=PLAIN,
    )
    program = check_file(path)
    assert set(program.attentions) == {"one", "two"}
    assert program.declared == {"m"}
    assert [layer.mixing.name for layer in program.models["m"].layers] == ["one", "two"]


def test_models_and_spaces_are_imported(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        main="from .other import m, s as mine\nspace t { start = m }\n",
        other=PLAIN + MODEL.replace("NAME", "plain") + "space s { start = m }\n",
    )
    program = check_file(path)
    assert set(program.spaces) == {"mine", "t"}
    assert program.spaces["t"].start is program.models["m"]


def test_the_standard_library(tmp_path: Path) -> None:
    text = "from std.attention import sdpa\n" + MODEL.replace("NAME", "sdpa")
    assert set(check_source(Source("text", text)).attentions) == {"sdpa"}
    assert set(check_file(write(tmp_path, main=text)).attentions) == {"sdpa"}


def test_a_file_is_checked_once(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        main="from .a import x\nfrom .b import y\n" + MODEL.replace("NAME", "x\ny"),
        a="from .c import plain\nattention x(q) { return q }\nmodel m { layers { plain } }",
        b="from .c import plain\nattention y(q) { return q }\nmodel m { layers { plain } }",
        c="attention plain(q) { return k }",
    )
    assert codes(path) == ["AZG101"]


@pytest.mark.parametrize(
    ("text", "code", "message", "help_"),
    [
        ("from .mone import plain", "AZG123", "there is no mone.azg", "`mine`"),
        ("from .sub.far import a", "AZG123", "there is no sub/far.azg", None),
        ("from .mine import plane", "AZG122", "declares no `plane`", "`plain`"),
        ("from .mine import zzz", "AZG122", "declares no `zzz`", "it declares: plain"),
        ("from std.attentoin import a", "AZG123", "no std.attentoin", "`attention`"),
        ("from std.zzz import a", "AZG123", "no std.zzz", "the standard library has:"),
        ("from std import a", "AZG123", "`std` is a folder", "from std.attention"),
        ("from numpy import a", "AZG123", "no library `numpy`", "from .numpy import"),
        (
            "from .mine import plain, plain",
            "AZG121",
            "`plain` is already declared",
            "as …",
        ),
        ("from .mine import plain as conv", "AZG121", "built-in", None),
        ("from .main import a", "AZG125", "circular import: main → main", None),
        (f"from .{'a' * 300} import b", "AZG507", "the name has 300 characters", None),
    ],
)
def test_refused(
    tmp_path: Path, text: str, code: str, message: str, help_: str | None
) -> None:
    (found,) = refused(write(tmp_path, main=text + "\n", mine=PLAIN))
    assert (found.code, found.severity) == (code, "error")
    assert message in found.message
    assert (found.help is None) == (help_ is None)
    assert help_ is None or help_ in str(found.help)
    assert found.span is not None
    assert found.span.line == 1


def test_a_text_has_nothing_beside_it() -> None:
    with pytest.raises(DiagnosticError) as caught:
        check_source(Source("text", "from .mine import plain"))
    assert caught.value.code == "AZG123"


def test_a_circle_of_three(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        main="from .a import x\n",
        a="from .b import x\n",
        b="from .main import x\n",
    )
    found = refused(path)
    circle = [d for d in found if d.code == "AZG125"]
    assert [d.message for d in circle] == ["circular import: main → a → b → main"]
    assert circle[0].span is not None
    assert circle[0].span.source.name.endswith("b.azg")


def test_out_of_the_tree(tmp_path: Path) -> None:
    write(tmp_path, outside=PLAIN)
    write(tmp_path, far__deep=PLAIN)
    path = write(
        tmp_path / "inside",
        main="from .link import plain\nfrom .folder.deep import plain as other\n",
    )
    (tmp_path / "inside" / "link.azg").symlink_to(tmp_path / "outside.azg")
    (tmp_path / "inside" / "folder").symlink_to(tmp_path / "far")
    assert codes(path) == ["AZG124", "AZG124"]


def test_links_inside_the_tree_are_followed(tmp_path: Path) -> None:
    path = write(tmp_path, main="from .link import plain\n", mine=PLAIN)
    (tmp_path / "link.azg").symlink_to(tmp_path / "mine.azg")
    assert set(check_file(path).attentions) == {"plain"}
    (tmp_path / "again.azg").symlink_to(path)
    assert set(check_file(tmp_path / "again.azg").attentions) == {"plain"}


def test_a_link_to_itself_is_no_file(tmp_path: Path) -> None:
    path = write(tmp_path, main="from .loop import plain\n")
    (tmp_path / "loop.azg").symlink_to(tmp_path / "loop.azg")
    (found,) = refused(path)
    assert found.code == "AZG005"
    assert "can't read loop.azg: too many levels of symbolic links" in found.message
    assert found.span is not None
    assert found.span.text == "from .loop import plain"
    assert codes(tmp_path / "loop.azg") == ["AZG005"]


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    path = write(tmp_path, main="from .sub import plain\n")
    (tmp_path / "sub.azg").mkdir()
    assert codes(path) == ["AZG123"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file(tmp_path: Path) -> None:
    path = write(tmp_path, main="from .mine import plain\n", mine=PLAIN)
    (tmp_path / "mine.azg").chmod(0)
    assert codes(path) == ["AZG005"]


def test_a_broken_file_is_told_once_and_where(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        main="from .mine import plain\nfrom .mine import other, m\nfrom .b import x\n"
        "model n { layers { plain\n other } }\nspace s { start = m }\n",
        mine="attention plain(q) { return q @ }\nattention other(q) {\n  return q +\n}\n"
        "model m {\n  layers { }\n  x = \n}\n",
        b="from .mine import plain\nattention x(q) { return q }\n",
    )
    found = refused(path)
    assert [diagnostic.code for diagnostic in found] == ["AZG001"] * 3
    assert {d.span.source.name for d in found if d.span} == {"mine.azg"}


def test_what_a_broken_file_does_declare_is_used(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        main="from .mine import fine, nothing\nmodel n { layers { fine } }\n",
        mine="attention broken(q) { return q @ }\nattention fine(q) { return k }\n",
    )
    assert codes(path) == ["AZG122", "AZG001", "AZG101"]


def test_a_module_whose_name_holds_the_word_import(tmp_path: Path) -> None:
    path = write(tmp_path, main="from .an_import import plain\n", an_imports=PLAIN)
    (found,) = refused(path)
    assert (found.code, found.help) == ("AZG123", "did you mean `an_imports`?")
    assert found.fix is not None
    path.write_text(found.fix.applied())
    assert set(check_file(path).attentions) == {"plain"}
    # Written in upper case, it is not the word that is looked for.
    path.write_text("from .An_Import import plain\n")
    assert sorted(codes(path)) == ["AZG003", "AZG123"]


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = write(tmp_path, main="from .mine import plain\n")
    (tmp_path / "mine.azg").write_bytes(b"\xff\xfe")
    (found,) = refused(path)
    assert (found.code, found.message) == (
        "AZG004",
        "mine.azg is UTF-16 text, not UTF-8",
    )
    assert found.span is not None
    assert found.span.source.name == "main.azg"


def test_errors_of_imported_files_are_told_too(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        main="from .sub.mine import plain\nattention a(q) { return k }\n"
        + MODEL.replace("NAME", "plain"),
        sub__mine="attention plain(q) { return z }\n",
    )
    found = refused(path)
    places = [(d.span.source.name, d.code) for d in found if d.span]
    assert places == [("main.azg", "AZG101"), ("sub/mine.azg", "AZG101")]


def test_unused_imports_are_warnings(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        main="from .mine import plain, other\n" + MODEL.replace("NAME", "other"),
        mine=PLAIN + PLAIN.replace("plain", "other"),
    )
    (found,) = check_file(path).warnings
    assert (found.code, found.severity) == ("AZG120", "warning")
    assert found.span is not None
    assert found.span.text == "plain"


def chain(folder: Path, length: int) -> Path:
    """Files that import each other in a row, `length` with the first."""
    files = {
        f"f{i}": f"from .f{i + 1} import plain\n{PLAIN}" for i in range(length - 1)
    }
    for name, text in files.items():
        files[name] = text.replace("import plain", "import plain as other")
    files[f"f{length - 1}"] = PLAIN
    write(folder, **files)
    return folder / "f0.azg"


def test_a_long_chain(tmp_path: Path) -> None:
    assert "plain" in check_file(chain(tmp_path, MAX_CHAIN)).declared
    (found,) = refused(chain(tmp_path, MAX_CHAIN + 1))
    assert (found.code, found.message) == (
        "AZG506",
        f"imports are nested more than {MAX_CHAIN} files deep",
    )


def test_many_files(tmp_path: Path) -> None:
    lines = [f"from .f{i} import plain as p{i}\n" for i in range(MAX_FILES)]
    each = {f"f{i}": PLAIN for i in range(MAX_FILES)}
    path = write(tmp_path, main="".join(lines[:-1]), **each)
    assert len(check_file(path).attentions) == MAX_FILES - 1
    path.write_text("".join(lines), "utf-8")
    (found,) = refused(path)
    assert (found.code, found.message) == (
        "AZG506",
        f"more than {MAX_FILES} files are imported",
    )


def test_a_program_remembers_its_file(tmp_path: Path) -> None:
    path = write(tmp_path, main=PLAIN)
    program = check_file(path, "shown")
    assert isinstance(program, Program)
    assert program.source.name == "shown"
    assert program.path == path.resolve()


def test_what_has_no_causal_meaning_elsewhere_is_shown_there(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        main="from .other import turned\n"
        "model m { causal = true\n layers { turned } }\n",
        other="attention turned(q, k, v) {\n s = q @ k.T\n return s.T @ v\n}\n",
    )
    (told,) = refused(path)
    assert told.code == "AZG310"
    assert told.message.startswith("turned: `s.T`, the transpose of [n, n], has no")
    assert told.span is not None
    assert (told.span.source.name, told.span.text) == ("main.azg", "turned")
    places = [(Path(n.span.source.name).name, n.span.line) for n in told.notes]
    assert places == [("other.azg", 3), ("other.azg", 2)]
    assert [note.span.text for note in told.notes] == ["s.T", "q @ k.T"]
