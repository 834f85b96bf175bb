from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from azc.api import load
from azc.diagnostics import DiagnosticError
from tests.cli.conftest import GOOD, Azc

Write = Callable[[str, str], str]


def test_nothing_wrong(azc: Azc, good: str) -> None:
    found = azc("check", good)
    assert (found.code, found.out, found.err) == (0, "1 file checked, no errors\n", "")
    assert azc("check", good, "std.models").out == "2 files checked, no errors\n"


def test_types(azc: Azc, good: str) -> None:
    assert (
        azc("check", "-v", good).out
        == """\
good.azg
  attention softplus_key(q: [n, d], k: [n, d]) -> [n, d]
      key : [n, d]
  model small: 4 layers, 3,982 parameters
  space near_small: from small, depth 3..5

1 file checked, no errors
"""
    )


def test_every_error_of_every_file_at_once(azc: Azc, good: str, write: Write) -> None:
    one = write("one.azg", "attention a(q, k) {\n    return sofmax(q @ k) @ w\n}\n")
    two = write("two.azg", "model m {\n    hidden = 10\n    layers { nothing }\n}\n")
    found = azc("check", one, good, two)
    assert found.code == 1
    assert found.out == ""
    for code in ("AZG103", "AZG201", "AZG101", "AZG305", "AZG307"):
        assert f"error[{code}]" in found.err
    assert (
        """\
error[AZG103]: unknown operation `sofmax`
 --> one.azg:2:12
  |
2 |     return sofmax(q @ k) @ w
  |            ^^^^^^
  = help: did you mean `softmax`?

"""
        in found.err
    )
    assert found.err.endswith("\n5 errors in 2 files\n")
    assert "\x1b" not in found.err


def test_a_broken_import_is_told_once(azc: Azc, write: Write) -> None:
    write("broken.azg", "attention a(q) {\n    return x\n}\n")
    text = "from .broken import a\n\nmodel m {\n    layers {\n        a\n    }\n}\n"
    found = azc("check", write("one.azg", text), write("two.azg", text))
    assert found.err.count("AZG101") == 1
    assert found.err.endswith("1 error in 2 files\n")


def test_warnings_are_no_errors(azc: Azc, write: Write) -> None:
    name = write("w.azg", "attention a(q, k) {\n    x = exp(q)\n    return q\n}\n")
    found = azc("check", name)
    assert found.code == 0
    assert found.err.count("warning[") == 2
    assert found.out == "1 file checked, no errors, 2 warnings\n"


def test_json(azc: Azc, good: str, write: Write) -> None:
    bad = write("bad.azg", "attention a(q) {\n    return z\n}\n")
    found = azc("check", "--json", good, bad).json
    assert found["command"] == "check"
    assert (found["errors"], found["warnings"]) == (1, 0)
    first, second = found["files"]
    assert first == {
        "file": "good.azg",
        "ok": True,
        "diagnostics": [],
        "attentions": [
            {
                "name": "softplus_key",
                "params": [
                    {"name": "q", "type": "[n, d]"},
                    {"name": "k", "type": "[n, d]"},
                ],
                "operations": 9,
                "bindings": [{"name": "key", "type": "[n, d]"}],
            }
        ],
        "models": [{"name": "small", "layers": 4, "parameters": 3982}],
        "spaces": [{"name": "near_small", "start": "small"}],
    }
    assert second["ok"] is False
    assert set(second) == {"file", "ok", "diagnostics"}
    assert second["diagnostics"][0] == {
        "code": "AZG101",
        "severity": "error",
        "message": "unknown name `z`",
        "help": "known: q",
        "file": "bad.azg",
        "line": 2,
        "column": 12,
        "end_line": 2,
        "end_column": 13,
        "fix": None,
        "notes": [],
    }


