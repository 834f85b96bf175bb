from __future__ import annotations

import pytest
from hypothesis import given

from azc.compare.expression import express, number_text
from azc.compare.match import Interner
from azc.ir.build import build_graph
from azc.ir.graph import Graph
from azc.passes.pipeline import optimise
from tests.programs import programs, spec_of


def graph(text: str) -> Graph:
    return build_graph(spec_of(text))


def lines(body: str, params: str = "q, k, v") -> tuple[str, ...]:
    return express(graph(f"attention a({params}) {{\n{body}\n}}\n")).lines


def test_names_used_once_are_written_out() -> None:
    body = "key = -logsigmoid(-k)\nreturn softmax(scale(q @ key.T)) @ (q + k)"
    assert lines(body) == ("softmax(scale(q @ (-logsigmoid(-k)).T)) @ (q + k)",)


def test_parts_used_twice_keep_the_authors_name_or_get_one() -> None:
    body = "key = elu(k) + 1\nreturn q @ (key.T @ key) * exp(tanh(q)) + exp(tanh(q))"
    assert lines(body) == (
        "key = elu(k) + 1",
        "t1 = exp(tanh(q))",
        "q @ (key.T @ key) * t1 + t1",
    )


def test_new_names_are_free() -> None:
    body = "return exp(tanh(t1)) * exp(tanh(t1)) + t2"
    assert lines(body, "t1, t2") == ("t3 = exp(tanh(t1))", "t3 * t3 + t2")


def test_small_parts_are_repeated() -> None:
    assert lines("return tanh(q) * tanh(q)") == ("tanh(q) * tanh(q)",)


def test_one_learned_operation_used_twice_is_not_two() -> None:
    body = "x = conv(q, kernel = 3)\nreturn x * x"
    assert lines(body) == ("x = conv(q, kernel = 3)", "x * x")
    two = "return conv(q, kernel = 3) * conv(q, kernel = 3)"
    assert lines(two) == ("conv(q, kernel = 3) * conv(q, kernel = 3)",)


def test_what_is_deep_is_cut() -> None:
    deep = "\n".join(f"x{i + 1} = tanh(x{i})" for i in range(100))
    found = lines(f"{deep}\nreturn x100", "x0")
    assert 1 < len(found) < 10
    assert max(map(len, found)) < 200


@pytest.mark.parametrize(
    ("number", "text"),
    [(10.0, "10"), (0.5, "0.5"), (1e-6, "1e-6"), (1e30, "1e30"), (3.25, "3.25")],
)
def test_numbers(number: float, text: str) -> None:
    assert number_text(number) == text
    assert float(text) == number


@given(programs())
def test_an_expression_means_its_program(text: str) -> None:
    built = graph(text)
    for each in (built, optimise(built)):
        *bindings, result = express(each).lines
        body = "\n".join([*bindings, f"return {result}"])
        written = graph(f"attention a({', '.join(each.inputs)}) {{\n{body}\n}}\n")
        intern = Interner()
        assert intern.key(written) == intern.key(each)
