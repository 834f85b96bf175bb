"""Decoders of random programs: pieces with a cache and reordered caches give what the full
pass and computing anew give.

All in float64. Where the two differ by more than rounding may, the full pass is run again
with every weight off by a little: only if it moves too is the difference forgiven, and
that must be rare.
"""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import strategies as st

from azc.check.program import AttentionUse
from azc.ir.build import build_graph
from azc.ir.run import Interpreter
from azc.model.cache import AzcCache
from azc.model.config import spec_of
from tests.model.models import build
from tests.model.random_models import (
    CLOSE,
    VOCAB,
    Case,
    cases,
    compare,
    counted,
    distance,
)

Tensor = torch.Tensor
pytestmark = pytest.mark.usefixtures("short_chunks")


# Pieces


@st.composite
def splits(draw: st.DrawFn, tokens: int) -> list[int]:
    """The lengths of pieces: a piece each token, one piece, or what comes."""
    how = draw(st.sampled_from(["tokens", "first", "any"]))
    if how == "tokens":
        return [1] * tokens
    if how == "first":  # a prompt, and then steps
        first = draw(st.integers(1, tokens))
        return [first] + [1] * (tokens - first)
    found: list[int] = []
    while sum(found) < tokens:
        found.append(draw(st.integers(1, tokens - sum(found))))
    return found


@st.composite
def pieces(draw: st.DrawFn) -> tuple[Case, list[int], Any]:
    """A case, lengths of pieces, and the cache to begin with; None: a new one."""
    case = draw(cases())
    tokens = case.ids.shape[1]
    return case, draw(splits(tokens)), draw(caches(case, tokens))


@st.composite
def caches(draw: st.DrawFn, case: Case, tokens: int) -> Any:
    """None, or an empty cache for so many tokens, with or without places to spare."""
    if draw(st.booleans()):
        return None
    size = tokens + draw(st.integers(0, 3))
    return AzcCache(case.model.config.num_hidden_layers, max_cache_len=size)


def in_pieces(case: Case, lengths: list[int], cache: Any = None) -> tuple[Tensor, Any]:
    """Hidden states [B, N, C] of pieces, and the cache after them."""
    found, start = [], 0 if cache is None else cache.get_seq_length()
    padded = not bool(case.mask.all())
    for length in lengths:
        stop = start + length
        mask = case.mask[:, :stop] if padded or length % 2 else None
        if cache is not None and cache.slots is not None and start % 2:
            free = cache.slots.size - stop  # what it says of these has no say
            mask = None if mask is None else F.pad(mask, (0, free), value=start % 3)
        output = case.output(
            case.ids[:, start:stop], mask, past_key_values=cache, use_cache=True
        )
        cache, start = output.past_key_values, stop
        assert cache.get_seq_length() == stop
        found.append(output.hidden_states[-1])
    return torch.cat(found, 1), cache


def test_pieces_with_a_cache_give_the_full_pass() -> None:
    def check(drawn: tuple[Case, list[int], Any], count: Counter[str]) -> None:
        case, lengths, cache = drawn
        wanted = case.full()
        found, _ = in_pieces(case, lengths, cache)
        for b, real in enumerate(case.mask.bool()):

            def again(b: int = b, real: Tensor = real) -> Tensor:
                return case.full()[b, real]

            compare(case, found[b, real], wanted[b, real], again, count)

    counted(pieces(), check)


# Of values that a mask has made 0 in padding before they are kept.
CLEARED = {
    "convolution": "conv(square(sigmoid(k)), kernel = 3)",
    "scores": "relu(q @ square(sigmoid(k)).T) @ square(sigmoid(v))",
    "softmax": "softmax(q @ square(sigmoid(k)).T) @ square(sigmoid(v))",
    "sum": "q @ (square(sigmoid(k)).T @ square(sigmoid(v)))",
    "snapshot": "q @ (tanh(softmax(k.T)) @ square(sigmoid(v)))",
}


@pytest.mark.parametrize("lengths", [[4, 4], [2, 1, 3, 2], [1] * 8])
@pytest.mark.parametrize("name", CLEARED)
def test_padding_that_fills_a_whole_piece(name: str, lengths: list[int]) -> None:
    attention = f"attention own(q, k, v) {{\n    return {CLEARED[name]}\n}}\n"
    model: Any = build("own; own", "causal-lm", attentions=attention, causal=True)
    model = model.double().eval()
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():  # a convolution begins as the identity
        for parameter in model.parameters():
            parameter.normal_(std=0.5, generator=random)
    ids = torch.randint(0, VOCAB, (3, 8), generator=random)
    mask = torch.ones_like(ids)
    mask[1, :4], mask[2, :6] = 0, 0
    case = Case("", model, ids, mask, 0)
    wanted = case.full()
    for cache in (None, AzcCache(2, max_cache_len=9)):
        found, _ = in_pieces(case, lengths, cache)
        gap = found[mask > 0] - wanted[mask > 0]
        assert gap.abs().max() < 1e-9


def test_a_sequence_gives_what_it_gives_alone() -> None:
    def check(case: Case, count: Counter[str]) -> None:
        found = case.full()
        for b, real in enumerate(case.mask.bool()):
            mine = case.ids[b : b + 1, real]

            def again(mine: Tensor = mine) -> Tensor:
                return case.run(mine)[0]

            compare(case, found[b, real], again(), again, count)

    counted(cases(), check)


