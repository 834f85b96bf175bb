"""Spaces to mutate in, with their starts, and walks through them."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from azc.check.flatten import self_contained
from azc.check.program import Program, SpaceSpec
from azc.check.resolve import check_file, check_source
from azc.ops.table import load_ops
from azc.search.genome import Genome, space_features
from azc.search.mutate import Mutation, Rates, mutate
from azc.search.priorities import Priorities
from azc.source import Source
from azc.syntax.format import format_file

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
def program_of(name: str) -> Program:
    """The file that a space is in."""
    files = {
        "text": ROOT / "examples" / "text.azg",
        "causal": ROOT / "examples" / "decoder.azg",
        "hybrids": ROOT / "examples" / "04_space.azg",
        "scratch": ROOT / "examples" / "scratch.azg",
        "both": ROOT / "examples" / "scratch.azg",
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
    """The space."""
    spaces = program_of(name).spaces
    return spaces[name] if name in spaces else spaces["s"]


@cache
def start_of(name: str) -> Genome:
    """Where it starts."""
    program, space = program_of(name), space_of(name)
    model = next(n for n, spec in program.models.items() if spec is space.start)
    return Genome.from_text(self_contained(program, model), model)


SPACES = [
    "text",
    "causal",
    "hybrids",
    "scratch",
    "both",
    "autobert_zero",
    "trial",
    "commented",
    "all_ops",
    "fixed",
]


def untold(name: str) -> Priorities:
    """Its features, none of them tried."""
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


def marked(text: str) -> set[str]:
    """The comments of COMMENTED that are in a text, but those inside expressions."""
    return set(re.findall(r"# [HPSML] .*", text))
