"""The folder of a run: fixed configuration, journal, programs, weights, log, lock.

Codes: R030 weights of a run cannot be read; R031 a file of a run was changed or
damaged; R035 a folder is not a run, or its `run.json` cannot be read; R036 the run has
another format version; R037 another process is working on the run; R040 the run has no
results yet; U021 the folder for the run is in use.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from azc.check.choose import choose_start
from azc.check.program import Program, SpaceSpec
from azc.check.resolve import check_source
from azc.data.summary import TextSummary
from azc.diagnostics import RunError, UsageError
from azc.files import write_text
from azc.search.database import FORMAT
from azc.search.journal import Journal
from azc.search.options import EvolveOptions
from azc.search.records import START, Candidate
from azc.source import Source

__all__ = ["RunFolder", "fingerprint"]

_GLANCE = (
    1.0  # seconds: `is_at_work` holds the lock for less, to see whether it is free
)
_NEEDED = {"program": str, "space": str, "options": dict}
_HALF = re.compile(r"\..*\.part")
_PROGRAM = re.compile(r"(\d{4,})\.azg")
_WEIGHTS = re.compile(r"(?:round-)?(\d+)(?:-\d+)?\.safetensors")


def fingerprint(path: Path) -> str:
    """Return the sha256 of a file. Raise `OSError` if it can't be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_Trace = tuple[int, Path]  # a number, and the file whose name has it


@dataclass(frozen=True)
class Traces:
    """Files that a run only writes after its journal has a row for them.

    Attributes:
        program: The file of the last candidate.
        trained: Weights of the last round that has any.
        snapshot: The oldest snapshot, since those of past rounds are removed.
    """

    program: _Trace | None
    trained: _Trace | None
    snapshot: _Trace | None


