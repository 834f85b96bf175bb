"""Corpora: what is read, in which order, and what is refused with which code."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from azc.data import files as files_module
from azc.data.corpus import Source, load_corpus
from azc.diagnostics import AzcError


def documents(spec: Path | str, **options: Any) -> tuple[str, ...]:
    return tuple(load_corpus(str(spec), **options).documents)


def test_python_is_the_documentation_of_the_standard_library(tmp_path: Path) -> None:
    corpus = load_corpus("python", cache=tmp_path)
    texts = list(corpus.documents)
    assert 1_000_000 < sum(map(len, texts)) <= corpus.size < 6_000_000
    assert len(texts) > 1000
    assert any(text.startswith("Heap queue") for text in texts)
    assert any("context manager" in text for text in texts)
    (store,) = tmp_path.iterdir()
    kept = store.stat().st_mtime_ns
    assert load_corpus("python", cache=tmp_path) == corpus
    assert store.stat().st_mtime_ns == kept
    store.write_text('["half', "utf-8")  # a broken file is made anew
    assert load_corpus("python", cache=tmp_path) == corpus


def test_blank_lines_divide_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\r\ntwo\r\n\r\n \t\r\nthree\n\n\n")
    assert documents(path) == ("one\ntwo", "three")


def test_without_blank_lines_groups_of_lines_are_documents(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n".join(f"line {i}" for i in range(70)), "utf-8")
    found = documents(path)
    assert len(found) == 3
    assert "\n".join(found) == path.read_text("utf-8")


def test_a_gzip_file_is_its_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress("größer\n\nkleiner".encode()))
    assert documents(path) == ("größer", "kleiner")


def folder_of(folder: Path, **files: str | bytes) -> Path:
    """A folder with these files; `__` in a name is a dot."""
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        raw = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(raw)
    return folder


def test_a_folder_is_read_in_order_and_by_the_rule_for_files(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    folder_of(tmp_path / "sub", c__rst="fourth", d__txt__gz=gzip.compress(b"fifth"))
    folder_of(tmp_path, b__md="second\n\nthird", a__txt="first", z__TXT=" ")
    assert documents(tmp_path) == ("first", "second", "third", "fourth", "fifth")
    assert documents(tmp_path / "b.md") == ("second", "third")
    whole = ("first", "second\n\nthird", "fourth", "fifth")
    assert documents(tmp_path, division="file") == whole


def test_tables_in_a_folder_are_read(tmp_path: Path) -> None:
    rows = b'{"text": "second"}\n{"text": null}\n{"text": "third\\n\\nand more"}\n'
    packed = gzip.compress(b'{"text": "fourth"}\n')
    folder_of(tmp_path, a__txt="first", b__jsonl=rows, c__jsonl__gz=packed)
    corpus = load_corpus(str(tmp_path))
    found = ("first", "second", "third\n\nand more", "fourth")
    assert tuple(corpus.documents) == found
    assert tuple(corpus.documents) == found, "they can be read again"
    assert corpus.source == Source(files=3, rows=4, blank_rows=1)
    assert documents(tmp_path / "c.jsonl.gz") == ("fourth",)


def test_what_a_folder_has_besides_is_counted(tmp_path: Path) -> None:
    for name in (".git", "images"):
        (tmp_path / name).mkdir()
        folder_of(tmp_path / name, hidden__txt="of git", a__png=b"\x89PNG\0")
    folder_of(tmp_path, a__txt="first", __b__txt="hidden", LICENSE="none")
    folder_of(tmp_path, config__json="{}", n__csv="n,m\n1,2\n", empty__jsonl="")
    folder_of(tmp_path / "images", b__png=b"")
    (tmp_path / "images" / "hidden.txt").unlink()
    corpus = load_corpus(str(tmp_path))
    assert tuple(corpus.documents) == ("first",)
    left_out = {
        ".csv without a text column": 1,
        ".png": 2,
        "config.json": 1,
        "no ending": 1,
    }
    assert corpus.source == Source(files=2, left_out=left_out)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_folder_that_is_closed_is_not_passed_over(tmp_path: Path) -> None:
    folder_of(tmp_path, a__txt="first")
    (tmp_path / "sub").mkdir(mode=0)
    with pytest.raises(AzcError, match="can't be read") as caught:
        load_corpus(str(tmp_path))
    (tmp_path / "sub").chmod(0o700)
    assert caught.value.code == "D003"


def test_lines_as_documents(tmp_path: Path) -> None:
    folder_of(tmp_path, a__txt="one\n\n  two \nthree\n", b__csv="text\nfour\n")
    assert documents(tmp_path, division="line") == ("one", "two", "three", "four")


@pytest.mark.parametrize("spec", ["python", "hf:glue/cola", "table.csv", "tables"])
def test_only_text_files_are_divided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tables").mkdir()
    for folder in (tmp_path, tmp_path / "tables"):
        folder_of(folder, table__csv="text\none\n")
    with pytest.raises(AzcError, match=f"{spec} has no text file") as caught:
        load_corpus(spec, division="line")
    assert caught.value.code == "D006"


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_chunks_of_a_file_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Characters, line ends and blank lines may lie across their bounds."""
    monkeypatch.setattr(files_module, "_CHUNK", size)
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffgrößer\r\n日本\r\r\n \t\r\n😀\n\n".encode())
    assert documents(path) == ("größer\n日本", "😀")
    for content, place in ((b"abc\xe4def", 3), ("ab日".encode()[:-1], 2)):
        path.write_bytes(content)
        with pytest.raises(AzcError, match=rf"\(byte {place}\)"):
            load_corpus(str(path))


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
    assert documents(path) == ("good film", "bad film")


