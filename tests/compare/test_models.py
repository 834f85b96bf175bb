from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azc.check.program import ModelSpec
from azc.check.resolve import check_file, check_source
from azc.compare.cost import model_flops
from azc.compare.match import ProgramDiff, match_graphs, operations
from azc.compare.models import LayerDiff, ModelDiff, compare_models, compare_programs
from azc.ir.build import build_graph
from azc.ir.graph import Graph
from azc.resources import stdlib_folder
from azc.source import Source
from tests.programs import attention, programs, spec_of

SDPA = "return softmax(scale(q @ k.T)) @ v"


def difference(old: str, new: str, params: str = "q, k, v") -> ProgramDiff:
    return compare_programs(attention(old, params), attention(new, params))


def nothing(found: ProgramDiff) -> bool:
    """Whether no operation changed."""
    counts = (found.removed, found.added, found.rewired)
    return not any(counts) and not found.attributes


# Programs


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (SDPA, "s = scale(matmul(q, transpose(k)))\nreturn softmax(s) @ v"),
        ("return tanh(q) * tanh(q)", "x = tanh(q)\nreturn x * x"),
        (
            "a = exp(q)\nb = tanh(k)\nreturn a + b",
            "b = tanh(k)\na = exp(q)\nreturn a + b",
        ),
        ("unused = exp(q)\nreturn q", "return q"),
        ("return 1 * q", "return 1.0 * q"),
    ],
)
def test_what_means_the_same_is_the_same(old: str, new: str) -> None:
    found = difference(old, new)
    assert found.same
    assert nothing(found)


def test_operations_put_in() -> None:
    found = difference(SDPA, "return softmax(scale(q @ (-logsigmoid(-k)).T)) @ v")
    assert not found.same
    assert found.added == (("logsigmoid", 1), ("neg", 2))
    assert found.removed == ()
    assert found.rewired == ()


def test_operations_taken_out() -> None:
    found = difference("return exp(tanh(q)) + k", "return tanh(q) + k")
    assert (found.removed, found.added, found.rewired) == ((("exp", 1),), (), ())


def test_a_binary_operation_put_in() -> None:
    found = difference(SDPA, "return softmax(scale(q @ (q + k).T)) @ v")
    assert (found.removed, found.added, found.rewired) == ((), (("add", 1),), ())


def test_one_operation_for_another() -> None:
    found = difference("return exp(tanh(q)) + k", "return exp(relu(q)) + k")
    assert (found.removed, found.added) == ((("tanh", 1),), (("relu", 1),))
    assert found.rewired == ()


def test_other_operands() -> None:
    found = difference(SDPA, "return softmax(scale(q @ k.T)) @ k")
    assert (found.removed, found.added) == ((), ())
    assert found.rewired == (("matmul", 1),)
    swapped = difference("return exp(q) - k", "return k - exp(q)")
    assert swapped.rewired == (("sub", 1),)


def test_a_parameter_more() -> None:
    old, new = attention("return q", "q"), attention("return q * g", "q, g")
    found = compare_programs(old, new)
    assert (found.inputs_removed, found.inputs_added) == ((), ("g",))
    assert found.added == (("mul", 1),)
    unused = compare_programs(old, attention("return q", "q, g"))
    assert not unused.same  # it has one more projection


def test_other_numbers() -> None:
    old, new = "window(q @ k.T, radius = 4)", "window(q @ k.T, radius = 8)"
    found = difference(f"return {old} @ v", f"return {new} @ v")
    (change,) = found.attributes
    assert (change.op, change.attribute) == ("window", "radius")
    assert (change.old, change.new) == (4, 8)
    assert not found.rewired
    constants = difference("return q * 0.5", "return q * 10")
    assert (constants.removed, constants.added) == ((("0.5", 1),), (("10", 1),))
    assert not constants.rewired


def test_one_learned_operation_is_not_two() -> None:
    one = "x = conv(q, kernel = 3)\nreturn x * x"
    two = "return conv(q, kernel = 3) * conv(q, kernel = 3)"
    found = difference(one, two)
    assert not found.same
    assert found.added == (("conv", 1),)
    assert difference(two, two).same


def test_what_compiles_to_the_same_is_the_same() -> None:
    old, new = attention("return q.T.T", "q"), attention("return q", "q")
    assert compare_programs(old, new).same


