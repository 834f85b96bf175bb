from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForMaskedLM, PreTrainedModel

from tests.cli.conftest import Azc


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_for_transformers(azc: Azc, good: str, tmp_path: Path) -> None:
    found = azc("compile", good, "-o", "models/small")
    assert (found.code, found.err) == (0, "")
    assert found.out == "models/small: model small for masked-lm, 4,048 parameters\n"
    folder = tmp_path / "models" / "small"
    assert {"config.json", "model.safetensors"} <= set(names(folder))
    assert names(folder.parent) == ["small"]
    model = AutoModelForMaskedLM.from_pretrained(folder)
    assert model.num_parameters() == 4048
    config = json.loads((folder / "config.json").read_text())
    assert config["model"] == "small"
    assert "import" not in config["program"]
    assert "space" not in config["program"]
    modes = {path.stat().st_mode & 0o777 for path in folder.iterdir()}
    other = folder.parent / "other"
    other.write_text("")
    assert modes == {other.stat().st_mode & 0o777}


def test_a_seed_means_the_same_weights(azc: Azc, good: str, tmp_path: Path) -> None:
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert azc("compile", good, "-o", folder, "--seed", str(seed)).code == 0
    a, b, c = ((tmp_path / x / "model.safetensors").read_bytes() for x in "abc")
    assert a == b
    assert a != c


def test_tasks_and_json(azc: Azc, good: str, tmp_path: Path) -> None:
    args = ["--task", "sequence-classification", "--labels", "3", "--json"]
    found = azc("compile", "good.azg:small", "-o", "c", *args).json
    assert found["folder"] == "c"
    assert found["task"] == "sequence-classification"
    assert found["parameters"] > 3982
    config = json.loads((tmp_path / "c" / "config.json").read_text())
    assert len(config["id2label"]) == 3


def test_a_decoder(azc: Azc, good: str, tmp_path: Path) -> None:
    text = (tmp_path / "good.azg").read_text()
    (tmp_path / "d.azg").write_text(
        text.replace("vocab", "causal = true\n    vocab", 1)
    )
    assert azc("compile", "d.azg:small", "-o", "d").out.startswith(
        "d: model small for causal-lm, "
    )
    found = azc("compile", "d.azg:small", "-o", "e", "--task", "masked-lm")
    assert found.code == 2
    assert "U029" in found.err
    assert "`small` is a decoder, which does not support masked-lm" in found.err
    found = azc("compile", good, "-o", "e", "--task", "causal-lm")
    assert found.code == 2
    assert "`small` is an encoder, which does not support causal-lm" in found.err
    assert "generation_config.json" in names(tmp_path / "d")
    assert not (tmp_path / "e").exists()
    assert azc("compile", "d.azg:small", "-o", "d", "--force").code == 0


