"""Detection of operations without an effect, which types allow: a short list.

Each of them is a constant, its operand, or a sign, whatever the operands hold. They are
detected one by one; a program that is constant in a less direct way is left to the
evaluation.

- a softmax, norm, sum, mean or maximum over a row of one entry; the transpose of one
  entry; the cosine of rows of one feature
- x − x, x / x, maximum(x, x), minimum(x, x)
- the sum or mean of a row right after a softmax or a layer norm
- an operation on numbers only
"""

from __future__ import annotations

from azc.ir.graph import INPUT, NUMBER, Graph, Node
from azc.shapes import ONE, SCALAR, Shape

__all__ = ["count_idle", "idle_types"]

_OVER_ROW = frozenset("softmax normalize layer_norm rms_norm sum mean amax".split())
_SAME = frozenset({"sub", "div", "maximum", "minimum"})
_SUMS = frozenset({"sum", "mean"})
_SET = frozenset({"softmax", "layer_norm"})


def idle_types(op: str, operands: tuple[Shape, ...]) -> bool:
    """Return whether an operation has no effect on operands of these types."""
    first = operands[0]
    if op in _OVER_ROW or op == "cosine":
        return first.cols is ONE
    return op == "transpose" and first == SCALAR


def _idle(node: Node) -> bool:
    args = node.args
    if idle_types(node.op, tuple(arg.shape for arg in args)):
        return True
    if node.op in _SAME and args[0] is args[1]:
        return True
    if node.op in _SUMS and args[0].op in _SET:
        return True
    return all(arg.op == NUMBER for arg in args)


def count_idle(graph: Graph) -> int:
    """Count the operations of a graph that have no effect."""
    return sum(_idle(n) for n in graph.nodes if n.op not in (INPUT, NUMBER))
