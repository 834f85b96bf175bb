"""Neighbors of a winner: models that differ from it in one thing.

A winner is compared with them at the end of a search. A comparison with very different
models would not show that each part of the winner is needed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from azc.check.program import AttentionUse, SpaceSpec
from azc.search.baselines import with_layers
from azc.search.genome import Genome, space_features
from azc.search.mutate import Rates, mutate
from azc.search.mutate.draft import Draft, conv_layer
from azc.search.mutate.op_nas import alone
from azc.search.priorities import Priorities
from azc.syntax import ast

__all__ = ["neighbours"]

# Programs of the standard library that replace the winner's attention.
_STANDARD = ("rope_attention", "sdpa", "mean_mixing")
# The preferred convolution that replaces it, if the space has this kind and width.
_KERNEL, _KIND = 5, "depthwise"
_TRIES = 8  # mutations tried for each neighbour


def neighbours(
    winner: Genome, space: SpaceSpec, count: int, rng: random.Random
) -> Iterator[tuple[str, Genome]]:
    """Yield up to `count` neighbors of a winner, each with a description of the
    difference.

    First come copies of the winner in which all attention programs are replaced by one
    of the standard library (rotary and scaled dot-product attention, the mean over the
    tokens) or by a convolution; these need not lie in the space. Then come models of
    the space that are one random mutation away.
    """
    winner = alone(winner)
    known = {winner.key}
    found = 0
    for name, genome in _different(winner, space, count, rng):
        if found == count:
            return
        if genome.key not in known:
            known.add(genome.key)
            found += 1
            yield name, genome


def _different(
    winner: Genome, space: SpaceSpec, count: int, rng: random.Random
) -> Iterator[tuple[str, Genome]]:
    yield from _replaced(winner, space)
    alike = Priorities.start(space_features(space), alpha=0.0)
    for _ in range(_TRIES * count):
        layers = rng.random() < 0.5
        rates = Rates(inter=float(layers), intra=float(not layers))
        made = mutate(winner, space, rng, alike, rates)
        if made is not None:
            yield made.description, made.genome


def _replaced(winner: Genome, space: SpaceSpec) -> Iterator[tuple[str, Genome]]:
    """Yield copies of the winner with one mixer in place of all its attention
    programs.
    """
    layers = winner.spec.layers
    mixes = [isinstance(layer.mixing, AttentionUse) for layer in layers]
    if not any(mixes):
        return
    draft = Draft(winner.program.file, winner.model)
    standard = {draft.fresh(name, ()): name for name in _STANDARD}
    mixers = {name: ast.Layer(alias) for alias, name in standard.items()}
    for name, mixer in {**mixers, "a convolution": _convolution(space)}.items():
        changed = tuple(
            replace(mixer, args=(*mixer.args, *node.args)) if is_attention else node
            for node, is_attention in zip(draft.layers, mixes, strict=True)
        )
        genome = with_layers(winner, changed, standard)
        if genome is not None:
            yield f"{name} for its attention", genome


def _convolution(space: SpaceSpec) -> ast.Layer:
    kernel = min(space.kernels, key=lambda k: abs(k - _KERNEL), default=_KERNEL)
    kinds = space.kinds if space.kernels else ()
    kind = _KIND if _KIND in (kinds or (_KIND,)) else kinds[0]
    return conv_layer(kernel, kind)
