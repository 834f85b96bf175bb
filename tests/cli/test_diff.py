from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import azc as package
from azc.numbers import change
from tests.cli.conftest import GOOD, Azc

Write = Callable[[str, str], str]

NEW = (
    GOOD.replace("max_length = 16", "max_length = 16\n    residual = pre")
    .replace("-logsigmoid(-k)", "-logsigmoid(q)")
    .replace("            sdpa\n", "            sdpa(heads = 4)\n")
    .replace("conv(kernel = 3)\n", "conv(kernel = 5)\n        sdpa\n")
    .split("\nspace")[0]
)


@pytest.fixture
def new(write: Write) -> str:
    return write("new.azg", NEW)


def test_models(azc: Azc, good: str, new: str) -> None:
    found = azc("diff", good, new)
    assert (found.code, found.err) == (0, "")
    flops = package.diff(good, new).flops
    assert (
        re.sub(r"FLOPs/token [+-].*", "FLOPs/token ...", found.out)
        == f"""\
--- good.azg:small
+++ new.azg:small

settings
  ~ residual: post -> pre

layers
  ~ 1: softplus_key
      - softmax(scale(q @ (-logsigmoid(-k)).T)) @ (q + k)
      + softmax(scale(q @ (-logsigmoid(q)).T)) @ (q + k)
      removed: neg
      rewired: logsigmoid
      FLOPs/token ...
  ~ 2-3: sdpa
      heads: 2 -> 4
      FLOPs/token ...
  ~ 4: conv(kernel = 3) -> conv(kernel = 5)
      parameters +4, +0.5%; FLOPs/token ...
  + 5: sdpa

total
  parameters: 3,982 -> 4,858 (+876, +22.0%)
  FLOPs/token: {flops.old:,.0f} -> {flops.new:,.0f} ({change(flops.old, flops.new)})
  FLOPs of the layers at 16 tokens
"""
    )


def test_costs_of_layers_alike_are_told_of_each(azc: Azc, good: str, new: str) -> None:
    (line,) = [x for x in azc("diff", good, new).out.splitlines() if "each" in x]
    layer = package.diff(good, new).layers[1].flops
    assert line == f"      FLOPs/token {change(layer.old, layer.new)} each"


def test_layout_and_names_play_no_part(azc: Azc, good: str, write: Write) -> None:
    text = GOOD.split("\nspace")[0].replace("softplus_key", "other")
    text = text.replace("key", "x").replace("model small", "model large")
    write("same.azg", text.replace("# Two", "# 2").replace("    ", "  "))
    found = azc("diff", good, "same.azg")
    assert found.code == 0
    same = "good.azg:small and same.azg:large are the same architecture\n"
    assert found.out == same


def test_one_file_two_models(azc: Azc) -> None:
    found = azc("diff", "std.models:bert_tiny", "std.models:bert_mini")
    assert found.code == 0
    assert "  ~ hidden: 128 -> 256\n" in found.out
    assert "  ~ heads: 2 -> 4\n" in found.out
    assert "ffn" not in found.out  # it follows the width
    assert "  + " in found.out


def test_attention_programs(azc: Azc, good: str) -> None:
    found = azc("diff", "std.attention:sdpa", "std.attention:local_attention")
    assert (
        found.out
        == """\
--- std.attention:sdpa
+++ std.attention:local_attention
  - softmax(scale(q @ k.T)) @ v
  + softmax(window(scale(q @ k.T), radius = 16)) @ v
  added: window
"""
    )
    found = azc("diff", "std.attention:autobert_zero_2", "good.azg:softplus_key")
    assert found.out.endswith(" are the same program\n")
    found = azc("diff", good, good, "--attention", "softplus_key")
    assert found.out.endswith(" are the same program\n")


def test_text(azc: Azc, good: str, new: str) -> None:
    found = azc("diff", good, new, "--text")
    assert found.out.startswith("--- good.azg:small\n+++ new.azg:small\n@@ ")
    assert "-    key = -logsigmoid(-k)  # softplus\n" in found.out
    assert "+        conv(kernel = 5)\n" in found.out
    assert "\ntotal\n" not in found.out
    assert "space" not in found.out  # only what belongs to the models
    assert azc("diff", good, good, "--text").out == ""
    programs = azc("diff", "std.attention:sdpa", "std.attention:cosine", "--text").out
    assert "-    return softmax(scale(q @ k.T)) @ v\n" in programs


