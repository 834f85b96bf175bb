from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import azc

TEXT = """\
attention softplus_key(q, k) {
    key = -logsigmoid(-k)
    return softmax(scale(q @ key.T)) @ (q + k)
}

model small {
    vocab = 50
    hidden = 8
    heads = 2

    layers {
        softplus_key
        conv(kernel = 3)
    }
}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.azg"
    path.write_text(TEXT)
    return path


def test_load_takes_a_path_a_string_and_a_name_of_the_library(file: Path) -> None:
    assert set(azc.load(file).models) == {"small"}
    assert set(azc.load(str(file)).models) == {"small"}
    library = azc.load("std.models")
    assert "bert_base" in library.models
    assert library.source.name == "std/models.azg"


def test_a_file_comes_before_the_library(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    file.rename(file.parent / "std.models")
    assert set(azc.load("std.models").models) == {"small"}


def test_an_unknown_file_of_the_library() -> None:
    with pytest.raises(azc.DiagnosticError, match=r"no `std\.modls`") as caught:
        azc.load("std.modls")
    assert caught.value.diagnostics[0].help == "did you mean `std.models`?"
    for odd in ("std", "std.", "std.../models", "std.Models", "std.models.azg"):
        with pytest.raises(azc.DiagnosticError):
            azc.load(odd)


def test_all_that_is_wrong_is_in_the_error() -> None:
    text = "attention a(q) { return sofmax(q) + w }"
    with pytest.raises(azc.DiagnosticError) as caught:
        azc.loads(text)
    assert [each.code for each in caught.value.diagnostics] == ["AZG103", "AZG101"]
    assert isinstance(caught.value, azc.AzcError)
    assert "<text>:1:25" in str(caught.value)


def test_format() -> None:
    assert azc.format("model m{layers{conv(kernel=3)}}") == (
        "model m {\n    layers {\n        conv(kernel = 3)\n    }\n}\n"
    )


@pytest.mark.parametrize("name", [None, "softplus_key"])
def test_compiled_and_interpreted_agree(file: Path, name: str | None) -> None:
    compiled = azc.compile_attention(file, name)
    reference = azc.interpret_attention(file, name)
    random = np.random.default_rng(0)
    q, k = random.normal(size=(2, 2, 3, 5, 4))  # B=2, H=3, N=5, D=4
    mask = torch.tensor([[True] * 5, [True, True, True, False, False]])
    found = compiled(q=torch.tensor(q), k=torch.tensor(k), mask=mask)
    for batch, tokens in ((0, 5), (1, 3)):
        for head in range(3):
            wanted = reference(
                q=q[batch, head, :tokens], k=k[batch, head, :tokens], head=head, heads=3
            )
            np.testing.assert_allclose(found[batch, head, :tokens], wanted, atol=1e-9)
    assert (found[1, :, 3:] == 0).all()


def test_learned_operations_for_every_head() -> None:
    program = azc.loads("attention a(q) { return conv(q, kernel = 3) }")
    shared = azc.compile_attention(program)
    own = azc.compile_attention(program, heads=2, head_dim=4)
    assert [p.numel() for p in shared.parameters()] == [3]
    assert [p.numel() for p in own.parameters()] == [2 * 4 * 3]


@pytest.mark.parametrize(
    ("task", "kind"),
    [
        ("masked-lm", "AzcForMaskedLM"),
        ("base", "AzcModel"),
        ("sequence-classification", "AzcForSequenceClassification"),
    ],
)
def test_compile(file: Path, task: str, kind: str) -> None:
    model = azc.compile(file, "small", task=task, num_labels=3)  # type: ignore[arg-type]
    assert type(model).__name__ == kind
    assert model.config.num_labels == 3


def test_names_that_are_not_there(file: Path) -> None:
    with pytest.raises(azc.UsageError, match="no model `smal`") as caught:
        azc.compile(file, "smal")
    assert caught.value.help == "did you mean `small`?"
    # As a traceback prints it, the message with its help, once.
    for call in (lambda: azc.compile(file, "smal"), lambda: azc.load("std.modls")):
        with pytest.raises(azc.AzcError) as caught_again:
            call()
        printed = "".join(traceback.format_exception(caught_again.value))
        assert printed.count("help: did you mean") == 1
    with pytest.raises(azc.UsageError, match="no attention `x`") as caught:
        azc.compile_attention(file, "x")
    assert caught.value.help == "it has: softplus_key"
    with pytest.raises(azc.UsageError, match="13 models; choose one"):
        azc.compile("std.models")
    with pytest.raises(azc.UsageError, match="has no model"):
        azc.compile("std.attention")
    with pytest.raises(azc.UsageError, match="task"):
        azc.compile(file, task="poetry")  # type: ignore[arg-type]


def test_the_only_one_declared_is_meant() -> None:
    text = "from std.attention import sdpa, cosine\n" + TEXT
    assert azc.interpret_attention(azc.loads(text)).graph.name == "softplus_key"
    with pytest.raises(azc.UsageError, match="2 attentions"):
        azc.interpret_attention(
            azc.loads(
                "from std.attention import sdpa, cosine\nmodel m {\n"
                "layers {\nsdpa\ncosine\n}\n}\n"
            )
        )


def test_summary_and_diff(file: Path) -> None:
    assert azc.summary("std.models", "bert_base").parameters == 109_482_240
    assert azc.diff(file, file).same
    found = azc.diff(file, "std.models", new_name="bert_tiny", tokens=16)
    assert found.new.tokens == 16
    assert {each.name for each in found.settings} == {"vocab", "hidden"}


def test_generated_code_of_a_large_model() -> None:
    from azc.api import generated_code

    pairs = dict(generated_code("std.models", "autobert_zero_base"))
    # Convolutions differ in their weights alone.
    assert list(pairs)[:3] == ["encoder", "layers 1, 3, 5, 7, 9, 11", "layer 2"]
    assert "layers 6, 8" in pairs
    assert all(
        text.startswith("def forward(self, hidden, mask, positions, order)")
        for text in pairs.values()
    )


def test_what_azc_offers() -> None:
    for name in azc.__all__:
        assert getattr(azc, name) is not None, name
    assert set(azc.__all__) <= set(dir(azc))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        azc.nothing  # noqa: B018


# Numbers that make no sense

WRONG = [0, -5, True, 1.5, "x", 10**12, float("nan"), b"3", [3]]


@pytest.mark.parametrize("value", WRONG, ids=str)
def test_numbers_that_make_no_sense_are_refused(value: Any) -> None:
    program = azc.loads(TEXT)
    calls: dict[str, Callable[[], object]] = {
        "tokens": lambda: azc.summary(program, tokens=value),
        "heads": lambda: azc.compile_attention(program, heads=value),
        "head_dim": lambda: azc.compile_attention(program, heads=2, head_dim=value),
        "num_labels": lambda: azc.compile(program, num_labels=value),
    }
    for name, call in calls.items():
        with pytest.raises(
            azc.UsageError, match=f"^{name} is .* must be a whole"
        ) as no:
            call()
        assert no.value.code == "U012"
    with pytest.raises(azc.UsageError, match=r"^tokens is "):
        azc.diff(program, program, tokens=value)


def test_numbers_of_an_interpreter() -> None:
    interpret = azc.interpret_attention(azc.loads(TEXT))
    rows = np.ones((3, 2))
    for head, heads in ((0, 0), (2, 2), (-1, 1), (0.5, 2), (True, 2), (0, 2.0)):
        with pytest.raises(azc.UsageError, match=r"^heads? is ") as no:
            interpret(q=rows, k=rows, head=head, heads=heads)
        assert no.value.code == "U003"


def test_numbers_of_numpy_are_numbers() -> None:
    program = azc.loads(TEXT)
    told = azc.summary(program, tokens=np.int64(16))
    assert told == azc.summary(program, tokens=16)
    assert type(told.tokens) is int
    assert azc.summary(program).tokens == 128
