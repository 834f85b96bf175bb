"""A syntax error hides nothing but what is wrong in its own declaration."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azc.check.resolve import check_source
from azc.diagnostics import Diagnostic, DiagnosticError
from azc.source import Source
from azc.syntax import ast
from azc.syntax.format import format_file
from azc.syntax.parse import read_text

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


# One conflict in the styles of git and Jujutsu; of each, the side `return softmax(q)` is
# read.
STYLES = {
    "merge": "<<<<<<< HEAD\n{one}=======\n{two}>>>>>>> theirs\n",
    "diff3": "<<<<<<< HEAD\n{one}||||||| base\n{base}=======\n{two}>>>>>>> theirs\n",
    "jj diff": "<<<<<<< Conflict 1 of 1\n%%%%%%% Changes from base to side #1\n"
    "-    return q\n+    return q +\n+++++++ Contents of side #2\n{one}"
    ">>>>>>> Conflict 1 of 1 ends\n",
    "jj diff, of today": '<<<<<<< conflict 1 of 1\n%%%%%%% diff from: a 1 "base"\n'
    '\\\\\\\\\\\\\\        to: b 2 "side #1"\n-    return q\n+    return q +\n'
    '+++++++ c 3 "side #2"\n{one}>>>>>>> conflict 1 of 1 ends\n',
    "jj diff behind": "<<<<<<< Conflict 1 of 1\n+++++++ Contents of side #1\n{one}"
    "%%%%%%% Changes from base to side #2\n-    return q\n+    return q +\n"
    ">>>>>>> Conflict 1 of 1 ends\n",
    "jj snapshot": "<<<<<<< Conflict 1 of 1\n+++++++ Contents of side #1\n{one}"
    "------- Contents of base\n{base}+++++++ Contents of side #2\n{two}"
    ">>>>>>> Conflict 1 of 1 ends\n",
    "jj git": "<<<<<<< Side #1 (Conflict 1 of 1)\n{one}||||||| Base\n{base}=======\n{two}"
    ">>>>>>> Side #2 (Conflict 1 of 1 ends)\n",
    "longer": "<<<<<<<<<<< HEAD\n{one}===========\n{two}>>>>>>>>>>> theirs\n",
    "no beginning": "{one}=======\n{two}>>>>>>> theirs\n",
}


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["unix", "windows"])
@pytest.mark.parametrize("style", STYLES)
def test_one_side_of_a_conflict_is_read(style: str, end: str) -> None:
    sides = {
        "one": "    return softmax(q)\n",
        "base": "    return q *\n",
        "two": "    return -\n",
    }
    conflict = STYLES[style].format(**sides)
    text = f"attention a(q) {{\n{conflict}}}\n".replace("\n", end)
    reading = read_text(Source("test.azg", text))
    assert [d.message.split(":")[0] for d in reading.errors] == [
        "unresolved merge conflict"
    ]
    assert reading.file is not None
    (read,) = reading.file.declarations
    assert (
        format_file(ast.File((read,))) == "attention a(q) {\n    return softmax(q)\n}\n"
    )
    whose = "Jujutsu" if any(m in conflict for m in ("%%%", "+++", "---")) else "git"
    assert f"{whose}'s markers" in reading.errors[0].message
    assert set(re.findall(r"([^\w\s,])\1{6,}", reading.errors[0].help or "")) == set(
        re.findall(r"^(\W)\1{6,}", conflict, re.M)
    )


def test_lines_of_other_tools_are_no_conflict() -> None:
    for line in ("+++++++ a", "------- a", "%%%%%%% a", "======="):
        assert "conflict" not in str(refused(f"{line}\n{GOOD['two']}"))
    assert told(f"# <<<<<<< HEAD\n{GOOD['two']}") == []


def test_lookalikes_are_read_as_what_they_look_like() -> None:
    text = GOOD["one"].replace("q @ k.T", "q × k\u00a0 − k").replace("one(", "one（")
    found = told(text)
    assert sorted(code for code, _, _ in found) == ["AZG001"] * 4 + ["AZG201"]
    assert any("U+2212 (minus sign)" in message for _, message, _ in found)
    comment = "# “q × k”\u00a0−\n" + GOOD["one"]
    assert told(comment) == []


# Nothing is told twice

ROOT = Path(__file__).parents[2]
TEXTS = [
    *(GOOD["one"] + GOOD["two"] + GOOD["small"] + GOOD["near"], CONFLICT),
    (ROOT / "examples" / "04_space.azg").read_text("utf-8"),
    (ROOT / "tests" / "golden" / "format" / "comments.azg").read_text("utf-8"),
]
PIECES = [
    *(
        "{",
        "}",
        "}}",
        "}\n}",
        "}}}",
        "(",
        ")",
        "[",
        "]",
        ",",
        "=",
        "@",
        ".T",
        "^T",
        "-",
    ),
    *(
        "\n",
        "#",
        " ",
        "q",
        "1",
        "..",
        "**",
        "return",
        "model x {",
        "attention",
        "import",
    ),
    *("\u200b", "\u202e", "\u2212", "<<<<<<< a\n", "\n=======\n", ">>>>>>> b\n", "\r"),
]


@given(st.sampled_from(TEXTS), st.data())
def test_nothing_is_told_twice(text: str, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 5))
        text = text[:at] + data.draw(st.sampled_from(["", *PIECES])) + text[at + cut :]
    found = refused(text)
    places = [(d.code, d.message, d.span and d.span.start) for d in found]
    assert len(places) == len(set(places))


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("attention a(q) {\n    return q\n}}\n", ["}"]),
        ("attention a(q) {\n    return q\n}}}\n", ["}}"]),
        ("attention a(q) {\n    return q\n}\n}\n" + GOOD["two"], ["}"]),
        ("model m {\n    layers {\n        conv(kernel = 3)\n    }}}\n", ["}"]),
        ("attention a(q) { return q }} hidden\n" + GOOD["two"], ["}", "hidden"]),
        ("from std.attention import (\n    sdpa,\n{ cosine\n", ["(", "sdpa"]),
    ],
)
def test_each_fault_is_told_once(text: str, places: list[str]) -> None:
    assert [about for _, _, about in told(text)] == places


def test_what_is_around_extra_braces_is_read() -> None:
    found = told(WRONG["one"].replace("}\n", "}}\n") + WRONG["two"])
    assert [code for code, _, _ in found] == ["AZG103", "AZG101", "AZG002", "AZG202"]
