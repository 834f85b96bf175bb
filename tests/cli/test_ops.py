from __future__ import annotations

import pytest

from azc.ops.table import load_ops
from tests.cli.conftest import Azc


def test_all_operations(azc: Azc) -> None:
    found = azc("ops")
    assert (found.code, found.err) == (0, "")
    lines = found.out.splitlines()
    names = [line.split()[0] for line in lines if line and "[" in line[10:40]]
    for name in load_ops():
        assert any(line.startswith(f"{name} ") for line in lines), name
    assert "softmax" in names
    assert "matrix product, written a @ b" in found.out


def test_one_operation(azc: Azc) -> None:
    found = azc("ops", "window")
    assert (found.code, found.err) == (0, "")
    assert (
        found.out
        == """\
window(s, radius = r): entries with |i−j| > radius become absent

name        window
type        [n, n] → [n, n]
source      Beltagy et al. 2020 (sliding window)
attribute   radius, a whole number from 0 to 1,000,000: tokens read on each side
FLOPs       [n, n] → [n, n]: 0
absence     an absent entry stays absent
causal      [n, n] → [n, n]: a row for each token, computed when the token arrives
library     std.attention: local_attention

    attention example(q, k, v) {
        return softmax(window(q @ k.T, radius = 3)) @ v
    }
"""
    )
    conv = azc("ops", "conv").out
    assert "learned     kernel [heads, d, kernel]\n" in conv
    assert "FLOPs       [n, d] → [n, d]: 2·kernel·n·d\n" in conv


@pytest.mark.parametrize("name", list(load_ops()))
def test_pages_fit_a_terminal(azc: Azc, name: str) -> None:
    found = azc("ops", name)
    assert found.code == 0
    assert all(len(line) <= 88 for line in found.out.splitlines())
    # No type is on two lines.
    assert all(line.count("[") == line.count("]") for line in found.out.splitlines())


def test_symbols(azc: Azc) -> None:
    assert azc("ops", "@").out.startswith("a @ b: matrix product")
    assert azc("ops", ".T").out.startswith("x.T: ")
    both = azc("ops", "-").out
    assert "name        sub\n" in both
    assert "name        neg\n" in both


def test_json(azc: Azc) -> None:
    listed = azc("ops", "--json").json["operations"]
    assert [each["name"] for each in listed] == list(load_ops())
    (window,) = azc("ops", "window", "--json").json["operations"]
    assert window in listed
    assert window["attributes"] == [
        {
            "name": "radius",
            "doc": "tokens read on each side",
            "values": "a whole number from 0 to 1,000,000",
        }
    ]
    assert window["type"] == "[n, n] → [n, n]"
    assert window["library"] == ["local_attention"]
    assert "window(q @ k.T" in window["example"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sofmax", "did you mean `softmax`?"),
        ("cumsum", "`sum(x.T).T` is the sum over all tokens"),
        ("bmm", "instead of `bmm(a, b)`, write `a @ b`"),
        ("nothing_like_it", ""),
    ],
)
def test_an_operation_that_is_not_there(azc: Azc, name: str, words: str) -> None:
    found = azc("ops", name)
    assert (found.code, found.out) == (2, "")
    assert f"error[U117]: there is no operation `{name}`" in found.err
    assert words in found.err
