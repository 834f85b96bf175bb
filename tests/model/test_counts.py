"""Parameters are what the checker says, and every setting computes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
)

from azc.check.models import ACTIVATIONS
from azc.check.params import head_parameters, layer_parameters, model_parameters
from azc.check.resolve import check_source
from azc.lower.layer import compile_layer
from azc.mixing.convolution import CONV_KINDS
from azc.model.tasks import build_model
from azc.source import Source
from tests.model.models import build, check, masks, places, shake

ATTENTION_NAMES = "sdpa windowed alibi_keys turned primer linear distances".split()


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def stock(name: str, task: str) -> Any:
    """A model of the standard library without memory for its weights."""
    program = check_source(Source("x.azg", f"from std.models import {name} as m\n"))
    with torch.device("meta"):
        return build_model(program, "m", task=task), program.models["m"]


def test_bert_base_to_the_last_parameter() -> None:
    model, spec = stock("bert_base", "base")
    assert count(model) == model_parameters(spec) == 109_482_240
    with torch.device("meta"):
        assert count(BertModel(BertConfig())) == 109_482_240


def test_the_heads_are_bert_s_to_the_last_parameter() -> None:
    with torch.device("meta"):
        masked, pairs = (
            BertForMaskedLM(BertConfig()),
            BertForSequenceClassification(BertConfig(num_labels=2)),
        )
        # The output matrix is the embedding's, which the meta device does not show.
        masked.tie_weights()
    model, spec = stock("bert_base", "masked-lm")
    model.tie_weights()
    pooler = 768 * 768 + 768
    assert count(model) == count(masked) == 109_514_298
    assert count(model) == model_parameters(spec) - pooler + head_parameters(spec)
    model, spec = stock("bert_base", "sequence-classification")
    assert count(model) == count(pairs) == model_parameters(spec) + 2 * 768 + 2


@pytest.mark.parametrize(
    "name",
    "bert_tiny bert_mini bert_small minilm autobert_zero_tiny autobert_zero_small"
    " autobert_zero_base".split(),
)
def test_the_standard_library_s_models(name: str) -> None:
    model, spec = stock(name, "base")
    assert count(model) == model_parameters(spec)


@st.composite
def models(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Layers and settings of small models."""

    def pick(*of: Any) -> Any:
        return draw(st.sampled_from(of))

    def arguments() -> list[str]:
        found = []
        if draw(st.booleans()):
            found.append(f"heads = {pick(1, 2, 4)}")
        if draw(st.booleans()):
            found.append(f"ffn = {pick('20', '[8, 12]', '[1]')}")
        if draw(st.booleans()):
            found.append(f"activation = {pick(*ACTIVATIONS)}")
        return found

    layers = []
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.booleans()):
            given = [f"kernel = {pick(1, 3, 9)}", f"kind = {pick(*CONV_KINDS)}"]
            layers.append(f"conv({', '.join(given + arguments())})")
        else:
            name = pick(*ATTENTION_NAMES)
            given = arguments()
            layers.append(f"{name}({', '.join(given)})" if given else name)
    return "; ".join(layers), {
        "activation": pick(*ACTIVATIONS),
        "ffn": pick(24, "[8, 16]", "[4, 4, 4]"),
        "norm": pick("layer_norm", "rms_norm"),
        "norm_eps": pick(1e-12, 1e-5, 0.1),
        "residual": pick("post", "pre"),
        "positions": pick("learned", "sinusoidal", "none"),
        "token_types": pick(0, 1, 2),
        "dropout": pick(0.0, 0.2),
        "attention_dropout": pick(0.0, 0.3),
        "bias": pick(True, False),
        "tie_embeddings": pick(True, False),
    }


@settings(max_examples=25)
@given(models())
def test_any_settings(made: tuple[str, dict[str, Any]]) -> None:
    layers, given_settings = made
    _, spec = check(layers, **given_settings)
    base = build(layers, task="base", **given_settings)
    assert count(base) == model_parameters(spec)
    model = build(layers, **given_settings)
    pooler = 16 * 16 + 16
    assert count(model) == model_parameters(spec) - pooler + head_parameters(spec)
    parts = model.model.encoder.layers.children()
    for layer, compiled in zip(spec.layers, parts, strict=True):
        assert count(compiled) == layer_parameters(spec, layer)
    mask = masks([6, 1], 6, "right")
    ids = torch.randint(0, 50, (2, 6))
    model.train()
    output = model(ids, attention_mask=mask, labels=ids.masked_fill(~mask, -100))
    output.loss.backward()
    assert output.loss.isfinite()
    for name, parameter in model.named_parameters():
        unused = "v_proj" in name
        assert parameter.grad is not None or unused, name
        if parameter.grad is not None:
            assert parameter.grad.isfinite().all(), name


def test_every_parameter_of_a_layer_learns() -> None:
    for activation in ACTIVATIONS:
        _, spec = check("primer; conv(kernel = 5)", activation=activation)
        for layer in spec.layers:
            compiled = compile_layer(spec, layer)
            shake(compiled)
            mask = masks([6, 3], 6, "right")
            out = compiled(torch.randn(2, 6, 16), *places(mask))
            out[mask].square().sum().backward()
            for name, parameter in compiled.named_parameters():
                assert parameter.grad is not None
                # A bias on keys adds one number to all the scores of a query.
                if name != "attention.k_proj.bias":
                    assert parameter.grad.abs().max() > 0, (activation, name)


def test_autobert_zero_base_goes_forward_and_back() -> None:
    program = check_source(
        Source("x.azg", "from std.models import autobert_zero_base as m\n")
    )
    torch.manual_seed(0)
    model = build_model(program, "m")
    ids = torch.randint(0, 30522, (2, 24))
    mask = masks([24, 9], 24, "right")
    output = model(ids, attention_mask=mask, labels=ids.masked_fill(~mask, -100))
    output.loss.backward()
    assert 9.0 < output.loss.item() < 12.5  # log 30522 is 10.3
    missing = [n for n, p in model.named_parameters() if p.grad is None]
    # Three of the formulas have no v, as the programs take it.
    unused = {n for n in missing if ".attention.v_proj." in n}
    assert set(missing) <= unused
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            assert parameter.grad.isfinite().all(), name