def test_a_fix_in_json(azc: Azc, write: Write) -> None:
    text = "attention a(q, k, v) {\n    return softmax(q @ k) @ v\n}\n"
    (file,) = azc("check", "--json", write("bad.azg", text)).json["files"]
    (found,) = file["diagnostics"]
    assert found["help"] == "did you mean `q @ k.T`?"
    place = {"line": 2, "column": 20, "end_line": 2, "end_column": 25}
    assert found["fix"] == {"text": "q @ k.T", **place}


def test_standard_input(azc: Azc) -> None:
    assert azc("check", "-", stdin=GOOD).code == 0
    found = azc("check", "-", stdin="attention a(q) { return x }")
    assert "<stdin>:1:25" in found.err
    assert "AZG004" in azc("check", "-", stdin=b"\xff\xfe").err


# Folders, and parts of files


def test_a_folder_is_walked(azc: Azc, good: str, write: Write, tmp_path: Path) -> None:
    bad = "attention a(q) {\n    return z\n}\n"
    write("sub/deep/bad.azg", bad)
    write("sub/.hidden/bad.azg", bad)
    write(".hidden/bad.azg", bad)
    write("sub/notes.txt", bad)
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    (tmp_path / "sub" / "link.azg").symlink_to(tmp_path / good)
    (tmp_path / "sub" / "dead.azg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "sub" / "folder.azg").mkdir()
    found = azc("check", "--json", ".").json
    names = [Path(each["file"]).as_posix() for each in found["files"]]
    assert names == ["good.azg", "sub/link.azg", "sub/deep/bad.azg"]
    assert found["errors"] == 1
    told = azc("check", "sub", good)
    assert " --> sub/deep/bad.azg:2:12" in told.err
    assert told.err.endswith("1 error in 1 file\n")
    assert azc("check", good, ".").err.count("AZG101") == 1


def test_a_folder_without_programs(azc: Azc, good: str, write: Write) -> None:
    write("empty/notes.txt", "")
    for command in ("check", "fmt", "show"):
        found = azc(command, "empty")
        assert found.code == 1
        assert "can't read empty: is a directory" in found.err
        assert "it has no .azg files" in found.err
    found = azc("check", "empty", good, "--json").json
    assert [each["ok"] for each in found["files"]] == [False, True]
    assert "name one of the files in it" in azc("show", ".").err


def test_one_declaration_of_a_file(azc: Azc, good: str) -> None:
    found = azc("check", "-v", f"{good}:softplus_key")
    assert found.code == 0
    assert "attention softplus_key" in found.out
    assert "model" not in found.out
    (file,) = azc("check", "--json", f"{good}:small").json["files"]
    assert [each["name"] for each in file["models"]] == ["small"]
    assert file["attentions"] == file["spaces"] == []
    assert azc("check", "std.models:bert_tiny").code == 0
    found = azc("check", f"{good}:smal")
    assert found.code == 2
    assert "good.azg has no `smal`" in found.err
    assert "did you mean `small`?" in found.err
    assert "it has: near_small" in azc("check", f"{good}:zzz").err


def test_the_whole_file_is_meant(azc: Azc, good: str) -> None:
    found = azc("fmt", f"{good}:small")
    assert found.code == 1
    assert "give the whole file: good.azg" in found.err


# Spaces


def test_models_in_a_space(azc: Azc, good: str, write: Write) -> None:
    assert azc("check", "--space", "near_small", good).code == 0
    other = write("other.azg", GOOD.replace("hidden = 8", "hidden = 16"))
    assert azc("check", other, "--space", "near_small").code == 0
    found = azc("check", other, "--space", "good.azg:near_small")
    assert found.code == 1
    assert "error[AZG410]: `small` is not in `near_small`: `hidden` is 16;" in found.err
    assert " --> other.azg:11:5" in found.err


def test_a_space_of_the_library(azc: Azc) -> None:
    found = azc("check", "std.models", "--space", "std.spaces:autobert_zero")
    assert found.code == 1
    assert "`autobert_zero_base` is not in" not in found.err
    assert "`bert_tiny` is not in `autobert_zero`" in found.err


def test_a_space_that_is_not_there(azc: Azc, good: str) -> None:
    found = azc("check", good, "--space", "near_smal")
    assert found.code == 2
    assert "did you mean `near_small`?" in found.err
    found = azc("check", good, "--space", "elsewhere")
    assert "use FILE:NAME for a space of another file" in found.err
    assert azc("check", good, "--space", "no.azg:elsewhere").code == 1
    found = azc("check", "std.attention", "--space", "good.azg:near_small")
    assert found.code == 2
    assert "std/attention.azg declares no model" in found.err


# Bad input


def bad(name: str, text: str, code: str, words: str) -> object:
    return pytest.param(text, code, words, id=name)


MODEL = "model m {{\n    hidden = 8\n    heads = 2\n    layers {{ {} }}\n}}\n"


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        bad("operation", "attention a(q) { return fold(q) }", "AZG103", "fold"),
        bad("types", "attention a(q, k) { return q @ k }", "AZG201", "gives [n, n]"),
        bad("out", "from .up.x import y", "AZG123", "up/x.azg"),
        bad("import", "from .nowhere import x", "AZG123", "nowhere.azg"),
        bad("library", "from std.nowhere import x", "AZG123", "std.nowhere"),
        bad("cycle", "from .bad import x", "AZG125", "circular import"),
        bad("deep", f"attention a(q) {{ return {'(' * 99}q", "AZG502", "64 levels"),
        bad("repeat", MODEL.format("repeat 1000000000 { sdpa }"), "AZG504", "1,000"),
        bad(
            "nested",
            MODEL.format("repeat 99999 { " * 9 + "sdpa" + " }" * 9),
            "AZG504",
            "1,000",
        ),
        bad(
            "heads",
            "model m {\n hidden = 10\n heads = 3\n layers { conv(kernel = 3) }\n}",
            "AZG305",
            "does not divide",
        ),
        bad("kernel", MODEL.format("conv(kernel = 4)"), "AZG303", "odd"),
        bad(
            "start",
            MODEL.format("conv(kernel = 3)")
            + "space s { start = m\n conv { kernel = [5] } }",
            "AZG405",
            "is not in the space",
        ),
        bad(
            "causal",
            "attention a(q, v) { return (q @ v.T).T @ v }\n"
            "model m {\n causal = true\n layers { a }\n}",
            "AZG310",
            "causal",
        ),
        bad("syntax", "model {", "AZG001", "unexpected"),
        bad("null", "attention a(q) { return \0 }", "AZG001", "unexpected"),
    ],
)
def test_bad_programs(azc: Azc, write: Write, text: str, code: str, words: str) -> None:
    found = azc("check", write("bad.azg", text))
    assert found.code == 1
    assert f"error[{code}]" in found.err
    assert words in found.err
    assert found.out == ""


