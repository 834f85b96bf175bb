"""Weights of transformers' models: those that mean the same are taken, no others."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertLMHeadModel,
    BertModel,
)

import azc
from azc.diagnostics import RunError
from azc.model.weights import load_weights
from tests.model.models import build, shake

SMALL = BertConfig(
    vocab_size=50,
    hidden_size=16,
    num_attention_heads=2,
    num_hidden_layers=2,
    intermediate_size=24,
    max_position_embeddings=40,
)


def test_the_masked_lm_head_is_bert_s() -> None:
    theirs = shake(BertForMaskedLM(SMALL)).eval()
    ours = build("sdpa; sdpa")
    load_weights(ours, theirs)
    ids = torch.randint(0, 50, (3, 9))
    mask = torch.ones(3, 9, dtype=torch.long)
    mask[1, 4:] = 0
    labels = torch.where(torch.rand(3, 9) < 0.4, ids, -100).masked_fill(mask == 0, -100)
    labels[0, 0] = 3
    with torch.no_grad():
        wanted = theirs(ids, attention_mask=mask, labels=labels)
        found = ours(ids, attention_mask=mask, labels=labels)
    real = mask.bool()
    torch.testing.assert_close(
        found.logits[real], wanted.logits[real], rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(found.loss, wanted.loss, rtol=1e-5, atol=1e-5)
    assert ours.head.decoder.weight is ours.model.embeddings.tokens.weight


def test_a_whole_bert_loads_into_a_base_model_and_a_classifier() -> None:
    theirs = shake(BertModel(SMALL)).eval()
    ids = torch.randint(0, 50, (2, 7))
    for task in ("base", "sequence-classification"):
        ours = load_weights(build("sdpa; sdpa", task=task), theirs)
        base = ours if task == "base" else ours.model
        with torch.no_grad():
            found, wanted = base(ids), theirs(ids)
        torch.testing.assert_close(
            found.pooler_output, wanted.pooler_output, rtol=1e-4, atol=1e-5
        )


def test_a_fine_tuned_bert() -> None:
    config = BertConfig(**{**SMALL.to_dict(), "num_labels": 3})
    theirs = shake(BertForSequenceClassification(config)).eval()
    ids = torch.randint(0, 50, (2, 7))
    ours = load_weights(build("sdpa; sdpa", task="sequence-classification"), theirs)
    with torch.no_grad():
        torch.testing.assert_close(
            ours(ids).logits, theirs(ids).logits, rtol=1e-4, atol=1e-5
        )
    base = load_weights(build("sdpa; sdpa", task="base"), theirs)
    for name, tensor in base.state_dict().items():
        assert torch.equal(tensor, ours.model.state_dict()[name])


@pytest.mark.parametrize("act", ["gelu", "gelu_python", "gelu_new", "relu", "silu"])
def test_activations_are_bert_s(act: str) -> None:
    ours = {"gelu_python": "gelu", "gelu_new": "gelu_tanh"}.get(act, act)
    theirs = shake(BertModel(BertConfig(**{**SMALL.to_dict(), "hidden_act": act})))
    model = build("sdpa; sdpa", task="base", activation=ours)
    ids = torch.randint(0, 50, (2, 7))
    with torch.no_grad():
        torch.testing.assert_close(
            load_weights(model, theirs)(ids).last_hidden_state,
            theirs.eval()(ids).last_hidden_state,
            rtol=1e-4,
            atol=1e-4,
        )


def refused(model: Any, code: str, words: str, *source: Any) -> None:
    """The source is refused with these words, and the model is as it was."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(RunError) as caught:
        load_weights(model, *source)
    assert caught.value.code == code
    assert words in f"{caught.value.message} = help: {caught.value.help}"
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


