"""Weights of every kind of model: from files old and new, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from azc.model.weights import load_weights
from tests.model.kinds import DECODERS, KINDS
from tests.model.test_weights import refused

FILE = "model.safetensors"


def logits(model: Any) -> torch.Tensor:
    ids = torch.arange(2, 14).view(2, 6)
    with torch.no_grad():
        found: torch.Tensor = model(ids).logits
    return found


def assert_same(ours: Any, theirs: Any) -> None:
    torch.testing.assert_close(logits(ours), logits(theirs), rtol=0, atol=1e-5)


# Files


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tied", [True, False])
def test_a_folder(kind: str, tied: bool, tmp_path: Path) -> None:
    """What is tied is not in the file, and comes out in a model that ties nothing."""
    made = KINDS[kind]
    theirs = made.theirs(tie_word_embeddings=tied)
    theirs.save_pretrained(tmp_path)
    ours = load_weights(made.build(tie_embeddings=False), tmp_path)
    assert_same(ours, theirs)
    model = made.build(tie_embeddings=True)
    if tied and kind != "bloom":
        assert_same(load_weights(model, tmp_path), theirs)
    else:  # BLOOM's table is normed here
        refused(model, "R024", "are tied in the model, but differ in the", tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_base_model(kind: str) -> None:
    theirs = KINDS[kind].theirs("Model")
    ids = torch.arange(2, 14).view(2, 6)
    for task in ("base", "sequence-classification"):
        ours = load_weights(KINDS[kind].build(task), theirs)
        base = ours if task == "base" else ours.model
        with torch.no_grad():
            found, wanted = base(ids), theirs(ids)
        torch.testing.assert_close(
            found.last_hidden_state, wanted.last_hidden_state, rtol=0, atol=1e-5
        )
        if kind in ("bert", "roberta"):
            torch.testing.assert_close(
                found.pooler_output, wanted.pooler_output, rtol=0, atol=1e-5
            )


def rewritten(folder: Path, tensors: dict[str, torch.Tensor], **config: Any) -> None:
    """A folder with other weights and another configuration."""
    save_file({n: t.contiguous() for n, t in tensors.items()}, folder / FILE)
    (folder / "config.json").write_text(json.dumps(config))


def test_gpt2_as_it_was_first_saved(tmp_path: Path) -> None:
    """No prefix, masks as buffers, and a configuration of few words."""
    theirs = KINDS["gpt2"].theirs()
    theirs.save_pretrained(tmp_path)
    old = {
        name.removeprefix("transformer."): tensor
        for name, tensor in load_file(tmp_path / FILE).items()
    }
    for layer in range(3):
        old[f"h.{layer}.attn.bias"] = torch.ones(1, 1, 80, 80).tril().to(torch.uint8)
        old[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    rewritten(tmp_path, old, model_type="gpt2", n_head=6, n_ctx=80)
    assert_same(load_weights(KINDS["gpt2"].build(), tmp_path), theirs)


def test_gpt_neox_as_it_was_first_saved(tmp_path: Path) -> None:
    """Another name of the output matrix, buffers, and old names of settings."""
    theirs = KINDS["gpt_neox"].theirs()
    theirs.save_pretrained(tmp_path)
    old = {
        name.replace("lm_head.", "embed_out."): tensor
        for name, tensor in load_file(tmp_path / FILE).items()
    }
    for layer in range(3):
        name = f"gpt_neox.layers.{layer}.attention"
        old[f"{name}.bias"] = torch.ones(1, 1, 80, 80).tril().bool()
        old[f"{name}.masked_bias"] = torch.tensor(-1e4)
        old[f"{name}.rotary_emb.inv_freq"] = torch.ones(4)
    config = {
        "model_type": "gpt_neox",
        "hidden_size": 48,
        "num_attention_heads": 6,
        "rotary_pct": 1.0,
        "rotary_emb_base": 10000,
        "use_parallel_residual": False,
    }
    rewritten(tmp_path, old, **config)
    assert_same(load_weights(KINDS["gpt_neox"].build(), tmp_path), theirs)
    rewritten(tmp_path, old, **config | {"rotary_pct": 0.25})
    words = "rope rotates all features in the model, 0.25 of them in the GPT-NeoX"
    refused(KINDS["gpt_neox"].build(), "R024", words, tmp_path)


# Heads


def test_a_fine_tuned_roberta() -> None:
    theirs = KINDS["roberta"].theirs("ForSequenceClassification", num_labels=3)
    ours = load_weights(KINDS["roberta"].build("sequence-classification"), theirs)
    assert_same(ours, theirs)


@pytest.mark.parametrize("kind", ["distilbert", *DECODERS])
def test_classifiers_of_another_form_are_refused(kind: str) -> None:
    theirs = KINDS[kind].theirs("ForSequenceClassification", num_labels=3)
    model = KINDS[kind].build("sequence-classification")
    refused(model, "R024", "the classifier", theirs)
    load_weights(KINDS[kind].build("base"), theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_heads_for_other_tasks_are_left_out(kind: str) -> None:
    for head in ("ForTokenClassification", "ForQuestionAnswering"):
        theirs = KINDS[kind].theirs(head)
        model = KINDS[kind].build("sequence-classification")
        before = model.classifier.weight.detach().clone()
        load_weights(model, theirs)
        assert torch.equal(model.classifier.weight, before)


# What is refused


@pytest.mark.parametrize(
    ("kind", "theirs", "ours", "words"),
    [
        (
            "distilbert",
            {"activation": "relu"},
            {},
            "activation gelu in the model, relu",
        ),
        (
            "distilbert",
            {"activation": "relu"},
            {"activation": "relu"},
            "the masked-lm's head has gelu in the model, relu in the DistilBERT",
        ),
        ("distilbert", {}, {"norm_eps": 1e-5}, "norm_eps 1e-05 in the model, 1e-12"),
        ("roberta", {"is_decoder": True}, {}, "the RoBERTa is a decoder"),
        ("roberta", {}, {"positions": "sinusoidal"}, "positions sinusoidal in the"),
        ("gpt2", {"scale_attn_weights": False}, {}, "does not scale its scores"),
        (
            "gpt2",
            {"scale_attn_by_inverse_layer_idx": True},
            {},
            "divides its scores by the number of the layer",
        ),
        ("gpt2", {"add_cross_attention": True}, {}, "attends to a second sequence"),
        ("gpt2", {"activation_function": "relu"}, {}, "gelu_tanh in the model, relu"),
        (
            "gpt2",
            {},
            {"residual": "post"},
            "residual post in the model, pre in the GPT",
        ),
        ("gpt2", {"n_head": 4}, {}, "heads 6 in the model, 4 in the GPT-2"),
        ("gpt2", {}, {"norm": "rms_norm"}, "norm rms_norm in the model, layer_norm"),
        ("bloom", {}, {"positions": "sinusoidal"}, "positions sinusoidal in the model"),
        (
            "bloom",
            {"layer_norm_epsilon": 1e-6},
            {},
            "norm_eps 1e-05 in the model, 1e-06",
        ),
        (
            "bloom",
            {"apply_residual_connection_post_layernorm": True},
            {},
            "the BLOOM has residual connections after its norms",
        ),
        (
            "gpt_neox",
            {"use_parallel_residual": True},
            {},
            "the GPT-NeoX has parallel branches in its layers",
        ),
        ("gpt_neox", {"rotary_pct": 0.5}, {}, "0.5 of them in the GPT-NeoX"),
        ("gpt_neox", {"rotary_emb_base": 500}, {}, "base 10000 in the model, 500 in"),
        (
            "gpt_neox",
            {"rope_parameters": {"rope_type": "linear", "factor": 2.0}},
            {},
            "the GPT-NeoX has rope of type linear",
        ),
        ("gpt_neox", {"attention_bias": False}, {}, "has no biases in its attention"),
    ],
)
def test_what_the_shapes_don_t_tell(
    kind: str, theirs: dict[str, Any], ours: dict[str, Any], words: str
) -> None:
    source = KINDS[kind].theirs(**theirs)
    refused(KINDS[kind].build(**ours), "R024", words, source)


@pytest.mark.parametrize("kind", DECODERS)
def test_a_decoder_s_weights_are_not_an_encoder_s(kind: str) -> None:
    model = KINDS[kind].build("base", causal=False)
    words = "causal false in the model, true in the"
    refused(model, "R024", words, KINDS[kind].theirs())


@pytest.mark.parametrize("kind", ["bloom", "gpt_neox"])
def test_another_attention_is_told_of(kind: str) -> None:
    model = KINDS[kind].build(mixing="sdpa")
    with pytest.warns(UserWarning, match="`sdpa` differs from the attention") as told:
        load_weights(model, KINDS[kind].theirs())
    assert [each.filename for each in told] == [__file__]


FUSED = {
    "gpt2": "transformer.h.1.attn.c_attn.",
    "bloom": "transformer.h.1.self_attention.query_key_value.",
    "gpt_neox": "gpt_neox.layers.1.attention.query_key_value.",
}


@pytest.mark.parametrize("kind", DECODERS)
def test_weights_of_shapes_that_can_t_be_taken_apart(kind: str) -> None:
    theirs = KINDS[kind].theirs()
    state, model = theirs.state_dict(), KINDS[kind].build()
    for part, shape in (
        ("bias", ()),
        ("bias", (0,)),
        ("bias", (100,)),
        ("weight", ()),
        ("weight", (48,)),
        ("weight", (100, 100)),
        ("weight", (144, 144, 2)),
        ("weight", (36, 36)),
    ):
        wrong = {**state, FUSED[kind] + part: torch.zeros(shape)}
        refused(model, "R022", "attention.", wrong, theirs.config)
    gone = {name: each for name, each in state.items() if FUSED[kind] not in name}
    refused(model, "R023", "layers.1.attention.q_proj", gone, theirs.config)


def test_the_norm_of_bloom_s_embeddings() -> None:
    theirs = KINDS["bloom"].theirs()
    state, model = theirs.state_dict(), KINDS["bloom"].build()
    tokens = "transformer.word_embeddings.weight"
    norm = "transformer.word_embeddings_layernorm"
    for changes, code, words in (
        ({f"{norm}.bias": None}, "R023", "no weights for word_embeddings_layernorm"),
        ({tokens: None, "lm_head.weight": None}, "R023", "embeddings.tokens.weight"),
        ({f"{norm}.weight": torch.ones(7)}, "R022", "differs in width from its tokens"),
        ({tokens: torch.tensor(1.0)}, "R022", "differs in width from its tokens"),
        ({tokens: torch.ones(99, 48, dtype=torch.int8)}, "R022", "torch.int8"),
        ({tokens: torch.ones(9, 48)}, "R022", "[9, 48] in the BLOOM, [99, 48]"),
    ):
        wrong = {n: t for n, t in {**state, **changes}.items() if t is not None}
        refused(model, code, words, wrong, theirs.config)


def test_half_precision_is_normed_as_ours_is() -> None:
    theirs = KINDS["bloom"].theirs().half().float()
    wanted = load_weights(KINDS["bloom"].build(), theirs)
    found = load_weights(KINDS["bloom"].build(), theirs.half())
    assert torch.equal(
        found.model.embeddings.tokens.weight, wanted.model.embeddings.tokens.weight
    )


def test_positions_of_a_roberta_without_padding() -> None:
    """They begin at 0 where the number of padding is none of a row."""
    theirs = KINDS["roberta"].theirs()
    model = KINDS["roberta"].build(max_length=82)
    state = theirs.state_dict()
    settings = {**theirs.config.to_dict(), "pad_token_id": -1}
    found = load_weights(model, state, settings).model.embeddings.positions.weight
    assert torch.equal(found, theirs.roberta.embeddings.position_embeddings.weight)
