"""What a run writes for TensorBoard, read back with TensorBoard's own reader."""

from __future__ import annotations

from pathlib import Path

import pytest

from azc.diagnostics import UsageError
from azc.search.run import read_run
from azc.search.sinks import find_sink
from tests.runs import PROGRAM, arguments, start, tiny

event_accumulator = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard"
)


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """The value of every tag by step."""
    read = event_accumulator.EventAccumulator(str(folder))
    read.Reload()
    return {
        tag: {each.step: each.value for each in read.Scalars(tag)}
        for tag in read.Tags()["scalars"]
    }


def test_a_run_and_its_end(home: Path, tmp_path: Path) -> None:
    options = tiny(home / "corpus.txt", evaluations=4)
    program, run = tmp_path / "tiny.azg", tmp_path / "run"
    program.write_text(PROGRAM, encoding="utf-8")
    words = ("evolve", program, *arguments(options), "-o", run, "--log", "tensorboard")
    process = start(*words, cache=home / "cache")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    view, found = read_run(run), scalars(run / "tensorboard")
    scores = [e.score for e in view.evaluations if e.score is not None]
    assert sorted(found["score/loss"].values()) == pytest.approx(sorted(scores))
    assert sorted(found["score/loss"]) == [1, 2, 3, 4]
    assert found["round/loss"] == pytest.approx({1: min(scores)})
    for row in view.rows:
        losses = {fit.seed: fit.loss for fit in row.fits if fit}
        assert found[f"test/{row.entrant.name}"] == pytest.approx(losses)
    assert max(found["warm-up"].values()) == 1.0


def test_a_log_that_is_none() -> None:
    with pytest.raises(UsageError) as caught:
        find_sink("tensorbord")
    assert caught.value.code == "U027"
    assert "did you mean tensorboard" in (caught.value.help or "")
