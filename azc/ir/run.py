"""The reference semantics: a plain interpreter in NumPy, float64, one sequence.

Codes: U001 a program was called with the wrong inputs; U002 the inputs of a program
have different or invalid shapes; U003 the head does not exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from azc.diagnostics import UsageError, whole
from azc.ir.graph import INPUT, NUMBER, Graph, Node
from azc.ops.contract import Frame, Value
from azc.ops.table import operation
from azc.shapes import N

__all__ = ["Interpreter", "NarrowInterpreter"]


class Interpreter:
    """A program as a function of NumPy arrays: the meaning of the language.

    It is slow and plain on purpose and has no batches, padding or devices. In a causal
    model it takes tokens one at a time: a value with a row for each token computes the
    row once, when the token arrives; all other values are computed again for every
    token.
    """

    def __init__(self, graph: Graph, causal: bool = False) -> None:
        self.graph = graph
        self.causal = causal

    def __call__(
        self,
        *,
        head: int = 0,
        heads: int = 1,
        weights: Mapping[str, Any] | None = None,
        **inputs: Any,
    ) -> Any:
        """Compute the result for one head of one unpadded sequence.

        Args:
            head: The head, from 0.
            heads: The number of heads.
            weights: Arrays [heads or 1, d or 1, …] by the names of `graph.weights`;
                missing ones have their initial values.
            **inputs: An array [n, d] for every parameter.

        Returns:
            The result, [n, d].

        Raises:
            UsageError: If inputs are missing, unknown or of different shapes.
        """
        import numpy as np

        arrays = self._inputs(inputs)
        n, d = next(iter(arrays.values())).shape
        if n == 0:
            return np.zeros((n, d))
        heads = whole("heads", heads, 1, 65_536, "U003")
        head = whole("head", head, 0, heads - 1, "U003")
        own = {
            node: self._weights(node, weights or {}, head, heads, d)
            for node in self.graph.nodes
        }

        def compute(so_far: int, rows: Mapping[Node, Value]) -> dict[Node, Value]:
            values: dict[Node, Value] = {}
            for node in self.graph.nodes:
                args = tuple(values[arg] for arg in node.args)
                if node.op == INPUT:
                    data = arrays[node.name][:so_far]
                    value = Value(data, np.ones(data.shape, bool))
                elif node.op == NUMBER:
                    data = np.full((1, 1), node.number)
                    value = Value(data, np.ones((1, 1), bool))
                else:
                    frame = Frame(np, so_far, d, head, heads, own[node], self.causal)
                    reference = operation(node.op).reference
                    value = reference(frame, *args, **node.attrs)
                if node in rows:
                    value = _with_row(np, rows[node], value)
                values[node] = self.observe(node, args, value)
            return values

        values: dict[Node, Value] = {}
        with np.errstate(all="ignore"):
            if not self.causal:
                values = compute(n, {})
            for token in range(n if self.causal else 0):
                streams = {x: v for x, v in values.items() if x.shape.rows is N}
                values = compute(token + 1, streams)
        result = values[self.graph.output]
        return np.where(result.present, result.data, 0.0)

    def observe(self, node: Node, args: tuple[Value, ...], value: Value) -> Value:
        """Return the value to continue with; called with every value in turn.

        Subclasses override it to inspect or change the values of a program.
        """
        return value

    def _inputs(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        import numpy as np

        wanted, given = set(self.graph.inputs), set(inputs)
        if wanted != given:
            odd = ", ".join(sorted(wanted ^ given))
            takes = ", ".join(self.graph.inputs)
            message = f"{self.graph.name} takes {takes}; missing or unknown: {odd}"
            raise UsageError("U001", message)
        arrays = {name: np.asarray(x, dtype=np.float64) for name, x in inputs.items()}
        shapes = {array.shape for array in arrays.values()}
        if len(shapes) != 1 or len(next(iter(shapes))) != 2:
            shown = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
            raise UsageError("U002", f"inputs must have one shape [n, d]; got {shown}")
        return arrays

    def _weights(
        self, node: Node, given: Mapping[str, Any], head: int, heads: int, d: int
    ) -> dict[str, Any]:
        import numpy as np

        own: dict[str, Any] = {}
        for weight in node.weights:
            name = self.graph.weight_name(node, weight)
            if name in given:
                array = np.asarray(given[name], dtype=np.float64)
            else:
                array = weight.init(np, weight.shape(heads, d), self.causal)
            if weight.axes[0] == "heads":
                array = array[head if array.shape[0] > 1 else 0]
            own[weight.name] = array
        return own


def _with_row(np: Any, before: Value, now: Value) -> Value:
    """Append the last row of a stream's current value to its earlier rows.

    In earlier rows, the columns of later tokens are absent.
    """
    wider = now.data.shape[1] - before.data.shape[1]
    kept = np.pad(before.data, ((0, 0), (0, wider)))
    there = np.pad(before.present, ((0, 0), (0, wider)))
    return Value(
        np.concatenate([kept, now.data[-1:]]), np.concatenate([there, now.present[-1:]])
    )


class NarrowInterpreter(Interpreter):
    """The reference with the range of float32: larger values are infinite, as in
    compiled programs.
    """

    def observe(self, node: Node, args: tuple[Value, ...], value: Value) -> Value:
        """Replace values beyond the range of float32 by infinity; others keep float64's
        precision.
        """
        import numpy as np

        far = np.abs(value.data) > np.finfo(np.float32).max
        if not far.any():
            return value
        infinite = np.copysign(np.inf, value.data)
        return Value(np.where(far, infinite, value.data), value.present)
