"""What is known of absent entries, on small programs."""

from __future__ import annotations

from azc.facts.presence import presence
from azc.ir.build import build_graph
from azc.ir.graph import Graph
from tests.programs import attention


def graph_of(*lines: str) -> Graph:
    return build_graph(attention("\n".join(lines)))


def radii(graph: Graph) -> dict[str, int | None]:
    """The radius of every named value."""
    states = presence(graph, frozenset())
    return {name: states[node].radius for node, name in graph.names.items()}


def test_what_only_a_window_sees_is_a_band() -> None:
    graph = graph_of(
        "s = q @ k.T",
        "e = exp(s)",
        "t = e.T",
        "w = window(t, radius = 2)",
        "return w / sum(w) @ v",
    )
    found = radii(graph)
    assert [found[name] for name in "stew"] == [2, 2, 2, 2]


def test_what_something_else_sees_too_is_not() -> None:
    graph = graph_of(
        "s = q @ k.T",
        "e = exp(s)",
        "w = window(e, radius = 2)",
        "return w @ v / sum(e)",
    )
    found = radii(graph)
    assert (found["s"], found["e"], found["w"]) == (None, None, 2)


def test_the_widest_of_several_windows_is_seen() -> None:
    graph = graph_of(
        "e = exp(q @ k.T)",
        "near = window(e, radius = 1)",
        "far = window(e, radius = 5)",
        "return near @ v + far @ v",
    )
    assert radii(graph)["e"] == 5


def test_what_sums_its_row_sees_all_of_it() -> None:
    graph = graph_of(
        "p = softmax(q @ k.T)",
        "w = window(p, radius = 1)",
        "return w @ v",
    )
    found = radii(graph)
    assert found["p"] == 1
    scores = graph.output.args[0].args[0].args[0]
    assert scores.op == "matmul"
    assert presence(graph, frozenset())[scores].radius is None
