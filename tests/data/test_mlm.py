"""Masked-LM data: documents held out whole, blocks exact, masks fixed by the seed."""

from __future__ import annotations

import hashlib
import itertools
import random
import subprocess
import sys
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from azc.data import mlm as mlm_module
from azc.data.contract import IGNORED, Batch, Split
from azc.data.corpus import Corpus
from azc.data.mlm import MaskedLMData
from azc.data.text import split_documents
from azc.data.tokenizer import load_tokenizer
from azc.data.tokens import encode
from azc.diagnostics import AzcError

CORPUS = Corpus.of("topics", tuple(topics[name] for name in sorted(topics)))


def made(corpus: Corpus, tokenizer: Any, **settings: Any) -> MaskedLMData:
    return MaskedLMData(encode(corpus, tokenizer), tokenizer, **settings)


def sequences(data: MaskedLMData, split: Split) -> torch.Tensor:
    """All sequences of a split."""
    return torch.cat([*data.sequences(split, 0, data.count(split))])


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return load_tokenizer(CORPUS, vocab_size=400)


@pytest.fixture(scope="module")
def data(tokenizer: PreTrainedTokenizerFast) -> MaskedLMData:
    return made(CORPUS, tokenizer, length=32, seed=3)


def test_every_document_is_in_one_split() -> None:
    parts = split_documents(100, seed=1)
    assert [len(parts[s]) for s in ("train", "validation", "test")] == [90, 5, 5]
    assert sorted(itertools.chain(*parts.values())) == list(range(100))
    for seed, same in ((1, True), (2, False)):
        other = split_documents(100, seed=seed)
        assert all((other[split] == parts[split]).all() for split in parts) is same


def test_documents_are_drawn_as_they_always_were() -> None:
    """A list of the documents shuffled, as runs of earlier versions have it."""
    texts = [f"document {i}" for i in range(101)]
    parts = split_documents(len(texts), seed=7)
    random.Random(7).shuffle(texts)
    drawn = [*parts["validation"], *parts["test"], *parts["train"]]
    assert [f"document {i}" for i in drawn] == texts


def test_equal_documents_are_there_once(tokenizer: PreTrainedTokenizerFast) -> None:
    texts = tuple(f"a document of number {i}" for i in range(40))
    data = made(Corpus.of("twice", (*texts, texts[7], texts[7])), tokenizer, length=8)
    held = np.concatenate([*data.documents.values()])
    assert sorted(held) == list(range(40))


def test_blocks_hold_the_documents_and_nothing_else(
    data: MaskedLMData, tokenizer: PreTrainedTokenizerFast
) -> None:
    texts = list(dict.fromkeys(CORPUS.documents))
    for split, places in split_documents(len(texts), 3).items():
        blocks = sequences(data, split)
        assert blocks.shape[1] == 32
        real = blocks != tokenizer.pad_token_id
        assert real[:-1].all()
        assert (blocks[:, 0] == tokenizer.cls_token_id).all()
        found: list[int] = []
        for block, kept in zip(blocks, real, strict=True):
            assert block[kept][-1] == tokenizer.sep_token_id
            found += block[kept][1:-1].tolist()
        expected: list[int] = []
        for place in places:
            ids = tokenizer(texts[place], add_special_tokens=False)["input_ids"]
            expected += [*ids, tokenizer.sep_token_id]
        assert found == expected[:-1]


@pytest.mark.parametrize("rate", [0.15, 0.4])
def test_masking_rates_and_what_is_never_masked(
    rate: float, tokenizer: PreTrainedTokenizerFast
) -> None:
    data = made(CORPUS, tokenizer, length=32, seed=3, mask_rate=rate)
    originals = sequences(data, "train")
    batches = list(itertools.islice(data.batches(100, seed=0), 40))
    ids = torch.cat([batch.input_ids for batch in batches])
    labels = torch.cat([batch.labels for batch in batches])
    asked = labels != IGNORED
    before = torch.where(asked, labels, ids)  # the text as it was
    special = torch.isin(before, torch.tensor(tokenizer.all_special_ids))
    assert not (asked & special).any()
    assert asked[~special].float().mean().item() == pytest.approx(rate, abs=0.005)
    masked = ids[asked] == tokenizer.mask_token_id
    same = ids[asked] == labels[asked]
    assert masked.float().mean().item() == pytest.approx(0.8, abs=0.01)
    assert same.float().mean().item() == pytest.approx(0.1, abs=0.01)
    known = {tuple(row) for row in originals.tolist()}
    assert all(tuple(row) in known for row in before.tolist())


