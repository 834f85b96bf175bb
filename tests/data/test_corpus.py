"""Corpora: what is read, in which order, and what is refused with which code."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from azc.data.corpus import load_corpus
from azc.diagnostics import AzcError


def test_python_is_the_documentation_of_the_standard_library(tmp_path: Path) -> None:
    corpus = load_corpus("python", cache=tmp_path)
    size = sum(map(len, corpus.documents))
    assert 1_000_000 < size < 6_000_000
    assert len(corpus.documents) > 1000
    assert any(text.startswith("Heap queue") for text in corpus.documents)
    assert any("context manager" in text for text in corpus.documents)
    (store,) = tmp_path.iterdir()
    kept = store.stat().st_mtime_ns
    assert load_corpus("python", cache=tmp_path) == corpus
    assert store.stat().st_mtime_ns == kept
    store.write_text('["half', "utf-8")  # a broken file is made anew
    assert load_corpus("python", cache=tmp_path) == corpus


def test_blank_lines_divide_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\r\ntwo\r\n\r\n \t\r\nthree\n\n\n")
    assert load_corpus(str(path)).documents == ("one\ntwo", "three")


def test_without_blank_lines_groups_of_lines_are_documents(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n".join(f"line {i}" for i in range(70)), "utf-8")
    documents = load_corpus(str(path)).documents
    assert len(documents) == 3
    assert "\n".join(documents) == path.read_text("utf-8")


def test_a_gzip_file_is_its_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress("größer\n\nkleiner".encode()))
    assert load_corpus(str(path)).documents == ("größer", "kleiner")


def test_a_folder_is_read_in_order_and_text_alone(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.md").write_text("second\n\nstill second", "utf-8")
    (tmp_path / "a.txt").write_text("first", "utf-8")
    (tmp_path / "sub" / "c.rst").write_text("third", "utf-8")
    (tmp_path / "image.png").write_bytes(b"\x89PNG\0")
    assert load_corpus(str(tmp_path)).documents == (
        "first",
        "second\n\nstill second",
        "third",
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"label,sentence\n1,good film\n0,bad film\n"),
        ("a.tsv", b"label\tsentence\n1\tgood film\n0\tbad film\n"),
        ("a.jsonl", b'{"n": 1, "text": "good film"}\n{"n": 2, "text": "bad film"}\n'),
    ],
)
def test_a_table_gives_its_column_of_text(
    tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert load_corpus(str(path)).documents == ("good film", "bad film")


def test_a_quote_in_a_tsv_merges_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes(b'sentence\n"open\nclosed"\nNA\n')
    assert load_corpus(str(path)).documents == ('"open', 'closed"', "NA")


def test_a_folder_of_this_disk_as_a_data_set(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "kept"}\n', "utf-8")
    (tmp_path / "test.jsonl").write_text('{"text": "other"}\n', "utf-8")
    assert load_corpus(f"hf:{tmp_path}").documents == ("kept",)


def test_the_fingerprint_is_of_the_documents(tmp_path: Path) -> None:
    prints = []
    for text in ("ab\n\nc", "a\n\nbc", "ab\n\n\n\nc\n"):
        path = tmp_path / "a.txt"
        path.write_text(text, "utf-8")
        prints.append(load_corpus(str(path)).fingerprint)
    assert prints[0] == prints[2] != prints[1]


def _file(folder: Path, name: str, content: bytes) -> str:
    (folder / name).write_bytes(content)
    return str(folder / name)


def test_refusals(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    cases = {
        "": "D005",
        str(tmp_path / "none.txt"): "D001",
        str(tmp_path / "empty"): "D002",
        _file(tmp_path, "blank.txt", b" \n\n \n"): "D002",
        _file(tmp_path, "zero.txt", b"abc\0def"): "D003",
        _file(tmp_path, "latin.txt", "größer".encode("latin-1")): "D003",
        _file(tmp_path, "cut.txt.gz", gzip.compress(b"abc" * 99)[:-9]): "D003",
        _file(tmp_path, "bad.json", b'{"text": '): "D003",
        _file(tmp_path, "numbers.csv", b"a,b\n1,2\n"): "D002",
        "hf:": "D005",
        "hf:a/b/c/d": "D005",
    }
    for spec, code in cases.items():
        with pytest.raises(AzcError) as caught:
            load_corpus(spec)
        assert caught.value.code == code, spec
        assert "\n" not in caught.value.message


def test_an_unknown_data_set_is_a_clear_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import datasets

    def offline(*args: object, **options: object) -> None:
        raise ConnectionError("no way to the hub\nand more")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(AzcError) as caught:
        load_corpus("hf:glue/cola")
    assert caught.value.code == "D004"
    assert "hf:glue/cola" in caught.value.message
    assert caught.value.message.endswith("no way to the hub")


def test_nothing_heavy_is_imported_for_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text", "utf-8")
    code = (
        "import sys; from azc.data.corpus import load_corpus;"
        "import azc.data.mlm, azc.data.tokenizer, azc.training.fit;"
        f"load_corpus({str(tmp_path / 'a.txt')!r});"
        "heavy = {'torch', 'transformers', 'datasets', 'numpy', 'tokenizers'};"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