def test_json(azc: Azc, good: str, new: str) -> None:
    found = azc("diff", good, new, "--json", "--text").json
    assert found["old"] == {"file": "good.azg", "name": "small"}
    assert found["same"] is False
    assert found["tokens"] == 16
    assert found["settings"] == [{"name": "residual", "old": "post", "new": "pre"}]
    statuses = [layer["status"] for layer in found["layers"]]
    assert statuses == ["changed", "changed", "changed", "changed", "added"]
    first, second, _, conv, added = found["layers"]
    assert first["old"] == {"index": 1, "mixing": "softplus_key"}
    assert first["program"] == {
        "result": {
            "old": ["softmax(scale(q @ (-logsigmoid(-k)).T)) @ (q + k)"],
            "new": ["softmax(scale(q @ (-logsigmoid(q)).T)) @ (q + k)"],
        },
        "inputs": {"removed": [], "added": []},
        "operations": {
            "removed": {"neg": 1},
            "added": {},
            "rewired": {"logsigmoid": 1},
        },
        "attributes": [],
    }
    assert second["changes"] == [{"name": "heads", "old": 2, "new": 4}]
    assert conv["changes"] == [{"name": "kernel", "old": 3, "new": 5}]
    assert added["old"] is None
    assert added["parameters"] == {"old": 0, "new": 872, "change": 872}
    assert found["parameters"] == {"old": 3982, "new": 4858, "change": 876}
    assert found["text"].startswith("--- good.azg:small\n")
    programs = azc("diff", "std.attention:sdpa", "std.attention:sdpa", "--json").json
    assert programs["same"] is True
    assert "layers" not in programs


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["std.models", "std.models:bert_tiny"], 2, "13 models; choose one"),
        (["std.models:bert_tiny", "std.attention:sdpa"], 2, "can't compare these"),
        (["std.models:bert_tiny", "nothing.azg"], 1, "can't read nothing.azg"),
        (["std.models:bert_tny", "std.models:bert_tiny"], 2, "`bert_tiny`"),
        (["std.models:bert_tiny"], 2, "NEW"),
        (
            ["std.models:bert_tiny", "std.models", "--model", "bert_tiny"],
            2,
            "already names what to compare",
        ),
        (
            ["std.models", "std.models", "--model", "a", "--attention", "b"],
            2,
            "give only one of",
        ),
    ],
)
def test_wrong_usage(azc: Azc, args: list[str], code: int, words: str) -> None:
    found = azc("diff", *args)
    assert found.code == code
    assert words in found.err
    assert found.out == ""


# Whole files

OLD = """\
from std.attention import sdpa

attention one(q, k) {
    return softmax(q @ k.T) @ k
}

attention gone(q) {
    return tanh(q)
}

model small {
    hidden = 8
    heads = 2
    vocab = 50

    layers {
        one
    }
}

space near {
    start = small
    depth = 1..2
}
"""
CHANGED = (
    OLD.replace("softmax(q @ k.T)", "softmax(scale(q @ k.T))")
    .replace("attention gone", "attention new")
    .replace("1..2", "1..3")
    + "\nmodel other {\n    layers {\n        sdpa\n    }\n}\n"
)


def test_files_as_wholes(azc: Azc, write: Write) -> None:
    write("old.azg", OLD)
    write("new.azg", CHANGED)
    found = azc("diff", "old.azg", "new.azg")
    assert (found.code, found.err) == (0, "")
    assert found.out.startswith("--- old.azg\n+++ new.azg\n")
    for line in (
        "~ attention one",
        "+ attention new(q): tanh(q)",
        "- attention gone(q): tanh(q)",
        "~ model small",
        "+ model other: 1 layer, ",
        "~ space near",
        "+    depth = 1..3",
    ):
        assert f"\n{line}" in found.out, line
    listed = azc("diff", "old.azg", "new.azg", "--json").json["declarations"]
    statuses = {(each["kind"], each["name"]): each["status"] for each in listed}
    assert statuses == {
        ("attention", "one"): "changed",
        ("attention", "new"): "added",
        ("attention", "gone"): "removed",
        ("model", "small"): "changed",
        ("model", "other"): "added",
        ("space", "near"): "changed",
    }
    text = azc("diff", "old.azg", "new.azg", "--text").out
    assert "+    return softmax(scale(q @ k.T)) @ k\n" in text
    assert (
        azc("diff", "new.azg", "new.azg").out == "new.azg and new.azg mean the same\n"
    )


