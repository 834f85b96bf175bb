"""The options of a search are one thing on the command line and in Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer.main

from azc import api
from azc.cli.app import app
from azc.diagnostics import UsageError
from azc.search import run as run_module
from azc.search.folder import RunFolder
from azc.search.options import EvolveOptions, resolve
from tests.cli.conftest import Azc
from tests.runs import CAUSAL, PROGRAM

# What is written on the command line, and in Python: in one way or in several.
EACH: dict[str, tuple[list[str], list[Any]]] = {
    "data": (["--data", "task:recall"], ["task:recall"]),
    "documents": (["--documents", "line"], ["line"]),
    "tokenizer": (["--tokenizer", "bert"], ["bert"]),
    "evaluations": (["--evaluations", "7"], [7]),
    "objectives": (
        ["--objective", "loss", "--objective", "params"],
        [("loss", "parameters"), ["loss", "params"]],
    ),
    "limits": (
        ["--limit", "params=30e6", "--limit", "latency=2ms"],
        [
            ["params=30e6", "latency=2ms"],
            (("parameters", 3e7), ("latency", 2)),
            [("params", "30e6"), ("latency", "2ms")],
            {"params": 30_000_000, "latency": "2ms"},
        ],
    ),
    "seconds_alone": (["--seconds-alone", "9"], [9.0]),
    "seed": (["--seed", "5"], [5]),
    "strategy": (["--strategy", "local"], ["local"]),
    "round_size": (["--round", "5"], [5]),
    "parents": (["--parents", "2"], [2]),
    "alpha": (["--alpha", "0.1"], [0.1]),
    "temperature": (["--temperature", "0.2"], [0.2]),
    "patience": (["--patience", "3"], [3]),
    "learn_kinds": (["--no-learn-kinds"], [False]),
    "by_hand": (["--no-by-hand"], [False]),
    "mutations": (["--mutations", "4"], [4]),
    "population": (["--population", "9"], [9]),
    "tournament": (["--tournament", "3"], [3]),
    "inter_rate": (["--inter-rate", "0.3"], [0.3]),
    "intra_rate": (["--intra-rate", "0.4"], [0.4]),
    "weights": (["--weights", "fresh"], ["fresh"]),
    "warm_up": (["--warm-up", "10"], [10]),
    "steps": (["--steps", "3"], [3]),
    "schedule_steps": (["--schedule-steps", "50"], [50]),
    "score_seeds": (["--score-seeds", "2"], [2]),
    "batch_size": (["--batch", "3"], [3]),
    "length": (["--length", "12"], [12]),
    "learning_rate": (["--learning-rate", "1e-3"], [1e-3]),
    "warmup_ratio": (["--warmup-ratio", "0.5"], [0.5]),
    "mask_rate": (["--mask-rate", "0.2"], [0.2]),
    "blocks": (["--blocks", "8"], [8]),
    "contenders": (["--contenders", "2"], [2]),
    "final_steps": (["--final-steps", "9"], [9]),
    "final_seeds": (["--final-seeds", "2"], [(1, 2), [1, 2], 2]),
    "baselines": (["--no-baselines"], [False]),
    "neighbours": (["--neighbours", "2"], [2]),
    "workers": (["--workers", "2"], [2]),
    "threads": (["--threads", "2"], [2]),
    "executor": (["--executor", "ray"], ["ray"]),
    "time_limit": (["--time-limit", "2min"], [120.0, "2min", "120"]),
    "memory_limit": (["--memory-limit", "3GB"], [3 * 10**9, "3GB"]),
    "device": (["--device", "cpu"], ["cpu"]),
}
WITH: Mapping[str, tuple[list[str], dict[str, Any]]] = {
    "score_seeds": (["--weights", "fresh"], {"weights": "fresh"}),
}

Frozen = Callable[[list[str], Mapping[str, Any]], tuple[Any, Any]]


@pytest.fixture
def frozen(azc: Azc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Frozen:
    """What a run keeps of these options, by the command and in Python."""

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "_prepare", stop)
    made = iter(range(100))

    def both(
        words: list[str], given: Mapping[str, Any], text: str = PROGRAM
    ) -> tuple[Any, Any]:
        (tmp_path / "tiny.azg").write_text(text)
        one, other = (tmp_path / f"run-{next(made)}" for _ in range(2))
        assert azc("evolve", "tiny.azg", "-o", one, *words).code == 130
        with pytest.raises(KeyboardInterrupt):
            api.evolve("tiny.azg", out=other, cache=tmp_path, **given)
        return tuple(RunFolder(each).read()["options"] for each in (one, other))

    return both


def test_every_option_is_here() -> None:
    assert list(EACH) == [field.name for field in fields(EvolveOptions)]


@pytest.mark.parametrize("name", EACH)
def test_an_option_is_the_same_by_the_command_and_in_python(
    frozen: Frozen, name: str
) -> None:
    words, values = EACH[name]
    more, beside = WITH.get(name, ([], {}))
    for value in values:
        command, python = frozen([*words, *more], {name: value, **beside})
        assert command == python
        assert command[name] != EvolveOptions().as_json()[name]


@pytest.mark.parametrize(
    ("words", "given", "found"),
    [
        ([], {}, {"strategy": "op-nas"}),
        (
            ["--objective", "loss", "--objective", "flops"],
            {"objectives": ["loss", "flops"]},
            {"strategy": "nsga2"},
        ),
        (
            ["--objective", "loss", "--objective", "flops", "--strategy", "local"],
            {"objectives": ["loss", "flops"], "strategy": "local"},
            {"strategy": "local"},
        ),
        (
            ["--preset", "paper"],
            {"preset": "paper"},
            {"round_size": 100, "parents": 5, "inter_rate": 1.0, "learn_kinds": False},
        ),
        (
            ["--preset", "paper", "--round", "9", "--learn-kinds"],
            {"preset": "paper", "round_size": 9, "learn_kinds": True},
            {"round_size": 9, "parents": 5, "learn_kinds": True},
        ),
        (
            ["--preset", "paper", "--objective", "loss", "--objective", "params"],
            {"preset": "paper", "objectives": ("loss", "params")},
            {"strategy": "op-nas", "objectives": ["loss", "parameters"]},
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_so_are_the_rules_between_them(
    frozen: Frozen,
    words: list[str],
    given: Mapping[str, Any],
    found: Mapping[str, Any],
) -> None:
    command, python = frozen(words, given)
    assert command == python
    assert {name: command[name] for name in found} == found


@pytest.mark.parametrize(
    ("text", "words", "given", "code"),
    [
        (CAUSAL, ["--mask-rate", "0.4"], {"mask_rate": 0.4}, "D033"),
        (PROGRAM, ["--preset", "papers"], {"preset": "papers"}, "U020"),
        (PROGRAM, ["--objective", "size"], {"objectives": ["size"]}, "U020"),
        (PROGRAM, ["--objective", "params"], {"objectives": "params"}, "U020"),
        (PROGRAM, ["--limit", "loss=3"], {"limits": {"loss": 3}}, "U020"),
        (PROGRAM, ["--limit", "params=-1"], {"limits": [("params", -1)]}, "U020"),
        (PROGRAM, ["--time-limit", "long"], {"time_limit": "long"}, "U020"),
        (PROGRAM, ["--time-limit", "0"], {"time_limit": 0.0}, "U020"),
        (PROGRAM, ["--memory-limit", "much"], {"memory_limit": "much"}, "U020"),
        (PROGRAM, ["--score-seeds", "2"], {"score_seeds": 2}, "U020"),
        (
            PROGRAM,
            ["--inter-rate", "0", "--intra-rate", "0"],
            {"inter_rate": 0, "intra_rate": 0},
            "U020",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_makes_no_sense_is_refused_by_both(
    azc: Azc,
    tmp_path: Path,
    text: str,
    words: list[str],
    given: dict[str, Any],
    code: str,
) -> None:
    (tmp_path / "tiny.azg").write_text(text)
    answer = azc("evolve", "tiny.azg", "-o", "run", *words, "--json")
    with pytest.raises(UsageError) as caught:
        api.evolve("tiny.azg", out=tmp_path / "run", cache=tmp_path, **given)
    error = answer.json["error"]
    assert (error["code"], caught.value.code) == (code, code)
    if "params=-1" not in words:  # a pair is shown as it was given
        assert error["message"] == caught.value.message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "given",
    [
        {"limits": 3},
        {"limits": [3]},
        {"limits": ["params=30e6", ("params",)]},
        {"objectives": 3},
        {"final_seeds": 1.5},
        {"final_seeds": True},
        {"learn_kinds": "yes"},
        {"preset": 3},
        {"workerz": 3},
    ],
    ids=str,
)
def test_what_is_no_value_is_refused_in_a_sentence(
    given: dict[str, Any], good: str
) -> None:
    (name,) = given
    with pytest.raises(UsageError, match=name) as caught:
        api.evolve(api.loads(PROGRAM), out="run", cache="cache", **given)
    assert caught.value.code == "U020"


def test_a_near_name_is_offered(good: str) -> None:
    with pytest.raises(UsageError, match="no option `round_sise`") as caught:
        api.evolve(api.loads(PROGRAM), out="run", cache="cache", round_sise=3)
    assert caught.value.help == "did you mean `round_size`?"


def test_the_defaults_shown_are_those_of_python() -> None:
    command: Any = typer.main.get_command(app)
    shown = {param.name: param.default for param in command.commands["evolve"].params}
    start = api.loads(PROGRAM).models["start"]
    for field in fields(EvolveOptions):
        if shown[field.name] is not None:
            found = resolve({field.name: shown[field.name]}, start)
            assert found == EvolveOptions(), field.name
        else:
            assert field.default in (None, ("loss",), ())


def test_options_of_a_limit_by_another_name_are_refused_not_passed_over() -> None:
    with pytest.raises(UsageError, match="'params' is not an objective"):
        EvolveOptions(limits=(("params", 1.0),))
