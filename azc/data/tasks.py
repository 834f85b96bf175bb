"""Synthetic tasks that depend on the mechanism: recall, copying, induction, ListOps.

An example is a row of symbols, and a model predicts some of them, the answers. For an
encoder they are masked; a decoder predicts each at the symbol before it. Training rows
are drawn on the fly, so they repeat only by chance. The rows of validation and test are
fixed by the seed and drawn separately.

Codes: D023 the training split cannot be evaluated, because it is not fixed; D030 a task
is unknown, or is named twice; D031 the sequences are too short for a task.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from azc.data.contract import IGNORED, Batch, Split, task_part
from azc.data.summary import TextSummary
from azc.diagnostics import UsageError

__all__ = ["TASKS", "Symbols", "Task", "TaskData", "find_task"]

_HELD_OUT = 512  # rows of validation, and of the test

# A row and its answers: symbols, and for some positions the symbol to predict there.
Row = tuple[list[int], dict[int, int]]


@dataclass(frozen=True)
class Task:
    """A synthetic task.

    Attributes:
        name: Name of the task.
        doc: Description in one line.
        source: The paper that introduced it.
        symbols: Number of symbols that the task uses.
        shortest: Length of its shortest row.
        chance: Accuracy of random guessing.
        draw: `draw(random, room)` returns at most `room` symbols, counted from 0, and
            the answers by position.
    """

    name: str
    doc: str
    source: str
    symbols: int
    shortest: int
    chance: float
    draw: Callable[[random.Random, int], Row]


@dataclass(frozen=True)
class Symbols:
    """Ids of the special tokens, and of the first symbol of a task."""

    pad: int = 0
    cls: int = 1
    sep: int = 2
    mask: int = 3
    first: int = 4


# Recall

_KEYS, _VALUES = 32, 32


def _recall(rng: random.Random, room: int) -> Row:
    """Draw keys with their values, then some keys again: predict their values."""
    pairs = min(room // 4, _KEYS)
    keys = rng.sample(range(_KEYS), pairs)
    values = [_KEYS + rng.randrange(_VALUES) for _ in keys]
    row = [symbol for pair in zip(keys, values, strict=True) for symbol in pair]
    answers = {}
    for place in rng.sample(range(pairs), pairs):
        answers[len(row) + 1] = values[place]
        row += [keys[place], values[place]]
    return row, answers


# Selective copying

_CONTENT, _NOISE = 16, 16


def _copy(rng: random.Random, room: int) -> Row:
    """Draw a few symbols scattered among noise, then the same symbols in order to
    predict.
    """
    count = max(1, room // 8)
    stretch = room - count - 1
    places = set(rng.sample(range(stretch), count))
    content, row = [], []
    for place in range(stretch):
        if place in places:
            content.append(rng.randrange(_CONTENT))
            row.append(content[-1])
        else:
            row.append(_CONTENT + 1 + rng.randrange(_NOISE))
    row.append(_CONTENT)  # the signal to repeat them
    answers = {len(row) + i: symbol for i, symbol in enumerate(content)}
    return row + content, answers


# Induction

_LETTERS = 32


def _induction(rng: random.Random, room: int) -> Row:
    """Draw letters, then some of them again: predict what followed each the first
    time.
    """
    cues = room // 4
    # Letters are distinct, so the answer is unique; nothing follows the last one.
    row = rng.sample(range(_LETTERS), min(room - 2 * cues, _LETTERS))
    followed = len(row) - 1
    answers = {}
    for place in rng.sample(range(followed), min(cues, followed)):
        answers[len(row) + 1] = row[place + 1]
        row += [row[place], row[place + 1]]
    return row, answers


# ListOps

_OPERATORS: Mapping[str, Callable[[list[int]], int]] = MappingProxyType(
    {
        "MIN": min,
        "MAX": max,
        "MED": lambda numbers: sorted(numbers)[len(numbers) // 2],
        "SM": lambda numbers: sum(numbers) % 10,
    }
)
_CLOSE = 10 + len(_OPERATORS)
_DEEPEST, _WIDEST = 4, 5


def _listops(rng: random.Random, room: int) -> Row:
    """Draw an expression such as `[MAX 2 [MIN 7 9] 0]`: predict the digit it evaluates
    to.
    """

    def write(depth: int, room: int) -> tuple[list[int], int]:
        if room < 4 or depth == _DEEPEST or (depth and rng.random() < 0.5):
            digit = rng.randrange(10)
            return [digit], digit
        which = rng.randrange(len(_OPERATORS))
        symbols, numbers = [10 + which], []
        left = room - 2
        for _ in range(rng.randint(2, _WIDEST)):
            if left < 1:
                break
            part, number = write(depth + 1, left)
            symbols += part
            left -= len(part)
            numbers.append(number)
        operator = list(_OPERATORS.values())[which]
        return [*symbols, _CLOSE], operator(numbers)

    symbols, digit = write(0, room - 1)
    return [*symbols, digit], {len(symbols): digit}


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        task.name: task
        for task in (
            Task(
                "recall",
                "associative recall: keys with values, then the keys again",
                "Arora et al. 2023 (Zoology), multi-query associative recall",
                _KEYS + _VALUES,
                8,
                1 / _VALUES,
                _recall,
            ),
            Task(
                "copy",
                "selective copying: repeat the symbols among noise, in order",
                "Gu and Dao 2023 (Mamba), section 4.1",
                _CONTENT + 1 + _NOISE,
                8,
                1 / _CONTENT,
                _copy,
            ),
            Task(
                "induction",
                "induction: letters, then some again: predict what followed each",
                "Olsson et al. 2022, section 2; Gu and Dao 2023, section 4.1",
                _LETTERS,
                6,
                1 / _LETTERS,
                _induction,
            ),
            Task(
                "listops",
                "nested lists of digits under MIN, MAX, MED and SM (sum modulo 10)",
                "Nangia and Bowman 2018",
                _CLOSE + 1,
                8,
                1 / 10,
                _listops,
            ),
        )
    }
)


def find_task(name: str) -> Task:
    """Return the task of a name. Raise UsageError D030 if there is none."""
    if name not in TASKS:
        known = ", ".join(map(task_part, TASKS))
        help_ = f"known: {known}; a text comes before tasks: python+task:recall"
        raise UsageError("D030", f"there is no task `{name}`", help_)
    return TASKS[name]


class TaskData:
    """Rows `[CLS] … [SEP]` of one task.

    Answers are masked, as in masked text. If `causal`, they are part of the row, and
    are predicted as the next token, as in text.
    """

    bytes_per_token = None
    summary: TextSummary | None = None

    def __init__(
        self,
        task: Task,
        *,
        length: int,
        seed: int = 0,
        symbols: Symbols | None = None,
        causal: bool = False,
    ) -> None:
        """Draw the rows of validation and test.

        Raises:
            UsageError: D031 for a `length` shorter than a row of the task.
        """
        self.task = task
        self.length = length
        self.seed = seed
        self.symbols = Symbols() if symbols is None else symbols
        self.causal = causal
        self.vocab_size = self.symbols.first + task.symbols
        least = self.task.shortest + 2
        if length < least:
            raise UsageError(
                "D031",
                f"sequences of {length} tokens are too short for {task_part(task.name)}",
                f"use at least {least}",
            )
        self._fixed = {
            split: self._rows(self._random(split), _HELD_OUT)
            for split in ("validation", "test")
        }

    @property
    def fingerprint(self) -> str:
        """The sha256 of the fixed rows: runs with the same fingerprint had the same
        task.
        """
        digest = hashlib.sha256()
        for split, batch in self._fixed.items():
            digest.update(f"{split} {tuple(batch.input_ids.shape)}".encode())
            digest.update(batch.input_ids.numpy().tobytes())
            digest.update(batch.labels.numpy().tobytes())
        return digest.hexdigest()

    def batches(self, batch_size: int, *, seed: int) -> Iterator[Batch]:
        """Yield new rows, [batch_size, length], without end."""
        rng = self._random("train", seed)
        while True:
            yield self._rows(rng, batch_size)

    def held_out(
        self, split: Split, batch_size: int, *, blocks: int | None = None
    ) -> Iterator[Batch]:
        """Yield the first `blocks` rows of validation or test, the same every time.

        Raises:
            UsageError: D023 for the training split, which has no fixed rows.
        """
        if split not in self._fixed:
            raise UsageError(
                "D023",
                f"the {split} split has no fixed rows",
                "measure on validation or test",
            )
        whole = self._fixed[split]
        end = min(_HELD_OUT, _HELD_OUT if blocks is None else blocks)
        for start in range(0, end, batch_size):
            yield whole.rows(start, min(start + batch_size, end))

    def check(self, blocks: int | None = None) -> None:
        """Do nothing: every row has something to predict."""

    def in_memory(self) -> TaskData:
        """Return this data: it has no files."""
        return self

    def _random(self, purpose: str, seed: int = 0) -> random.Random:
        return random.Random(f"{self.task.name} {purpose} {self.seed} {seed}")

    def _rows(self, rng: random.Random, count: int) -> Batch:
        import torch

        special = self.symbols
        rows, real, asked = [], [], []
        for _ in range(count):
            drawn, answers = self.task.draw(rng, self.length - 2)
            row = [special.cls, *(special.first + each for each in drawn), special.sep]
            labels = [IGNORED] * self.length
            for place, symbol in answers.items():
                answer = special.first + symbol
                row[1 + place] = answer if self.causal else special.mask
                labels[1 + place] = answer
            rows.append(row + [special.pad] * (self.length - len(row)))
            real.append([True] * len(row) + [False] * (self.length - len(row)))
            asked.append(labels)
        return Batch(
            torch.tensor(rows),
            torch.tensor(real),
            torch.tensor(asked),
            task_part(self.task.name),
            self.causal,
        )
