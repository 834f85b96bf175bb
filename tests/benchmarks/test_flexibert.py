"""The architectures of NAS-Bench-BERT in azc's language."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from azc.api import loads
from azc.check.program import AttentionUse
from azc.syntax.format import format_file
from benchmarks.flexibert import (
    PROGRAMS,
    Architecture,
    Layer,
    fields,
    load_repeated,
    load_table,
    own_parameters,
    program_text,
)
from benchmarks.tables import rho, tau

MIXED = Architecture(
    128,
    tuple(
        Layer(what, 2 + 2 * (i % 2), 512, 1 + i % 3) for i, what in enumerate(PROGRAMS)
    ),
)


def test_an_architecture_is_the_model_that_is_told() -> None:
    program = loads(program_text(MIXED, 64))
    assert not program.warnings
    assert format_file(program.file) == program.source.text
    model = program.models["flexibert"]
    assert model.hidden == 128
    for layer, told in zip(model.layers, MIXED.layers, strict=True):
        assert isinstance(layer.mixing, AttentionUse)
        assert layer.mixing.name == PROGRAMS[told.what]
        assert layer.heads == told.heads
        assert layer.ffn == (told.width,) * told.networks


def test_fields_make_an_architecture() -> None:
    """Two are the same architecture where all their fields are."""
    other = replace(
        MIXED, layers=(replace(MIXED.layers[0], heads=4), *MIXED.layers[1:])
    )
    assert {n for n, x in fields(MIXED).items() if fields(other)[n] != x} == {"0 heads"}


def test_the_table_is_read_as_its_authors_have_it(azc_data: Path) -> None:
    """Their counts of parameters are of models 256 wide with networks 1,024 wide."""
    folder = azc_data / "nas-bench-bert"
    archs = load_table(folder)
    with (folder / "BERT_results_activation.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert len(archs) == len(rows) == 500
    for arch, row in zip(archs, rows, strict=True):
        layers = tuple(replace(layer, width=1024) for layer in arch.layers)
        counted = own_parameters(replace(arch, hidden=256, layers=layers))
        assert counted == int(row["Number of Parameters"])
        assert arch.glue == float(row["GLUE Score"])
    sizes = [layers * hidden for layers, hidden in (arch.size for arch in archs)]
    assert tau(sizes, [arch.glue for arch in archs]) == pytest.approx(0.745, abs=5e-4)
    again = load_repeated(folder)
    assert len(again) == 15
    assert tau(*zip(*again, strict=True)) == pytest.approx(0.714, abs=5e-4)
    assert rho(*zip(*again, strict=True)) == pytest.approx(0.893, abs=5e-4)


def test_every_architecture_of_the_table_checks(azc_data: Path) -> None:
    for arch in load_table(azc_data / "nas-bench-bert")[::25]:
        model = loads(program_text(arch, 64)).models["flexibert"]
        assert (len(model.layers), model.hidden) == arch.size
