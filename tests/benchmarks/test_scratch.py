"""`python -m benchmarks scratch`, whole and small: runs, fits, tables."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from azc.check.program import AttentionUse
from azc.check.resolve import check_file
from azc.search.run import read_run
from benchmarks import scratch

FEW = "--steps 2 --final-steps 2 --batch 2 --blocks 2 --round 4 --length 12"


def test_a_study_is_gone_on_with(
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
        above_seeds=1,
        layer_seeds=1,
        layer_evaluations=3,
        programs=["gated_attention"],
        more=FEW,
    )
    found = scratch.study(options)
    for name in scratch.LAYERS:
        assert set(found[name]["library"]) == {"found", *options.programs}
    # Another schedule is another training of the same models.
    slower = found["above"]["slower"]["found"]
    assert slower["losses"] != found["above"]["library"]["found"]["losses"]
    assert slower["parameters"] == found["above"]["library"]["found"]["parameters"]
    for name in (*scratch.STRATEGIES, *scratch.TYPED["scratch"]):
        assert len(found["scratch"][0][name]["losses"]) == 3
    assert len(found["text"][0]["conv, sdpa"]["losses"]) == 3
    lines = scratch.written(found).splitlines()
    assert any(
        line.startswith("- `op-nas`: as good as conv, sdpa on ") for line in lines
    )
    assert sum(line.startswith("| `gated_attention` | ") for line in lines) == 3
    fits = (tmp_path / "fits.jsonl").read_bytes()
    options.evaluations = 7
    more = scratch.study(options)
    assert more["scratch"][0]["op-nas"]["evaluations"] == 7
    assert [more[name] for name in scratch.LAYERS] == [
        found[name] for name in scratch.LAYERS
    ]
    assert (tmp_path / "fits.jsonl").read_bytes() == fits  # nothing was trained again
    # A lineage leads from the start to the winner: its lines make the one the other.
    view = read_run(tmp_path / "scratch-op-nas-0")
    last = view.candidates[max(view.candidates)]
    told = scratch.lineage(view, last.id).splitlines()
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


@pytest.mark.parametrize("name", ["scratch", "both"])
def test_the_start_mixes_nothing(name: str) -> None:
    space = check_file(scratch.SCRATCH).spaces[name]
    assert space.size[0] == 0
    mixings = [layer.mixing for layer in space.start.layers]
    uses = {mixing.program for mixing in mixings if isinstance(mixing, AttentionUse)}
    assert [sum(use.operations.values()) for use in uses] == [0]


@pytest.mark.parametrize("name", ["sdpa", "primer", "gated_attention", "mean_mixing"])
def test_a_model_is_made_as_large(name: str) -> None:
    wanted = scratch.parameters(scratch.typed(scratch.RECALL, ["sdpa"]))
    one, two = (
        scratch.parameters(scratch.typed(scratch.RECALL, ["sdpa"], ffn))
        for ffn in (1, 2)
    )
    found = scratch.parameters(scratch.as_large([name], wanted))
    assert abs(found - wanted) <= (two - one) / 2
