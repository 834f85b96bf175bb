"""What checking gives, its limits, counts of parameters, and that it never fails."""

from __future__ import annotations

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

import azc
from azc.check.collect import Findings
from azc.check.flatten import self_contained
from azc.check.params import head_parameters, layer_parameters, model_parameters
from azc.check.program import AttentionUse, ModelSpec, Program
from azc.check.resolve import check_source
from azc.check.spaces import membership
from azc.check.types import MAX_OPERATIONS
from azc.compare.cost import model_flops
from azc.compare.expression import express
from azc.diagnostics import Diagnostic, DiagnosticError, render
from azc.ir.build import build_graph
from azc.search.mutate.draft import bare
from azc.search.mutate.sites import sites
from azc.shapes import N, Shape
from azc.source import Source
from azc.syntax import ast
from azc.syntax.format import format_file
from tests.programs import programs
from tests.strategies import files

SDPA = """attention sdpa(q, k, v) {
    scores = scale(q @ k.T)
    return softmax(scores) @ v
}
"""


def check(text: str) -> Program:
    return check_source(Source("test.azg", text))


def refused(text: str) -> list[Diagnostic]:
    with pytest.raises(DiagnosticError) as caught:
        check(text)
    return list(caught.value.diagnostics)


def codes(text: str) -> list[str]:
    return [diagnostic.code for diagnostic in refused(text)]


def model(settings_: str = "", layers: str = "repeat 12 { sdpa }") -> ModelSpec:
    text = f"{SDPA}model m {{\n{settings_}\nlayers {{\n{layers}\n}}\n}}"
    return check(text).models["m"]


# What comes out


def test_types_of_bindings() -> None:
    spec = check(SDPA).attentions["sdpa"]
    assert spec.params == ("q", "k", "v")
    assert spec.bindings == (("scores", Shape(N, N)),)


def test_defaults_are_those_of_bert() -> None:
    spec = model()
    config = transformers.BertConfig()
    assert (spec.vocab, spec.hidden, spec.heads) == (30522, 768, 12)
    assert spec.ffn == (config.intermediate_size,)
    assert spec.activation == config.hidden_act
    assert spec.norm_eps == config.layer_norm_eps
    assert spec.max_length == config.max_position_embeddings
    assert spec.token_types == config.type_vocab_size
    assert spec.dropout == config.hidden_dropout_prob
    assert spec.attention_dropout == config.attention_probs_dropout_prob
    assert (spec.norm, spec.residual, spec.positions) == (
        "layer_norm",
        "post",
        "learned",
    )
    assert (spec.causal, spec.bias, spec.tie_embeddings) == (False, True, True)


def test_layers_have_what_is_written_or_the_models() -> None:
    spec = model(
        "hidden = 64\nheads = 4\nffn = [8, 9]",
        "sdpa\nrepeat 2 { sdpa(heads = 8, ffn = 5)\n conv(kernel = 3) }",
    )
    shown = [(type(x.mixing) is AttentionUse, x.heads, x.ffn) for x in spec.layers]
    block = [(True, 8, (5,)), (False, 4, (8, 9))]
    assert shown == [(True, 4, (8, 9)), *block, *block]


@given(programs())
def test_random_programs_check(text: str) -> None:
    (spec,) = check(text).attentions.values()
    assert build_graph(spec).inputs == spec.params


# Parameters


@pytest.mark.parametrize(
    ("hidden", "layers", "heads"),
    [(128, 2, 2), (256, 4, 4), (512, 4, 8), (512, 8, 8), (768, 12, 12), (96, 1, 3)],
)
def test_parameters_are_those_of_bert(hidden: int, layers: int, heads: int) -> None:
    spec = model(f"hidden = {hidden}\nheads = {heads}", f"repeat {layers} {{ sdpa }}")
    config = transformers.BertConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
    )
    with torch.device("meta"):
        base = transformers.BertModel(config).num_parameters()
        whole = transformers.BertForMaskedLM(config).num_parameters()
    assert model_parameters(spec) == base
    # With the head, without the pooler.
    pooler = hidden * hidden + hidden
    assert model_parameters(spec) + head_parameters(spec) - pooler == whole


