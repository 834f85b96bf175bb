"""What hooks, wrappers and retained gradients see: what they see of BERT."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from accelerate import cpu_offload
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

import azc
from tests.model.models import LAYOUTS, build, masks, text_of

# The names with `gradient` are those that all of transformers 5 knows.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`.*gradient_checkpointing:FutureWarning"
)

MIXED = (
    "sdpa; conv(kernel = 3); primer; turned; windowed; conv(kernel = 5, kind = dynamic)"
)
IDS = torch.randint(0, 50, (3, 9), generator=torch.Generator().manual_seed(5))


def layers_of(model: Any) -> list[nn.Module]:
    return list(model.base_model.encoder.layers)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("residual", ["pre", "post"])
@pytest.mark.parametrize("task", ["base", "masked-lm", "sequence-classification"])
def test_hidden_states_carry_the_gradient(
    layout: str, residual: str, task: Any
) -> None:
    model = build(MIXED, task=task, residual=residual)
    mask = masks([9, 4, 1], 9, layout)
    output = model(IDS, attention_mask=mask, output_hidden_states=True)
    for state in output.hidden_states:
        state.retain_grad()
    result = output[0]
    (
        result[mask] if result.shape[:2] == mask.shape else result
    ).square().sum().backward()
    for state in output.hidden_states:
        assert state.grad[mask].abs().sum() > 0
        # Padding is absent: nothing that is asked of real tokens depends on it.
        assert not state.grad[~mask].any()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_hooks_see_the_caller_s_order(layout: str) -> None:
    model = build(MIXED).double()
    mask = masks([9, 4, 1], 9, layout)
    seen: list[torch.Tensor] = []
    for module in (model.model.embeddings, *layers_of(model)):
        module.register_forward_hook(lambda module, args, out: seen.append(out))
    with torch.no_grad():
        both = model(IDS, attention_mask=mask, output_hidden_states=True)
        states, seen[:] = list(seen), []
        for state, given in zip(states, both.hidden_states, strict=True):
            assert torch.equal(state, given)
        for i, real in enumerate(mask):
            model(IDS[i, real][None])
            for state, alone in zip(states, seen, strict=True):
                torch.testing.assert_close(state[i, real], alone[0], rtol=0, atol=1e-11)
            seen.clear()


def test_what_a_hook_puts_in_goes_to_the_token_that_it_is_put_at() -> None:
    model = build(MIXED, residual="pre").double()
    mask = masks([9, 4, 1], 9, "holes")
    kick = torch.randn(3, 9, 16, dtype=torch.float64)
    found = []
    with torch.no_grad():
        handle = layers_of(model)[1].register_forward_hook(lambda m, a, out: out + kick)
        both = model(IDS, attention_mask=mask).logits
        handle.remove()
        for i, real in enumerate(mask):
            handle = layers_of(model)[1].register_forward_hook(
                lambda m, a, out, i=i, real=real: out + kick[i, real]
            )
            found.append(model(IDS[i, real][None]).logits[0])
            handle.remove()
    torch.testing.assert_close(both[mask], torch.cat(found), rtol=0, atol=1e-11)


@pytest.mark.parametrize("reentrant", [False, True])
def test_hooks_run_once_under_gradient_checkpointing(reentrant: bool) -> None:
    model = build(MIXED).train()
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    seen: list[int] = []
    for layer in layers_of(model):
        assert isinstance(layer, GradientCheckpointingLayer)
        layer.register_forward_hook(lambda *_: seen.append(1))
    model(IDS, labels=IDS).loss.backward()
    assert len(seen) == len(layers_of(model))


counted: list[int] = []


def count_call(*_: Any) -> None:
    counted.append(1)


def doubled(module: Any, args: Any, out: torch.Tensor) -> torch.Tensor:
    return 2 * out


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "torch.save"])
def test_copies_keep_hooks_and_the_list_of_layers(how: str) -> None:
    model = build("sdpa; conv(kernel = 3); primer")
    layers_of(model)[0].register_forward_hook(doubled)
    model.model.encoder.register_forward_pre_hook(count_call)
    if how == "deepcopy":
        other = copy.deepcopy(model)
    elif how == "pickle":
        other = pickle.loads(pickle.dumps(model))
    else:
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        other = torch.load(file, weights_only=False)
    assert isinstance(other.model.encoder.layers, nn.ModuleList)
    assert [type(m).__mro__[1] for m in layers_of(other)] == [
        type(m).__mro__[1] for m in layers_of(model)
    ]
    assert layers_of(other)[1] is other.model.encoder.get_submodule("layers.1")
    mask = masks([9, 4, 1], 9, "holes")
    with torch.no_grad():
        wanted = model(IDS, attention_mask=mask).logits
        counted.clear()
        assert torch.equal(other(IDS, attention_mask=mask).logits, wanted)
    assert counted == [1]


def test_a_compiled_function_can_be_pickled() -> None:
    program = azc.loads(text_of("sdpa"))
    for name in program.attentions:
        attend = azc.compile_attention(program, name, heads=2, head_dim=4)
        other = pickle.loads(pickle.dumps(attend))
        assert type(other).__name__ == "Attention"
        inputs = {
            spec: torch.randn(3, 2, 9, 4) for spec in program.attentions[name].params
        }
        for mask in (None, masks([9, 4, 1], 9, "holes")):
            found, wanted = other(**inputs, mask=mask), attend(**inputs, mask=mask)
            assert torch.equal(found, wanted)


# Modules in the place of tables


class Stand(nn.Module):
    """What stands in for an embedding and has no weight to read, as adapters have."""

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        self.base = table
        self.down = nn.Embedding(table.num_embeddings, 2)
        self.up = nn.Linear(2, table.embedding_dim, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.base(ids) + self.up(self.down(ids))
        return out


@pytest.mark.parametrize("types", [True, False])
@pytest.mark.parametrize("padded", [True, False])
def test_what_stands_for_an_embedding_is_called_and_trains(
    types: bool, padded: bool
) -> None:
    model = build(MIXED, task="base")
    given: dict[str, Any] = {"token_type_ids": IDS % 2} if types else {}
    if padded:
        given["attention_mask"] = masks([9, 4, 1], 9, "left")
    with torch.no_grad():
        before = model(IDS, **given).last_hidden_state
    for name in ("tokens", "positions", "token_types"):
        stand = Stand(getattr(model.embeddings, name))
        setattr(model.embeddings, name, stand)
    output = model(IDS, **given).last_hidden_state
    assert (output - before).abs().max() > 1e-2
    output.square().sum().backward()
    for name in ("tokens", "positions", "token_types"):
        assert getattr(model.embeddings, name).up.weight.grad.any(), name


@pytest.mark.parametrize("task", ["base", "masked-lm", "sequence-classification"])
@pytest.mark.parametrize("padded", [True, False])
def test_weights_that_are_elsewhere_until_a_module_is_called(
    task: Any, padded: bool
) -> None:
    model = build(MIXED + "; conv(kernel = 3, kind = depthwise)", task=task)
    mask = masks([9, 4, 1], 9, "left") if padded else None
    with torch.no_grad():
        wanted = model(IDS, attention_mask=mask)[0]
        cpu_offload(model, execution_device=torch.device("cpu"))
        assert {p.device.type for p in model.parameters()} == {"meta"}
        assert torch.equal(model(IDS, attention_mask=mask)[0], wanted)
