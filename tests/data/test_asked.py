"""What data asks for: something in every part, or it is refused before any training."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from azc.data.contract import IGNORED, Data
from azc.data.corpus import Corpus, load_corpus
from azc.data.load import load_data
from azc.data.mlm import MaskedLMData
from azc.data.tasks import TASKS
from azc.data.tokenizer import load_tokenizer
from azc.data.tokens import encode
from azc.diagnostics import RunError
from tests.runs import write_corpus

SIX = "one two three,four five six,seven eight,nine ten,eleven,twelve thirteen".split(
    ","
)


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six short lines."""
    path = tmp_path_factory.mktemp("six") / "six.txt"
    path.write_text("\n\n".join(SIX), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("asked") / "corpus.txt")


def load(spec: object, **changes: Any) -> Data:
    return load_data(str(spec), **{"vocab": 200, "length": 16, **changes})


@pytest.mark.parametrize(("seed", "split"), [(0, "validation"), (8, "test")])
@pytest.mark.parametrize("tasks", ["", "+task:recall"])
def test_a_part_without_a_masked_token(
    six: Path, seed: int, split: str, tasks: str
) -> None:
    """Also beside a task, which would hide it: its loss alone is a number."""
    with pytest.raises(RunError, match=f"in the {split} part of the text") as caught:
        load(f"{six}{tasks}", seed=seed)
    assert caught.value.code == "D024"


def test_another_seed_or_objective_will_do(six: Path) -> None:
    for data in (load(six, seed=1), load(six, seed=0, causal=True)):
        for split in ("validation", "test"):
            assert sum(batch.asked for batch in data.held_out(split, 4)) > 0


def test_the_sequences_that_scores_are_measured_on(corpus: Path) -> None:
    whole = load(corpus, length=8, seed=3)
    assert not next(whole.held_out("validation", 1)).asked
    with pytest.raises(RunError, match="in the first 1 sequence of the val") as caught:
        load(corpus, length=8, seed=3, blocks=1)
    assert caught.value.code == "D024"
    assert "use more sequences" in str(caught.value.help)


def test_a_text_of_unknown_words(corpus: Path, tmp_path: Path) -> None:
    """They are special tokens, and never masked."""
    tokenizer = load_tokenizer(load_corpus(str(corpus)), vocab_size=96)
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    text = tmp_path / "text.txt"
    text.write_text(
        "\n\n".join("日本語 の テキスト"[: 3 + i] for i in range(6)), "utf-8"
    )
    with pytest.raises(RunError, match="in the train part") as caught:
        load(text, tokenizer=str(tmp_path / "tokenizer"))
    assert caught.value.code == "D024"


def test_every_batch_of_training_asks_for_something(corpus: Path) -> None:
    """However few tokens are masked: nothing asked for is a loss that is NaN."""
    data = load(corpus, length=8, mask_rate=1e-9)
    batches = list(islice(data.batches(1, seed=0), 50))
    assert [batch.asked for batch in batches] == [1] * 50
    for batch in batches:
        ((row, column),) = (batch.labels != IGNORED).nonzero().tolist()
        assert batch.input_ids[row, column] != batch.labels[row, column]
    places = {int((batch.labels != IGNORED).nonzero()[0, 1]) for batch in batches}
    assert len(places) == 6, "any of them"


def test_sequences_that_can_ask_for_nothing_are_passed_over(corpus: Path) -> None:
    """Some of the text is unknown words from end to end."""
    tokenizer = load_tokenizer(load_corpus(str(corpus)), vocab_size=96)
    words = ["river stone light tree runs falls"] * 9 + ["日 本 語 の 文 字"] * 31
    texts = [f"{text} {'of ' * (i % 5)}" for i, text in enumerate(words)]
    encoded = encode(Corpus.of("half", texts), tokenizer)
    data = MaskedLMData(encoded, tokenizer, length=8, mask_rate=0.5)
    sequences = data.ids("train", torch.arange(data.count("train")))
    special = torch.isin(sequences, torch.tensor(tokenizer.all_special_ids))
    assert special.all(1).any()
    assert all(batch.asked for batch in islice(data.batches(1, seed=0), 100))


@pytest.mark.parametrize("causal", [False, True])
def test_tasks_always_ask(causal: bool) -> None:
    for name in TASKS:
        data = load(f"task:{name}", length=12, causal=causal)
        data.check(1)
        for split in ("validation", "test"):
            assert all(batch.asked for batch in data.held_out(split, 1))
