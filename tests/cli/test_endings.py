"""However a command ends, it says so in a sentence and by its exit code, and leaves the
terminal as it was: the real command, in a process.
"""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from azc.diagnostics import UsageError
from azc.resources import home_cache
from azc.search.journal import Journal
from tests.cli.conftest import Azc
from tests.cli.test_faults import AZC
from tests.runs import PROGRAM, arguments, tiny, write_corpus


def shell(command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`azc` in a shell, where it is written `azc`."""
    command = f'azc() {{ {" ".join(AZC)} "$@"; }}; {command}'
    return subprocess.run(
        ["bash", "-c", command], cwd=cwd, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("azc check good.azg >&-", 0),
        ("azc show good.azg >&-", 0),
        ("azc fmt --check good.azg 2>&-", 0),
        ("azc check nothing.azg 2>&-", 1),
        ("azc check good.azg <&- >&- 2>&-", 0),
        ("azc --version >&-", 0),
        ("azc --help >&-", 0),
        ("azc check >&- 2>&-", 2),
    ],
)
def test_closed_streams(tmp_path: Path, good: str, command: str, code: int) -> None:
    found = shell(command, tmp_path)
    assert (found.returncode, "Traceback" in found.stderr) == (code, False)


@pytest.mark.parametrize(
    ("command", "buffered"),
    [
        ("--version", ""),
        ("--help", ""),
        ("check good.azg", "1"),
        ("check good.azg --json", ""),
        ("check good.azg --json", "1"),
    ],
)
def test_a_full_disk(tmp_path: Path, good: str, command: str, buffered: str) -> None:
    found = shell(f"PYTHONUNBUFFERED={buffered} azc {command} > /dev/full", tmp_path)
    assert found.returncode == 1
    assert found.stderr.count("no space left on device") == 1
    assert "Traceback" not in found.stderr
    assert "Exception ignored" not in found.stderr


@pytest.mark.parametrize(
    ("command", "closed", "buffered", "code"),
    [
        ("ops --json", "stdout", "", 0),
        ("show std.models:bert_base --ir", "stdout", "1", 0),
        ("check bad.azg", "stderr", "", 1),
        ("check bad.azg --json", "stdout", "", 1),
        ("diff std.attention std.models --exit-code", "stdout", "1", 1),
        ("chek --json", "stdout", "", 2),
    ],
)
def test_nobody_reads(
    tmp_path: Path, command: str, closed: str, buffered: str, code: int
) -> None:
    """The exit code is that of the command, as where somebody does."""
    (tmp_path / "bad.azg").write_text("attention a(q) { return x }\n")
    reader, writer = os.pipe()
    os.close(reader)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    streams[closed] = writer
    done = subprocess.run(
        [*AZC, *command.split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONUNBUFFERED": buffered},
        check=False,
        **streams,
    )
    os.close(writer)
    assert done.returncode == code
    assert not done.stderr
    assert not done.stdout


def test_a_reader_that_has_enough(tmp_path: Path) -> None:
    found = shell("azc ops | head -1; echo ${PIPESTATUS[0]}", tmp_path)
    assert (found.stdout, found.stderr) == (
        "Elementwise operations of one operand\n0\n",
        "",
    )


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    found = shell("mkdir gone; cd gone; rmdir ../gone; azc check std.models", tmp_path)
    assert "Traceback" not in found.stderr
    assert found.returncode in (0, 1)


LOADING = """
import signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "azc.cli.check":
            signal.raise_signal(signal.{signal})

sys.meta_path.insert(0, Finder())
sys.argv = ["azc", "check", "std.models"]
from azc.cli.main import main
main()
"""


@pytest.mark.parametrize(
    ("name", "code", "said"), [("SIGINT", 130, "interrupted\n"), ("SIGTERM", 143, "")]
)
def test_interrupted_while_it_loads(name: str, code: int, said: str) -> None:
    program = LOADING.replace("{signal}", name)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "", said)


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_the_cursor_is_back(tmp_path: Path, sent: signal.Signals, code: int) -> None:
    (tmp_path / "tiny.azg").write_text(PROGRAM)
    options = arguments(tiny(write_corpus(tmp_path / "text"), warm_up=100_000))
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*AZC, "evolve", "tiny.azg", "-o", "run", *options],
        cwd=tmp_path,
        env={
            **os.environ,
            "AZC_CACHE": "cache",
            "TERM": "xterm",
            "OMP_NUM_THREADS": "1",
        },
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    found = b""
    stopped = False
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # how Linux tells that the other end is closed
            break
        found += part
        if b"warm" in found and not stopped:
            assert found.rindex(b"\x1b[?25l") > found.rfind(b"\x1b[?25h")
            process.send_signal(sent)
            stopped = True
        if not part:
            break
    os.close(ours)
    assert process.wait() == code
    assert found.rindex(b"\x1b[?25h") > found.rindex(b"\x1b[?25l")
    assert b"Traceback" not in found
    assert b"azc resume run" in found


SHORT = """
import json, resource, struct
from pathlib import Path
from azc.diagnostics import RunError
from azc.supernet.supernet import Supernet

size = 1 << 32
tensor = {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}
header = json.dumps({"weight": tensor}).encode()
path = Path("weights.safetensors")
with path.open("wb") as file:
    file.write(struct.pack("<Q", len(header)) + header)
    file.truncate(8 + len(header) + size)
pages = int(Path("/proc/self/statm").read_text().split()[0])
room = pages * resource.getpagesize() + (1 << 28)
resource.setrlimit(resource.RLIMIT_AS, (room, room))
try:
    Supernet.read(path)
except RunError as error:
    print(error.code, error.message)
"""


def test_no_memory_for_shared_weights(tmp_path: Path) -> None:
    if not Path("/proc/self/statm").exists():
        pytest.skip("can't see how much memory a process has here")
    done = subprocess.run(
        [sys.executable, "-c", SHORT],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    expected = "R030 can't read weights.safetensors: not enough memory\n"
    assert (done.stdout, done.stderr) == (expected, "")


def test_no_memory_for_a_command(azc: Azc, monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"),
        OSError(12, "Cannot allocate memory"),
    ):

        def fails(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr("azc.api.find_file", fails)
        found = azc("check", "any.azg")
        assert found.code == 1
        assert found.err.startswith(("error[R103]: not enough", "error[R100]: cannot"))


def test_a_path_too_long_for_a_journal(tmp_path: Path) -> None:
    folder = tmp_path
    while len(os.fsencode(folder)) < 520:
        folder /= "a" * 100
    folder.mkdir(parents=True)
    with pytest.raises(OSError, match="File name too long"):
        Journal.create(folder / "journal.sqlite")
    assert list(folder.iterdir()) == []


def test_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(UsageError, match="no home folder") as caught:
        home_cache()
    assert "AZC_CACHE" in str(caught.value.help)
