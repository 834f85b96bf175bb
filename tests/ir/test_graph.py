"""Graphs: built once for equal parts, without what is not needed, read back from text."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from azc.diagnostics import UsageError
from azc.facts.time import times
from azc.ir.build import build_graph
from azc.ir.graph import INPUT, NUMBER, Graph, GraphBuilder
from azc.ir.run import Interpreter
from azc.ir.text import format_graph, parse_graph
from azc.lower.plan import prepared
from azc.ops.axes import TimeFault
from azc.passes.pipeline import optimise, program_graph
from azc.passes.simplify import Simplify
from tests.golden_files import compare, golden_inputs
from tests.programs import attention, programs, spec_of


def graph_of(body: str, params: str = "q, k, v") -> Graph:
    return build_graph(attention(body, params))


def run(graph: Graph, seed: int = 0, n: int = 4, d: int = 3) -> np.ndarray:
    random = np.random.default_rng(seed)
    inputs = {name: random.normal(size=(n, d)) for name in graph.inputs}
    weights = {
        name: random.normal(size=weight.shape(2, d)) for name, weight in graph.weights
    }
    return Interpreter(graph)(head=1, heads=2, weights=weights, **inputs)


# Text form


@given(programs())
def test_text_reads_back(text: str) -> None:
    graph = build_graph(spec_of(text))
    written = format_graph(graph)
    again = parse_graph(written)
    assert format_graph(again) == written
    assert again.inputs == graph.inputs
    assert [name for name, _ in again.weights] == [name for name, _ in graph.weights]
    np.testing.assert_array_equal(run(again), run(graph))


TEXT = """graph a(q, k) {
  %0 = input q : [n, d]
  %1 = conv %0 {kernel = 3} #1 : [n, d]
  %2 = number 0.5 : [1, 1]
  %3 = mul %1 %2 : [n, d]
  return %3
}
"""


def test_text_by_hand() -> None:
    graph = parse_graph(TEXT)
    assert format_graph(graph) == TEXT
    assert graph.inputs == ("q", "k")
    assert [name for name, _ in graph.weights] == ["conv_1_kernel"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("graph a(q, k) {", "graph a {"),
        ("input q", "input v"),
        ("input q", "input"),
        ("conv %0", "conv %7"),
        ("conv %0", "convolve %0"),
        ("conv %0", "conv %0 %0"),
        ("{kernel = 3} ", ""),
        ("kernel = 3", "radius = 3"),
        ("number 0.5", "number x"),
        ("number 0.5", "number"),
        ("mul %1 %2 : [n, d]", "mul %1 %2 : [d, n]"),
        ("mul %1 %2", "matmul %1 %2"),
        ("  return %3", "  %3 = input q : [n, d]\n  return %3"),
        ("%3 = mul", "3 = mul"),
        ("return %3", "return %2"),
        ("return %3", "return %8"),
        ("  return %3\n", ""),
        ("}\n", ""),
        ("}\n", "}\n%4 = input q : [n, d]\n"),
        (TEXT, ""),
        (TEXT, "graph a(q) {"),
    ],
)
def test_other_text_is_refused(old: str, new: str) -> None:
    assert old in TEXT
    with pytest.raises(ValueError, match=r"."):
        parse_graph(TEXT.replace(old, new, 1))


@given(st.data())
def test_damaged_text_is_refused_or_read(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(TEXT)))
    end = data.draw(st.integers(start, len(TEXT)))
    junk = data.draw(st.text("%0123 =:[]{}#nd,qkmul\n", max_size=4))
    text = TEXT[:start] + junk + TEXT[end:]
    try:
        graph = parse_graph(text)
    except ValueError:
        return
    assert parse_graph(format_graph(graph)).output.shape == graph.output.shape


# What is built


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def test_equal_parts_are_one_node() -> None:
    once = graph_of("return softmax(q @ k.T) @ v + softmax(q @ k.T) @ v")
    assert ops(once).count("softmax") == 1
    assert once.output.args[0] is once.output.args[1]
    named = graph_of(
        "s = softmax(q @ k.T)\nt = softmax(matmul(q, transpose(k)))\n"
        "return s @ v + t @ v"
    )
    assert ops(named) == ops(once)
    assert ops(graph_of("return q * 1 + k * 1.0 + v * 1e0")).count(NUMBER) == 1
    assert ops(graph_of("return (q @ k.T) @ (k @ q.T) @ v")).count("matmul") == 4


def test_attributes_tell_nodes_apart() -> None:
    body = "s = q @ k.T\nreturn (window(s, radius = {}) + window(s, radius = {})) @ v"
    assert ops(graph_of(body.format(1, 2))).count("window") == 2
    assert ops(graph_of(body.format(2, 2))).count("window") == 1


def test_what_is_learned_is_never_shared() -> None:
    graph = graph_of("return conv(q, kernel = 3) + conv(q, kernel = 3)")
    assert [name for name, _ in graph.weights] == ["conv_0_kernel", "conv_1_kernel"]
    named = graph_of("c = conv(q, kernel = 3)\nreturn c + c")
    assert [name for name, _ in named.weights] == ["conv_0_kernel"]


def test_what_is_not_needed_is_left_out() -> None:
    graph = graph_of("a = exp(q)\nb = conv(a, kernel = 3)\nc = log(k)\nreturn c")
    assert ops(graph) == [INPUT, "log"]
    assert graph.inputs == ("q", "k", "v")
    assert not graph.weights


@given(programs())
def test_a_graph_is_what_the_program_needs(text: str) -> None:
    spec = spec_of(text)
    graph = build_graph(spec)
    assert graph.nodes[-1] is graph.output
    seen = set()
    for node in graph.nodes:
        assert all(arg in seen for arg in node.args)
        seen.add(node)
    keys = {
        (node.op, node.args, tuple(node.attrs.items()), node.name, node.number)
        for node in graph.nodes
        if not node.weights
    }
    assert len(keys) == sum(not node.weights for node in graph.nodes)
    learned = [weight.axes for weight in spec.weights]
    assert sorted(map(str, learned)) == sorted(str(w.axes) for _, w in graph.weights)


def test_a_graph_of_many_doublings_is_small() -> None:
    body = "\n".join(f"x{i + 1} = x{i} + x{i}" for i in range(60))
    graph = graph_of(f"x0 = q\n{body}\nreturn x60")
    assert len(graph.nodes) == 61
    assert len(repr(graph.output)) < 1000
    np.testing.assert_allclose(run(graph), 2.0**60 * run(graph_of("return q")))


def test_names_are_the_authors() -> None:
    graph = graph_of("s = q @ k.T\nt = s\np = softmax(t)\nreturn p @ v")
    assert sorted(graph.names.values()) == ["k", "p", "q", "s", "v"]


# Spans


def test_values_know_their_text() -> None:
    text = (
        "attention a(q, k, v) {\n  s = q @ k.T\n  return softmax(s) @ v + 0.5 * q\n}\n"
    )
    graph = prepared(program_graph(spec_of(text)), backends=()).graph
    found = {(x.op, x.span.line, x.span.text) for x in graph.nodes if x.span}
    assert found == {
        ("input", 1, "q"),
        ("input", 1, "k"),
        ("input", 1, "v"),
        ("transpose", 2, "k.T"),
        ("matmul", 2, "q @ k.T"),
        ("fill", 3, "softmax(s)"),
        ("softmax", 3, "softmax(s)"),
        ("fill", 3, "softmax(s) @ v"),
        ("matmul", 3, "softmax(s) @ v"),
        ("number", 3, "0.5"),
        ("fill", 3, "0.5 * q"),
        ("mul", 3, "0.5 * q"),
        ("add", 3, "softmax(s) @ v + 0.5 * q"),
    }


def test_of_equal_values_the_first_is_told() -> None:
    graph = graph_of("a = tanh(q)\nb = tanh(q)\nreturn b * v + a")
    (tanh,) = (node for node in graph.nodes if node.op == "tanh")
    assert tanh.span is not None
    assert tanh.span.line == 2


def test_what_no_text_has_has_no_place() -> None:
    graph = parse_graph(TEXT)
    assert {node.span for node in graph.nodes} == {None}


def test_a_fault_deep_in_a_graph_has_its_place() -> None:
    graph = program_graph(attention("s = q @ k.T\nreturn s.T @ v"))
    with pytest.raises(
        TimeFault, match=r"^test.azg:3:8: `transpose` of \[n, n\]"
    ) as it:
        times(graph)
    assert it.value.span is not None
    assert it.value.span.text == "s.T"


# Passes


@given(programs())
def test_passes_keep_the_result(text: str) -> None:
    graph = build_graph(spec_of(text))
    after = optimise(graph)
    np.testing.assert_array_equal(run(after), run(graph))
    assert after.inputs == graph.inputs
    assert dict(after.weights).keys() == dict(graph.weights).keys()
    again = optimise(after)
    assert format_graph(again) == format_graph(after)
    for node in after.nodes:
        if node.op in ("neg", "transpose"):
            assert node.args[0].op != node.op


@pytest.mark.parametrize("path", golden_inputs("ir"), ids=lambda path: path.stem)
def test_simplify_golden(path: object, update_goldens: bool) -> None:
    spec = spec_of(path.read_text("utf-8"))
    before = build_graph(spec)
    after = Simplify().run(before)
    text = f"before\n{format_graph(before)}\nafter\n{format_graph(after)}"
    compare(path.with_suffix(".expected"), text, update_goldens)


# The interpreter


def test_interpreter_by_hand() -> None:
    graph = graph_of("return softmax(scale(q @ k.T)) @ v")
    random = np.random.default_rng(0)
    q, k, v = random.normal(size=(3, 5, 4))
    scores = np.exp(q @ k.T / 2.0)
    wanted = scores / scores.sum(1, keepdims=True) @ v
    np.testing.assert_allclose(Interpreter(graph)(q=q, k=k, v=v), wanted, rtol=1e-12)


def test_no_tokens_give_no_rows() -> None:
    graph = graph_of("return softmax(q @ k.T) @ v + amax(q.T).T")
    empty = np.zeros((0, 3))
    assert Interpreter(graph)(q=empty, k=empty, v=empty).shape == (0, 3)


@pytest.mark.parametrize(
    ("inputs", "more", "code"),
    [
        ({"q": (3, 2)}, {}, "U001"),
        ({"q": (3, 2), "k": (3, 2), "v": (3, 2), "x": (3, 2)}, {}, "U001"),
        ({"q": (3, 2), "k": (3, 2), "v": (4, 2)}, {}, "U002"),
        ({"q": (3,), "k": (3,), "v": (3,)}, {}, "U002"),
        ({"q": (3, 2), "k": (3, 2), "v": (3, 2)}, {"head": 2, "heads": 2}, "U003"),
        ({"q": (3, 2), "k": (3, 2), "v": (3, 2)}, {"head": -1}, "U003"),
    ],
)
def test_wrong_inputs_are_told(inputs: dict, more: dict, code: str) -> None:
    run = Interpreter(graph_of("return q + k + v"))
    with pytest.raises(UsageError) as caught:
        run(**{name: np.zeros(shape) for name, shape in inputs.items()}, **more)
    assert caught.value.code == code


def test_a_builder_takes_no_other_result() -> None:
    builder = GraphBuilder()
    with pytest.raises(Exception, match=re.escape("[1, 1]")):
        builder.finish("a", (), builder.number(1.0))
