from __future__ import annotations

import random
import re
import subprocess
import sys
from collections import Counter

import pytest

from azc.check.flatten import self_contained
from azc.check.models import LAYER_ARGUMENTS
from azc.check.program import ConvUse
from azc.check.resolve import check_source
from azc.check.spaces import membership
from azc.diagnostics import DiagnosticError
from azc.ir.build import build_graph
from azc.search.genome import Genome
from azc.search.mutate import Rates, mutate
from azc.search.mutate.draft import CONV, Draft
from azc.search.mutate.sense import count_idle
from azc.search.priorities import Priorities
from azc.source import Source
from azc.syntax import ast
from tests.search.spaces import (
    ALL_OPS,
    INTER,
    ROOT,
    SPACES,
    children,
    marked,
    program_of,
    space_of,
    start_of,
    untold,
    walk,
)


def test_few_mutations_of_a_decoder_have_no_causal_meaning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the checker refuses is tried in vain: about one in fifty."""
    count: Counter[str] = Counter()
    made = Genome.from_file.__func__  # type: ignore[attr-defined]

    def from_file(cls: type[Genome], file: ast.File, model: str) -> Genome:
        count["tried"] += 1
        try:
            found: Genome = made(cls, file, model)
        except DiagnosticError as error:
            count.update(each.code for each in error.diagnostics)
            raise
        return found

    monkeypatch.setattr(Genome, "from_file", classmethod(from_file))
    rng = random.Random(3)
    for _ in range(20):
        genome = start_of("causal")
        for _ in range(6):
            child = mutate(genome, space_of("causal"), rng, untold("causal"))
            assert child is not None
            genome = child.genome
    assert count["tried"] >= 120
    assert set(count) == {"tried", "AZG310"}
    assert count["AZG310"] <= 0.05 * count["tried"]


# What holds for every mutation


@pytest.mark.parametrize("name", SPACES)
def test_walks_stay_legal(name: str) -> None:
    space = space_of(name)
    for parent, made in walk(name):
        child = made.genome
        assert membership(child.spec, space) == []
        assert child.key != parent.key
        assert child.text == child.program.source.text
        assert child.model == parent.model
        # Nothing is left behind, and nothing without an effect is taken up.
        assert child.program.warnings == ()
        used = {layer.name for layer in Draft(child.program.file, child.model).layers}
        assert set(child.program.attentions) == used - {CONV}
        for spec in child.program.attentions.values():
            assert count_idle(build_graph(spec)) == 0
        # What is said of it.
        assert 1 <= len(made.kinds) <= 2
        assert made.description
        assert "\n" not in made.description
        # What the walk never touches.
        kept = {c for c in marked(start_of(name).text) if c[2] in "HM"}
        assert kept <= marked(child.text)


def test_convolutions_stay_where_the_space_says_nothing_of_them() -> None:
    below = start_of("scratch").spec.layers[0]
    assert isinstance(below.mixing, ConvUse)
    for _, made in walk("scratch"):
        assert made.genome.spec.layers[0] == below
        assert not isinstance(made.genome.spec.layers[1].mixing, ConvUse)


def test_every_kind_occurs() -> None:
    walked = [made for _, made in walk("commented")]
    for name in LAYER_ARGUMENTS:
        assert any(f": {name} " in made.description for made in walked)
    assert {kind for made in walked for kind in made.kinds} == {
        "attention to conv",
        "conv to attention",
        "conv kernel",
        "conv kind",
        "argument",
        "copy attention",
        "insert layer",
        "delete layer",
        "replace",
        "insert",
        "delete",
        "rewire",
        "attribute",
    }


def test_rates() -> None:
    rng = random.Random(0)
    count: Counter[int] = Counter()
    for _ in range(150):
        made = mutate(start_of("hybrids"), space_of("hybrids"), rng, untold("hybrids"))
        assert made is not None
        count[len(made.kinds)] += 1
    assert count[2] / 150 == pytest.approx(0.49 / 0.91, abs=0.12)
    for made in children("hybrids", 20, INTER):
        assert len(made.kinds) == 1
        assert made.genome.program.attentions == start_of(
            "hybrids"
        ).program.attentions or made.kinds == ("attention to conv",)


def test_the_same_chance_makes_the_same_child() -> None:
    def texts() -> list[str]:
        return [made.genome.text for made in children("trial", 30, Rates())]

    assert texts() == texts()


_SCRIPT = """
import random
from pathlib import Path
from azc.check.flatten import self_contained
from azc.check.program import ConvUse
from azc.check.resolve import check_file
from azc.search.genome import Genome, space_features
from azc.search.mutate import mutate
from azc.search.priorities import Priorities
import sys
program = check_file(Path(sys.argv[1]))
space = program.spaces["text"]
genome = Genome.from_text(self_contained(program, "start"), "start")
priorities = Priorities.start(space_features(space), 0.5)
rng = random.Random(7)
for _ in range(25):
    made = mutate(genome, space, rng, priorities)
    genome = made.genome
    print(genome.key, made.description)
assert "torch" not in sys.modules and "numpy" not in sys.modules
"""


def test_no_hash_seed_and_no_torch_has_a_part_in_it() -> None:
    outputs = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT, str(ROOT / "examples" / "text.azg")],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        outputs.add(done.stdout)
    assert len(outputs) == 1


def test_where_nothing_may_change_there_is_no_child() -> None:
    source = ALL_OPS.format("matmul").replace("attention {{", "attention {")
    source = re.sub(r"\n    attention \{.*?\n    \}\n", "", source, flags=re.DOTALL)
    program = check_source(Source("x", source))
    genome = Genome.from_text(self_contained(program, "start"), "start")
    nothing = Priorities.start((), 0.5)
    space = program.spaces["s"]
    assert mutate(genome, space, random.Random(0), nothing) is None


def test_a_file_with_imports_and_spaces_is_a_parent_too() -> None:
    program = program_of("fixed")
    parent = Genome(program, "start")
    made = mutate(parent, space_of("fixed"), random.Random(0), untold("fixed"))
    assert made is not None
    kinds = {type(each) for each in made.genome.program.file.declarations}
    assert kinds == {ast.Attention, ast.Model}
