"""A syntax error hides nothing but what is wrong in its own declaration."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azc.check.resolve import check_source
from azc.diagnostics import Diagnostic, DiagnosticError
from azc.source import Source

GOOD = {
    "one": "attention one(q, k) {\n    return softmax(q @ k.T) @ k\n}\n",
    "two": "attention two(q) {\n    s = tanh(q)\n    return s\n}\n",
    "small": "model small {\n    hidden = 8\n    heads = 2\n    layers {\n"
    "        one\n        two(ffn = 9)\n    }\n}\n",
    "near": "space near {\n    start = small\n    layer {\n        ffn = [9]\n    }\n}\n",
}
# Each with faults that no other declaration has a part in.
WRONG = {
    "one": GOOD["one"].replace("k.T", "z.T").replace("softmax", "sofmax"),
    "two": GOOD["two"].replace("return s", "return s.T"),
    "small": GOOD["small"].replace("hidden", "hiden"),
    "near": GOOD["near"].replace("ffn = [9]", "ffn = [0]\n        fnf = 3"),
}
IMPORT = "from std.attention import sdpa\n"


def refused(text: str) -> list[Diagnostic]:
    try:
        check_source(Source("test.azg", text))
    except DiagnosticError as error:
        return list(error.diagnostics)
    return []


def told(text: str) -> list[tuple[str, str, str]]:
    """Code, message and the text it is about, in the order of the text."""
    return [(d.code, d.message, d.span.text if d.span else "") for d in refused(text)]


BREAKS = [
    "x = \n",
    "= 3\n",
    "((\n",
    "x = q +\n",
    "[\n",
    "a b c\n",
    "x = ]\n",
    "X ? y\n",
]


@given(
    st.sampled_from(list(GOOD)),
    st.sets(st.sampled_from(list(GOOD))),
    st.sampled_from(BREAKS),
)
def test_errors_elsewhere_are_those_without_it(
    broken: str, wrong: set[str], junk: str
) -> None:
    wrong -= {broken}
    texts = {name: WRONG[name] if name in wrong else GOOD[name] for name in GOOD}
    alone = told("".join(texts.values()))
    assert bool(alone) == bool(wrong)
    head, body = texts[broken].split("\n", 1)
    texts[broken] = f"{head}\n    {junk}{body}"
    found = told("".join(texts.values()))
    syntax = [each for each in found if each[0] in ("AZG001", "AZG002", "AZG003")]
    assert syntax
    assert [each for each in found if each not in syntax] == alone


@pytest.mark.parametrize("name", list(GOOD))
@pytest.mark.parametrize(
    "header", ["{name}(q k) {{", "{name}) {{", "{name} = 3 {{", "{name}(q {{"]
)
def test_a_broken_header_loses_a_name_without_a_word(name: str, header: str) -> None:
    texts = dict(GOOD)
    word, rest = texts[name].split(" ", 1)
    body = rest.split("{", 1)[1]
    texts[name] = f"{word} {header.format(name=name)}{body}"
    found = told("".join(texts.values()))
    assert {code for code, _, _ in found} <= {"AZG001", "AZG002"}
    assert found


def test_a_broken_import_loses_its_names_without_a_word() -> None:
    text = "from std.attention import sdpa cosine\nmodel m { layers { sdpa } }\n"
    assert [code for code, _, _ in told(text)] == ["AZG001"]
    text = "from std.Attention import sdpa\nmodel m { layers { sdpa\n nothing } }\n"
    assert [code for code, _, _ in told(text)] == ["AZG003", "AZG307"]


def test_what_python_declares_is_no_unknown_name() -> None:
    text = "def mine(q):\n    return q\nmodel m { layers { mine\n other } }\n"
    assert [(code, about) for code, _, about in told(text)] == [
        ("AZG001", "def"),
        ("AZG001", "return"),
        ("AZG307", "other"),
    ]


def test_a_name_may_be_declared_again_after_what_could_not_be_read() -> None:
    text = "def one(q):\n" + GOOD["one"]
    assert [code for code, _, _ in told(text)] == ["AZG001"]


def test_upper_case_names_are_read_as_lower_case() -> None:
    text = "attention A(Q, K) {\n    S = Q @ K\n    return softmax(S) @ Q\n}\n"
    found = refused(text)
    assert {d.code for d in found} == {"AZG003", "AZG201"}
    # With both `q` and `Q`, who knows.
    text = "attention a(q, Q) {\n    return q @ Q\n}\n"
    assert {d.code for d in refused(text)} == {"AZG003"}
    assert not any(d.fix for d in refused(text))


CONFLICT = """\
attention a(q) {
<<<<<<< HEAD
    return softmax(q)
||||||| base
    return q
=======
    return tanh(q) +
>>>>>>> theirs
}

<<<<<<< HEAD
attention b(q) {
    return k
}
=======
attention c(q) {
    return q
}
>>>>>>> theirs

model m {
    layers {
        a
        b
        c
        d
    }
}
"""


def test_a_merge_conflict_is_told_once() -> None:
    found = refused(CONFLICT)
    assert [d.code for d in found] == ["AZG001", "AZG101", "AZG307"]
    assert "merge conflict" in found[0].message
    windows = refused(CONFLICT.replace("\n", "\r\n"))
    assert [d.code for d in windows] == ["AZG001", "AZG101", "AZG307"]


@pytest.mark.parametrize(
    "text", ["<<<<<<< a\n", ">>>>>>> b\n", "<<<<<<< a\n=======\n", "||||||| x\n======="]
)
def test_half_a_merge_conflict(text: str) -> None:
    for whole in (text + GOOD["two"], GOOD["two"] + text):
        found = refused(whole)
        assert "merge conflict" in found[0].message


def test_lookalikes_are_read_as_what_they_look_like() -> None:
    text = GOOD["one"].replace("q @ k.T", "q × k\u00a0 − k").replace("one(", "one（")
    found = told(text)
    assert sorted(code for code, _, _ in found) == ["AZG001"] * 4 + ["AZG201"]
    assert any("U+2212 (minus sign)" in message for _, message, _ in found)
    comment = "# “q × k”\u00a0−\n" + GOOD["one"]
    assert told(comment) == []
