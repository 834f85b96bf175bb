"""Compiled functions and encoders, copied, pickled and sent to other processes."""

from __future__ import annotations

import copy
import io
import multiprocessing
import operator
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import fx

import azc
from azc.lower.compiled import CompiledModule
from azc.lower.layer import Layer
from tests.model.models import build, shake

STD = azc.load("std.attention")
WEIGHTED = azc.loads(
    "attention weighted(q, k, v) {\n"
    "    return softmax(conv(q, kernel = 3) @ conv(k, kernel = 5).T) @ v\n}\n"
)
MASK = torch.tensor([[1, 1, 1, 0, 0], [0, 1, 0, 1, 1]]).bool()


def through_file(module: Any) -> Any:
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


WAYS: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda module: pickle.loads(pickle.dumps(module)),
    "twice": lambda module: pickle.loads(pickle.dumps(copy.deepcopy(module))),
    "torch.save": through_file,
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


def functions() -> dict[str, fx.GraphModule]:
    """All of the standard library, and one with weights for each head and feature."""
    found = {name: azc.compile_attention(STD, name) for name in STD.attentions}
    found["weighted"] = shaken(azc.compile_attention(WEIGHTED, None, 2, 4))
    found["shared"] = shaken(azc.compile_attention(WEIGHTED))
    return found


def shaken(module: Any) -> Any:
    shake(module)
    return module


def inputs(module: fx.GraphModule) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    names = [node.name for node in module.graph.nodes if node.op == "placeholder"]
    shape = (2, 2, 5, 4)
    return {n: torch.randn(shape, generator=generator) for n in names if n != "mask"}


def assert_same(found: Any, wanted: Any) -> None:
    """The same to the last letter of the code and the last bit of the results."""
    assert type(found).__mro__[1] is type(wanted).__mro__[1] is CompiledModule
    assert type(found).__name__ == type(wanted).__name__ == "Attention"
    assert found.code == wanted.code
    assert [str(n) for n in found.graph.nodes] == [str(n) for n in wanted.graph.nodes]
    found.graph.lint()
    assert list(found.state_dict()) == list(wanted.state_dict())
    given = inputs(wanted)
    for mask in (None, MASK):
        assert torch.equal(found(**given, mask=mask), wanted(**given, mask=mask))


@pytest.mark.parametrize("way", WAYS)
def test_an_attention_function_comes_back(way: str) -> None:
    for wanted in functions().values():
        found = WAYS[way](wanted)
        assert found is not wanted
        assert_same(found, wanted)
        pairs = zip(found.parameters(), wanted.parameters(), strict=True)
        assert all((one is other) == (way == "copy") for one, other in pairs)


def test_in_a_new_process(tmp_path: Path, root: Path) -> None:
    made = functions()
    given = {name: inputs(module) for name, module in made.items()}
    torch.save((made, given, MASK), tmp_path / "sent")
    script = (
        "import sys, torch\n"
        "made, given, mask = torch.load(sys.argv[1], weights_only=False)\n"
        "found = {n: (f(**given[n]), f(**given[n], mask=mask)) for n, f in made.items()}\n"
        "torch.save(found, sys.argv[2])\n"
    )
    paths = (str(tmp_path / "sent"), str(tmp_path / "found"))
    # Nothing else is imported there: what the pickle names is enough.
    subprocess.run([sys.executable, "-c", script, *paths], check=True, cwd=root)
    found = torch.load(tmp_path / "found")
    for name, module in made.items():
        assert torch.equal(found[name][0], module(**given[name]))
        assert torch.equal(found[name][1], module(**given[name], mask=MASK))


def test_in_a_pool_of_processes() -> None:
    module = functions()["weighted"]
    given = {**inputs(module), "mask": MASK}
    with torch.no_grad(), multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(module.requires_grad_(False), kwds=given)
    assert torch.equal(found, module(**given))


