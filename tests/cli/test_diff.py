from __future__ import annotations

import re
from collections.abc import Callable

import pytest

import azc as package
from azc.cli.numbers import change
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

in all
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
    assert "in all" not in found.out
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
        (["std.models", "std.models"], 2, "8 models; say which"),
        (["std.models:bert_tiny", "std.attention:sdpa"], 2, "can't compare these"),
        (["std.models:bert_tiny", "nothing.azg"], 1, "can't read nothing.azg"),
        (["std.models:bert_tny", "std.models:bert_tiny"], 2, "`bert_tiny`"),
        (["std.models:bert_tiny"], 2, "NEW"),
        (
            ["std.models:bert_tiny", "std.models", "--model", "bert_tiny"],
            2,
            "names what to compare already",
        ),
        (
            ["std.models", "std.models", "--model", "a", "--attention", "b"],
            2,
            "one name is enough",
        ),
    ],
)
def test_wrong_usage(azc: Azc, args: list[str], code: int, words: str) -> None:
    found = azc("diff", *args)
    assert found.code == code
    assert words in found.err
    assert found.out == ""
