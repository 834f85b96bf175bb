"""Decoders of random programs: pieces with a cache, packed documents and reordered caches
give what the full pass, each document alone and computing anew give.

All in float64. Where the two differ by more than rounding may, the full pass is run again
with every weight off by a little: only if it moves too is the difference forgiven, and
that must be rare.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from transformers import DataCollatorWithFlattening

from azc.check.program import AttentionUse
from azc.check.resolve import check_source
from azc.ir.build import build_graph
from azc.ir.run import Interpreter
from azc.mixing.convolution import CONV_KINDS
from azc.model.config import spec_of
from azc.model.tasks import build_model
from azc.source import Source
from tests.model.models import SETTINGS, build, text_of
from tests.programs import programs

EXAMPLES = int(os.environ.get("AZC_EXAMPLES", "60"))  # 2,000 take an hour
VOCAB = int(SETTINGS["vocab"])
CLOSE = 1e-8

Tensor = torch.Tensor


@dataclass
class Case:
    """A decoder in float64 and a batch for it; every sequence has a real token."""

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
def decoders(draw: st.DrawFn) -> tuple[str, Any]:
    """A decoder of one or two layers, with random weights."""
    program = draw(programs(causal=True)) + NEARBY
    layers = ["program", *(mixings(draw) for _ in range(draw(st.integers(0, 1))))]
    heads = draw(st.sampled_from([1, 2]))
    text = text_of(
        ";".join(draw(st.permutations(layers))),
        attentions=program,
        hidden=heads * draw(st.sampled_from([1, 3, 4])),
        heads=heads,
        ffn=5,
        causal=True,
        residual=draw(st.sampled_from(["pre", "post"])),
        positions=draw(st.sampled_from(["learned", "sinusoidal", "none"])),
        token_types=draw(st.sampled_from([0, 2])),
    )
    model = build_model(check_source(Source("test.azg", text)), "m").double().eval()
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
    text, model = draw(decoders())
    tokens, batch = draw(st.integers(1, 8)), draw(st.integers(1, 3))
    mask = torch.tensor([real_tokens(draw, tokens) for _ in range(batch)])
    number = draw(st.integers(0, 2**31))
    random = torch.Generator().manual_seed(number)
    ids = torch.randint(0, VOCAB, (batch, tokens), generator=random)
    return Case(text, model, ids, mask, number)


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


# Pieces


@st.composite
def pieces(draw: st.DrawFn) -> tuple[Case, list[int]]:
    case = draw(cases())
    return case, draw(splits(case.ids.shape[1]))


def in_pieces(case: Case, lengths: list[int], cache: Any = None) -> tuple[Tensor, Any]:
    """Hidden states [B, N, C] of pieces, and the cache after them."""
    found, start = [], 0 if cache is None else cache.get_seq_length()
    padded = not bool(case.mask.all())
    for length in lengths:
        stop = start + length
        mask = case.mask[:, :stop] if padded or length % 2 else None
        output = case.output(
            case.ids[:, start:stop], mask, past_key_values=cache, use_cache=True
        )
        cache, start = output.past_key_values, stop
        assert cache.get_seq_length() == stop
        found.append(output.hidden_states[-1])
    return torch.cat(found, 1), cache


def test_pieces_with_a_cache_give_the_full_pass() -> None:
    def check(drawn: tuple[Case, list[int]], count: Counter[str]) -> None:
        case, lengths = drawn
        wanted = case.full()
        found, _ = in_pieces(case, lengths)
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
    found, _ = in_pieces(case, lengths)
    wanted = case.full()
    torch.testing.assert_close(found[mask > 0], wanted[mask > 0], rtol=0.0, atol=1e-9)


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
    def changes(draw: st.DrawFn) -> tuple[Case, int, str, list[int]]:
        case = draw(cases().filter(lambda case: case.ids.shape[1] > 1))
        batch, tokens = case.ids.shape
        kind = draw(st.sampled_from(CHANGES))
        index = draw(st.lists(st.integers(0, batch - 1), min_size=batch, max_size=4))
        return case, draw(st.integers(1, tokens - 1)), kind, index

    def check(drawn: tuple[Case, int, str, list[int]], count: Counter[str]) -> None:
        case, cut, kind, index = drawn
        tokens = case.ids.shape[1]
        _, cache = in_pieces(case, [cut])
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
                with pytest.raises(ValueError, match="can't be taken"):
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


# Packing


@dataclass
class Packed:
    """Rows of documents. `place` [B, N] tells a token's document, −1 in padding."""

    case: Case
    place: Tensor
    contiguous: bool

    @property
    def positions(self) -> Tensor:
        """Position ids that start again; anything in padding."""
        found = torch.full(self.place.shape, 3)
        for row, positions in zip(self.place, found, strict=True):
            for each in set(row.tolist()) - {-1}:
                there = row == each
                positions[there] = torch.arange(int(there.sum()))
        return found


