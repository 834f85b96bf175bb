"""Models of every attention program of the standard library in half precision: the first
step of training under autocast, and whole models in it.
"""

from __future__ import annotations

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


def model_of(mixer: str) -> Any:
    """Two layers of it, fresh."""
    imports = f"from std.attention import {mixer}\n" if mixer in PROGRAMS else ""
    layers = f"{mixer}; {mixer}"
    return build(layers, attentions=imports, shaken=False, hidden=64, heads=4, vocab=90)


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
