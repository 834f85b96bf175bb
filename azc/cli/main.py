"""Where the command line begins and ends: streams, signals, exit codes.

Light to import, so that an interrupt while the commands are loaded ends in a word too.
"""

from __future__ import annotations

import os
import signal
import sys
from io import TextIOWrapper
from typing import NoReturn

__all__ = ["Terminated", "drop_output", "main"]


class Terminated(KeyboardInterrupt):
    """The process was asked to end (SIGTERM): like Ctrl-C, but for its exit code."""


def main() -> None:
    """Runs the command line; exit code 0 is fine, 1 a failure, 2 wrong usage, 130 and 143
    an interrupt and a request to end.
    """
    _open_streams()
    signal.signal(signal.SIGTERM, _terminate)
    code: int | str | None = 0
    try:
        from azc.cli.app import app

        app(prog_name="azc")
    except SystemExit as error:
        code = error.code
    except Terminated:
        code = 143
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        code = 130
    except OSError as error:
        code = _unwritten(error)
    try:
        sys.stdout.flush()
    except OSError as error:
        code = code or _unwritten(error)
        drop_output()
    sys.exit(code)


def _terminate(signum: int, frame: object) -> NoReturn:
    raise Terminated


def _open_streams() -> None:
    """Makes streams that everything can write to."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever called
            # Open till the process ends, as a stream is.
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif isinstance(stream, TextIOWrapper):  # a terminal may lack a character
            stream.reconfigure(errors="replace")


def _unwritten(error: OSError) -> int:
    """Says why standard output can't be written, unless nobody reads it; exit code 1."""
    drop_output()
    if not isinstance(error, BrokenPipeError):
        reason = (error.strerror or str(error)).lower()
        sys.stderr.write(f"error[R100]: {reason}\n")
    return 1


def drop_output() -> None:
    """Throws away what is still to be written to standard output."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
