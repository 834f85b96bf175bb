"""Words of other libraries: what is offered for them is followed, and means the same."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import azc
from azc.check import words
from azc.check.calls import CALLS
from azc.check.models import LAYER_ARGUMENTS, SETTINGS
from azc.check.spaces import _BLOCKS
from azc.diagnostics import Diagnostic
from azc.mixing.convolution import CONV_KINDS
from azc.ops.table import load_ops
from azc.shapes import TOKENS, D, N, Shape
from azc.syntax import ast
from tests.check.test_help import (
    SETTING,
    codes,
    computed,
    drawn,
    expression,
    found,
    library_programs,
    names,
    typings,
)

# Calls


def torch_call(call: ast.Apply, arrays: dict[str, Any]) -> Any:
    """What PyTorch computes for a call, by the function of that name."""
    for module in (torch, F, torch.special):
        if hasattr(module, call.op):
            function = getattr(module, call.op)
            break
    args = []
    for arg in call.args:
        if isinstance(arg, ast.Name):
            args.append(torch.tensor(arrays[arg.id]))
        else:
            sign = -1 if isinstance(arg, ast.Apply) else 1
            number = arg.args[0] if isinstance(arg, ast.Apply) else arg
            assert isinstance(number, ast.Number)
            args.append(sign * number.value)
    return function(*args)


def rows(fn: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """A function over the last axis, which stays."""
    return lambda *args: fn(*map(torch.tensor, args), dim=-1, **options)


def kept(fn: Callable[..., Any]) -> Callable[..., Any]:
    return rows(fn, keepdim=True)


def attend(q: Any, k: Any, v: Any) -> Any:
    q, k, v = (torch.tensor(x)[None, None] for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v)[0, 0]


def pairs(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A function of two rows, for each row of one array with each of the other."""
    return lambda a, b: np.array([[float(fn(r, s)) for s in b] for r in a])


def product(a: Any, b: Any) -> Any:
    return np.einsum("ij,jk->ik", a, b)


def turned(x: Any) -> Any:
    """Rotary embedding, by complex numbers."""
    half = x.shape[1] // 2
    rate = 10000.0 ** (-np.arange(half) / half)
    pairs_ = x[:, :half] + 1j * x[:, half:]
    pairs_ = pairs_ * np.exp(1j * np.arange(len(x))[:, None] * rate)
    return np.hstack([pairs_.real, pairs_.imag])


def cos(a: Any, b: Any) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def gap(a: Any, b: Any) -> float:
    return float(np.linalg.norm(a - b))


