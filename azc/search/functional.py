"""What a program computes, by its values: two texts that are one function are known.

Many mutants compute what a program already scored computes, in a way that no rewriting
finds (`softmax(x - amax(x))`, `q + q` for `2 * q`). Their values on fixed random inputs
tell; those of the interpreter, in float64.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, permutations
from typing import Any

from azc.check.program import AttentionSpec
from azc.ir.graph import Graph
from azc.ir.run import Interpreter
from azc.passes.pipeline import program_graph

__all__ = ["Function", "program_function"]

_LENGTHS = (7, 4)  # a program may be told from another by how it depends on the length
_WIDTH, _HEAD, _HEADS = 4, 1, 3
_DIGITS = 7  # of the largest entry; what differs by less is rounding
_ORDERS = 120  # orders of parameters tried for the one that the key is made of


@dataclass(frozen=True)
class Function:
    """`key`: equal for programs with the same values on the same inputs, however the
    parameters are called and ordered: each is a learned projection of its own. `fault`:
    why there is nothing to train, None where there is.
    """

    key: str
    fault: str | None


@lru_cache(maxsize=8192)
def program_function(program: AttentionSpec) -> Function:
    """What an attention program computes."""
    graph = program_graph(program)
    values = _values(graph, graph.inputs)
    return Function(_key(graph), _fault(graph, values))


def _fault(graph: Graph, values: list[Any]) -> str | None:
    import numpy as np

    if not all(np.isfinite(each).all() for each in values):
        return "it gives NaN or infinite values"
    others = _values(graph, graph.inputs, seed=1)
    pairs = zip(values, others, strict=True)
    if all(np.allclose(a, b, rtol=1e-9, atol=1e-9) for a, b in pairs):
        return "it gives the same whatever its inputs are"
    return None


def _key(graph: Graph) -> str:
    orders: Iterator[tuple[str, ...]] = permutations(sorted(graph.inputs))
    return min(_digest(_values(graph, order)) for order in islice(orders, _ORDERS))


def _digest(values: list[Any]) -> str:
    import numpy as np

    digest = hashlib.blake2b(digest_size=16)
    for each in values:
        with np.errstate(all="ignore"):
            largest = np.abs(each[np.isfinite(each)]).max(initial=0.0)
            # By the power of two above it: the same one for what differs by rounding.
            unit = 2.0 ** np.ceil(np.log2(largest * (1 + 1e-9))) if largest else 1.0
            digits = np.round(each / unit * 10.0**_DIGITS)
        # −0 and 0 are one number.
        digest.update(np.float64(unit).tobytes())
        digest.update((digits + 0.0).tobytes())
    return digest.hexdigest()


def _values(graph: Graph, order: tuple[str, ...], seed: int = 0) -> list[Any]:
    """The results on sequences of some lengths; the first parameter of `order` has the
    first inputs.
    """
    import numpy as np

    run = Interpreter(graph)
    found = []
    for length in _LENGTHS:
        random = np.random.default_rng((seed, length))
        inputs = {name: random.normal(size=(length, _WIDTH)) for name in order}
        found.append(
            run(head=_HEAD, heads=_HEADS, weights=_weights(graph, seed), **inputs)
        )
    return found


def _weights(graph: Graph, seed: int) -> Mapping[str, Any]:
    import numpy as np

    random = np.random.default_rng((seed, 0))
    return {
        name: random.normal(size=weight.shape(_HEADS, _WIDTH))
        for name, weight in graph.weights
    }