def test_bert_base() -> None:
    assert model_parameters(model()) == 109_482_240


@pytest.mark.parametrize(
    ("layer", "wanted"),
    [
        ("sdpa", 4 * (64 + 8) + 16 + (8 * 32 + 32) + (32 * 8 + 8) + 16),
        ("sdpa(ffn = [4, 6])",
         4 * 72 + 16 + (8 * 4 + 4 + 4 * 8 + 8 + 16) + (8 * 6 + 6 + 6 * 8 + 8 + 16)),
        ("sdpa(activation = swiglu)", 4 * 72 + 16 + 2 * (8 * 32 + 32) + 264 + 16),
        ("two", 3 * 72 + 2 * 8 * 3 + 16 + 288 + 264 + 16),
        ("conv(kernel = 5)", (8 * 16 + 16) + 2 * 5 + 72 + 16 + 288 + 264 + 16),
        ("conv(kernel = 5, kind = depthwise)",
         (8 * 16 + 16) + 8 * 5 + 72 + 16 + 288 + 264 + 16),
        ("conv(kernel = 5, kind = dynamic)",
         (8 * 16 + 16) + (8 * 10 + 10) + 72 + 16 + 288 + 264 + 16),
    ],
)  # fmt: skip
def test_parameters_of_a_layer(layer: str, wanted: int) -> None:
    two = """attention two(q, k) {
        gone = conv(k, kernel = 9)
        c = conv(q, kernel = 3)
        return conv(c, kernel = 3) @ (k.T @ k)
    }
    """
    text = f"{SDPA}{two}model m {{\nhidden = 8\nheads = 2\nlayers {{ {layer} }}\n}}"
    spec = check(text).models["m"]
    assert layer_parameters(spec, spec.layers[0]) == wanted


def test_parameters_without_biases() -> None:
    spec = model("hidden = 8\nheads = 2\nbias = false\nnorm = rms_norm", "sdpa")
    assert layer_parameters(spec, spec.layers[0]) == 4 * 64 + 8 + 2 * 8 * 32 + 8


# All that is found, in one run


def test_everything_is_told_in_one_run() -> None:
    found = codes(
        "attention a(q) { return k }\nattention b(q) { return q @ q }\n"
        "model m { hiden = 3\nlayers { a\n zzz\n conv } }\nspace s { depht = 3 }\n"
    )
    assert found == [
        *("AZG101", "AZG201", "AZG301", "AZG307", "AZG308", "AZG403", "AZG401"),
    ]


def test_what_has_errors_makes_no_others() -> None:
    text = (
        "attention a(q) { return k }\nmodel m { layers { a } }\nspace s { start = m }\n"
    )
    assert codes(text) == ["AZG101"]


def test_errors_come_in_the_order_of_the_text() -> None:
    found = refused(
        "space s { a = 1 }\nmodel m { a = 1 }\nattention a() { return 1 }\n"
    )
    starts = [diagnostic.span.start for diagnostic in found if diagnostic.span]
    assert starts == sorted(starts)


def test_errors_past_the_hundredth_count() -> None:
    wrong = "\n".join(f"x{i} = z{i}" for i in range(150))
    text = f"attention a(q) {{\n{wrong}\nreturn q\n}}\nattention b(q) {{ return nop(q) }}\n"
    assert len(refused(text + "model m { layers { b\n conv } }\n")) == Findings.LIMIT


def test_warnings_leave_room_for_errors() -> None:
    loose = "\n".join(f"x{i} = q" for i in range(150))
    text = f"attention a(q) {{\n{loose}\nreturn q\n}}\n"
    assert len(check(text).warnings) == Findings.LIMIT
    assert codes(text + "attention b(q) { return z }") == ["AZG101"]


