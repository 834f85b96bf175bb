"""The examples: they check, are canonical, and a newcomer is told what each is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from azc.check.resolve import check_file
from azc.check.types import count_operations
from azc.diagnostics import render
from azc.syntax.format import format_text
from azc.syntax.parse import read_source

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FILES = sorted(EXAMPLES.rglob("*.azg"))


def shown(path: Path) -> str:
    return path.relative_to(EXAMPLES).as_posix()


def test_the_examples_are_found() -> None:
    assert [shown(path) for path in FILES] == [
        "01_attention.azg",
        "02_model.azg",
        "03_conv_hybrid.azg",
        "04_space.azg",
        "05_imports/model.azg",
        "05_imports/parts/mixing.azg",
        "decoder.azg",
        "demo.azg",
        "recall.azg",
        "scratch.azg",
        "text.azg",
    ]


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_an_example_checks_without_warnings(path: Path) -> None:
    warnings = check_file(path).warnings
    assert not warnings, render(warnings)


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_an_example_is_canonical_and_begins_with_what_it_is(path: Path) -> None:
    source = read_source(path)
    assert source.text.startswith("# ")
    assert format_text(source) == source.text


@pytest.mark.parametrize(("name", "causal"), [("text", False), ("decoder", True)])
def test_a_start_is_small_and_quick_to_learn(name: str, causal: bool) -> None:
    (space,) = check_file(EXAMPLES / f"{name}.azg").spaces.values()
    start = space.start
    assert (start.hidden, start.heads, start.ffn) == (64, 4, (256,))
    assert (start.residual, start.vocab, start.max_length) == ("pre", 1024, 64)
    assert (start.dropout, start.attention_dropout) == (0.0, 0.0)
    assert start.causal is causal
    assert [layer.mixing.name for layer in start.layers] == ["rope_attention"] * 4
    low, high = space.size
    program = start.layers[0].mixing.program
    assert low < count_operations(program.node) < high