def test_what_is_measured_does_not_depend_on_the_mask_rate(
    data: MaskedLMData, tokenizer: PreTrainedTokenizerFast
) -> None:
    other = made(CORPUS, tokenizer, length=32, seed=3, mask_rate=0.4)
    assert other.fingerprint == data.fingerprint
    for split in ("validation", "test"):
        (mine,), (theirs,) = data.held_out(split, 10_000), other.held_out(split, 10_000)
        assert torch.equal(mine.input_ids, theirs.input_ids)
        assert torch.equal(mine.labels, theirs.labels)


def test_padding_is_marked_and_never_asked_for(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    corpus = Corpus.of("small", ("a b c", "d e f", "g h i j k"))
    data = made(corpus, tokenizer, length=16)
    batch = next(data.batches(64, seed=0))
    pads = batch.input_ids == tokenizer.pad_token_id
    assert (batch.attention_mask[:, :5]).all()
    assert not batch.attention_mask[:, -5:].any()
    assert pads[~batch.attention_mask].all()
    assert (batch.labels[~batch.attention_mask] == IGNORED).all()
    assert batch.asked == int((batch.labels != IGNORED).sum()) > 0


def test_an_epoch_holds_every_block_once(data: MaskedLMData) -> None:
    blocks = sequences(data, "train")
    count = len(blocks)
    batches = data.batches(count, seed=5)
    for _ in range(2):
        batch = next(batches)
        before = torch.where(batch.labels == IGNORED, batch.input_ids, batch.labels)
        assert sorted(before.tolist()) == sorted(blocks.tolist())


def test_batches_differ_by_seed_alone(data: MaskedLMData) -> None:
    def first(seed: int) -> list[list[int]]:
        batches = itertools.islice(data.batches(8, seed=seed), 3)
        return torch.cat([batch.input_ids for batch in batches]).tolist()

    torch.manual_seed(0)
    once = first(1)
    torch.manual_seed(99)
    assert first(1) == once != first(2)


def _fixed_masks(tokenizer: PreTrainedTokenizerFast, seed: int) -> str:
    data = made(CORPUS, tokenizer, length=32, seed=seed)
    digest = hashlib.sha256()
    for split in ("validation", "test"):
        for batch in data.held_out(split, 7):
            digest.update(batch.input_ids.numpy().tobytes())
            digest.update(batch.labels.numpy().tobytes())
    return digest.hexdigest()


def test_held_out_masks_are_the_same_in_every_process(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    here = _fixed_masks(tokenizer, 0)
    code = (
        "from tests.data.test_mlm import CORPUS, _fixed_masks, load_tokenizer;"
        "print(_fixed_masks(load_tokenizer(CORPUS, vocab_size=400), 0))"
    )
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert there.stdout.strip() == here, there.stderr
    assert _fixed_masks(tokenizer, 1) != here


def test_a_large_split_is_masked_in_parts(
    data: MaskedLMData, tokenizer: PreTrainedTokenizerFast
) -> None:
    """So that what is held does not grow with it. The first part is what it was."""
    (whole,) = data.held_out("test", 10_000)
    fingerprint = data.fingerprint
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlm_module, "_AT_ONCE", 32 * 7)
        other = made(CORPUS, tokenizer, length=32, seed=3)
        assert other.fingerprint != fingerprint
        found = [
            Batch.joined([*other.held_out("test", size)]) for size in (1, 3, 7, 50)
        ]
        assert len(other._measured["test"][1].labels) <= 7
    for parts in found:
        before = torch.where(parts.labels == IGNORED, parts.input_ids, parts.labels)
        assert torch.equal(before, sequences(data, "test"))
        assert torch.equal(parts.labels, found[0].labels)
        assert not torch.equal(parts.labels, whole.labels)
    # Of the first part the last draws alone differ: there are fewer.
    asked = found[0].labels != IGNORED
    assert torch.equal(asked[:7], whole.labels[:7] != IGNORED)
    assert asked.float().mean() == pytest.approx(0.15, abs=0.02)


def test_fewer_blocks_are_the_first_ones(data: MaskedLMData) -> None:
    whole = torch.cat([b.input_ids for b in data.held_out("test", 4)])
    part = torch.cat([b.input_ids for b in data.held_out("test", 3, blocks=5)])
    assert torch.equal(part, whole[:5])
    more = torch.cat([b.input_ids for b in data.held_out("test", 64, blocks=10**9)])
    assert torch.equal(more, whole)


def test_refusals(tokenizer: PreTrainedTokenizerFast, data: MaskedLMData) -> None:
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
