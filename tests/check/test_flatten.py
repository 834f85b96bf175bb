from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import azc.check.resolve as resolve_module
import azc.syntax.parse as parse_module
from azc.check.flatten import self_contained
from azc.check.models import MAX_LAYERS
from azc.check.program import AttentionUse, LayerSpec, ModelSpec, Program
from azc.check.resolve import check_file, check_source
from azc.diagnostics import DiagnosticError, UsageError
from azc.model.config import AzcConfig, spec_of
from azc.resources import stdlib_folder
from azc.source import Source
from azc.syntax import ast
from azc.syntax.format import format_text

MIXERS = """\
# Mixers for the tests.

# Plain.
attention plain(q, k, v) {
    return softmax(scale(q @ k.T)) @ v  # as in the paper
}

attention gated(q, k) {
    # The gate
    gate = sigmoid(q)

    return gate * k
}

attention never(q) {
    return q
}
"""

BODIES = """\
# Bodies for the tests.
from .mixers import gated as mix
from .mixers import plain

# The start of it all.
model small {
    hidden = 64  # little
    heads = 4

    layers {
        # near
        conv(kernel = 3)
        repeat 2 {
            mix(heads = 2)
        }
        plain
    }
}

model other {
    layers {
        plain
    }
}
"""


def folder_with(folder: Path, main: str) -> Program:
    (folder / "mixers.azg").write_text(MIXERS)
    (folder / "bodies.azg").write_text(BODIES)
    return check_in(folder, main)


def check_in(folder: Path, main: str) -> Program:
    (folder / "main.azg").write_text(main)
    return check_file(folder / "main.azg")


def nameless(spec: ModelSpec) -> ModelSpec:
    def bare(layer: LayerSpec) -> LayerSpec:
        if not isinstance(layer.mixing, AttentionUse):
            return layer
        program = replace(layer.mixing.program, name="")
        return replace(layer, mixing=AttentionUse("", program))

    return replace(spec, name="", layers=tuple(map(bare, spec.layers)))


def again(text: str) -> Program:
    """The program of a self-contained text, which is canonical and has no imports."""
    assert format_text(Source("again", text)) == text
    found = check_source(Source("again", text))
    assert not any(isinstance(d, ast.Import) for d in found.file.declarations)
    assert not found.warnings
    return found


def test_everything_a_model_uses_comes_along(tmp_path: Path) -> None:
    program = folder_with(tmp_path, BODIES)
    text = self_contained(program, "small")
    assert (
        text
        == """\
# Bodies for the tests.

attention mix(q, k) {
    # The gate
    gate = sigmoid(q)

    return gate * k
}

# Plain.
attention plain(q, k, v) {
    return softmax(scale(q @ k.T)) @ v  # as in the paper
}

# The start of it all.
model small {
    hidden = 64  # little
    heads = 4

    layers {
        # near
        conv(kernel = 3)
        repeat 2 {
            mix(heads = 2)
        }
        plain
    }
}
"""
    )
    found = again(text).models["small"]
    assert nameless(found) == nameless(program.models["small"])


def test_a_model_of_another_file_is_read_in_its_own_scope(tmp_path: Path) -> None:
    # Here `mix` and `plain` mean something else, and the model has another name.
    program = folder_with(
        tmp_path,
        "# Of this file.\nfrom .bodies import small as tiny\n\n"
        "attention mix(x) {\n    return -x\n}\n\nattention plain(x) {\n    return x\n}\n",
    )
    text = self_contained(program, "tiny")
    found = again(text)
    assert nameless(found.models["tiny"]) == nameless(program.models["tiny"])
    assert set(found.attentions) == {"mix", "plain"}
    assert "Of this file" not in text
    assert "# The start of it all.\nmodel tiny {" in text


def test_the_order_of_the_file_stays_and_unused_declarations_go() -> None:
    text = """\
# About this file.

model m {
    hidden = 8
    heads = 2

    layers {
        b
        a
    }
}

# Not used.
attention c(q) {
    return q
}

attention b(q) {
    return -q
}

# First letter.
attention a(q) {
    return exp(q)
}

# The end.
"""
    program = check_source(Source("text", text))
    assert self_contained(program, "m") == text.replace(
        "# Not used.\nattention c(q) {\n    return q\n}\n\n", ""
    )


def test_a_header_stays_on_top_though_what_it_stood_on_goes() -> None:
    text = (
        "# About this file.\n\n# Gone.\nattention a(q) {\n    return q\n}\n\n"
        "model m {\n    layers {\n        conv(kernel = 3)\n    }\n}\n"
    )
    found = self_contained(check_source(Source("text", text)), "m")
    assert found.startswith("# About this file.\n\nmodel m {")
    assert "Gone" not in found


def test_a_program_under_two_names_comes_once(tmp_path: Path) -> None:
    program = folder_with(
        tmp_path,
        "from .mixers import plain as first, plain as one, plain as two\n\n"
        "model m {\n    layers {\n        first\n        one\n        two\n    }\n}\n",
    )
    found = again(self_contained(program, "m"))
    assert set(found.attentions) == {"one"}
    assert nameless(found.models["m"]) == nameless(program.models["m"])