# Where PyTorch has no function of the name, or one of more than a matrix; by the call, or
# by the call and the expression where there are several readings.
ORACLES: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("bmm(a, b)", "mat_mul(a, b)", "dot(a, b): a @ b"), product),
    "dot(a, b): a @ b.T": pairs(np.dot),
    "dot(a, b): sum(a * b)": lambda a, b: np.array(
        [[r @ s] for r, s in zip(a, b, strict=True)]
    ),
    "inner(a, b)": np.inner,
    **dict.fromkeys(("times(a, b)", "hadamard(a, b)"), np.multiply),
    "plus(a, b)": np.add,
    "minus(a, b)": np.subtract,
    "transposed(x)": np.transpose,
    "power(x, 2)": lambda x: np.power(x, 2),
    **dict.fromkeys(("sqr(x)", "squared(x)"), np.square),
    "recip(x)": np.reciprocal,
    "fabs(x)": np.fabs,
    "ln(x)": np.log,
    **dict.fromkeys(
        ("logistic(x)", "sigm(x)", "expit(x)"), lambda x: 1 / (1 + np.exp(-x))
    ),
    "log_sigmoid(x)": lambda x: F.logsigmoid(torch.tensor(x)),
    "soft_plus(x)": lambda x: np.log1p(np.exp(x)),
    "soft_sign(x)": lambda x: F.softsign(torch.tensor(x)),
    "swish(x)": lambda x: F.silu(torch.tensor(x)),
    **dict.fromkeys(("relu2(x)", "squared_relu(x)"), lambda x: np.maximum(x, 0) ** 2),
    "quick_gelu(x)": lambda x: x / (1 + np.exp(-1.702 * x)),
    "max(x, -1)": lambda x: x.max(-1, keepdims=True),
    "min(x, -1)": lambda x: x.min(-1, keepdims=True),
    "max(x)": lambda x: x.max(-1, keepdims=True),
    "min(x)": lambda x: x.min(-1, keepdims=True),
    "amin(x)": kept(torch.amin),
    **dict.fromkeys(
        ("avg(x)", "average(x)"), lambda x: np.average(x, -1, keepdims=True)
    ),
    "logsumexp(x)": kept(torch.logsumexp),
    "log_softmax(x)": rows(torch.log_softmax),
    "softmin(x)": rows(F.softmin),
    "norm(x)": kept(torch.linalg.vector_norm),
    "l1norm(x)": kept(lambda x, **o: torch.linalg.vector_norm(x, 1, **o)),
    **dict.fromkeys(
        (
            *("l2norm(x)", "l2_norm(x)", "l2_normalize(x)", "normalise(x)"),
            *("unit(x)", "unit_norm(x)"),
        ),
        rows(F.normalize),
    ),
    "layernorm(x)": lambda x: F.layer_norm(torch.tensor(x), x.shape[-1:]),
    "rmsnorm(x)": lambda x: F.rms_norm(torch.tensor(x), x.shape[-1:], eps=2**-23),
    # Channels first: [1, features, tokens].
    "instance_norm(x)": lambda x: F.instance_norm(torch.tensor(x).T[None])[0].T,
    **dict.fromkeys(
        (
            *("cosine_similarity(a, b): cosine(a, b)", "cos_sim(a, b)"),
            "cosine_sim(a, b)",
        ),
        pairs(cos),
    ),
    "cosine_similarity(a, b): sum(normalize(a) * normalize(b))": lambda a, b: (
        F.cosine_similarity(torch.tensor(a), torch.tensor(b))[:, None]
    ),
    **dict.fromkeys(
        (
            *("pairwise_distance(a, b): euclidean(a, b)", "distance(a, b)"),
            *("dist(a, b)", "l2_distance(a, b)"),
        ),
        pairs(gap),
    ),
    "pairwise_distance(a, b): sqrt(sum(square(a - b)))": lambda a, b: (
        F.pairwise_distance(torch.tensor(a), torch.tensor(b), eps=0)[:, None]
    ),
    **dict.fromkeys(
        (
            *("rotary(x)", "rotary_embedding(x)", "apply_rope(x)", "apply_rotary(x)"),
            "apply_rotary_pos_emb(x)",
        ),
        turned,
    ),
    **dict.fromkeys(
        (
            *("sdpa(q, k, v)", "self_attention(q, k, v)", "attn(q, k, v)"),
            *("scaled_dot_product_attention(q, k, v)", "mha(q, k, v)"),
            *("multihead_attention(q, k, v)", "flash_attention(q, k, v)"),
        ),
        attend,
    ),
}
# Calls of values above 0.
POSITIVE = {"ln(x)", "log2(x)", "log10(x)", "log1p(x)", "rsqrt(x)", "pow(x, 0.5)"}
READINGS = [f"{call}: {result}" for call, result in CALLS]


def read(reading: str) -> tuple[ast.Apply, ast.Expr]:
    call, result = (expression(part) for part in reading.split(": "))
    assert isinstance(call, ast.Apply)
    assert result is not None
    return call, result


@pytest.mark.parametrize("reading", READINGS)
def test_a_call_means_the_same_elsewhere(reading: str) -> None:
    call, result = read(reading)
    assert set(names(call)) == set(names(result))
    types = next(typings(result))
    if "b" in types and "b.T" not in reading and "a @ b" not in reading:
        types["b"] = types["a"]  # of one shape
    head = reading.split(": ")[0]
    arrays = drawn(types, positive=head in POSITIVE)
    if head.startswith(("clamp", "clip")):
        arrays.update(a=np.full((1, 1), -0.5), b=np.full((1, 1), 0.7))
    oracle = ORACLES.get(reading) or ORACLES.get(head)
    if oracle is None:
        wanted = torch_call(call, arrays)
    else:
        wanted = oracle(*(arrays[name] for name in names(call)))
    value = computed(result, arrays)
    np.testing.assert_allclose(value, np.asarray(wanted), rtol=1e-6, atol=1e-9)


def test_every_oracle_is_used() -> None:
    heads = {reading.split(": ")[0] for reading in READINGS}
    assert set(ORACLES) <= heads | set(READINGS)


SHAPED = {
    TOKENS: "exp(q)",
    TOKENS.T: "exp(k).T",
    Shape(N, N): "(q @ k.T)",
    Shape(D, D): "(k.T @ v)",
}


