"""Files and folders come whole or not at all, whatever happens in between."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from azc import files
from azc.files import (
    open_to_append,
    write_bytes,
    write_folder,
    write_text,
    write_with,
)

UMASK = os.umask(0)
os.umask(UMASK)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


# One file


def test_a_file_s_text_is_what_was_given(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    write_text(file, "é\r\n")
    assert file.read_bytes() == b"\xc3\xa9\r\n"
    write_bytes(file, b"\xff")
    assert file.read_bytes() == b"\xff"
    assert names(tmp_path) == {"a.txt"}


def test_permissions(tmp_path: Path) -> None:
    usual = tmp_path / "usual"
    usual.touch()
    file = tmp_path / "file"

    def secretly(path: Path) -> None:  # as safetensors does it
        path.unlink()
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))

    write_with(file, secretly)
    assert mode(file) == mode(usual)
    file.chmod(0o640)
    write_text(file, "new")
    assert mode(file) == 0o640


@pytest.mark.parametrize("pointed", ["precious", "nowhere", "link"])
def test_a_link_is_replaced(pointed: str, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    precious = tmp_path / "there" / "precious"
    precious.write_text("old")
    precious.chmod(0o400)
    link = tmp_path / "link"
    where = {"precious": "there/precious", "nowhere": "there/nowhere", "link": "link"}
    for write in (
        lambda: write_text(link, "new"),
        lambda: write_bytes(link, b"new"),
        lambda: open_to_append(link).write(b"new"),
    ):
        link.unlink(missing_ok=True)
        link.symlink_to(where[pointed])
        write()
        assert not link.is_symlink()
        assert link.read_text() == "new"
        assert mode(link) == 0o666 & ~UMASK
        assert contents(tmp_path / "there") == {"precious": "old"}
        assert mode(precious) == 0o400
    # In a folder that is reached through one, files are written where they are.
    (tmp_path / "folder").symlink_to("there")
    write_text(tmp_path / "folder" / "file", "new")
    assert (tmp_path / "there" / "file").read_text() == "new"


def test_a_link_to_what_is_no_file_stays(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    for name, fault in (("fifo", "not a regular file"), ("folder", "Is a directory")):
        link = tmp_path / "link"
        link.symlink_to(name)
        with pytest.raises(OSError, match=fault):
            write_text(link, "new")
        assert link.readlink() == Path(name)
        link.unlink()
    link.symlink_to("folder")
    with pytest.raises(OSError, match="it is a link") as caught:
        write_folder(link, fill, everything)
    assert caught.value.filename == str(link)
    assert names(tmp_path) == {"fifo", "folder", "link"}
    assert names(tmp_path / "folder") == set()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="there is no /proc")
def test_links_of_the_system_are_no_files(tmp_path: Path) -> None:
    refused = pytest.raises(OSError, match="not a regular file")
    with (tmp_path / "open").open("w") as file, refused:
        write_text(Path(f"/proc/self/fd/{file.fileno()}"), "new")
    assert contents(tmp_path) == {"open": ""}


def test_appending(tmp_path: Path) -> None:
    for _ in range(2):
        with open_to_append(tmp_path / "log") as file:
            file.write(b"a line\n")
    assert contents(tmp_path) == {"log": "a line\na line\n"}


def test_a_name_as_long_as_names_may_be(tmp_path: Path) -> None:
    for letter in ("a", "é", "語", "🙂"):
        file = tmp_path / (letter * (255 // len(letter.encode())))
        write_text(file, letter)
        assert file.read_text() == letter


@pytest.mark.parametrize("fault", ["write", "sync"])
def test_a_file_that_can_t_be_written_stays(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    write_text(file, "old")
    if fault == "sync":
        monkeypatch.setattr(os, "fsync", no_space)
    write = no_space if fault == "write" else lambda path: path.write_text("new")
    with pytest.raises(OSError, match="No space left") as caught:
        write_with(file, write)
    assert caught.value.filename == str(file)
    assert contents(tmp_path) == {"file": "old"}


def test_what_is_no_file_is_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    for name, fault in (
        ("fifo", "not a regular file"),
        ("folder", "Is a directory"),
        ("folder/..", "Is a directory"),
        ("nowhere/file", "No such file"),
    ):
        with pytest.raises(OSError, match=fault) as caught:
            write_text(tmp_path / name, "new")
        assert caught.value.filename == str(tmp_path / name)
    assert names(tmp_path) == {"fifo", "folder"}
    with pytest.raises(OSError, match="Is a directory"):
        write_text(Path("/"), "new")


# A folder


def fill(folder: Path) -> None:
    (folder / "a").write_text("new")
    (folder / "b").write_text("new")


def everything(folder: Path) -> list[Path]:
    return list(folder.iterdir())


NEW = {"a": "new", "b": "new"}


def test_a_new_folder_and_an_empty_one(tmp_path: Path) -> None:
    usual = tmp_path / "usual"
    usual.mkdir()
    write_folder(tmp_path / "deep" / "new", fill)
    write_folder(usual, fill)
    assert contents(tmp_path / "deep" / "new") == contents(usual) == NEW
    assert mode(tmp_path / "deep" / "new") == mode(tmp_path / "deep")
    assert names(tmp_path) == {"usual", "deep"}


def test_what_is_there_stays_unless_it_is_owned(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "old").write_text("old")
    with pytest.raises(OSError, match="not empty") as caught:
        write_folder(folder, fill)
    assert caught.value.filename == str(folder)

    def mine(folder: Path) -> list[Path]:
        raise ValueError("it is mine")

    with pytest.raises(ValueError, match="mine"):
        write_folder(folder, fill, mine)
    assert contents(folder) == {"old": "old"}
    (tmp_path / "file").write_text("old")
    with pytest.raises(OSError, match="Not a directory"):
        write_folder(tmp_path / "file", fill, everything)
    assert names(tmp_path) == {"folder", "file"}
    write_folder(folder, fill, everything)
    assert contents(folder) == NEW
    assert names(tmp_path) == {"folder", "file"}


def test_what_owned_does_not_name_is_never_removed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    fill_old = lambda at: (at / "old").write_text("old")  # noqa: E731
    write_folder(folder, fill_old)
    (folder / "mine").write_text("mine")
    with pytest.raises(OSError, match="not empty"):
        write_folder(folder, fill, lambda at: [at / "old"])
    assert contents(folder) == NEW
    left = [path for path in tmp_path.iterdir() if path != folder]
    assert contents(left[0]) == {"mine": "mine"}


def test_a_folder_that_can_t_be_filled_stays(tmp_path: Path) -> None:
    def half(folder: Path) -> None:
        (folder / "a").write_text("half")
        no_space()

    folder = tmp_path / "folder"
    for old in ({}, NEW):
        if old:
            write_folder(folder, fill)
        with pytest.raises(OSError, match="No space left") as caught:
            write_folder(folder, half, everything)
        assert caught.value.filename == str(folder)
        assert (contents(folder) if folder.exists() else {}) == old
        assert names(tmp_path) == ({"folder"} if old else set())


# Kills: a child process dies before each line of azc/files.py in turn

KILLED = """
import os, sys
from pathlib import Path
from azc import files