SIZES = SMALL.to_dict()
OTHERS: dict[str, dict[str, Any]] = {
    "XLMRoberta": {**SIZES, "max_position_embeddings": 40, "pad_token_id": 0},
    "Electra": {**SIZES, "embedding_size": 16},
    "Albert": {**SIZES, "embedding_size": 16},
    "MPNet": SIZES,
    "Ernie": SIZES,
    "GPTNeo": {
        "hidden_size": 16,
        "num_heads": 2,
        "vocab_size": 50,
        "num_layers": 2,
        "attention_types": [[["global"], 2]],
    },
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_models_are_refused_by_their_type(kind: str, tmp_path: Path) -> None:
    settings = {k: v for k, v in OTHERS[kind].items() if k != "model_type"}
    config = getattr(transformers, f"{kind}Config")(**settings)
    theirs = getattr(transformers, f"{kind}Model")(config)
    theirs.save_pretrained(tmp_path)
    model = build("sdpa; sdpa", task="base")
    words = f"weights of a model of type {config.model_type!r} can't be converted"
    for source in (theirs, tmp_path, tmp_path / "model.safetensors"):
        refused(model, "R025", words, source)
    state = theirs.state_dict()
    refused(model, "R025", words, state, config)


def test_a_folder_of_azc_is_loaded_otherwise(tmp_path: Path) -> None:
    model = build("sdpa")
    model.save_pretrained(tmp_path)
    for source in (tmp_path, tmp_path / "model.safetensors", model):
        with pytest.raises(RunError, match="with from_pretrained") as caught:
            load_weights(model, source)
        assert caught.value.code == "R025"


@pytest.mark.parametrize(
    ("theirs", "ours", "words"),
    [
        ({}, {"heads": 4}, "heads 4 in the model, 2 in the BERT"),
        ({"num_attention_heads": 8}, {}, "heads 2 in the model, 8 in the BERT"),
        ({}, {"activation": "gelu_tanh"}, "gelu_tanh in the model, gelu in the BERT"),
        ({"hidden_act": "mish"}, {}, "activation gelu in the model, mish in the BERT"),
        ({}, {"norm_eps": 1e-5}, "norm_eps 1e-05 in the model, 1e-12 in the BERT"),
        ({"layer_norm_eps": 1e-5}, {}, "norm_eps 1e-12 in the model, 1e-05"),
        ({}, {"residual": "pre"}, "residual pre in the model, post in the BERT"),
        ({}, {"norm": "rms_norm"}, "norm rms_norm in the model, layer_norm"),
        ({"is_decoder": True}, {}, "the BERT is a decoder"),
        (
            {"is_decoder": True, "add_cross_attention": True},
            {},
            "the BERT is a decoder",
        ),
        (
            {"position_embedding_type": "relative_key"},
            {},
            "positions of type relative_key",
        ),
        (
            {"hidden_act": "relu"},
            {"activation": "relu"},
            "the masked-lm's head has gelu in the model, relu in the BERT",
        ),
    ],
)
def test_what_the_shapes_don_t_tell(
    theirs: dict[str, Any], ours: dict[str, Any], words: str, tmp_path: Path
) -> None:
    config = BertConfig(**{**SMALL.to_dict(), **theirs})
    kind = BertLMHeadModel if config.is_decoder else BertForMaskedLM
    source = shake(kind(config))
    source.save_pretrained(tmp_path)
    model = build("sdpa; sdpa", **ours)
    for each in (source, tmp_path):
        refused(model, "R024", words, each)


def test_an_encoder_s_weights_are_not_a_decoder_s() -> None:
    theirs = BertModel(SMALL)
    words = "causal true in the model, false in the BERT"
    refused(build("sdpa; sdpa", task="base", causal=True), "R024", words, theirs)


def test_a_configuration_that_makes_no_sense() -> None:
    state = BertModel(SMALL).state_dict()
    model = build("sdpa; sdpa", task="base")
    for change in ({"hidden_size": "wide"}, {"layer_norm_eps": []}, {"id2label": 5}):
        words = "the configuration of the bert can't be used: "
        refused(model, "R025", words, state, {**SIZES, **change})


def test_an_attention_that_is_not_bert_s_is_told_of() -> None:
    theirs = BertModel(SMALL)
    with pytest.warns(
        UserWarning, match="`windowed` differs from the attention"
    ) as told:
        load_weights(build("sdpa; windowed", task="base"), theirs)
    assert [each.filename for each in told] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_weights(build("sdpa; sdpa", task="base"), theirs)


# Ties


def logits(model: Any) -> torch.Tensor:
    ids = torch.arange(12).view(2, 6)
    with torch.no_grad():
        found: torch.Tensor = model.eval()(ids).logits
    return found


def test_a_tied_head_in_a_model_that_ties_nothing(tmp_path: Path) -> None:
    theirs = shake(BertForMaskedLM(SMALL))
    theirs.save_pretrained(tmp_path)
    assert not any("decoder.weight" in n for n in load_file(tmp_path / FILE))
    for source in (theirs, tmp_path):
        ours = load_weights(build("sdpa; sdpa", tie_embeddings=False), source)
        torch.testing.assert_close(logits(ours), logits(theirs), rtol=1e-4, atol=1e-4)


def test_an_untied_head(tmp_path: Path) -> None:
    config = BertConfig(**{**SMALL.to_dict(), "tie_word_embeddings": False})
    theirs = shake(BertForMaskedLM(config))
    theirs.save_pretrained(tmp_path)
    for source in (theirs, tmp_path):
        ours = load_weights(build("sdpa; sdpa", tie_embeddings=False), source)
        torch.testing.assert_close(logits(ours), logits(theirs), rtol=1e-4, atol=1e-4)
        tied = build("sdpa; sdpa")
        words = "are tied in the model, but differ in the BERT"
        refused(tied, "R024", words, source)


# Folders, files and state dicts

FILE, INDEX = "model.safetensors", "model.safetensors.index.json"


def test_every_form_gives_the_same(tmp_path: Path) -> None:
    theirs = shake(BertForMaskedLM(SMALL)).half().float()
    theirs.save_pretrained(tmp_path / "whole")
    theirs.save_pretrained(tmp_path / "shards", max_shard_size="5KB")
    theirs.half().save_pretrained(tmp_path / "half")
    theirs.float()
    assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 3
    state = theirs.state_dict()
    sources: list[tuple[Any, ...]] = [
        (theirs,),
        (tmp_path / "whole",),
        (str(tmp_path / "whole"),),
        (tmp_path / "whole" / FILE,),
        (tmp_path / "shards",),
        (tmp_path / "shards" / INDEX,),
        (tmp_path / "half",),
        (state, SMALL),
        (state, SMALL.to_dict()),
        (state, {"model_type": "bert", "num_attention_heads": 2}),
    ]
    wanted = load_weights(build("sdpa; sdpa"), theirs).state_dict()
    for source in sources:
        model = build("sdpa; sdpa")
        assert azc.load_weights(model, *source) is model
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, wanted[name]), (source, name)


