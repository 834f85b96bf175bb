"""Metrics of a search for TensorBoard or Trackio, in addition to the run itself.

A sink is called with every event.

Codes: U027 the log is unknown, or its package is not installed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime
from errno import EIO
from io import StringIO
from pathlib import Path
from types import MappingProxyType
from typing import Protocol
from uuid import UUID, uuid4, uuid5

from azc.diagnostics import UsageError, nearest
from azc.files import write_text
from azc.search.events import Closed, Event, Fitted, Scored, Warming
from azc.search.view import read_run

__all__ = ["SINKS", "Sink", "TensorBoard", "Trackio", "find_sink"]


class Sink(Protocol):
    """Receives the events of a search."""

    def __call__(self, event: Event) -> None:
        """Write the metrics of an event. Raise `OSError` if they can't be written."""

    def close(self) -> None:
        """Write everything that is left. Raise `OSError` if it can't be written."""


@contextmanager
def _as_os_error(place: Path) -> Iterator[None]:
    """Convert any exception of a library that writes to `place` into an `OSError`."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.filename:
            raise
        words = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise OSError(EIO, words, str(place)) from error


def _leave_to_caller(package: str) -> None:
    """Do not print exceptions that end a thread of a package: its next call raises
    them.
    """
    shown = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if not type(args.thread).__module__.startswith(package):
            shown(args)

    threading.excepthook = hook


class TensorBoard:
    """Scalars for TensorBoard, in the folder `tensorboard` of a run.

    `score/loss` (and the other objectives) has the scores of candidates, by the number
    of evaluations spent; `round/loss` the best of each round; `validation/NAME` the
    losses of models trained from scratch, by training steps, and `test/NAME` by seed;
    `seconds` the durations of evaluations. A resumed run appends to them.
    """

    def __init__(self, run: Path) -> None:
        self._folder = run / "tensorboard"
        with _as_os_error(self._folder):
            from torch.utils.tensorboard import SummaryWriter

            _leave_to_caller("tensorboard.")
            self._writer = SummaryWriter(str(self._folder))

    def __call__(self, event: Event) -> None:
        """Write the scalars of an event."""
        with _as_os_error(self._folder):
            for name, value, step in _scalars(event):
                self._writer.add_scalar(name, value, step)
            # Flush after every event, so that a kill leaves complete files.
            self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        with _as_os_error(self._folder):
            self._writer.close()


class Trackio:
    """The same scalars as for TensorBoard, in Trackio's store on this machine.

    They are one run of the project `azc`, whose configuration is the options of the
    search. `trackio.json` in the run's folder identifies it there, so that a run that
    is resumed or moved continues the same Trackio run.

    Trackio's own `init` starts a thread, asks the hub who is logged in, sends to a
    server that the environment names, and only warns about data that it can't write.
    This class writes the records of that thread directly, before an event is over.
    """

    def __init__(self, run: Path) -> None:
        # With these variables of a Space, Trackio would download a store from the Hub.
        for name in ("TRACKIO_BUCKET_ID", "TRACKIO_DATASET_ID"):
            os.environ.pop(name, None)
        # Hide its messages about network disks.
        with _as_os_error(run), redirect_stdout(StringIO()):
            from trackio import fragments, utils

            self._fragments = fragments
            self._store = Path(utils.TRACKIO_DIR)
            # Many machines may write to a network disk. There, Trackio adds files, which
            # its dashboard imports into the database.
            is_shared = utils.get_storage_mode() == "jsonl"
            writer = fragments.FragmentWriter()
            self._write = writer.write_local if is_shared else fragments.import_records
            self._name, self._id = _identity(run)
            self._config: dict[str, object] | None = _configuration(run)

    def __call__(self, event: Event) -> None:
        """Write the scalars of an event, which is one step, in one transaction."""
        figures: dict[int, dict[str, float]] = {}
        for name, value, step in _scalars(event):
            figures.setdefault(step, {})[name] = value
        with _as_os_error(self._store):
            self._write([self._record(s, f) for s, f in figures.items()])

    def _record(self, step: int, figures: Mapping[str, float]) -> object:
        config, self._config = self._config, None  # only with the first record
        return self._fragments.metric_record(
            {
                "project": "azc",
                "run": self._name,
                "run_id": self._id.hex,
                "metrics": figures,
                "step": step,
                "timestamp": datetime.now(UTC).isoformat(),
                "config": config,
                # Derived from the content, so that a repeated warm-up step counts once.
                "log_id": uuid5(self._id, json.dumps([step, figures])).hex,
            }
        )

    def close(self) -> None:
        """Do nothing: everything is written."""


def _identity(run: Path) -> tuple[str, UUID]:
    """Return the name and the id of a run in Trackio's store."""
    file = run / "trackio.json"
    if not file.exists():
        new = {"run": run.resolve().name, "id": uuid4().hex}
        write_text(file, json.dumps(new) + "\n")
    known = json.loads(file.read_text(encoding="utf-8"))
    return str(known["run"]), UUID(known["id"])


def _configuration(run: Path) -> dict[str, object]:
    view = read_run(run)
    return {
        "folder": str(run.resolve()),
        "azc": view.version,
        "space": view.space,
        "model": view.model,
        **view.options.as_json(),
    }


def _scalars(event: Event) -> list[tuple[str, float, int]]:
    match event:
        case Scored(scores=scores, spent=spent, seconds=seconds) if scores is not None:
            found = [(f"score/{name}", value, spent) for name, value in scores.items()]
            return [*found, ("seconds", seconds, spent)]
        case Closed(round=number, scores=scores) if scores is not None:
            return [(f"round/{name}", v, number + 1) for name, v in scores.items()]
        case Fitted(loss=loss) if loss is not None:
            # Tests have several seeds, and validation has several numbers of steps.
            step = event.seed if event.split == "test" else event.steps
            return [(f"{event.split}/{event.name}", loss, step)]
        case Warming(step, steps):
            return [("warm-up", step / steps if steps else 1.0, step)]
        case _:
            return []


SINKS: Mapping[str, Callable[[Path], Sink]] = MappingProxyType(
    {"tensorboard": TensorBoard, "trackio": Trackio}
)


def find_sink(name: str) -> Callable[[Path], Sink]:
    """Return the function that creates a sink once the run's folder exists.

    Raises:
        UsageError: U027 for an unknown name, or a package that is not installed.
    """
    if name not in SINKS:
        near = nearest(name, SINKS)
        hint = f"did you mean {near}? " if near else ""
        known = ", ".join(SINKS)
        raise UsageError("U027", f"there is no log {name!r}", f"{hint}logs: {known}")
    if importlib.util.find_spec(name) is None:
        message = f"{name} is not installed"
        raise UsageError("U027", message, f"pip install {name}")
    return SINKS[name]
