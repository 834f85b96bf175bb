from __future__ import annotations

import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from azc.check.flatten import self_contained
from azc.check.program import AttentionSpec, Program, SpaceSpec
from azc.check.resolve import check_file, check_source
from azc.check.spaces import membership
from azc.ir.build import build_graph
from azc.ops.table import load_ops
from azc.search.genome import Genome, space_features
from azc.search.mutate import Mutation, Rates, mutate
from azc.search.mutate.draft import CONV, Draft
from azc.search.mutate.sense import count_idle
from azc.search.priorities import Priorities
from azc.source import Source
from azc.syntax import ast
from azc.syntax.diff import text_diff
from azc.syntax.format import format_expr, format_file
from azc.syntax.parse import parse

ROOT = Path(__file__).resolve().parent.parent.parent
INTRA = Rates(inter=0.0, intra=1.0)
INTER = Rates(inter=1.0, intra=0.0)

# Comments wherever they may be: P for programs, S for statements, L for layers.
COMMENTED = """\
# H the file

# P mixed, above
attention mixed(q, k, v) {  # P mixed, beside
    # S mixed.key, above
    key = softplus(k)  # S mixed.key, beside

    scores = scale(q @ key.T)  # S mixed.scores
    # S mixed.return, above
    return softmax(
        window(scores, radius = 4),  # inside
    ) @ (
        # inside
        v + key
    )  # S mixed.return, beside
    # P mixed, at the end
}

# P plain, above
attention plain(q, v) {
    return softmax(cosine(q, v)) @ v  # S plain.return
}

# M above
model start {  # M beside
    vocab = 64  # M vocab
    hidden = 32

    heads = 4
    # M layers, above
    layers {  # M layers, beside
        # L 1
        mixed  # L 1, beside

        # L repeat, above
        repeat 3 {  # L repeat, beside
            conv(kernel = 3, kind = depthwise)  # L inner conv
            repeat 2 {
                plain(heads = 2)  # L inner plain
            }
            # L repeat, at the end
        }
        conv(
            kernel = 5,  # L 11, kernel
            ffn = [64, 64],  # L 11, ffn
        )
        # L at the end
    }
    # M at the end
}

space s {
    start = start
    depth = 6..14

    attention {
        inputs = [q, k, v]
        ops = [add, mul, matmul, transpose, scale, softmax, cosine, softplus, window,
            tanh, sum, div, conv]
        size = 1..12
    }

    conv {
        kernel = [3, 5, 9]
        kind = [light, depthwise, dynamic]
    }

    layer {
        heads = [2, 8]
        ffn = [32, [64, 64], [64, 64, 64]]
        activation = [relu, swiglu]
    }
}
"""

ALL_OPS = """\
attention sdpa(q, k, v) {{
    return softmax(scale(q @ k.T)) @ v
}}

model start {{
    vocab = 64
    hidden = 16
    heads = 2

    layers {{ sdpa }}
}}

space s {{
    start = start

    attention {{
        inputs = [q, k, v]
        ops = [{}]
    }}
}}
"""

FIXED = """\
from std.attention import sdpa, cosine, softplus_key

model start {
    vocab = 64
    hidden = 16
    heads = 4

    layers {
        sdpa
        repeat 2 { cosine }
        softplus_key
    }
}

space s {
    start = start
    conv { kernel = [3, 5] }
}
"""


@cache
def _program(name: str) -> Program:
    files = {
        "demo": ROOT / "examples" / "demo.azg",
        "hybrids": ROOT / "examples" / "04_space.azg",
        "autobert_zero": ROOT / "stdlib" / "spaces.azg",
        "trial": ROOT / "stdlib" / "spaces.azg",
    }
    if name in files:
        return check_file(files[name])
    texts = {
        "commented": COMMENTED,
        "all_ops": ALL_OPS.format(", ".join(load_ops())),
        "fixed": FIXED,
    }
    return check_source(Source(name, texts[name]))


@cache
def space_of(name: str) -> SpaceSpec:
    spaces = _program(name).spaces
    return spaces[name] if name in spaces else spaces["s"]