def graph_of(text: str) -> Graph:
    return build_graph(spec_of(text))


@given(programs(), programs())
def test_any_two_programs(old: str, new: str) -> None:
    before, after = graph_of(old), graph_of(new)
    there, back = match_graphs(before, after), match_graphs(after, before)
    counts = operations(before) - Counter(dict(there.removed))
    assert counts + Counter(dict(there.added)) == operations(after)
    assert (there.removed, there.added) == (back.added, back.removed)
    assert there.same == back.same
    if there.same:
        assert nothing(there)


@given(programs())
def test_a_program_is_the_same_as_itself(text: str) -> None:
    found = match_graphs(graph_of(text), graph_of(text))
    assert found.same
    assert nothing(found)


# Models

PROGRAMS = """
attention plain(q, k, v) { return softmax(scale(q @ k.T)) @ v }
attention same(q, k, v) {
    s = q @ k.T
    return softmax(scale(s)) @ v
}
attention keyed(q, k, v) { return softmax(scale(q @ softplus(k).T)) @ v }
attention far(q) { return q * sigmoid(mean(q.T).T) }
"""


def model(layers: str, settings: str = "") -> ModelSpec:
    head = "vocab = 100\nhidden = 16\nheads = 2\n"
    for name in ("vocab", "hidden", "heads"):
        if f"{name} =" in settings:
            head = "\n".join(x for x in head.split("\n") if not x.startswith(name))
    text = f"{PROGRAMS}\nmodel m {{\n{head}{settings}\nlayers {{\n{layers}\n}}\n}}\n"
    return check_source(Source("text", text)).models["m"]


def models(old: ModelSpec, new: ModelSpec) -> ModelDiff:
    return compare_models(old, new, 32)


def told(diff: ModelDiff) -> list[tuple[str, int | None, int | None]]:
    return [(x.status, x.old, x.new) for x in diff.layers if x.status != "same"]


def changes(layer: LayerDiff) -> list[tuple[str, object, object]]:
    return [(each.name, each.old, each.new) for each in layer.changes]


def test_names_of_programs_play_no_part() -> None:
    found = models(model("plain\nconv(kernel = 3)"), model("same\nconv(kernel = 3)"))
    assert found.same
    assert (found.parameters.change, found.flops.change) == (0, 0)


def test_settings() -> None:
    old = model("plain")
    found = models(old, model("plain", "vocab = 200\nresidual = pre\nheads = 4\n"))
    settings = [(each.name, each.old, each.new) for each in found.settings]
    assert settings == [
        ("vocab", 100, 200),
        ("heads", 2, 4),
        ("residual", "post", "pre"),
    ]
    assert not found.same
    # The layer has the model's heads in both, so nothing about it is told again.
    assert told(found) == []
    assert found.parameters.change == 100 * 16


def test_a_default_that_follows_is_not_told() -> None:
    found = models(model("plain"), model("plain", "hidden = 32"))
    assert [each.name for each in found.settings] == ["hidden"]
    assert told(found) == []
    assert found.layers[0].parameters.change > 0


def test_a_layer_put_in_and_one_taken_out() -> None:
    short, long = "plain\nfar", "plain\nconv(kernel = 3)\nfar"
    assert told(models(model(short), model(long))) == [("added", None, 1)]
    assert told(models(model(long), model(short))) == [("removed", 1, None)]
    found = models(model(short), model(long))
    assert found.layers[1].parameters.old == 0
    assert found.layers[1].parameters.new == found.parameters.change
    assert found.layers[1].old_mixing is None
    assert found.layers[1].new_mixing == "conv(kernel = 3)"


def test_a_layer_like_another_is_that_layer_changed() -> None:
    old = model("conv(kernel = 3)\nplain\nfar\nconv(kernel = 5)")
    new = model("conv(kernel = 3)\nfar\nkeyed\nfar\nconv(kernel = 5)")
    assert told(models(old, new)) == [("added", None, 1), ("changed", 1, 2)]


def test_kernel_and_kind() -> None:
    old, new = model("conv(kernel = 3)"), model("conv(kernel = 7, kind = dynamic)")
    (layer,) = models(old, new).layers
    assert layer.status == "changed"
    assert changes(layer) == [("kernel", 3, 7), ("kind", "light", "dynamic")]
    assert layer.program is None
    assert layer.new_mixing == "conv(kernel = 7, kind = dynamic)"


