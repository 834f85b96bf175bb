"""What a model is called with: served, or refused in one sentence."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import azc
from azc.diagnostics import UsageError
from azc.model.config import AzcConfig
from azc.model.tasks import AzcForMaskedLM
from tests.model.models import build, masks, text_of

TASKS: tuple[Any, ...] = ("base", "masked-lm", "sequence-classification")
MIXED = "primer; conv(kernel = 3); conv(kernel = 3, kind = dynamic); distances"
IDS = torch.randint(0, 50, (3, 9), generator=torch.Generator().manual_seed(5))
MASK = masks([9, 4, 1], 9, "left")


# Masks


def test_masks_of_any_number_type() -> None:
    model = build(MIXED)
    with torch.no_grad():
        wanted = model(IDS, attention_mask=MASK).logits
        for dtype in (torch.int64, torch.uint8, torch.float32, torch.bfloat16):
            found = model(IDS, attention_mask=MASK.to(dtype)).logits
            assert torch.equal(found, wanted)


ADDED = torch.zeros(3, 9).masked_fill(~MASK, -torch.inf)
WRONG_MASKS = [
    ADDED,
    ADDED.nan_to_num(neginf=-1e9),
    ADDED.nan_to_num(neginf=torch.finfo(torch.float32).min),
    MASK.float().masked_fill(~MASK, torch.nan),
    MASK.float() * 0.5,
    MASK.long() * torch.tensor([1, 2, 3])[:, None],  # numbers of documents
    -MASK.long(),
]


@pytest.mark.parametrize("mask", WRONG_MASKS)
def test_a_mask_of_other_numbers_than_0_and_1_is_refused(mask: torch.Tensor) -> None:
    for task in TASKS:
        with pytest.raises(
            ValueError, match=r"bool or hold only 0 and 1.*1 at real tokens"
        ):
            build("sdpa", task=task)(IDS, attention_mask=mask)
    attend = azc.compile_attention(azc.loads(text_of("sdpa")), "sdpa")
    x = torch.zeros(3, 1, 9, 4)
    with pytest.raises(UsageError, match="bool or hold only 0 and 1") as caught:
        attend(q=x, k=x, v=x, mask=mask)
    assert caught.value.code == "U004"


# Ids, embeddings, types and labels


def faults() -> dict[str, tuple[dict[str, Any], str]]:
    embeds = torch.zeros(3, 9, 16)
    far = IDS.clone()
    far[1, 2] = 50
    return {
        "nothing": ({}, "either input_ids or inputs_embeds"),
        "both": (
            {"input_ids": IDS, "inputs_embeds": embeds},
            "either input_ids or inputs_embeds",
        ),
        "one axis": ({"input_ids": IDS[0]}, r"input_ids must be \[B, N\]; got \[9\]"),
        "three axes": ({"input_ids": IDS[None]}, r"\[B, N\]; got \[1, 3, 9\]"),
        "float ids": ({"input_ids": IDS.float()}, "int64 or int32; got float32"),
        "bool ids": ({"input_ids": IDS.bool()}, "int64 or int32; got bool"),
        "too far": ({"input_ids": far}, "from 0 to 49, the model's vocabulary; got 50"),
        "negative": ({"input_ids": IDS - 50}, "from 0 to 49, .*; got -"),
        "no tokens": ({"input_ids": IDS[:, :0]}, r"at least one token; .* \[3, 0\]"),
        "nothing in nothing": ({"input_ids": IDS[:0, :0]}, "at least one token"),
        "too long": ({"input_ids": IDS.repeat(1, 5)}, "45 tokens; .*max_length = 40"),
        "narrow": (
            {"inputs_embeds": embeds[..., :8]},
            r"\[B, N, 16\]; got \[3, 9, 8\]",
        ),
        "flat": ({"inputs_embeds": embeds[0]}, r"\[B, N, 16\]; got \[9, 16\]"),
        "whole": ({"inputs_embeds": embeds.long()}, "floating point; got int64"),
        "short types": (
            {"input_ids": IDS, "token_type_ids": IDS[:, :8]},
            r"token_type_ids must be \[B, N\] = \[3, 9\]; got \[3, 8\]",
        ),
        "types of two": (
            {"input_ids": IDS, "token_type_ids": torch.full((3, 9), 2)},
            "from 0 to 1, the model has token_types = 2; got 2",
        ),
        "float types": (
            {"input_ids": IDS, "token_type_ids": torch.zeros(3, 9)},
            "token_type_ids must be int64 or int32",
        ),
        **{
            f"mask of {list(mask.shape)}": (
                {"input_ids": IDS, "attention_mask": mask},
                r"attention_mask must be \[B, N\] = \[3, 9\]; got",
            )
            for mask in (torch.ones(3, 8), torch.ones(9), torch.ones(3, 1, 9, 9))
        },
    }


@pytest.mark.parametrize("what", faults())
def test_inputs_that_make_no_sense(what: str) -> None:
    given, words = faults()[what]
    for task in TASKS:
        for layers in ("sdpa", MIXED):
            with pytest.raises(ValueError, match=words) as caught:
                build(layers, task=task)(**given)
            assert "\n" not in str(caught.value)


def test_a_model_without_token_types_takes_zeros() -> None:
    model = build("sdpa", token_types=0)
    zeros = torch.zeros_like(IDS)
    with torch.no_grad():
        found = model(IDS, token_type_ids=zeros).logits
        assert torch.equal(found, model(IDS).logits)
    with pytest.raises(ValueError, match="token_types = 0; got 1"):
        model(IDS, token_type_ids=zeros + 1)


def test_lengths_that_do_make_sense() -> None:
    model = build("sdpa")
    assert model(torch.zeros(1, 40, dtype=torch.long)).logits.shape == (1, 40, 50)
    assert torch.equal(model(IDS.int()).logits, model(IDS).logits)
    for positions in ("none", "sinusoidal"):
        longer = build("sdpa", positions=positions)
        assert longer(torch.zeros(1, 99, dtype=torch.long)).logits.isfinite().all()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("residual", ["pre", "post"])
def test_a_batch_of_no_sequences(task: Any, residual: str) -> None:
    layers = MIXED + "; turned; windowed; conv(kernel = 3, kind = depthwise); linear"
    model = build(layers, task=task, residual=residual)
    for mask in (None, MASK[:0]):
        output = model(IDS[:0], attention_mask=mask, output_hidden_states=True)
        shapes = {"base": (0, 9, 16), "masked-lm": (0, 9, 50)}
        assert output[0].shape == shapes.get(task, (0, 3))
        assert {state.shape for state in output.hidden_states} == {(0, 9, 16)}
        output[0].sum().backward()
        assert all(not p.grad.any() for p in model.parameters() if p.grad is not None)


def test_labels_of_tokens() -> None:
    model = build("sdpa")
    for labels, words in (
        (IDS[:, :8], r"labels must be \[B, N\] = \[3, 9\]; got \[3, 8\]"),
        (IDS[0], r"got \[9\]"),
        (IDS.float(), "labels must be int64 or int32; got float32"),
        (IDS + 50, "from 0 to 49 or -100, the model's vocabulary"),
        (IDS - 60, "from 0 to 49 or -100, the model's vocabulary"),
    ):
        for only in (False, True):
            with pytest.raises(ValueError, match=words):
                model(IDS, labels=labels, targets_only=only)
    assert torch.equal(model(IDS, labels=IDS.int()).loss, model(IDS, labels=IDS).loss)


@pytest.mark.parametrize(
    ("problem", "labels", "words"),
    [
        (None, torch.tensor([0, 3, 1]), "from 0 to 2 or -100, the model has 3 classes"),
        (None, torch.tensor([0, 1]), r"\[B\] = \[3\]; got \[2\]"),
        (None, IDS, r"\[B\] = \[3\]; got \[3, 9\]"),
        (None, torch.zeros(3), r"\[B, 3\] = \[3, 3\]; got \[3\]"),
        ("single_label_classification", torch.zeros(3), "int64 or int32; got float32"),
        ("multi_label_classification", torch.zeros(3, 2), r"\[3, 3\]; got \[3, 2\]"),
        ("multi_label_classification", IDS[:, :3], "floating point .* got int64"),
        ("regression", torch.zeros(3), r"\[3, 3\]; got \[3\]"),
        ("regression", IDS[:, :3], "floating point .* got int64"),
    ],
)
def test_labels_of_sequences(
    problem: str | None, labels: torch.Tensor, words: str
) -> None:
    model = build("sdpa", task="sequence-classification")
    model.config.problem_type = problem
    with pytest.raises(ValueError, match=words):
        model(IDS, labels=labels)


def test_one_number_a_sequence() -> None:
    model = build("sdpa", task="sequence-classification", num_labels=1)
    for labels in (torch.zeros(3), torch.zeros(3, 1)):
        output = model(IDS, labels=labels)
        assert torch.equal(output.loss, output.logits.square().mean())


def test_functions_refuse_inputs_of_unlike_shapes() -> None:
    attend = azc.compile_attention(azc.loads(text_of("sdpa")), "sdpa")
    x = torch.zeros(3, 2, 9, 4)
    for other in (x[:2], x[:, :1], x[:, :, :8], x[..., :2]):
        with pytest.raises(UsageError, match=r"q is \[3, 2, 9, 4\], v is \[") as caught:
            attend(q=x, k=x, v=other)
        assert caught.value.code == "U002"
    with pytest.raises(UsageError, match=r"\[B, H, N, D\]; k is \[2, 9, 4\]"):
        attend(q=x, k=x[0], v=x)


# What transformers' BERT has and a compiled model has not


ASKED: dict[str, Any] = {
    "output_attentions": True,
    "head_mask": torch.ones(1, 2),
    "encoder_hidden_states": torch.zeros(3, 4, 16),
    "encoder_attention_mask": torch.ones(3, 4),
    "past_key_values": ((),),
    "use_cache": True,
    "cache_position": torch.arange(9),
    "is_causal": True,
    "attention_masks": MASK,  # a slip of the pen
}
SET = {
    "output_attentions": True,
    "use_cache": True,
    "is_decoder": True,
    "is_encoder_decoder": True,
    "add_cross_attention": True,
    "chunk_size_feed_forward": 4,
    "pruned_heads": {0: [1]},
}


@pytest.mark.parametrize("task", TASKS)
def test_what_is_not_served_is_refused(task: Any) -> None:
    model = build("sdpa", task=task)
    for name, value in ASKED.items():
        with pytest.raises(ValueError, match=rf"^{name} is not supported: ") as caught:
            model(IDS, **{name: value})
        assert "\n" not in str(caught.value)
    if task == "base":
        with pytest.raises(
            ValueError, match=r"^num_items_in_batch .* no head, and so no"
        ):
            model(IDS, num_items_in_batch=4)
    nothing = dict.fromkeys(ASKED)
    model(IDS, **nothing)
    model(IDS, output_attentions=False, use_cache=False, is_causal=False)
    for name, value in SET.items():
        model = build("sdpa", task=task)
        # Under sdpa transformers itself refuses attentions, as soon as they are set.
        model.set_attn_implementation("eager")
        setattr(model.config, name, value)
        for call in (lambda model=model: model(IDS), lambda m=model: type(m)(m.config)):
            with pytest.raises(ValueError, match=rf"config\.{name} is not supported: "):
                call()


def test_argument_and_configuration_give_the_same_answer() -> None:
    for name in ASKED.keys() & SET.keys():
        model = build("sdpa")
        model.set_attn_implementation("eager")
        with pytest.raises(ValueError, match=name) as by_argument:
            model(IDS, **{name: ASKED[name]})
        setattr(model.config, name, SET[name])
        with pytest.raises(ValueError, match=name) as by_configuration:
            model(IDS)
        reasons = [
            str(e.value).partition(": ")[2] for e in (by_argument, by_configuration)
        ]
        assert reasons[0] == reasons[1]


SIZES = {
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 512,
    "type_vocab_size": 1,
    "hidden_act": "relu",
    "hidden_dropout_prob": 0.5,
    "attention_probs_dropout_prob": 0.5,
    "layer_norm_eps": 1e-5,
}


@pytest.mark.parametrize("name", SIZES)
def test_a_size_that_is_not_the_program_s(name: str) -> None:
    given = {"program": text_of("sdpa"), "model": "m"}
    with pytest.raises(
        UsageError, match=rf"{name} is {SIZES[name]} .*, but .* in the program"
    ):
        AzcConfig(**given, **{name: SIZES[name]})
    config = AzcConfig(**given)
    setattr(config, name, SIZES[name])
    with pytest.raises(UsageError, match=rf"{name} is {SIZES[name]}"):
        AzcForMaskedLM(config)


def test_sizes_that_are_the_program_s() -> None:
    config = AzcConfig(
        program=text_of("sdpa"), model="m", hidden_size=16, hidden_dropout_prob=0.0
    )
    again = AzcConfig(**config.to_dict())
    assert again.hidden_size == 16
    assert again.to_dict() == config.to_dict()