def test_weights_that_do_not_say_what_they_are(tmp_path: Path) -> None:
    theirs = BertModel(SMALL)
    model = build("sdpa; sdpa", task="base")
    save_file(theirs.state_dict(), tmp_path / FILE)
    plain = torch.nn.Linear(2, 2)
    words = "is unknown from weights alone = help: pass its configuration"
    for source in (theirs.state_dict(), tmp_path, tmp_path / FILE, plain):
        refused(model, "R025", words, source)
    (tmp_path / "config.json").write_text("{}")
    words = "of type None can't be converted"
    refused(model, "R025", words, tmp_path)
    for text in ("[]", "{", "[" * 100_000):
        (tmp_path / "config.json").write_text(text)
        refused(model, "R020", "config.json", tmp_path)


def test_pickles_are_refused(tmp_path: Path) -> None:
    theirs = BertModel(SMALL)
    model = build("sdpa; sdpa", task="base")
    SMALL.save_pretrained(tmp_path)
    for name in ("pytorch_model.bin", "weights.pt"):
        torch.save(theirs.state_dict(), tmp_path / name)
        for source in (tmp_path, tmp_path / name):
            words = f"{name} is a pickle, which may run code when it is read"
            refused(model, "R020", words, source)
        (tmp_path / name).unlink()
    words = f"has neither {FILE} nor {INDEX}"
    refused(model, "R020", words, tmp_path)
    words = "can't read weights from bert-base-uncased"
    refused(model, "R020", words, "bert-base-uncased")


