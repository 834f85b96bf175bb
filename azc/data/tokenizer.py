"""BERT-style WordPiece tokenizer, trained on the corpus or loaded.

Codes: D010 the vocabulary is too small; D011 a tokenizer cannot be loaded, or lacks a
required token.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azc.data.corpus import Corpus
from azc.data.pieces import pieces
from azc.data.progress import Progress, Tell, silent
from azc.data.store import kept
from azc.diagnostics import RunError, UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = ["SMALLEST", "SPECIAL_TOKENS", "ends", "load_tokenizer"]

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_FORMAT = 2  # raise it when the same corpus would produce another vocabulary or file
SMALLEST = 64  # minimum vocabulary size
_WORD = re.compile(r"[^ \t\n\r]+")
_WORDS = 200_000  # distinct words that are held in memory
_SIZE = 2**25  # maximum length of the text that they are from, in characters
_NEEDED = ("pad", "unk", "cls", "sep", "mask")


def load_tokenizer(
    corpus: Corpus,
    *,
    vocab_size: int,
    name_or_path: str | None = None,
    cache: Path | None = None,
    causal: bool = False,
    tell: Tell = silent,
) -> PreTrainedTokenizerFast:
    """Load a tokenizer from a folder or by name, or train one on `corpus`.

    A trained tokenizer lower-cases text, has at most `vocab_size` tokens, is the same
    in every process and is stored in `cache`. `tell` is called with the progress of
    training.

    Returns:
        The tokenizer.

    Raises:
        UsageError: D010 for a `vocab_size` below 64.
        RunError: D011, if `name_or_path` can't be loaded or lacks one of the tokens
            that masking needs; for `causal` text, a token that ends a document.
    """
    if name_or_path is not None:
        return _given(name_or_path, causal)
    if vocab_size < SMALLEST:
        raise UsageError(
            "D010",
            f"a vocabulary of {vocab_size} tokens is too small",
            f"use at least {SMALLEST}",
        )
    key = f"wordpiece-v{_FORMAT}-{corpus.fingerprint[:16]}-{vocab_size}.json"
    place = None if cache is None else cache / key
    return _wrapped(kept(place, lambda: _train(corpus, vocab_size, tell)).decode())


def ends(tokenizer: PreTrainedTokenizerFast) -> tuple[int, int]:
    """Return the ids of the tokens that begin and end a document.

    They are `[CLS]` and `[SEP]` in a BERT-style tokenizer, or else the tokens for the
    beginning and the end of a text. A tokenizer without a token for the beginning uses
    the one for the end.
    """
    last = _first_of(tokenizer, "sep", "eos")
    assert last is not None
    first = _first_of(tokenizer, "cls", "bos")
    return last if first is None else first, last


def _first_of(tokenizer: Any, *names: str) -> int | None:
    """Return the id of the first of these special tokens that exists, or None."""
    ids = (getattr(tokenizer, f"{name}_token_id") for name in names)
    return next((each for each in ids if each is not None), None)


def _given(name_or_path: str, causal: bool) -> PreTrainedTokenizerFast:
    from transformers import PreTrainedTokenizerFast

    try:
        if (Path(name_or_path) / "tokenizer.json").is_file():
            found: Any = PreTrainedTokenizerFast.from_pretrained(name_or_path)
        else:
            from transformers import AutoTokenizer

            found = AutoTokenizer.from_pretrained(name_or_path)
    except Exception as error:  # readers raise exceptions of any type
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise RunError(
            "D011",
            f"the tokenizer {name_or_path} could not be loaded: {lines[0]}",
            "use a folder with a tokenizer.json, or a model on the Hugging Face Hub",
        ) from error
    missing = [name for name in _NEEDED if _first_of(found, name) is None]
    help_ = "masked language modeling needs a BERT-style tokenizer"
    if causal:
        missing = ["eos"] if _first_of(found, "sep", "eos") is None else []
        help_ = "documents need a token that ends them: sep or eos"
    if missing or not isinstance(found, PreTrainedTokenizerFast):
        lacks = f"has no {missing[0]} token" if missing else "is not a fast tokenizer"
        raise RunError("D011", f"the tokenizer {name_or_path} {lacks}", help_)
    return found


def _wrapped(text: str) -> PreTrainedTokenizerFast:
    """Create a tokenizer of transformers from its JSON."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    names: dict[str, Any] = {
        f"{name}_token": token
        for name, token in zip(_NEEDED, SPECIAL_TOKENS, strict=True)
    }
    found = Tokenizer.from_str(text)
    return PreTrainedTokenizerFast(tokenizer_object=found, **names)


def _train(corpus: Corpus, vocab_size: int, tell: Tell) -> bytes:
    """Train a tokenizer, and return its JSON."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors
    from tokenizers.pre_tokenizers import BertPreTokenizer

    def wordpiece(vocabulary: dict[str, int]) -> Any:
        tokenizer: Any = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = BertPreTokenizer()
        return tokenizer

    tokenizer = wordpiece(_vocabulary(wordpiece({}), corpus, vocab_size, tell))
    cls, sep = (tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]"))
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", sep), ("[CLS]", cls))
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return str(tokenizer.to_str()).encode()


def _vocabulary(
    tokenizer: Any, corpus: Corpus, vocab_size: int, tell: Tell
) -> dict[str, int]:
    """Train a vocabulary that is the same in every process; return token ids by token.

    The trainer of `tokenizers` numbers the `##x` of single characters in the order of a
    hash table that differs from process to process, and breaks ties between merges by
    those numbers. So they are determined first and passed to the trainer in a fixed
    order.
    """
    from tokenizers.trainers import WordPieceTrainer

    found = _Characters(tokenizer)
    for document in corpus.read("counting the characters", tell):
        for piece in pieces(document):
            found.add(piece)
    counts = found.counts()
    ranked = sorted(
        (char for char in counts if not char.isspace()), key=lambda c: (-counts[c], c)
    )
    alphabet = sorted(ranked[: min(1000, vocab_size // 4)])
    inner = [f"##{char}" for char in alphabet if char in found.inner]
    trainer = WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=[*SPECIAL_TOKENS, *inner],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )

    def text() -> Iterator[str]:
        for document in corpus.read("training the tokenizer", tell):
            yield from pieces(document)
        tell(Progress("choosing the vocabulary", 0))

    tokenizer.train_from_iterator(text(), trainer)
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    ordered = sorted(vocabulary, key=vocabulary.__getitem__)
    return {token: i for i, token in enumerate(ordered)}


class _Characters:
    """Counts of the characters in a text, and the characters that occur within words.

    Words are counted first, so that a frequent word is rarely normalized.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.inner: set[str] = set()
        self._tokenizer = tokenizer
        self._counts: Counter[str] = Counter()
        self._words: Counter[str] = Counter()
        self._size = 0  # characters of the text that the words are from

    def add(self, text: str) -> None:
        """Count a text that ends at the end of a word."""
        self._words.update(_WORD.findall(text))
        self._size += len(text)
        if len(self._words) > _WORDS or self._size > _SIZE:
            self._flush()

    def counts(self) -> Mapping[str, int]:
        """Return the counts of all characters except spaces."""
        self._flush()
        return self._counts

    def _flush(self) -> None:
        for word, times in self._words.items():
            normal = self._tokenizer.normalizer.normalize_str(word)
            for char in normal:
                self._counts[char] += times
            for part, _ in self._tokenizer.pre_tokenizer.pre_tokenize_str(normal):
                self.inner.update(part[1:])
        self._words.clear()
        self._size = 0