def test_attention_for_a_convolution() -> None:
    (layer,) = models(model("plain"), model("conv(kernel = 3)")).layers
    assert changes(layer) == [("mixing", "plain", "conv(kernel = 3)")]
    assert layer.program is None


def test_arguments_of_a_layer() -> None:
    new = model("plain(heads = 4, ffn = [8, 16], activation = relu)")
    (layer,) = models(model("plain"), new).layers
    assert changes(layer) == [
        ("heads", 2, 4),
        ("ffn", (64,), (8, 16)),
        ("activation", "gelu", "relu"),
    ]
    # To say what holds anyway changes nothing.
    assert models(model("plain"), model("plain(heads = 2)")).same
    pinned = models(model("plain(heads = 2)"), model("plain(heads = 2)", "heads = 4"))
    assert told(pinned) == []


def test_a_changed_program() -> None:
    (layer,) = models(model("plain"), model("keyed(ffn = 8)")).layers
    assert layer.program is not None
    assert layer.program.added == (("softplus", 1),)
    assert str(layer.program.new) == "softmax(scale(q @ softplus(k).T)) @ v"
    assert changes(layer) == [("ffn", (64,), (8,))]


_LAYERS = st.lists(
    st.sampled_from(
        [
            "plain",
            "same",
            "keyed",
            "far",
            "plain(heads = 4)",
            "far(ffn = 8)",
            "conv(kernel = 3)",
            "conv(kernel = 5)",
            "conv(kernel = 3, kind = depthwise)",
        ]
    ),
    min_size=1,
    max_size=7,
).map("\n".join)


@given(_LAYERS, _LAYERS)
def test_any_two_models(old: str, new: str) -> None:
    before, after = model(old), model(new)
    found = models(before, after)
    places = [x.old for x in found.layers if x.old is not None]
    assert places == list(range(len(before.layers)))
    places = [x.new for x in found.layers if x.new is not None]
    assert places == list(range(len(after.layers)))
    assert found.parameters.change == sum(x.parameters.change for x in found.layers)
    assert found.flops.old * 32 == pytest.approx(model_flops(before, 32))
    flops = sum(x.flops.change for x in found.layers)
    assert found.flops.change == pytest.approx(flops)
    back = models(after, before)
    assert len(told(back)) == len(told(found))
    assert found.same == (not told(found))
    for layer in found.layers:
        assert (layer.old_mixing is None) == (layer.old is None)
        if layer.status == "changed":
            assert layer.changes or layer.program


@given(_LAYERS, st.data())
def test_one_change_is_found_as_one(layers: str, data: st.DataObject) -> None:
    lines = layers.split("\n")
    place = data.draw(st.integers(0, len(lines)))
    more = [*lines[:place], "far(heads = 8)", *lines[place:]]
    ((status, _, _),) = told(models(model(layers), model("\n".join(more))))
    assert status == "added"


def test_long_models_in_time() -> None:
    old = model("repeat 250 {\nplain\nconv(kernel = 3)\n}")
    new = model("conv(kernel = 5)\nrepeat 250 {\nconv(kernel = 3)\nkeyed\n}\nfar")
    found = models(old, new)
    assert len(found.layers) >= 502


def test_costs_are_those_of_the_paper_models() -> None:
    known = check_file(stdlib_folder() / "models.azg").models
    found = models(known["bert_base"], known["autobert_zero_base"])
    assert found.parameters.old == 109_482_240
    assert not found.settings
    assert all(layer.status == "changed" for layer in found.layers)


def test_texts() -> None:
    models = check_file(stdlib_folder() / "models.azg").models
    found = compare_models(models["bert_tiny"], models["bert_mini"], 64)
    assert str(found.old) == (
        f"bert_tiny: 2 layers, {found.old.parameters:,} parameters,"
        f" {found.old.flops:,.0f} FLOPs per token at 64 tokens"
    )
    lines = str(found).splitlines()
    assert "hidden: 128 -> 256" in lines
    assert sum(line.startswith("layer added, ") for line in lines) == 2
    assert lines[-2] == (
        f"parameters: {found.old.parameters:,} -> {found.new.parameters:,}"
    )
