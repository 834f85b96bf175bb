"""Pieces: a tokenizer learns and says of them what it does of the whole."""

from __future__ import annotations

import random
from collections import Counter
from pydoc_data.topics import topics
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.trainers import WordPieceTrainer

from azc.data import pieces as module
from azc.data import tokenizer as tokenizer_module
from azc.data.corpus import Corpus
from azc.data.pieces import pieces, reads_pieces_alike
from azc.data.tokenizer import SPECIAL_TOKENS, load_tokenizer

TEXTS = tuple(topics[name] for name in sorted(topics))[:20]
# What a BERT tokenizer removes, parts, joins or changes.
SIGNS = (
    *" \t\n.,;!?\"()/=-_'[]#",
    *"\u00a0\u2028\u3000\x07\x1c\x85\u200b\u0301\ufb01\u0130\u1e9e\u03a3",
    *("naïve", "ÉTÉ", "日本語", "かな", "Ünï", "[MASK]", "[SEP]"),
    *("😀", "ΑΣ", "x" * 30),
    *("a", "b", "the", "of", "word", "read") * 5,
)
RANDOM = random.Random(0)
MIXED = ["".join(RANDOM.choices(SIGNS, k=80)) for _ in range(200)]
# A letter that stands within a word once a control character is removed.
TRICKY = Corpus.of("tricky", [*MIXED, "a\x1cж " * 99])


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short documents are cut like long ones."""
    monkeypatch.setattr(module, "_SIZE", 7)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(Corpus.of("topics", TEXTS), vocab_size=400).backend_tokenizer


def ids(tokenizer: Any, *texts: str) -> list[int]:
    found = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    return [each for encoding in found for each in encoding.ids]


@given(st.lists(st.sampled_from(SIGNS), max_size=60).map("".join))
@settings(max_examples=300)
def test_the_tokens_of_the_pieces_are_those_of_the_whole(
    tokenizer: Any, text: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_SIZE", 7)
        parts = list(pieces(text))
    assert "".join(parts) == text
    assert ids(tokenizer, *parts) == ids(tokenizer, text)


def test_an_endless_word_is_one_unknown_word(tokenizer: Any) -> None:
    """It is cut short, so that it takes no memory."""
    text = "the " + "q" * 300_000 + " of " + "日本" * 40_000 + "。 the"
    parts = list(pieces(text))
    assert max(map(len, parts)) < 70_000
    assert ids(tokenizer, *parts) == ids(tokenizer, text)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("corpus", [Corpus.of("topics", TEXTS), TRICKY], ids=str)
def test_the_vocabulary_is_that_of_whole_documents(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Learned by the trainer of `tokenizers` in two passes, as the first versions did."""
    whole: Any = Tokenizer(models.WordPiece({}, unk_token="[UNK]"))
    whole.normalizer = normalizers.BertNormalizer(lowercase=True)
    whole.pre_tokenizer = BertPreTokenizer()
    counts: Counter[str] = Counter()
    for document in corpus.documents:
        counts.update(whole.normalizer.normalize_str(document))
    ranked = sorted(
        (c for c in counts if not c.isspace()), key=lambda c: (-counts[c], c)
    )
    alphabet = sorted(ranked[:100])

    def train(size: int, first: list[str]) -> dict[str, int]:
        trainer = WordPieceTrainer(
            vocab_size=size,
            special_tokens=first,
            initial_alphabet=alphabet,
            limit_alphabet=len(alphabet),
            show_progress=False,
        )
        whole.train_from_iterator(list(corpus.documents), trainer)
        return dict(whole.get_vocab())

    inner = sorted(token for token in train(1, []) if token.startswith("##"))
    inner = [token for token in inner if len(token) == 3]
    expected = train(400, [*SPECIAL_TOKENS, *inner])
    monkeypatch.setattr(tokenizer_module, "_WORDS", 50)
    assert load_tokenizer(corpus, vocab_size=400).get_vocab() == expected


def changed(tokenizer: Any, **changes: Any) -> Any:
    found = Tokenizer.from_str(tokenizer.to_str())
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def test_which_tokenizers_read_pieces_alike(tokenizer: Any) -> None:
    assert reads_pieces_alike(tokenizer)
    assert not reads_pieces_alike(changed(tokenizer, normalizer=normalizers.NFC()))
    ideographs = normalizers.BertNormalizer(handle_chinese_chars=False)
    assert not reads_pieces_alike(changed(tokenizer, normalizer=ideographs))
    with_a_space: Any = changed(tokenizer)
    with_a_space.add_tokens(["two words"])
    assert not reads_pieces_alike(with_a_space)