@pytest.mark.parametrize("reading", READINGS)
def test_a_call_is_offered_as_what_it_means(reading: str) -> None:
    head = reading.split(": ")[0]
    _, result = read(reading)
    types = next(typings(result))
    bound = [
        f"its_{name} = {SHAPED.get(shape, 'mean(q)')}" for name, shape in types.items()
    ]
    call = re.sub(rf"\b({'|'.join(types)})\b(?!\()", r"its_\1", head)
    body = "\n    ".join([*bound, f"result = {call}", "return q + k + v"])
    text = f"attention w(q, k, v) {{\n    {body}\n}}\n"
    (told,) = [each for each in found(text) if each.severity == "error"]
    assert told.fix is not None, told
    mended = told.fix.applied()
    assert codes(mended) == []
    # Of several readings, the first that has a type is offered.
    (offered,) = re.findall(r"result = (.*)\n", mended.replace("its_", ""))
    assert expression(offered) in [expression(b) for a, b in CALLS if a == head]


@pytest.mark.parametrize(
    ("call", "result"),
    [
        # By the type that the place needs.
        ("softmax(dot(q, k)) @ v", "q @ k.T"),
        ("softmax(cosine_similarity(q, k)) @ v", "cosine(q, k)"),
        ("softmax(-pairwise_distance(q, k)) @ v", "euclidean(q, k)"),
        ("max(q, -1) * q", "amax(q)"),
        ("max(q, 0.5)", "maximum(q, 0.5)"),
        ("max(q, k)", "maximum(q, k)"),
        ("fmax(q, 0)", "maximum(q, 0)"),
        ("scaled_dot_product_attention(q, k, v, dropout_p = 0)", None),
        ("scaled_dot_product_attention(q, k, v, is_causal = false)", None),
        ("scaled_dot_product_attention(q, k, v, is_causal = true)", None),
        ("mha(q, k, v, causal = true)", None),
    ],
)
def test_the_reading_that_fits_is_offered(call: str, result: str | None) -> None:
    text = f"attention a(q, k, v) {{\n    return {call}\n}}\n"
    (told,) = [each for each in found(text) if each.code == "AZG103"]
    assert told.fix is not None, told
    assert told.fix.text == (result or "softmax(scale(q @ k.T)) @ v")
    assert "AZG103" not in codes(told.fix.applied())
    hidden = "hides later tokens" in (told.help or "")
    assert hidden == ("= true" in call)


@pytest.mark.parametrize(
    "call",
    [
        # An axis in PyTorch, a number elsewhere.
        *("max(q, 0)", "max(q, 1)", "min(q, 2)"),
        # A product of all entries, of which there is no operation.
        *("prod(q)", "prod(q, -1)", "prod(q, k)"),
        # Of matrices, not of every entry.
        *("inverse(q)", "inv(k.T @ v)", "outer(q, k) @ v", "similarity(q, k) @ v"),
        *("scaled_dot_product_attention(q, k, v, dropout_p = 0.1)", "sign(q)"),
    ],
)
def test_what_may_mean_another_thing_is_not_offered(call: str) -> None:
    text = f"attention a(q, k, v) {{\n    return {call}\n}}\n"
    (told,) = [each for each in found(text) if each.code == "AZG103"]
    assert told.fix is None
    assert told.help is not None
    assert "did you mean" not in told.help
    assert "known:" not in told.help


# What hides the future


@pytest.mark.parametrize(
    "text",
    [
        *("softmax(causal(q @ k.T)) @ v", "softmax(tril(q @ k.T)) @ v"),
        *("softmax(triu(q @ k.T)) @ v", "softmax(causal_mask(q @ k.T)) @ v"),
        *("softmax(autoregressive(q @ k.T)) @ v", "softmax(mask(q @ k.T)) @ v"),
        *("causal_softmax(q @ k.T) @ v", "softmax(q @ k.T, is_causal = true) @ v"),
        *("softmax(q @ k.T, causal = true) @ v", "softmax(q @ k.T + causal_mask) @ v"),
        *("softmax(q @ k.T + mask) @ v", "softmax(masked_fill(q @ k.T)) @ v"),
        "scaled_dot_product_attention(q, k, v, is_causal = true)",
    ],
)
def test_a_causal_mask_is_a_setting_of_the_model(text: str) -> None:
    (told,) = found(f"attention a(q, k, v) {{\n    return {text}\n}}\n")
    assert told.help is not None
    assert "`causal = true`" in told.help
    assert "model" in told.help