@cache
def start_of(name: str) -> Genome:
    program, space = _program(name), space_of(name)
    model = next(n for n, spec in program.models.items() if spec is space.start)
    return Genome.from_text(self_contained(program, model), model)


SPACES = ["demo", "hybrids", "autobert_zero", "trial", "commented", "all_ops", "fixed"]


def untold(name: str) -> Priorities:
    return Priorities.start(space_features(space_of(name)), alpha=0.5)


def children(name: str, count: int, rates: Rates = INTRA) -> Iterator[Mutation]:
    """Children of the start."""
    rng = random.Random(1)
    for _ in range(count):
        made = mutate(start_of(name), space_of(name), rng, untold(name), rates)
        assert made is not None
        yield made


@cache
def walk(name: str) -> tuple[tuple[Genome, Mutation], ...]:
    """200 mutations from the start, each of the one before, with their parents."""
    rng, genome = random.Random(2), start_of(name)
    found: list[tuple[Genome, Mutation]] = []
    for _ in range(200):
        made = mutate(genome, space_of(name), rng, untold(name))
        assert made is not None
        # The text is made once; the tree is what a mutation could have changed.
        assert format_file(genome.program.file) == genome.program.source.text
        found.append((genome, made))
        genome = made.genome
    return tuple(found)


def attention(body: str, params: str = "q, k, v") -> AttentionSpec:
    source = Source("x", f"attention a({params}) {{\n{body}\n}}\n")
    return check_source(source).attentions["a"]


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
        assert made.features <= set(space_features(space))
        drawn = {each for each in made.features if each.startswith("conv ")}
        assert drawn <= child.features
        # What the walk never touches.
        kept = {c for c in _comments(start_of(name).text) if c[2] in "HM"}
        assert kept <= _comments(child.text)


