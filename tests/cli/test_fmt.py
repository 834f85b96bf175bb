from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import GOOD, Azc

Write = Callable[[str, str], str]

LOOSE = "model m{layers{conv(kernel=3)}} # one line\n"
TIDY = "model m {\n    layers {\n        conv(kernel = 3)\n    }\n    # one line\n}\n"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_in_place(azc: Azc, good: str, write: Write, tmp_path: Path) -> None:
    path = tmp_path / write("loose.azg", LOOSE)
    path.chmod(0o640)
    found = azc("fmt", "loose.azg", good)
    assert found.code == 0
    assert found.out == ""
    assert found.err == (
        "formatted loose.azg\n1 file formatted, 1 file already canonical\n"
    )
    assert path.read_text() == azc("fmt", "-", stdin=LOOSE).out
    assert path.stat().st_mode & 0o777 == 0o640
    assert (tmp_path / good).read_text() == GOOD
    assert names(tmp_path) == ["good.azg", "loose.azg"]
    assert azc("fmt", "loose.azg").err == "1 file already canonical\n"


def test_a_link_stays_a_link(azc: Azc, write: Write, tmp_path: Path) -> None:
    write("real/loose.azg", LOOSE)
    (tmp_path / "link.azg").symlink_to("real/loose.azg")
    assert azc("fmt", "link.azg").code == 0
    assert (tmp_path / "link.azg").is_symlink()
    assert (tmp_path / "real" / "loose.azg").read_text() != LOOSE
    assert names(tmp_path / "real") == ["loose.azg"]


def test_check_writes_nothing(
    azc: Azc, good: str, write: Write, tmp_path: Path
) -> None:
    write("loose.azg", LOOSE)
    found = azc("fmt", "--check", "loose.azg", good)
    assert found.code == 1
    assert found.err == (
        "would format loose.azg\n1 file would be formatted, 1 file already canonical\n"
    )
    assert (tmp_path / "loose.azg").read_text() == LOOSE
    assert azc("fmt", "--check", good).code == 0


def test_diff_writes_nothing(azc: Azc, good: str, write: Write, tmp_path: Path) -> None:
    write("loose.azg", "model m {\n    layers { conv(kernel = 3) }\n}\n")
    found = azc("fmt", "--diff", "loose.azg", good)
    assert found.code == 0
    assert (
        found.out
        == """\
--- loose.azg
+++ loose.azg (formatted)
@@ -1,3 +1,5 @@
 model m {
-    layers { conv(kernel = 3) }
+    layers {
+        conv(kernel = 3)
+    }
 }
"""
    )
    assert "layers { conv" in (tmp_path / "loose.azg").read_text()
    assert azc("fmt", "--diff", "--check", "loose.azg").code == 1


def test_standard_input(azc: Azc) -> None:
    found = azc("fmt", "-", stdin="model m{layers{conv(kernel=3)}}")
    assert found.code == 0
    assert found.out.startswith("model m {\n    layers {\n")
    checked = azc("fmt", "--check", "-", stdin=LOOSE)
    assert (checked.code, checked.out) == (1, "")
    assert azc("fmt", "-", stdin="model {").code == 1


def test_a_file_with_errors_stays_and_the_others_are_written(
    azc: Azc, write: Write, tmp_path: Path
) -> None:
    write("bad.azg", "model {\n")
    write("loose.azg", LOOSE)
    found = azc("fmt", "bad.azg", "loose.azg")
    assert found.code == 1
    assert "error[AZG" in found.err
    assert found.err.endswith("1 file formatted, 1 file with errors\n")
    assert (tmp_path / "bad.azg").read_text() == "model {\n"
    assert (tmp_path / "loose.azg").read_text() != LOOSE


def test_what_does_not_check_is_formatted_all_the_same(azc: Azc, write: Write) -> None:
    assert azc("fmt", write("x.azg", "attention a(q){return fold(w)}\n")).code == 0


def test_json(azc: Azc, write: Write) -> None:
    write("loose.azg", LOOSE)
    write("bad.azg", "model {\n")
    found = azc("fmt", "--json", "--diff", "loose.azg", "bad.azg").json
    first, second = found["files"]
    assert first["changed"]
    assert first["diff"].startswith("--- loose.azg\n+++ loose.azg (formatted)\n")
    assert first["diagnostics"] == []
    assert not second["changed"]
    assert second["diagnostics"][0]["file"] == "bad.azg"
    (one,) = azc("fmt", "--json", "-", stdin=LOOSE).json["files"]
    assert one["text"] == azc("fmt", "-", stdin=LOOSE).out


def test_a_write_protected_file(
    azc: Azc, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("loose.azg", LOOSE)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may do anything
    found = azc("fmt", "loose.azg")
    assert found.code == 1
    assert "error[R101]: can't write loose.azg: it is write-protected" in found.err
    assert (tmp_path / "loose.azg").read_text() == LOOSE


def test_a_full_disk_leaves_the_file_whole(tmp_path: Path) -> None:
    # A limit on the size of files, which fails in the middle of a write as a disk does.
    text = "".join(f"attention a{i}(q){{return q}}\n" for i in range(1000))
    (tmp_path / "long.azg").write_text(text)
    code = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "from azc.cli.main import main\n"
        "sys.argv = ['azc', 'fmt', 'long.azg']\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "error[R101]: can't write long.azg: file too large" in done.stderr
    assert (tmp_path / "long.azg").read_text() == text
    assert names(tmp_path) == ["long.azg"]


def test_a_folder(azc: Azc, good: str, write: Write, tmp_path: Path) -> None:
    write("sub/loose.azg", LOOSE)
    write("sub/.hidden/loose.azg", LOOSE)
    (tmp_path / "sub" / "loop").symlink_to(tmp_path / "sub")
    elsewhere = write("sub/.hidden/other.azg", LOOSE)
    (tmp_path / "sub" / "link.azg").symlink_to(tmp_path / elsewhere)
    found = azc("fmt", ".", good)
    assert found.code == 0
    assert found.err == (
        "formatted sub/loose.azg\n1 file formatted, 1 file already canonical\n"
    )
    assert (tmp_path / "sub" / ".hidden" / "loose.azg").read_text() == LOOSE
    assert (tmp_path / elsewhere).read_text() == LOOSE
    assert azc("fmt", "--check", ".").code == 0
