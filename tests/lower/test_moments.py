"""States that are carried from token to token: sums, maxima, means weighted by a softmax.

Beside the token by token reference, and a dense formula for gradients; with chunks of few
moments, which the lengths here would not need.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch.utils.flop_counter import FlopCounterMode

import azc
from azc.lower import chunkwise, moments, softmaxes

Tensor = torch.Tensor

STATES = {
    "sum": "return q * sum(k.T).T",
    "mean": "return q * mean(k.T * v.T).T",
    "max": "return q * amax(k.T).T",
    "products": "return q @ (k.T @ v)",
    "products with a sum": "return v * (q @ sum(k.T))",
    "made products": "return softmax(q) @ exp(-abs(k.T @ v))",
    "weighted products": "return softmax(q) @ (softmax(k.T) @ v)",
    "weighted rows": "return q * sum(softmax(k.T) * v.T).T",
    "weights behind": "return q * sum(v.T * softmax(-k.T)).T",
    "read twice": "a = softmax(k.T)\n return q @ (a @ v) + q * sum(a * v.T).T + v @ a @ q",
    "by one row": "return q @ (softmax(sum(k).T) @ v).T * q",
}
MASKS = {
    "none": None,
    "left": [0] * 3 + [1] * 9,
    "right": [1] * 7 + [0] * 5,
    "holes": [0, 1, 0, 0, 1, 1, 1, 0, 0, 0, 1, 0],
    "alone": [0] * 12,
}
# Rows by which the scale of a softmax jumps, up and down.
SIZES = {"small": 1.0, "large": 200.0}


def program(body: str) -> Any:
    return azc.loads(f"attention a(q, k, v) {{\n {body}\n}}\n")


def inputs(size: float = 1.0, tokens: int = 12) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    shape = (2, 2, tokens, 4)
    found = {
        name: torch.randn(shape, generator=generator, dtype=torch.float64)
        for name in ("q", "k", "v")
    }
    found["k"] *= size
    return found


@pytest.fixture(autouse=True)
def _few_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most 5 at a time, in chunks of 4."""
    monkeypatch.setattr(chunkwise, "CHUNK", 4)
    monkeypatch.setattr(softmaxes, "CHUNK", 4)
    monkeypatch.setattr(moments, "ROWS", 5)
    monkeypatch.setattr(moments, "ENTRIES", 2 * 2 * 4 * 4 * 3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("padding", MASKS)
@pytest.mark.parametrize("state", STATES)
def test_as_token_by_token(
    state: str, padding: str, size: str, dtype: torch.dtype
) -> None:
    made = program(STATES[state])
    function = azc.compile_attention(made, causal=True).to(dtype)
    reference = azc.interpret_attention(made, causal=True)
    given = inputs(SIZES[size])
    mask = torch.ones(2, 12, dtype=torch.bool)
    if (row := MASKS[padding]) is not None:
        mask[1] = torch.tensor(row).bool()
    junk = {n: torch.where(mask[:, None, :, None], x, 7.0) for n, x in given.items()}
    with torch.no_grad():
        found = function(**{n: x.to(dtype) for n, x in junk.items()}, mask=mask)
    names = [n for n in given if n in made.attentions["a"].params]
    for b in range(2):
        real = mask[b]
        if not real.any():
            continue
        for h in range(2):
            rows = {n: given[n][b, h, real].numpy() for n in names}
            wanted = reference(head=h, heads=2, **rows)
            close = 1e-12 if dtype is torch.float64 else 2e-5 * SIZES[size]
            scale = np.abs(wanted).max()
            gap = np.abs(found[b, h, real].double().numpy() - wanted).max()
            assert gap <= close * scale
    assert not found[~mask[:, None, :].expand(2, 2, 12)].any()


@pytest.mark.parametrize("outer", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_gradients_of_weighted_means(size: str, outer: bool) -> None:
    state = "weighted products" if outer else "weighted rows"
    function = azc.compile_attention(program(STATES[state]), causal=True).double()
    given = {n: x.requires_grad_() for n, x in inputs(SIZES[size]).items()}

    def dense(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        seen = torch.ones(12, 12, dtype=torch.bool).tril()
        rows = k.unsqueeze(2).expand(2, 2, 12, 12, 4)  # [B, H, t, j, f]
        weights = rows.masked_fill(~seen[:, :, None], -torch.inf).softmax(3)
        if outer:
            means = torch.einsum("bhtjf, bhjc -> bhtfc", weights, v)
            return torch.einsum("bhtf, bhtfc -> bhtc", q.softmax(-1), means)
        return q * torch.einsum("bhtjf, bhjf -> bhtf", weights, v)

    up = torch.randn(2, 2, 12, 4, dtype=torch.float64)
    found, wanted = (
        torch.autograd.grad((each(**given) * up).sum(), list(given.values()))
        for each in (function, dense)
    )
    for mine, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("state", STATES)
def test_a_prefix_does_not_know_what_follows(state: str) -> None:
    """To the last bit, though a later row raises the scale of a softmax by thousands."""
    function = azc.compile_attention(program(STATES[state]), causal=True)
    given = {n: x.float() for n, x in inputs().items()}
    with torch.no_grad():
        before = function(**given)
        for x in given.values():
            x[:, :, 7:] = 1e4
        after = function(**given)
    assert torch.equal(before[:, :, :7], after[:, :, :7])


@pytest.mark.parametrize(
    "state", ["products", "made products", "weighted products", "by one row"]
)
def test_work_grows_with_the_tokens(
    state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moments, "ENTRIES", 2**23)
    function = azc.compile_attention(program(STATES[state]), causal=True)

    def operations(tokens: int) -> int:
        given = {n: x.float() for n, x in inputs(tokens=tokens).items()}
        with FlopCounterMode(display=False) as counter:
            function(**given)
        return counter.get_total_flops()

    # The first moments have nothing before them.
    assert 0 < operations(240) <= 4.1 * operations(60)


EVERY_KIND = ["mean", "max", "products", "weighted products", "weighted rows"]


class Every(nn.Module):
    """Programs side by side: `forward(rows, mask)` gives the result of each."""

    def __init__(self) -> None:
        super().__init__()
        self.made = nn.ModuleList()
        self.params = []
        for state in EVERY_KIND:
            made = program(STATES[state])
            self.params.append(made.attentions["a"].params)
            self.made.append(azc.compile_attention(made, causal=True))

    def forward(self, rows: dict[str, Tensor], mask: Tensor) -> tuple[Tensor, ...]:
        return tuple(
            made(**{name: rows[name] for name in params}, mask=mask)
            for made, params in zip(self.made, self.params, strict=True)
        )


def padded(tokens: int) -> dict[str, Any]:
    """Rows, of which a first one and one in the middle are of padding."""
    mask = torch.ones(2, tokens, dtype=torch.bool)
    mask[0, : tokens // 4] = False
    mask[1, tokens // 2 : -1] = False
    return {"rows": inputs(tokens=tokens), "mask": mask}


def test_one_graph_for_all_lengths() -> None:
    """What `torch.compile` makes of every kind of state, and the gradients."""
    model = Every()
    torch._dynamo.reset()
    counter = CompileCounter()
    run = torch.compile(model, fullgraph=True, dynamic=True, backend=counter)
    for tokens in (12, 7, 2):
        given = padded(tokens)
        leaves = [x.requires_grad_() for x in given["rows"].values()]
        results = []
        for each in (run, model):
            found = torch.stack(each(**given))
            up = torch.linspace(-1.0, 1.0, found.numel(), dtype=found.dtype)
            grads = torch.autograd.grad((found * up.view_as(found)).sum(), leaves)
            results.append((found, *grads))
        for one, two in zip(*results, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-11, atol=1e-12)
    assert counter.frame_count == 1


def test_one_export_for_all_lengths() -> None:
    model, given = Every(), padded(12)
    tokens = torch.export.Dim("tokens", max=99)
    shapes = {"rows": {name: {2: tokens} for name in "qkv"}, "mask": {1: tokens}}
    made = torch.export.export(model, (), given, dynamic_shapes=shapes).module()
    for length in (12, 1, 5, 33):
        given = padded(length)
        for one, two in zip(made(**given), model(**given), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-11, atol=1e-12)
