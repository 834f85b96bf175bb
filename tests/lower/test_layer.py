"""Layers against their formulas: projections, residuals, feed-forward networks."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import fx

from azc.lower.layer import Layer, compile_encoder, compile_layer
from tests.model.models import check, masks, places, shake

B, N, HIDDEN = 2, 7, 16
MASK = masks([7, 4], N, "right")


def made(layer: str, **settings: Any) -> tuple[Layer, dict[str, torch.Tensor]]:
    """A layer in float64 and its weights."""
    _, spec = check(layer, **settings)
    compiled = compile_layer(spec, spec.layers[0]).double().eval()
    shake(compiled)
    return compiled, dict(compiled.state_dict())


def tokens() -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(B, N, HIDDEN, generator=generator, dtype=torch.float64)


def linear(
    x: torch.Tensor, weights: dict[str, torch.Tensor], name: str
) -> torch.Tensor:
    return F.linear(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))


def normed(
    x: torch.Tensor, weights: dict[str, torch.Tensor], name: str, kind: str
) -> torch.Tensor:
    scale, shift = weights[f"{name}.weight"], weights.get(f"{name}.bias")
    if kind == "rms_norm":
        return F.rms_norm(x, (HIDDEN,), scale, 1e-12)
    return F.layer_norm(x, (HIDDEN,), scale, shift, 1e-12)


def self_attention(
    x: torch.Tensor, weights: dict[str, torch.Tensor], heads: int
) -> torch.Tensor:
    """torch's own, over real tokens alone."""
    q, k, v = (
        linear(x, weights, f"attention.{name}_proj")
        .view(B, N, heads, HIDDEN // heads)
        .transpose(1, 2)
        for name in "qkv"
    )
    mixed = F.scaled_dot_product_attention(q, k, v, MASK[:, None, None, :])
    mixed = mixed.transpose(1, 2).reshape(B, N, HIDDEN)
    return linear(mixed, weights, "attention.output")


ACTIVATION = {
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "relu2": lambda x: F.relu(x) ** 2,
    "silu": F.silu,
    "geglu": F.gelu,
    "swiglu": F.silu,
}


def feed_forward(
    x: torch.Tensor, weights: dict[str, torch.Tensor], i: int, kind: str
) -> torch.Tensor:
    """Shazeer 2020: (f(x W) ⊙ x V) W₂ with a gate, f(x W) W₂ without."""
    inner = ACTIVATION[kind](linear(x, weights, f"ffn.{i}.up"))
    if kind in ("geglu", "swiglu"):
        inner = inner * linear(x, weights, f"ffn.{i}.gate")
    else:
        assert f"ffn.{i}.gate.weight" not in weights
    return linear(inner, weights, f"ffn.{i}.down")


def same_at_real_tokens(found: torch.Tensor, wanted: torch.Tensor) -> None:
    assert found.shape == wanted.shape
    torch.testing.assert_close(found[MASK], wanted[MASK], rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", ACTIVATION)
@pytest.mark.parametrize("residual", ["pre", "post"])
def test_attention_layers(kind: str, residual: str) -> None:
    for norm_kind, bias, heads, widths in (
        ("layer_norm", True, 2, [24]),
        ("rms_norm", False, 4, [8, 12, 1]),
        ("layer_norm", False, 1, [5, 5]),
    ):
        layer, weights = made(
            f"sdpa(heads = {heads})",
            activation=kind,
            residual=residual,
            norm=norm_kind,
            bias=bias,
            ffn=widths,
        )
        assert any(name.endswith("bias") for name in weights) is bias
        x = tokens()
        found = layer(x, *places(MASK))
        steps: list[tuple[str, Any]] = [
            ("norm", lambda y, w=weights, h=heads: self_attention(y, w, h))
        ]
        steps += [
            (f"ffn.{i}.norm", lambda y, w=weights, i=i: feed_forward(y, w, i, kind))
            for i in range(len(widths))
        ]
        for name, branch in steps:
            if residual == "pre":
                x = x + branch(normed(x, weights, name, norm_kind))
            else:
                x = normed(x + branch(x), weights, name, norm_kind)
        same_at_real_tokens(found, x)


def test_an_encoder_is_its_layers() -> None:
    _, spec = check("sdpa; conv(kernel = 3); primer(heads = 4)")
    encoder = compile_encoder(spec).eval()
    assert isinstance(encoder, fx.GraphModule)
    x = tokens().float()
    states = encoder(x, *places(MASK))
    assert len(states) == 4
    assert states[0] is x
    for i, layer in enumerate(encoder.get_submodule("layers").children()):
        assert isinstance(layer, Layer)
        x = layer(x, *places(MASK))
        assert torch.equal(states[i + 1], x)


def test_names_in_the_state_dict() -> None:
    _, weights = made("primer", activation="geglu", ffn=[8, 4])
    linears = [f"attention.{name}_proj" for name in "qkv"] + ["attention.output"]
    for i in range(2):
        linears += [f"ffn.{i}.{name}" for name in ("up", "gate", "down", "norm")]
    wanted = {f"{n}.{p}" for n in [*linears, "norm"] for p in ("weight", "bias")}
    kernels = {name for name in weights if name.startswith("attention.conv_")}
    assert set(weights) - kernels == wanted
    assert sorted(weights[name].shape[-1] for name in kernels) == [3, 3, 5]
    for kind, own in (
        ("light", {"kernel"}),
        ("dynamic", {"predict.weight", "predict.bias"}),
        ("depthwise", {"kernel"}),
    ):
        _, weights = made(f"conv(kernel = 3, kind = {kind})")
        mix = {n.removeprefix("conv.mix.") for n in weights if ".mix." in n}
        assert mix == own
        assert {"conv.input.weight", "conv.output.bias", "norm.bias"} <= set(weights)


def test_convolutions_inside_attention_start_as_the_identity() -> None:
    _, spec = check("primer")
    torch.manual_seed(0)
    primer = compile_layer(spec, spec.layers[0]).eval()
    _, plain_spec = check("sdpa")
    plain = compile_layer(plain_spec, plain_spec.layers[0]).eval()
    known = plain.state_dict()
    plain.load_state_dict({n: t for n, t in primer.state_dict().items() if n in known})
    x = tokens().float()
    found, wanted = primer(x, *places(MASK)), plain(x, *places(MASK))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_heads_are_blocks_of_features() -> None:
    layer, weights = made("sdpa")
    bound = 1 / math.sqrt(HIDDEN)
    assert weights["attention.q_proj.weight"].shape == (HIDDEN, HIDDEN)
    assert weights["attention.q_proj.weight"].std() > bound / 3
    x = tokens()
    before = layer(x, *places(MASK))
    with torch.no_grad():
        layer.get_submodule("attention.output").weight[:, HIDDEN // 2 :] = 0.0
        changed = layer(x, *places(MASK))
        layer.get_submodule("attention.v_proj").weight[HIDDEN // 2 :] += 1.0
        # The second head reaches the output through its own features alone.
        assert torch.equal(layer(x, *places(MASK)), changed)
        assert not torch.equal(before, changed)
