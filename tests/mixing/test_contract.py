"""What every kind of convolution layer must fulfil, as layers of a model are compiled, and
what token mixings tell of themselves.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from azc.check.params import layer_parameters
from azc.check.program import ModelSpec
from azc.compare.cost import layer_flops
from azc.lower.builder import named
from azc.lower.explain import cache_size
from azc.lower.layer import Layer, compile_layer
from azc.lower.modules import OwnStart
from azc.lower.runtime import positions_of
from azc.mixing.contract import ConvKind, LayerSizes
from azc.mixing.convolution import CONV_KINDS, DEFAULT_KIND, ConvUse
from azc.model.memory import LayerMemory
from azc.search.genome import Genome
from azc.supernet.supernet import Supernet
from tests.model.models import build, check, places, shake

Array = NDArray[np.float64]

HIDDEN, N = 16, 11
KERNELS = (1, 3, 9)
ANYWHERE = torch.tensor(
    [[1] * N, [1] * 7 + [0] * 4, [0] * 5 + [1] * 6, [1, 0, 0, 1, 1, 0, 1, 1, 1, 0, 1]]
).bool()

every_kind = pytest.mark.parametrize("kind", CONV_KINDS.values(), ids=list(CONV_KINDS))
both_times = pytest.mark.parametrize("causal", [False, True], ids=["encoder", "causal"])


def text(kind: ConvKind, kernel: int = 3, **more: object) -> str:
    args = "".join(f", {name} = {value}" for name, value in more.items())
    return f"conv(kernel = {kernel}, kind = {kind.name}{args})"


def learned(
    kind: ConvKind, sizes: LayerSizes, kernel: int, seed: int = 0
) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    found = kind.learned(sizes, kernel)
    return {each.name: random.normal(size=each.shape) for each in found}


def module_of(
    kind: ConvKind, sizes: LayerSizes, kernel: int, weights: dict[str, Array]
) -> nn.Module:
    """The module in float64, with these weights."""
    module: nn.Module = named(kind.module)(sizes, kernel).double()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(torch.as_tensor(weights[name]).view(parameter.shape))
    return module


def of_model(layer: str, **settings: Any) -> tuple[ModelSpec, Layer]:
    """A layer in float64 whose feed-forward network adds nothing."""
    _, spec = check(layer, hidden=HIDDEN, residual="pre", norm="rms_norm", **settings)
    compiled = compile_layer(spec, spec.layers[0]).double().eval()
    shake(compiled)
    with torch.no_grad():
        for parameter in compiled.get_submodule("ffn.0.down").parameters():
            parameter.zero_()
    return spec, compiled


def tokens(batch: int = len(ANYWHERE)) -> torch.Tensor:
    random = torch.Generator().manual_seed(3)
    return torch.randn(batch, N, HIDDEN, generator=random, dtype=torch.float64)


# A row


@every_kind
def test_a_row_is_of_its_kind(kind: ConvKind) -> None:
    assert kind.name.isidentifier()
    assert kind.doc
    assert kind.source
    assert CONV_KINDS[kind.name] is kind
    for kernel in KERNELS:
        use = ConvUse(kernel, kind.name)
        _, spec = check(use.text)
        assert spec.layers[0].mixing == use
        assert ("kind" in use.text) == (kind.name != DEFAULT_KIND)


@every_kind
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_learned_parameters_are_those_of_the_module(kind: ConvKind, bias: bool) -> None:
    for kernel, heads in product(KERNELS, (1, 4)):
        sizes = LayerSizes(HIDDEN, heads, bias, False)
        module = named(kind.module)(sizes, kernel)
        found = {name: p.numel() for name, p in module.named_parameters()}
        rows = kind.learned(sizes, kernel)
        assert found == {each.name: math.prod(each.shape) for each in rows}
        assert all(len(each.shape) == len(each.cut) for each in rows)
        # Else they would start from the values that transformers gives.
        for part in module.modules():
            if any(True for _ in part.parameters(recurse=False)):
                assert isinstance(part, (OwnStart, nn.Linear))


@every_kind
def test_flops_grow(kind: ConvKind) -> None:
    def flops(hidden: int = 16, heads: int = 2, kernel: int = 3, n: int = 8) -> int:
        return kind.flops(LayerSizes(hidden, heads, True, False), kernel, n)

    assert flops() > 0
    assert flops(n=16) == 2 * flops()
    assert flops(hidden=32) > flops()
    assert flops(kernel=5) >= flops()
    assert flops(heads=4) >= flops()


@every_kind
def test_heads_mean_something_or_nothing(kind: ConvKind) -> None:
    """The key of a candidate leaves them out where they mean nothing."""
    few, many = (LayerSizes(HIDDEN, heads, True, False) for heads in (2, 8))
    x = tokens()
    same = kind.learned(few, 3) == kind.learned(many, 3)
    if same:
        weights = learned(kind, few, 3)
        one, two = (module_of(kind, sizes, 3, weights)(x) for sizes in (few, many))
        same = torch.equal(one, two)
    assert same is not kind.headed
    keys = set()
    for heads in (2, 8):
        program, _ = check(text(kind, heads=heads))
        keys.add(Genome(program, "m").key)
    assert len(keys) == 1 + kind.headed


# What is computed


def wanted(kind: ConvKind, spec: ModelSpec, layer: Layer, x: Array) -> Array:
    """A layer on one sequence without padding, in NumPy."""
    weights = {name: t.numpy() for name, t in layer.state_dict().items()}

    def linear(name: str, x: Array) -> Array:
        found = x @ weights[f"conv.{name}.weight"].T
        return np.asarray(found + weights.get(f"conv.{name}.bias", 0.0))

    power = (x**2).mean(-1, keepdims=True) + spec.norm_eps
    values, gates = np.split(
        linear("input", x / np.sqrt(power) * weights["norm.weight"]), 2, -1
    )
    sizes, mixing = spec.sizes(spec.layers[0]), spec.layers[0].mixing
    assert isinstance(mixing, ConvUse)
    own = {
        each.name: weights[f"conv.mix.{each.name}"].reshape(each.shape)
        for each in kind.learned(sizes, mixing.kernel)
    }
    given = values / (1 + np.exp(-gates))
    mixed = kind.reference(np, sizes, mixing.kernel, own, given)
    assert mixed.shape == given.shape
    return x + linear("output", mixed)


@both_times
@every_kind
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_layer_is_the_reference(kind: ConvKind, kernel: int, causal: bool) -> None:
    for heads, bias in ((2, True), (4, False)):
        layer_text = text(kind, kernel, heads=heads)
        spec, layer = of_model(layer_text, causal=causal, bias=bias)
        x = tokens()
        with torch.no_grad():
            found = layer(x, *places(ANYWHERE))
        for b, real in enumerate(ANYWHERE):
            expected = wanted(kind, spec, layer, x[b, real].numpy())
            np.testing.assert_allclose(found[b, real].numpy(), expected, atol=1e-11)


@both_times
@every_kind
def test_padding_is_never_seen(kind: ConvKind, causal: bool) -> None:
    for kernel in KERNELS:
        _, layer = of_model(text(kind, kernel), causal=causal)
        x = tokens()
        with torch.no_grad():
            before = layer(x, *places(ANYWHERE))
            for junk in (0.0, 1e9, -7.0):
                x[~ANYWHERE] = junk
                assert torch.equal(
                    layer(x, *places(ANYWHERE))[ANYWHERE], before[ANYWHERE]
                )


@both_times
@every_kind
def test_it_reaches_as_far_as_its_width(kind: ConvKind, causal: bool) -> None:
    """Each token in turn is moved, and others that move with it are counted."""
    for kernel in KERNELS:
        use = ConvUse(kernel, kind.name)
        _, layer = of_model(use.text, causal=causal)
        before, after = (use.reach, 0) if causal else (use.reach // 2, use.reach // 2)
        real = torch.ones(1, N, dtype=torch.bool)
        x = tokens(1)
        with torch.no_grad():
            found = layer(x, *places(real))
            for j in range(N):
                other = x.clone()
                other[0, j] += 1.0
                # Far below what it does where it is read, far above rounding.
                moved = (layer(other, *places(real)) - found).abs().amax(-1)[0] > 1e-12
                near = [i - before <= j <= i + after for i in range(N)]
                assert moved.tolist() == near


@every_kind
def test_a_decoder_keeps_what_it_reaches(kind: ConvKind) -> None:
    """Token by token it computes the same, and keeps what it is told to keep."""
    for kernel in KERNELS:
        spec, layer = of_model(text(kind, kernel), causal=True)
        x = tokens(2)
        memory, steps = LayerMemory(), []
        with torch.no_grad():
            whole = layer(x, None, positions_of(None, x), None)
            for n in range(1, N + 1):
                given = x[:, n - 1 : n], None, positions_of(None, x[:, :n]), None
                steps.append(layer(*given, memory))
                memory.advance(1)
        torch.testing.assert_close(torch.cat(steps, 1), whole, rtol=0, atol=1e-12)
        size = cache_size(spec, size=8)
        assert (size.each_token, size.grows) == (0, False)
        assert memory.bytes == len(x) * size.in_all


@every_kind
def test_every_parameter_learns(kind: ConvKind) -> None:
    _, layer = of_model(text(kind, 5))
    layer(tokens(), *places(ANYWHERE))[ANYWHERE].square().sum().backward()
    for name, parameter in layer.named_parameters():
        if name.startswith("conv."):
            assert parameter.grad is not None
            assert parameter.grad.isfinite().all()
            assert parameter.grad.abs().max() > 0, name


# Shared weights

LEARNED = [
    kind
    for kind in CONV_KINDS.values()
    if kind.learned(LayerSizes(HIDDEN, 2, True, False), 3)
]


@both_times
@pytest.mark.parametrize("kind", LEARNED, ids=lambda kind: kind.name)
def test_what_is_given_is_cut_from_the_widest(kind: ConvKind, causal: bool) -> None:
    """The widest does what the narrow one does, which was given its taps, once its other
    taps are such that they do nothing.
    """
    task = "causal-lm" if causal else "masked-lm"
    supernet, made = Supernet(), []
    for kernel in (9, 5):
        given: dict[str, Any] = {"layers": text(kind, kernel), "causal": causal}
        model, spec = build(task=task, **given), check(**given)[1]
        if made:
            supernet.give(model, spec)
        else:
            supernet.take(model, spec)
        made.append(model.model.encoder.layers[0].conv.mix.double())
    wide, narrow = made
    rows = kind.learned(spec.sizes(spec.layers[0]), 9)
    kept = {name: parameter.clone() for name, parameter in wide.named_parameters()}
    x = tokens()
    # A softmax leaves out −1e9, a sum 0.
    for fills in product((0.0, -1e9), repeat=len(rows)):
        with torch.no_grad():
            for row, fill in zip(rows, fills, strict=True):
                old = kept[row.name].view(row.shape)
                full = wide.get_parameter(row.name).view(row.shape).fill_(fill)
                place = row.cut.index("taps"), 4 if causal else 2, 5
                full.narrow(*place).copy_(old.narrow(*place))
            if torch.allclose(wide(x), narrow(x), rtol=0, atol=1e-12):
                return
    raise AssertionError("no values of the other taps take them out")


# What all mixings tell

BRANCHES = ("attention.", "conv.")


@pytest.mark.parametrize(
    "layer", ["sdpa", "primer", "linear", *map(text, CONV_KINDS.values())]
)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_what_a_mixing_tells_is_what_is_compiled(layer: str, bias: bool) -> None:
    _, spec = check(layer, bias=bias, activation="swiglu")
    mixing = spec.layers[0].mixing
    compiled = compile_layer(spec, spec.layers[0])
    assert mixing.text == layer.replace(f", kind = {DEFAULT_KIND}", "")
    maps = {
        name: (module.in_features, module.out_features)
        for name, module in compiled.named_modules()
        if isinstance(module, nn.Linear)
        and name.startswith(BRANCHES)
        and not name.startswith("conv.mix.")
    }
    assert sorted(maps.values()) == sorted(mixing.linears(spec.hidden))
    between = sum(
        parameter.numel()
        for name, parameter in compiled.named_parameters()
        if name.startswith(BRANCHES) and name.rpartition(".")[0] not in maps
    )
    assert between == mixing.own_parameters(spec.sizes(spec.layers[0]))
    total = sum(p.numel() for p in compiled.parameters())
    assert layer_parameters(spec, spec.layers[0]) == total
    flops = [layer_flops(spec, spec.layers[0], n) for n in (0, 8, 16)]
    assert 0 == flops[0] < flops[1] < flops[2]
    assert mixing.features