where, at_once = Path(sys.argv[1]), sys.argv[2] == "True"
if not at_once:
    files._exchange_at_once = lambda one, other: False

def text(folder, name):
    return (folder / name).read_text()

def write(word):
    def fill(folder):
        for name in ("a", "b"):
            (folder / name).write_text(word)
    files.write_folder(where / "folder", fill, lambda at: list(at.iterdir()))
    files.write_text(where / "file", word)

def die_at(line):
    seen = 0
    def trace(frame, event, _):
        nonlocal seen
        if frame.f_code.co_filename != files.__file__:
            return None
        seen += event == "line"
        if seen == line:
            os._exit(9)
        return trace
    sys.settrace(trace)

line, gaps, state = 0, 0, None
while state != "done":
    write("old")
    line += 1
    child = os.fork()
    if child == 0:
        die_at(line)
        write("new")
        os._exit(0)
    state = "killed" if os.waitpid(child, 0)[1] else "done"
    folder = where / "folder"
    if not folder.exists() and not at_once:
        gaps += 1  # the old one is whole, beside
        hidden = [text(p, "a") + text(p, "b") for p in where.glob(".folder.*.part")]
        assert sorted(hidden) == ["newnew", "oldold"], hidden
    else:
        both = text(folder, "a") + text(folder, "b")
        assert both in ("oldold", "newnew"), both
        assert sorted(p.name for p in folder.iterdir()) == ["a", "b"]
    assert text(where, "file") in ("old", "new")
    for part in where.glob(".*.part"):
        if part.is_dir():
            for file in part.iterdir():
                file.unlink()
            part.rmdir()
        else:
            part.unlink()
assert text(folder, "b") == text(where, "file") == "new"
assert line > 60, line
assert gaps == (0 if at_once else 2), gaps
"""


@pytest.mark.parametrize("at_once", [True, False])
def test_killed_at_any_moment(at_once: bool, tmp_path: Path, root: Path) -> None:
    if at_once:  # a file system that can't is no fault of ours
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        if not files._exchange_at_once(tmp_path / "a", tmp_path / "b"):
            pytest.skip("this file system can't exchange folders at once")
    subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), str(at_once)],
        check=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
