"""Shared weights: by reference or slice to candidates, and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from azc.check.program import ModelSpec
from azc.check.resolve import check_source
from azc.diagnostics import RunError
from azc.model import AzcConfig, AzcForMaskedLM
from azc.source import Source
from azc.supernet.slots import slots
from azc.supernet.supernet import Supernet

HEAD = """attention sdpa(q, k, v) {
    return softmax(scale(q @ k.T)) @ v
}

attention mixed(q, k) {
    return softmax(scale(q @ conv(k, kernel = 5).T)) @ conv(q, kernel = 3)
}

model m {
    vocab = 40
    hidden = 16
    heads = 2
    ffn = 24
    dropout = 0
    attention_dropout = 0
    layers {
"""


def build(layers: str, seed: int = 0) -> tuple[AzcForMaskedLM, ModelSpec]:
    text = (
        HEAD + "".join(f"        {line}\n" for line in layers.split(";")) + "    }\n}\n"
    )
    spec = check_source(Source("m", text)).models["m"]
    torch.manual_seed(seed)
    return AzcForMaskedLM(AzcConfig(program=text, model="m")).eval(), spec


def logits(model: AzcForMaskedLM) -> torch.Tensor:
    ids = torch.arange(18).view(2, 9)
    with torch.no_grad():
        found: torch.Tensor = model(ids).logits
    return found


LAYERS = (
    "sdpa; mixed",
    "conv(kernel = 9); conv(kernel = 3, kind = dynamic)",
    "conv(kernel = 5, kind = depthwise, heads = 4); sdpa(heads = 4, ffn = 48)",
    "sdpa(ffn = [8, 24], activation = swiglu); conv(kernel = 9, heads = 1)",
)


@pytest.mark.parametrize("layers", LAYERS)
def test_what_was_taken_is_given_back_bit_for_bit(layers: str) -> None:
    model, spec = build(layers, seed=1)
    supernet = Supernet()
    supernet.take(model, spec)
    other, _ = build(layers, seed=2)
    assert not torch.equal(logits(other), logits(model))
    supernet.give(other, spec)
    assert torch.equal(logits(other), logits(model))


def test_a_narrow_feed_forward_network_is_the_start_of_the_widest() -> None:
    wide, wide_spec = build("sdpa(ffn = 48)", seed=1)
    narrow, narrow_spec = build("sdpa(ffn = 8)", seed=2)
    supernet = Supernet()
    supernet.take(wide, wide_spec)
    supernet.give(narrow, narrow_spec)
    a = wide.model.encoder.get_submodule("layers.0.ffn.0")
    b = narrow.model.encoder.get_submodule("layers.0.ffn.0")
    assert torch.equal(a.up.weight[:8], b.up.weight)
    assert torch.equal(a.up.bias[:8], b.up.bias)
    assert torch.equal(a.down.weight[:, :8], b.down.weight)


def test_widening_keeps_what_was_shared_in_the_middle() -> None:
    narrow, narrow_spec = build("conv(kernel = 3)", seed=1)
    wide, wide_spec = build("conv(kernel = 9)", seed=2)
    own = wide.model.encoder.get_submodule("layers.0").conv.mix.kernel.detach().clone()
    supernet = Supernet()
    supernet.take(narrow, narrow_spec)
    supernet.admit(wide, wide_spec)
    full = supernet.tensors["model.encoder.layers.0.conv.light.kernel"]
    middle = narrow.model.encoder.get_submodule("layers.0").conv.mix.kernel
    assert torch.equal(full[:, 3:6], middle)
    assert torch.equal(full[:, :3], own[:, :3])
    assert torch.equal(full[:, 6:], own[:, 6:])


def test_the_branches_of_a_layer_share_norms_and_feed_forward_networks() -> None:
    attention, a = build("sdpa", seed=1)
    conv, b = build("conv(kernel = 3)", seed=2)
    shared = {s.key for s in slots(attention, a).values()} & {
        s.key for s in slots(conv, b).values()
    }
    layer = {key.split("layers.0.")[1] for key in shared if "layers.0." in key}
    assert layer == {
        f"{part}.{leaf}"
        for part in ("norm", "ffn.0.up", "ffn.0.down", "ffn.0.norm")
        for leaf in ("weight", "bias")
    }


def test_a_saved_supernet_reads_back_and_a_broken_one_is_refused(
    tmp_path: Path,
) -> None:
    model, spec = build("sdpa; conv(kernel = 5)")
    supernet = Supernet()
    supernet.take(model, spec)
    path = tmp_path / "net.safetensors"
    supernet.save(path)
    again = Supernet.read(path)
    assert again.tensors.keys() == supernet.tensors.keys()
    assert all(torch.equal(again.tensors[k], t) for k, t in supernet.tensors.items())
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError, match="can't read"):
        Supernet.read(path)