# Exit codes


@pytest.mark.parametrize(
    ("old", "new", "text", "differ"),
    [
        ("good.azg", "good.azg", False, False),
        ("good.azg", "new.azg", False, True),
        # Two texts of one meaning.
        ("good.azg", "same.azg", False, False),
        ("good.azg", "same.azg", True, True),
        ("good.azg", "good.azg", True, False),
        ("std.attention:sdpa", "std.attention:sdpa", False, False),
        ("std.attention:sdpa", "std.attention:cosine", False, True),
        ("std.models", "std.models", False, False),
        ("std.models", "std.attention", False, True),
        (os.devnull, "good.azg", True, True),
    ],
)
def test_the_exit_code_says_whether_they_differ(
    azc: Azc, good: str, write: Write, old: str, new: str, text: bool, differ: bool
) -> None:
    write("same.azg", GOOD.replace("key", "other"))
    write("new.azg", NEW)
    words = ["diff", old, new, *(["--text"] if text else [])]
    shown = azc(*words)
    assert (shown.code, shown.err) == (0, "")
    coded = azc(*words, "--exit-code")
    assert (coded.code, coded.out, coded.err) == (int(differ), shown.out, "")
    for flag in ("-q", "--quiet"):
        quiet = azc(*words, flag)
        assert (quiet.code, quiet.out, quiet.err) == (int(differ), "", "")
    answer = azc(*words, "--exit-code", "--json")
    assert (answer.code, answer.json["ok"]) == (int(differ), not differ)
    assert azc(*words, "--json").json["ok"] is True


def test_faults_have_their_own_exit_codes(azc: Azc, good: str) -> None:
    assert azc("diff", good, "nothing.azg", "--quiet").code == 1
    assert azc("diff", good, "std.attention:sdpa", "--quiet").code == 2


def test_a_file_that_is_not_there(azc: Azc, good: str) -> None:
    found = azc("diff", os.devnull, good)
    assert (found.code, found.err) == (0, "")
    assert found.out.startswith(f"--- {os.devnull}\n+++ good.azg\n\n+ attention")
    assert "\n+ model small: 4 layers, 3,982 parameters\n" in found.out
    assert "\n+ space near_small: from small, depth 3..5\n" in found.out
    gone = azc("diff", good, os.devnull).out
    assert "\n- model small: 4 layers" in gone
    text = azc("diff", os.devnull, good, "--text").out
    lines = text.splitlines()
    assert all(line.startswith("+") for line in lines[3:])
    assert len(lines) == 3 + GOOD.count("\n")


def test_standard_input(azc: Azc, good: str) -> None:
    assert azc("diff", "-", good, stdin=GOOD).out.endswith("same architecture\n")


def test_git(tmp_path: Path) -> None:
    """The set-up that the documentation gives, in a repository."""
    guide = (Path(__file__).parents[2] / "docs" / "git.md").read_text("utf-8")
    (command,) = re.findall(r"git config diff.azc.command '(.+)'", guide)
    (attributes,) = re.findall(r"echo '(.+)' > .gitattributes", guide)
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "azc"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m azc "$@"\n')
    script.chmod(0o755)
    repository = tmp_path / "repository"
    repository.mkdir()
    environment = {
        **os.environ,
        "PATH": f"{script.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path(package.__file__).parents[1]),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
    }

    def git(*args: str) -> str:
        names = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        done = subprocess.run(
            ["git", *names, *args],
            cwd=repository,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert "Traceback" not in done.stderr
        return done.stdout

    git("init", "-q")
    git("config", "diff.azc.command", command)
    (repository / ".gitattributes").write_text(f"{attributes}\n")
    (repository / "kept.azg").write_text(OLD)
    (repository / "gone.azg").write_text(OLD)
    git("add", ".")
    git("commit", "-qm", "one")
    (repository / "kept.azg").write_text(CHANGED)
    (repository / "new.azg").write_text(GOOD)
    (repository / "gone.azg").unlink()
    git("add", ".")
    out = git("diff", "--cached", "--ext-diff")
    assert "~ model small" in out
    assert "+ model other" in out
    assert "+ space near_small" in out
    assert "- attention gone" in out
    (repository / "kept.azg").write_text("attention a(q) {\n    return\n")
    assert "AZG" not in git("diff", "--ext-diff")  # told beside it; git goes on
