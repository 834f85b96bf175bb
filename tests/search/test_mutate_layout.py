from __future__ import annotations

import random
from collections import Counter

from azc.check.flatten import self_contained
from azc.check.program import SpaceSpec
from azc.check.resolve import check_source
from azc.ops.table import load_ops
from azc.search.genome import Genome, space_features
from azc.search.mutate import Mutation, Rates, mutate
from azc.search.priorities import Priorities
from azc.source import Source
from azc.syntax import ast
from azc.syntax.diff import text_diff
from azc.syntax.format import format_expr
from tests.search.spaces import (
    INTER,
    INTRA,
    children,
    marked,
    start_of,
)

# Comments, names and layout


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
        for made in children("commented", 100, rates):
            lost = marked(start.text) - marked(made.genome.text)
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
    for _ in range(300):
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
    assert sum(whole.values()) > 220


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
    wanted = {"attention to conv", "conv to attention", "conv kernel", "argument"}
    assert kinds == wanted
