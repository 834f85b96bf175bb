"""Crossover along the shortest edit path between two models (Qiu and Miikkulainen
2023).

The cheapest edits that turn one parent into the other are computed, and a random half
of them is applied. Everything that the parents share stays unchanged: layers are
aligned as by `azc diff`, and programs as trees, with the operands of a sum in either
order.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from azc.check.models import LAYER_ARGUMENTS
from azc.check.program import AttentionUse, SpaceSpec
from azc.compare.expression import number_text
from azc.compare.models import LayerDiff, compare_models
from azc.ir.graph import INPUT, NUMBER, Graph, Node
from azc.passes.pipeline import program_graph
from azc.search.genome import COMMUTATIVE, Genome, program_key
from azc.search.mutate.draft import Draft, bare
from azc.search.mutate.op_nas import Mutation, alone, child_of
from azc.syntax import ast

__all__ = ["EditPath", "crossover"]

_TRIES = 8
_LARGEST = 200  # nodes up to which a program is crossed instead of copied as a whole


def crossover(
    one: Genome, other: Genome, space: SpaceSpec, rng: random.Random
) -> Mutation | None:
    """Create a child between two models, which computes something else than either.

    It lies in the space, and its text is based on that of `one`.

    Returns:
        The child, or None if none was found in a few tries.
    """
    one, other = alone(one), alone(other)
    path = compare_models(one.spec, other.spec, 1).layers
    for _ in range(_TRIES):
        work = _Work(Draft(one.program.file, one.model), one, other, space, rng)
        draft = work.along(path)
        if not 0 < work.taken < work.edits:
            continue  # it equals one of the parents, or nothing lies between them
        child = child_of(draft.tidy(), one, space)
        if child is not None and child.key != other.key:
            words = f"crossover: {work.taken} of {work.edits} edits"
            return Mutation(child, words, ("crossover",))
    return None


@dataclass
class _Work:
    """A child under construction; `taken` of `edits` have been applied so far."""

    draft: Draft
    one: Genome
    other: Genome
    space: SpaceSpec
    rng: random.Random
    edits: int = 0
    taken: int = 0
    names: dict[str, str] = field(default_factory=dict)  # of programs, by their keys

    def flip(self) -> bool:
        """Decide at random whether the next edit is applied."""
        self.edits += 1
        taken = self.rng.random() < 0.5
        self.taken += taken
        return taken

    # Layers

    def along(self, path: Sequence[LayerDiff]) -> Draft:
        """Apply some of the edits to the layers of `one`.

        It starts with the last layer, so that the places of lower layers stay valid.
        """
        for place in range(len(path) - 1, -1, -1):
            step = path[place]
            if step.old is not None and step.new is not None:
                if step.status == "changed":
                    self.changed(step.old, step.new)
            elif step.old is not None:
                if self.flip():
                    self.draft = self.draft.with_layer(step.old, lambda _: ())
            elif step.new is not None and self.flip():
                below = [s.old for s in path[:place] if s.old is not None]
                at = below[-1] + 1 if below else 0
                layer = self.layer_of_other(step.new)
                self.draft = self.draft.with_new_layer(at, layer)
        return self.draft

    def changed(self, old: int, new: int) -> None:
        """Move one layer toward another."""
        mine, theirs = self.one.spec.layers[old], self.other.spec.layers[new]
        layer = mine.node
        if isinstance(mine.mixing, AttentionUse) and isinstance(
            theirs.mixing, AttentionUse
        ):
            if program_key(mine.mixing.program) != program_key(theirs.mixing.program):
                layer = replace(layer, name=self.between(mine.mixing, theirs.mixing))
        elif mine.mixing != theirs.mixing and self.flip():
            own = tuple(arg for arg in layer.args if arg.name in LAYER_ARGUMENTS)
            mixing = self.layer_of_other(new)
            kind = [arg for arg in mixing.args if arg.name not in LAYER_ARGUMENTS]
            layer = replace(mixing, args=(*kind, *own))
        for name in LAYER_ARGUMENTS:
            if getattr(mine, name) != getattr(theirs, name) and self.flip():
                kept = [arg for arg in layer.args if arg.name != name]
                found = [arg for arg in theirs.node.args if arg.name == name]
                layer = replace(layer, args=(*kept, *found))
        if layer != mine.node:
            self.draft = self.draft.with_layer(
                old, lambda was: (replace(layer, comments=was.comments),)
            )

    def layer_of_other(self, place: int) -> ast.Layer:
        """Return a layer of the other parent as written in this file, with its program
        declared.
        """
        layer = bare(self.other.spec.layers[place].node)
        mixing = self.other.spec.layers[place].mixing
        if not isinstance(mixing, AttentionUse):
            return layer
        node = Draft(self.other.program.file, self.other.model).programs[layer.name]
        return replace(layer, name=self.declared(program_key(mixing.program), node))

    def declared(self, key: str, node: ast.Attention) -> str:
        """Return the name of a program in this file, declaring it if needed."""
        if not self.names:
            for layer in self.one.spec.layers:
                if isinstance(layer.mixing, AttentionUse):
                    own = program_key(layer.mixing.program)
                    self.names.setdefault(own, layer.mixing.name)
        if key not in self.names:
            stem = re.sub(r"_\d+$", "", node.name) or node.name
            name = self.draft.fresh(stem, ())
            self.names[key] = name
            self.draft = self.draft.with_new_program(replace(bare(node), name=name))
        return self.names[key]

    # Programs

    def between(self, mine: AttentionUse, theirs: AttentionUse) -> str:
        """Return the name of a program between two, the same for all layers that have
        this pair.
        """
        keys = [program_key(use.program) for use in (mine, theirs)]
        both = " ".join(keys)
        if both in self.names:
            return self.names[both]
        old, new = (program_graph(use.program) for use in (mine, theirs))
        if any(
            _shares_weights(graph) or len(graph.nodes) > _LARGEST
            for graph in (old, new)
        ):
            node = Draft(self.other.program.file, self.other.model).programs[
                theirs.name
            ]
            taken = self.flip()
            found = self.declared(keys[1], node) if taken else mine.name
        else:
            found = self.crossed(both, mine.name, old, new)
        self.names[both] = found
        return found

    def crossed(self, both: str, name: str, old: Graph, new: Graph) -> str:
        before = self.taken
        expr = EditPath().half(old.output, new.output, self.flip)
        if self.taken == before:
            return name
        used = {e.id for e in ast.expressions(expr) if isinstance(e, ast.Name)}
        order = dict.fromkeys((*(self.space.inputs or ()), *old.inputs, *new.inputs))
        params = tuple(ast.Param(each) for each in order if each in used)
        return self.declared(both, ast.Attention(name, params, (ast.Return(expr),)))


def _shares_weights(graph: Graph) -> bool:
    """Return whether learned weights are used in two places.

    Such a program can't be treated as a tree.
    """
    users: dict[Node, int] = {}
    for node in reversed(graph.nodes):
        uses = 1 if node is graph.output else users.get(node, 0)
        if uses > 1 and node.weights:
            return True
        for arg in node.args:
            users[arg] = users.get(arg, 0) + uses
    return False


class EditPath:
    """The shortest edit path from one expression to another.

    An edit replaces an operation or an operand, wraps an operation around an
    expression, or unwraps an expression from one. The other operands of a wrapped or
    unwrapped operation count by their sizes.
    """

    def __init__(self) -> None:
        self.ways: dict[tuple[Node, Node], tuple[int, str, int]] = {}
        self.sizes: dict[Node, int] = {}

    def cost(self, old: Node, new: Node) -> int:
        """Return the minimum number of edits."""
        return self.way(old, new)[0]

    def size(self, node: Node) -> int:
        """Return the number of operations and operands in an expression."""
        if node not in self.sizes:
            self.sizes[node] = 1 + sum(map(self.size, node.args))
        return self.sizes[node]

    def way(self, old: Node, new: Node) -> tuple[int, str, int]:
        """Return the cost, the first edit, and the index of its operand.

        For "keep", the last value tells whether operands are aligned in reverse order.
        """
        if (old, new) not in self.ways:
            ways = [(self._pairs(old, new, swap), "keep", swap) for swap in (0, 1)]
            ways += [
                (self._around(old, i) + self.cost(arg, new), "unwrap", i)
                for i, arg in enumerate(old.args)
            ]
            ways += [
                (self._around(new, i) + self.cost(old, arg), "wrap", i)
                for i, arg in enumerate(new.args)
            ]
            self.ways[old, new] = min(ways, key=lambda way: way[0])
        return self.ways[old, new]

    def _around(self, node: Node, operand: int) -> int:
        return self.size(node) - self.size(node.args[operand])

    def _pairs(self, old: Node, new: Node, swap: int) -> int:
        """Return the cost of replacing one operation by the other."""
        mine, theirs = _lined_up(old, new, swap)
        cost = int(_differ(old, new))
        for a, b in zip(mine, theirs, strict=False):
            cost += self.cost(a, b)
        count = min(len(mine), len(theirs))
        return cost + sum(map(self.size, (*mine[count:], *theirs[count:])))

    def half(self, old: Node, new: Node, flip: Callable[[], bool]) -> ast.Expr:
        """Return the old expression after the edits that `flip` selects."""
        cost, edit, place = self.way(old, new)
        if cost == 0:
            return _expr(old)
        if edit == "unwrap":
            inner = self.half(old.args[place], new, flip)
            return inner if flip() else _with(old, place, inner)
        if edit == "wrap":
            inner = self.half(old, new.args[place], flip)
            return _with(new, place, inner) if flip() else inner
        mine, theirs = _lined_up(old, new, place)
        args = [self.half(a, b, flip) for a, b in zip(mine, theirs, strict=False)]
        if _differ(old, new) and flip():
            return _made(new, (*args, *map(_expr, theirs[len(args) :])))
        return _made(old, (*args, *map(_expr, mine[len(args) :])))


def _lined_up(
    old: Node, new: Node, swap: int
) -> tuple[tuple[Node, ...], tuple[Node, ...]]:
    """Return the aligned operands of both; with `swap`, those of a sum are reversed."""
    mine, theirs = tuple(old.args), tuple(new.args)
    if swap and new.op in COMMUTATIVE:
        return mine, theirs[::-1]
    if swap and old.op in COMMUTATIVE:
        return mine[::-1], theirs
    return mine, theirs


def _differ(old: Node, new: Node) -> bool:
    """Return whether two nodes are different operations or operands."""
    if (old.op, old.number, len(old.args)) != (new.op, new.number, len(new.args)):
        return True
    return dict(old.attrs) != dict(new.attrs) or (
        old.op == INPUT and old.name != new.name
    )


def _with(node: Node, place: int, arg: ast.Expr) -> ast.Expr:
    args = [arg if i == place else _expr(each) for i, each in enumerate(node.args)]
    return _made(node, args)


def _expr(node: Node) -> ast.Expr:
    return _made(node, [_expr(arg) for arg in node.args])


def _made(node: Node, args: Sequence[ast.Expr]) -> ast.Expr:
    if node.op == INPUT:
        return ast.Name(node.name)
    if node.op == NUMBER:
        return ast.Number(number_text(node.number))
    attrs = (ast.Attr(k, ast.Number(str(v))) for k, v in node.attrs.items())
    return ast.Apply(node.op, tuple(args), tuple(attrs))