def test_a_quote_in_a_tsv_merges_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes(b'sentence\n"open\nclosed"\nNA\n')
    assert documents(path) == ('"open', 'closed"', "NA")


def test_a_folder_of_this_disk_as_a_data_set(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "kept"}\n', "utf-8")
    (tmp_path / "test.jsonl").write_text('{"text": "other"}\n', "utf-8")
    assert documents(f"hf:{tmp_path}") == ("kept",)


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


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", '{"text": 5}', "row 1: `text` is 5, not a string"),
        (
            "a.jsonl",
            '{"text": "a"}\n{"text": null}\n{"text": 5}',
            "row 3: `text` is 5, not a string",
        ),
        ("a.jsonl", '{"text": "a"}\n{"text": ["b"]}', "row 2: `text` is ['b']"),
        ("a.json", '[{"text": "a"}, {"text": true}]', "row 2: `text` is True"),
        ("a.csv", "n,text\n1,2\n", "row 1: `text` is 2, not a string"),
        ("a.jsonl", '{"text": "a"}\n\n{"text": }', "line 3: Expecting value"),
        ("a.jsonl", '"a"\n"b"', "line 1 is not a JSON object"),
    ],
)
def test_the_row_that_is_wrong_is_named(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    name: str,
    content: str,
    said: str,
) -> None:
    """And nobody else says a word of it."""
    (tmp_path / name).write_text(content, "utf-8")
    for spec in (tmp_path / name, tmp_path):
        with pytest.raises(AzcError) as caught:
            load_corpus(str(spec))
        assert f"{tmp_path / name}" in caught.value.message
        assert said in caught.value.message
    assert capfd.readouterr() == ("", "")


def test_datasets_is_left_as_it_was(tmp_path: Path) -> None:
    import datasets

    (tmp_path / "a.csv").write_text("text\na\n", "utf-8")
    before = datasets.logging.get_verbosity(), datasets.is_progress_bar_enabled()
    load_corpus(str(tmp_path / "a.csv"))
    after = datasets.logging.get_verbosity(), datasets.is_progress_bar_enabled()
    assert after == before


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
        "heavy = {'torch', 'transformers', 'datasets', 'numpy', 'pyarrow', 'tokenizers'};"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
