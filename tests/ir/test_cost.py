"""Floating point operations, worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given

from azc.check.resolve import check_source
from azc.compare.cost import layer_flops, model_flops
from azc.compare.models import compare_models
from azc.compare.summary import summarise
from azc.ir.build import build_graph
from azc.ir.cost import graph_flops
from azc.passes.pipeline import optimise
from azc.source import Source
from tests.programs import attention, programs, spec_of

SDPA = "attention sdpa(q, k, v) { return softmax(scale(q @ k.T)) @ v }\n"


def flops(body: str, n: int, d: int) -> int:
    return graph_flops(build_graph(attention(f"return {body}")), n, d)


@pytest.mark.parametrize(("n", "d"), [(7, 5), (128, 64)])
def test_programs(n: int, d: int) -> None:
    product = 2 * n * n * d
    assert flops("q", n, d) == 0
    assert flops("q + k", n, d) == n * d
    assert flops("(q @ k.T) @ v", n, d) == 2 * product
    # Two products, and for each score one to scale and eight for its share.
    assert flops("softmax(scale(q @ k.T)) @ v", n, d) == 2 * product + 9 * n * n
    # The other order has no n × n in it.
    assert flops("q @ (k.T @ v)", n, d) == 4 * n * d * d
    assert flops("conv(q, kernel = 9)", n, d) == 18 * n * d
    assert flops("window(q @ k.T, radius = 2) @ v", n, d) == 2 * product


def test_costs_are_those_of_what_is_compiled() -> None:
    plain = "softmax(scale(q @ k.T)) @ v"
    twice = "softmax(scale((-(-q)) @ k.T.T.T)) @ (-(-v))"
    models = []
    for body in (plain, twice):
        text = f"attention a(q, k, v) {{ return {body} }}\nmodel m {{ layers {{ a }} }}"
        models.append(check_source(Source("test.azg", text)).models["m"])
    one, two = (summarise(model, 128) for model in models)
    assert one.flops == two.flops
    assert one.layers[0].expression == two.layers[0].expression
    difference = compare_models(*models, 128)
    assert difference.flops.change == 0
    assert all(layer.status == "same" for layer in difference.layers)


def test_equal_parts_count_once() -> None:
    assert flops("q @ k.T @ v + q @ k.T @ v", 8, 4) == 2 * 2 * 8 * 8 * 4 + 8 * 4


@given(programs())
def test_it_grows(text: str) -> None:
    graph = build_graph(spec_of(text))
    counts = [graph_flops(graph, n, 8) for n in (1, 8, 64)]
    assert 0 <= counts[0] <= counts[1] <= counts[2]
    assert graph_flops(optimise(graph), 8, 8) <= counts[1]


@pytest.mark.parametrize(
    ("layer", "settings", "wanted"),
    [
        # Four projections, 4 n² h for scores and values, 9 H n² between, a network of
        # two matrices.
        ("sdpa", "", 4 * 2 * 10 * 64 + 4 * 100 * 8 + 9 * 2 * 100 + 2 * 2 * 10 * 8 * 32),
        ("sdpa(ffn = [16, 16])", "",
         4 * 2 * 10 * 64 + 4 * 100 * 8 + 9 * 2 * 100 + 2 * 2 * 2 * 10 * 8 * 16),
        ("sdpa(activation = geglu)", "",
         4 * 2 * 10 * 64 + 4 * 100 * 8 + 9 * 2 * 100 + 3 * 2 * 10 * 8 * 32),
        # In to 2h, out, kernel, gate.
        ("conv(kernel = 3)", "",
         2 * 10 * 8 * 24 + 2 * 10 * 8 * 3 + 4 * 10 * 8 + 2 * 2 * 10 * 8 * 32),
        ("conv(kernel = 3, kind = dynamic)", "",
         2 * 10 * 8 * 24 + 2 * 10 * 8 * 3 + 4 * 10 * 8 + 2 * 10 * 8 * 2 * 3
         + 2 * 2 * 10 * 8 * 32),
    ],
)  # fmt: skip
def test_layers(layer: str, settings: str, wanted: int) -> None:
    head = f"model m {{\nhidden = 8\nheads = 2\n{settings}\nlayers {{ repeat 3 {{"
    text = f"{SDPA}{head}\n{layer}\n}} }}\n}}"
    model = check_source(Source("test.azg", text)).models["m"]
    assert layer_flops(model, model.layers[0], 10) == wanted
    assert model_flops(model, 10) == 3 * wanted
