"""Causal data: every token told once, from what stands before it in its document."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from azc.data.causal import CausalLMData, packed
from azc.data.contract import IGNORED, Batch, Split
from azc.data.corpus import Corpus
from azc.data.load import load_data
from azc.data.mixed import MixedData
from azc.data.tasks import TASKS, TaskData, find_task
from azc.data.text import split_documents
from azc.data.tokenizer import load_tokenizer
from azc.data.tokens import encode
from azc.diagnostics import AzcError
from azc.search.score import build_candidate
from azc.training.fit import measure
from tests.runs import DECODER, write_corpus

# Short documents and long ones.
TEXTS = tuple(topics[name] for name in sorted(topics))
SHORT = tuple(part for text in TEXTS[8:32] for part in text.split("\n\n"))
CORPUS = Corpus.of("topics", (*TEXTS[:8], *SHORT))


def made(corpus: Corpus, tokenizer: Any, **settings: Any) -> CausalLMData:
    return CausalLMData(encode(corpus, tokenizer), tokenizer, **settings)


def whole(data: CausalLMData, split: Split) -> Batch:
    """All sequences of a split."""
    return data._rows(split, torch.arange(data.count(split)))


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return load_tokenizer(CORPUS, vocab_size=400)


@pytest.fixture(scope="module")
def data(tokenizer: PreTrainedTokenizerFast) -> CausalLMData:
    return made(CORPUS, tokenizer, length=32, seed=3)


def pieces(batch: Batch) -> list[tuple[int, ...]]:
    """The tokens of every document in the blocks of a batch."""
    assert batch.document_ids is not None
    found = []
    for ids, documents, real in zip(
        batch.input_ids, batch.document_ids, batch.attention_mask, strict=True
    ):
        found += [
            tuple(ids[real & (documents == number)].tolist())
            for number in documents[real].unique()
        ]
    return found


def best_fit(sizes: list[int], room: int) -> list[list[int]]:
    """The same by the definition: each into the fullest block that has room, or else the
    first of them.
    """
    blocks: list[list[int]] = []
    for piece in sorted(range(len(sizes)), key=lambda place: -sizes[place]):
        left = [room - sum(sizes[each] for each in block) for block in blocks]
        fitting = [
            number for number in range(len(blocks)) if left[number] >= sizes[piece]
        ]
        if fitting:
            blocks[min(fitting, key=lambda number: left[number])].append(piece)
        else:
            blocks.append([piece])
    return blocks


@given(st.lists(st.integers(2, 16)))
def test_packing(sizes: list[int]) -> None:
    """Each once, none beyond its room, and no two blocks that would fit in one."""
    pieces, starts = packed(np.array(sizes, np.int64), 16)
    blocks = [pieces[a:b].tolist() for a, b in itertools.pairwise(starts)]
    assert blocks == best_fit(sizes, 16)
    assert sorted(itertools.chain(*blocks)) == list(range(len(sizes)))
    full = sorted(sum(sizes[piece] for piece in block) for block in blocks)
    assert all(size <= 16 for size in full)
    assert sum(full[:2]) > 16 or len(full) < 2


def test_blocks_hold_whole_documents_and_nothing_else(
    data: CausalLMData, tokenizer: PreTrainedTokenizerFast
) -> None:
    """A document longer than a block is cut; each piece begins anew."""
    texts = list(dict.fromkeys(CORPUS.documents))
    for split, places in split_documents(len(texts), 3).items():
        wanted: Counter[tuple[int, ...]] = Counter()
        for place in places:
            ids: Any = tokenizer(texts[place], add_special_tokens=False)["input_ids"]
            told = [*ids, tokenizer.sep_token_id]
            for start in range(0, len(told), 31):
                piece = (tokenizer.cls_token_id, *told[start : start + 31])
                wanted[piece] += 1
        batch = whole(data, split)
        assert Counter(pieces(batch)) == wanted
        assert any(len(each) < 31 for each in wanted)
        real, ids = batch.attention_mask, batch.input_ids
        assert (real[:, :-1] | ~real[:, 1:]).all(), "padding stands behind"
        assert (ids[~real] == tokenizer.pad_token_id).all()
        asked = batch.labels != IGNORED
        assert torch.equal(asked, real & (ids != tokenizer.cls_token_id))
        assert torch.equal(batch.labels[asked], ids[asked])
        assert batch.asked == sum((len(k) - 1) * n for k, n in wanted.items())


def test_little_room_is_left(data: CausalLMData) -> None:
    assert whole(data, "train").attention_mask.float().mean() > 0.99


def test_bytes_a_token(data: CausalLMData) -> None:
    texts = list(dict.fromkeys(CORPUS.documents))
    places = split_documents(len(texts), 3)["test"]
    (batch,) = data.held_out("test", 10**6)
    size = len("".join(texts[place] for place in places).encode())
    assert data.bytes_per_token == pytest.approx(size / batch.asked)


def test_an_epoch_holds_every_block_once_in_an_order_of_the_seed(
    data: CausalLMData,
) -> None:
    count = data.count("train")
    first, second = itertools.islice(data.batches(count, seed=5), 2)
    for batch in (first, second):
        assert Counter(pieces(batch)) == Counter(pieces(whole(data, "train")))
    assert not torch.equal(first.input_ids, second.input_ids)
    again = next(data.batches(count, seed=5))
    assert torch.equal(again.input_ids, first.input_ids)
    assert again.document_ids is not None
    assert first.document_ids is not None
    assert torch.equal(again.document_ids, first.document_ids)
    other = next(data.batches(count, seed=6))
    assert not torch.equal(other.input_ids, first.input_ids)


def test_the_seed_alone_fixes_it(tokenizer: PreTrainedTokenizerFast) -> None:
    prints = [
        made(CORPUS, tokenizer, length=32, seed=seed).fingerprint for seed in (1, 1, 2)
    ]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.usefixtures("one_thread")
def test_no_token_sees_another_document(data: CausalLMData) -> None:
    """What is measured of packed blocks is what each document gives alone."""
    text = DECODER.replace("vocab = 96", "vocab = 400")
    model, _ = build_candidate(text.replace("max_length = 16", ""), "start", 0)
    found = measure(model, data, "test", blocks=60, batch_size=9, device="cpu")
    batch = whole(data, "test").rows(0, 60)
    total, right, count = 0.0, 0, 0
    assert len(pieces(batch)) > 70
    for piece in pieces(batch):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([piece])).logits[0, :-1]
        told = torch.tensor(piece[1:])
        losses = torch.nn.functional.cross_entropy(logits, told, reduction="sum")
        total += float(losses)
        right += int((logits.argmax(-1) == told).sum())
        count += len(told)
    assert found.loss == pytest.approx(total / count, rel=1e-5)
    assert found.right == {"text": pytest.approx(right / count)}


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_asked_for_at_the_token_before(name: str) -> None:
    """The same rows as an encoder's, with the answers in their places."""
    masked = TaskData(find_task(name), length=40, seed=5)
    causal = TaskData(find_task(name), length=40, seed=5, causal=True)
    assert masked.fingerprint != causal.fingerprint
    one, two = next(masked.batches(9, seed=2)), next(causal.batches(9, seed=2))
    asked = one.labels != IGNORED
    assert torch.equal(two.labels, one.labels)
    assert torch.equal(two.input_ids, torch.where(asked, one.labels, one.input_ids))
    assert torch.equal(two.attention_mask, one.attention_mask)
    assert two.causal
    assert not one.causal


