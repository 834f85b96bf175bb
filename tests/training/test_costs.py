"""What is measured of a model on a device."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import nn

from azc.search.score import build_candidate
from azc.training.costs import latency, peak_memory, steady
from tests.runs import DECODER

CPU = torch.device("cpu")


@pytest.mark.parametrize("seed", range(20))
def test_noise_that_only_adds_does_not_show(seed: int) -> None:
    """Calls that are held up, single ones and a machine that is busy for a while."""
    rng = random.Random(seed)
    begin = rng.randrange(60)
    busy = range(begin, begin + 18)
    calls = iter(range(10_000))

    def sample() -> float:
        call = next(calls)
        if call < 3:
            return 90.0  # not warm yet
        held_up = 50.0 if rng.random() < 0.1 else 0.0
        return 10.0 + rng.random() * 0.05 + held_up + 4.0 * (call in busy)

    assert 10.0 <= steady(sample) <= 10.05


def test_what_never_agrees_ends_too() -> None:
    grows = iter(range(10_000))
    assert steady(lambda: 2.0 ** next(grows)) == 2.0**7  # the median of the first nine


def test_a_decoder_keeps_nothing_while_it_is_measured() -> None:
    """The time is that of the pass, not of a cache that nobody reads."""
    model, _ = build_candidate(DECODER, "start", 0)
    model.config.use_cache = True
    kept: list[Any] = []
    model.register_forward_hook(
        lambda module, args, output: kept.append(output.past_key_values)
    )
    assert latency(model, (2, 8), CPU) > 0
    assert set(kept) == {None}
    with torch.no_grad():
        model(input_ids=torch.zeros(2, 8, dtype=torch.long))
    assert kept[-1] is not None


class Tokens(nn.Module):
    """Embeds, multiplies by a matrix, and sums: few tensors, all known."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = nn.Parameter(torch.ones(4, width))
        self.config = type("Config", (), {"vocab_size": 4})()

    def forward(self, input_ids: torch.Tensor, labels: Any = None) -> Any:
        rows = self.embed[input_ids]
        return type("Output", (), {"loss": (rows * 2.0).sum()})()


def test_peak_memory_is_that_of_the_tensors_alive() -> None:
    width, tokens = 1024, 64
    weight, rows = 4 * width * 4, tokens * width * 4
    found = peak_memory(Tokens(width), (4, 16), CPU) * 2**20
    # At least the rows and twice them; at most those, their gradients and the weight's.
    assert weight + 2 * rows <= found <= 2 * weight + 4 * rows + 4096
    again = peak_memory(Tokens(width), (4, 16), CPU) * 2**20
    assert again == found
    twice = peak_memory(Tokens(width), (8, 16), CPU) * 2**20
    assert twice - found == pytest.approx(found - weight, rel=0.05)


def test_latency_leaves_the_weights_as_they_are() -> None:
    model = Tokens(8)
    assert latency(model, (2, 4), CPU) > 0
    assert model.embed.grad is None
    assert torch.equal(model.embed, torch.ones(4, 8))
