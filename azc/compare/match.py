"""Matching of the operations of two versions of a program."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

from azc.compare.expression import Expression, express, number_text
from azc.ir.graph import INPUT, NUMBER, Graph, Node

__all__ = ["AttributeChange", "Interner", "ProgramDiff", "match_graphs", "operations"]


@dataclass(frozen=True)
class AttributeChange:
    """An operation whose attribute changed: `window`, radius, 16, 32."""

    op: str
    attribute: str
    old: int
    new: int


@dataclass(frozen=True)
class ProgramDiff:
    """The difference of two attention programs; names of values are ignored.

    `removed` and `added` hold operations, and constants by their digits, each with a
    count. `rewired` holds operations that are in both programs with other operands.
    """

    old: Expression
    new: Expression
    inputs_removed: tuple[str, ...]
    inputs_added: tuple[str, ...]
    removed: tuple[tuple[str, int], ...]
    added: tuple[tuple[str, int], ...]
    rewired: tuple[tuple[str, int], ...]
    attributes: tuple[AttributeChange, ...]
    same: bool


class Interner:
    """Numbering of subprograms: equal ones have the same number, also in different
    graphs.
    """

    def __init__(self) -> None:
        self._numbers: dict[tuple[object, ...], int] = {}

    def __call__(self, graph: Graph) -> dict[Node, int]:
        """Return the number of each node. Equal operations with weights have different
        numbers.
        """
        found: dict[Node, int] = {}
        learned: Counter[tuple[object, ...]] = Counter()
        for node in graph.nodes:
            args = tuple(found[arg] for arg in node.args)
            attrs = tuple(sorted(node.attrs.items()))
            key: tuple[object, ...] = (node.op, node.name, node.number, attrs, args)
            if node.weights:
                learned[key] += 1
                key = (*key, learned[key])
            found[node] = self._numbers.setdefault(key, len(self._numbers))
        return found

    def key(self, graph: Graph) -> tuple[object, ...]:
        """Return a key that is equal for two graphs exactly if they are the same
        program.
        """
        return graph.inputs, self(graph)[graph.output]


def _label(node: Node) -> str:
    return number_text(node.number) if node.op == NUMBER else node.op


def operations(graph: Graph) -> Counter[str]:
    """Count each operation; constants are counted by their digits."""
    return Counter(_label(node) for node in graph.nodes if node.op != INPUT)


def match_graphs(old: Graph, new: Graph) -> ProgramDiff:
    """Match two graphs.

    Returns:
        Operations that were removed, added, rewired and got other attributes.
    """
    pairs = _Pairs(old, new)
    intern = Interner()
    before, after = operations(old), operations(new)
    return ProgramDiff(
        old=express(old),
        new=express(new),
        inputs_removed=tuple(n for n in old.inputs if n not in new.inputs),
        inputs_added=tuple(n for n in new.inputs if n not in old.inputs),
        removed=_sorted(before - after),
        added=_sorted(after - before),
        rewired=_sorted(pairs.rewired()),
        attributes=pairs.attributes(),
        same=intern.key(old) == intern.key(new),
    )


def _sorted(counts: Counter[str]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(counts.items()))


class _Pairs:
    """A matching of the operations of two graphs."""

    def __init__(self, old: Graph, new: Graph) -> None:
        self.old, self.new = old, new
        self.to: dict[Node, Node] = {}
        self.back: dict[Node, Node] = {}
        self.alike()
        self.down()
        self.left_over()

    def pair(self, old: Node, new: Node) -> None:
        self.to[old] = new
        self.back[new] = old

    def free(self, old: Node, new: Node) -> bool:
        """Return whether two nodes may be paired."""
        return (
            old not in self.to and new not in self.back and _label(old) == _label(new)
        )

    def alike(self) -> None:
        """Pair subprograms that are in both graphs."""
        intern = Interner()
        before = intern(self.old)
        at = {number: node for node, number in intern(self.new).items()}
        for node in self.old.nodes:
            if before[node] in at:
                self.pair(node, at[before[node]])

    def down(self) -> None:
        """Pair equal operations at equal positions, from the result down, and skip
        operations that were inserted or removed.
        """
        work = deque([(self.old.output, self.new.output)])
        seen: set[tuple[Node, Node]] = set()
        while work:
            old, new = work.popleft()
            if (old, new) in seen or old in self.to or new in self.back:
                continue
            seen.add((old, new))
            if self.free(old, new):
                self.pair(old, new)
                work.extend(zip(old.args, new.args, strict=False))
                continue
            inserted = next((n for n in _below(new) if self.free(old, n)), None)
            removed = next((o for o in _below(old) if self.free(o, new)), None)
            if inserted is not None:
                work.append((old, inserted))
            elif removed is not None:
                work.append((removed, new))
            else:  # one replaced the other
                work.extend(zip(old.args, new.args, strict=False))

    def left_over(self) -> None:
        """Pair remaining operations of the same name, those with equal attributes
        first.
        """
        for old in self.old.nodes:
            if old.op == INPUT:
                continue
            free = [node for node in self.new.nodes if self.free(old, node)]
            if free:
                alike = (node for node in free if node.attrs == old.attrs)
                self.pair(old, next(alike, free[0]))

    def rewired(self) -> Counter[str]:
        """Count the operations with other operands, ignoring inserted and removed
        operations.
        """
        found: Counter[str] = Counter()
        for old, new in self.to.items():
            for a, b in zip(old.args, new.args, strict=True):
                before = {self.to[node] for node in self.kept(a, self.to)}
                after = self.kept(b, self.back)
                if not before & after and (before or after):
                    found[old.op] += 1
                    break
        return found

    def kept(self, node: Node, paired: dict[Node, Node]) -> set[Node]:
        """Return the first nodes from `node` down that are in both programs."""
        found: set[Node] = set()
        work, seen = [node], set[Node]()
        while work:
            each = work.pop()
            if each in seen:
                continue
            seen.add(each)
            if each in paired:
                found.add(each)
            else:
                work.extend(each.args)
        return found

    def attributes(self) -> tuple[AttributeChange, ...]:
        """Return the changed attributes of operations that are in both programs."""
        return tuple(
            AttributeChange(old.op, name, value, new.attrs[name])
            for old, new in self.to.items()
            for name, value in old.attrs.items()
            if new.attrs[name] != value
        )


def _below(node: Node) -> list[Node]:
    """Return the nodes that a node depends on, the nearest first."""
    work, found = deque(node.args), dict[Node, None]()
    while work:
        each = work.popleft()
        if each not in found:
            found[each] = None
            work.extend(each.args)
    return list(found)