def test_text_and_a_task(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.txt")
    data = load_data(f"{corpus}+task:copy", vocab=200, length=32, causal=True)
    assert isinstance(data, MixedData)
    assert data.bytes_per_token is None
    text, task = itertools.islice(data.batches(4, seed=0), 2)
    assert (text.part, task.part) == ("text", "task:copy")
    assert text.causal
    assert task.causal
    assert task.input_ids.max() > text.input_ids.max()


def test_a_tokenizer_with_an_end_of_text_alone(tmp_path: Path) -> None:
    """As GPT-2's: it has no [CLS], no [MASK] and no padding."""
    corpus = write_corpus(tmp_path / "corpus.txt")
    words = sorted(set(corpus.read_text(encoding="utf-8").split()))
    made = Tokenizer(WordLevel({w: i for i, w in enumerate([*words, "<end>"])}))
    made.pre_tokenizer = Whitespace()
    for name, more in (("gpt", {"eos_token": "<end>"}), ("none", {})):
        folder = tmp_path / name
        PreTrainedTokenizerFast(tokenizer_object=made, **more).save_pretrained(folder)

    def load(name: str, causal: bool) -> Any:
        where = str(tmp_path / name)
        return load_data(
            str(corpus), vocab=100, length=16, tokenizer=where, causal=causal
        )

    end = len(words)
    (batch,) = load("gpt", True).held_out("test", 10**6)
    for piece in pieces(batch):
        assert piece[0] == end
        assert end not in piece[1:-1]
    assert (batch.input_ids[~batch.attention_mask] == end).all()
    for name, causal, lacks in (("gpt", False, "pad"), ("none", True, "eos")):
        with pytest.raises(AzcError, match=f"has no {lacks} token") as caught:
            load(name, causal)
        assert caught.value.code == "D011"


def test_refusals(tokenizer: PreTrainedTokenizerFast, data: CausalLMData) -> None:
    two = Corpus.of("two", ("a", "b", "a"))
    blank = Corpus.of("blank", ("\u200b", "\u200d", "\u2060"))
    for corpus, length, code in [
        (two, 16, "D020"),
        (CORPUS, 4, "D021"),
        (blank, 16, "D022"),
    ]:
        with pytest.raises(AzcError) as caught:
            made(corpus, tokenizer, length=length)
        assert caught.value.code == code
    with pytest.raises(AzcError) as caught:
        next(data.held_out("train", 4))
    assert caught.value.code == "D023"
