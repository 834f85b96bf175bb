"""`azc explain`: how a program is computed, and where it says so."""

from __future__ import annotations

from collections.abc import Callable

from tests.cli.conftest import Azc

Write = Callable[[str, str], str]

RELU = """attention a(q, k, v) {
    s = scale(q @ k.T)
    return relu(s) @ v
}
"""
TURNED = """attention a(q, k, v) {
    s = softmax(q @ k.T)
    return s.T @ v
}
"""


def test_what_stands_in_the_way_is_shown(azc: Azc, write: Write) -> None:
    name = write("a.azg", RELU)
    found = azc("explain", name).out
    assert found.endswith(
        "\nnote: n × n numbers are kept: `relu` on scores\n"
        " --> a.azg:3:12\n"
        "  |\n"
        "3 |     return relu(s) @ v\n"
        "  |            ^^^^^^^\n"
    )
    (answer,) = azc("explain", name, "--json").json["attentions"]
    place = {"file": "a.azg", "line": 3, "column": 12, "end_line": 3, "end_column": 19}
    assert answer["encoder"]["at"] == answer["decoder"]["at"] == place
    assert answer["encoder"]["in_the_way"] == "`relu` on scores"


def test_what_has_no_causal_meaning_is_shown(azc: Azc, write: Write) -> None:
    name = write("a.azg", TURNED)
    found = azc("explain", name).out
    assert "error[AZG310]: `s.T`, the transpose of [n, n]" in found
    assert " --> a.azg:3:12\n" in found
    (answer,) = azc("explain", name, "--json").json["attentions"]
    assert answer["decoder"] is None
    assert answer["refusal"]["code"] == "AZG310"
    assert answer["refusal"]["message"] == answer["reason"]
    assert (answer["refusal"]["line"], answer["refusal"]["column"]) == (3, 12)


def test_nothing_in_the_way(azc: Azc) -> None:
    found = azc("explain", "std.attention:sdpa")
    assert "note:" not in found.out
    several = azc("explain", "std.attention")
    assert "-->" not in several.out
