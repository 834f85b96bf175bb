"""`generate` and all that a decoder is called with: what comes of it, and what is refused."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModelForCausalLM,
    DataCollatorWithFlattening,
    DynamicCache,
    Trainer,
    TrainingArguments,
)
from transformers.generation.streamers import BaseStreamer

from azc.diagnostics import UsageError
from azc.model.memory import LayerMemory
from azc.model.tasks import AzcForCausalLM, AzcForMaskedLM
from tests.model.decoders import IDS, LAYERS, LEFT, SUMS, close, decoder, generate
from tests.model.models import ATTENTIONS, build, shake

Tensor = torch.Tensor


@pytest.fixture(scope="module", params=LAYERS)
def model(request: pytest.FixtureRequest) -> Any:
    return decoder(LAYERS[request.param])


@pytest.fixture(scope="module")
def small() -> Any:
    return decoder("sdpa")


WAYS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sampling": {"do_sample": True},
    "beams": {"num_beams": 3},
    "sampled beams": {"num_beams": 2, "do_sample": True},
    "several beams": {"num_beams": 3, "num_return_sequences": 2},
    "several samples": {"do_sample": True, "num_return_sequences": 2},
    "a prompt in chunks": {"prefill_chunk_size": 2},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_cache_changes_nothing(model: Any, way: str) -> None:
    found = generate(model, **WAYS[way])
    more = {n: x for n, x in WAYS[way].items() if n != "prefill_chunk_size"}
    assert torch.equal(found, generate(model, use_cache=False, **more))
    assert found.shape == (3 * WAYS[way].get("num_return_sequences", 1), 13)


def test_sequences_of_a_batch_are_as_alone(model: Any) -> None:
    found = generate(model)
    for ids, mask, row in zip(IDS, LEFT.bool(), found, strict=True):
        alone = generate(model, ids[mask][None], None)
        assert torch.equal(row[6:], alone[0, -7:])
    one = generate(model, IDS[:1, :1], None)
    assert one.shape == (1, 8)


def test_prompts_of_embeddings(model: Any) -> None:
    embeds = model.get_input_embeddings()(IDS)
    found = generate(model, None, inputs_embeds=embeds)
    assert torch.equal(found, generate(model)[:, 6:])


class Kept(BaseStreamer):
    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.ended = False

    def put(self, value: Tensor) -> None:
        self.tokens += value.flatten().tolist()

    def end(self) -> None:
        self.ended = True


def test_a_streamer(model: Any) -> None:
    kept = Kept()
    found = generate(model, IDS[:1], None, streamer=kept)
    assert kept.tokens == found[0].tolist()
    assert kept.ended


def test_going_on_with_a_cache_that_was_returned(model: Any) -> None:
    whole = generate(model)
    first = generate(model, max_new_tokens=4, return_dict_in_generate=True)
    mask = torch.cat((LEFT, torch.ones(3, 4, dtype=torch.int64)), 1)
    cache = first.past_key_values
    found = generate(
        model, first.sequences, mask, past_key_values=cache, max_new_tokens=3
    )
    assert torch.equal(found, whole)


def test_assisted_generation(model: Any, small: Any) -> None:
    ids, mask = IDS[:1], torch.ones(1, 6, dtype=torch.int64)
    for more in ({"assistant_model": small}, {"prompt_lookup_num_tokens": 3}):
        if model.model.sums:
            with pytest.raises(ValueError, match="assisted generation is not supp"):
                generate(model, ids, mask, **more)
        else:
            found = generate(model, ids, mask, **more)
            assert torch.equal(found, generate(model, ids, mask))


def test_a_generated_token_is_never_taken_for_padding() -> None:
    """Whatever `pad_token_id` is, an assistant guesses on from all tokens."""
    main, helper = decoder("sdpa; turned", vocab=4), decoder("sdpa", vocab=4)
    met = 0
    for seed in range(6):
        random = torch.Generator().manual_seed(seed)
        for each in (main, helper):
            for parameter in each.parameters():
                parameter.data.normal_(std=0.4, generator=random)
        ids = torch.randint(0, 4, (1, 4), generator=random)
        every = torch.ones_like(ids)
        for more in ({"pad_token_id": 0}, {"pad_token_id": None}):
            wanted = generate(main, ids, every, max_new_tokens=10, **more)
            told = {"assistant_model": helper, "max_new_tokens": 10, **more}
            assert torch.equal(generate(main, ids, None, **told), wanted)
            met += int((wanted == 0).any())
    assert met > 4


def test_an_assistant_that_sums(small: Any) -> None:
    with pytest.raises(ValueError, match="a state that sums over all tokens so far"):
        generate(small, IDS[:1], None, assistant_model=decoder("sums"))


# What a window and a convolution leave behind


def memory_taken(cache: Any) -> int:
    """The bytes that the tensors of a cache hold on to."""
    held = {}
    for memory in cache.memories:
        tensors = [stream.data for stream in memory.streams.values()]
        for each in (*tensors, *(x for xs in memory.states.values() for x in xs)):
            held[each.untyped_storage().data_ptr()] = each.untyped_storage().nbytes()
    return sum(held.values())


BOUNDED = {
    "conv(kernel = 9); conv(kernel = 3, kind = dynamic)": 8 + 2,
    "windowed; local": (2 + 16) * 2,
    "conv(kernel = 65); local; bands; taps; sums": 64 + 16 * 2 + (2 + 3 + 3) + 4,
}  # tokens that are kept of features 16 wide


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("padded", ["no", "left", "right", "holes"])
@pytest.mark.parametrize("layers", BOUNDED)
def test_memory_is_the_same_however_much_came_before(
    layers: str, padded: str, implementation: str
) -> None:
    attentions = (
        "from std.attention import local_attention as local\n"
        "attention taps(v) {\n    return conv(v, kernel = 5)\n}\n"
    )
    more = {"positions": "none", "attentions": attentions + ATTENTIONS + SUMS}
    model = build(layers, task="causal-lm", causal=True, **more).eval()
    model.set_attn_implementation(implementation)
    ids = torch.arange(1, 1 + 512).expand(2, 512) % 50
    mask = torch.ones_like(ids)
    if padded != "no":
        here = {"left": slice(0, 9), "right": slice(448, 512), "holes": slice(40, 50)}
        mask[0, here[padded]] = 0
    found = {}
    with torch.no_grad():
        cache = None
        # A prompt, steps, and a long piece.
        for start, stop in ((0, 74), *((n, n + 1) for n in range(74, 84)), (84, 512)):
            given = {"attention_mask": mask[:, :stop], "past_key_values": cache}
            cache = model(ids[:, start:stop], **given, use_cache=True).past_key_values
            found[stop] = cache.bytes
            assert memory_taken(cache) == cache.bytes
    assert len(set(found.values())) == 1, found
    told = 2 * 16 * 4 * BOUNDED[layers]
    if "bands" in layers:
        told += 2 * 2 * 4 * 3  # the sums of keys
    if "sums" in layers:
        told += 2 * 2 * 4 * (8 * 8 + 8)  # and of products, and a mean
    assert found[512] == told


def test_assisted_generation_keeps_no_more_in_the_end() -> None:
    model = decoder(LAYERS["near"])
    ids = IDS[:1].repeat(1, 2)
    kept = {}
    for lookup in (None, 3):
        found = generate(
            model,
            ids,
            None,
            prompt_lookup_num_tokens=lookup,
            max_new_tokens=20,
            return_dict_in_generate=True,
        )
        kept[lookup] = found.past_key_values.bytes, found.sequences.tolist()
    assert kept[None] == kept[3]
    assert kept[3][0] == cache_of(model, IDS[:1]).bytes


def test_what_was_left_behind_is_not_taken_back() -> None:
    model = decoder(LAYERS["near"])
    cache = cache_of(model, IDS[:, :2])
    cache.crop(-1)  # nothing was
    assert cache.is_croppable
    cache = cache_of(model)
    before = cache.bytes
    assert not cache.is_croppable
    with pytest.raises(
        ValueError, match="dropped earlier ones: call activate_past_rec"
    ):
        cache.crop(-1)
    cache.activate_past_recording()
    assert cache.is_croppable
    with torch.no_grad():
        model(IDS[:, :3], past_key_values=cache)
        assert cache.bytes > before
        with pytest.raises(ValueError, match="dropped earlier ones"):
            cache.crop(-4)
        cache.crop(-2)
        assert (cache.get_seq_length(), cache.bytes) == (7, before)
        found = model(IDS[:, 1:4], past_key_values=cache).logits
        wanted = model(torch.cat((IDS, IDS[:, :4]), 1)).logits[:, -3:]
    close(found, wanted)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(
    "layer",
    [
        "conv(kernel = 3)",
        "conv(kernel = 3, kind = dynamic)",
        "conv(kernel = 3, kind = depthwise)",
        "taps",
    ],
)
def test_a_step_reads_what_it_reaches_alone(layer: str, padded: bool) -> None:
    wide = "attention taps(v) {\n    return conv(v, kernel = 5)\n}\n"
    model = build(layer, task="causal-lm", causal=True, attentions=wide).eval()

    def operations(tokens: int) -> int:
        """Of a step after so many."""
        ids = torch.arange(1, 1 + tokens).expand(2, tokens)
        mask = torch.ones_like(ids)
        mask[0, : 3 if padded else 0] = 0
        with torch.no_grad():
            found = model(ids, attention_mask=mask, use_cache=True)
            more = torch.cat((mask, mask[:, -1:]), 1)
            with FlopCounterMode(display=False) as counter:
                model(ids[:, :1], attention_mask=more, past_key_values=found[1])
        return counter.get_total_flops()

    assert operations(36) == operations(10) > 0


@pytest.mark.parametrize("padded", [False, True])
def test_a_step_attends_to_what_is_in_the_window_alone(
    padded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    attend = torch.nn.functional.scaled_dot_product_attention

    def watched(query: Tensor, key: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        read.append(key.shape[-2])
        return attend(query, key, *args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    model = decoder("windowed; sdpa").eval()  # a radius of 2
    ids = torch.arange(1, 25).view(2, 12)
    mask = torch.ones_like(ids)
    mask[0, : 3 if padded else 0] = 0
    with torch.no_grad():
        wanted = model(ids, attention_mask=mask).logits[:, -2:]
        cache = model(
            ids[:, :10], attention_mask=mask[:, :10], use_cache=True
        ).past_key_values
        read.clear()
        found = model(ids[:, 10:], attention_mask=mask, past_key_values=cache).logits
    assert read == [4, 12]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_finite(model: Any, dtype: torch.dtype) -> None:
    half = copy.deepcopy(model).to(dtype)
    found = generate(
        half, max_new_tokens=20, output_logits=True, return_dict_in_generate=True
    )
    logits = torch.stack(found.logits)
    assert bool(logits.isfinite().all())
    mask = torch.nn.functional.pad(LEFT, (0, 20), value=1)
    whole = half(found.sequences, attention_mask=mask)
    near = logits.transpose(0, 1).float(), whole.logits[:, 5:-1].float()
    torch.testing.assert_close(*near, rtol=0.1, atol=0.1 * float(near[1].abs().max()))


# What is copied, saved, trained, compiled


def test_copies_and_what_is_saved(model: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    made = [
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        AzcForCausalLM.from_pretrained(tmp_path),
        AutoModelForCausalLM.from_pretrained(tmp_path),
    ]
    with torch.no_grad():
        wanted = model(IDS, attention_mask=LEFT).logits
        for each in made:
            assert torch.equal(each.eval()(IDS, attention_mask=LEFT).logits, wanted)
            assert torch.equal(generate(each), generate(model))


def test_gradient_checkpointing(model: Any) -> None:
    plain, twice = copy.deepcopy(model).train(), copy.deepcopy(model).train()
    twice.gradient_checkpointing_enable()
    for each, cached in ((plain, False), (twice, True)):
        output = each(IDS, attention_mask=LEFT, labels=IDS, use_cache=cached)
        output.loss.backward()
        assert output.past_key_values is None
    for one, two in zip(plain.parameters(), twice.parameters(), strict=True):
        assert (one.grad is None) == (two.grad is None)
        if one.grad is not None:
            assert torch.equal(one.grad, two.grad)
    cache = model(IDS, use_cache=True).past_key_values
    with pytest.raises(ValueError, match="under gradient checkpointing"):
        twice(IDS[:, :1], past_key_values=cache)


def test_torch_compile_and_export(model: Any) -> None:
    mask = LEFT
    torch._dynamo.reset()  # of what other tests have compiled
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    given = {"attention_mask": mask, "use_cache": False}
    real = LEFT.bool()
    with torch.no_grad():
        wanted = model(IDS, **given).logits
        close(compiled(IDS, **given).logits[real], wanted[real])
        exported = torch.export.export(model, (IDS,), given, strict=False).module()
        close(exported(IDS, **given).logits[real], wanted[real])  # type: ignore[operator]

        def steps(step: Any) -> list[Tensor]:
            found, cache = [], None
            for start, stop in ((0, 4), (4, 5), (5, 6)):
                so_far = None if mask is None else mask[:, :stop]
                run = model if cache is None else step
                output = run(
                    IDS[:, start:stop],
                    attention_mask=so_far,
                    past_key_values=cache,
                    use_cache=True,
                )
                cache = output.past_key_values
                found.append(output.logits)
            assert cache.get_seq_length() == 6
            return found

        for one, two in zip(steps(compiled), steps(model), strict=True):
            close(one[:, -1], two[:, -1])


@pytest.mark.parametrize(
    ("layers", "padded"),
    [
        ("attention", True),
        ("near", True),
        ("near", False),
        ("sums", True),
        ("sums", False),
    ],
)
def test_an_exported_step(layers: str, padded: bool, tmp_path: Path) -> None:
    model = decoder(LAYERS[layers])

    def given(batch: int, tokens: int) -> dict[str, Any]:
        """A step after so many tokens."""
        random = torch.Generator().manual_seed(tokens)
        ids = torch.randint(1, 50, (batch, tokens + 1), generator=random)
        mask = torch.ones_like(ids)
        mask[0, :2] = 0
        found = {"input_ids": ids[:, -1:], "use_cache": True}
        before = {"attention_mask": mask[:, :-1]} if padded else {}
        found |= {"attention_mask": mask} if padded else {}
        cache = model(ids[:, :-1], use_cache=True, **before).past_key_values
        return {**found, "past_key_values": cache}

    with torch.no_grad():
        sizes = torch.export.AdditionalInputs()
        first = given(2, 9)
        sizes.add((), first)
        sizes.add((), given(3, 14))
        made = torch.export.export(model, (), first, dynamic_shapes=sizes)
        torch.export.save(made, tmp_path / "step.pt2")
        step = torch.export.load(tmp_path / "step.pt2").module()
        for batch, tokens in ((2, 9), (1, 20), (4, 33)):
            one, two = given(batch, tokens), given(batch, tokens)
            for _ in range(3):
                wanted, found = model(**one), step(**two)  # type: ignore[operator]
                close(found.logits, wanted.logits)
                for each, output in ((one, wanted), (two, found)):
                    cache = each["past_key_values"] = output.past_key_values
                    each["input_ids"] = wanted.logits[:, -1:].argmax(-1)
                    if padded:
                        more = torch.ones_like(each["input_ids"])
                        each["attention_mask"] = torch.cat(
                            (each["attention_mask"], more), 1
                        )
                assert cache.get_seq_length() == one["past_key_values"].get_seq_length()
                assert cache.bytes == one["past_key_values"].bytes
            # And the model goes on with what the program gave.
            close(model(**two).logits, model(**one).logits)


def test_a_cache_taken_apart_is_the_same(model: Any) -> None:
    for mask in (None, LEFT):
        cache = cache_of(model, mask=mask)
        cache.activate_past_recording()
        cache = model(
            NEXT,
            attention_mask=None if mask is None else torch.cat((mask, mask[:, -1:]), 1),
            past_key_values=cache,
        ).past_key_values
        tensors, kind = pytree.tree_flatten(cache)
        kind = pytree.treespec_loads(pytree.treespec_dumps(kind))
        again = pytree.tree_unflatten(tensors, kind)
        assert (again.bytes, again.get_seq_length()) == (cache.bytes, 7)
        assert again.is_croppable == cache.is_croppable
        for each in (cache, again):
            if cache.is_croppable:
                each.crop(-1)
            each.reorder_cache(torch.tensor([2, 0]))
        assert pytree.tree_structure(again) == pytree.tree_structure(cache)
        for one, two in zip(
            pytree.tree_leaves(again), pytree.tree_leaves(cache), strict=True
        ):
            assert torch.equal(one, two)
        if mask is not None:
            with pytest.raises(ValueError, match="attention_mask is required"):
                model(NEXT[:2], past_key_values=again)


def test_trainer_with_documents_in_one_row(model: Any, tmp_path: Path) -> None:
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=2,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
        logging_steps=1,
        learning_rate=0.01,
    )
    data: Any = [{"input_ids": IDS[i % 3, : 2 + i % 5].tolist()} for i in range(12)]
    trained = copy.deepcopy(model)
    run = Trainer(
        trained,
        arguments,
        train_dataset=data,
        eval_dataset=data,
        data_collator=DataCollatorWithFlattening(),
    )
    before = run.evaluate()["eval_loss"]
    run.train()
    assert run.state.global_step == 2
    assert run.evaluate()["eval_loss"] < before
    # The loss of a row is that of its documents, each weighted by what it predicts.
    total, count = 0.0, 0
    for row in data:
        ids = torch.tensor([row["input_ids"]])
        with torch.no_grad():
            total += float(model(ids, labels=ids).loss) * (ids.shape[1] - 1)
        count += ids.shape[1] - 1
    collated: Any = DataCollatorWithFlattening()(data)
    with torch.no_grad():
        assert float(model(**collated).loss) == pytest.approx(total / count, rel=1e-4)
        given = model(**collated, num_items_in_batch=2 * count).loss
    assert float(given) == pytest.approx(total / count / 2, rel=1e-4)


def test_the_loss_steps_over_padding(model: Any) -> None:
    alone, count = 0.0, 0
    mask = torch.tensor([[0, 1, 0, 1, 1, 0], [1, 1, 1, 0, 0, 1], [0, 0, 1, 1, 1, 1]])
    with torch.no_grad():
        for ids, real in zip(IDS, mask.bool(), strict=True):
            mine = ids[real][None]
            alone += float(model(mine, labels=mine).loss) * (mine.shape[1] - 1)
            count += mine.shape[1] - 1
        found = model(IDS, attention_mask=mask, labels=IDS)
        assert float(found.loss) == pytest.approx(alone / count, rel=1e-4)
        # And as transformers shifts it, where nothing is padded.
        plain = model(IDS, labels=IDS)
        shifted = torch.nn.functional.cross_entropy(
            plain.logits[:, :-1].flatten(0, 1), IDS[:, 1:].flatten()
        )
        assert float(plain.loss) == pytest.approx(float(shifted), rel=1e-5)
        last = model(IDS, labels=IDS, logits_to_keep=3)
        shifted = torch.nn.functional.cross_entropy(
            plain.logits[:, 3:-1].flatten(0, 1), IDS[:, 4:].flatten()
        )
        assert float(last.loss) == pytest.approx(float(shifted), rel=1e-5)
        assert torch.equal(last.logits, plain.logits[:, 3:])
        # What each token is to tell may be said already.
        told = model(
            IDS, shift_labels=IDS.roll(-1, 1).index_fill(1, torch.tensor(5), -100)
        )
        assert float(told.loss) == pytest.approx(float(plain.loss), rel=1e-6)


# Bad input


def cache_of(model: Any, ids: Tensor = IDS, mask: Tensor | None = None) -> Any:
    return model(ids, attention_mask=mask, use_cache=True).past_key_values


def after_a_step(model: Any, *args: Any, **more: Any) -> Any:
    """What the model says after a step of training."""
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(1.5)
    return model(*args, **more)


def in_autocast(model: Any, *args: Any, **more: Any) -> Any:
    with torch.autocast("cpu", torch.bfloat16):
        return model(*args, **more)


NEXT = IDS[:, :1]
REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "other layers": (
        lambda m: m(NEXT, past_key_values=cache_of(decoder("sdpa"))),
        "has 1 layers; the model has 2",
    ),
    "other model": (
        lambda m: m(NEXT, past_key_values=cache_of(decoder("linear; linear"))),
        "belongs to another model",
    ),
    "other width": (
        lambda m: m(
            NEXT, past_key_values=cache_of(decoder("sdpa; conv(kernel = 3)", hidden=8))
        ),
        "belongs to another model",
    ),
    "other batch": (
        lambda m: m(NEXT[:1], past_key_values=cache_of(m)),
        "has 3 sequences; got 1 more",
    ),
    "other kind": (
        lambda m: m(NEXT, past_key_values=DynamicCache()),
        r"must be an AzcCache, which .* \(an empty one: azc.model.AzcCache\(2\)\); got Dyn",
    ),
    "other kind in generate": (
        lambda m: generate(m, past_key_values=DynamicCache()),
        "got DynamicCache",
    ),
    "other weights": (
        lambda m: m(NEXT, past_key_values=cache_of(shake(copy.deepcopy(m)))),
        "^past_key_values was made with other weights than the model's$",
    ),
    "weights that have changed": (
        lambda m: after_a_step(m, NEXT, past_key_values=cache_of(m)),
        "made with other weights than the model's$",
    ),
    "other weights in generate": (
        lambda m: generate(
            m, IDS.repeat(1, 2), None, past_key_values=cache_of(shake(copy.deepcopy(m)))
        ),
        "made with other weights than the model's$",
    ),
    "other number type": (
        lambda m: copy.deepcopy(m).bfloat16()(NEXT, past_key_values=cache_of(m)),
        "^past_key_values was made in float32, but the model computes in bfloat16$",
    ),
    "other number type by autocast": (
        lambda m: in_autocast(m, NEXT, past_key_values=cache_of(m)),
        "^past_key_values was made in float32, but the model computes in bfloat16$",
    ),
    "mask of new tokens alone": (
        lambda m: m(
            NEXT, attention_mask=torch.ones_like(NEXT), past_key_values=cache_of(m)
        ),
        r"\[3, 7\]; got \[3, 1\] .* of which 6 were seen before",
    ),
    "mask forgotten": (
        lambda m: m(NEXT, past_key_values=cache_of(m, mask=LEFT)),
        "attention_mask is required",
    ),
    "mask of pairs": (lambda m: m(IDS, attention_mask=torch.ones(3, 1, 6, 6)), "B, N"),
    "padding behind a prompt": (
        lambda m: generate(m, IDS, LEFT.flip(1)),
        "a prompt ends in padding",
    ),
    "too long": (lambda m: m(IDS.repeat(1, 7)), "42 tokens; .* max_length = 40"),
    "too long with a cache": (
        lambda m: m(IDS, past_key_values=cache_of(m, IDS.repeat(1, 6))),
        "42 tokens; .* max_length = 40",
    ),
    "too long in generate": (
        lambda m: generate(m, max_new_tokens=50),
        "41 tokens; .* max_length = 40",
    ),
    "labels": (lambda m: m(IDS, labels=IDS[:, :3]), r"\[3, 6\]; got \[3, 3\]"),
    "label ids": (lambda m: m(IDS, labels=IDS + 90), "from 0 to 49 or -100"),
    "logits_to_keep": (
        lambda m: m(IDS, logits_to_keep=-1),
        "must be at least 0; got -1",
    ),
    "document_ids with a cache": (
        lambda m: m(NEXT, document_ids=NEXT, past_key_values=cache_of(m)),
        "past_key_values is not supported for documents in one row",
    ),
    "document_ids for a cache": (
        lambda m: m(IDS, document_ids=IDS, use_cache=True),
        "use_cache is not supported for documents in one row",
    ),
    "document_ids in generate": (
        lambda m: generate(m, document_ids=IDS),
        "is not supported for documents in one row",
    ),
    "document_ids of another shape": (
        lambda m: m(IDS, document_ids=IDS[0]),
        r"document_ids must be \[B, N\] = \[3, 6\]; got \[6\]",
    ),
    "positions from elsewhere": (
        lambda m: m(IDS, position_ids=torch.arange(3, 9)[None]),
        "count the tokens of each document from 0: .* is at 0; got 3",
    ),
    "positions with a gap": (
        lambda m: m(IDS, position_ids=torch.tensor([[0, 1, 5, 6, 7, 8]])),
        "token 2 of sequence 0 is at 2; got 5",
    ),
    "positions that start again with a cache": (
        lambda m: m(
            NEXT, position_ids=torch.zeros_like(NEXT), past_key_values=cache_of(m)
        ),
        "continue from those of past_key_values: .* is at 6; got 0",
    ),
    "a cache cropped the other way": (lambda m: cache_of(m).crop(2), "by −k; got 2"),
    "a masked-lm of a decoder": (lambda m: AzcForMaskedLM(m.config), "is a decoder"),
    "a causal-lm of an encoder": (
        lambda m: AzcForCausalLM(build("sdpa").config),
        "is an encoder",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_in_a_sentence(case: str) -> None:
    call, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        call(decoder("sdpa; conv(kernel = 3)"))


def test_who_has_the_same_weights_goes_on_with_a_cache(
    model: Any, tmp_path: Path
) -> None:
    """A copy, and the same model from a folder, in a cache that was saved."""
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        wanted = model(torch.cat((IDS, NEXT), 1)).logits[:, -1:]
        for other in (copy.deepcopy(model), loaded):
            for cache in (cache_of(model), pickle.loads(pickle.dumps(cache_of(model)))):
                close(other(NEXT, past_key_values=cache).logits, wanted)
        # What is empty is of nobody.
        cache = cache_of(shake(copy.deepcopy(model)))
        cache.reset()
        model(IDS, past_key_values=cache)
        close(model(NEXT, past_key_values=cache).logits, wanted)
        with torch.autocast("cpu", torch.bfloat16):
            cache = cache_of(model)
            assert model(NEXT, past_key_values=cache).logits.isfinite().all()


def test_a_cache_on_another_device() -> None:
    layer = LayerMemory()
    layer.extend("k", torch.empty(2, 3, 4, device="meta"), 1, False, None, None)
    with pytest.raises(ValueError, match="is on meta, but the model computes on cpu"):
        layer.extend("k", torch.empty(2, 1, 4), 1, False, None, None)


def test_tasks_that_a_model_is_not_for() -> None:
    with pytest.raises(
        UsageError, match="`m` is a decoder, which does not support masked-lm"
    ):
        build("sdpa", task="masked-lm", causal=True)
    with pytest.raises(
        UsageError, match="`m` is an encoder, which does not support causal"
    ):
        build("sdpa", task="causal-lm")


def test_a_sequence_of_padding_alone_among_documents() -> None:
    model = decoder("sdpa; sums")
    with torch.no_grad():
        for mask in (torch.zeros_like(IDS), LEFT * torch.tensor([[0], [1], [1]])):
            found = model(IDS, attention_mask=mask, document_ids=IDS // 20)
            assert bool(found.logits.isfinite().all())
