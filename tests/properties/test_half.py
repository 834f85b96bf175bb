"""Random programs in half precision: a thousand tokens and more, beside float64.

Half precision rounds every value and every gradient, and some programs blow that up. So
a result may be off by four roundings of its largest entry, by eight times what the program
in float64 moves when each value, and each gradient, is off by a rounding, or by eight times
what it is off in float32.

What is left out is what float16 can't hold: a result or gradient beyond 65,504; a value
beyond it that is in the type of the inputs by the rules of the language (`is_plain`); the
gradient at such a value.

AZC_HALF_EXAMPLES: how many programs; from 100 on they are run on 4,096 tokens as well, if
these take seconds (`takes_long`).
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count as from_
from typing import Any

import pytest
import torch
from hypothesis import Phase, assume, given, seed, settings
from hypothesis import strategies as st
from torch import fx

from azc.ir.graph import INPUT, NUMBER, Graph, Node
from azc.lower.attention import compile_graph
from azc.lower.moments import Moments
from azc.ops.table import operation
from azc.passes.pipeline import optimise
from azc.shapes import ONE, N, Shape
from tests.programs import programs
from tests.properties.test_agreement import graph_of
from tests.rounding import ROUNDING, Kept, Seen, Shaken, Types, interpreted

PROGRAMS = int(os.environ.get("AZC_HALF_EXAMPLES", "16"))
TOKENS = (1024,) if PROGRAMS < 100 else (1024, 4096)
WIDTH = 64
RANGE = 65504.0
SHAKES = 16  # runs with rounding
SCORES = Shape(N, N)
RESULT = "="  # no name of the language
# Much smaller results and gradients are what is left where something cancels: gradients
# are of size 1 where they come in.
LEAST = {"value": 2.0**-14, "gradient": 1.0}

CONDITIONED = "value conditioned", "gradient conditioned"

Tensors = dict[str, torch.Tensor]

torch.set_num_threads(1)


@dataclass(frozen=True)
class Case:
    """A program and what its inputs are like; `size` is their deviation."""

    text: str
    graph: Graph
    causal: bool = False
    tokens: int = 1024
    size: float = 1.0
    mean: float = 0.0
    padded: bool = False
    seed: int = 0

    @property
    def structure(self) -> tuple[Any, ...]:
        """What two programs have in common that differ in names alone."""
        place = {node: i for i, node in enumerate(self.graph.nodes)}
        return self.causal, *(
            (node.op, node.number, *node.attrs.values(), *map(place.get, node.args))
            for node in self.graph.nodes
        )

    def module(self, graph: Graph) -> fx.GraphModule:
        """A part of the program, compiled, with random weights."""
        module = compile_graph(graph, 1, WIDTH, True, True, self.causal)
        random = torch.Generator().manual_seed(self.seed)
        for parameter in module.parameters():
            parameter.data.normal_(generator=random)
        return module

    def inputs(self, dtype: torch.dtype) -> tuple[Tensors, torch.Tensor | None]:
        """Numbers that a type holds exactly, in float64, and the mask."""
        random = torch.Generator().manual_seed(self.seed)
        shape = (1, 1, self.tokens, WIDTH)
        inputs = {}
        for name in self.graph.inputs:
            data = torch.randn(shape, generator=random) * self.size + self.mean
            inputs[name] = data.to(dtype).double()
        mask = torch.arange(self.tokens)[None] < self.tokens - 19
        return inputs, mask if self.padded else None


@st.composite
def cases(draw: st.DrawFn) -> Case:
    causal = draw(st.booleans())
    text = draw(programs(causal=causal))
    graph = optimise(graph_of(text))
    tokens = draw(st.sampled_from(TOKENS))
    # Without what takes n³ operations, or n³ numbers at once.
    for node in graph.nodes:
        scores = [arg.shape for arg in node.args].count(SCORES)
        assume(node.op not in ("cosine", "euclidean") or not scores)
        assume(node.op != "matmul" or scores < 2 or tokens == 1024)
    case = Case(
        text,
        graph,
        causal,
        tokens,
        size=draw(st.sampled_from([1.0, 3.0])),
        mean=draw(st.sampled_from([0.0, 0.0, 1.0])),
        padded=draw(st.booleans()),
        seed=draw(st.integers(0, 2**32)),
    )
    return replace(case, tokens=1024) if tokens > 1024 and takes_long(case) else case


def takes_long(case: Case) -> bool:
    """Return whether each token computes a value of all tokens before it anew, so that
    4,096 of them take minutes.
    """
    parts = case.module(case.graph).modules()
    regions = [part for part in parts if isinstance(part, Moments)]
    return any(part.size.whole for part in regions)


def run(
    function: Callable[..., Any],
    inputs: Tensors,
    mask: torch.Tensor | None,
    dtype: torch.dtype,
    slopes: bool,
) -> Tensors:
    """The result and the gradients at the inputs, in float64."""
    leaves = {
        name: x.detach().to(dtype, copy=True).requires_grad_(slopes)
        for name, x in inputs.items()
    }
    with torch.set_grad_enabled(slopes):
        out = function(*leaves.values(), mask)
    found = {RESULT: out.detach().double()}
    if out.requires_grad:
        random = torch.Generator().manual_seed(1)
        out.backward(torch.randn(out.shape, generator=random).to(dtype))
    for name, leaf in leaves.items():
        if leaf.grad is not None:
            found[name] = leaf.grad.double()
    return found


def distance(found: torch.Tensor, wanted: torch.Tensor, least: float) -> float:
    """The largest difference, relative to the largest entry wanted or to `least`."""
    gap = float((found - wanted).abs().max())
    return gap / max(float(wanted.abs().max()), least) if gap < math.inf else math.inf


def kind_of(name: str) -> str:
    return "value" if name == RESULT else "gradient"


def is_plain(node: Node, known: dict[Node, bool]) -> bool:
    """Whether a value is in the type of the inputs by the rules of the language: no
    operation that float32 is for leads to it, and no product but those of features.
    """
    if node not in known:
        axes = {node.shape.rows, node.shape.cols}
        product = node.op == "matmul"
        known[node] = node.op in (INPUT, NUMBER) or (
            operation(node.op).precision != "wide"
            and all(is_plain(arg, known) for arg in node.args)
            and not (product and (N not in axes or ONE in axes))
            and not (product and node.args[0].shape.cols is N)
        )
    return known[node]


def is_out_of_range(case: Case, inputs: Tensors) -> bool:
    """Whether a value in the type of the inputs is beyond float16's range."""
    known: dict[Node, bool] = {}
    for node in case.graph.nodes:
        if node.op not in (INPUT, NUMBER) and is_plain(node, known):
            module = case.module(replace(case.graph, output=node)).double()
            with torch.no_grad():
                found = module(**inputs)
            if not bool((found.abs() <= RANGE).all()):
                return True
    return False


