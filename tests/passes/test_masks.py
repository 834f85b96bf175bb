"""Masks and dropout are operations of the graph, put in by passes alone."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given

from azc.facts.time import times, without_causal_meaning
from azc.ir.graph import Graph, Node
from azc.ir.run import Interpreter
from azc.ir.text import format_graph, parse_graph
from azc.lower.attention import compile_graph
from azc.lower.plan import BACKENDS, Plan, plan, prepared
from azc.lower.schedule import Region
from azc.ops.core import DROPOUT, FILL, SO_FAR
from azc.passes.dropout import Dropout
from azc.passes.pipeline import program_graph
from tests.golden_files import compare, golden_inputs
from tests.programs import attention, programs, spec_of

MASKS = (FILL, SO_FAR)


@pytest.mark.parametrize("path", golden_inputs("masks"), ids=lambda path: path.stem)
def test_masks_golden(path: Path, update_goldens: bool) -> None:
    graph = program_graph(spec_of(path.read_text("utf-8")))
    parts = []
    for title, causal in (("encoder", False), ("decoder", True)):
        shown = prepared(graph, causal, backends=()).graph
        parts.append(f"{title}\n{format_graph(shown)}")
    compare(path.with_suffix(".expected"), "\n".join(parts), update_goldens)


def run(graph: Graph, causal: bool) -> np.ndarray:
    random = np.random.default_rng(0)
    inputs = {name: random.normal(size=(5, 3)) for name in graph.inputs}
    weights = {
        name: random.normal(size=weight.shape(2, 3)) for name, weight in graph.weights
    }
    return Interpreter(graph, causal)(head=1, heads=2, weights=weights, **inputs)


def steps(planned: Plan) -> list[str]:
    """A plan, masks apart."""
    found = []
    for step in planned.steps:
        if isinstance(step, Node):
            found += [step.op] if step.op not in MASKS else []
        elif isinstance(step, Region):
            ops = [node.op for node in step.nodes]
            found.append(f"{ops} {[step.nodes.index(x) for x in step.outputs]}")
        else:
            ops = sorted(node.op for node in step.inside)
            found.append(f"{step.output.op} {ops} {step.factor} {step.radius}")
    return sorted(found)


@given(programs())
def test_what_a_program_means_stays(text: str) -> None:
    graph = Dropout(0.1).run(program_graph(spec_of(text)))
    for causal in (False, True):
        if causal and without_causal_meaning(graph):
            continue
        for backends in ((), BACKENDS):
            made = prepared(graph, causal, backends, cleared=True)
            np.testing.assert_array_equal(run(made.graph, causal), run(graph, causal))
            written = format_graph(made.graph)
            assert format_graph(parse_graph(written)) == written
            # Backends find in it what they found in the program.
            before = plan(graph, times(graph) if causal else {}, backends)
            assert steps(made.plan) == steps(before)


@given(programs())
def test_every_mask_of_plain_code_is_in_the_graph(text: str) -> None:
    graph = program_graph(spec_of(text))
    module = compile_graph(graph, finite=True, backends=())
    code = module.code
    fills = [x for x in prepared(graph, backends=()).graph.nodes if x.op == FILL]
    # One more clears the padding of the result; it may be one that is there.
    assert code.count("azc_lower_masks_filled(") in (len(fills), len(fills) + 1)


def test_a_mask_that_changes_nothing_is_not_put_in() -> None:
    text = "p = softmax(q @ k.T)\nreturn p @ v + p @ k"
    graph = prepared(program_graph(attention(text)), backends=()).graph
    written = format_graph(graph)
    assert written.count("fill") == 3  # scores, v and k: p is 0 where it is absent
    assert "{-inf: cols}" in written


def test_operands_of_what_a_backend_serves_have_none() -> None:
    graph = program_graph(attention("return softmax(scale(q @ k.T)) @ v"))
    assert FILL not in {node.op for node in prepared(graph).graph.nodes}


def test_dropout_is_of_what_softmax_makes_of_scores() -> None:
    text = "p = softmax(q @ k.T)\nreturn p @ softmax(v)"
    graph = program_graph(attention(text))
    assert Dropout(0.0).run(graph) is graph
    dropped = Dropout(0.25).run(graph)
    written = format_graph(dropped)
    (number,) = re.findall(r"dropout (%\d+) \{rate = 0.25\} : \[n, n\]", written)
    assert f"{number} = softmax" in written
    for backends in ((), BACKENDS):
        module = compile_graph(dropped, backends=backends)
        inputs = {
            name: torch.randn(2, 2, 64, 4, generator=torch.Generator().manual_seed(i))
            for i, name in enumerate(graph.inputs)
        }
        plain = compile_graph(graph, backends=backends)(**inputs)
        assert not torch.equal(module(**inputs), plain)
        module.eval()
        assert torch.equal(module(**inputs), plain)
        assert DROPOUT in {node.op for node in dropped.nodes}