def test_an_import_out_of_the_tree(azc: Azc, write: Write, tmp_path: Path) -> None:
    write("secret.azg", "attention a(q) {\n    return q\n}\n")
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "link.azg").symlink_to(tmp_path / "secret.azg")
    found = azc("check", write("inside/bad.azg", "from .link import a\n"))
    assert found.code == 1
    assert "AZG124" in found.err


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "can't read x.azg: no such file or directory"),
        (lambda path: path.mkdir(), "can't read x.azg: is a directory"),
        (lambda path: path.write_bytes(b"\xff"), "x.azg is not UTF-8 text (byte 0)"),
        (lambda path: path.symlink_to(path), "can't read x.azg: "),
    ],
)
def test_files_that_cannot_be_read(
    azc: Azc, tmp_path: Path, make: Callable[[Path], None], words: str
) -> None:
    make(tmp_path / "x.azg")
    for command in ("check", "fmt", "show"):
        found = azc(command, "x.azg")
        assert found.code == 1
        assert words in found.err


def test_a_program_cannot_steer_the_terminal(azc: Azc, write: Write) -> None:
    name = write("x.azg", "attention a(q) { return x # \x1b[2J\x07\n}")
    found = azc("check", name)
    assert found.code == 1
    assert "\x1b" not in found.err
    assert "\x07" not in found.err


