"""Entry point of the command line: streams, signals, exit codes.

It imports little, so that an interrupt while the commands are loading also ends
cleanly.
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
    """The process received SIGTERM. It is handled like Ctrl-C, with another exit
    code.
    """


def main() -> None:
    """Run the command line and exit.

    Exit codes are 0 for success, 1 for a failure, 2 for wrong usage, 130 for an
    interrupt and 143 for SIGTERM. They are the same if nobody reads the output.
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
    """A stream that discards output once its reader has closed the pipe.

    So a command continues, and ends with its own exit code, after `azc log RUN | head
    -1`.
    """

    def write(self, data: Buffer, /) -> int:
        """Write to the stream, or discard the data if its reader has gone."""
        try:
            return super().write(data)
        except BrokenPipeError:
            _throw_away(self.fileno())
            return memoryview(data).nbytes


def _open_streams() -> None:
    """Replace standard output and error by streams that never fail to encode or
    write.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the calling process
            # Stays open until the process ends, as any standard stream does.
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
    """Report why standard output can't be written, and return exit code 1."""
    drop_output()
    reason = (error.strerror or str(error)).lower()
    sys.stderr.write(f"error[R100]: {reason}\n")
    return 1


def drop_output() -> None:
    """Discard everything that is still to be written to standard output."""
    _throw_away(sys.stdout.fileno())


def _throw_away(stream: int) -> None:
    """Discard everything that is still to be written to a file descriptor."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream)
    os.close(nowhere)
