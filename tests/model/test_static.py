"""A cache of a fixed size: one compiled graph does for every step of any decoder, and gives
what any other cache gives. (tests/model/test_decoder.py has random programs with it.)
"""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch._dynamo.testing import CompileCounter
from torch._dynamo.utils import counters
from transformers import CompileConfig

import azc
from azc.diagnostics import UsageError
from azc.mixing.convolution import CONV_KINDS
from azc.model.cache import AzcCache
from tests.model.decoders import IDS, LAYERS, LEFT, close, decoder, generate
from tests.model.models import build

Tensor = torch.Tensor
SIZE = 16


@pytest.fixture(scope="module", params=LAYERS)
def model(request: pytest.FixtureRequest) -> Any:
    return decoder(LAYERS[request.param])


def empty(model: Any, size: int = SIZE) -> AzcCache:
    return AzcCache(model.config.num_hidden_layers, max_cache_len=size)


@torch.no_grad()
def steps(model: Any, run: Any, ids: Tensor, mask: Tensor | None) -> Tensor:
    """The logits of a prompt of 6 tokens and of the steps that follow."""
    cache = empty(model)
    given = None if mask is None else mask[:, :6]
    found = [model(ids[:, :6], attention_mask=given, past_key_values=cache).logits]
    # Of all slots, or of none: then it is known which are real.
    for i in range(6, ids.shape[1]):
        given = None if mask is None else F.pad(mask, (0, SIZE - mask.shape[1]))
        output = run(ids[:, i : i + 1], attention_mask=given, past_key_values=cache)
        assert output.past_key_values is cache
        found.append(output.logits)
    assert cache.get_seq_length() == ids.shape[1]
    return torch.cat(found, 1)


def test_one_graph_for_every_attention_and_convolution() -> None:
    """All of the library are layers of one decoder."""
    names = list(azc.load("std.attention").attentions)
    imported = f"from std.attention import ({', '.join(names)})\n"
    layers = [*names, *(f"conv(kernel = 5, kind = {kind})" for kind in CONV_KINDS)]
    model: Any = build(
        "; ".join(layers),
        task="causal-lm",
        attentions=imported,
        causal=True,
        residual="pre",
    )
    ids, mask = IDS.repeat(1, 2)[:, :11], F.pad(LEFT, (0, 5), value=1)
    with torch.no_grad():
        wanted = model(ids, attention_mask=mask).logits
    torch._dynamo.reset()
    counter = CompileCounter()
    run = torch.compile(model, fullgraph=True, backend=counter)
    found = steps(model, run, ids, mask)
    close(found[mask.bool()], wanted[mask.bool()])
    assert counter.frame_count == 1


@pytest.mark.parametrize(
    ("kind", "implementation"),
    [("attention", "eager"), ("snapshot", "sdpa"), ("sums", "eager"), ("near", "sdpa")],
)
def test_one_graph_without_a_mask(kind: str, implementation: str) -> None:
    model = decoder(LAYERS[kind])
    model.set_attn_implementation(implementation)
    ids = IDS.repeat(1, 2)[:, :9]
    with torch.no_grad():
        wanted = model(ids).logits
    torch._dynamo.reset()
    counter = CompileCounter()
    run = torch.compile(model, fullgraph=True, backend=counter)
    close(steps(model, run, ids, None), wanted)
    assert counter.frame_count == 1


WAYS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sampling": {"do_sample": True, "num_return_sequences": 2},
    "beams": {"num_beams": 3, "num_return_sequences": 2},
    "a prompt in chunks": {"prefill_chunk_size": 2},
    "a longer cache": {"max_cache_len": 30},
}


@pytest.mark.parametrize("way", WAYS)
def test_generate_gives_the_same_tokens(model: Any, way: str) -> None:
    more = {
        n: x
        for n, x in WAYS[way].items()
        if n not in ("max_cache_len", "prefill_chunk_size")
    }
    for mask in (LEFT, None):
        wanted = generate(model, IDS, mask, use_cache=False, **more)
        found = generate(
            model,
            IDS,
            mask,
            cache_implementation="static",
            return_dict_in_generate=True,
            **WAYS[way],
        )
        assert torch.equal(found.sequences, wanted)
        cache = found.past_key_values
        assert cache.get_seq_length() == 12
        assert cache.get_max_length() >= WAYS[way].get("max_cache_len", 12)


@pytest.mark.parametrize("kind", ["attention", "sums"])
def test_generate_compiles_once(kind: str) -> None:
    """As it does by itself on a GPU."""
    model = decoder(LAYERS[kind])
    compiled = CompileConfig(fullgraph=True, backend="eager", mode=None, dynamic=None)
    compiled._compile_all_devices = True
    given = {"cache_implementation": "static", "compile_config": compiled}
    torch._dynamo.reset()
    counters.clear()
    for more in ({"max_new_tokens": 9}, {"max_new_tokens": 4}, {"do_sample": True}):
        wanted = generate(model, **more)
        assert torch.equal(generate(model, **given, **more), wanted)
    assert counters["stats"]["unique_graphs"] == 1