class Rounding:
    """How far rounding moves the result of a module and its gradients."""

    def __init__(
        self,
        case: Case,
        module: fx.GraphModule,
        dtype: torch.dtype,
        wanted: Tensors,
        slopes: bool,
    ) -> None:
        self.dtype, self.wanted, self.slopes = dtype, wanted, slopes
        self.inputs, self.mask = case.inputs(dtype)
        self.types: Types = {}
        half = module.to(dtype)
        seen = interpreted(half, lambda part, path: Seen(part, path, self.types))
        run(seen, self.inputs, self.mask, dtype, False)
        self.module = module.double()
        self.far = dict.fromkeys(wanted, 0.0)
        self.seed = 0

    def allows(self, name: str, gap: float) -> bool:
        """Whether rounding may move it so far."""
        # Where no digit is right, a divisor may have become 0.
        while not (gap <= 8 * self.far[name] or self.far[name] > 1.0):
            if self.seed == SHAKES:
                return False
            self.shake(self.seed)
            self.seed += 1
        return True

    def shake(self, seed: int) -> None:
        """Moves every value."""
        shaken = interpreted(
            self.module,
            lambda part, path: Shaken(part, path, self.types, self.dtype, seed),
        )
        found = run(shaken, self.inputs, self.mask, torch.float64, self.slopes)
        for name, want in self.wanted.items():
            apart = distance(found[name], want, LEAST[kind_of(name)])
            self.far[name] = max(self.far[name], apart)

    @property
    def steep(self) -> bool:
        """Whether a gradient at a value in the type of the inputs is out of its range."""
        kept: list[torch.Tensor] = []
        sloped = interpreted(
            self.module,
            lambda part, path: Kept(part, path, self.types, self.dtype, kept),
        )
        run(sloped, self.inputs, self.mask, torch.float64, True)
        grads = [x.grad for x in kept if x.grad is not None]
        return any(bool((grad.abs() > RANGE / 2).any()) for grad in grads)


def check(case: Case, dtype: torch.dtype, count: Counter[str]) -> list[str]:
    """What is wrong with a program in a type; what was compared is counted."""
    inputs, mask = case.inputs(dtype)
    slopes = case.tokens == 1024
    module = case.module(case.graph)
    for parameter in module.parameters():
        parameter.data = parameter.data.to(dtype).float()
    wanted = run(module.double(), inputs, mask, torch.float64, slopes)
    found = run(module.to(dtype), inputs, mask, dtype, slopes)
    half = dtype == torch.float16
    rounding: Rounding | None = None
    faults: list[str] = []
    for name, want in wanted.items():
        kind = kind_of(name)
        if not bool(want.isfinite().all()):
            count[f"{kind} not finite"] += 1
            continue
        if half and float(want.abs().max()) > RANGE / 2:
            count[f"{kind} out of range"] += 1
            continue
        count[kind] += 1
        gap = distance(found[name], want, LEAST[kind])
        if gap <= 4 * ROUNDING[dtype]:
            continue
        single = run(case.module(case.graph), inputs, mask, torch.float32, slopes)
        if not bool(single[name].isfinite().all()):
            count[f"{kind} not finite in float32"] += 1
            continue
        if gap <= 8 * distance(single[name], want, LEAST[kind]):
            count[f"{kind} no better in float32"] += 1
            continue
        if half and is_out_of_range(case, inputs):
            count[f"{kind} of values out of range"] += 1
            continue
        rounding = rounding or Rounding(case, module, dtype, wanted, slopes)
        if rounding.allows(name, gap):
            digits = "conditioned" if rounding.far[name] <= 1.0 else "without a digit"
            count[f"{kind} {digits}"] += 1
        elif half and kind == "gradient" and rounding.steep:
            count["gradient of gradients out of range"] += 1
        else:
            faults.append(f"{kind} {name}: {gap:.3g}, {rounding.far[name]:.3g}")
    return [f"{case}, {dtype}: {fault}" for fault in faults]