def test_what_is_said_of_it_is_so() -> None:
    """A program in a model with `causal = true` is the one with the mask."""
    text = "attention a(q, k, v) {\n    return softmax(scale(q @ k.T)) @ v\n}\n"
    model = SETTING.format("causal = true", "a")
    assert codes(text + model) == []
    arrays = drawn({"q": TOKENS, "k": TOKENS, "v": TOKENS})
    scores = arrays["q"] @ arrays["k"].T / arrays["q"].shape[1] ** 0.5
    scores[np.triu_indices(len(scores), 1)] = -np.inf
    wanted = torch.softmax(torch.tensor(scores), -1).numpy() @ arrays["v"]
    program = azc.loads(text + model)
    reference = azc.interpret_attention(program, "a", causal=True)(**arrays)
    np.testing.assert_allclose(reference, wanted, rtol=1e-12)
    tensors = {n: torch.tensor(x)[None, None] for n, x in arrays.items()}
    compiled = azc.compile_attention(program, "a", causal=True)(**tensors)
    np.testing.assert_allclose(compiled[0, 0].detach().numpy(), wanted, rtol=1e-9)


# Settings, arguments, entries and values by other words


def renamed(text: str) -> Diagnostic:
    """The one error of a text, whose mend is made."""
    (told,) = [each for each in found(text) if each.severity == "error"]
    assert told.fix is not None, told
    assert codes(told.fix.applied()) == []
    return told


VALUES = {
    **{name: default for name, (_, default) in SETTINGS.items()},
    "ffn": 16,
    "heads": 4,
    "hidden": 12,
}
SPACE = """
space s {{
    start = m
    conv {{
        kernel = [3]
        {conv}
    }}
    attention {{
        inputs = [q]
        {ops} = [exp]
    }}
}}
"""


@pytest.mark.parametrize("word", words.RENAMED)
def test_another_word_for_a_setting_is_offered(word: str) -> None:
    name = words.RENAMED[word]
    if name in SETTINGS:
        value = str(VALUES[name]).lower()
        lines = "vocab = 100" if name == "hidden" else "hidden = 12"
        text = f"model m {{\n    {lines}\n    heads = 4\n"
        text = text.replace(
            "    heads = 4\n", "" if name == "heads" else "    heads = 4\n"
        )
        text += f"    {word} = {value}\n    layers {{ conv(kernel = 3) }}\n}}\n"
    elif name == "ops":
        text = SETTING.format("", "conv(kernel = 3)") + SPACE.format(conv="", ops=word)
    else:
        args = {"kernel": f"{word} = 3", "kind": f"kernel = 3, {word} = light"}
        text = SETTING.format("", f"conv({args[name]})")
    told = renamed(text)
    assert told.fix is not None
    assert told.fix.text == name


@pytest.mark.parametrize(
    ("setting", "word"),
    [(setting, word) for setting, known in words.VALUES.items() for word in known],
)
def test_another_word_for_a_value_is_offered(setting: str, word: str) -> None:
    meant = words.VALUES[setting][word]
    text = SETTING.format(f"{setting} = {word}", "conv(kernel = 3)")
    if meant and " " not in meant:
        told = renamed(text)
        assert told.fix is not None
        assert told.fix.text == meant
    else:
        (told,) = found(text)
        assert told.fix is None
        assert told.help == (meant or None)


@pytest.mark.parametrize("name", ["causal", "dropout", "hidden", "is_causal", "norm"])
def test_a_setting_of_the_model_is_no_argument_of_a_layer(name: str) -> None:
    for layer in (f"conv(kernel = 3, {name} = true)", f"sdpa({name} = true)"):
        text = "from std.attention import sdpa\n" + SETTING.format("", layer)
        (told,) = [each for each in found(text) if each.code == "AZG308"]
        real = words.RENAMED.get(name, name)
        assert f"`{real}` is a setting of the model" in (told.help or "")


# Words that the language has are in no table


def test_words_from_elsewhere_are_not_of_the_language() -> None:
    operations = {*words.OPERATIONS, *(call.split("(")[0] for call, _ in CALLS)}
    assert not operations & set(load_ops())
    assert not (words.RENAMED.keys() | words.SETTINGS.keys()) & SETTINGS.keys()
    attributes = {attr.name for op in load_ops().values() for attr in op.attrs}
    assert not words.ATTRIBUTES.keys() & attributes
    layers = {"conv", *(node.name for node in library_programs())}
    assert not words.LAYERS.keys() & layers
    entries = {
        "start",
        "depth",
        *_BLOCKS,
        *(e for each in _BLOCKS.values() for e in each),
    }
    assert not words.ENTRIES.keys() & entries
    arguments = {*LAYER_ARGUMENTS, "kernel", "kind"}
    assert not words.RENAMED.keys() & (entries | arguments)
    assert set(words.RENAMED.values()) <= {*SETTINGS, *arguments, *entries}
    for setting, known in words.VALUES.items():
        for word in known:
            text = SETTING.format(f"{setting} = {word}", "conv(kernel = 3)")
            assert codes(text) == ["AZG303"]
    assert not set(words.LAYERS) & set(CONV_KINDS)
