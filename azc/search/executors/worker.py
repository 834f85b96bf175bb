"""Functions of a process that runs jobs for another one, for any kind of executor."""

from __future__ import annotations

import logging
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from azc.diagnostics import AzcError, InternalError, RunError
from azc.search.score import Bench, cannot_import

__all__ = ["Begun", "Fault", "answered", "limit_memory", "settle", "usual_start"]

# Bounds of the seconds that a worker has for imports and for loading the data, which are
# three times the time limit of a candidate.
_START = (60.0, 600.0)

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Begun:
    """A worker has loaded code and data; all time from now on is spent on its job."""


@dataclass(frozen=True)
class Fault:
    """An error that kept a worker from its job and is not the fault of the job."""

    code: str | None
    message: str
    help: str | None

    def error(self) -> Exception:
        """Return the exception to raise in the process that sent the job."""
        if self.code is None:
            return InternalError(self.message)
        return RunError(self.code, self.message, self.help)


def answered(work: Callable[[], Answer]) -> Answer | Fault | OSError:
    """Return the result of `work`, or an exception in a form that can be sent to
    another process.
    """
    try:
        return work()
    except OSError as error:
        return error
    except ImportError as error:
        fault = cannot_import(error)
        return Fault(fault.code, fault.message, fault.help)
    except AzcError as error:
        return Fault(error.code, error.message, error.help)
    except Exception as error:
        return Fault(None, f"{type(error).__name__}: {error}", None)


def usual_start(bench: Bench) -> float:
    """Return the seconds that a worker has to start."""
    least, most = _START
    return min(max(3 * bench.options.time_limit, least), most)


def settle() -> None:
    """Prepare this process for running jobs."""
    from azc.training.fit import load

    # The first process has already logged warnings about the cache.
    logging.getLogger("azc").setLevel(logging.ERROR)
    load()


def limit_memory(limit: int | None) -> None:
    """Limit how many more bytes of memory this process may allocate. This only works on
    Linux.
    """
    if limit is None or sys.platform != "linux":
        return
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmData:"))
    has = int(line.split()[1]) * 1024
    most = resource.getrlimit(resource.RLIMIT_DATA)[1]
    wanted = has + limit
    if most != resource.RLIM_INFINITY:
        wanted = min(wanted, most)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, most))