def test_a_program_called_like_the_model_gets_a_number(tmp_path: Path) -> None:
    program = folder_with(tmp_path, "from .bodies import small as mix\n")
    text = self_contained(program, "mix")
    found = again(text)
    assert set(found.attentions) == {"mix_2", "plain"}
    assert "            mix_2(heads = 2)" in text
    assert nameless(found.models["mix"]) == nameless(program.models["mix"])


def test_a_long_name_gets_no_longer_by_its_number(tmp_path: Path) -> None:
    name = "a" * 100
    (tmp_path / "mixers.azg").write_text(MIXERS.replace("gated", name))
    (tmp_path / "bodies.azg").write_text(
        BODIES.replace("gated as mix", name).replace("mix(", f"{name}(")
    )
    program = check_in(tmp_path, f"from .bodies import small as {name}\n")
    found = again(self_contained(program, name))
    assert set(found.attentions) == {"a" * 90 + "_2", "plain"}
    assert nameless(found.models[name]) == nameless(program.models[name])


SPACE = """\
from .bodies import other, small as begin

# Where to look.
space near {
    start = begin
    depth = 4..6

    conv {
        kernel = [3, 5]
    }

    layer {
        heads = [2, 4]
    }
}
"""


def test_a_space_and_its_start(tmp_path: Path) -> None:
    program = folder_with(tmp_path, SPACE)
    text = self_contained(program, "begin", space="near")
    found = again(text)
    assert set(found.models) == {"begin"}
    assert found.spaces["near"].start.name == "begin"
    assert "# Where to look.\nspace near {\n    start = begin\n" in text


def test_a_space_with_another_start_brings_it_along(tmp_path: Path) -> None:
    program = folder_with(tmp_path, SPACE)
    found = again(self_contained(program, "other", space="near"))
    assert set(found.models) == {"begin", "other"}
    assert found.spaces["near"].start.name == "begin"
    # Both use the same `plain`, which is there once.
    assert set(found.attentions) == {"mix", "plain"}


def test_the_start_is_called_as_the_model_is(tmp_path: Path) -> None:
    (tmp_path / "spaces.azg").write_text(SPACE)
    program = folder_with(
        tmp_path, "from .bodies import small as start\nfrom .spaces import near\n"
    )
    found = again(self_contained(program, "start", space="near"))
    assert set(found.models) == {"start"}
    assert found.spaces["near"].start.name == "start"


def test_programs_of_two_scopes_with_one_name(tmp_path: Path) -> None:
    (tmp_path / "spaces.azg").write_text(SPACE)
    program = folder_with(
        tmp_path,
        "from .spaces import near\n\nattention mix(q) {\n    return tanh(q)\n}\n\n"
        "model mine {\n    layers {\n        mix\n    }\n}\n",
    )
    found = again(self_contained(program, "mine", space="near"))
    assert set(found.attentions) == {"mix", "mix_2", "plain"}
    assert nameless(found.models["mine"]) == nameless(program.models["mine"])
    start = program.spaces["near"].start
    assert nameless(found.spaces["near"].start) == nameless(start)


@pytest.mark.parametrize("name", ["models", "spaces"])
def test_all_of_the_standard_library(name: str) -> None:
    program = check_file(stdlib_folder() / f"{name}.azg")
    assert program.models
    for model, spec in program.models.items():
        found = again(self_contained(program, model))
        assert nameless(found.models[model]) == nameless(spec)
        assert set(found.models) == {model}


def test_unknown_names() -> None:
    program = check_file(stdlib_folder() / "spaces.azg")
    with pytest.raises(UsageError, match="no model `bert_bas`") as model:
        self_contained(program, "bert_bas")
    assert model.value.help == "did you mean `bert_base`?"
    with pytest.raises(UsageError, match="no space `trail`"):
        self_contained(program, "bert_base", space="trail")


# What checks compiles: the limits of what people write are none for what azc makes of it

# Programs whose canonical form is longer: one declaration each, by number.
UNITS: dict[str, Callable[[int], str]] = {
    "calls": lambda i: f"attention a{i}(q){{return {'exp(' * 60}q{')' * 60}}}\n",
    "called operators": lambda i: (
        f"attention a{i}(q){{return {'add(q,' * 40}q{')' * 40}}}\n"
    ),
    "a chain": lambda i: f"attention a{i}(q){{return {'+'.join('q' * 60)}}}\n",
    "parentheses": lambda i: f"attention a{i}(q){{return {'(-q+' * 60}q{')' * 60}}}\n",
    "small ones": lambda i: f"attention a{i}(q){{return q}}\n",
    "statements": lambda i: (
        f"attention a{i}(q){{a=q\n"
        + "".join(f"b{k}=a\n" for k in range(9))
        + "return a}\n"
    ),
    "parameters": lambda i: (
        f"attention a{i}({','.join(f'p{k}' for k in range(40))}){{return p0}}\n"
    ),
    "comments": lambda i: f"attention a{i}(q){{#{'c' * i}\n#\nreturn q #\n#\n}}#\n",
    "attributes": lambda i: (
        f"attention a{i}(q){{return {'conv(' * 20}q{',kernel=3)' * 20}}}\n"
    ),
}
LAYERS: dict[str, Callable[[int], str]] = {
    "names": lambda i: f"a{i}\n",
    "arguments": lambda i: f"a{i}(ffn=[1,2],heads=1)\n",
    "repeats": lambda i: f"{'repeat 1{' * 50}a{i}\n{'}' * 50}\n",
}


