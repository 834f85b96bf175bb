"""What `--data` names: texts, tasks and mixes, in the vocabulary of a model."""

from __future__ import annotations

import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from azc.data.contract import IGNORED, Data
from azc.data.corpus import load_corpus
from azc.data.load import DataSpec, load_data
from azc.data.mixed import MixedData
from azc.data.mlm import MaskedLMData
from azc.data.tasks import TASKS, TaskData, find_task
from azc.data.tokenizer import load_tokenizer
from azc.data.tokens import encode
from azc.diagnostics import AzcError
from tests.runs import write_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("load") / "corpus.txt")


def load(spec: str, **changes: Any) -> Data:
    return load_data(spec, **{"vocab": 200, "length": 32, **changes})


def prepared(name: str, **settings: Any) -> TaskData:
    return TaskData(find_task(name), length=32, **settings)


@pytest.mark.parametrize(
    ("spec", "text", "tasks"),
    [
        ("python", "python", ()),
        ("", "", ()),
        ("hf:NAME/CONFIG", "hf:NAME/CONFIG", ()),
        ("my+files/task:recall", "my+files/task:recall", ()),
        ("./task:recall", "./task:recall", ()),
        ("task:recall", None, ("recall",)),
        ("task:", None, ("",)),
        ("task:recall+task:copy", None, ("recall", "copy")),
        ("a+b.txt+task:copy", "a+b.txt", ("copy",)),
        ("hf:x/y+task:copy+task:recall", "hf:x/y", ("copy", "recall")),
        ("+task:recall", "", ("recall",)),
    ],
)
def test_specifications(spec: str, text: str | None, tasks: tuple[str, ...]) -> None:
    assert DataSpec.parse(spec) == DataSpec(text, tasks)
    assert str(DataSpec.parse(spec)) == spec


def test_units() -> None:
    found = {
        (spec, causal): DataSpec.parse(spec).unit(causal)
        for spec in ("python", "task:copy", "python+task:copy")
        for causal in (False, True)
    }
    assert found == {
        ("python", False): "per masked token",
        ("python", True): "per token",
        ("task:copy", False): "per answer",
        ("task:copy", True): "per answer",
        ("python+task:copy", False): "per masked token or answer",
        ("python+task:copy", True): "per token or answer",
    }


def test_a_text_is_what_it_was(corpus: Path) -> None:
    """The fingerprint is of the tokens alone: runs of earlier versions have it."""
    text = load_corpus(str(corpus))
    tokenizer = load_tokenizer(text, vocab_size=200)
    data = MaskedLMData(encode(text, tokenizer), tokenizer, length=32)
    found = load(str(corpus))
    assert isinstance(found, MaskedLMData)
    assert found.fingerprint == data.fingerprint
    assert found.fingerprint.startswith("477715074ac23aac")


@pytest.mark.parametrize(
    ("causal", "length", "print_"),
    [
        (False, 32, "fafeed12100d9ce4"),
        (False, 9, "2c2935789daae5a9"),
        (True, 32, "a4f5f3c166b0bbb0"),
        (True, 9, "49463b2cc492bcee"),
    ],
)
def test_sequences_are_what_they_were(
    corpus: Path, tmp_path: Path, causal: bool, length: int, print_: str
) -> None:
    """Made by the version that held all of them in memory."""
    for cache in (None, tmp_path, tmp_path):
        data = load(str(corpus), length=length, seed=2, causal=causal, cache=cache)
        assert data.fingerprint.startswith(print_)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_alone(name: str) -> None:
    data = load(f"task:{name}")
    assert data.fingerprint == prepared(name).fingerprint
    assert load(f"task:{name}", vocab=data.vocab_size).vocab_size == data.vocab_size


def test_a_mix_shares_a_vocabulary(corpus: Path) -> None:
    spec = f"{corpus}+task:recall+task:copy"
    data = load(spec)
    assert isinstance(data, MixedData)
    text, recall, copy = data.parts
    assert isinstance(text, MaskedLMData)
    assert text.vocab_size <= 200 - 64 - 33
    assert recall.vocab_size == text.vocab_size + 64
    assert copy.vocab_size == data.vocab_size == recall.vocab_size + 33 <= 200
    special = set(text.tokenizer.all_special_ids)
    ranges = {
        "text": range(text.vocab_size),
        "task:recall": range(text.vocab_size, recall.vocab_size),
        "task:copy": range(recall.vocab_size, copy.vocab_size),
    }
    for batch in islice(data.batches(8, seed=1), 9):
        labels = set(batch.labels[batch.labels != IGNORED].tolist())
        ids = set(batch.input_ids[batch.attention_mask].tolist())
        assert labels <= set(ranges[batch.part])
        assert ids <= set(ranges[batch.part]) | special
        assert (
            batch.input_ids[~batch.attention_mask].eq(text.tokenizer.pad_token_id).all()
        )


