"""The textual difference of two programs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from azc.syntax.diff import text_diff


def test_a_changed_line() -> None:
    old = "model m {\n    a = 1\n    b = 2\n}\n"
    assert text_diff(old, old.replace("1", "3"), "old.azg", "new.azg") == (
        "--- old.azg\n"
        "+++ new.azg\n"
        "@@ -1,4 +1,4 @@\n"
        " model m {\n"
        "-    a = 1\n"
        "+    a = 3\n"
        "     b = 2\n"
        " }\n"
    )


def test_from_nothing() -> None:
    assert text_diff("", "a\n", "x", "y") == "--- x\n+++ y\n@@ -0,0 +1 @@\n+a\n"


@given(st.text())
def test_the_same_text_has_no_difference(text: str) -> None:
    assert text_diff(text, text, "a", "b") == ""
