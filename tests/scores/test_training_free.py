"""Training-free scores: each beside NumPy on the inner values of transformers' BERT."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from azc.check.flatten import self_contained
from azc.check.resolve import check_source
from azc.diagnostics import UsageError
from azc.model.weights import load_weights
from azc.scores.training_free import SCORES
from azc.scores.watch import attention_weights
from azc.search.score import build_candidate
from azc.source import Source
from tests.model.models import LAYOUTS, build, masks, shake

HEADS, WIDTH = 2, 8
BERT = BertConfig(
    vocab_size=50,
    hidden_size=HEADS * WIDTH,
    num_attention_heads=HEADS,
    num_hidden_layers=2,
    intermediate_size=24,
    max_position_embeddings=40,
    attention_probs_dropout_prob=0.1,
    hidden_dropout_prob=0.1,
    attn_implementation="eager",
)
EVERYTHING = (
    "sdpa; conv(kernel = 3); primer(ffn = [8, 12]); linear; windowed(heads = 4);"
    " conv(kernel = 5, kind = dynamic, activation = swiglu); distances;"
    " conv(kernel = 3, kind = depthwise)"
)


def batch(layout: str = "right", seed: int = 3) -> dict[str, torch.Tensor]:
    """Three sequences of 9, 5 and 7 tokens, some of them asked for."""
    random = torch.Generator().manual_seed(seed)
    mask = masks([9, 5, 7], 9, layout)
    ids = torch.randint(0, 50, (3, 9), generator=random)
    asked = torch.rand(3, 9, generator=random) < 0.5
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": ids.masked_fill(~(asked & mask), -100),
    }


class Oracle:
    """A BERT, and a compiled model with its weights."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        theirs = shake(BertForMaskedLM(BERT)).eval()
        self.theirs: Any = theirs
        ours = build("sdpa; sdpa", shaken=False, dropout=0.1, attention_dropout=0.1)
        self.ours = load_weights(ours, theirs).train()
        self.batch = batch()
        self.real = self.batch["attention_mask"]
        self.layers = self.theirs.bert.encoder.layer

    def backward(self) -> None:
        self.theirs.zero_grad()
        self.theirs(**self.batch).loss.backward()

    def mixing(self) -> list[torch.nn.Linear]:
        return [
            linear
            for layer in self.layers
            for linear in (
                layer.attention.self.query,
                layer.attention.self.key,
                layer.attention.self.value,
                layer.attention.output.dense,
            )
        ]

    def inner(self) -> list[np.ndarray[Any, Any]]:
        """The real tokens inside the feed-forward networks, before the activation."""
        found = []
        for layer in self.layers:
            layer.intermediate.dense.register_forward_hook(
                lambda module, args, out: found.append(out[self.real].detach().numpy())
            )
        self.theirs(**self.batch)
        return found

    # What the scores are to be

    def parameters(self) -> float:
        return sum(math.prod(p.shape) for p in {*self.ours.parameters()})

    def layers_hidden(self) -> float:
        return 2 * 16

    def saliency(self) -> float:
        self.backward()
        found = 0.0
        for p in self.layers.parameters():
            found += np.abs(p.detach().numpy() * p.grad.numpy()).sum()
        return found

    def diversity(self) -> float:
        self.backward()
        found = 0.0
        for linear in self.mixing():
            pair = linear.weight.detach().numpy(), linear.weight.grad.numpy()
            one, other = (np.linalg.svd(each)[1].sum() for each in pair)
            found += one * other
        return found

    def distance(self) -> float:
        codes = np.concatenate([each > 0 for each in self.inner()], 1)
        units = codes.shape[1]
        alike = np.array([[units - (a != b).sum() for b in codes] for a in codes])
        sign, found = np.linalg.slogdet(alike + np.eye(len(codes)))
        assert sign > 0
        return found

    def jacobian(self) -> float:
        rows = []
        for b in range(3):
            one = {name: x[b : b + 1] for name, x in self.batch.items()}
            embeds = self.theirs.bert.embeddings.word_embeddings(one.pop("input_ids"))
            embeds = embeds.detach().requires_grad_()
            self.theirs(inputs_embeds=embeds, **one).loss.backward()
            rows.append(embeds.grad.flatten().numpy())
        values = np.linalg.eigvalsh(np.corrcoef(rows)) + 1e-5
        return -(np.log(values) + 1 / values).sum()

    def confidence(self) -> float:
        found = 0.0
        for weights in self.theirs(**self.batch, output_attentions=True).attentions:
            for head in range(HEADS):
                rows = weights[:, head][self.real].detach().numpy()
                found += rows.max(-1).mean()
        return found

    def importance(self) -> float:
        """As Michel et al. define it: how the loss moves with a gate on each head."""
        gates = torch.ones(2, 3, HEADS, requires_grad=True)
        for layer, gate in zip(self.layers, gates, strict=True):
            wide = gate.repeat_interleave(WIDTH, -1)[:, None]
            layer.attention.output.dense.register_forward_pre_hook(
                lambda module, args, wide=wide: (args[0] * wide,)
            )
        self.theirs(**self.batch).loss.backward()
        assert gates.grad is not None
        return gates.grad.abs().sum().item()

    def w_pca(self) -> float:
        found = 0
        for states in self.inner():
            sizes = np.linalg.svd(states - states.mean(0))[1] ** 2
            kept = 0.0
            for size in sizes:
                found += 1
                kept += size / sizes.sum()
                if kept > 0.99:
                    break
        return found * self.parameters()


