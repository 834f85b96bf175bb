"""A run is a folder: frozen configuration, journal, programs, weights, log, lock."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from azc.check.program import Program
from azc.check.resolve import check_source
from azc.diagnostics import RunError, UsageError
from azc.search.journal import Candidate, Journal
from azc.search.options import EvolveOptions
from azc.source import Source

__all__ = ["FORMAT", "RunFolder", "write_text"]

FORMAT = 1


def write_text(path: Path, text: str) -> None:
    """Writes beside `path`, flushes to the disk, then renames: all or nothing."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


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
    def best_file(self) -> Path:
        """`best.azg`: the best program of the last round that is over."""
        return self.path / "best.azg"

    @property
    def log_file(self) -> Path:
        """`log.txt`: a line for whatever happened."""
        return self.path / "log.txt"

    def candidate_file(self, number: int) -> Path:
        """`candidates/0007.azg`."""
        return self.path / "candidates" / f"{number:04}.azg"

    def snapshot_file(self, number: int) -> Path:
        """`supernet/0003.safetensors`: the shared weights that a round starts from."""
        return self.path / "supernet" / f"{number:04}.safetensors"

    def weights_file(self, round: int, candidate: int) -> Path:
        """A candidate's trained weights, kept until its round is over."""
        return self.path / "supernet" / f"round-{round:04}-{candidate:04}.safetensors"

    def create(self, config: Mapping[str, Any]) -> None:
        """Fills a folder whose lock is held. Raises `UsageError` where there is
        something in it already.
        """
        if any(path.name != ".lock" for path in self.path.iterdir()):
            if self.config_file.exists():
                help_ = f"azc resume {self.path} goes on with the run in it"
            else:
                help_ = "choose another folder"
            raise UsageError("U021", f"the folder {self.path} is not empty", help_)
        for name in ("candidates", "supernet"):
            (self.path / name).mkdir(exist_ok=True)
        text = json.dumps({"format": FORMAT, **config}, indent=2, ensure_ascii=False)
        write_text(self.config_file, text + "\n")

    def read(self) -> dict[str, Any]:
        """What `create` wrote. Raises `RunError` for a folder that is no run, or one of
        another format.
        """
        try:
            config = json.loads(self.config_file.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise RunError("R035", f"{self.path} is not the folder of a run") from error
        except (OSError, ValueError) as error:
            message = f"can't read {self.config_file}: {error}"
            raise RunError("R035", message) from error
        found = config.get("format") if isinstance(config, dict) else None
        if found != FORMAT:
            raise RunError(
                "R036",
                f"{self.path} has the run format {found}; this azc reads {FORMAT}",
                f"it was written by azc {config.get('azc', '?')}"
                if isinstance(config, dict)
                else None,
            )
        missing = {"program", "space", "options"} - set(config)
        if missing:
            message = f"{self.config_file} lacks {', '.join(sorted(missing))}"
            raise RunError("R035", message)
        return dict(config)

    def program(self, config: Mapping[str, Any]) -> Program:
        """The program that the run was begun with."""
        return check_source(Source(f"{self.config_file}: program", config["program"]))

    def options(self, config: Mapping[str, Any]) -> EvolveOptions:
        """The options that the run was begun with."""
        return EvolveOptions.from_json(config["options"])

    def lock(self) -> FileLock:
        """Held as long as a process works in the folder; freed by its end, however it
        ends. Raises `RunError` where another one holds it.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UsageError("U021", f"{self.path} is a file, not a folder")
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            message = f"another process works in {self.path}"
            raise RunError("R037", message, "wait for its end, or stop it") from error
        return lock

    def journal(self) -> Journal:
        """The open journal. Raises `RunError` for a broken one."""
        return Journal(self.journal_file)

    def write_candidates(self, candidates: Mapping[int, Candidate]) -> None:
        """Writes the programs that have no file yet."""
        for number, candidate in candidates.items():
            path = self.candidate_file(number)
            if not path.exists():
                write_text(path, candidate.program)

    def sweep(self, keep: int) -> None:
        """Removes weights of rounds that are over: only snapshot `keep` stays."""
        for path in self.snapshot_file(0).parent.glob("*.safetensors"):
            if path != self.snapshot_file(keep):
                path.unlink(missing_ok=True)
