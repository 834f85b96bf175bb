"""The data of a run: told where it begins, kept with it, and the same when it goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from azc.check.resolve import check_source
from azc.diagnostics import RunError
from azc.report.page import page
from azc.search.events import Event, Progress, Read, Started
from azc.search.run import evolve, resume
from azc.search.view import RunView, read_run
from azc.source import Source
from tests.runs import PROGRAM, Killed, result, tiny


def at_once(event: Event) -> None:
    """Kills a run when its text is read: before it has begun."""
    if isinstance(event, Read):
        raise Killed


def begun(
    folder: Path, home: Path, data: Path, tell: Callable[[Event], None], **changes: Any
) -> RunView:
    options = tiny(data, evaluations=2, warm_up=0, final_seeds=(), **changes)
    program = check_source(Source("tiny.azg", PROGRAM))
    return evolve(program, None, options, folder, cache=home / "cache", on_event=tell)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Path:
    """The words of the corpus in a folder, beside a table and what is no text."""
    folder = tmp_path_factory.mktemp("texts")
    documents = (home / "corpus.txt").read_text("utf-8").strip().split("\n\n")
    for number in range(4):
        part = documents[number * 20 : (number + 1) * 20]
        (folder / f"{number}.txt").write_text("\n\n".join(part), "utf-8")
    rows = [*({"text": each} for each in documents[78:]), {"text": None}]
    (folder / "rest.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    (folder / "image.png").touch()
    return folder


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, home: Path, texts: Path
) -> tuple[RunView, list[Event]]:
    events: list[Event] = []
    folder = tmp_path_factory.mktemp("data") / "run"
    return begun(folder, home, texts, events.append), events


def test_what_was_read_is_told_and_kept(
    whole: tuple[RunView, list[Event]], texts: Path
) -> None:
    view, events = whole
    assert [type(event) for event in events[:2]] == [Started, Progress]
    (read,) = (event.text for event in events if isinstance(event, Read))
    assert view.text == read_run(view.folder).text == read
    assert read.name == str(texts)
    assert (read.files, read.rows, read.documents) == (5, 23, 102)
    assert read.left_out() == [
        "1 file of other kinds: .png",
        "1 row without text",
        "2 documents equal to another",
    ]
    assert {name: each.documents for name, each in read.splits.items()} == {
        "train": 90,
        "validation": 5,
        "test": 5,
    }
    log = (view.folder / "log.txt").read_text("utf-8")
    for sentence in read.sentences():
        assert sentence in log


def test_the_report_has_it(whole: tuple[RunView, list[Event]]) -> None:
    view, _ = whole
    assert view.text is not None
    text = page(view)
    assert (
        "<dt>documents</dt><dd>102 in 5 files; train 90, validation 5, test 5" in text
    )
    assert f"<dt>tokens</dt><dd>{view.text.tokens:,}; train" in text
    assert "1 file of other kinds: .png, 1 row without text, 2 documents equal" in text


def forget(run: Path) -> None:
    """Makes the configuration of a run that of an earlier version."""
    file = run / "run.json"
    config = json.loads(file.read_text("utf-8"))
    del config["text"], config["options"]["documents"]
    file.write_text(json.dumps(config), "utf-8")


def test_a_run_of_an_earlier_version_goes_on(home: Path, tmp_path: Path) -> None:
    whole = begun(tmp_path / "whole", home, home / "corpus.txt", lambda _: None)
    with pytest.raises(Killed):
        begun(tmp_path / "run", home, home / "corpus.txt", at_once)
    forget(tmp_path / "run")
    view = resume(tmp_path / "run", cache=home / "cache")
    assert view.text is None
    assert result(view.folder) == result(whole.folder)
    page(view)


def test_a_folder_that_was_read_in_another_way_is_refused(
    home: Path, tmp_path: Path
) -> None:
    """An earlier version took each file of a folder for one document."""
    folder = tmp_path / "texts"
    folder.mkdir()
    documents = (home / "corpus.txt").read_text("utf-8").strip().split("\n\n")
    for number in range(25):
        part = "\n\n".join(documents[number * 4 : (number + 1) * 4])
        (folder / f"{number}.txt").write_text(part, "utf-8")
    with pytest.raises(Killed):
        begun(tmp_path / "run", home, folder, at_once, documents="file")
    forget(tmp_path / "run")
    with pytest.raises(RunError, match="reads it otherwise") as caught:
        resume(tmp_path / "run", cache=home / "cache")
    assert caught.value.code == "R033"


def test_a_configuration_that_is_damaged_is_refused(
    whole: tuple[RunView, list[Event]], tmp_path: Path
) -> None:
    view, _ = whole
    config = json.loads((view.folder / "run.json").read_text("utf-8"))
    for damaged in (
        [],
        {},
        {**config["text"], "splits": 3},
        {**config["text"], "x": 1},
    ):
        run = tmp_path / "run"
        run.mkdir(exist_ok=True)
        text = json.dumps({**config, "text": damaged})
        (run / "run.json").write_text(text, "utf-8")
        with pytest.raises(RunError, match="has no text that can be read") as caught:
            read_run(run)
        assert caught.value.code == "R035"