def test_parts_of_a_mix_take_turns(corpus: Path) -> None:
    spec = f"{corpus}+task:recall+task:copy"
    data = load(spec)
    batches = list(islice(data.batches(8, seed=1), 30))
    parts = ["text", "task:recall", "task:copy"]
    assert [batch.part for batch in batches] == parts * 10
    # Each is what the part alone gives.
    assert isinstance(data, MixedData)
    for i, part in enumerate(data.parts):
        alone = islice(part.batches(8, seed=1), 10)
        for mixed, own in zip(batches[i::3], alone, strict=True):
            assert torch.equal(mixed.input_ids, own.input_ids)
    held = list(data.held_out("test", 8, blocks=20))
    assert {batch.part: 0 for batch in held} == dict.fromkeys(parts, 0)
    for name in parts[1:]:
        assert sum(len(b.input_ids) for b in held if b.part == name) == 20


def test_the_fingerprint_of_a_mix_is_that_of_all_in_it(corpus: Path) -> None:
    spec = f"{corpus}+task:recall"
    prints = {
        load(spec).fingerprint,
        load(spec, seed=1).fingerprint,
        load(spec, length=33).fingerprint,
        load(str(corpus)).fingerprint,
        load(f"{corpus}+task:copy").fingerprint,
        load(f"{spec}+task:copy").fingerprint,
    }
    assert len(prints) == 6
    code = (
        "import sys; from azc.data.load import load_data;"
        "print(load_data(sys.argv[1], vocab=200, length=32).fingerprint)"
    )
    command = [sys.executable, "-c", code, spec]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == load(spec).fingerprint


@pytest.mark.parametrize(
    ("spec", "changes", "code", "said"),
    [
        ("task:recal", {}, "D030", "no task `recal`"),
        ("task:", {}, "D030", "no task ``"),
        ("task:recall+python", {}, "D030", "no task `recall+python`"),
        ("task:copy+task:copy", {}, "D030", "task:copy is named twice"),
        ("task:recall", {"length": 9}, "D031", "9 tokens are too short"),
        ("TEXT+task:recall", {"length": 9}, "D031", "9 tokens are too short"),
        ("+task:recall", {}, "D005", "empty name"),
        ("nothing.txt+task:recall", {}, "D001", "nothing.txt"),
        ("task:recall", {"vocab": 67}, "R034", "of at least 68, the model has 67"),
        (
            "task:recall+task:copy",
            {"vocab": 100},
            "R034",
            "of at least 101, the model has 100",
        ),
        ("TEXT+task:recall", {"vocab": 127}, "R034", "of at least 128, the model has"),
        ("task:recall", {"tokenizer": "x"}, "D032", "task:recall has none"),
    ],
)
def test_what_is_refused(
    corpus: Path, spec: str, changes: dict[str, Any], code: str, said: str
) -> None:
    with pytest.raises(AzcError) as caught:
        load(spec.replace("TEXT", str(corpus)), **changes)
    assert (caught.value.code, said in caught.value.message) == (code, True)


@pytest.mark.parametrize("name", TASKS)
def test_the_vocabulary_that_a_refusal_names_is_enough(
    corpus: Path, tmp_path: Path, name: str
) -> None:
    text = load_corpus(str(corpus))
    load_tokenizer(text, vocab_size=96).save_pretrained(tmp_path / "tokenizer")
    for spec, changes in (
        (f"task:{name}", {}),
        (f"{corpus}+task:{name}", {}),
        (f"{corpus}+task:{name}", {"tokenizer": str(tmp_path / "tokenizer")}),
    ):
        with pytest.raises(AzcError) as caught:
            load(spec, vocab=5, **changes)
        assert caught.value.code == "R034"
        help_ = str(caught.value.help)
        enough = int(help_.removeprefix("set vocab = ").removesuffix(" in the model"))
        assert load(spec, vocab=enough, **changes).vocab_size <= enough
        with pytest.raises(AzcError):
            load(spec, vocab=enough - 1, **changes)