@st.composite
def packs(draw: st.DrawFn) -> Packed:
    text, model = draw(decoders())
    tokens, batch = draw(st.integers(2, 9)), draw(st.integers(1, 2))
    contiguous = draw(st.integers(0, 3)) > 0
    place = []
    for _ in range(batch):
        row = draw(st.lists(st.integers(0, 3), min_size=tokens, max_size=tokens))
        place.append(sorted(row) if contiguous else row)
    places = torch.tensor(place)
    mask = torch.tensor([real_tokens(draw, tokens) for _ in range(batch)])
    number = draw(st.integers(0, 2**31))
    random = torch.Generator().manual_seed(number)
    ids = torch.randint(0, VOCAB, (batch, tokens), generator=random)
    case = Case(text, model, ids, mask, number)
    return Packed(case, torch.where(mask.bool(), places, -1), contiguous)


def told(pack: Packed) -> dict[str, Tensor]:
    """How the model is told of documents: by number, or by positions."""
    if pack.contiguous and pack.case.number % 2:
        return {"position_ids": pack.positions}
    # What stands in padding has no say.
    return {"document_ids": torch.where(pack.place < 0, 1, pack.place)}


def documents(pack: Packed) -> list[tuple[int, Tensor]]:
    """The row of each document, and where its tokens are, bool [N]."""
    found = []
    for b, row in enumerate(pack.place):
        found += [(b, row == each) for each in sorted(set(row.tolist()) - {-1})]
    return found


def loss_of(pack: Packed) -> Tensor:
    """The mean loss over all documents, each alone; their number is a weight."""
    case, total, count = pack.case, torch.zeros((), dtype=torch.float64), 0
    for b, there in documents(pack):
        mine = case.ids[b : b + 1, there]
        if mine.shape[1] > 1:
            loss = case.model(mine, labels=mine).loss
            total = total + loss * (mine.shape[1] - 1)
            count += mine.shape[1] - 1
    return total / count


def test_packed_documents_give_what_each_gives_alone() -> None:
    def check(pack: Packed, count: Counter[str]) -> None:
        case = pack.case
        more = told(pack)
        output = case.output(case.ids, case.mask, **more, labels=case.ids)
        for b, there in documents(pack):
            mine = case.ids[b : b + 1, there]

            def again(mine: Tensor = mine) -> Tensor:
                return case.run(mine)[0]

            found = output.hidden_states[-1][b, there]
            compare(case, found, again(), again, count)
        with torch.no_grad():
            wanted = loss_of(pack)
        if bool(wanted.isfinite()):
            # The loss is of float32.
            torch.testing.assert_close(
                output.loss.double(), wanted, rtol=1e-5, atol=1e-5
            )
            count["loss"] += 1

    count = counted(packs(), check)
    assert count["loss"] > EXAMPLES / 4


def gradients(model: Any, loss: Tensor) -> Tensor:
    """Those of all weights, in a row."""
    parameters = list(model.parameters())
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return torch.cat(
        [
            (torch.zeros_like(p) if g is None else g).flatten()
            for p, g in zip(parameters, found, strict=True)
        ]
    )


def test_gradients_through_packed_rows_are_those_of_the_documents() -> None:
    def check(pack: Packed, count: Counter[str]) -> None:
        case = pack.case
        wanted = gradients(case.model, loss_of(pack))
        output = case.model(
            case.ids, attention_mask=case.mask, labels=case.ids, **told(pack)
        )
        if not bool(wanted.isfinite().all()):
            count["not finite"] += 1
            return
        count["compared"] += 1
        found = gradients(case.model, output.loss)
        gap = float((found - wanted).abs().max() / max(1.0, float(wanted.abs().max())))
        if not gap < 1e-5:  # the loss is of float32

            def again() -> Tensor:
                return gradients(case.model, loss_of(pack))

            assert case.moved(again) > 1e-6
            count["forgiven"] += 1

    def follows(pack: Packed) -> bool:
        """Whether a document has a next token, and so a loss."""
        return any(int(there.sum()) > 1 for _, there in documents(pack))

    counted(packs().filter(follows), check, EXAMPLES // 2)


def test_what_transformers_flattens() -> None:
    collate = DataCollatorWithFlattening()

    @st.composite
    def flat(draw: st.DrawFn) -> tuple[Case, list[list[int]]]:
        text, model = draw(decoders())
        row = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=5)
        rows = draw(st.lists(row, min_size=1, max_size=4))
        return Case(text, model, torch.tensor([[0]]), torch.tensor([[1]]), 0), rows

    def check(drawn: tuple[Case, list[list[int]]], count: Counter[str]) -> None:
        case, rows = drawn
        batch = dict(collate([{"input_ids": row} for row in rows]))
        output = case.output(batch.pop("input_ids"), **batch)
        start = 0
        for row in rows:
            mine = torch.tensor([row])

            def again(mine: Tensor = mine) -> Tensor:
                return case.run(mine)[0]

            found = output.hidden_states[-1][0, start : start + len(row)]
            compare(case, found, again(), again, count)
            start += len(row)

    counted(flat(), check)


# The definition


def test_a_layer_in_pieces_is_the_token_by_token_reference() -> None:
    def check(drawn: tuple[Case, list[int]], count: Counter[str]) -> None:
        case, lengths = drawn
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
        in_pieces(case, lengths)
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