def test_every_kind_occurs() -> None:
    found = {kind for _, made in walk("commented") for kind in made.kinds}
    assert found == {
        "attention to conv",
        "conv to attention",
        "conv kernel",
        "conv kind",
        "layer heads",
        "layer ffn",
        "layer activation",
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
from azc.check.resolve import check_file
from azc.search.genome import Genome, space_features
from azc.search.mutate import mutate
from azc.search.priorities import Priorities
import sys
program = check_file(Path(sys.argv[1]))
space = program.spaces["demo"]
genome = Genome.from_text(self_contained(program, "start"), "start")
priorities = Priorities.start(space_features(space), 0.5)
rng = random.Random(7)
for _ in range(25):
    made = mutate(genome, space, rng, priorities)
    genome = made.genome
    print(genome.key, made.description, sorted(made.features))
assert "torch" not in sys.modules and "numpy" not in sys.modules
"""


def test_no_hash_seed_and_no_torch_has_a_part_in_it() -> None:
    outputs = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT, str(ROOT / "examples" / "demo.azg")],
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
    program = _program("fixed")
    parent = Genome(program, "start")
    made = mutate(parent, space_of("fixed"), random.Random(0), untold("fixed"))
    assert made is not None
    kinds = {type(each) for each in made.genome.program.file.declarations}
    assert kinds == {ast.Attention, ast.Model}


# Comments, names and layout


def _comments(text: str) -> set[str]:
    return set(re.findall(r"# [HPSML] .*", text))


def _gone(comment: str, child: Genome, made: Mutation) -> bool:
    """Whether what a comment of COMMENTED tells of may be gone."""
    kind, rest = comment[2], comment[4:]
    if kind == "P":
        return rest.split(",")[0] not in child.program.attentions
    if kind == "S":
        program, name = rest.split(",")[0].split(".")
        spec = child.program.attentions.get(program)
        if spec is None:
            return True
        bound = {s.name for s in spec.body if isinstance(s, ast.Bind)}
        return name != "return" and name not in bound
    if kind == "L" and "," in rest and "11" in rest:
        # An argument: gone with it.
        last = child.node.layers[-1]
        args = {a.name for a in last.args} if isinstance(last, ast.Layer) else set()
        return rest.split(", ")[1] not in args
    return kind == "L" and "delete layer" in made.kinds


def test_comments_of_what_remains_are_kept() -> None:
    start = start_of("commented")
    for rates in (INTRA, INTER, Rates()):
        for made in children("commented", 150, rates):
            lost = _comments(start.text) - _comments(made.genome.text)
            told = [c for c in lost if not _gone(c, made.genome, made)]
            assert told == [], f"{made.description}\n{made.genome.text}"


def _diff(old: str, new: str) -> list[str]:
    lines = text_diff(old, new, "", "").splitlines()[2:]
    return [line for line in lines if line[0] in "+-"]


ONE_EACH = """\
attention mine(q, k, v) {{
    # What stands here is long enough to be worth a name.
    key = softplus(k)  # softplus

    scores = window(scale(q @ key.T), radius = 4)
    return softmax(scores) @ (v + key)
}}

model start {{
    vocab = 64
    hidden = 16
    heads = 2

    layers {{
        mine  # once
        conv(kernel = 3)
    }}
}}

space s {{
    start = start

    attention {{
        inputs = [q, k, v, w]
        ops = [{}]
    }}
    conv {{ kernel = [3, 5, 7] }}
    layer {{ heads = [1, 2, 4] }}
}}
"""


def one_each() -> tuple[Genome, SpaceSpec]:
    text = ONE_EACH.format(", ".join(load_ops()))
    program = check_source(Source("one_each", text))
    genome = Genome.from_text(self_contained(program, "start"), "start")
    return genome, program.spaces["s"]


def test_a_change_of_an_operation_is_a_change_of_one_line() -> None:
    parent, space = one_each()
    priorities = Priorities.start(space_features(space), 0.5)
    rng = random.Random(4)
    whole: Counter[str] = Counter()
    for _ in range(500):
        made = mutate(parent, space, rng, priorities, INTRA)
        assert made is not None
        old = parent.program.attentions["mine"]
        new = made.genome.program.attentions["mine"]
        names = {s.name for s in new.body if isinstance(s, ast.Bind)}
        diff = _diff(parent.text, made.genome.text)
        gone = [line for line in diff if line[0] == "-"]
        come = [line for line in diff if line[0] == "+"]
        params = set(old.params) != set(new.params)
        if max(len(format_expr(s.value)) for s in new.body) > 72:
            continue  # it may be broken into several lines
        assert len(come) == 1 + params, made.genome.text
        left = {"key", "scores"} - names
        if not left:
            assert len(gone) == 1 + params
            whole[made.kinds[0]] += 1
        # With the comment and the blank line of a binding.
        assert len(gone) <= 1 + params + 2 * len(left)
        assert [p for p in new.params if p in old.params] == [
            p for p in old.params if p in new.params
        ]
    assert set(whole) == {"replace", "insert", "delete", "rewire", "attribute"}
    assert sum(whole.values()) > 400


def test_a_change_of_a_layer_is_a_change_of_one_line() -> None:
    parent, space = one_each()
    priorities = Priorities.start(space_features(space), 0.5)
    rng = random.Random(4)
    kinds = set()
    for _ in range(80):
        made = mutate(parent, space, rng, priorities, INTER)
        assert made is not None
        kinds.add(made.kinds[0])
        diff = _diff(parent.text, made.genome.text)
        if made.kinds == ("attention to conv",):  # its program goes too
            diff = [line for line in diff if "# once" in line]
        assert [line[0] for line in diff] == ["-", "+"]
    wanted = {"attention to conv", "conv to attention", "conv kernel", "layer heads"}
    assert kinds == wanted


# Layers in repeats


def _layers(text: str) -> Draft:
    source = f"attention a(q) {{ return q }}\nmodel m {{ layers {{\n{text} }} }}\n"
    return Draft(parse(Source("x", source)), "m")


def _written(draft: Draft) -> str:
    """The layers of a draft, a line each, without indentation."""
    text = format_file(draft.file)
    body = text[text.index("layers {") :].splitlines()[1:-2]
    return "\n".join(line.removeprefix("        ") for line in body)


NEW = (ast.Layer("b"),)


@pytest.mark.parametrize(
    ("text", "place", "layers", "wanted"),
    [
        ("a\na\n", 1, NEW, "a|b"),
        ("repeat 4 { a }", 0, NEW, "b|repeat 3 {|    a|}"),
        ("repeat 4 { a }", 1, NEW, "a|b|repeat 2 {|    a|}"),
        ("repeat 4 { a }", 2, NEW, "repeat 2 {|    a|}|b|a"),
        ("repeat 4 { a }", 3, NEW, "repeat 3 {|    a|}|b"),
        ("repeat 4 { a }", 2, (), "repeat 3 {|    a|}"),
        ("repeat 2 { a }", 1, (), "a"),
        ("repeat 1 { a }\na", 0, (), "a"),
        ("repeat 3 { a\nc\n}", 3, NEW, "a|c|a|b|a|c"),
        ("repeat 3 { a\nc\n}", 2, (), "a|c|c|a|c"),
        (
            "repeat 3 { repeat 3 { a }\nc\n}",
            5,
            NEW,
            "repeat 3 {|    a|}|c|a|b|a|c|repeat 3 {|    a|}|c",
        ),
        (
            "x\nrepeat 3 { repeat 2 { a }\n}\ny",
            4,
            NEW,
            "x|repeat 2 {|    a|}|a|b|repeat 2 {|    a|}|y",
        ),
        (
            "# above\nrepeat 4 { # beside\n a # inside\n # end\n}",
            1,
            NEW,
            "# above|# beside|# end|a  # inside|b|repeat 2 {|    a|}",
        ),
        (
            "# above\nrepeat 4 { # beside\n a # inside\n # end\n}",
            3,
            NEW,
            "# above|repeat 3 {  # beside|    a  # inside|    # end|}|b",
        ),
        (
            "# above\nrepeat 4 { # beside\n a # inside\n}",
            0,
            NEW,
            "# above|# beside|b|repeat 3 {|    a|}",
        ),
    ],
)
def test_what_is_repeated_is_peeled(
    text: str, place: int, layers: tuple[ast.Layer, ...], wanted: str
) -> None:
    draft = _layers(text)
    names = [layer.name for layer in draft.layers]
    found = draft.with_layer(place, lambda old: layers)
    assert _written(found) == wanted.replace("|", "\n")
    names[place : place + 1] = [layer.name for layer in layers]
    assert [layer.name for layer in found.layers] == names


@pytest.mark.parametrize("place", range(8))
def test_a_layer_is_put_in(place: int) -> None:
    draft = _layers("a\nrepeat 3 { a\nc\n}")
    names = [layer.name for layer in draft.layers]
    names.insert(place, "b")
    found = draft.with_new_layer(place, ast.Layer("b"))
    assert [layer.name for layer in found.layers] == names


# Programs of several layers


def test_a_program_of_several_layers_is_changed_for_all_or_copied() -> None:
    copies = 0
    for made in children("demo", 200):
        names = [layer.mixing.name for layer in made.genome.spec.layers]  # type: ignore[union-attr]
        if "takes a copy sdpa_2 of sdpa" in made.description:
            copies += 1
            assert sorted(names) == ["sdpa", "sdpa", "sdpa", "sdpa_2"]
            declared = made.genome.program.file.declarations
            assert [d.name for d in declared] == ["sdpa", "sdpa_2", "start"]  # type: ignore[union-attr]
        else:
            assert names == ["sdpa"] * 4
    assert 70 < copies < 130


def test_names_of_copies() -> None:
    names = {
        name for _, made in walk("demo") for name in made.genome.program.attentions
    }
    assert {"sdpa_2", "sdpa_3"} <= names
    assert not any(re.search(r"_\d+_\d+$", name) for name in names)
    # A number that is part of the author's own name is not counted on.
    text = _program("fixed").source.text.replace("cosine", "autobert_zero_2")
    text = text.replace("    conv {", "    attention { inputs = [q, k, v]\n ops = [")
    text = text.replace("kernel = [3, 5] }", f"{', '.join(load_ops())}] }}")
    program = check_source(Source("x", text))
    genome = Genome.from_text(self_contained(program, "start"), "start")
    space, rng = program.spaces["s"], random.Random(0)
    found = set()
    for _ in range(60):
        made = mutate(genome, space, rng, Priorities.start((), 0.5), INTRA)
        assert made is not None
        found |= set(made.genome.program.attentions)
    assert found == {"sdpa", "autobert_zero_2", "autobert_zero_2_2", "softplus_key"}


# What is drawn


def _eager_for(feature: str, name: str) -> Priorities:
    """Priorities that leave no doubt."""
    features = space_features(space_of(name))
    others = frozenset(features) - {feature}
    start = Priorities.start(features, alpha=100.0)
    return start.tell([(others, 0.0)] * 50)


@pytest.mark.parametrize("op", sorted(load_ops()))
def test_every_operation_can_be_taken_up(op: str) -> None:
    space, rng, priorities = (
        space_of("all_ops"),
        random.Random(0),
        _eager_for(op, "all_ops"),
    )
    if op in start_of("all_ops").features:
        start = Genome.from_text(
            start_of("all_ops")
            .text.replace("softmax(scale(q @ k.T)) @ v", "q * v")
            .replace("(q, k, v)", "(q, v)"),
            "start",
        )
    else:
        start = start_of("all_ops")
    for _ in range(60):
        made = mutate(start, space, rng, priorities, INTRA)
        assert made is not None
        if op in made.genome.features:
            assert op in made.features
            return
    raise AssertionError(f"{op} was never drawn")


def test_priorities_say_what_is_drawn() -> None:
    rng, name = random.Random(0), "hybrids"
    eager = _eager_for("conv 17", name)
    drawn: Counter[str] = Counter()
    for _ in range(80):
        made = mutate(start_of(name), space_of(name), rng, eager, INTER)
        assert made is not None
        drawn.update(f for f in made.features if f.startswith("conv "))
    assert set(drawn) == {"conv 17"}
    eager = _eager_for("tanh", name)
    made_by = [
        made.features
        for _ in range(80)
        if (made := mutate(start_of(name), space_of(name), rng, eager, INTRA))
        and made.kinds == ("replace",)
    ]
    # It can't stand where a product is.
    assert made_by.count(frozenset({"tanh"})) > 0.4 * len(made_by) > 0


def test_a_similarity_can_stand_for_a_product() -> None:
    for made in children("all_ops", 400):
        if "cosine(q, k)" in made.genome.text:
            assert made.description == "sdpa: `q @ k.T` becomes `cosine(q, k)`"
            return
    raise AssertionError("never seen")


def test_an_input_of_the_space_becomes_a_parameter() -> None:
    found = set()
    for name in ("commented", "demo"):
        for _, made in walk(name):
            for spec in made.genome.program.attentions.values():
                found.add(spec.params)
                assert list(spec.params) == sorted(spec.params, key="qkv".index)
    assert {("q", "k"), ("q", "k", "v"), ("q", "v")} <= found


# Operations without an effect


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ("return softmax(q @ k.T) @ v", 0),
        ("return q * softmax(sum(q))", 1),
        ("return q * layer_norm(sum(q))", 1),
        ("return q * mean(sum(q))", 1),
        ("return q * cosine(sum(q), sum(sum(k).T))", 1),
        ("return q * sum(sum(sum(q).T)).T", 2),
        ("return q - q", 1),
        ("a = q + k\nb = q + k\nreturn a / b + v", 1),
        ("return maximum(q, q) + minimum(q, k)", 1),
        ("return q - k", 0),
        ("return q + q", 0),
        ("return cosine(q, q) @ v", 0),
        ("return q * sum(softmax(k))", 1),
        ("return q * amax(softmax(k))", 0),
        ("return q * (1 + 2)", 1),
        ("return q * (1 + sum(k))", 0),
        ("return q * tanh(3)", 1),
    ],
)
def test_idle_operations(body: str, count: int) -> None:
    assert count_idle(build_graph(attention(body))) == count
