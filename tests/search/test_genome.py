from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from azc.check.resolve import check_source
from azc.diagnostics import DiagnosticError, UsageError
from azc.ir.build import build_graph
from azc.ir.run import Interpreter
from azc.search.genome import Genome, program_key, space_features
from azc.source import Source
from azc.syntax.parse import parse

SETTINGS = "    vocab = 64\n    hidden = 16\n    heads = 4\n    max_length = 16\n"


def text(programs: str, layers: str, settings: str = SETTINGS) -> str:
    return f"{programs}\n\nmodel m {{\n{settings}\n    layers {{ {layers} }}\n}}\n"


def genome(programs: str, layers: str, settings: str = SETTINGS) -> Genome:
    return Genome.from_text(text(programs, layers, settings), "m")


def of_body(body: str, params: str = "q, k, v") -> Genome:
    return genome(f"attention a({params}) {{\n{body}\n}}", "a\na(heads = 2)\n")


PLAIN = "return softmax(scale(q @ k.T)) @ v"


@pytest.mark.parametrize(
    ("body", "params"),
    [
        ("return softmax(scale(q @ k.T)) @ v", "v, k, q"),
        ("return softmax(scale(x @ y.T)) @ z", "x, y, z"),
        ("return softmax(scale(k @ q.T)) @ v", "q, k, v"),
        ("# a comment\ns = scale(q @ k.T)\np = softmax(s)\nreturn p @ v", "q, k, v"),
        ("return softmax(scale(-(-q) @ k.T.T.T)) @ v", "q, k, v"),
        ("unused = q + k\nreturn softmax(scale(q @ k.T)) @ v", "q, k, v"),
        ("return softmax(scale(q @ k.T)) @ v", "q, k, v, unused"),
    ],
)
def test_equal_keys(body: str, params: str) -> None:
    assert of_body(body, params).key == of_body(PLAIN).key


def test_unlike_programs_have_unlike_keys() -> None:
    bodies = [
        PLAIN,
        "return softmax(scale(q @ q.T)) @ v",
        "return softmax(scale(q @ k.T)) @ k",
        "return softmax(q @ k.T) @ v",
        "return softmax(scale(q @ k.T)).T @ v",
        "return softmax(window(scale(q @ k.T), radius = 2)) @ v",
        "return softmax(window(scale(q @ k.T), radius = 4)) @ v",
        "return softmax(2 * scale(q @ k.T)) @ v",
        "return softmax(3 * scale(q @ k.T)) @ v",
        "return softmax(q @ k.T / 2) @ v",
        "return softmax(2 / (q @ k.T)) @ v",
    ]
    assert len({of_body(body).key for body in bodies}) == len(bodies)


def test_operands_of_sums_may_swap() -> None:
    one = of_body("return softmax(q @ k.T) @ (q + k * v)")
    assert of_body("return softmax(q @ k.T) @ (v * k + q)").key == one.key
    assert of_body("return softmax(q @ k.T) @ (q * k + v)").key != one.key
    less = of_body("return softmax(q @ k.T) @ (q - k)", "q, k")
    assert of_body("return softmax(q @ k.T) @ (k - q)", "q, k").key != less.key


def test_learned_weights_of_their_own_are_told_apart() -> None:
    shared = of_body("c = conv(q, kernel = 3)\nreturn softmax(c @ c.T) @ q", "q")
    apart = of_body(
        "return softmax(conv(q, kernel = 3) @ conv(q, kernel = 3).T) @ q", "q"
    )
    assert shared.key != apart.key
    swapped = of_body(
        "b = conv(k, kernel = 3)\na = conv(q, kernel = 3)\nreturn softmax(a @ b.T) @ v"
    )
    assert (
        swapped.key
        == of_body(
            "return softmax(conv(q, kernel = 3) @ conv(k, kernel = 3).T) @ v"
        ).key
    )


def test_many_parameters() -> None:
    # 8! orders are more than are tried; which part each plays tells most of them apart.
    names = list("abcdefgh")
    one = of_body(f"return {' + '.join(names)}", ", ".join(names))
    back = of_body(f"return {' + '.join(reversed(names))}", ", ".join(names))
    assert one.key == back.key