def test_a_talk_goes_on(model: Any) -> None:
    cache = empty(model, 30)
    first = generate(model, past_key_values=cache)
    assert torch.equal(first, generate(model))
    ids = torch.cat((first, IDS[:, :2]), 1)
    mask = F.pad(LEFT, (0, 9), value=1)
    wanted = generate(model, ids, mask)
    assert torch.equal(generate(model, ids, mask, past_key_values=cache), wanted)
    # What is padding stays so where nothing is said.
    cache.reset()
    assert cache.get_seq_length() == 0
    with torch.no_grad():
        model(IDS, attention_mask=LEFT, past_key_values=cache)
        found = model(IDS[:, :2], past_key_values=cache).logits
        ids, mask = torch.cat((IDS, IDS[:, :2]), 1), F.pad(LEFT, (0, 2), value=1)
        close(found, model(ids, attention_mask=mask).logits[:, -2:])


def test_nothing_moves_in_memory(model: Any) -> None:
    cache = empty(model)

    def places() -> list[int]:
        assert cache.slots is not None
        seen = [x for x in (cache.slots.real, cache.slots.tokens) if x is not None]
        every = [x for layer in cache.memories for x in layer.tensors()]
        return [x.data_ptr() for x in (*seen, *every)]

    with torch.inference_mode():
        model(IDS, past_key_values=cache)
    before, size = places(), cache.bytes
    with torch.no_grad():
        model(IDS[:, :2], past_key_values=cache)
        cache.reorder_cache(torch.tensor([2, 1, 0]))
        cache.reset()
        wanted = model(IDS).logits
        close(model(IDS, past_key_values=cache).logits, wanted)
    assert (places(), cache.bytes) == (before, size)
    assert cache.is_compileable


def test_copies_and_gradients(model: Any) -> None:
    cache = empty(model)
    with torch.no_grad():
        model(IDS, past_key_values=cache)
        ids = torch.cat((IDS, IDS[:, :1]), 1)
        wanted = model(ids).logits[:, -1:]
        for made in (copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
            close(model(IDS[:, :1], past_key_values=made).logits, wanted)
            assert made.get_seq_length() == 7
    assert cache.get_seq_length() == 6

    def gradients(cache: Any) -> list[Tensor]:
        loss = model(IDS[:, :1], past_key_values=cache, use_cache=True).logits.sum()
        model.zero_grad()
        loss.backward()
        return [p.grad for p in model.parameters() if p.grad is not None]

    with torch.no_grad():
        other = model(IDS, use_cache=True).past_key_values
    for one, two in zip(gradients(cache), gradients(other), strict=True):
        close(one, two)


@pytest.mark.parametrize("kind", ["sums", "near"])
def test_an_exported_step(kind: str) -> None:
    """Of which all shapes are fixed."""
    model = decoder(LAYERS[kind])

    def given(tokens: int) -> dict[str, Any]:
        random = torch.Generator().manual_seed(tokens)
        ids = torch.randint(1, 50, (2, tokens + 1), generator=random)
        mask = torch.ones_like(ids[:, 1:])
        mask[0, :2] = 0
        cache = empty(model)
        model(ids[:, 1:], attention_mask=mask, past_key_values=cache)
        return {"input_ids": ids[:, :1], "past_key_values": cache}

    with torch.no_grad():
        buffer = io.BytesIO()
        torch.export.save(torch.export.export(model, (), given(5)), buffer)
        buffer.seek(0)
        step: Any = torch.export.load(buffer).module()
        for tokens in (5, 9):
            one, two = given(tokens), given(tokens)
            for _ in range(3):
                wanted, found = model(**one), step(**two)
                close(found.logits, wanted.logits)
                two["past_key_values"] = found.past_key_values
            assert two["past_key_values"].get_seq_length() == tokens + 3


# Bad input


def test_what_a_fixed_size_is_not_for() -> None:
    model = decoder("sdpa; conv(kernel = 3)")
    with torch.no_grad():
        cache = empty(model, 8)
        model(IDS, past_key_values=cache)
        with pytest.raises(
            ValueError, match=r"9 tokens; .* made for max_cache_len = 8"
        ):
            model(IDS[:, :3], past_key_values=cache)
        assert cache.get_seq_length() == 6  # it goes on
        wanted = model(torch.cat((IDS, IDS[:, :2]), 1)).logits[:, -2:]
        close(model(IDS[:, :2], past_key_values=cache).logits, wanted)
        for mask in (torch.ones(3, 5), torch.ones(3, 9), torch.ones(3)):
            with pytest.raises(
                ValueError, match=r"attention_mask must be \[B, N\] = \[3, 6"
            ):
                model(IDS, attention_mask=mask, past_key_values=empty(model, 8))
    for size in (0, -1, 2.5, True):
        with pytest.raises(
            UsageError, match=r"max_cache_len is .*; it must be a whole"
        ):
            AzcCache(2, max_cache_len=size)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="from a cache of a fixed size"):
        generate(
            model,
            IDS[:1],
            None,
            prompt_lookup_num_tokens=2,
            past_key_values=empty(model),
        )
    with pytest.raises(
        ValueError, match="with a fixed size while the model is trained"
    ):
        copy.deepcopy(model).train()(IDS, past_key_values=empty(model))
    with pytest.raises(ValueError, match="past_key_values has 3 sequences; got 2 more"):
        model(IDS[:2, :1], past_key_values=cache)
