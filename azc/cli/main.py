"""Where the command line begins and ends: streams, signals, exit codes.

Light to import, so that an interrupt while the commands are loaded ends in a word too.
"""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Terminated", "drop_output", "main"]


class Terminated(KeyboardInterrupt):
    """The process was asked to end (SIGTERM): like Ctrl-C, but for its exit code."""


def main() -> None:
    """Runs the command line; exit code 0 is fine, 1 a failure, 2 wrong usage, 130 and 143
    an interrupt and a request to end. It is the same where nobody reads the output.
    """
    _open_streams()
    signal.signal(signal.SIGTERM, _terminate)
    code: int | str | None = 0
    try:
        from azc.cli.app import app

        if "_AZC_COMPLETE" in os.environ:
            from azc.cli.completion import complete

            complete(partial(app, prog_name="azc"))
        else:
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


class _Written(FileIO):
    """A stream that may be read no more: what is written then is thrown away.

    So a command goes on, and ends with its own exit code, where a pipe is closed
    (`azc log RUN | head -1`).
    """

    def write(self, data: Buffer, /) -> int:
        """Writes to the stream, or to nowhere."""
        try:
            return super().write(data)
        except BrokenPipeError:
            _throw_away(self.fileno())
            return memoryview(data).nbytes


def _open_streams() -> None:
    """Makes streams that everything can write to."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever called
            # Open till the process ends, as a stream is.
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif isinstance(stream, TextIOWrapper):  # a terminal may lack a character
            raw: Any = _Written(stream.fileno(), "w", closefd=False)
            unbuffered = isinstance(stream.buffer, FileIO)
            new = TextIOWrapper(
                raw if unbuffered else BufferedWriter(raw),
                stream.encoding,
                "replace",
                line_buffering=stream.line_buffering,
                write_through=unbuffered,
            )
            setattr(sys, name, new)


def _unwritten(error: OSError) -> int:
    """Says why standard output can't be written; exit code 1."""
    drop_output()
    reason = (error.strerror or str(error)).lower()
    sys.stderr.write(f"error[R100]: {reason}\n")
    return 1


def drop_output() -> None:
    """Throws away what is still to be written to standard output."""
    _throw_away(sys.stdout.fileno())


def _throw_away(stream: int) -> None:
    """Throws away what is still to be written to a file descriptor."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream)
    os.close(nowhere)