def test_layers_count() -> None:
    programs = f"attention a(q, k, v) {{ {PLAIN} }}"
    other = f"{programs}\nattention b(k, q, v) {{ {PLAIN} }}"
    layers = ["a", "conv(kernel = 3)", "a(heads = 2)", "a(ffn = 32)"]
    layers += ["a(activation = relu)", "a(ffn = [32, 32])", "conv(kernel = 5)"]
    layers += ["conv(kernel = 3, kind = dynamic)", "conv(kernel = 3, heads = 2)"]
    layers += ["conv(kernel = 3, kind = depthwise)", "a\na", "a\nconv(kernel = 3)"]
    layers += ["conv(kernel = 3)\na"]
    keys = {genome(programs, layer).key for layer in layers}
    assert len(keys) == len(layers)
    assert genome(other, "repeat 2 { a }").key == genome(other, "a\nb\n").key
    assert genome(programs, "a(ffn = 64)").key == genome(programs, "a").key
    depthwise = genome(programs, "conv(kernel = 3, kind = depthwise, heads = 2)")
    assert depthwise.key in keys  # heads have no part in it
    assert genome(programs, "a", SETTINGS.replace("16", "32")).key not in keys


def test_equal_keys_compute_the_same() -> None:
    # All programs of one shape: those of one key agree under a renaming of inputs.
    rng = np.random.default_rng(0)
    data = {name: rng.standard_normal((5, 3)) for name in "qkv"}
    groups: dict[str, list[list[np.ndarray]]] = {}
    forms = ["softmax({} @ {}.T) @ ({} + {})", "cosine({}, {}) @ ({} * {})"]
    for form, names in product(forms, product("qkv", repeat=4)):
        source = text(
            f"attention a(q, k, v) {{ return {form.format(*names)} }}", "a", SETTINGS
        )
        spec = check_source(Source("x", source)).attentions["a"]
        run = Interpreter(build_graph(spec))
        orders = permutations("qkv")
        outputs = [
            run(**{n: data[o] for n, o in zip("qkv", order, strict=True)})
            for order in orders
        ]
        groups.setdefault(program_key(spec), []).append(outputs)
    assert len(groups) < 2 * 81 / 4
    for first, *others in groups.values():
        for outputs in others:
            assert any(np.allclose(first[0], output) for output in outputs)
    # And those of unlike keys do not.
    leaders = [outputs for outputs, *_ in groups.values()]
    for place, one in enumerate(leaders):
        for other in leaders[:place]:
            assert not any(np.allclose(one[0], output) for output in other)


def test_features() -> None:
    found = genome(
        f"attention a(q, k, v) {{ dead = exp(q)\n{PLAIN} }}\n"
        "attention b(v) { return conv(v, kernel = 3) }\n"
        "attention not_used(v) { return tanh(v) }",
        "a\nb\nconv(kernel = 9)\n",
    )
    wanted = {"softmax", "scale", "matmul", "transpose", "conv", "conv 9"}
    assert found.features == wanted


def test_space_features() -> None:
    source = text(f"attention a(q, k, v) {{ {PLAIN} }}", "a") + (
        "space s {\n start = m\n attention { inputs = [q, k, v]\n"
        " ops = [transpose, softmax, matmul, scale] }\n conv { kernel = [9, 3] }\n}"
    )
    space = check_source(Source("x", source)).spaces["s"]
    wanted = ("matmul", "scale", "softmax", "transpose", "conv 3", "conv 9")
    assert space_features(space) == wanted


def test_text_is_canonical() -> None:
    found = of_body("return softmax(scale((q@k.T)))@v  # why")
    assert "    return softmax(scale(q @ k.T)) @ v  # why\n" in found.text
    again = Genome.from_text(found.text, "m")
    assert again.text == found.text
    assert (again.key, again.node.name, again.spec) == (found.key, "m", found.spec)
    assert Genome.from_file(parse(Source("x", found.text)), "m").text == found.text


def test_what_is_no_genome() -> None:
    with pytest.raises(UsageError, match="no model `other`"):
        Genome.from_text(of_body(PLAIN).text, "other")
    with pytest.raises(DiagnosticError):
        of_body("return q @ k")