@dataclass(frozen=True)
class RunFolder:
    """The files of one run."""

    path: Path

    @property
    def config_file(self) -> Path:
        """`run.json`: the configuration, which never changes once the run has
        started.
        """
        return self.path / "run.json"

    @property
    def journal_file(self) -> Path:
        """`journal.sqlite`."""
        return self.path / "journal.sqlite"

    @property
    def start_file(self) -> Path:
        """`start.azg`: the program of the start model."""
        return self.path / "start.azg"

    @property
    def best_file(self) -> Path:
        """`best.azg`: the best program of the last complete round, and finally that of
        the winner.
        """
        return self.path / "best.azg"

    @property
    def log_file(self) -> Path:
        """`log.txt`: a line for every event."""
        return self.path / "log.txt"

    @property
    def supernet_folder(self) -> Path:
        """`supernet`: weights."""
        return self.path / "supernet"

    @property
    def candidates_folder(self) -> Path:
        """`candidates`: programs."""
        return self.path / "candidates"

    def candidate_file(self, number: int) -> Path:
        """`candidates/0007.azg`."""
        return self.candidates_folder / f"{number:04}.azg"

    def snapshot_file(self, number: int) -> Path:
        """`supernet/0003.safetensors`: the shared weights that a round starts from."""
        return self.supernet_folder / f"{number:04}.safetensors"

    def weights_file(self, round: int, candidate: int) -> Path:
        """Return the file of a candidate's trained weights, which is kept until its
        round is complete.
        """
        return self.supernet_folder / f"round-{round:04}-{candidate:04}.safetensors"

    @property
    def path_file(self) -> Path:
        """The shared weights that a path of the warm-up starts from."""
        return self.supernet_folder / "warm-up.safetensors"

    @property
    def trained_path_file(self) -> Path:
        """The shared weights after a path of the warm-up was trained."""
        return self.supernet_folder / "warm-up-path.safetensors"

    # Creating and reading

    def check_free(self) -> None:
        """Raise `UsageError` U021 if the folder is not empty."""
        if self.path.exists() and not self.path.is_dir():
            raise UsageError("U021", f"{self.path} is a file, not a folder")
        names = (
            [path.name for path in self.path.iterdir()] if self.path.is_dir() else []
        )
        # A killed process may have left these before the run started.
        if any(name != ".lock" and not _HALF.fullmatch(name) for name in names):
            help_ = "choose another folder"
            if self.config_file.exists():
                help_ = f"azc resume {self.path} continues the run in it"
            raise UsageError("U021", f"the folder {self.path} is not empty", help_)

    def create(self, config: Mapping[str, Any]) -> None:
        """Create a run in an empty folder whose lock is held. Raises as
        `check_free`.
        """
        self.check_free()
        self._write({"format": FORMAT, **config})

    def complete(self, **facts: object) -> dict[str, Any]:
        """Add facts about the data to the configuration of a run that has no journal
        yet.

        After that, the configuration never changes.

        Returns:
            The configuration.
        """
        config = {**self.read(), **facts}
        self._write(config)
        return config

    def _write(self, config: Mapping[str, Any]) -> None:
        text = json.dumps(config, indent=2, ensure_ascii=False)
        write_text(self.config_file, text + "\n")

    def discard(self, new: Iterable[Path]) -> None:
        """Remove the files of a run that has no journal yet, and those of the folders
        `new` that are then empty.
        """
        for path in (self.config_file, self.log_file, self.path / ".lock"):
            path.unlink(missing_ok=True)
        with suppress(OSError):
            for folder in new:
                folder.rmdir()

    def read(self) -> dict[str, Any]:
        """Return the configuration. It has no `fingerprint` until the data has been
        loaded.

        Raises:
            RunError: For a folder that is not a run, or one of another format.
        """
        try:
            config = json.loads(self.config_file.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError) as error:
            missing = "" if self.path.exists() else "there is no folder "
            is_none = "" if missing else " is not the folder of a run"
            raise RunError("R035", f"{missing}{self.path}{is_none}") from error
        except (OSError, ValueError, RecursionError) as error:
            message = f"can't read {self.config_file}: {error}"
            raise RunError("R035", message) from error
        if not isinstance(config, dict) or "format" not in config:
            message = f"{self.config_file} is not the configuration of a run"
            raise RunError("R035", message)
        if config["format"] != FORMAT:
            raise RunError(
                "R036",
                f"{self.path} has run format {config['format']}, but this version of azc"
                f" reads {FORMAT}",
                f"it was written by azc {config.get('azc', '?')}",
            )
        needed = _NEEDED | ({"fingerprint": str} if "fingerprint" in config else {})
        for name, kind in needed.items():
            if not isinstance(config.get(name), kind):
                fault = f"{self.config_file} has no {name} that can be read"
                raise RunError("R035", fault)
        return config

    def program(self, config: Mapping[str, Any]) -> Program:
        """Return the program that the run was started with."""
        return check_source(
            Source(f"{self.config_file}: program", config["program"], own=True)
        )

    def space(self, config: Mapping[str, Any]) -> tuple[str, SpaceSpec]:
        """Return the name of the start model, and the search space."""
        return choose_start(self.program(config), config["space"])

    def options(self, config: Mapping[str, Any]) -> EvolveOptions:
        """Return the options that the run was started with. Raise `RunError` R035 if
        they are invalid.
        """
        try:
            return EvolveOptions.from_json(config["options"])
        except UsageError as error:
            message = f"{self.config_file}: {error.message}"
            raise RunError("R035", message) from error

    def text(self, config: Mapping[str, Any]) -> TextSummary | None:
        """Return the summary of the text, if there is one. Raise `RunError` R035 if it
        is invalid.
        """
        values = config.get("text")
        try:
            return None if values is None else TextSummary.from_json(values)
        except (TypeError, KeyError, AttributeError) as error:
            message = f"{self.config_file} has no text that can be read"
            raise RunError("R035", message) from error

    # Locking and journal

    def lock(self) -> FileLock:
        """Acquire the lock that a process holds while it works in the folder.

        The lock is released when the process ends, however it ends.

        Raises:
            RunError: R037, if another process holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=_GLANCE)
        except Timeout as error:
            message = f"another process is working in {self.path}"
            help_ = "wait until it ends, or stop it"
            raise RunError("R037", message, help_) from error
        return lock

    def is_at_work(self) -> bool:
        """Return whether a process works in the folder. Nothing is created, so a folder
        that is gone stays so.
        """
        path = self.path / ".lock"
        if not path.exists():
            return False
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        except OSError:  # a folder that can't be written: of a copy, say
            return False
        lock.release()
        return False

    def open(self) -> Journal:
        """Open the journal, and create it and its folders if the run has just
        started.
        """
        make = Journal if self._has_begun() else Journal.create
        journal = make(self.journal_file)
        self.candidates_folder.mkdir(exist_ok=True)
        self.supernet_folder.mkdir(exist_ok=True)
        return journal

    def look(self) -> Journal | None:
        """Open the journal for reading, while another process may write; return None if
        it does not exist yet.
        """
        if not self._has_begun():
            return None
        return Journal(self.journal_file, read_only=True)

    def desk(self) -> Journal:
        """Open the journal to write actions, while another process may work. Raise
        `RunError` R040 if it does not exist yet.
        """
        if not self._has_begun():
            raise RunError(
                "R040", f"{self.path} has not started yet: try again in a moment"
            )
        return Journal(self.journal_file)

    def stop_file(self, candidate: int) -> Path:
        """Return the file that makes a process stop training a candidate."""
        return self.supernet_folder / f"stop-{candidate:04}"

    def _has_begun(self) -> bool:
        """Return whether there must be a journal. Raise `RunError` R031 if it is
        missing.
        """
        begun = self.candidates_folder.exists() or self.supernet_folder.exists()
        if begun and not self.journal_file.exists():
            message = f"{self.journal_file} is missing, and the run needs it"
            raise RunError("R031", message)
        return begun or Journal.is_made(self.journal_file)

    def write_candidates(self, candidates: Mapping[int, Candidate]) -> None:
        """Write the programs that have no file yet."""
        for path, candidate in self._programs(candidates):
            if not path.exists():
                write_text(path, candidate.program)

    def _programs(
        self, candidates: Mapping[int, Candidate]
    ) -> Iterator[tuple[Path, Candidate]]:
        for number, candidate in candidates.items():
            yield self.candidate_file(number), candidate
            if number == START:
                yield self.start_file, candidate

    # Checks for changes

    def traces(self) -> Traces:
        """Return the files that show how far the run has come.

        Call it before the journal is read, because a running search writes the journal
        first.
        """
        programs = _numbered(self.candidates_folder, _PROGRAM)
        weights = _numbered(self.supernet_folder, _WEIGHTS)
        if self.start_file.exists():
            programs.append((START, self.start_file))
        trained = [each for each in weights if each[1].name.startswith("round-")]
        snapshots = [each for each in weights if each not in trained]
        return Traces(
            max(programs, default=None),
            max(trained, default=None),
            min(snapshots, default=None),
        )

    def check_traces(self, journal: Journal, traces: Traces) -> None:
        """Check that a journal has everything that the other files show.

        Until a run is paused or complete, SQLite keeps the latest rows in a file beside
        the journal, and accepts a journal without that file.

        Raises:
            RunError: R031, if the latest part is missing.
        """
        last, closed = journal.last_round() or (-1, True)
        for trace, most in (
            (traces.program, journal.last_candidate()),
            (traces.trained, last),
            (traces.snapshot, last + closed),  # of the round to work on
        ):
            if trace is not None and trace[0] > most:
                name, log = self.journal_file.name, f"{self.journal_file.name}-wal"
                raise RunError(
                    "R031",
                    f"{self.journal_file} lacks the latest part of the run: it is older"
                    f" than {trace[1].relative_to(self.path).as_posix()}",
                    f"{log}, beside it, is missing or damaged: bring back {name} and"
                    f" {log} as they were together",
                )

    def check_config(self, journal: Journal) -> None:
        """Raise `RunError` R031 if `run.json` has changed since the run started."""
        name = self.config_file.name
        begun = journal.files().get(name)
        if begun is not None and begun != fingerprint(self.config_file):
            raise _changed(
                self.config_file,
                "the scores in the journal belong to the original: restore it, or start"
                " a new run",
            )

    def check_programs(self, candidates: Mapping[int, Candidate]) -> None:
        """Raise `RunError` R031 if the file of a program differs from the journal. A
        missing file is written again.
        """
        for path, candidate in self._programs(candidates):
            try:
                same = path.read_bytes() == candidate.program.encode()
            except FileNotFoundError:
                continue
            if not same:
                help_ = "remove it, and azc will write it again; to search from another"
                raise _changed(path, f"{help_} program, start a new run")

    def check_weights(self, path: Path, kept: str | None) -> None:
        """Raise `RunError` R030 if weights are missing, and R031 if they do not have
        this fingerprint.
        """
        if not path.exists():
            raise RunError(
                "R030",
                f"{path} is missing: no candidate can be scored without it",
                "restore a copy of it, or start a new run",
            )
        if fingerprint(path) != kept:
            raise _changed(path, "restore a copy of it, or start a new run")

    def clean(self) -> None:
        """Remove files that a killed process left incomplete."""
        for folder in (self.path, self.candidates_folder, self.supernet_folder):
            for path in folder.glob(".*.part"):
                path.unlink(missing_ok=True)
        for path in (self.path_file, self.trained_path_file):
            path.unlink(missing_ok=True)

    def sweep(self, number: int) -> None:
        """Remove the weights of earlier rounds."""
        for path in self.supernet_folder.iterdir():
            found = _WEIGHTS.fullmatch(path.name)
            if found and int(found[1]) < number:
                path.unlink(missing_ok=True)


def _numbered(folder: Path, names: re.Pattern[str]) -> list[_Trace]:
    """List the files of a folder with such names; empty if the folder does not
    exist.
    """
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        match = names.fullmatch(path.name)
        if match:
            found.append((int(match[1]), path))
    return found


def _changed(path: Path, help_: str) -> RunError:
    message = f"{path} has changed since the run wrote it"
    return RunError("R031", message, help_)
