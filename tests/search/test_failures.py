"""What goes wrong in a run: candidates that fail, and what is refused at once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from azc import api
from azc.diagnostics import AzcError, RunError, UsageError
from azc.search import score as score_module
from azc.search import shared as shared_module
from azc.search.executors import choose as choose_module
from azc.search.options import EvolveOptions
from azc.search.records import Evaluation
from azc.search.run import resume
from azc.search.view import RunView
from azc.supernet import supernet as supernet_module
from azc.training import fit as fit_module
from tests.runs import (
    NARROW,
    PROGRAM,
    log_lines,
    result,
    run_here,
    scored,
    tiny,
)

# Candidates that fail


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Makes whatever has a convolution fail, while it is built."""
    original = score_module.build_candidate

    def build(program: str, name: str, seed: int) -> Any:
        if "conv(" in program:
            raise error
        return original(program, name, seed)

    monkeypatch.setattr(score_module, "build_candidate", build)
    monkeypatch.setattr(shared_module, "build_candidate", build)


def ended(view: RunView) -> list[Evaluation]:
    """Without those that the budget is too small for."""
    return [each for each in view.evaluations if each.status != "asked"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ZeroDivisionError("a\n  b"), "ZeroDivisionError: a b"),
        (MemoryError(), "memory ran out"),
        (RunError("T001", "the loss is nan"), "the loss is nan"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_failure_is_recorded_and_the_search_goes_on(
    go: Callable[..., RunView],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    reason: str,
) -> None:
    failing(monkeypatch, error)
    view = go(tiny(home / "corpus.txt", evaluations=6, final_seeds=()))
    assert view.is_over
    assert view.spent == 6
    with_conv = {n for n, c in view.candidates.items() if "conv(" in c.program}
    assert with_conv
    for evaluation in ended(view):
        failed = evaluation.candidate in with_conv
        assert evaluation.status == ("failed" if failed else "done")
        assert evaluation.reason == (reason if failed else None)
        assert (evaluation.score is None) == failed
    assert view.winner not in with_conv
    for round_ in {e.round for e in view.evaluations}:
        again = [
            e.candidate
            for e in view.evaluations
            if e.round == round_ and view.candidates[e.candidate].round < round_
        ]
        assert with_conv.isdisjoint(again)


def test_a_full_disk_is_no_failure_of_a_candidate(
    go: Callable[..., RunView],
    home: Path,
    options: EvolveOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        failing(patch, OSError(28, "No space left on device", "/there"))
        with pytest.raises(RunError) as caught:
            go(options)
    assert caught.value.code == "R042"
    assert caught.value.message == "/there: no space left on device"
    assert caught.value.help == (
        f"fix that, then continue with azc resume {tmp_path / 'run'}"
    )
    assert [row for row in scored(tmp_path / "run") if row[3] == "failed"] == []
    assert resume(tmp_path / "run", cache=home / "cache").is_over


@pytest.mark.parametrize(
    ("first", "found"),
    [
        (1, "the start could not be trained"),
        (2, "a path after 10 steps of warm-up could not be trained, and neither could"),
    ],
)
def test_no_memory_for_the_start_stops_the_run(
    go: Callable[..., RunView],
    home: Path,
    options: EvolveOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    first: int,
    found: str,
) -> None:
    """At once, or once it has been trained: the warm-up does not go on without it."""
    original = fit_module.fit
    calls = count(1)

    def full(*args: Any, **more: Any) -> None:
        if next(calls) >= first:
            raise MemoryError
        original(*args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(fit_module, "fit", full)
        with pytest.raises(RunError, match=found) as caught:
            go(options)
    assert caught.value.code == "R043"
    assert scored(tmp_path / "run") == []
    view = resume(tmp_path / "run", cache=home / "cache")
    assert (view.is_over, view.spent) == (True, 8)


def test_no_memory_for_the_control_marks_nothing_as_failed(
    go: Callable[..., RunView],
    home: Path,
    options: EvolveOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = score_module.build_candidate
    built = count(1)

    def full(*args: Any) -> Any:
        if next(built) > 4:  # two paths of the warm-up, two candidates
            raise MemoryError
        return original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(score_module, "build_candidate", full)
        with pytest.raises(RunError, match="neither could the start") as caught:
            go(options)
    assert caught.value.code == "R043"
    assert [row[3] for row in scored(tmp_path / "run")] == ["done", "done"]
    resume(tmp_path / "run", cache=home / "cache")
    run_here(options, tmp_path / "whole", home / "cache")
    assert result(tmp_path / "run") == result(tmp_path / "whole")


OVERFLOWS = (
    PROGRAM.replace(
        "model start {",
        """\
attention burst(q, k, v) {
    w = exp(square(square(square(q @ k.T * 1000))))
    return softmax(w - w) @ v
}

model start {""",
    )
    .replace("repeat 2 {\n            sdpa\n        }", "sdpa\n        burst")
    .replace("tanh]", "tanh, exp, square, sub]")
    .replace("1..10", "1..16")
)


def test_a_program_that_overflows_fails(go: Callable[..., RunView], home: Path) -> None:
    view = go(tiny(home / "corpus.txt", evaluations=6, final_seeds=()), OVERFLOWS)
    assert view.evaluations[0].status == "failed"
    assert "loss is nan" in str(view.evaluations[0].reason)
    assert view.spent == 6
    for evaluation in ended(view):
        text = view.candidates[evaluation.candidate].program
        if "burst" not in text[text.index("layers") :]:
            assert evaluation.status == "done"
    lines = [line for line in log_lines(view.folder) if "a path failed" in line]
    assert lines


def test_where_all_fail_there_is_no_winner(
    go: Callable[..., RunView], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, ValueError("no"))
    view = go(tiny(home / "corpus.txt", evaluations=5), NARROW)
    assert view.spent == 2  # all that there is
    assert view.is_over
    assert {e.status for e in view.evaluations} == {"failed"}
    assert (view.winner, view.best, view.fits) == (None, None, ())
    assert not (view.folder / "best.azg").exists()


def test_weights_that_are_no_numbers_never_reach_the_supernet(
    go: Callable[..., RunView], home: Path
) -> None:
    # The first step's loss is fine, what it makes of the weights is not.
    options = tiny(home / "corpus.txt", warm_up=1, evaluations=2, learning_rate=1e38)
    view = go(options)
    assert any("a path failed" in line for line in log_lines(view.folder))
    (snapshot,) = (view.folder / "supernet").iterdir()
    shared = supernet_module.Supernet.read(snapshot)
    assert all(t.isfinite().all() for t in shared.tensors.values())


# Refused before anything is written


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"data": "/nothing/there.txt"}, "D001"),
        ({"device": "cuda:99"}, "R041"),
        ({"device": "nonsense"}, "R041"),
        ({"device": "meta"}, "R041"),
        ({"tokenizer": "/nothing/there"}, "D011"),
    ],
    ids=str,
)
def test_what_can_not_be_had_is_refused_first(
    go: Callable[..., RunView],
    home: Path,
    tmp_path: Path,
    changes: dict[str, str],
    code: str,
) -> None:
    with pytest.raises(RunError) as caught:
        go(tiny(**{"data": home / "corpus.txt", **changes}))
    assert caught.value.code == code
    assert not (tmp_path / "run").exists()


