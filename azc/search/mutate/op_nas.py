"""Mutation by OP-NAS (Gao et al. 2022): an inter-layer, then an intra-layer mutation.

Mutations only respect types. The checker and the search space decide whether a child is
valid, as for any program.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from azc.check.flatten import self_contained
from azc.check.program import SpaceSpec
from azc.check.spaces import membership
from azc.diagnostics import DiagnosticError
from azc.search.genome import Genome
from azc.search.mutate.context import Context, Step
from azc.search.mutate.draft import Draft
from azc.search.mutate.layers import vary_layers
from azc.search.mutate.programs import vary_program
from azc.search.priorities import Priorities
from azc.syntax import ast

__all__ = ["Mutation", "Rates", "alone", "child_of", "mutate"]

_TRIES = 32


@dataclass(frozen=True)
class Rates:
    """Probabilities of inter-layer and intra-layer mutations; a child always has at
    least one.
    """

    inter: float = 0.7
    intra: float = 0.7


@dataclass(frozen=True)
class Mutation:
    """A child, a description of its mutations in one line, and their kinds."""

    genome: Genome
    description: str
    kinds: tuple[str, ...]


def mutate(
    parent: Genome,
    space: SpaceSpec,
    rng: random.Random,
    priorities: Priorities,
    rates: Rates = Rates(),
    kinds: Priorities | None = None,
) -> Mutation | None:
    """Create a mutant of `parent` that lies in the space and is another function.

    Args:
        parent: The program to mutate.
        space: The search space.
        rng: Source of randomness.
        priorities: Priorities of features.
        rates: Probabilities of the two types of mutation.
        kinds: Priorities of mutation kinds; None draws each with its fixed weight.

    Returns:
        The child, or None if none was found in a few tries.
    """
    parent = alone(parent)
    context = Context(space, rng, priorities, kinds)
    start = Draft(parent.program.file, parent.model)
    for _ in range(_TRIES):
        inter, intra = context.chance(rates.inter), context.chance(rates.intra)
        steps: list[Step] = []
        draft = start
        if inter:
            step = vary_layers(parent, draft, context)
            if step is not None:
                steps.append(step)
                draft = step.draft.tidy()
        if intra:
            step = vary_program(draft, context)
            if step is not None:
                steps.append(step)
                draft = step.draft.tidy()
        child = child_of(draft, parent, space) if steps else None
        if child is not None:
            return Mutation(
                genome=child,
                description="; ".join(step.words for step in steps),
                kinds=tuple(step.kind for step in steps),
            )
    return None


def alone(parent: Genome) -> Genome:
    """Return the parent without imports, search spaces and other models."""
    for declaration in parent.program.file.declarations:
        mine = isinstance(declaration, ast.Model) and declaration.name == parent.model
        if not mine and not isinstance(declaration, ast.Attention):
            text = self_contained(parent.program, parent.model)
            return Genome.from_text(text, parent.model)
    return parent


def child_of(draft: Draft, parent: Genome, space: SpaceSpec) -> Genome | None:
    """Return the checked child, or None if it is not valid, or not new."""
    try:
        child = Genome.from_file(draft.file, draft.model)
    except DiagnosticError:
        return None
    if child.key == parent.key or membership(child.spec, space):
        return None
    new = child.features - parent.features
    return None if any(space.draws.get(each) == 0 for each in new) else child
