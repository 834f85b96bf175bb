"""The standard library: its programs mean what their papers say, its models have the
sizes of theirs, and what is said to lie in a space does."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from azc.check.params import model_parameters
from azc.check.program import AttentionUse, ConvUse, ModelSpec, Program
from azc.check.resolve import check_file
from azc.check.spaces import membership
from azc.diagnostics import render
from azc.ir.build import build_graph
from azc.ir.run import Interpreter
from azc.resources import stdlib_folder
from azc.syntax.format import format_text
from azc.syntax.parse import read_source

Array = np.ndarray
FILES = sorted(stdlib_folder().rglob("*.azg"))


@cache
def library(name: str) -> Program:
    return check_file(stdlib_folder() / f"{name}.azg")


@cache
def interpreter(name: str) -> Interpreter:
    return Interpreter(build_graph(library("attention").attentions[name]))


def inputs(name: str, n: int = 11, d: int = 6, seed: int = 0) -> dict[str, Array]:
    """Random inputs for a program, drawn in the order of its parameters."""
    rng = np.random.default_rng(seed)
    params = library("attention").attentions[name].params
    return {param: rng.normal(size=(n, d)) for param in params}


def test_the_library_is_found() -> None:
    assert [path.name for path in FILES] == [
        "attention.azg",
        "models.azg",
        "spaces.azg",
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_checks_without_warnings(path: Path) -> None:
    warnings = check_file(path).warnings
    assert not warnings, render(warnings)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_canonical(path: Path) -> None:
    source = read_source(path)
    assert format_text(source) == source.text


# Attention programs

PROGRAMS = sorted(library("attention").declared)
KNOW_PLACES = {"alibi_attention", "local_attention", "primer", "rope_attention"}
# Each token's result is a mean of the values, by weights that sum to 1.
MEANS = {
    "alibi_attention",
    "autobert_zero_10",
    "autobert_zero_12",
    "cosine",
    "efficient_attention",
    "euclidean",
    "linear_attention",
    "local_attention",
    "qk_norm",
    "rope_attention",
    "sdpa",
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("size", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("n", [1, 11])
def test_results_are_finite_and_no_larger_than_the_inputs_allow(
    name: str, size: float, n: int
) -> None:
    given = {key: size * x for key, x in inputs(name, n).items()}
    result = interpreter(name)(**given)
    assert result.shape == (n, 6)
    assert np.isfinite(result).all()
    largest = max(np.abs(x).max() for x in given.values())
    # Of two tokens' features at most, or of a row that was normalised.
    assert np.abs(result).max() <= max(2 * largest, np.sqrt(6)) + 1e-9


@pytest.mark.parametrize("name", sorted(MEANS))
def test_weights_sum_to_one(name: str) -> None:
    given = inputs(name)
    given["v"] = np.ones_like(given["v"])
    np.testing.assert_allclose(interpreter(name)(**given), 1.0, rtol=1e-12)


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_order_of_tokens_matters_only_where_it_should(name: str) -> None:
    given = inputs(name, n=40)
    order = np.random.default_rng(1).permutation(40)
    run = interpreter(name)
    weights = {
        key: np.random.default_rng(2).normal(size=weight.shape(1, 6))
        for key, weight in run.graph.weights
    }
    plain = run(**given, weights=weights)
    moved = run(**{key: x[order] for key, x in given.items()}, weights=weights)
    same = np.allclose(moved, plain[order], rtol=1e-9, atol=1e-12)
    assert same is (name not in KNOW_PLACES)


# Rectified scores are sparse: there a token hears only of those above zero.
@pytest.mark.parametrize("name", sorted(set(PROGRAMS) - {"relu_attention"}))
def test_every_token_hears_of_others(name: str) -> None:
    given = inputs(name)
    far = {key: x.copy() for key, x in given.items()}
    for x in far.values():
        x[4] += 1.0
    changed = np.abs(interpreter(name)(**far) - interpreter(name)(**given)).max(-1)
    assert (changed > 1e-9).all()


def softmax(x: Array) -> Array:
    weight = np.exp(x - x.max(-1, keepdims=True))
    return weight / weight.sum(-1, keepdims=True)


def logsigmoid(x: Array) -> Array:
    return np.log(1 / (1 + np.exp(-x)))


def softsign(x: Array) -> Array:
    return x / (1 + np.abs(x))


def softplus(x: Array) -> Array:
    return np.log1p(np.exp(x))


def unit(x: Array) -> Array:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def rms(x: Array) -> Array:
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 2**-23)


def distances(n: int) -> Array:
    return np.abs(np.subtract.outer(np.arange(n), np.arange(n)))


# Figure 4, a row of the table each, with d = 6.

FIGURE_4: dict[str, Callable[..., Array]] = {
    "autobert_zero_2": lambda q, k: softmax(q @ softplus(k).T / np.sqrt(6)) @ (q + k),
    "autobert_zero_4": lambda q, k: (
        softmax(q @ (-logsigmoid(logsigmoid(q) + (q + k))).T / np.sqrt(6)) @ q
    ),
    "autobert_zero_6": lambda q, k: softmax(q @ (-logsigmoid(k)).T / np.sqrt(6)) @ q,
    "autobert_zero_10": lambda q, k, v: (
        softmax(
            q @ (k / np.sqrt(6) + softsign(softsign(k) / np.sqrt(6)) + v).T / np.sqrt(6)
        )
        @ v
    ),
    "autobert_zero_12": lambda q, k, v: (
        softmax(q @ (k / np.sqrt(6) + v).T / np.sqrt(6)) @ v
    ),
}


def rotated(x: Array) -> Array:
    """Rotary positions by complex numbers: feature i turns with feature i + d/2."""
    n, d = x.shape
    turn = np.exp(1j * np.outer(np.arange(n), 10000.0 ** (-2 * np.arange(d // 2) / d)))
    turned = (x[:, : d // 2] + 1j * x[:, d // 2 :]) * turn
    return np.concatenate([turned.real, turned.imag], axis=1)


def euclidean(q: Array, k: Array, v: Array) -> Array:
    square = ((q[:, None] - k[None]) ** 2).sum(-1)
    return softmax(-square / np.sqrt(6)) @ v


def linear(q: Array, k: Array, v: Array) -> Array:
    """The n × n matrix of weights, which the program never makes."""
    query, key = (np.where(x > 0, x + 1, np.exp(x)) for x in (q, k))
    weight = query @ key.T
    return weight / weight.sum(-1, keepdims=True) @ v


def differential(q1: Array, k1: Array, q2: Array, k2: Array, v: Array) -> Array:
    weight = softmax(q1 @ k1.T / np.sqrt(6)) - 0.5 * softmax(q2 @ k2.T / np.sqrt(6))
    return rms(weight @ v)


def local(q: Array, k: Array, v: Array) -> Array:
    near = distances(len(q)) <= 16
    return softmax(np.where(near, q @ k.T / np.sqrt(6), -np.inf)) @ v


def alibi(q: Array, k: Array, v: Array) -> Array:
    """Of the only head, whose slope is 2^-8."""
    return softmax(q @ k.T / np.sqrt(6) - 2**-8 * distances(len(q))) @ v


PAPERS: dict[str, Callable[..., Array]] = {
    **FIGURE_4,
    "softplus_key": FIGURE_4["autobert_zero_2"],
    "sdpa": lambda q, k, v: softmax(q @ k.T / np.sqrt(6)) @ v,
    "cosine": lambda q, k, v: softmax(unit(q) @ unit(k).T / 0.1) @ v,
    "qk_norm": lambda q, k, v: softmax(rms(q) @ rms(k).T / np.sqrt(6)) @ v,
    "euclidean": euclidean,
    "differential": differential,
    "rope_attention": lambda q, k, v: (
        softmax(rotated(q) @ rotated(k).T / np.sqrt(6)) @ v
    ),
    "alibi_attention": alibi,
    "local_attention": local,
    "linear_attention": linear,
    "efficient_attention": lambda q, k, v: softmax(q) @ softmax(k.T) @ v,
    "attention_free": lambda q, k, v: (
        1 / (1 + np.exp(-q)) * (softmax(k.T).T * v).sum(0)
    ),
    "mean_mixing": lambda v: v + v.mean(0),
    "gated_attention": lambda q, k, v, gate: (
        softmax(q @ k.T / np.sqrt(6)) @ v / (1 + np.exp(-gate))
    ),
}


@pytest.mark.parametrize("name", sorted(PAPERS))
def test_a_program_is_its_paper(name: str) -> None:
    given = inputs(name, n=40)
    expected = PAPERS[name](**given)
    np.testing.assert_allclose(
        interpreter(name)(**given), expected, rtol=1e-9, atol=1e-12
    )


def test_rectified_attention_forgets_the_size_of_the_scores() -> None:
    given = inputs("relu_attention")
    result = interpreter("relu_attention")(**given)
    np.testing.assert_allclose((result**2).mean(-1), 1.0, rtol=1e-3)
    larger = interpreter("relu_attention")(**given | {"q": 100 * given["q"]})
    np.testing.assert_allclose(larger, result, rtol=1e-3)


def test_primer_starts_as_plain_attention_and_learns_three_kernels() -> None:
    given = inputs("primer")
    run = interpreter("primer")
    np.testing.assert_array_equal(run(**given), interpreter("sdpa")(**given))
    names = [name for name, _ in run.graph.weights]
    assert names == ["conv_0_kernel", "conv_1_kernel", "conv_2_kernel"]


# Models

BERTS = {  # layers, hidden, heads, parameters with the pooler
    "bert_tiny": (2, 128, 2, 4_385_920),
    "bert_mini": (4, 256, 4, 11_170_560),
    "bert_small": (4, 512, 8, 28_763_648),
    "bert_base": (12, 768, 12, 109_482_240),
    "minilm": (6, 384, 12, 22_713_216),
}
AUTOBERT_ZEROS = {
    "autobert_zero_tiny": (128, 2),
    "autobert_zero_small": (256, 4),
    "autobert_zero_base": (768, 12),
}


# Compared with transformers' own in tests/model/test_parity.py.
OTHERS = {"distilbert_base", "roberta_base", "gpt2", "bloom_560m", "redpajama_3b"}


def test_all_models_are_tested() -> None:
    assert {*BERTS, *AUTOBERT_ZEROS, *OTHERS} == library("models").declared


@pytest.mark.parametrize("name", sorted(BERTS))
def test_a_bert_has_the_parameters_of_bert(name: str) -> None:
    layers, hidden, heads, parameters = BERTS[name]
    model = library("models").models[name]
    assert (len(model.layers), model.hidden, model.heads) == (layers, hidden, heads)
    assert model_parameters(model) == parameters


def test_the_parameters_of_bert_are_those_of_transformers() -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    for layers, hidden, heads, parameters in BERTS.values():
        config = transformers.BertConfig(
            num_hidden_layers=layers,
            hidden_size=hidden,
            num_attention_heads=heads,
            intermediate_size=4 * hidden,
        )
        with torch.device("meta"):
            bert = transformers.BertModel(config)
        assert bert.num_parameters() == parameters


def mixings(model: ModelSpec) -> list[str | int]:
    """Each layer's kernel or program."""
    found: list[str | int] = []
    for layer in model.layers:
        mixing = layer.mixing
        found.append(mixing.kernel if isinstance(mixing, ConvUse) else mixing.name)
    return found


