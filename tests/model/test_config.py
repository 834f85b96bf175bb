"""Whatever stands in a `config.json`: it works, or it is refused in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

import azc
from azc.check.models import MAX_PARAMETERS, VOCAB
from azc.diagnostics import AzcError, DiagnosticError, UsageError
from azc.model.config import AzcConfig
from azc.model.tasks import AzcForMaskedLM, register
from tests.model.models import build

IDS = torch.tensor([[0, 1, 2]])
VALUES = (
    None,
    [],
    {},
    -1,
    0,
    3,
    1e30,
    10**30,
    1.5,
    True,
    "x",
    "",
    "zeros",
    [1],
    {"x": 1},
)
# Those that are written, and more that transformers reads.
KEYS = (
    "architectures",
    "auto_map",
    "dtype",
    "hidden_size",
    "id2label",
    "initializer_range",
    "intermediate_size",
    "label2id",
    "max_position_embeddings",
    "model",
    "num_attention_heads",
    "num_hidden_layers",
    "num_labels",
    "output_hidden_states",
    "pad_token_id",
    "problem_type",
    "program",
    "quantization_config",
    "return_dict",
    "tie_word_embeddings",
    "to_dict",
    "torch_dtype",
    "transformers_version",
    "type_vocab_size",
    "vocab_size",
)


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    """What is written of a classifier."""
    register()
    model = build("sdpa", task="sequence-classification")
    found: dict[str, Any] = json.loads(model.config.to_json_string())
    assert found.keys() - KEYS == {"model_type"}
    return found


@pytest.mark.parametrize("key", KEYS)
def test_any_value_of_any_key(key: str, config: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    for value in VALUES:
        file.write_text(json.dumps({**config, key: value}))
        loads = [AzcConfig.from_pretrained]
        if key != "auto_map":  # transformers reads it before anything of azc is called
            loads.append(AutoConfig.from_pretrained)
        for load in loads:
            try:
                found = load(tmp_path)
                model = AutoModelForSequenceClassification.from_config(found)
            except AzcError:
                continue
            out = model.eval()(IDS, labels=torch.tensor([0]), return_dict=True)
            assert out.logits.shape[0] == 1
            found.save_pretrained(tmp_path / "again")
            assert isinstance(AzcConfig.from_pretrained(tmp_path / "again"), AzcConfig)


@pytest.mark.parametrize(
    ("changed", "code", "words"),
    [
        ({"program": None}, "U014", "program must be the text of a program; got None"),
        ({"program": ["model m {}"]}, "U014", "program must be the text of a program"),
        ({"program": 5}, "U014", "program must be the text of a program; got 5"),
        ({"program": ""}, "U014", "it has no program"),
        ({"program": "model m {"}, "AZG002", "config.json: program:1:9"),
        ({"model": None}, "U014", "model must be the name of a model"),
        ({"model": "bert"}, "U010", "no model `bert`"),
        ({"vocab_size": -5}, "U014", "whole number from 1 to 100,000,000; got -5"),
        ({"vocab_size": 1e30}, "U014", "got 1e+30"),
        ({"vocab_size": True}, "U014", "got True"),
        ({"vocab_size": 90_000_000}, "U013", "but 50"),
        ({"num_labels": 10**9}, "U014", "num_labels must be a whole number from 1"),
        ({"id2label": {"x": "a"}}, "U014", "id2label must be a map from numbers"),
        ({"dtype": "int8"}, "U014", "dtype must be a type of floating point numbers"),
        ({"initializer_range": "wide"}, "U014", "must be a number from 0; got 'wide'"),
        ({"to_dict": 1}, "U014", "to_dict can't be set"),
    ],
)
def test_what_is_said(
    changed: dict[str, Any],
    code: str,
    words: str,
    config: dict[str, Any],
    tmp_path: Path,
) -> None:
    wrong = {**config, **changed}
    build("sdpa").save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(wrong))
    for load in (
        lambda: AzcConfig(**wrong),
        lambda: AutoConfig.from_pretrained(tmp_path),
        lambda: AutoModel.from_pretrained(tmp_path),
    ):
        with pytest.raises(AzcError) as caught:
            AutoModel.from_config(load())
        assert caught.value.code == code
        assert words in str(caught.value)


def test_what_is_set_later_is_read_as_carefully(config: dict[str, Any]) -> None:
    for name, value in (("program", None), ("model", 1), ("vocab_size", -5)):
        wrong = AzcConfig(**config)
        setattr(wrong, name, value)
        with pytest.raises(UsageError, match=f"{name} must be"):
            AzcForMaskedLM(wrong)


def test_sizes_have_the_limits_of_the_language(config: dict[str, Any]) -> None:
    wide = config["program"].replace("hidden = 16", "hidden = 65536")
    huge = MAX_PARAMETERS // 65536
    assert huge < VOCAB.high
    wide = wide.replace("vocab = 50", f"vocab = {huge}")
    with pytest.raises(DiagnosticError, match=f"the limit is {MAX_PARAMETERS:,}"):
        AzcConfig(program=wide, model="m")
    for setting in ("vocab = -5", f"vocab = {VOCAB.high + 1}", "ffn = 10000000000"):
        text = config["program"].replace("hidden = 16", f"hidden = 16\n    {setting}")
        text = "\n".join(line for line in text.split("\n") if "vocab = 50" not in line)
        with pytest.raises(DiagnosticError, match=r"config\.json: program:"):
            AzcConfig(program=text, model="m")
    layers = config["program"].replace(
        "        sdpa\n", "        repeat 9999 { sdpa }\n"
    )
    with pytest.raises(DiagnosticError, match="9,999 layers"):
        AzcConfig(program=layers, model="m")


# What changes a model changes its program


@pytest.mark.parametrize(
    ("task", "tied", "given", "tokens"),
    [
        ("masked-lm", True, (57,), 57),
        ("masked-lm", False, (40,), 40),
        ("causal-lm", True, (57, 8), 64),
        ("causal-lm", False, (None, 16), 64),
        ("sequence-classification", True, (57,), 57),
        ("masked-lm", True, (None, 25), 50),
    ],
)
def test_other_tokens_are_in_the_program(
    task: Any, tied: bool, given: Any, tokens: int, tmp_path: Path
) -> None:
    model = build(
        "sdpa; conv(kernel = 3)",
        task=task,
        tie_embeddings=tied,
        causal=task == "causal-lm",
    )
    made = model.resize_token_embeddings(*given)
    assert made.weight.shape == (tokens, 16)
    assert (model.config.vocab_size, model.base_model.spec.vocab) == (tokens, tokens)
    program = model.config.program
    assert f"    vocab = {tokens}\n" in program
    # Of the text alone comes the same model.
    again = azc.compile(azc.loads(program), "m", task=task)
    shapes = {name: x.shape for name, x in model.state_dict().items()}
    if task != "sequence-classification":  # which has other labels
        assert {name: x.shape for name, x in again.state_dict().items()} == shapes
    model.save_pretrained(tmp_path)
    assert program in (tmp_path / "README.md").read_text()
    loaded = type(model).from_pretrained(tmp_path).eval()
    assert loaded.config.program == program
    ids = torch.arange(tokens)[-8:][None]
    with torch.no_grad():
        wanted = model(ids).logits
        torch.testing.assert_close(loaded(ids).logits, wanted)
        loaded.set_attn_implementation("eager")
        torch.testing.assert_close(loaded(ids).logits, wanted)


def test_a_vocabulary_that_was_not_written_is() -> None:
    text = "from std.attention import sdpa\n\n# Mine.\nmodel m {{\n    # Wide.\n{}}}\n"
    sizes = "    hidden = 8\n    heads = 2\n    max_length = 8\n"
    rest = sizes + "\n    layers {\n        sdpa\n    }\n"
    model = azc.compile(azc.loads(text.format(rest)), "m")
    before = model.config.program
    model.resize_token_embeddings(20)
    assert model.config.program == before.replace(
        "{\n    # W", "{\n    vocab = 20\n    # W"
    )


def test_tokens_that_there_can_t_be() -> None:
    model = build("sdpa")
    before = model.config.to_dict()
    for given, words in (
        ((0,), "new_num_tokens is 0; it must be a whole number from 1 to 100,000,000"),
        ((-1,), "new_num_tokens is -1"),
        ((10**9,), "new_num_tokens is 1000000000"),
        ((2.5,), "new_num_tokens is 2.5"),
        ((57, 0), "pad_to_multiple_of is 0"),
        ((57, "8"), "pad_to_multiple_of is '8'"),
        ((57, 10**8 + 1), "pad_to_multiple_of is"),
        ((10**8, 10**8 - 1), r"vocab.*from 1 to 100,000,000"),
    ):
        with pytest.raises(AzcError, match=words):
            model.resize_token_embeddings(*given)
        assert model.config.to_dict() == before
        assert model.get_input_embeddings().weight.shape == (50, 16)
    assert model.resize_token_embeddings() is model.get_input_embeddings()
    assert model.config.to_dict() == before


@pytest.mark.parametrize("tied", [True, False])
def test_what_is_tied_is_in_the_program(tied: bool, tmp_path: Path) -> None:
    model = build("sdpa", tie_embeddings=not tied)
    model.config.tie_word_embeddings = tied
    model.save_pretrained(tmp_path)
    said = f"tie_embeddings = {str(tied).lower()}"
    assert said in AzcConfig.from_pretrained(tmp_path).program
    assert said in (tmp_path / "README.md").read_text()