# Limits


def test_repeats_without_end() -> None:
    (found,) = refused(f"{SDPA}model m {{ layers {{ repeat 1000000000 {{ sdpa }} }} }}")
    assert found.code == "AZG504"
    nested = "repeat 999999999 { " * 40 + "sdpa" + " }" * 40
    assert codes(f"{SDPA}model m {{ layers {{ {nested} }} }}") == ["AZG504"]
    digits = "repeat 9999999999999999999999999999999999999 { " * 60 + "sdpa" + " }" * 60
    assert codes(f"{SDPA}model m {{ layers {{ {digits} }} }}") == ["AZG504"]
    nothing = "repeat 1000000000 { " * 40 + " }" * 40
    assert codes(f"model m {{ layers {{ {nothing} }} }}") == ["AZG304"]


def test_the_most_layers() -> None:
    text = f"{SDPA}model m {{ hidden = 8\nheads = 1\nlayers {{ repeat 1000 {{ sdpa }} }} }}"
    assert len(check(text).models["m"].layers) == 1000
    assert codes(text.replace("1000", "1001")) == ["AZG504"]


def test_the_most_parameters() -> None:
    text = f"{SDPA}model m {{ hidden = 29568\nheads = 231\nlayers {{ repeat 9 {{ sdpa }} }} }}"
    assert model_parameters(check(text).models["m"]) < 10**11
    assert codes(text.replace("repeat 9 ", "repeat 10 ")) == ["AZG505"]
    wide = "hidden = 1000000\nheads = 1\nffn = 1000000"
    assert codes(f"{SDPA}model m {{ {wide}\nlayers {{ sdpa }} }}") == ["AZG505"]


def test_the_most_operations() -> None:
    line = "x{} = x{} + q - k"
    body = "\n".join(line.format(i + 1, i) for i in range(500))
    text = f"attention a(q, k) {{\nx0 = q\n{body}\nreturn x500\n}}\n"
    assert len(build_graph(check(text).attentions["a"]).nodes) == 1002
    assert codes(text.replace("return x500", "return -x500")) == ["AZG503"]


@pytest.mark.parametrize("term", ["+ k", "* tanh(v)", "- q @ k.T @ v"])
def test_a_long_chain_goes_all_the_way(term: str) -> None:
    count = (MAX_OPERATIONS - 1) // (term.count("@") + term.count("(") + 2)
    text = (
        f"attention a(q, k, v) {{ return q {' '.join([term] * count)} + k + v }}\n"
        "model m { hidden = 8\nheads = 2\nvocab = 50\nlayers { a } }\n"
        "space s { start = m\nattention { inputs = [q, k, v]\n"
        "ops = [add, mul, sub, tanh, matmul, transpose] } }\n"
    )
    program = check(text)
    spec = program.attentions["a"]
    graph = build_graph(spec)
    assert check(self_contained(program, "m", "s")).models["m"].layers
    assert check(text).attentions["a"] == spec
    assert len(sites(spec.node)) > count
    assert bare(spec.node) == spec.node
    assert express(graph).lines
    function = azc.compile_attention(program)
    x = torch.randn(1, 2, 3, 4) / 100
    assert function(q=x, k=x, v=x).shape == x.shape


# Spaces

SPACE = """
model start {
    hidden = 64
    heads = 4

    layers {
        sdpa
    }
}

space s {
    start = start
    depth = 1..4

    attention {
        inputs = [q, k, v]
        ops = [matmul, transpose, scale, softmax]
        size = 1..9
    }

    conv {
        kernel = [9, 3, 3]
    }

    layer {
        heads = [2, 4]
        ffn = [[64, 64], 128]
    }
}
"""