@pytest.mark.parametrize("name", sorted(AUTOBERT_ZEROS))
def test_autobert_zero_is_figure_4_at_every_width(name: str) -> None:
    hidden, heads = AUTOBERT_ZEROS[name]
    model = library("models").models[name]
    assert (model.hidden, model.heads, model.ffn) == (hidden, heads, (4 * hidden,))
    found = mixings(model)
    assert found[::2] == [65, 9, 3, 7, 7, 3]
    attention = [f"autobert_zero_{layer}" for layer in (2, 4, 6, 6, 10, 12)]
    assert found[1::2] == attention
    kinds = {m.kind for layer in model.layers if isinstance(m := layer.mixing, ConvUse)}
    assert kinds == {"light"}


def test_autobert_zero_base_differs_from_bert_in_its_projections_alone() -> None:
    models = library("models").models
    square = 768 * 768 + 768
    # Attention without values has one projection less. A convolution has two of hidden
    # in, one of hidden out, and twelve kernels.
    kernels = 12 * (65 + 9 + 3 + 7 + 7 + 3)
    expected = model_parameters(models["bert_base"]) - (4 + 6) * square + kernels
    assert model_parameters(models["autobert_zero_base"]) == expected


# Spaces


def test_the_winner_of_autobert_zero_lies_in_its_space() -> None:
    space = library("spaces").spaces["autobert_zero"]
    winner = library("models").models["autobert_zero_base"]
    assert [fault.message for fault in membership(winner, space)] == []
    assert space.start.name == "bert_base"
    assert space.kernels == (3, 5, 7, 9, 15, 31, 65)


def test_the_space_of_autobert_zero_has_the_operations_of_the_paper() -> None:
    space = library("spaces").spaces["autobert_zero"]
    unary = "neg transpose scale softmax logsigmoid softsign"
    assert space.ops == frozenset(f"{unary} add matmul cosine euclidean".split())


def test_what_a_space_does_not_have_is_not_in_it() -> None:
    space = library("spaces").spaces["autobert_zero"]
    narrow = library("models").models["autobert_zero_small"]
    assert "AZG410" in {fault.code for fault in membership(narrow, space)}


def test_layers_of_the_trial_space_divide_its_width() -> None:
    space = library("spaces").spaces["trial"]
    heads = [number for number in space.layer["heads"] if isinstance(number, int)]
    assert heads
    assert all(space.start.hidden % number == 0 for number in heads)
    assert all(isinstance(layer.mixing, AttentionUse) for layer in space.start.layers)
