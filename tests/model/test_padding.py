"""Padding is absent, wherever it stands and whatever it holds."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.model.models import LAYOUTS, build, masks

LENGTHS = [7, 1, 12, 4]
TOKENS = 13

CASES: dict[str, dict[str, Any]] = {
    "bert": {"layers": "sdpa; sdpa"},
    "windowed": {"layers": "windowed; windowed"},
    "alibi": {"layers": "alibi_keys; alibi_keys", "positions": "none"},
    "rope": {"layers": "turned; turned(heads = 4)", "positions": "none"},
    "conv_ops": {"layers": "primer; primer", "positions": "sinusoidal"},
    "linear": {"layers": "linear; distances", "residual": "pre"},
    "light": {"layers": "conv(kernel = 5); sdpa; conv(kernel = 1)"},
    "light_long": {"layers": "conv(kernel = 3, heads = 4); conv(kernel = 3)"},
    "dynamic": {"layers": "conv(kernel = 5, kind = dynamic); sdpa", "residual": "pre"},
    "depthwise": {"layers": "conv(kernel = 9, kind = depthwise); turned"},
    "wide": {"layers": "conv(kernel = 65); conv(kernel = 31, kind = depthwise)"},
    "none_pre": {
        "layers": "windowed; primer; conv(kernel = 3, kind = dynamic)",
        "positions": "none",
        "residual": "pre",
        "norm": "rms_norm",
        "token_types": 0,
    },
    "no_bias": {
        "layers": "distances; conv(kernel = 3); alibi_keys",
        "positions": "none",
        "bias": False,
        "activation": "swiglu",
        "ffn": "[8, 12]",
    },
}


@pytest.fixture(scope="module", params=CASES)
def model(request: pytest.FixtureRequest) -> Any:
    return build(**CASES[request.param])


def ids_in(
    mask: torch.Tensor, seed: int = 3, padding: int | None = None
) -> torch.Tensor:
    """The same real tokens in any layout; padding holds one token or random ones."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 50, mask.shape, generator=generator)
    if padding is not None:
        ids = torch.full_like(ids, padding)
    real = torch.Generator().manual_seed(0)
    for row, keep in zip(ids, mask, strict=True):
        row[keep] = torch.randint(0, 50, (TOKENS,), generator=real)[: int(keep.sum())]
    return ids


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_padded_sequence_is_what_it_is_alone(model: Any, layout: str) -> None:
    mask = masks(LENGTHS, TOKENS, layout)
    ids = ids_in(mask)
    types = torch.randint(0, max(model.config.type_vocab_size, 1), mask.shape)
    for dtype, tolerance in ((torch.float64, 1e-11), (torch.float32, 3e-4)):
        model.to(dtype)
        with torch.no_grad():
            both = model(ids, attention_mask=mask, token_type_ids=types)
            for i, keep in enumerate(mask):
                alone = model(ids[i, keep][None], token_type_ids=types[i, keep][None])
                torch.testing.assert_close(
                    both.logits[i, keep], alone.logits[0], rtol=0, atol=tolerance
                )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_hidden_states_too(model: Any, layout: str) -> None:
    mask = masks(LENGTHS, TOKENS, layout)
    ids = ids_in(mask)
    model.double()
    with torch.no_grad():
        both = model(ids, attention_mask=mask, output_hidden_states=True).hidden_states
        for i, keep in enumerate(mask):
            alone = model(ids[i, keep][None], output_hidden_states=True).hidden_states
            assert len(both) == len(alone) == model.config.num_hidden_layers + 1
            for one, other in zip(both, alone, strict=True):
                torch.testing.assert_close(one[i, keep], other[0], rtol=0, atol=1e-11)
                assert one.isfinite().all()