# What can't be read


def test_standard_input_without_an_end(tmp_path: Path) -> None:
    with open("/dev/zero", "rb") as zeros:
        done = subprocess.run(
            [sys.executable, "-m", "azc", "check", "-"],
            cwd=tmp_path,
            stdin=zeros,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error[AZG501]: ")


def test_standard_input_that_is_closed(tmp_path: Path) -> None:
    command = f"{sys.executable} -m azc check - <&-"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "error[AZG005]: can't read <stdin>: it is closed" in done.stderr


def test_what_cannot_be_read_does_not_hide_the_others(
    azc: Azc, tmp_path: Path, write: Write
) -> None:
    bad = write("bad.azg", "attention a(q) { return x }")
    (tmp_path / "folder.azg").mkdir()
    (tmp_path / "loop.azg").symlink_to("loop.azg")
    (tmp_path / "bytes\udcff.azg").write_bytes(b"\xff")
    names = [
        "a" * 300,  # a name too long for any file
        "a/" * 3_000,
        f"std.{'a' * 300}",
        f"{'a' * 300}:b",
        f"{bad}/inside.azg",
        "loop.azg",
        "bytes\udcff.azg",
        "",
    ]
    for name in names:
        for command in (["check"], ["fmt", "--check"]):
            found = azc(*command, name, bad if command == ["check"] else "bad.azg")
            assert found.code == 1
            assert "internal error" not in found.err
        found = azc("check", name, bad, "--json").json
        codes = [[d["code"] for d in each["diagnostics"]] for each in found["files"]]
        assert codes[0][0] in ("AZG004", "AZG005", "AZG123"), name
        assert codes[1] == ["AZG101"]


def test_a_name_with_a_nul() -> None:
    with pytest.raises(DiagnosticError, match="can't read a"):
        load("a\0b")


@pytest.mark.parametrize("module", ["a" * 99, ".".join(["a" * 90] * 60)])
def test_an_import_of_a_path_too_long(tmp_path: Path, module: str) -> None:
    path = tmp_path / "main.azg"
    path.write_text(f"from .{module} import a\nattention b(q) {{ return x }}\n")
    with pytest.raises(DiagnosticError) as caught:
        load(path)
    first, second = caught.value.diagnostics
    assert first.code in ("AZG005", "AZG123")
    assert first.span is not None
    assert first.span.line == 1
    assert second.code == "AZG101"


def test_notes(azc: Azc, write: Write) -> None:
    text = "attention a(q, k) {\n    s = q @ k.T\n    return s + q\n}\n"
    name = write("a.azg", text)
    found = azc("check", name)
    assert found.err.endswith(
        "note: `s` is [n, n]\n"
        " --> a.azg:2:5\n"
        "  |\n"
        "2 |     s = q @ k.T\n"
        "  |     ^^^^^^^^^^^\n"
        "\n"
        "1 error in 1 file\n"
    )
    (report,) = azc("check", name, "--json").json["files"]
    (told,) = report["diagnostics"]
    place = {"file": "a.azg", "line": 2, "column": 5, "end_line": 2, "end_column": 16}
    assert told["notes"] == [{"message": "`s` is [n, n]", **place}]


def test_a_note_on_the_line_of_the_error_says_nothing_new(
    azc: Azc, write: Write
) -> None:
    name = write("a.azg", "attention a(q, q) { return q }\n")
    assert "note:" not in azc("check", name).err
    (report,) = azc("check", name, "--json").json["files"]
    assert report["diagnostics"][0]["notes"] == []