def test_random_programs() -> None:
    """The same ones each time, so many that are unlike."""
    count: Counter[str] = Counter()
    faults: list[str] = []
    seen: set[tuple[Any, ...]] = set()

    def look(case: Case) -> None:
        if case.structure in seen or len(seen) == PROGRAMS:
            return
        seen.add(case.structure)
        new = [fault for dtype in ROUNDING for fault in check(case, dtype, count)]
        faults.extend(new)
        if new or len(seen) % 20 == 0:
            print(len(seen), dict(count), *new, sep="\n", flush=True)

    for start in from_():
        if len(seen) == PROGRAMS:
            break
        once = settings(max_examples=50, phases=[Phase.generate], database=None)
        seed(start)(once(given(cases())(look)))()
    print(dict(count))
    assert not faults, "\n".join(faults)
    for kind in LEAST:
        assert count[kind] > PROGRAMS / 2
        left_out = sum(n for name, n in count.items() if name.startswith(f"{kind} "))
        assert left_out < count[kind]


# What overflows where sums over the tokens are in half precision: normalisers that are
# products, and numerators. Inputs are of size 1.
LINEAR = "return f @ (g.T @ v) / maximum(f @ sum(g.T), 1e-6)"
KNOWN = {
    "elu": f"f = elu(3 * q) + 1\ng = elu(3 * k) + 1\n{LINEAR}",
    "exp": f"f = exp(3 * q)\ng = exp(3 * k)\n{LINEAR}",
    "relu": f"f = relu(3 * q)\ng = relu(3 * k)\n{LINEAR}",
    "sigmoid": f"f = 3 * sigmoid(q)\ng = 3 * sigmoid(k)\n{LINEAR}",
    "softplus": f"f = softplus(3 * q)\ng = softplus(3 * k)\n{LINEAR}",
    "rows": "f = exp(3 * q)\ng = exp(k)\nreturn f @ (g.T @ v) / sum(f * sum(g.T).T)",
    "squares": "s = square(40 * k)\nt = square(q)\nreturn t @ (s.T @ v) / sum(t @ s.T)",
    "scores": "s = exp(q @ k.T * 0.5)\nreturn s @ v / sum(s)",
    "relu scores": "s = relu(9 * q @ k.T)\nreturn s @ (v + 3) / maximum(sum(s), 1e-6)",
    "rows of scores": "s = exp(q @ k.T * 0.5)\nreturn s @ v / (s @ exp(mean(k)))",
    "averages": "return log(softmax(scale(q @ k.T)) @ exp(4 * v))",
    "entropy": "p = softmax(q @ k.T)\nreturn p @ v + sum(p * log(p)) * v",
    "weights": "p = softmax(5 * q)\nreturn v * p / (p + softmax(5 * k))",
    "queries": "return softmax(square(90 * q) @ k.T * 1e-4) @ v",
    "taps": "c = conv(exp(4 * k), kernel = 3)\nreturn q + v * c / sum(abs(c))",
}


@pytest.mark.parametrize(
    ("causal", "dtype"),
    [(False, torch.float16), (True, torch.float16), (True, torch.bfloat16)],
    ids=str,
)
@pytest.mark.parametrize("name", KNOWN)
def test_sums_beyond_the_range_of_half_precision(
    name: str, causal: bool, dtype: torch.dtype
) -> None:
    """What is divided, or goes through a logarithm, is right wherever its result is."""
    text = f"attention a(q, k, v) {{\n{KNOWN[name]}\n}}\n"
    case = Case(text, optimise(graph_of(text)), causal)
    count: Counter[str] = Counter()
    assert not check(case, dtype, count)
    assert (count["value"], count["gradient"]) == (1, 3), "a case that says nothing"
    assert all(kind in ("value", "gradient", *CONDITIONED) for kind in count)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return sum(softmax(k.T) * v.T @ q).T * v", True),
        (f"f = q\ng = k\n{LINEAR}", False),
    ],
)
def test_long_programs_are_known(body: str, expected: bool) -> None:
    text = f"attention a(q, k, v) {{\n{body}\n}}\n"
    assert takes_long(Case(text, optimise(graph_of(text)), True)) == expected
