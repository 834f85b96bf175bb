"""The cache: damaged files are made again, and none is needed."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from azc.data.corpus import Corpus, load_corpus
from azc.data.store import kept
from azc.data.tokenizer import load_tokenizer
from azc.data.tokens import encode
from tests.runs import write_corpus

TWO_AT_ONCE = """
import sys
from pathlib import Path
from azc.data.corpus import load_corpus
from azc.data.tokenizer import load_tokenizer
from azc.data.tokens import encode
corpus, cache = load_corpus(sys.argv[1]), Path(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
encode(corpus, load_tokenizer(corpus, vocab_size=96, cache=cache), cache=cache)
"""


def never() -> bytes:
    raise AssertionError("it was there")


def test_what_was_kept_is_not_made_again(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "down"
    assert kept(place, lambda: b"a\nb") == b"a\nb"
    assert kept(place, never) == b"a\nb"
    assert kept(None, lambda: b"c") == b"c"
    assert [path.name for path in place.parent.iterdir()] == ["down"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: content[:-3] + bytes([content[-3] ^ 1]) + content[-2:],
        lambda content: bytes([content[0] ^ 1]) + content[1:],
        lambda content: content + b"more",
    ],
)
def test_what_is_damaged_is_made_again(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[bytes], bytes],
) -> None:
    place = tmp_path / "kept"
    kept(place, lambda: b"some content")
    whole = place.read_bytes()
    place.write_bytes(damage(whole))
    assert kept(place, lambda: b"some content") == b"some content"
    assert f"{place} is damaged and will be created again" in caplog.messages
    assert place.read_bytes() == whole


def test_a_cache_that_is_not_a_folder_is_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "kept"
    assert kept(place, lambda: b"content") == b"content"
    assert any(f"{place} can't be cached" in message for message in caplog.messages)


def test_a_full_disk_is_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert kept(tmp_path / "kept", lambda: b"content") == b"content"
    assert caplog.record_tuples[0][1] == logging.WARNING
    assert "No space left" in caplog.messages[0]
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return load_corpus(str(write_corpus(tmp_path / "corpus.txt")))


def test_a_truncated_tokenizer_is_trained_again(corpus: Corpus, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    made = load_tokenizer(corpus, vocab_size=96, cache=cache)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    # Half of the file, or an other id for one token: valid JSON, and another text.
    for content in (whole[: len(whole) // 2], whole.replace(b'"the":', b'"teh":')):
        assert content != whole
        file.write_bytes(content)
        again = load_tokenizer(corpus, vocab_size=96, cache=cache)
        assert again.get_vocab() == made.get_vocab()
        assert file.read_bytes() == whole


def test_python_is_read_again_where_its_text_changed(tmp_path: Path) -> None:
    corpus = load_corpus("python", cache=tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"return", b"retorn", 1))
    assert load_corpus("python", cache=tmp_path) == corpus
    assert file.read_bytes() == whole


def test_two_processes_make_it_at_once(corpus: Corpus, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO_AT_ONCE, corpus.name, str(cache)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    tokens, vocabulary = sorted(cache.iterdir())
    before = [file.stat().st_mtime_ns for file in (tokens, vocabulary)]
    tokenizer = load_tokenizer(corpus, vocab_size=96, cache=cache)
    assert encode(corpus, tokenizer, cache=cache).path == tokens
    assert [file.stat().st_mtime_ns for file in (tokens, vocabulary)] == before


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_table_needs_no_cache_of_datasets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    import datasets

    (tmp_path / "file").touch()
    monkeypatch.setattr(
        datasets.config, "HF_DATASETS_CACHE", tmp_path / "file" / "cache"
    )
    table = tmp_path / f"table.{suffix}"
    rows = {"csv": "text\na\nb\n", "jsonl": '{"text": "a"}\n{"text": "b"}\n'}
    table.write_text(rows[suffix], "utf-8")
    assert tuple(load_corpus(str(table)).documents) == ("a", "b")
