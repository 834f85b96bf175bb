"""User-defined strategies: a class in a user's file.

It runs like any other script of the user. Errors in it are reported with the line at
fault, and stop the run, which can be resumed.

Codes: R038 a strategy returned an invalid value; R045 the file of a custom strategy
raised an error; U024 unknown or invalid strategy.
"""

from __future__ import annotations

import json
import random
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from azc.check.program import SpaceSpec
from azc.diagnostics import RunError, UsageError, nearest
from azc.search.genome import Genome
from azc.search.options import EvolveOptions
from azc.search.strategies.base import Child, MakeStrategy, Scored, Strategy

__all__ = ["load_own", "own_file", "read_own"]

_METHODS = ("ask", "tell", "state", "restore", "display")
_MODULE = "azc_own_strategy"


def own_file(name: str) -> tuple[Path, str] | None:
    """Return the file and the class in `my.py:Mine`, or None for any other name."""
    file, _, kind = name.rpartition(":")
    return (Path(file), kind) if file.endswith(".py") else None


def read_own(file: Path) -> str:
    """Read a strategy file. Raise `UsageError` U024 if it can't be read."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UsageError("U024", f"there is no file {file}") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError("U024", f"can't read {file}: {reason}") from error
    except ValueError as error:
        raise UsageError("U024", f"{file} is not UTF-8 text") from error


def load_own(file: Path, kind: str, text: str) -> MakeStrategy:
    """Load the class of a strategy from the text of a file, and return its constructor.

    Raises:
        RunError: R045 for an error in the text.
        UsageError: U024, if it has no such class, or the class lacks methods of a
            strategy.
    """
    module = ModuleType(_MODULE)
    module.__file__ = str(file)
    sys.modules[_MODULE] = module  # where dataclasses look up names
    with _with_lines(file, text, "while loading it"):
        exec(compile(text, str(file), "exec"), module.__dict__)
    found = module.__dict__.get(kind)
    if not isinstance(found, type):
        classes = [name for name, each in vars(module).items() if _is_own(each)]
        near = nearest(kind, classes)
        help_ = f"did you mean {near}?" if near else None
        if not near and classes:
            help_ = f"it has the classes {', '.join(classes)}"
        raise UsageError(
            "U024", f"{file} has no class {kind or 'without a name'}", help_
        )
    missing = [name for name in _METHODS if not callable(getattr(found, name, None))]
    if missing:
        raise UsageError(
            "U024",
            f"{kind} in {file} is not a strategy: it has no {', no '.join(missing)}",
            f"a strategy has the methods {', '.join(_METHODS)}",
        )

    def make(start: Genome, space: SpaceSpec, options: EvolveOptions) -> Strategy:
        with _with_lines(file, text, f"in {kind}"):
            return _Own(file, text, found(start, space, options))

    return make


def _is_own(value: object) -> bool:
    return isinstance(value, type) and value.__module__ == _MODULE


@dataclass(frozen=True)
class _Own:
    """A user's strategy, whose errors and invalid return values are reported."""

    file: Path
    text: str
    inner: Any

    def ask(
        self, count: int, rng: random.Random, known: Mapping[str, int]
    ) -> Sequence[int | Child]:
        with self._in("ask"):
            asked = list(self.inner.ask(count, rng, known))
        for each in asked:
            if isinstance(each, Child) and not _is_sound(each):
                wanted = "a Child of a Genome, a tuple of candidate numbers and a text"
                self._refuse("ask", each, wanted)
            if isinstance(each, Child) and not _are_texts(each.kinds):
                self._refuse("ask", each.kinds, "a tuple of texts as kinds")
            if not (_is_number(each) or isinstance(each, Child)):
                self._refuse("ask", each, "candidate numbers or Child objects")
        return asked

    def tell(self, round: Sequence[Scored]) -> None:
        with self._in("tell"):
            self.inner.tell(round)

    def state(self) -> object:
        with self._in("state"):
            state = self.inner.state()
        try:
            json.dumps(state, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            self._refuse("state", state, "a JSON value")
        return state

    def restore(self, state: object, genome: Callable[[int], Genome]) -> None:
        with self._in("restore"):
            self.inner.restore(state, genome)

    def display(self) -> Mapping[str, str]:
        with self._in("display"):
            shown = dict(self.inner.display())
        if not all(_is_text(each) for row in shown.items() for each in row):
            self._refuse("display", shown, "a mapping of texts to texts")
        return shown

    @contextmanager
    def _in(self, method: str) -> Iterator[None]:
        with _with_lines(self.file, self.text, f"in {method}"):
            yield

    def _refuse(self, method: str, given: object, wanted: str) -> None:
        try:
            shown = repr(given)
        except Exception:  # too deep, or an error in the user's __repr__
            shown = f"a {type(given).__name__}"
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        kind = type(self.inner).__name__
        raise RunError(
            "R038",
            f"{self.file}: {method} of {kind} returned {shown}, it must return {wanted}",
        )


def _is_sound(child: Child) -> bool:
    sound = isinstance(child.genome, Genome) and isinstance(child.parents, tuple)
    numbers = sound and all(_is_number(parent) for parent in child.parents)
    return numbers and _is_text(child.description)


def _are_texts(value: object) -> bool:
    return isinstance(value, tuple) and all(map(_is_text, value))


def _is_text(value: object) -> bool:
    """Return whether a value is a text that can be encoded, unlike one with lone
    surrogates.
    """
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@contextmanager
def _with_lines(file: Path, text: str, where: str) -> Iterator[None]:
    """Report an error with its line in the file."""
    try:
        yield
    except RunError:
        raise  # an error of azc, for example while it read the journal
    except (Exception, SystemExit) as error:
        line = _line(error, file)
        place = f"{file}, line {line}" if line else str(file)
        said = error.msg if isinstance(error, SyntaxError) else str(error)
        reason = " ".join(said.split())
        kind = type(error).__name__
        lines = text.splitlines()
        help_ = None
        if line and line <= len(lines):
            help_ = f"the line is `{lines[line - 1].strip()}`"
        words = f"{kind}: {reason}" if reason else kind
        raise RunError("R045", f"{place}, {where}: {words}", help_) from error


def _line(error: BaseException, file: Path) -> int | None:
    """Return the innermost line of the file in the traceback of an error."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(file)]
    return lines[-1] if lines else None
