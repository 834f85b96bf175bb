"""`python -m benchmarks demo`: what it reads from a run, and what it writes."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import pytest
from scipy import stats

import azc
from azc.check.flatten import self_contained
from azc.check.resolve import check_source
from azc.search.records import Entrant, Fit
from azc.search.view import Row
from azc.source import Source
from azc.training.verdict import Verdict, verdict
from benchmarks import claims, demo, findings, pages, tables
from tests.runs import PROGRAM, run_here, tiny, write_corpus

MODEL = PROGRAM.partition("space tiny")[0].partition(
    "from std.attention import sdpa\n"
)[2]


def model(attention: str) -> str:
    """A model with this program in both layers."""
    text = f"{attention}\n{MODEL}".replace("            sdpa\n", "            mine\n")
    return self_contained(check_source(Source("mine.azg", text, own=True)), "start")


SDPA = model("attention mine(q, k, v) {\n    return softmax(scale(q @ k.T)) @ v\n}\n")
ROPE = model(
    "attention mine(q, k, v) {\n    return softmax(scale(rope(q) @ rope(k).T)) @ v\n}\n"
)
SAME = model("attention mine(q, k, v) {\n    return softmax(q @ scale(k).T) @ v\n}\n")
BLIND = model("attention mine(v) {\n    return tanh(v)\n}\n")
CONV = model("attention mine(v) {\n    return conv(v, kernel = 3)\n}\n")
NEW = model("attention mine(q, k, v) {\n    return softmax(tanh(q @ k.T)) @ v\n}\n")


@pytest.mark.parametrize(
    ("program", "evolved"),
    [
        (SDPA, False),
        (ROPE, False),
        (SAME, False),
        (BLIND, False),
        (CONV, False),
        (NEW, True),
    ],
    ids=["start", "library", "same values", "no mixing", "convolution", "new"],
)
def test_attention_that_evolution_made(program: str, evolved: bool) -> None:
    assert demo.has_evolved_attention(program, SDPA, "start") is evolved


@pytest.mark.parametrize("causal", [False, True])
def test_every_attention_of_the_library_mixes_tokens(causal: bool) -> None:
    for name, spec in azc.load("std.attention").attentions.items():
        assert demo.mixes_tokens(spec, causal), name


# A comparison without a run


def row(role: str, name: str, losses: list[float | None], program: str) -> Row:
    fits = tuple(
        Fit(1, seed, 3, "test", "done" if x is not None else "failed", x, None)
        for seed, x in enumerate(losses)
    )
    return Row(role, Entrant(name, program, None, id=1), fits)


def view(*rows: Row) -> Any:
    return SimpleNamespace(
        rows=rows,
        folder=Path("run"),
        model="start",
        start=SimpleNamespace(program=SDPA),
        verdicts={1: SimpleNamespace(word="better"), 2: SimpleNamespace(word="worse")},
    )


def test_a_comparison_is_summarized() -> None:
    found = demo.summary(
        view(
            row("winner", "candidate 0004", [2.0, 4.0], NEW),
            row("start", "the start", [5.0, 5.0], SDPA),
            row(
                "neighbour",
                "winner with mean_mixing_2 for its attention",
                [4.0, 4.0],
                "a",
            ),
            row("neighbour", "winner with sdpa for its attention", [2.0, 2.5], "b"),
            row("neighbour", "winner with a convolution", [None, 0.1], "c"),
            row("random", "conv(3)", [2.5, 2.5], "d"),
            row("hand", "conv(3)", [2.5, 2.5], "d"),
            row("hand", "conv(5)", [3.5, 3.5], "e"),
            row("hand", "the winner typed", [2.0, 4.0], NEW),
        )
    )
    assert found == {
        "winner": 3.0,
        "attention": True,
        # Better: one neighbour, and one program that is in two rows.
        "rank": 3,
        "of": 6,
        "better": 1,
        "worse": 1,
        "rows": 2,
        "start": 5.0,
        "start name": "the start",
        "random": 2.5,
        "random name": "conv(3)",
        "hand": 2.5,
        "hand name": "conv(3)",
        "neighbour": 2.25,
        "neighbour name": "winner with sdpa for its attention",
        "neighbours": 3.125,
        "without": 4.0,
    }


def test_a_winner_without_evolved_attention_has_no_row_without_it() -> None:
    name = "winner with mean_mixing for its attention"
    rows = [row("winner", "x", [1.0], ROPE), row("neighbour", name, [2.0], "a")]
    found = demo.summary(view(*rows))
    assert not found["attention"]
    assert "without" not in found


def test_a_winner_that_failed_ends_the_study() -> None:
    with pytest.raises(SystemExit, match="run has no winner"):
        demo.summary(view(row("winner", "x", [1.0, None], NEW)))


def test_a_run_is_read(tmp_path: Path) -> None:
    """Of a real run: every row is there, and the names of neighbours are those of azc."""
    corpus = write_corpus(tmp_path / "corpus.txt")
    options = tiny(
        corpus,
        evaluations=6,
        weights="fresh",
        baselines=True,
        neighbours=4,
        by_hand=True,
    )
    real = run_here(options, tmp_path / "run", tmp_path / "cache")
    found = demo.summary(real)
    for role in ("start", "random", "hand", "neighbour"):
        losses = [fmean(each.losses) for each in real.rows if each.role == role]
        assert found[role] == min(losses)
    means = {each.entrant.program: fmean(each.losses) for each in real.rows}
    assert found["of"] == len(means)
    assert found["rank"] == 1 + sum(x < found["winner"] for x in means.values())
    replaced = [
        each.entrant.name
        for each in real.rows
        if demo._WITHOUT.fullmatch(each.entrant.name)
    ]
    start = check_source(Source("x.azg", real.rows[0].entrant.program, own=True))
    assert len(replaced) == bool(start.attentions)


# Tables


def results(count: int, **changes: Any) -> dict[str, Any]:
    """Synthetic results of the demo: the winner is ahead of the start alone."""
    rows = {}
    for seed in range(count):
        wave = 0.03 * (-1) ** seed
        rows[str(seed)] = {
            "winner": 5.0 + 0.1 * seed,
            "attention": seed != 1,
            "rank": 1 + (seed == 2),
            "of": 9,
            "better": 4,
            "worse": 0,
            "rows": 8,
            "start": 5.6 + 0.1 * seed + wave,
            "random": 5.0 + 0.1 * seed + wave,
            "hand": 5.01 + 0.1 * seed + wave,
            "hand name": "4 × conv(3)",
            "neighbour": 4.9 + 0.1 * seed + wave / 4,
            "neighbour name": "winner with conv kernel",
            "neighbours": 5.05 + 0.1 * seed + wave,
            **({} if seed == 1 else {"without": 5.3 + 0.1 * seed + wave}),
            "local": 5.0 + 0.1 * seed - wave,
        }
    return {
        "arguments": "examples/demo.azg --seed 0",
        "same_beginning": True,
        "runs": rows,
        **changes,
    }


def test_the_winner_is_tested_against_every_row() -> None:
    found = results(6)
    tests = {name: each for name, *each in demo.comparisons(found)}
    assert list(tests) == [
        "the start",
        "random sampling with the same beginning",
        "the best handwritten model*",
        "the mean of its neighbours",
        "the best of its neighbours*",
        "itself with a mean for its evolved attention",
        "the winner of `local`",
    ]
    rows = list(found["runs"].values())
    plain = stats.ttest_rel([r["start"] for r in rows], [r["winner"] for r in rows])
    count, verdict, corrected = tests["the start"]
    assert count == 6
    assert verdict.p == pytest.approx(plain.pvalue)
    assert corrected >= verdict.p
    assert tests["itself with a mean for its evolved attention"][0] == 5
    words = {
        name: each.word
        for name, each in claims.corrected(
            {name: verdict for name, (_, verdict, _) in tests.items()}
        ).items()
    }
    assert words["the start"] == "better"
    assert (
        words["random sampling with the same beginning"] == "no significant difference"
    )
    assert words["the best of its neighbours*"] == "worse"


def test_a_table_has_a_row_for_each_seed() -> None:
    lines = demo.render(results(3)).splitlines()
    head = next(line for line in lines if line.startswith("| seed |"))
    assert head == (
        "| seed | winner | start | random | best by hand | mean of neighbours |"
        " best neighbour | mean for attention | local | rank of the winner | better than |"
        " evolved attention |"
    )
    rows = [line for line in lines if line.startswith(("| 0 |", "| 1 |", "| 2 |"))]
    assert rows[1].endswith("| – | 5.130 | 1 of 9 | 4 of 8 | no |")
    assert rows[2].endswith("| 2 of 9 | 4 of 8 | yes |")
    assert "- The winner has the lowest loss on 2 of 3 seeds." in lines
    assert "- It has an evolved attention program on 2 of 3." in lines


def test_a_single_seed_proves_nothing() -> None:
    lines = demo.render(results(1)).splitlines()
    assert "| the start | 1 | 0.630 | – | – |" in lines


def test_random_sampling_is_named_by_its_beginning() -> None:
    names = [name for name, *_ in demo.comparisons(results(2, same_beginning=False))]
    assert "random sampling from the start alone" in names
    assert "random sampling with the same beginning" not in names


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The committed results beside synthetic ones of the demo, and a copy of the pages."""
    folder, docs = tmp_path / "results", tmp_path / "docs"
    folder.mkdir()
    for file in tables.RESULTS.glob("*.json"):
        (folder / file.name).write_bytes(file.read_bytes())
    for page in tables.pages():
        copy = docs / page.relative_to(tables.DOCS)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(page.read_bytes())
    for module in (tables, claims, pages):
        monkeypatch.setattr(module, "RESULTS", folder)
    for module in (tables, pages):
        monkeypatch.setattr(module, "DOCS", docs)
    return docs


