"""Tasks: every answer is the one that a plain reading of the row gives."""

from __future__ import annotations

import subprocess
import sys
from itertools import islice
from typing import Any

import pytest
import torch

from azc.data.contract import IGNORED, Batch
from azc.data.tasks import TASKS, Symbols, TaskData, find_task
from azc.diagnostics import UsageError

LENGTHS = [12, 33, 64, 128]
PAD, CLS, SEP, MASK = range(4)


def task_data(name: str, **settings: Any) -> TaskData:
    return TaskData(find_task(name), **settings)


def rows(data: TaskData) -> list[tuple[list[int], dict[int, int]]]:
    """Symbols and answers of some rows, as the task itself counts them."""
    batch = next(data.batches(50, seed=3))
    found = []
    for ids, labels in zip(batch.input_ids, batch.labels, strict=True):
        symbols = [int(x) - 4 for x in ids[ids != PAD]][1:-1]
        asked = {i - 1: int(x) - 4 for i, x in enumerate(labels) if x != IGNORED}
        found.append((symbols, asked))
    return found


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", TASKS)
def test_rows(name: str, length: int) -> None:
    data = task_data(name, length=length)
    for batch in (next(data.batches(9, seed=0)), next(data.held_out("test", 9))):
        assert batch.input_ids.shape == batch.labels.shape == (9, length)
        assert batch.input_ids.max() < data.vocab_size
        assert batch.labels.max() < data.vocab_size
        asked = batch.labels != IGNORED
        assert asked.any(-1).all(), "every row asks for something"
        assert (batch.input_ids[asked] == MASK).all()
        assert (batch.input_ids[~asked] != MASK).all()
        assert (batch.attention_mask == (batch.input_ids != PAD)).all()
        assert (batch.input_ids[:, 0] == CLS).all()
        assert ((batch.input_ids == SEP).sum(-1) == 1).all()


@pytest.mark.parametrize("length", LENGTHS)
def test_recall(length: int) -> None:
    for symbols, asked in rows(task_data("recall", length=length)):
        half = len(symbols) // 2
        pairs = dict(zip(symbols[:half:2], symbols[1:half:2], strict=True))
        assert asked == {i + 1: pairs[symbols[i]] for i in range(half, len(symbols), 2)}


@pytest.mark.parametrize("length", LENGTHS)
def test_copy(length: int) -> None:
    for symbols, asked in rows(task_data("copy", length=length)):
        end = symbols.index(16)
        content = [symbol for symbol in symbols[:end] if symbol < 16]
        assert list(asked) == list(range(end + 1, len(symbols)))
        assert list(asked.values()) == content


@pytest.mark.parametrize("length", LENGTHS)
def test_induction(length: int) -> None:
    for symbols, asked in rows(task_data("induction", length=length)):
        first, cues = min(asked) - 1, sorted(place - 1 for place in asked)
        letters = symbols[:first]
        assert len(set(letters)) == len(letters)
        assert cues == list(range(first, len(symbols), 2))
        assert len({symbols[cue] for cue in cues}) == len(cues)
        for cue in cues:
            assert asked[cue + 1] == letters[letters.index(symbols[cue]) + 1]


def value(symbols: list[int]) -> int:
    """The value of a ListOps row by repeated rewriting of its innermost lists."""
    row: list[int] = list(symbols)
    while len(row) > 1:
        close = row.index(14)
        start = max(i for i in range(close) if row[i] >= 10)
        numbers = sorted(row[start + 1 : close])
        results = {10: numbers[0], 11: numbers[-1], 12: numbers[len(numbers) // 2]}
        row[start : close + 1] = [results.get(row[start], sum(numbers) % 10)]
    return row[0]


@pytest.mark.parametrize("length", LENGTHS)
def test_listops(length: int) -> None:
    deep = 0
    for symbols, asked in rows(task_data("listops", length=length)):
        assert asked == {len(symbols) - 1: value(symbols[:-1])}
        deep += sum(symbol in (10, 11, 12, 13) for symbol in symbols) > 1
    assert deep > 5


def same(one: Batch, two: Batch) -> bool:
    return torch.equal(one.input_ids, two.input_ids)


@pytest.mark.parametrize("name", TASKS)
def test_seeds(name: str) -> None:
    data, again = (task_data(name, length=40, seed=5) for _ in range(2))
    other = task_data(name, length=40, seed=6)
    assert data.fingerprint == again.fingerprint != other.fingerprint
    first, second = islice(data.batches(8, seed=1), 2)
    assert same(first, next(again.batches(8, seed=1)))
    assert not same(first, second)
    assert not same(first, next(data.batches(8, seed=2)))
    assert not same(
        next(data.held_out("validation", 8)), next(data.held_out("test", 8))
    )
    parts = list(data.held_out("test", 100, blocks=250))
    assert [len(part.input_ids) for part in parts] == [100, 100, 50]


@pytest.mark.parametrize("name", TASKS)
def test_a_place_in_a_larger_vocabulary(name: str) -> None:
    """Elsewhere in the vocabulary, the same rows stand: ids alone are others."""
    symbols = Symbols(pad=7, cls=3, sep=5, mask=4, first=90)
    plain, moved = (
        task_data(name, length=40),
        task_data(name, length=40, symbols=symbols),
    )
    assert moved.vocab_size == 90 + find_task(name).symbols
    ids = torch.tensor([7, 3, 5, 4, *range(90, moved.vocab_size)])
    old, new = next(plain.batches(9, seed=2)), next(moved.batches(9, seed=2))
    assert torch.equal(new.input_ids, ids[old.input_ids])
    assert torch.equal(new.attention_mask, old.attention_mask)
    asked = old.labels != IGNORED
    assert torch.equal(new.labels != IGNORED, asked)
    assert torch.equal(new.labels[asked], ids[old.labels[asked]])


def test_the_same_in_another_process() -> None:
    code = (
        "from azc.data.tasks import TaskData, find_task;"
        "print(TaskData(find_task('listops'), length=40, seed=5).fingerprint)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == task_data("listops", length=40, seed=5).fingerprint


def test_what_is_refused() -> None:
    with pytest.raises(UsageError, match="no task `recal`") as caught:
        task_data("recal", length=64)
    assert caught.value.code == "D030"
    assert "task:recall" in str(caught.value.help)
    for name, task in TASKS.items():
        task_data(name, length=task.shortest + 2)
        with pytest.raises(UsageError, match="too short") as caught:
            task_data(name, length=task.shortest + 1)
        assert caught.value.code == "D031"
    with pytest.raises(UsageError, match="no fixed rows"):
        next(task_data("recall", length=64).held_out("train", 2))