def written(units: list[str], layers: str, limit: int) -> str:
    """A file of just the limit: all units in turn, as often as there is room for."""
    head, tail = "model m{hidden=8\nheads=2\nlayers{\n", "}}\n"
    text, body = "", ""
    for number, unit in enumerate(itertools.cycle(units)):
        more, layer = UNITS[unit](number), LAYERS[layers](number)
        size = sum(map(len, (text, more, head, body, layer, tail)))
        if number == MAX_LAYERS or size > limit:
            break
        text, body = text + more, body + layer
    text += head + body + tail
    return text + "#" * (limit - len(text))


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> int:
    """Small limits; what azc makes of texts at them may be longer as it is with large
    ones, but for the names that clash.
    """
    limit = 4000
    monkeypatch.setattr(parse_module, "MAX_OWN", 4 * limit // 3)
    monkeypatch.setattr(parse_module, "MAX_TEXT", limit)
    monkeypatch.setattr(resolve_module, "MAX_IMPORTED", limit)
    return limit


def test_the_limits_are_to_each_other_as_in_these_tests() -> None:
    assert parse_module.MAX_OWN >= 4 * resolve_module.MAX_IMPORTED // 3 + 10_000
    assert resolve_module.MAX_IMPORTED >= parse_module.MAX_TEXT


@given(
    units=st.lists(st.sampled_from(sorted(UNITS)), min_size=1, max_size=3),
    layers=st.sampled_from(sorted(LAYERS)),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_at_the_limit_compiles(
    small_limits: int, units: list[str], layers: str
) -> None:
    text = written(units, layers, small_limits)
    source = Source("written", text)
    program = check_source(source)
    with pytest.raises(DiagnosticError, match="AZG501"):
        check_source(Source("longer", text + "#"))
    made = self_contained(program, "m")
    config = AzcConfig(program=made, model="m")  # as config.json is read
    again = AzcConfig.from_dict(config.to_dict())
    assert nameless(spec_of(again)) == nameless(program.models["m"])


def test_longer_than_the_limit_and_compiled(small_limits: int) -> None:
    program = check_source(Source("written", written(["calls"], "names", small_limits)))
    assert len(self_contained(program, "m")) > 3 * small_limits


def test_names_that_grow_and_programs_with_many_names(
    small_limits: int, tmp_path: Path
) -> None:
    (tmp_path / "one.azg").write_text(UNITS["a chain"](0).replace("a0", "a"))
    (tmp_path / "two.azg").write_text("attention a(q) {\n    return -q\n}\n")
    names = [f"n{i}" for i in range(150)]
    aliases = ", ".join(f"a as {name}" for name in names)
    program = check_in(
        tmp_path,
        f"from .one import {aliases}\n"
        f"from .two import a as {'long' * 25}\n"
        f"model m {{\nlayers {{\n{'long' * 25}\n" + "\n".join(names) + "\n}\n}\n",
    )
    text = self_contained(program, "m")
    assert len(text) < small_limits
    found = check_source(Source("again", text)).models["m"]
    assert nameless(found) == nameless(program.models["m"])


def test_files_that_are_long_together(small_limits: int, tmp_path: Path) -> None:
    part = small_limits // 4
    calls = UNITS["calls"](0)
    names = [f"f{i}" for i in range(4)]
    main = "".join(f"from .{name} import a0 as {name}\n" for name in names)
    main += f"model m {{\nlayers {{\n{chr(10).join(names)}\n}}\n}}\n"
    for i, name in enumerate(names):
        text = calls.replace("exp(q", f"exp(q*{i}")
        (tmp_path / f"{name}.azg").write_text(text + "#" * (part - len(text)))
    with pytest.raises(DiagnosticError, match="characters in a file and its imports"):
        check_in(tmp_path, main)
    last = tmp_path / "f3.azg"
    last.write_text(last.read_text()[: part - len(main)])
    program = check_in(tmp_path, main)
    found = check_source(Source("own", self_contained(program, "m"), own=True))
    assert nameless(found.models["m"]) == nameless(program.models["m"])


def test_a_text_of_azc_has_a_limit_too(small_limits: int) -> None:
    text = "#" * (4 * small_limits // 3)
    assert check_source(Source("own", text, own=True)).warnings == ()
    assert check_source(Source("own", text + "\n    " * 999, own=True)).models == {}
    with pytest.raises(DiagnosticError, match="AZG501"):
        check_source(Source("own", text + "#", own=True))