WANTED = {
    "layers × hidden": Oracle.layers_hidden,
    "parameters": Oracle.parameters,
    "synaptic saliency": Oracle.saliency,
    "synaptic diversity": Oracle.diversity,
    "activation distance": Oracle.distance,
    "Jacobian covariance": Oracle.jacobian,
    "head confidence": Oracle.confidence,
    "head importance": Oracle.importance,
    "W-PCA": Oracle.w_pca,
}


@pytest.mark.parametrize("name", SCORES)
def test_a_score_is_what_its_paper_says(name: str) -> None:
    """Also in training mode: no dropout has a part in it."""
    oracle = Oracle()
    found = SCORES[name](oracle.ours, oracle.batch)
    assert found == pytest.approx(WANTED[name](oracle), rel=2e-4)


@contextmanager
def untouched(model: Any) -> Iterator[None]:
    """Weights, gradients, modes and random numbers are as they were."""

    def seen() -> list[Any]:
        tensors = [p.detach().clone() for p in model.parameters()]
        grads = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        return [*tensors, *grads, torch.get_rng_state()]

    model.zero_grad()
    model(**batch()).loss.backward()
    model.train()
    model.model.encoder.layers[0].eval()
    before, modes = seen(), [m.training for m in model.modules()]
    hooks = [len(m._forward_pre_hooks) for m in model.modules()]
    yield
    after = seen()
    assert len(before) == len(after)
    assert all(map(torch.equal, before, after))
    assert [m.training for m in model.modules()] == modes
    assert [len(m._forward_pre_hooks) for m in model.modules()] == hooks


@pytest.mark.parametrize("name", SCORES)
def test_a_score_is_of_any_layers_and_changes_nothing(name: str) -> None:
    model = build(EVERYTHING, dropout=0.1, attention_dropout=0.1)
    with untouched(model):
        found = SCORES[name](model, batch())
        assert math.isfinite(found)
        assert found == SCORES[name](model, batch())


@pytest.mark.parametrize("name", SCORES)
def test_where_padding_is_plays_no_part(name: str) -> None:
    """The same tokens in their order, padded in four ways, junk in the padding."""
    model = build(EVERYTHING, residual="pre")
    whole = batch("right")
    found = []
    layouts = [batch(layout)["attention_mask"] for layout in LAYOUTS]
    layouts.append(torch.nn.functional.pad(layouts[0], (2, 3)))
    for mask in layouts:
        moved = {"attention_mask": mask}
        for key, junk in (("input_ids", 7), ("labels", -100)):
            moved[key] = torch.full(mask.shape, junk)
            moved[key][mask] = whole[key][whole["attention_mask"]]
        found.append(SCORES[name](model, moved))
    assert found == pytest.approx([found[0]] * 4, rel=1e-3)


@pytest.mark.parametrize("name", SCORES)
def test_a_batch_without_a_mask_is_all_real(name: str) -> None:
    model = build("sdpa; conv(kernel = 3)")
    inputs = {**batch(), "attention_mask": torch.ones(3, 9, dtype=torch.bool)}
    masked = SCORES[name](model, inputs)
    del inputs["attention_mask"]
    assert SCORES[name](model, inputs) == pytest.approx(masked, rel=1e-4)


def test_attention_weights_are_those_between_tokens_alone() -> None:
    """Of `linear` (softmaxes over features, and over tokens for a feature) there are
    none; nine tokens, and heads nine wide, are no matter.
    """
    model = build("linear; windowed; sdpa(heads = 3)", hidden=27, heads=3)
    inputs = batch()
    weights = attention_weights(model, inputs)
    assert [tuple(each.shape) for each in weights] == [(3, 3, 9, 9)] * 2
    real = inputs["attention_mask"]
    for each in weights:
        sums = each.sum(-1).transpose(1, 2)[real]
        torch.testing.assert_close(sums, torch.ones_like(sums))
    near = weights[0]
    for i, j in product(range(9), range(9)):
        if abs(i - j) > 2:
            assert not near[0, :, i, j].any()


CAUSAL = """\
from std.attention import linear_attention, primer, sdpa

model start {
    vocab = 50
    hidden = 16
    heads = 2
    ffn = 24
    residual = pre
    positions = none
    token_types = 0
    causal = true

    layers {
        sdpa
        conv(kernel = 3)
        primer
        linear_attention
    }
}
"""


def decoder() -> Any:
    program = check_source(Source("start.azg", CAUSAL))
    return build_candidate(self_contained(program, "start"), "start", 0)[0]


@pytest.mark.parametrize("name", SCORES)
def test_a_decoder_has_scores_wherever_its_padding_is(name: str) -> None:
    model, found = decoder(), []
    whole = batch("right")
    whole["labels"][:, 0] = -100  # nothing comes before it
    for layout in ("right", "left"):
        mask = batch(layout)["attention_mask"]
        moved = {"attention_mask": mask}
        for key, junk in (("input_ids", 7), ("labels", -100)):
            moved[key] = torch.full(mask.shape, junk)
            moved[key][mask] = whole[key][whole["attention_mask"]]
        found.append(SCORES[name](model, moved))
    assert math.isfinite(found[0])
    assert found[1] == pytest.approx(found[0], rel=1e-3)


def test_documents_in_one_sequence_are_refused() -> None:
    documents = torch.arange(9).expand(3, 9) // 4
    with pytest.raises(UsageError, match="one document each") as caught:
        SCORES["W-PCA"](decoder(), {**batch(), "document_ids": documents})
    assert caught.value.code == "U030"


def test_no_softmax_is_no_confidence() -> None:
    assert SCORES["head confidence"](build("linear; conv(kernel = 3)"), batch()) == 0.0