# A cache that is changed

CHANGES = ["reorder", "repeat", "select", "crop", "record", "reset"]


def splits_of(number: int, tokens: int) -> list[int]:
    """Lengths of pieces that a number tells."""
    first = 1 + number % tokens
    return [first] + [1] * (tokens - first)


def test_a_changed_cache_is_that_of_the_changed_batch() -> None:
    """Beams: sequences of a cache in another order, repeated, chosen, forgotten, and
    tokens taken back, and what follows then.
    """

    @st.composite
    def changes(draw: st.DrawFn) -> tuple[Case, int, str, list[int], Any]:
        case = draw(cases().filter(lambda case: case.ids.shape[1] > 1))
        batch, tokens = case.ids.shape
        kind = draw(st.sampled_from(CHANGES))
        index = draw(st.lists(st.integers(0, batch - 1), min_size=batch, max_size=4))
        empty = draw(caches(case, tokens))
        return case, draw(st.integers(1, tokens - 1)), kind, index, empty

    def check(
        drawn: tuple[Case, int, str, list[int], Any], count: Counter[str]
    ) -> None:
        case, cut, kind, index, empty = drawn
        tokens = case.ids.shape[1]
        _, cache = in_pieces(case, [cut], empty)
        rows, first = torch.arange(len(case.ids)), cut
        match kind:
            case "reorder":
                rows = torch.tensor(index[: len(rows)])
                cache.reorder_cache(rows)
            case "repeat":
                rows = rows.repeat_interleave(2)
                cache.batch_repeat_interleave(2)
            case "select":
                rows = torch.tensor(index)
                cache.batch_select_indices(rows)
            case "record" | "crop" if empty is not None:
                with pytest.raises(ValueError, match="from a cache of a fixed size"):
                    cache.activate_past_recording()
                with pytest.raises(ValueError, match="from a cache of a fixed size"):
                    cache.crop(-1)
                cache.crop(0)
            case "record" if cut > 1 and not case.model.model.sums:
                start = 1 + case.number % (cut - 1)
                _, cache = in_pieces(case, [start])
                cache.activate_past_recording()
                in_pieces(case, splits_of(case.number, cut - start), cache)
                gone = case.number % (cut - start + 1)
                cache.crop(-gone)
                first = cut - gone
            case "crop" if cache.is_croppable:
                gone = 1 + case.number % cut
                cache.crop(-gone)
                first = cut - gone
            case "record" if cut == 1:
                cache.activate_past_recording()
            case "crop" | "record":
                with pytest.raises(ValueError, match="can't be removed"):
                    cache.crop(-1)
            case _:
                cache.reset()
                first = 0
        assert cache.get_seq_length() == first
        changed = Case(
            case.text, case.model, case.ids[rows], case.mask[rows], case.number
        )
        found, _ = in_pieces(changed, [tokens - first], cache)
        for b, real in enumerate(changed.mask.bool()):
            real = real & (torch.arange(tokens) >= first)

            def again(b: int = b, real: Tensor = real) -> Tensor:
                return changed.full()[b, real]

            if bool(real.any()):
                compare(changed, found[b, real[first:]], again(), again, count)
        count[kind] += 1

    count = counted(changes(), check)
    assert all(count[kind] for kind in CHANGES)


# The definition


def test_a_layer_in_pieces_is_the_token_by_token_reference() -> None:
    def check(drawn: tuple[Case, list[int], Any], count: Counter[str]) -> None:
        case, lengths, cache = drawn
        layers = spec_of(case.model.config).layers
        uses = [i for i, x in enumerate(layers) if isinstance(x.mixing, AttentionUse)]
        use = layers[uses[0]].mixing
        assert isinstance(use, AttentionUse)
        layer = case.model.model.encoder.layers[uses[0]].attention
        graph, heads = build_graph(use.program), layers[uses[0]].heads
        seen: dict[str, list[Tensor]] = {}

        def keep(name: str, x: Tensor) -> None:
            seen.setdefault(name, []).append(x)

        hooks = [layer.output.register_forward_pre_hook(lambda _, x: keep("=", x[0]))]
        for name in graph.inputs:
            made = layer.get_submodule(f"{name}_proj")
            hooks.append(
                made.register_forward_hook(lambda _, __, x, name=name: keep(name, x))
            )
        in_pieces(case, lengths, cache)
        for hook in hooks:
            hook.remove()
        whole = {
            name: torch.cat(parts, 1).unflatten(-1, (heads, -1)).transpose(1, 2).numpy()
            for name, parts in seen.items()
        }
        weights = {
            name: layer.get_parameter(f"{name}.weight").detach().numpy()
            for name, _ in graph.weights
        }
        for b, head in product(range(len(case.ids)), range(heads)):
            real = case.mask[b].bool().numpy()
            # A parameter that nothing reads has no projection to listen to.
            inputs = {n: whole.get(n, whole["="])[b, head, real] for n in graph.inputs}
            reference = Interpreter(graph, causal=True)
            wanted = reference(head=head, heads=heads, weights=weights, **inputs)
            if not np.isfinite(wanted).all():
                count["not finite"] += 1
                continue
            count["compared"] += 1
            found = torch.from_numpy(whole["="][b, head, real])
            if distance(found, torch.from_numpy(wanted)) > CLOSE:
                assert case.moved(case.full) > CLOSE / 100
                count["forgiven"] += 1

    counted(pieces(), check)
