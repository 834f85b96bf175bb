"""Models of random programs, and what they are compared by.

All in float64. Where two ways to compute the same differ by more than rounding may, one of
them is run again with every weight off by a little: only if it moves too is the difference
forgiven, and that must be rare.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from azc.check.resolve import check_source
from azc.mixing.convolution import CONV_KINDS
from azc.model.tasks import Task, build_model
from azc.source import Source
from tests.model.models import SETTINGS, text_of
from tests.programs import programs

__all__ = [
    "CLOSE",
    "EXAMPLES",
    "VOCAB",
    "Case",
    "cases",
    "compare",
    "counted",
    "distance",
    "models",
    "real_tokens",
]

EXAMPLES = int(os.environ.get("AZC_EXAMPLES", "60"))  # 2,000 take an hour
VOCAB = int(SETTINGS["vocab"])
CLOSE = 1e-8

Tensor = torch.Tensor


@dataclass
class Case:
    """A model in float64 and a batch for it; every sequence has a real token."""

    text: str
    model: Any
    ids: Tensor
    mask: Tensor
    number: int

    def full(self) -> Tensor:
        """Hidden states [B, N, C] of one pass."""
        return self.run(self.ids, self.mask)

    def run(self, ids: Tensor, mask: Tensor | None = None, **more: Any) -> Tensor:
        return self.output(ids, mask, **more).hidden_states[-1]

    def output(self, ids: Tensor, mask: Tensor | None = None, **more: Any) -> Any:
        with torch.no_grad():
            return self.model(
                ids, attention_mask=mask, output_hidden_states=True, **more
            )

    def moved(self, pass_: Callable[[], Tensor]) -> float:
        """How far a pass moves with weights that are off by a relative 1e-12."""
        before = pass_()
        kept = [p.detach().clone() for p in self.model.parameters()]
        far = 0.0
        for seed, size in product(range(4), (1e-12, 1e-13)):
            random = torch.Generator().manual_seed(seed)
            with torch.no_grad():
                for p, old in zip(self.model.parameters(), kept, strict=True):
                    noise = torch.rand(p.shape, generator=random, dtype=p.dtype)
                    p.copy_(old * (1 + size * (2 * noise - 1)))
            far = max(far, distance(pass_(), before))
        with torch.no_grad():
            for p, old in zip(self.model.parameters(), kept, strict=True):
                p.copy_(old)
        return far


def distance(found: Tensor, wanted: Tensor) -> float:
    """The largest difference, relative to the largest entry wanted."""
    gap = float((found - wanted).abs().max())
    scale = float(wanted.abs().max())
    return gap / scale if np.isfinite(gap) and scale else float("inf") * (gap > 0)


# Programs that look a little back alone.
NEAR = """
attention near_{n}(q, k, v) {{
    return softmax(window(scale(q @ k.T), radius = {r})) @ v
}}
attention biased_{n}(q, k, v) {{
    return softmax(alibi(window(q @ k.T, radius = {r}))) @ conv(v, kernel = {k})
}}
attention bands_{n}(q, k, v) {{
    s = window(cosine(q, k), radius = {r}) + sum(k).T
    return softmax(window(s, radius = 2)) @ v + relu(alibi(s)) @ rope(q)
}}
attention means_{n}(q, k, v) {{
    s = window(rope(q) @ rope(k).T, radius = {r})
    return mean(s) * conv(v, kernel = {k}) + amax(s) * conv(conv(k, kernel = {k}), kernel = 3)
}}
"""
NEARBY = "".join(NEAR.format(n=n, r=n, k=2 * n + 1) for n in range(4))


def mixings(draw: st.DrawFn) -> str:
    """A layer: the random program mostly, one that looks a little back, a convolution of
    each kind.
    """
    how = draw(st.sampled_from(["program", "near", "near", "conv"]))
    if how == "near":
        name = draw(st.sampled_from(["near", "biased", "bands", "means"]))
        return f"{name}_{draw(st.integers(0, 3))}"
    if how == "program":
        return "program"
    kind = draw(st.sampled_from(list(CONV_KINDS)))
    return f"conv(kernel = {draw(st.sampled_from([1, 3, 5, 9]))}, kind = {kind})"


@st.composite
def models(
    draw: st.DrawFn, causal: bool = True, task: Task | None = None
) -> tuple[str, Any]:
    """A decoder, or an encoder, of one or two layers, with random weights."""
    program = draw(programs(causal=causal)) + NEARBY
    layers = ["program", *(mixings(draw) for _ in range(draw(st.integers(0, 1))))]
    heads = draw(st.sampled_from([1, 2]))
    text = text_of(
        ";".join(draw(st.permutations(layers))),
        attentions=program,
        hidden=heads * draw(st.sampled_from([1, 3, 4])),
        heads=heads,
        ffn=5,
        causal=causal,
        residual=draw(st.sampled_from(["pre", "post"])),
        positions=draw(st.sampled_from(["learned", "sinusoidal", "none"])),
        token_types=draw(st.sampled_from([0, 2])),
    )
    checked = check_source(Source("test.azg", text))
    model = build_model(checked, "m", task, num_labels=3).double().eval()
    random = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    with torch.no_grad():
        for parameter in model.parameters():
            shape = parameter.shape
            parameter.copy_(0.7 * torch.randn(shape, generator=random))
    if draw(st.booleans()):
        model.set_attn_implementation("eager")
    return text, model


def real_tokens(draw: st.DrawFn, tokens: int) -> list[int]:
    """1 at real tokens, one at least: padding right, left, in holes, or none."""
    count = draw(st.integers(1, tokens))
    row = [1] * count + [0] * (tokens - count)
    how = draw(st.sampled_from(["right", "left", "holes", "none"]))
    if how == "none":
        return [1] * tokens
    if how == "holes":
        return list(draw(st.permutations(row)))
    return row if how == "right" else row[::-1]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    text, model = draw(models())
    tokens, batch = draw(st.integers(1, 8)), draw(st.integers(1, 3))
    mask = torch.tensor([real_tokens(draw, tokens) for _ in range(batch)])
    number = draw(st.integers(0, 2**31))
    random = torch.Generator().manual_seed(number)
    ids = torch.randint(0, VOCAB, (batch, tokens), generator=random)
    return Case(text, model, ids, mask, number)


def counted(made: Any, check: Any, examples: int = EXAMPLES) -> Counter[str]:
    """Checks so many examples, and counts what was compared."""
    count: Counter[str] = Counter()

    # Without shrinking: each example is a compilation, and programs are small anyway.
    @settings(
        max_examples=examples, derandomize=True, phases=(Phase.explicit, Phase.generate)
    )
    @given(made)
    def agree(drawn: Any) -> None:
        check(drawn, count)

    agree()
    print(dict(count))
    assert count["compared"] > examples / 4
    assert 2 * count["compared"] > count["not finite"]
    assert count["forgiven"] <= 0.02 * count["compared"] + 1
    return count


def compare(
    case: Case,
    found: Tensor,
    wanted: Tensor,
    again: Callable[[], Tensor],
    count: Counter[str],
) -> None:
    """`again` computes what is wanted once more."""
    if not bool(wanted.isfinite().all()):
        count["not finite"] += 1
        return
    count["compared"] += 1
    if distance(found, wanted) > CLOSE:
        assert case.moved(again) > CLOSE / 10
        count["forgiven"] += 1
