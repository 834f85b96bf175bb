"""Where the figures of a search go besides its run: to what people watch training with.

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
    """Takes in what a search tells."""

    def __call__(self, event: Event) -> None:
        """Something has happened. Raises `OSError` where it can't be written."""

    def close(self) -> None:
        """Writes what is left. Raises `OSError` where it can't."""


@contextmanager
def _as_os_error(place: Path) -> Iterator[None]:
    """Whatever a library raises where it writes to a place, as an `OSError` of a file."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.filename:
            raise
        words = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise OSError(EIO, words, str(place)) from error


def _leave_to_caller(package: str) -> None:
    """What ends a thread of a package is not printed: the next call there raises it."""
    shown = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if not type(args.thread).__module__.startswith(package):
            shown(args)

    threading.excepthook = hook


class TensorBoard:
    """Scalars for TensorBoard, in the folder `tensorboard` of a run.

    `score/loss` (and the other objectives): of each candidate, by how many evaluations
    are spent; `round/loss`: the best of each round; a program trained alone,
    `validation/NAME` by how many steps it was trained for and `test/NAME` by its seed;
    `seconds`: how long a candidate took. A run that goes on adds to them.
    """

    def __init__(self, run: Path) -> None:
        self._folder = run / "tensorboard"
        with _as_os_error(self._folder):
            from torch.utils.tensorboard import SummaryWriter

            _leave_to_caller("tensorboard.")
            self._writer = SummaryWriter(str(self._folder))

    def __call__(self, event: Event) -> None:
        """Writes the scalars of an event."""
        with _as_os_error(self._folder):
            for name, value, step in _scalars(event):
                self._writer.add_scalar(name, value, step)
            # After every event: what a kill leaves is whole.
            self._writer.flush()

    def close(self) -> None:
        """Closes the file."""
        with _as_os_error(self._folder):
            self._writer.close()


class Trackio:
    """The scalars that TensorBoard has, as one run of the project `azc` in Trackio's
    store on this machine, with the options of the search as its configuration.

    `trackio.json` of the run's folder says which run it is there: one that goes on, or
    is moved, goes on in it.

    Trackio's own `init` starts a thread, asks the hub who is logged in, sends to a server
    that the environment names, and only warns of what it can't write. This writes what
    that thread would write, its records, before an event is over.
    """

    def __init__(self, run: Path) -> None:
        # With these of a Space's, Trackio would fetch a store from the hub.
        for name in ("TRACKIO_BUCKET_ID", "TRACKIO_DATASET_ID"):
            os.environ.pop(name, None)
        # What it prints of a network's disk is no news of the search.
        with _as_os_error(run), redirect_stdout(StringIO()):
            from trackio import fragments, utils

            self._fragments = fragments
            self._store = Path(utils.TRACKIO_DIR)
            # Many machines may write to a network's disk: there, files that are added,
            # which the dashboard takes into its database.
            is_shared = utils.get_storage_mode() == "jsonl"
            writer = fragments.FragmentWriter()
            self._write = writer.write_local if is_shared else fragments.import_records
            self._name, self._id = _identity(run)
            self._config: dict[str, object] | None = _configuration(run)

    def __call__(self, event: Event) -> None:
        """Writes the scalars of an event, which is one step, in one transaction."""
        figures: dict[int, dict[str, float]] = {}
        for name, value, step in _scalars(event):
            figures.setdefault(step, {})[name] = value
        with _as_os_error(self._store):
            self._write([self._record(s, f) for s, f in figures.items()])

    def _record(self, step: int, figures: Mapping[str, float]) -> object:
        config, self._config = self._config, None  # once is enough
        return self._fragments.metric_record(
            {
                "project": "azc",
                "run": self._name,
                "run_id": self._id.hex,
                "metrics": figures,
                "step": step,
                "timestamp": datetime.now(UTC).isoformat(),
                "config": config,
                # Of its contents: a step of the warm-up that is done again is one step.
                "log_id": uuid5(self._id, json.dumps([step, figures])).hex,
            }
        )

    def close(self) -> None:
        """Everything is written."""


def _identity(run: Path) -> tuple[str, UUID]:
    """The name and the number of a run in Trackio's store."""
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
            # Of several seeds there are only tests, and of several steps none.
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
    """What makes the sink of a run, once its folder is there. Raises `UsageError` U027
    for a name that is none, and for what is not installed.
    """
    if name not in SINKS:
        near = nearest(name, SINKS)
        hint = f"did you mean {near}? " if near else ""
        known = ", ".join(SINKS)
        raise UsageError("U027", f"there is no log {name!r}", f"{hint}it is {known}")
    if importlib.util.find_spec(name) is None:
        message = f"{name} is not installed"
        raise UsageError("U027", message, f"pip install {name}")
    return SINKS[name]