def test_a_space() -> None:
    space = check(SDPA + SPACE).spaces["s"]
    assert space.depth == (1, 4)
    assert space.inputs == ("q", "k", "v")
    assert space.ops == {"matmul", "transpose", "scale", "softmax"}
    assert space.size == (1, 9)
    assert space.kernels == (3, 9)
    assert space.kinds == ("light",)
    assert dict(space.layer) == {"heads": (2, 4), "ffn": ((64, 64), 128)}


def test_programs_of_no_operations_may_be_in_a_space() -> None:
    own = "attention own(v) { return v }\n"
    text = own + SPACE.replace("        sdpa\n", "        own\n")
    for size, found in {"0..9": (0, 9), "0": (0, 0)}.items():
        space = check(text.replace("1..9", size)).spaces["s"]
        assert space.size == found
    with pytest.raises(DiagnosticError) as caught:
        check(text)
    (fault,) = caught.value.diagnostics
    assert fault.code == "AZG405"
    assert "has 0 operations; the space allows 1..9" in fault.message


def test_a_space_without_blocks() -> None:
    text = SDPA + SPACE.split("space")[0] + "space s { start = start }"
    space = check(text).spaces["s"]
    assert space.depth == (1, 1)
    assert (space.inputs, space.ops, space.kernels) == (None, None, ())
    assert membership(space.start, space) == []


@given(st.data())
def test_membership_by_construction(data: st.DataObject) -> None:
    layers = data.draw(
        st.lists(
            st.sampled_from(
                [
                    "sdpa",
                    "sdpa(heads = 2)",
                    "sdpa(ffn = 128)",
                    "sdpa(ffn = [64, 64], heads = 4)",
                    "conv(kernel = 9, ffn = 256)",
                    "conv(kernel = 3, kind = light)",
                ]
            ),
            min_size=1,
            max_size=4,
        )
    )
    outside = data.draw(
        st.sampled_from(
            [
                ("", 0),
                ("sdpa(heads = 8)", 1),
                ("sdpa(ffn = 64)", 1),
                ("sdpa(activation = relu)", 1),
                ("conv(kernel = 5)", 1),
                ("conv(kernel = 3, kind = dynamic)", 1),
                ("conv(kernel = 5, heads = 16)", 2),
                ("other", 3),
            ]
        )
    )
    if outside[0]:
        layers[data.draw(st.integers(0, len(layers) - 1))] = outside[0]
    body = "\n".join(layers)
    other = "attention other(q, w) { return tanh(q * w) }\n"
    text = f"{SDPA}{other}{SPACE}\nmodel m {{ hidden = 64\nheads = 4\nlayers {{ {body} }} }}"
    program = check(text)
    found = membership(program.models["m"], program.spaces["s"])
    assert len(found) == outside[1], render(found)


# It never fails


def outcome(text: str) -> Program | str:
    """The program, or its diagnostics as text."""
    try:
        return check(text)
    except DiagnosticError as error:
        return str(error)


@given(files())
def test_any_file_is_checked_or_refused(file: ast.File) -> None:
    found = outcome(format_file(file))
    if isinstance(found, str):
        assert found.startswith("error[AZG")
        return
    for spec in found.models.values():
        assert model_parameters(spec) > 0
        assert model_flops(spec, 8) > 0
    for attention in found.attentions.values():
        build_graph(attention)


WORDS = """attention model space layers repeat conv sdpa start depth ops inputs kernel heads
hidden ffn q k v m s ( ) { } [ ] , = + - * / @ .T .. 3 0 2.5 1e400 99999999999 true softmax
window radius return norm_eps activation gelu causal kind light size from std.attention
import as .mine \n""".split(" ")


@settings(max_examples=300)
@given(st.lists(st.sampled_from([*WORDS, "\n"]), max_size=40), st.data())
def test_any_words_are_checked_or_refused(
    words: list[str], data: st.DataObject
) -> None:
    text = SDPA + SPACE
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 20)))
    junk = " ".join(words[: data.draw(st.integers(0, 6))])
    assert outcome(" ".join(words))
    assert outcome(text[:start] + " " + junk + " " + text[end:])
