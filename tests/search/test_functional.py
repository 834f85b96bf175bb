"""Programs told by what they compute."""

from __future__ import annotations

import pytest

from azc.check.resolve import check_file
from azc.resources import stdlib_folder
from azc.search.functional import program_function
from tests.programs import attention

SDPA = "return softmax(scale(q @ k.T)) @ v"


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (SDPA, "return softmax(scale(k @ v.T)) @ q"),
        (SDPA, "return (v.T @ softmax(scale(q @ k.T)).T).T"),
        (SDPA, "s = scale(q @ k.T)\nreturn softmax(s - amax(s)) @ v"),
        (SDPA, "e = exp(scale(q @ k.T))\nreturn e @ v / sum(e)"),
        ("return (q @ k.T) @ v", "return q @ (k.T @ v)"),
        ("return q + q", "return 2 * q"),
        ("return q * k - k * q + v", "return v"),
        ("return softplus(q)", "return -logsigmoid(-q)"),
        ("return sqrt(square(q))", "return abs(q)"),
        ("return conv(q, kernel = 3) + k", "return k + conv(q, kernel = 3)"),
    ],
)
def test_one_function(one: str, two: str) -> None:
    first, second = program_function(attention(one)), program_function(attention(two))
    assert first.key == second.key
    assert first.fault is None


@pytest.mark.parametrize(
    "other",
    [
        "return softmax(q @ k.T) @ v",
        "return softmax(scale(q @ k.T)) @ k",
        "return softmax(scale(q @ q.T)) @ v",
        "return softmax(alibi(scale(q @ k.T))) @ v",
        "return softmax(window(scale(q @ k.T), radius = 2)) @ v",
        "return softmax(scale(rope(q) @ rope(k).T)) @ v",
        "return softmax(scale(q @ k.T)) @ v * 1.001",
        "return softmax(scale(q @ k.T)) @ v + mean(sum(v.T).T * 0.001)",
        # Only how it depends on the length tells it.
        "return softmax(scale(q @ k.T)) @ v * (mean(1 + 0 * sum(v).T) * 1.0001)",
    ],
)
def test_other_functions(other: str) -> None:
    assert (
        program_function(attention(other)).key != program_function(attention(SDPA)).key
    )


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("return log(q)", "NaN"),
        # Of a single token it may be finite.
        ("return log(q @ k.T) @ v", "NaN"),
        ("return sqrt(amax(q.T).T * mean(k.T).T) * v", "NaN"),
        ("return q / (k - k)", "NaN"),
        ("return exp(exp(exp(9 * abs(q)) + 9))", "infinite"),
        # Finite in float64, and not in float32, on the way.
        ("return log(exp(q + 100))", "infinite"),
        ("return reciprocal(exp(q + 100))", "does not depend"),
        ("return 0 * q", "does not depend"),
        ("return softmax(sum(q)) + 0 * q", "does not depend"),
        ("return (q - q) @ (k.T @ v)", "does not depend"),
        ("return q", None),
        (SDPA, None),
    ],
)
def test_faults(body: str, fault: str | None) -> None:
    found = program_function(attention(body)).fault
    assert found is None if fault is None else fault in str(found)


# In a causal model


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        (SDPA, "e = exp(scale(q @ k.T))\nreturn e @ v / sum(e)", True),
        ("return (q @ k.T) @ v", "return q @ (k.T @ v)", True),
        # What a token meets is the mean up to itself, or the one up to the last.
        (
            "return sum((v * mean(k.T).T).T).T + 0 * q",
            "return sum(v.T).T * mean(k.T).T + 0 * q",
            False,
        ),
        (
            "return softmax(window(q @ k.T, radius = 60)) @ v",
            "return softmax(window(q @ k.T, radius = 61)) @ v",
            False,
        ),
        (
            "return softmax(window(q @ k.T, radius = 30)) @ v",
            "return softmax(window(q @ k.T, radius = 31)) @ v",
            False,
        ),
        ("return conv(q, kernel = 61) * k", "return conv(q, kernel = 63) * k", False),
    ],
)
def test_functions_of_a_decoder(one: str, two: str, same: bool) -> None:
    first, second = (program_function(attention(body), True) for body in (one, two))
    assert (first.key == second.key) is same
    assert first.fault is None
    assert second.fault is None


def test_a_decoder_is_told_from_an_encoder_by_what_it_computes() -> None:
    """The first pair differs in a decoder alone."""
    bodies = (
        "return sum((v * mean(k.T).T).T).T + 0 * q",
        "return sum(v.T).T * mean(k.T).T + 0 * q",
    )
    first, second = (program_function(attention(body)) for body in bodies)
    assert first.key == second.key


def test_what_a_decoder_can_not_learn_from() -> None:
    for body, fault in (
        ("return log(q @ k.T) @ v", "NaN"),
        ("return (q - q) @ (k.T @ v)", "does not depend"),
    ):
        assert fault in str(program_function(attention(body), True).fault)


def test_the_standard_library_of_a_decoder() -> None:
    """Every program can be learned, and none is another but the two that are one."""
    program = check_file(stdlib_folder() / "attention.azg")
    keys: dict[str, list[str]] = {}
    for name, spec in program.attentions.items():
        found = program_function(spec, True)
        assert found.fault is None, name
        keys.setdefault(found.key, []).append(name)
    alike = [names for names in keys.values() if len(names) > 1]
    assert alike == [["autobert_zero_2", "softplus_key"]]
