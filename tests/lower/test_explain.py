"""What is said of a program is what its code does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import azc
from azc.check.program import AttentionSpec, AttentionUse
from azc.cli.explain import kept, words
from azc.lower.explain import CARRIED, MOMENTS, SDPA, cache_size, explain
from azc.lower.layer import compile_layer
from azc.lower.runtime import positions_of
from azc.model.memory import LayerMemory
from tests.programs import spec_of

HIDDEN, HEADS = 32, 4
MODEL = f"""
attention a(q, v) {{
    return q * v
}}

model m {{
    causal = true
    hidden = {HIDDEN}
    heads = {HEADS}

    layers {{
        a
    }}
}}
"""
OTHERS = {
    "squares": "a = softmax(q @ k.T)\n return a @ a @ v",
    "means": "return softmax(q @ k.T + sum(k).T) @ v + amax(v.T).T",
    "states": "return q @ (k.T @ v) + q * mean(k.T).T + sum(sum(v.T).T)",
    "weighted": "return q @ (softmax(k.T) @ v) + q * sum(softmax(k.T) * v.T).T",
    "maxima": "return q * amax(k.T).T",
    "snapshots": "return q * mean(softmax(k.T) * v.T).T",
    "taps": "return conv(q, kernel = 5) * conv(conv(k, kernel = 1), kernel = 3) + v",
    "near": "return softmax(window(q @ k.T, radius = 3)) @ conv(v, kernel = 5)",
    "bands": "s = window(cosine(q, k), radius = 3) + sum(k).T\n"
    " return softmax(window(s, radius = 2)) @ v + relu(s) @ k",
    "near and far": "return relu(window(q @ k.T, radius = 2)) @ v + relu(q @ v.T) @ k",
    "near, far elsewhere": "return relu(window(q @ k.T, radius = 2)) @ v"
    " + softmax(q @ v.T) @ conv(v, kernel = 3)",
    "squares of bands": "a = relu(window(q @ k.T, radius = 2))\n return a @ a @ v",
    "bands and states": "a = relu(window(q @ k.T, radius = 2))\n"
    " return a @ v + q @ (k.T @ v) + mean(a * sum(sum(k.T).T)) * v",
}
SPECS = {
    **azc.load("std.attention").attentions,
    **{
        name: spec_of(f"attention program(q, k, v) {{\n {body}\n}}\n")
        for name, body in OTHERS.items()
    },
}


def kept_after(spec: AttentionSpec, tokens: int) -> list[int]:
    """The bytes that a decoder's layer has kept after each of so many tokens."""
    model = azc.loads(MODEL).models["m"]
    layer = replace(model.layers[0], mixing=AttentionUse(spec.name, spec))
    module = compile_layer(model, layer).eval()
    memory, found = LayerMemory(), []
    for n in range(1, tokens + 1):
        hidden = torch.randn(1, 1, HIDDEN)
        places = positions_of(None, torch.empty(1, n, HIDDEN))
        with torch.no_grad():
            module(hidden, None, places, None, memory)
        found.append(memory.bytes)
    return found


@pytest.mark.parametrize("name", SPECS)
def test_what_a_decoder_keeps(name: str) -> None:
    told = explain(SPECS[name])
    count = 20
    *_, before, last, now = kept_after(SPECS[name], count)
    token = told.bytes_a_token(HIDDEN, HEADS)
    if told.grows:
        # n × n numbers of each head more.
        assert now - 2 * last + before == 2 * 4 * HEADS
        token += (2 * count - 1) * 4 * HEADS
    assert now - last == token
    if not told.grows:
        whole = told.bytes_of_windows(HIDDEN, HEADS) + told.bytes_of_states(
            HIDDEN, HEADS
        )
        assert now == count * token + whole


MIXED = f"""
from std.attention import linear_attention, local_attention, rope_attention

model mixed {{
    vocab = 50
    hidden = {HIDDEN}
    heads = {HEADS}
    ffn = 16
    positions = none
    token_types = 0
    causal = true

    layers {{
        conv(kernel = 3)
        rope_attention(heads = 2)
        conv(kernel = 5, kind = dynamic)
        linear_attention
        local_attention(heads = 8)
        conv(kernel = 1, kind = depthwise)
        rope_attention
    }}
}}
"""


def test_what_a_whole_decoder_keeps() -> None:
    program = azc.loads(MIXED)
    size = cache_size(program.models["mixed"])
    model = azc.compile(program, "mixed").eval()
    found = []
    for count in (40, 50):  # local attention reaches 16 tokens
        with torch.no_grad():
            told = model(torch.randint(50, (1, count)), use_cache=True)
        found.append(told.past_key_values.bytes)
    assert found == [count * size.each_token + size.in_all for count in (40, 50)]
    assert size.each_token == 2 * 2 * HIDDEN * 4
    assert not size.grows


def test_what_is_read_a_little_back_is_kept_so_far() -> None:
    def told(name: str) -> tuple[tuple[int, int], tuple[int, int]]:
        found = explain(SPECS[name])
        return found.kept, found.windows

    assert told("local_attention") == ((0, 0), (2 * 16, 0))
    assert told("taps") == ((0, 0), (4 + 0 + 2, 0))
    assert told("near") == ((0, 0), (3 + 3 + 4, 0))
    assert told("bands") == ((0, 0), (3 + 3, 3))
    assert told("near and far") == ((4, 0), (0, 0))
    assert told("near, far elsewhere") == ((2, 0), (2 + 2, 0))
    assert explain(SPECS["squares of bands"]).grows


def test_forms() -> None:
    def form(name: str) -> Any:
        return explain(SPECS[name])

    assert SDPA in form("sdpa").encoder.backends
    assert not form("sdpa").decoder.squared
    assert form("linear_attention").decoder.backends[-1] == CARRIED
    assert form("mean_mixing").decoder.backends[-1] == CARRIED
    for name in ("efficient_attention", "attention_free", "weighted", "maxima"):
        assert form(name).decoder.backends[-1] == CARRIED
    assert form("snapshots").decoder.backends[-1] == MOMENTS
    assert form("cosine").encoder.why == "`cosine` on scores"
    assert form("relu_attention").encoder.why == "`relu` on scores"
    assert "softmax" in form("differential").encoder.why
    none = explain(spec_of("attention a(q, v) {\n return (q @ v.T).T @ v\n}\n"))
    assert none.decoder is None
    assert none.refusal is not None
    assert "no causal meaning" in none.refusal.message


def test_the_table_of_the_documents() -> None:
    page = Path(__file__).parents[2] / "docs" / "decoders.md"
    text = page.read_text(encoding="utf-8")
    for name, spec in azc.load("std.attention").attentions.items():
        told = explain(spec)
        token, states = kept(told, 768, 12)
        assert f"| `{name}` | {words(told.decoder)} | {token} | {states} |" in text
