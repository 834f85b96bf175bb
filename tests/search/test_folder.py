"""The folder of a run: taken once, locked, and refused when it is not what it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from azc.diagnostics import RunError, UsageError
from azc.search.database import FORMAT
from azc.search.folder import RunFolder
from azc.search.options import EvolveOptions
from azc.search.records import Candidate
from tests.runs import PROGRAM

CONFIG: dict[str, Any] = {
    "azc": "0.1",
    "program": PROGRAM,
    "space": "tiny",
    "options": EvolveOptions().as_json(),
    "fingerprint": "0" * 64,
}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run that was begun."""
    found = RunFolder(tmp_path / "run")
    with found.lock():
        found.create(CONFIG)
        found.open().close()
    return found


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_was_created_is_read(run: RunFolder) -> None:
    config = run.read()
    assert config == {"format": FORMAT, **CONFIG}
    assert run.options(config) == EvolveOptions()
    assert list(run.program(config).spaces) == ["tiny"]


def test_a_folder_is_taken_once(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not empty") as caught:
        run.create(CONFIG)
    assert caught.value.help == f"azc resume {run.path} continues the run in it"
    (tmp_path / "note.txt").touch()
    with pytest.raises(UsageError, match="not empty") as caught:
        RunFolder(tmp_path).check_free()
    assert caught.value.help == "choose another folder"
    with pytest.raises(UsageError, match="is a file"):
        RunFolder(tmp_path / "note.txt").check_free()
    RunFolder(tmp_path / "nothing" / "there").check_free()
    assert not (tmp_path / "nothing").exists()


def test_one_process_at_a_time(run: RunFolder) -> None:
    with run.lock():
        with pytest.raises(RunError, match="another process is working in") as caught:
            run.lock()
        assert caught.value.code == "R037"
    run.lock().release()


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (
            {"format": 1},
            "R036",
            f"run format 1, but this version of azc reads {FORMAT}",
        ),
        ({"format": None}, "R036", "format None"),
        ({"program": None}, "R035", "no program"),
        ({"options": []}, "R035", "no options"),
        ({"fingerprint": 3}, "R035", "no fingerprint"),
        ("[]", "R035", "not the configuration of a run"),
        ("{}", "R035", "not the configuration of a run"),
        ('{"format": 1', "R035", "can't read"),
        ("[" * 100_000, "R035", "can't read"),
        ("\udc80", "R035", "can't read"),
        (None, "R035", "is not the folder of a run"),
    ],
)
def test_a_broken_configuration_is_told(
    run: RunFolder, change: Any, code: str, said: str
) -> None:
    if isinstance(change, dict):
        change = json.dumps({"format": FORMAT, **CONFIG, **change})
    if change is None:
        run.config_file.unlink()
    else:
        run.config_file.write_bytes(change.encode("utf-8", "surrogateescape"))
    with pytest.raises(RunError) as caught:
        run.read()
    assert caught.value.code == code
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"evaluations": "ten"}, "evaluations is 'ten'"),
        ({"no_such": 1}, "no_such"),
        ({"final_seeds": 3}, "final_seeds is 3"),
        ({"learning_rate": 0}, "learning_rate is 0"),
    ],
)
def test_broken_options_are_told(
    run: RunFolder, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(RunError) as caught:
        run.options({**CONFIG, "options": options})
    assert caught.value.code == "R035"
    assert said in caught.value.message


def test_what_is_no_folder_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(RunError, match="not the folder of a run"):
        RunFolder(file).read()
    with pytest.raises(RunError, match="there is no folder"):
        RunFolder(tmp_path / "nothing").read()


def test_no_run_goes_on_without_its_journal(run: RunFolder) -> None:
    run.journal_file.unlink()
    for ask in (run.open, run.look):
        with pytest.raises(RunError, match="is missing") as caught:
            ask()
        assert caught.value.code == "R031"
    assert not run.journal_file.exists()


def test_a_run_may_be_looked_at_before_it_has_a_journal(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    with run.lock():
        run.create(CONFIG)
    assert run.look() is None
    run.open().close()  # as after a kill right behind create
    journal = run.look()
    assert journal is not None
    journal.close()


def test_weights_of_past_rounds_and_halves_are_swept(run: RunFolder) -> None:
    gone = [
        run.snapshot_file(0),
        run.weights_file(0, 3),
        run.path_file,
        run.trained_path_file,
        run.path / ".best.azg.123.part",
        run.candidates_folder / ".0001.azg.123.part",
        run.supernet_folder / ".0001.safetensors.123.part",
    ]
    kept = [
        run.snapshot_file(1),
        run.snapshot_file(2),
        run.weights_file(1, 3),
        run.supernet_folder / "notes",
        run.candidate_file(1),
    ]
    for path in gone + kept:
        path.touch()
    run.clean()
    run.sweep(1)
    assert [path for path in gone if path.exists()] == []
    assert [path for path in kept if not path.exists()] == []


def test_candidates_have_a_file_each(run: RunFolder) -> None:
    candidates = {
        number: Candidate("text\n", None, "", "", "", number, 0)
        for number in (1, 12345)
    }
    run.check_programs(candidates)
    run.write_candidates(candidates)
    run.check_programs(candidates)
    assert names(run.candidates_folder) == {"0001.azg", "12345.azg"}
    assert run.start_file.read_text(encoding="utf-8") == "text\n"
    run.candidate_file(1).write_text("edited", encoding="utf-8")
    with pytest.raises(RunError, match=r"0001\.azg has changed since the run wrote it"):
        run.check_programs(candidates)
    run.candidate_file(1).unlink()
    run.write_candidates(candidates)
    run.check_programs(candidates)
