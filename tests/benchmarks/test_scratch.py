"""`python -m benchmarks scratch` and `one-program`, whole and small."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from azc.check.resolve import check_file
from azc.mixing.attention import AttentionUse
from azc.search.run import read_run
from benchmarks import one_program, recall, scratch

FEW = "--steps 2 --final-steps 2 --batch 2 --blocks 2 --round 4 --length 12"


def test_a_study_from_scratch_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "STRATEGIES", ("op-nas",))
    options = argparse.Namespace(
        runs=tmp_path,
        seeds=1,
        local_seeds=None,
        evaluations=5,
        both_seeds=0,
        both_evaluations=5,
        text_seeds=1,
        text_evaluations=5,
        more=FEW,
    )
    found = scratch.study(options)
    for name in (*scratch.STRATEGIES, *scratch.TYPED["scratch"]):
        assert len(found["scratch"][0][name]["losses"]) == 3
    assert len(found["text"][0]["conv, sdpa"]["losses"]) == 3
    text = scratch.render(found)
    assert "\n- `op-nas`: as good as conv, sdpa on " in text
    fits = (tmp_path / "fits.jsonl").read_bytes()
    options.evaluations = 7
    more = scratch.study(options)
    assert more["scratch"][0]["op-nas"]["evaluations"] == 7
    assert more["text"] == found["text"]
    assert (tmp_path / "fits.jsonl").read_bytes() == fits  # nothing was trained again
    check_lineage(tmp_path / "scratch-op-nas-0")


def check_lineage(run: Path) -> None:
    """The changes of a lineage turn the text of the start into that of the last."""
    view = read_run(run)
    last = view.candidates[max(view.candidates)]
    told = recall.lineage(view, last.id).splitlines()
    assert told[0].startswith("@@ 0001: ")
    assert [int(line[3:7]) for line in told if line[0] == "@"] == [
        each.id for each in view.lineage(last.id)
    ]
    text = view.candidates[1].program.splitlines()
    for line in told:
        if line[0] == "-":
            text.remove(line[1:])
        elif line[0] == "+":
            text.append(line[1:])
    assert sorted(filter(str.strip, text)) == sorted(
        filter(str.strip, last.program.splitlines())
    )


def test_one_program_is_compared_with_the_library(tmp_path: Path) -> None:
    options = argparse.Namespace(
        runs=tmp_path,
        above_seeds=1,
        layer_seeds=0,
        evaluations=3,
        programs=["gated_attention"],
        more=FEW,
    )
    found = one_program.study(options)
    assert found["layer"] == {}
    # A long warm-up is another training of the same models.
    above = found["above"]
    assert set(above["library"]) == {"found", "gated_attention"}
    assert above["slower"]["found"]["losses"] != above["library"]["found"]["losses"]
    assert (
        above["slower"]["found"]["parameters"]
        == (above["library"]["found"]["parameters"])
    )
    lines = one_program.render(found).splitlines()
    assert sum(line.startswith("| `gated_attention` | ") for line in lines) == 1
    fits = (tmp_path / "fits.jsonl").read_bytes()
    again = one_program.study(options)
    assert again == found
    assert (tmp_path / "fits.jsonl").read_bytes() == fits  # nothing was trained again


def test_seeds_and_margins_are_counted() -> None:
    rows: list[dict[str, Any]] = [
        {"op-nas": {"losses": [a, a]}, "random": {"losses": [b, b]}}
        for a, b in ((0.1, 0.2), (0.3, 0.26), (0.9, 0.2))
    ]
    assert scratch.losses(rows, "random") == pytest.approx([0.2, 0.26, 0.2])
    assert scratch.as_good(rows, "op-nas", "random", margin=0.05) == 2
    assert scratch.as_good(rows, "op-nas", "random", margin=0.0) == 1
    lead = scratch.lead(rows)
    assert lead.gain == pytest.approx((0.1 - 0.04 - 0.7) / 3)


@pytest.mark.parametrize("name", ["scratch", "both"])
def test_the_start_mixes_nothing(name: str) -> None:
    space = check_file(recall.SCRATCH).spaces[name]
    assert space.size[0] == 0
    mixings = [layer.mixing for layer in space.start.layers]
    uses = {mixing.program for mixing in mixings if isinstance(mixing, AttentionUse)}
    assert [sum(use.operations.values()) for use in uses] == [0]


@pytest.mark.parametrize("name", ["sdpa", "primer", "gated_attention", "mean_mixing"])
def test_a_model_is_made_as_large(name: str) -> None:
    wanted = recall.parameters(recall.typed(recall.RECALL, ["sdpa"]))
    one, two = (
        recall.parameters(recall.typed(recall.RECALL, ["sdpa"], ffn)) for ffn in (1, 2)
    )
    found = recall.parameters(one_program.as_large([name], wanted))
    assert abs(found - wanted) <= (two - one) / 2
