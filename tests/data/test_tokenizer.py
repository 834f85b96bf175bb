"""Tokenizers: the same in every process, kept whole, and read back by transformers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from azc.data.corpus import Corpus, load_corpus
from azc.data.tokenizer import SPECIAL_TOKENS, load_tokenizer
from azc.diagnostics import AzcError

OTHER_PROCESS = """
import json, sys
from azc.data.corpus import load_corpus
from azc.data.tokenizer import load_tokenizer
tokenizer = load_tokenizer(load_corpus(sys.argv[1]), vocab_size=600)
print(json.dumps(sorted(tokenizer.get_vocab().items())))
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    from pydoc_data.topics import topics

    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(topics[name] for name in sorted(topics)), "utf-8")
    return load_corpus(str(path))


def test_two_processes_train_the_same_vocabulary(corpus: Corpus) -> None:
    here = load_tokenizer(corpus, vocab_size=600)
    runs = [
        subprocess.run(
            [sys.executable, "-c", OTHER_PROCESS, corpus.name],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert json.loads(runs[0]) == [
        list(pair) for pair in sorted(here.get_vocab().items())
    ]
    assert sorted(here.get_vocab().values()) == list(range(len(here)))
    assert len(here) == 600


def test_it_is_a_bert_tokenizer(corpus: Corpus) -> None:
    tokenizer = load_tokenizer(corpus, vocab_size=600)
    ids = tokenizer("The CLASS statement")["input_ids"]
    assert [tokenizer.convert_ids_to_tokens(ids[i]) for i in (0, -1)] == [
        "[CLS]",
        "[SEP]",
    ]
    assert tokenizer.decode(ids[1:-1]) == "the class statement"
    assert [tokenizer.convert_tokens_to_ids(t) for t in SPECIAL_TOKENS] == [
        0,
        1,
        2,
        3,
        4,
    ]
    assert tokenizer("[MASK]")["input_ids"][1] == tokenizer.mask_token_id


def test_the_cache_is_used(corpus: Corpus, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    made = load_tokenizer(corpus, vocab_size=300, cache=cache)
    (file,) = cache.iterdir()
    before = file.stat().st_mtime_ns
    again = load_tokenizer(corpus, vocab_size=300, cache=cache)
    assert file.stat().st_mtime_ns == before
    assert alike(again, made)


def test_transformers_reads_what_it_has_saved(corpus: Corpus, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    made = load_tokenizer(corpus, vocab_size=300)
    made.save_pretrained(tmp_path / "saved")
    assert alike(AutoTokenizer.from_pretrained(tmp_path / "saved"), made)
    given = load_tokenizer(
        corpus, vocab_size=9999, name_or_path=str(tmp_path / "saved")
    )
    assert alike(given, made)


def alike(one: Any, other: Any) -> bool:
    texts = ("Import it, [MASK]!", "the class statement")
    same = all(one(text).data == other(text).data for text in texts)
    return same and bool(one.get_vocab() == other.get_vocab())


def test_a_corpus_of_many_characters_keeps_room_for_words() -> None:
    chars = "".join(chr(0x4E00 + i) for i in range(3000))
    tokenizer = load_tokenizer(
        Corpus.of("many", (chars, "the word " * 500)), vocab_size=256
    )
    assert len(tokenizer) <= 256
    assert "the" in tokenizer.get_vocab()


def test_refusals(corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    for options, code in [
        ({"vocab_size": 10}, "D010"),
        ({"vocab_size": 300, "name_or_path": str(tmp_path / "nothing")}, "D011"),
    ]:
        with pytest.raises(AzcError) as caught:
            load_tokenizer(corpus, **options)
        assert caught.value.code == code


def test_a_tokenizer_without_a_mask_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    load_tokenizer(corpus, vocab_size=300).save_pretrained(folder)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        path = folder / name
        if path.exists():
            config = json.loads(path.read_text("utf-8"))
            config.pop("mask_token", None)
            path.write_text(json.dumps(config), "utf-8")
    with pytest.raises(AzcError, match="no mask token") as caught:
        load_tokenizer(corpus, vocab_size=300, name_or_path=str(folder))
    assert caught.value.code == "D011"