def test_what_is_there_stays(azc: Azc, good: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    assert azc("compile", good, "-o", "out").code == 0  # it is empty
    before = (folder / "model.safetensors").read_bytes()
    found = azc("compile", good, "-o", "out", "--seed", "1")
    assert found.code == 2
    assert "error[U107]: out is not empty\n = help: --force" in found.err
    assert (folder / "model.safetensors").read_bytes() == before
    assert azc("compile", good, "-o", "out", "--seed", "1", "--force").code == 0
    assert (folder / "model.safetensors").read_bytes() != before
    assert names(tmp_path) == ["good.azg", "out"]


def contents(folder: Path) -> dict[str, object]:
    """All that is in a folder, deep down, hidden or not."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        what = path.read_bytes() if path.is_file() else "folder"
        found[str(path.relative_to(folder))] = (path.is_symlink(), what)
    return found


@pytest.mark.parametrize(
    "mine",
    [
        "README.md",  # the card that azc wrote, with a word more
        "modeling_azc.py",
        "notes.txt",
        ".git/config",
        "model-1.safetensors",
        "tokenizer.json",
        ".hidden",
    ],
)
def test_force_never_takes_what_azc_did_not_write(
    azc: Azc, good: str, tmp_path: Path, mine: str
) -> None:
    folder = tmp_path / "out"
    assert azc("compile", good, "-o", "out").code == 0
    (folder / mine).parent.mkdir(exist_ok=True)
    with (folder / mine).open("a") as file:
        file.write("mine")
    before = contents(tmp_path)
    found = azc("compile", good, "-o", "out", "--force", "--seed", "1")
    assert found.code == 2
    name = mine.split("/")[0]
    assert f"error[U110]: out holds files that azc did not write: {name}\n" in found.err
    assert contents(tmp_path) == before


def test_force_follows_no_link(azc: Azc, good: str, tmp_path: Path) -> None:
    assert azc("compile", good, "-o", "out").code == 0
    (tmp_path / "link").symlink_to("out")
    (tmp_path / "dangling").symlink_to("nowhere")
    weights = tmp_path / "weights"
    (tmp_path / "out" / "model.safetensors").rename(weights)
    (tmp_path / "out" / "model.safetensors").symlink_to(weights)
    before = contents(tmp_path)
    for name, words in (
        ("link", "link is a link"),
        ("dangling", "dangling is a link"),
        ("out", "did not write: model.safetensors"),
    ):
        found = azc("compile", good, "-o", name, "--force")
        assert (found.code, words in found.err) == (2, True), found.err
    assert contents(tmp_path) == before


def test_a_model_in_shards_is_replaced_too(azc: Azc, good: str, tmp_path: Path) -> None:
    assert azc("compile", good, "-o", "out").code == 0
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "out")
    (tmp_path / "out" / "model.safetensors").unlink()
    model.save_pretrained(tmp_path / "out", max_shard_size="8KB")
    assert len(names(tmp_path / "out")) > 6
    assert azc("compile", good, "-o", "out", "--force").code == 0
    assert len(names(tmp_path / "out")) == 4


def test_force_replaces_models_of_azc_only(azc: Azc, good: str, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_text("cat")
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "bert" / "model.safetensors").write_text("weights")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").write_text("[" * 100_000)
    before = contents(tmp_path)
    for folder in ("photos", "bert", "odd"):
        found = azc("compile", good, "-o", folder, "--force")
        assert found.code == 2
        assert f"error[U108]: {folder} holds no azc model" in found.err
    for path in (good, ".", ".."):
        found = azc("compile", good, "-o", path, "--force")
        assert (found.code, "error[U106]" in found.err) == (2, True)
    assert contents(tmp_path) == before


def _full(*args: Any, **kwargs: Any) -> None:
    Path(args[1], "config.json").write_text("{")
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_nothing_half_written(
    azc: Azc, good: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert azc("compile", good, "-o", "out").code == 0
    before = (tmp_path / "out" / "model.safetensors").read_bytes()
    monkeypatch.setattr(PreTrainedModel, "save_pretrained", _full)
    for args in (["new"], ["out", "--force"]):
        found = azc("compile", good, "-o", *args)
        assert found.code == 1
        assert "no space left on device" in found.err
    assert names(tmp_path) == ["good.azg", "out"]
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["std.models", "-o", "x"], 2, "13 models; choose one"),
        (["std.models:bert_tny", "-o", "x"], 2, "did you mean `bert_tiny`?"),
        (["std.models:bert_tiny"], 2, "--output"),
        (["std.models:bert_tiny", "-o", "x", "--task", "poetry"], 2, "poetry"),
        (["std.models:bert_tiny", "-o", "x", "--labels", "0"], 2, "--labels"),
        (["nothing.azg", "-o", "x"], 1, "can't read nothing.azg"),
        (["std.attention", "-o", "x"], 2, "has no model"),
    ],
)
def test_wrong_usage(
    azc: Azc, tmp_path: Path, args: list[str], code: int, words: str
) -> None:
    found = azc("compile", *args)
    assert found.code == code
    assert words in found.err
    assert names(tmp_path) == []
