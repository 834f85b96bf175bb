"""A BERT-style WordPiece tokenizer, trained on the corpus or loaded from elsewhere.

Codes: D010 a vocabulary is too small; D011 a tokenizer can't be loaded, or lacks a
token that is needed.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azc.data.corpus import Corpus
from azc.data.store import kept
from azc.diagnostics import RunError, UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = ["SMALLEST", "SPECIAL_TOKENS", "ends", "load_tokenizer"]

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_FORMAT = 2  # raise it when the same corpus would give another vocabulary or file
SMALLEST = 64  # vocabulary
_NEEDED = ("pad", "unk", "cls", "sep", "mask")


def load_tokenizer(
    corpus: Corpus,
    *,
    vocab_size: int,
    name_or_path: str | None = None,
    cache: Path | None = None,
    causal: bool = False,
) -> PreTrainedTokenizerFast:
    """The tokenizer of a directory or name, or one trained on `corpus`.

    A trained one lower-cases, has at most `vocab_size` tokens, is the same in every
    process and is kept in `cache`.

    Raises UsageError D010 for a `vocab_size` below 64, RunError D011 where
    `name_or_path` does not load or lacks one of the tokens that masking needs; for
    `causal` text, a token that ends a document.
    """
    if name_or_path is not None:
        return _given(name_or_path, causal)
    if vocab_size < SMALLEST:
        raise UsageError(
            "D010",
            f"a vocabulary of {vocab_size} tokens is too small",
            f"take at least {SMALLEST}",
        )
    key = f"wordpiece-v{_FORMAT}-{corpus.fingerprint[:16]}-{vocab_size}.json"
    place = None if cache is None else cache / key
    return _wrapped(kept(place, lambda: _train(corpus, vocab_size)).decode())


def ends(tokenizer: PreTrainedTokenizerFast) -> tuple[int, int]:
    """What a document begins and ends with: `[CLS]` and `[SEP]` of a BERT-style tokenizer,
    the tokens for the beginning and the end of a text of others; where there is one for
    the end alone, that.
    """
    last = _first_of(tokenizer, "sep", "eos")
    assert last is not None
    first = _first_of(tokenizer, "cls", "bos")
    return last if first is None else first, last


def _first_of(tokenizer: Any, *names: str) -> int | None:
    """The id of the first of these special tokens that there is."""
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
    except Exception as error:  # its readers raise what they like
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise RunError(
            "D011",
            f"the tokenizer {name_or_path} could not be loaded: {lines[0]}",
            "name a folder with a tokenizer.json, or a model of the Hugging Face hub",
        ) from error
    missing = [name for name in _NEEDED if _first_of(found, name) is None]
    help_ = "masked language modelling needs a BERT-style tokenizer"
    if causal:
        missing = ["eos"] if _first_of(found, "sep", "eos") is None else []
        help_ = "a document has to end with a token: sep or eos"
    if missing or not isinstance(found, PreTrainedTokenizerFast):
        lacks = f"has no {missing[0]} token" if missing else "is not a fast tokenizer"
        raise RunError("D011", f"the tokenizer {name_or_path} {lacks}", help_)
    return found


def _wrapped(text: str) -> PreTrainedTokenizerFast:
    """The JSON of a tokenizer as one of transformers."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    names: dict[str, Any] = {
        f"{name}_token": token
        for name, token in zip(_NEEDED, SPECIAL_TOKENS, strict=True)
    }
    found = Tokenizer.from_str(text)
    return PreTrainedTokenizerFast(tokenizer_object=found, **names)


def _train(corpus: Corpus, vocab_size: int) -> bytes:
    """The JSON of a tokenizer."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors
    from tokenizers.pre_tokenizers import BertPreTokenizer

    def wordpiece(vocabulary: dict[str, int]) -> Any:
        tokenizer: Any = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = BertPreTokenizer()
        return tokenizer

    tokenizer = wordpiece(_vocabulary(wordpiece({}), corpus, vocab_size))
    cls, sep = (tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]"))
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", sep), ("[CLS]", cls))
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return str(tokenizer.to_str()).encode()


def _vocabulary(tokenizer: Any, corpus: Corpus, vocab_size: int) -> dict[str, int]:
    """Tokens and their ids, the same in every process.

    The trainer of `tokenizers` numbers the `##x` of single characters in the order of a
    hash table that differs from process to process, and breaks ties between merges by
    those numbers. So they are found first and then given to it in a fixed order.
    """
    from tokenizers.trainers import WordPieceTrainer

    counts: Counter[str] = Counter()
    for document in corpus.documents:
        counts.update(tokenizer.normalizer.normalize_str(document))
    ranked = sorted(
        (char for char in counts if not char.isspace()), key=lambda c: (-counts[c], c)
    )
    alphabet = sorted(ranked[: min(1000, vocab_size // 4)])

    def train(size: int, first: list[str]) -> dict[str, int]:
        trainer = WordPieceTrainer(
            vocab_size=size,
            special_tokens=first,
            initial_alphabet=alphabet,
            limit_alphabet=len(alphabet),
            show_progress=False,
        )
        tokenizer.train_from_iterator(corpus.documents, trainer)
        return dict(tokenizer.get_vocab())

    inner = sorted(token for token in train(1, []) if token.startswith("##"))
    # A word "##" of the text is no single character inside a word.
    inner = [token for token in inner if len(token) == 3]
    found = train(vocab_size, [*SPECIAL_TOKENS, *inner])
    return {token: i for i, token in enumerate(sorted(found, key=found.__getitem__))}
