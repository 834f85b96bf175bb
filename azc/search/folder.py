"""A run is a folder: frozen configuration, journal, programs, weights, log, lock.

Codes: R030 weights of a run cannot be read; R031 a file of a run was changed or
damaged; R035 a folder is not a run, or its `run.json` cannot be read; R036 the run has
another format version; R037 another process is working on the run; R040 the run has no
results yet; U021 the folder for the run is in use.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
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
_NEEDED = {"program": str, "space": str, "options": dict, "fingerprint": str}
_WEIGHTS = re.compile(r"(?:round-)?(\d+)(?:-\d+)?\.safetensors")


def fingerprint(path: Path) -> str:
    """Return the sha256 of a file. Raise `OSError` if it can't be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class RunFolder:
    """The files of one run."""

    path: Path

    @property
    def config_file(self) -> Path:
        """`run.json`: what the run was begun with, never written again."""
        return self.path / "run.json"

    @property
    def journal_file(self) -> Path:
        """`journal.sqlite`."""
        return self.path / "journal.sqlite"

    @property
    def start_file(self) -> Path:
        """`start.azg`: the program that evolution began with."""
        return self.path / "start.azg"

    @property
    def best_file(self) -> Path:
        """`best.azg`: the best program of the last round that is over."""
        return self.path / "best.azg"

    @property
    def log_file(self) -> Path:
        """`log.txt`: a line for whatever happened."""
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

    # Begun and read

    def check_free(self) -> None:
        """Raises `UsageError` where there is something in the folder already."""
        if self.path.exists() and not self.path.is_dir():
            raise UsageError("U021", f"{self.path} is a file, not a folder")
        if self.path.is_dir() and any(p.name != ".lock" for p in self.path.iterdir()):
            help_ = "choose another folder"
            if self.config_file.exists():
                help_ = f"azc resume {self.path} goes on with the run in it"
            raise UsageError("U021", f"the folder {self.path} is not empty", help_)

    def create(self, config: Mapping[str, Any]) -> None:
        """Makes a run of an empty folder whose lock is held; raises as `check_free`."""
        self.check_free()
        text = json.dumps({"format": FORMAT, **config}, indent=2, ensure_ascii=False)
        write_text(self.config_file, text + "\n")

    def read(self) -> dict[str, Any]:
        """Return the configuration. Raise `RunError` for a folder that is not a run, or
        one of another format.
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
                f"{self.path} has the run format {config['format']};"
                f" this azc reads {FORMAT}",
                f"it was written by azc {config.get('azc', '?')}",
            )
        for name, kind in _NEEDED.items():
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

    # At work

    def lock(self) -> FileLock:
        """Held as long as a process works in the folder; freed by its end, however it
        ends. Raises `RunError` where another one holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=_GLANCE)
        except Timeout as error:
            message = f"another process works in {self.path}"
            raise RunError("R037", message, "wait for its end, or stop it") from error
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
        if self._has_begun():
            return Journal(self.journal_file)
        journal = Journal.create(self.journal_file)
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
                "R040", f"{self.path} has not begun yet: try again in a moment"
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
            message = f"{self.journal_file} is missing: no run can go on without it"
            raise RunError("R031", message)
        return begun

    def write_candidates(self, candidates: Mapping[int, Candidate]) -> None:
        """Writes the programs that have no file yet."""
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

    # What has changed

    def check_config(self, journal: Journal) -> None:
        """Raises `RunError` R031 where `run.json` is not what the run began with."""
        name = self.config_file.name
        begun = journal.files().get(name)
        if begun is not None and begun != fingerprint(self.config_file):
            raise _changed(
                self.config_file,
                "the scores in the journal are of what it was: bring that back, or"
                " start a new run",
            )

    def check_programs(self, candidates: Mapping[int, Candidate]) -> None:
        """Raises `RunError` R031 where the file of a program is not what the journal
        has. One that is gone is written again.
        """
        for path, candidate in self._programs(candidates):
            try:
                same = path.read_bytes() == candidate.program.encode()
            except FileNotFoundError:
                continue
            if not same:
                help_ = "remove it, and azc writes it again; to search from a changed"
                raise _changed(path, f"{help_} program, start a new run")

    def check_weights(self, path: Path, kept: str | None) -> None:
        """Raises `RunError` R030 for weights that are gone, and R031 for others than
        those with this fingerprint.
        """
        if not path.exists():
            raise RunError(
                "R030",
                f"{path} is missing: no candidate can be scored without it",
                "bring back a copy of it, or start a new run",
            )
        if fingerprint(path) != kept:
            raise _changed(path, "bring back a copy of it, or start a new run")

    def clean(self) -> None:
        """Removes what a kill has left half-written."""
        for folder in (self.path, self.candidates_folder, self.supernet_folder):
            for path in folder.glob(".*.part"):
                path.unlink(missing_ok=True)
        for path in (self.path_file, self.trained_path_file):
            path.unlink(missing_ok=True)

    def sweep(self, number: int) -> None:
        """Removes weights of rounds before a round."""
        for path in self.supernet_folder.iterdir():
            found = _WEIGHTS.fullmatch(path.name)
            if found and int(found[1]) < number:
                path.unlink(missing_ok=True)


def _changed(path: Path, help_: str) -> RunError:
    message = f"{path} has changed since the run wrote it"
    return RunError("R031", message, help_)
