"""Which values are in float32 where a program's inputs are in a narrower type."""

from __future__ import annotations

import pytest

import azc
from azc.facts.precision import wide_values
from azc.facts.time import without_causal_meaning
from azc.lower.plan import prepared
from azc.passes.dropout import Dropout
from azc.passes.pipeline import program_graph
from tests.facts.test_presence import graph_of


@pytest.mark.parametrize(
    ("line", "wide"),
    [
        ("x = rms_norm(q)", False),
        ("x = exp(q) + k", True),
        ("x = q / sum(k)", True),
        ("x = q * 0.5", False),
        ("x = q + 1e-9", True),
        ("x = q * 1e6", True),
        ("x = layer_norm(square(q))", True),
        ("x = mean(q) * v", False),
        ("x = conv(q, kernel = 3)", False),
        ("x = conv(exp(q), kernel = 3)", True),
    ],
)
def test_what_stays_in_float32(line: str, wide: bool) -> None:
    graph = graph_of(line, "return x")
    assert (graph.output in wide_values(graph)) is wide


@pytest.mark.parametrize(
    ("product", "wide"),
    [
        # Over the features, of narrow operands.
        ("q @ k.T", False),
        ("k @ q.T", False),
        # A normaliser, and what may be one.
        ("q @ mean(k.T)", True),
        ("mean(q).T @ mean(k)", True),
        ("q @ sum(k.T)", True),
        # States.
        ("k.T @ v", True),
        ("softmax(k.T) @ v", True),
        ("mean(k.T) @ amax(v.T).T", False),  # of one term
        # What is made of a wide value.
        ("exp(q) @ k.T", True),
        ("q @ (k.T @ v)", True),
        ("softmax(q) @ (k.T @ v)", True),
        # Sums over the tokens.
        ("(q @ k.T) @ v", True),
        ("relu(q @ k.T) @ v", True),
        ("sigmoid(q @ k.T) @ v", True),
        ("exp(q @ k.T) @ v", True),
        ("cosine(q, k) @ v", True),
        ("v.T @ relu(q @ k.T)", True),
        # Averages over the tokens.
        ("softmax(q @ k.T) @ v", False),
        ("softmax(-square(euclidean(q, k))) @ v", False),
        ("softmax(q @ k.T) @ exp(v)", True),
        ("softmax(q @ k.T) @ mean(v)", False),
        ("v.T @ softmax(q @ k.T).T", False),
        ("v.T @ softmax(q @ k.T)", True),
        ("(softmax(q @ k.T) - 0.5 * softmax(k @ q.T)) @ v", False),
        ("(softmax(q @ k.T) / 2 + softmax(k @ q.T)) @ v", False),
        ("(softmax(q @ k.T) * 100) @ v", True),
        ("(softmax(q @ k.T) * 0.001) @ v", True),
        ("(softmax(q @ k.T) + 1) @ v", True),
        ("(softmax(q @ k.T) @ softmax(k @ q.T)) @ v", False),
        ("relu(softmax(q @ k.T) - softmax(k @ q.T)) @ v", False),
        ("window(softmax(q @ k.T), radius = 2) @ v", False),
        ("(exp(q @ k.T) / sum(exp(q @ k.T))) @ v", False),
        ("(relu(q @ k.T) / maximum(sum(relu(q @ k.T)), 1e-6)) @ v", False),
        ("(relu(q @ k.T) / (1 + sum(relu(q @ k.T)))) @ v", False),
        ("(relu(q @ k.T) / (sum(relu(q @ k.T)) - 1)) @ v", True),
        ("(relu(q @ k.T) / sum(exp(q @ k.T))) @ v", True),
        ("((q @ k.T) / sum(q @ k.T)) @ v", True),
    ],
)
@pytest.mark.parametrize("causal", [False, True])
def test_products(product: str, wide: bool, causal: bool) -> None:
    """As they are lowered, with masks and dropout."""
    graph = graph_of(f"x = {product}", "return q + sum(sum(x).T)")
    graph = Dropout(0.1).run(graph)
    if causal and without_causal_meaning(graph):
        pytest.skip("has no causal meaning")
    graph = prepared(graph, causal, backends=()).graph
    (node,) = (node for node, name in graph.names.items() if name == "x")
    assert (node in wide_values(graph)) is wide


@pytest.mark.parametrize(
    ("line", "wide"),
    [
        ("return x @ v", False),
        ("return (x - 0.5 * softmax(k @ q.T)) @ v", False),
        ("return relu(scale(x)) @ (x @ v)", False),
        ("return x @ v + x @ exp(v)", False),
        ("return x.T @ v", True),  # no average
        ("return x @ v - sum(x * log(x)) * v", True),
        ("return x / amax(x) @ v", True),
        ("return (x * sigmoid(q @ k.T)) @ v", True),
    ],
)
def test_weights(line: str, wide: bool) -> None:
    """float16 rounds weights to 0 that a logarithm or a divisor may not be."""
    graph = prepared(graph_of("x = softmax(q @ k.T)", line), backends=()).graph
    (node,) = (node for node, name in graph.names.items() if name == "x")
    assert (node in wide_values(graph)) is wide


# Of the standard library's programs, those with products or weights in float32, and how
# many. All others have the kernels of their number type.
IN_FLOAT32 = {
    "linear_attention": 3,
    "efficient_attention": 2,
    "relu_attention": 1,
    "attention_free": 1,
    "euclidean": 1,  # of distances
}


@pytest.mark.parametrize("name", sorted(azc.load("std.attention").attentions))
@pytest.mark.parametrize("causal", [False, True])
def test_products_of_the_standard_library(name: str, causal: bool) -> None:
    spec = azc.load("std.attention").attentions[name]
    graph = prepared(Dropout(0.1).run(program_graph(spec)), causal).graph
    wide = [node for node in wide_values(graph) if node.op in ("matmul", "softmax")]
    assert len(wide) == IN_FLOAT32.get(name, 0)