def test_shards_that_are_broken(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    BertModel(SMALL).save_pretrained(whole, max_shard_size="5KB")
    index = json.loads((whole / INDEX).read_text())
    name, file = next(iter(index["weight_map"].items()))
    other = next(each for each in index["weight_map"].values() if each != file)
    model = build("sdpa; sdpa", task="base")
    for change, words in (
        ({"weight_map": {}}, "has no weights for"),
        ({"weight_map": None}, "does not map weights to files beside it"),
        ({"weight_map": {name: "../whole/" + file}}, "files beside it"),
        ({"weight_map": {name: 5}}, "files beside it"),
        ({"weight_map": {name: "gone.safetensors"}}, "can't read weights from"),
        ({"weight_map": {**index["weight_map"], name: other}}, f"lacks {name}"),
    ):
        broken = tmp_path / "broken"
        shutil.copytree(whole, broken)
        (broken / INDEX).write_text(json.dumps({**index, **change}))
        code = "R023" if "no weights" in words else "R020"
        refused(model, code, words, broken)
        shutil.rmtree(broken)


def test_tensors_that_hold_no_weights() -> None:
    theirs = BertModel(SMALL)
    model = build("sdpa; sdpa", task="base")
    state = theirs.state_dict()
    name = "encoder.layer.1.output.dense.weight"
    for tensor, words in (
        (state[name].to(torch.int8), "is of type torch.int8"),
        (state[name].to("meta"), "has no data"),
    ):
        wrong = {**state, name: tensor}
        refused(model, "R022", words, wrong, SMALL)
    refused(model, "R020", "must map names to tensors", {name: 5}, SMALL)


# Heads


def test_heads_for_other_tasks_are_left_out(tmp_path: Path) -> None:
    config = BertConfig(**{**SMALL.to_dict(), "num_labels": 3})
    for kind in (
        BertForTokenClassification,
        BertForQuestionAnswering,
        BertForPreTraining,
    ):
        theirs = shake(kind(config))
        theirs.save_pretrained(tmp_path)
        for source in (theirs, tmp_path):
            model = build("sdpa; sdpa", task="sequence-classification")
            head = model.classifier.weight.detach().clone()
            load_weights(model, source)
            assert torch.equal(model.classifier.weight, head)
            found = model.model.get_parameter(
                "encoder.layers.1.attention.output.weight"
            )
            wanted = theirs.bert.encoder.layer[1].attention.output.dense.weight
            assert torch.equal(found, wanted)


def test_weights_under_other_prefixes_and_old_names(tmp_path: Path) -> None:
    theirs = shake(BertForMaskedLM(SMALL)).eval()
    ours = load_weights(build("sdpa; sdpa"), theirs)
    old = {}
    for name, tensor in theirs.state_dict().items():
        renamed = name.replace("LayerNorm.weight", "LayerNorm.gamma")
        renamed = renamed.replace("LayerNorm.bias", "LayerNorm.beta")
        old[renamed] = tensor.clone()
    old["bert.embeddings.position_ids"] = torch.arange(40)[None]
    old["cls.seq_relationship.weight"] = torch.zeros(2, 16)
    save_file(old, tmp_path / "old.safetensors")
    SMALL.save_pretrained(tmp_path)
    again = load_weights(build("sdpa; sdpa"), tmp_path / "old.safetensors")
    for (name, one), other in zip(
        ours.state_dict().items(), again.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), name