def gradients(model: Any, mask: torch.Tensor, **inputs: Any) -> dict[str, torch.Tensor]:
    """Of a loss on the real tokens alone."""
    model.zero_grad()
    logits = model(attention_mask=mask, **inputs).logits
    logits[mask].square().mean().backward()
    found = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert all(grad.isfinite().all() for grad in found.values())
    return {"logits": logits[mask].detach(), **found}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_of_the_padding_tokens_comes_through(model: Any, layout: str) -> None:
    model.float()
    mask = masks(LENGTHS, TOKENS, layout)
    types = torch.zeros_like(mask, dtype=torch.long)
    ids = ids_in(mask, padding=0)
    first = gradients(model, mask, input_ids=ids, token_type_ids=types)
    for padding in (7, None):
        ids = ids_in(mask, padding=padding)
        types = torch.where(mask, 0, max(model.config.type_vocab_size - 1, 0))
        assert_same(gradients(model, mask, input_ids=ids, token_type_ids=types), first)


@pytest.mark.parametrize("junk", [float("nan"), float("inf"), -float("inf"), 1e38])
def test_padding_may_hold_what_is_no_number(model: Any, junk: float) -> None:
    model.float()
    mask = masks(LENGTHS, TOKENS, "holes")
    embeds = torch.randn(*mask.shape, 16, generator=torch.Generator().manual_seed(4))
    clean = embeds.masked_fill(~mask[:, :, None], 0.0).requires_grad_()
    dirty = embeds.masked_fill(~mask[:, :, None], junk).requires_grad_()
    first = gradients(model, mask, inputs_embeds=clean)
    assert_same(gradients(model, mask, inputs_embeds=dirty), first)
    assert clean.grad is not None
    assert dirty.grad is not None
    assert torch.equal(clean.grad, dirty.grad)
    assert not dirty.grad[~mask].any()


def test_a_sequence_of_padding_alone_does_no_harm(model: Any) -> None:
    model.double()
    mask = masks([7, 0, 12, 0, 4], TOKENS, "left")
    ids = ids_in(mask)
    kept = torch.tensor([0, 2, 4])
    with_it = gradients(model, mask, input_ids=ids)
    without = gradients(model, mask[kept], input_ids=ids[kept])
    for name, tensor in with_it.items():
        torch.testing.assert_close(tensor, without[name], rtol=0, atol=1e-11)
    model.float()
    output = model(ids, attention_mask=mask, output_hidden_states=True)
    assert output.logits.isfinite().all()
    nothing = torch.zeros_like(mask)
    output = model(ids, attention_mask=nothing, labels=ids)
    output.loss.backward()
    assert output.logits.isfinite().all()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(grad.isfinite().all() for grad in grads)


def test_ones_for_a_mask_change_nothing(model: Any) -> None:
    model.double()
    ids = torch.randint(0, 50, (2, 9))
    ones = torch.ones(2, 9, dtype=torch.long)
    with torch.no_grad():
        plain, masked = model(ids).logits, model(ids, attention_mask=ones).logits
    torch.testing.assert_close(plain, masked, rtol=0, atol=1e-12)


# Programs that are finite at real tokens, and were not where padding held zeros.
FRAIL = """
attention inverse_keys(q, k, v) {
    return softmax(scale(tanh(q @ reciprocal(k).T))) @ v
}
attention roots(q, k, v) {
    return softmax(scale(sqrt(abs(q)) @ k.T)) @ sqrt(abs(v))
}
attention logs(q, k, v) {
    return softmax(scale(log(abs(q)) @ log(abs(k)).T)) @ (v / q)
}
attention sdpa(q, k, v) {
    return softmax(scale(q @ k.T)) @ v
}
"""


@pytest.mark.parametrize("layers", ["inverse_keys", "roots", "logs; sdpa; roots"])
@pytest.mark.parametrize("positions", ["none", "learned"])
@pytest.mark.parametrize("residual", ["pre", "post"])
def test_padding_does_not_break_frail_programs(
    layers: str, positions: str, residual: str
) -> None:
    model = build(
        layers,
        shaken=False,
        attentions=FRAIL,
        positions=positions,
        residual=residual,
        token_types=0,
    )
    mask = masks([7, 0, 12, 4], TOKENS, "holes")
    gradients(model, mask, input_ids=ids_in(mask))
