"""What became of each operation of a program in another version of it."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

from azc.compare.expression import Expression, express, number_text
from azc.ir.graph import INPUT, NUMBER, Graph, Node

__all__ = ["AttributeChange", "Interner", "ProgramDiff", "match_graphs", "operations"]


@dataclass(frozen=True)
class AttributeChange:
    """An operation that stayed, with another number: `window`, radius, 16, 32."""

    op: str
    attribute: str
    old: int
    new: int


@dataclass(frozen=True)
class ProgramDiff:
    """The difference of two attention programs; names of values play no part.

    `removed` and `added`: operations, and constants by their digits, with how often.
    `rewired`: operations that are in both, on other operands.
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
    """A number for every sub-program: equal ones, of any graph, have one number."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[object, ...], int] = {}

    def __call__(self, graph: Graph) -> dict[Node, int]:
        """The number of each node. Of two like operations with weights each has its
        own.
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
        """What two graphs have in common exactly if they are the same program."""
        return graph.inputs, self(graph)[graph.output]


def _label(node: Node) -> str:
    return number_text(node.number) if node.op == NUMBER else node.op


def operations(graph: Graph) -> Counter[str]:
    """How often each operation occurs, constants by their digits."""
    return Counter(_label(node) for node in graph.nodes if node.op != INPUT)


def match_graphs(old: Graph, new: Graph) -> ProgramDiff:
    """What was removed, added, rewired and set otherwise from `old` to `new`."""
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
    """Each operation of one graph with the operation of the other that it became."""

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
        """Whether the two may be paired."""
        return (
            old not in self.to and new not in self.back and _label(old) == _label(new)
        )

    def alike(self) -> None:
        """Sub-programs that are in both."""
        intern = Interner()
        before = intern(self.old)
        at = {number: node for node, number in intern(self.new).items()}
        for node in self.old.nodes:
            if before[node] in at:
                self.pair(node, at[before[node]])

    def down(self) -> None:
        """From the result down: the same operation in the same place, past operations
        that were put in or taken out.
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
            else:  # one was put in the place of the other
                work.extend(zip(old.args, new.args, strict=False))

    def left_over(self) -> None:
        """Any other operation of the same name, those with the same numbers first."""
        for old in self.old.nodes:
            if old.op == INPUT:
                continue
            free = [node for node in self.new.nodes if self.free(old, node)]
            if free:
                alike = (node for node in free if node.attrs == old.attrs)
                self.pair(old, next(alike, free[0]))

    def rewired(self) -> Counter[str]:
        """Operations whose operands are others, also past what was put in or out."""
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
        """The first nodes from `node` down that are in both programs."""
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
        """The numbers that operations in both were given otherwise."""
        return tuple(
            AttributeChange(old.op, name, value, new.attrs[name])
            for old, new in self.to.items()
            for name, value in old.attrs.items()
            if new.attrs[name] != value
        )


def _below(node: Node) -> list[Node]:
    """What a node depends on, the nearest first."""
    work, found = deque(node.args), dict[Node, None]()
    while work:
        each = work.popleft()
        if each not in found:
            found[each] = None
            work.extend(each.args)
    return list(found)