@pytest.mark.parametrize("way", WAYS)
def test_what_was_done_to_it_stays(way: str) -> None:
    module: Any = functions()["weighted"]
    node = next(n for n in module.graph.nodes if "dot_product" in str(n.target))
    with module.graph.inserting_after(node):
        half = module.graph.call_function(operator.truediv, (node, 2.0))
    node.replace_all_uses_with(half, lambda user: user is not half)
    module.recompile()
    module.eval().double()
    module.note = ["mine"]
    module.conv_0_kernel.requires_grad_(False)
    module.register_forward_hook(_negated)
    found = WAYS[way](module)
    assert not found.training
    assert found.note == ["mine"]
    assert not found.conv_0_kernel.weight.requires_grad
    assert found.conv_1_kernel.weight.dtype == torch.float64
    assert "truediv" in found.code
    given = {name: x.double() for name, x in inputs(module).items()}
    assert torch.equal(found(**given), module(**given))
    assert torch.equal(found(**given), -found.forward(**given))


def _negated(module: Any, given: Any, out: torch.Tensor) -> torch.Tensor:
    return -out


def test_a_deep_copy_and_a_copy_of_a_copy_are_apart() -> None:
    module: Any = functions()["weighted"]
    shared = copy.copy(module)
    shared.extra = torch.nn.Linear(2, 2)
    assert not hasattr(module, "extra")
    deep = copy.deepcopy([module, module])
    assert deep[0] is deep[1]
    before = module.conv_0_kernel.weight.detach().clone()
    with torch.no_grad():
        deep[0].conv_0_kernel.weight.zero_()
    assert torch.equal(module.conv_0_kernel.weight, before)


@pytest.mark.parametrize("way", [each for each in WAYS if each != "copy"])
def test_an_encoder_comes_back(way: str) -> None:
    model = build("sdpa; primer; conv(kernel = 3, kind = dynamic)", task="base")
    encoder = model.encoder
    encoder.layers[1].register_forward_hook(_negated)
    found = WAYS[way](encoder)
    assert type(found).__name__ == "Encoder"
    assert isinstance(found.layers, torch.nn.ModuleList)
    for one, other in zip(found.layers, encoder.layers, strict=True):
        assert isinstance(one, Layer)
        assert one.code == other.code
    ids, mask = torch.arange(10).view(2, 5), MASK.long()
    with torch.no_grad():
        wanted = model(ids, attention_mask=mask).last_hidden_state
        model.encoder = found
        assert torch.equal(model(ids, attention_mask=mask).last_hidden_state, wanted)


# Layers that are alike


LAYERS = "sdpa; linear; primer; sdpa; linear; primer; sdpa"


@pytest.mark.parametrize("causal", [False, True])
def test_layers_that_are_alike_share_their_code_and_nothing_else(causal: bool) -> None:
    # Those of the second kind are computed moment by moment in a decoder.
    layers = build(LAYERS, causal=causal, task="base").encoder.layers
    assert len({type(layer).forward for layer in layers}) == 3
    held: list[int] = []
    for layer in layers:
        for module in layer.modules():
            held += map(id, (module, vars(module)["_modules"], module._forward_hooks))
        held += map(id, layer.parameters())
    assert len(set(held)) == len(held)
    assert list(layers[0].state_dict()) == list(layers[3].state_dict())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", [0, 3, 6])
def test_a_layer_is_changed_alone(place: int, way: str) -> None:
    """Its graph, its hooks and its copies, whether it was written first or shares."""
    encoder = build(LAYERS, task="base").encoder
    layers = encoder.layers
    codes = [layer.code for layer in layers]
    hidden, mask = torch.randn(2, 5, layers[0].norm.normalized_shape[0]), MASK
    positions = torch.arange(5).expand(2, 5)

    def results() -> list[torch.Tensor]:
        with torch.no_grad():
            return [layer(hidden, mask, positions, None) for layer in layers]

    encoder.eval()
    before = results()
    layer = layers[place]
    (last,) = (node for node in layer.graph.nodes if node.op == "output")
    with layer.graph.inserting_before(last):
        twice = layer.graph.call_function(operator.mul, (last.args[0], 2.0))
    last.args = (twice,)
    layers[1 + place % 3].register_forward_hook(_negated)
    layer.recompile()
    layers[place] = WAYS[way](layer)
    for i, (found, wanted) in enumerate(zip(results(), before, strict=True)):
        factor = 2.0 if i == place else -1.0 if i == 1 + place % 3 else 1.0
        assert torch.equal(found, factor * wanted)
        assert (layers[i].code == codes[i]) == (i != place)
        graph = layers[i].graph
        graph.lint()
        assert (operator.mul in {n.target for n in graph.nodes}) == (i == place)
