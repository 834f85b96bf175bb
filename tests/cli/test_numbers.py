from __future__ import annotations

import pytest

from azc.numbers import (
    amount,
    as_size,
    as_time,
    change,
    in_bytes,
    in_seconds,
    ranges,
    setting,
)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (7, "7"),
        (0.5, "0.50"),
        (12.25, "12.2"),
        (999, "999"),
        (1000, "1.00 k"),
        (999_960, "1.00 M"),
        (99_960, "100 k"),
        (14_230_000, "14.2 M"),
        (109_482_240, "109 M"),
        (2.5e9, "2.50 G"),
        (3e15, "3000 T"),
    ],
)
def test_amounts(number: float, text: str) -> None:
    assert amount(number) == text


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (100, 150, "+50, +50.0%"),
        (100, 50, "-50, -50.0%"),
        (0, 1500, "+1.50 k"),
        (1500, 0, "-1.50 k, -100.0%"),
        (10**9, 10**9 + 1, "+1"),
        (5, 5, "0"),
    ],
)
def test_changes(old: int, new: int, text: str) -> None:
    assert change(old, new) == text


def test_settings_are_written_as_in_programs() -> None:
    values = [True, (8,), (8, 16), 1e-12, 0.1, "gelu", 4]
    texts = ["true", "8", "[8, 16]", "1e-12", "0.1", "gelu", "4"]
    assert [setting(value) for value in values] == texts


def test_ranges() -> None:
    assert ranges([1]) == "1"
    assert ranges([1, 2, 3, 5, 7, 8]) == "1-3, 5, 7-8"
    assert ranges([]) == ""


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4GB", 4 * 10**9),
        ("4 g", 4 * 10**9),
        ("512MiB", 512 * 2**20),
        ("1.5GiB", 3 * 2**29),
        ("0.5kB", 500),
        ("1000", 1000),
        ("1000B", 1000),
        ("", None),
        ("GB", None),
        ("-1GB", None),
        ("4GBs", None),
        ("4iB", None),
        ("four", None),
    ],
)
def test_sizes_are_read(text: str, size: int | None) -> None:
    assert in_bytes(text) == size


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1, "1"),
        (999, "999"),
        (1000, "1kB"),
        (1024, "1kiB"),
        (3 * 10**8, "300MB"),
        (2**29, "512MiB"),
        (4 * 10**9, "4GB"),
        (10**9 + 1, "1000000001"),
    ],
)
def test_sizes_are_written_as_they_are_read(count: int, text: str) -> None:
    assert as_size(count) == text
    assert in_bytes(text) == count


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90.0),
        ("1e3", 1000.0),
        ("90s", 90.0),
        ("1.5 min", 90.0),
        ("2h", 7200.0),
        ("0.25s", 0.25),
        ("", None),
        ("s", None),
        ("2m", None),
        ("2ms", None),
        ("long", None),
    ],
)
def test_times_are_read(text: str, seconds: float | None) -> None:
    assert in_seconds(text) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "0.25s"), (1, "1s"), (60.0, "60s"), (1800, "30min"), (7200.0, "2h")],
)
def test_times_are_written_as_they_are_read(seconds: float, text: str) -> None:
    assert as_time(seconds) == text
    assert in_seconds(text) == seconds
