"""Models of every attention program of the standard library in half precision: the first
step of training under autocast, and whole models in it. Those whose sums over a thousand
tokens are out of float16's range, beside float64.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import pytest
import torch

import azc
from azc.mixing.convolution import CONV_KINDS
from tests.model.models import build, masks

PROGRAMS = sorted(azc.load("std.attention").attentions)
MIXERS = [*PROGRAMS, *(f"conv(kernel = 3, kind = {kind})" for kind in CONV_KINDS)]
DTYPES = [torch.float16, torch.bfloat16]
TOKENS = 40

torch.set_num_threads(1)


def model_of(mixer: str, **settings: Any) -> Any:
    """Two layers of it, fresh."""
    imports = f"from std.attention import {mixer}\n" if mixer in PROGRAMS else ""
    layers = f"{mixer}; {mixer}"
    given = {"hidden": 64, "heads": 4, "vocab": 90, **settings}
    return build(layers, attentions=imports, shaken=False, **given)


def batch() -> dict[str, torch.Tensor]:
    ids = torch.randint(90, (3, TOKENS), generator=torch.Generator().manual_seed(0))
    mask = masks([TOKENS, 31, 12], TOKENS, "right")
    return {"input_ids": ids, "attention_mask": mask}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("mixer", MIXERS)
def test_first_step_under_autocast(mixer: str, dtype: torch.dtype) -> None:
    model = model_of(mixer).train()
    given = batch()
    labels = given["input_ids"].masked_fill(~given["attention_mask"], -100)
    with torch.autocast("cpu", dtype):
        loss = model(**given, labels=labels).loss
    loss.backward()
    assert torch.isfinite(loss)
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name


# relu_attention divides what relu leaves by its own norm: where that is next to nothing,
# the rounding of one score decides the result.
SMOOTH = [mixer for mixer in MIXERS if mixer != "relu_attention"]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("mixer", SMOOTH)
def test_a_model_in_half_precision(mixer: str, dtype: torch.dtype) -> None:
    model, given = model_of(mixer).model, batch()
    with torch.no_grad():
        wanted = model(**given).last_hidden_state
        found = model.to(dtype)(**given).last_hidden_state
    assert found.dtype == dtype
    real = given["attention_mask"]
    # Rounded weights and some fifty rounded steps; entries are of size 1.
    tolerance = 0.02 if dtype == torch.float16 else 0.15
    assert float((found[real].float() - wanted[real]).abs().max()) < tolerance


# Sums over all tokens; whether in a decoder.
SUMS = [
    ("attention_free", False),
    ("efficient_attention", False),
    ("linear_attention", False),
    ("linear_attention", True),
    ("mean_mixing", True),
]
LONG = {"hidden": 64, "heads": 1, "max_length": 1200}
Gradients = Mapping[str, torch.Tensor]


def gradients(model: Any, ids: torch.Tensor, dtype: torch.dtype | None) -> Gradients:
    """Those of a step of training with a gradient scaler, under autocast or not."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler("cpu", enabled=dtype == torch.float16)
    context = nullcontext() if dtype is None else torch.autocast("cpu", dtype)
    with context:
        loss = model(input_ids=ids, labels=ids).loss
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    named = model.named_parameters()
    return {name: x.grad.double() for name, x in named if x.grad is not None}


@pytest.mark.parametrize(("mixer", "causal"), SUMS)
def test_a_thousand_tokens(mixer: str, causal: bool) -> None:
    """In float16, under autocast with and without a scaler, and in models in it."""
    task = "causal-lm" if causal else "masked-lm"
    model = model_of(mixer, causal=causal, task=task, **LONG)
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(90, (1, 1024), generator=random)
    wanted = gradients(copy.deepcopy(model).double(), ids, None)
    size = torch.cat([x.flatten() for x in wanted.values()]).norm()
    for half, dtype in ((False, torch.float16), (True, None), (False, torch.bfloat16)):
        made = copy.deepcopy(model)
        found = gradients(made.half() if half else made, ids, dtype)
        rounding = 2.0**-8 if dtype == torch.bfloat16 else 2.0**-11
        assert found.keys() == wanted.keys()
        for name, want in wanted.items():
            # Of two layers, each rounded some twenty times.
            assert float((found[name] - want).norm() / size) < 20 * rounding, name


@pytest.mark.parametrize(
    ("dtype", "cache"),
    [
        (torch.float16, "dynamic"),
        (torch.float16, "static"),
        (torch.bfloat16, "dynamic"),
    ],
    ids=str,
)
def test_a_decoder_writes_more_than_a_thousand_tokens(
    dtype: torch.dtype, cache: str
) -> None:
    """Its states go on where float16 ends, in caches of either kind."""
    model = model_of("linear_attention", causal=True, task="causal-lm", **LONG)
    half = copy.deepcopy(model).to(dtype)
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 90, (1, 1000), generator=random)
    found = half.generate(
        ids,
        max_new_tokens=100,
        do_sample=False,
        eos_token_id=None,
        cache_implementation=cache,
        output_logits=True,
        return_dict_in_generate=True,
    )
    assert found.sequences.shape == (1, 1100)
    with torch.no_grad():
        wanted = model.double()(found.sequences[:, :-1], logits_to_keep=100).logits
    gap = torch.stack(found.logits, 1).double() - wanted
    rounding = 2.0**-8 if dtype == torch.bfloat16 else 2.0**-11
    assert float(gap.abs().max() / wanted.abs().max()) < 20 * rounding