def test_new_results_are_published(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new run of the demo changes its study and every claim about it."""
    found = results(6)
    tables.publish("demo", found, demo.render(found))
    monkeypatch.setattr("sys.argv", ["results", "--publish"])
    assert pages.main() == 0
    page = (published / "results.md").read_text(encoding="utf-8")
    assert "**The demo, 6 seeds.**" in page
    assert "| the mean of its neighbours | 6 | 0.050 (" in page
    assert "an evolved attention program on 5 of 6" in page
    assert (
        "0.100 nats worse than the best of its neighbours, known only afterwards"
        in page
    )
    study = (published / "studies" / "demo.md").read_text(encoding="utf-8")
    assert demo.render(found).rstrip() in study
    assert demo.render(tables.result("demo-earlier")).rstrip() in study
    # All other sections are as they are.
    for name in ("scratch", "strategies", "results-scratch"):
        assert tables.page_of(name).is_relative_to(published)
        assert tables.section(name)


def test_the_words_of_a_family_are_corrected() -> None:
    """Of four p-values below 5 % Holm's procedure leaves the least."""
    tests = {
        name: Verdict(0.1, 0.01, 0.2, p, "better")
        for name, p in (("a", 0.01), ("b", 0.04), ("c", 0.03), ("d", 0.02))
    }
    tests["one seed"] = Verdict(0.1, None, None, None, "no significant difference")
    found = claims.corrected(tests)
    assert list(found) == list(tests)
    assert [name for name, x in found.items() if x.word == "better"] == ["a"]
    assert found["a"].p == pytest.approx(0.04)
    assert found["b"].p == pytest.approx(0.06)
    assert found["one seed"] == tests["one seed"]


def test_differences_are_said_in_words() -> None:
    mine = [1.0, 1.1, 1.2]
    tests = {
        "the start": verdict(mine, [2.0, 2.11, 2.2]),
        "the best*": verdict(mine, [0.4, 0.51, 0.6]),
        "a": verdict(mine, [1.1, 1.0, 1.2]),
        "b": verdict(mine, [1.2, 1.0, 1.3]),
    }
    said = findings.compared(tests)
    assert re.fullmatch(
        r"1\.003 nats better than the start \(0\.9\d+ to 1\.0\d+; p < 0\.001\),"
        r" 0\.597 nats worse than the best, known only afterwards"
        r" \(0\.5\d+ to 0\.6\d+; p < 0\.001\)"
        r" and not significantly different from a \(0\.000 \(.*; p = 1\)\)"
        r" and b \(0\.067 \(.*\)\)",
        said,
    )


def test_a_correlation_by_chance() -> None:
    """The p-value of τ, against SciPy's for samples without ties."""
    rng = tables.np.random.default_rng(0)
    x = rng.normal(size=40)
    for noise in (0.5, 3.0):
        y = x + noise * rng.normal(size=40)
        wanted = stats.kendalltau(x, y, method="asymptotic")
        assert claims.tau_p(wanted.statistic, 40) == pytest.approx(
            wanted.pvalue, rel=1e-6
        )