def test_without_ray_there_is_no_cluster(
    go: Callable[..., RunView],
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(choose_module, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="Ray is not installed") as caught:
        go(tiny(home / "corpus.txt", executor="ray"))
    assert caught.value.code == "U028"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "D002"),
        ("one\n\ntwo", "D020"),
        ("a\n\nb\n\nc\n", "D024"),
        ("a b c d e f g h i j\n\na b a b a b a c\n\nb c b c c c c c a d d d\n", None),
    ],
)
def test_little_text_is_enough_or_refused(
    go: Callable[..., RunView], tmp_path: Path, text: str, code: str | None
) -> None:
    data = tmp_path / "data.txt"
    data.write_text(text, encoding="utf-8")
    options = tiny(data, evaluations=2, final_seeds=())
    if code is None:
        assert go(options).spent == 2
        return
    with pytest.raises(RunError) as caught:
        go(options)
    assert caught.value.code == code
    assert not (tmp_path / "run").exists()


def test_a_tokenizer_larger_than_the_model_is_refused(
    go: Callable[..., RunView], home: Path, tmp_path: Path
) -> None:
    from azc.data.corpus import load_corpus
    from azc.data.tokenizer import load_tokenizer

    corpus = load_corpus(str(home / "corpus.txt"))
    load_tokenizer(corpus, vocab_size=96).save_pretrained(tmp_path / "tokenizer")
    options = tiny(home / "corpus.txt", tokenizer=str(tmp_path / "tokenizer"))
    text = PROGRAM.replace("vocab = 96", "vocab = 64")
    with pytest.raises(RunError, match=r"the tokenizer has \d+ tokens, the model 64"):
        go(options, text)
    assert not (tmp_path / "run").exists()


def test_sequences_longer_than_the_model_are_refused(
    go: Callable[..., RunView], home: Path, tmp_path: Path
) -> None:
    text = PROGRAM.replace("positions = none", "positions = learned")
    with pytest.raises(UsageError, match="17 tokens are too long") as caught:
        go(tiny(home / "corpus.txt", length=17), text)
    assert caught.value.code == "U023"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"evaluations": 0},
        {"evaluations": 2.0},
        {"evaluations": True},
        {"seed": -1},
        {"round_size": 1},
        {"parents": 0},
        {"alpha": -1.0},
        {"alpha": float("nan")},
        {"inter_rate": 1.5},
        {"learning_rate": 0.0},
        {"learning_rate": float("inf")},
        {"warmup_ratio": 1.1},
        {"length": 7},
        {"blocks": 0},
        {"final_seeds": (1, 1)},
        {"final_seeds": (-1,)},
        {"data": None},
        {"tokenizer": 3},
        {"executor": "cloud"},
        {"threads": 0},
        {"memory_limit": 0},
        # So many hang, end the process, or don't fit where they are kept.
        {"evaluations": 10**20},
        {"round_size": 10**20},
        {"batch_size": 10**20},
        {"score_seeds": 10**20, "weights": "fresh"},
        {"threads": 10**5},
        {"memory_limit": 10**29},
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        EvolveOptions(**change)
    assert caught.value.code == "U020"
    assert next(iter(change)) in caught.value.message


def test_options_are_the_same_after_json() -> None:
    options = EvolveOptions(seed=3, final_seeds=(4, 5), blocks=2, device="cpu")
    assert EvolveOptions.from_json(options.as_json()) == options


@pytest.mark.parametrize("data", ["", " ", "hf:"])
def test_data_without_a_name_is_not_the_working_folder(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stray.txt").write_text("not asked for\n\n" * 50)
    monkeypatch.chdir(tmp_path)
    program = api.load("std.spaces")
    with pytest.raises(AzcError):
        api.evolve(program, "trial", out=tmp_path / "run", cache=tmp_path, data=data)
    assert not (tmp_path / "run").exists()
