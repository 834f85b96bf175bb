"""Synthetic tasks in which the mechanism decides: recall, copying, induction, ListOps.

Every example is a row of symbols in which some answers are masked; a model is asked for
these alone. Rows are drawn on the spot: training never sees one twice but by chance, and
those of validation and test are fixed by the seed and drawn apart.

Codes: D030 a task that is not known, D031 sequences too short for it.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from azc.data.mlm import IGNORED, Batch, Split
from azc.diagnostics import UsageError

if TYPE_CHECKING:
    pass

__all__ = ["TASKS", "Task", "TaskData"]

PAD, CLS, SEP, MASK = range(4)
_FIRST = 4  # the first symbol of a task's own
_HELD_OUT = 512  # rows of validation, and of the test

# A row and its answers: symbols, and for some positions the symbol asked for there.
Row = tuple[list[int], dict[int, int]]


@dataclass(frozen=True)
class Task:
    """One task: `symbols` of its own, the shortest row, and how a row is drawn.

    `draw(random, room)` gives at most `room` symbols, counted from 0, and the answers by
    position; `chance` is the share of answers that guessing gets right.
    """

    name: str
    doc: str
    source: str
    symbols: int
    shortest: int
    chance: float
    draw: Callable[[random.Random, int], Row]


# Recall

_KEYS, _VALUES = 32, 32


def _recall(rng: random.Random, room: int) -> Row:
    """k v k v … then some of the keys again: what stood after each?"""
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
    """A few symbols scattered among noise, then asked for in their order."""
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
    row.append(_CONTENT)  # now say them
    answers = {len(row) + i: symbol for i, symbol in enumerate(content)}
    return row + content, answers


# Induction

_LETTERS = 32


def _induction(rng: random.Random, room: int) -> Row:
    """Random letters; the last one stood somewhere before: what came after it there?"""
    row = [rng.randrange(_LETTERS) for _ in range(room - 2)]
    cue = rng.randrange(_LETTERS)
    # Once, so that there is one answer; not last, so that something follows.
    row = [(symbol + 1) % _LETTERS if symbol == cue else symbol for symbol in row]
    place = rng.randrange(len(row) - 1)
    row[place] = cue
    return [*row, cue, row[place + 1]], {room - 1: row[place + 1]}


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
    """`[MAX 2 [MIN 7 9] 0]`: which digit is it?"""

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
                "selective copying: what stood among noise, in its order",
                "Gu and Dao 2023 (Mamba), section 4.1",
                _CONTENT + 1 + _NOISE,
                8,
                1 / _CONTENT,
                _copy,
            ),
            Task(
                "induction",
                "induction: what followed the last symbol where it stood before",
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


class TaskData:
    """Rows `[CLS] … [SEP]` of one task, its answers masked, as masked text has them."""

    def __init__(self, name: str, *, length: int, seed: int = 0) -> None:
        """Raises UsageError D030 for an unknown task, D031 for a `length` below what a
        row of it takes.
        """
        if name not in TASKS:
            known = ", ".join(f"task:{each}" for each in TASKS)
            raise UsageError("D030", f"there is no task `{name}`", f"known: {known}")
        self.task = TASKS[name]
        self.length = length
        self.seed = seed
        self.vocab_size = _FIRST + self.task.symbols
        least = self.task.shortest + 2
        if length < least:
            raise UsageError(
                "D031",
                f"sequences of {length} tokens are too short for task:{name}",
                f"take at least {least}",
            )
        self._fixed = {
            split: self._rows(self._random(split), _HELD_OUT)
            for split in ("validation", "test")
        }

    @property
    def fingerprint(self) -> str:
        """The sha256 of the fixed rows: two runs with the same one had the same task."""
        digest = hashlib.sha256()
        for split, batch in self._fixed.items():
            digest.update(f"{split} {tuple(batch.input_ids.shape)}".encode())
            digest.update(batch.input_ids.numpy().tobytes())
            digest.update(batch.labels.numpy().tobytes())
        return digest.hexdigest()

    def batches(self, batch_size: int, *, seed: int) -> Iterator[Batch]:
        """Endless new rows `[batch_size, length]`."""
        rng = self._random("train", seed)
        while True:
            yield self._rows(rng, batch_size)

    def held_out(
        self, split: Split, batch_size: int, *, blocks: int | None = None
    ) -> Iterator[Batch]:
        """The first `blocks` rows of validation or test, the same each time.

        Raises UsageError D021 for the training split, which has no fixed rows.
        """
        if split not in self._fixed:
            raise UsageError(
                "D021",
                f"the {split} split has no fixed rows",
                "measure on validation or test",
            )
        whole = self._fixed[split]
        end = min(_HELD_OUT, _HELD_OUT if blocks is None else blocks)
        for start in range(0, end, batch_size):
            part = slice(start, min(start + batch_size, end))
            yield Batch(
                whole.input_ids[part], whole.attention_mask[part], whole.labels[part]
            )

    def _random(self, purpose: str, seed: int = 0) -> random.Random:
        return random.Random(f"{self.task.name} {purpose} {self.seed} {seed}")

    def _rows(self, rng: random.Random, count: int) -> Batch:
        import torch

        ids = torch.full((count, self.length), PAD, dtype=torch.int64)
        labels = torch.full((count, self.length), IGNORED, dtype=torch.int64)
        for i in range(count):
            symbols, answers = self.task.draw(rng, self.length - 2)
            row = [CLS, *(_FIRST + symbol for symbol in symbols), SEP]
            for place, symbol in answers.items():
                row[1 + place] = MASK
                labels[i, 1 + place] = _FIRST + symbol
            ids[i, : len(row)] = torch.tensor(row)
        return Batch(ids, ids != PAD, labels)
