"""A decoder under `generate` is what every model of transformers is: what comes out, what
it is made of, and what the options do that docs/decoders.md names.
"""

from __future__ import annotations

import copy
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch._subclasses import FakeTensorMode
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedTokenizerFast,
    StaticCache,
    StoppingCriteria,
    StoppingCriteriaList,
    TextIteratorStreamer,
    pipeline,
)
from transformers.generation.configuration_utils import ALL_CACHE_IMPLEMENTATIONS

from azc.model.cache import AzcCache
from azc.model.generation import CACHES
from azc.model.weights import load_weights
from tests.model.decoders import IDS, LAYERS, LEFT, close, decoder, generate
from tests.model.kinds import KINDS, PAD, VOCAB

Tensor = torch.Tensor
PAGE = Path(__file__).parents[2] / "docs" / "decoders.md"
NEW = 7  # tokens that `generate` makes


@cache
def made(kind: str) -> Any:
    """One of them; nobody changes it."""
    pre = kind in ("snapshot", "near")
    more = {"residual": "pre", "positions": "none"} if pre else {}
    return decoder(LAYERS[kind], **more)


@pytest.fixture(params=LAYERS)
def model(request: pytest.FixtureRequest) -> Any:
    return made(request.param)


def rows(mask: Tensor, *more: int) -> Tensor:
    """A mask with so many real tokens more."""
    return torch.nn.functional.pad(mask, (0, sum(more)), value=1)


@torch.no_grad()
def cache_of(model: Any, ids: Tensor = IDS, mask: Tensor | None = None) -> Any:
    return model(ids, attention_mask=mask, use_cache=True).past_key_values


# What a generation gives


WAYS: dict[str, dict[str, Any]] = {
    "greedy": {"repetition_penalty": 1.2},
    "samples": {"do_sample": True, "top_k": 10, "num_return_sequences": 2},
    "beams": {"num_beams": 2, "length_penalty": 2.0},
    "sampled beams": {"num_beams": 2, "do_sample": True, "num_return_sequences": 2},
}


@pytest.mark.parametrize("way", WAYS)
def test_what_a_generation_is_made_of(model: Any, way: str) -> None:
    given = WAYS[way]
    told = ("scores", "logits", "hidden_states")
    every = dict.fromkeys((f"output_{each}" for each in told), True)
    found, wanted = (
        generate(
            model, use_cache=cached, return_dict_in_generate=True, **given, **every
        )
        for cached in (True, False)
    )
    assert torch.equal(found.sequences, wanted.sequences)
    assert found.past_key_values.get_seq_length() == 6 + NEW - 1
    assert wanted.past_key_values is None
    several = given.get("num_return_sequences", 1)
    count = 3 * given.get("num_beams", several)
    assert found.sequences.shape == (3 * several, 6 + NEW)
    layers = model.config.num_hidden_layers
    for each in (found, wanted):
        assert [x.shape for x in each.scores] == [(count, 50)] * NEW
        assert [x.shape for x in each.logits] == [(count, 50)] * NEW
        assert {len(states) for states in each.hidden_states} == {layers + 1}
    for step, (one, two) in enumerate(
        zip(found.hidden_states, wanted.hidden_states, strict=True)
    ):
        tokens = 1 if step else 6
        assert {x.shape for x in one} == {(count, tokens, 16)}
        assert {x.shape for x in two} == {(count, 6 + step, 16)}
        close(one[-1][:, -1], two[-1][:, -1])
    for one, two in zip(found.logits, wanted.logits, strict=True):
        close(one, two)


def test_the_scores_of_beams_add_up(model: Any) -> None:
    found = generate(
        model, num_beams=3, return_dict_in_generate=True, output_scores=True
    )
    each = model.compute_transition_scores(
        found.sequences, found.scores, found.beam_indices
    )
    close(each.sum(-1), found.sequences_scores * NEW)


def test_prompts_of_embeddings(model: Any) -> None:
    table = model.get_input_embeddings()
    embeds = table(IDS)
    for given in ({}, {"num_beams": 2}, {"max_new_tokens": None, "max_length": 12}):
        wanted = generate(model, **given)
        made = generate(model, None, inputs_embeds=embeds, **given)
        assert torch.equal(made, wanted[:, 6:])
        both = generate(model, IDS, inputs_embeds=embeds, **given)
        assert torch.equal(both, wanted)
    whole = generate(model, None, inputs_embeds=embeds)
    first = generate(
        model,
        None,
        inputs_embeds=embeds,
        max_new_tokens=4,
        return_dict_in_generate=True,
    )
    more = torch.cat((embeds, table(first.sequences)), 1)
    rest = generate(
        model,
        None,
        rows(LEFT, 4),
        inputs_embeds=more,
        past_key_values=first.past_key_values,
        max_new_tokens=3,
    )
    assert torch.equal(torch.cat((first.sequences, rest), 1), whole)


# Where a text ends


class Odd(LogitsProcessor):
    """Odd tokens alone."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return scores.index_fill(1, torch.arange(0, 50, 2), -torch.inf)


class Length(StoppingCriteria):
    """Ten tokens are enough."""

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        return torch.full(input_ids.shape[:1], input_ids.shape[1] >= 10)


def test_rows_end_where_their_end_is(model: Any) -> None:
    free = generate(model)
    end = int(free[0, 8])
    for given in (
        {"eos_token_id": end},
        {"eos_token_id": [end, 49], "num_beams": 2},
        {"eos_token_id": end, "min_new_tokens": 5},
        {"logits_processor": LogitsProcessorList([Odd()])},
        {"stopping_criteria": StoppingCriteriaList([Length()])},
    ):
        found = generate(model, **given)
        assert torch.equal(found, generate(model, use_cache=False, **given))
        if "min_new_tokens" in given:
            assert not (found[:, 6:11] == end).any()
        elif "num_beams" not in given and "eos_token_id" in given:
            where = (free[0, 6:] == end).int().argmax()
            assert torch.equal(found[0, : 7 + where], free[0, : 7 + where])
            assert not found[0, 7 + where :].any()
        elif "logits_processor" in given:
            assert (found[:, 6:] % 2 == 1).all()
        elif "stopping_criteria" in given:
            assert found.shape == (3, 10)


def test_padding_is_what_the_mask_says(model: Any) -> None:
    assert model.config.pad_token_id is None
    zero = torch.zeros_like(IDS)  # a token as good as any other
    for pad in (0, None):
        wanted = generate(model, zero[:1], torch.ones_like(zero[:1]), pad_token_id=pad)
        assert torch.equal(generate(model, zero[:1], None, pad_token_id=pad), wanted)
    wanted = generate(model, IDS * LEFT, torch.ones_like(LEFT), pad_token_id=None)
    assert torch.equal(generate(model, IDS * LEFT, None, pad_token_id=None), wanted)
    with pytest.raises(ValueError, match="mask is required: a prompt begins with pad"):
        generate(model, IDS * LEFT, None)
    # Where texts begin with the token that ends them, it pads none.
    both = {"pad_token_id": 0, "eos_token_id": 0}
    wanted = generate(model, zero, torch.ones_like(zero), **both)
    assert torch.equal(generate(model, zero, None, **both), wanted)
    # A text that ends is padded with the end where there is no other.
    end = int(generate(model)[0, 8])
    found = generate(model, eos_token_id=end, pad_token_id=None, max_new_tokens=5)
    wanted = generate(model, eos_token_id=end, pad_token_id=end, max_new_tokens=5)
    assert torch.equal(found, wanted)


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """A letter a token."""
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUV"
    vocab = {"<pad>": 0} | {each: i for i, each in enumerate(letters, 1)} | {"<e>": 49}
    found = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=found, pad_token="<pad>", eos_token="<e>", padding_side="left"
    )


def test_a_text_ends_at_a_string(model: Any) -> None:
    free = generate(model, IDS[:1], None)
    stop = tokenizer().decode(free[0, 8:10])
    ways: list[dict[str, Any]] = [{}, {"num_beams": 2}]
    if not model.model.sums:
        ways.append({"prompt_lookup_num_tokens": 3})
    for given in ways:
        options = {"stop_strings": [stop], "tokenizer": tokenizer(), **given}
        found = generate(model, IDS[:1], None, **options)
        options.pop("prompt_lookup_num_tokens", None)
        wanted = generate(model, IDS[:1], None, use_cache=False, **options)
        assert torch.equal(found, wanted)
        if not given:
            assert tokenizer().decode(found[0, 6:]).endswith(stop)
            assert torch.equal(found, free[:, : found.shape[1]])
            assert found.shape[1] <= 10


def test_a_pipeline_of_a_saved_folder(model: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    run: Any = pipeline("text-generation", model=str(tmp_path), device="cpu")
    options = {"max_new_tokens": NEW, "do_sample": False, "eos_token_id": None}
    texts = ["abcde", "fg"]
    found = run(texts, batch_size=2, **options)
    for text, [output] in zip(texts, found, strict=True):
        ids = tokenizer()(text, return_tensors="pt")["input_ids"]
        wanted = tokenizer().decode(
            generate(model, ids, None)[0], skip_special_tokens=True
        )
        assert output["generated_text"] == wanted
        streamer = TextIteratorStreamer(tokenizer(), skip_special_tokens=True)
        generate(model, ids, None, streamer=streamer)
        assert "".join(streamer) == wanted


# What is kept, and given back


@pytest.mark.parametrize("kind", ["attention", "near"])
def test_tokens_that_are_looked_up(kind: str) -> None:
    model = made(kind)
    ids = IDS[:1].repeat(1, 3)
    mask = torch.ones_like(ids)
    mask[:, :2] = 0
    end = int(generate(model, ids, mask)[0, -2])
    told = {"return_dict_in_generate": True, "output_logits": True}
    for given in ({}, {"eos_token_id": end}):
        wanted = generate(model, ids, mask, **told, **given)
        found = generate(model, ids, mask, prompt_lookup_num_tokens=3, **told, **given)
        assert torch.equal(found.sequences, wanted.sequences)
        for one, two in zip(found.logits, wanted.logits, strict=True):
            close(one, two)
        one, two = found.past_key_values, wanted.past_key_values
        assert one.get_seq_length() == two.get_seq_length()
        assert one.bytes == two.bytes


def test_a_talk_goes_on_with_the_cache(model: Any) -> None:
    """With all tokens, or with the new ones alone."""
    ids, mask, kept = IDS, LEFT, AzcCache(model.config.num_hidden_layers)
    with torch.inference_mode():
        first = generate(model, ids, mask, past_key_values=kept)
    assert torch.equal(first, generate(model))
    for turn in range(3):
        ids, mask = torch.cat((first, IDS[:, turn : turn + 2]), 1), rows(mask, NEW, 2)
        wanted = generate(model, ids, mask, use_cache=False)
        past = kept.get_seq_length()
        assert past == ids.shape[1] - 3
        given = ids if turn != 1 else ids[:, past:]
        found = generate(model, given, mask, past_key_values=kept)
        assert torch.equal(found[:, -NEW:], wanted[:, -NEW:])
        first = wanted


def test_many_go_on_from_one_beginning(model: Any) -> None:
    kept = cache_of(model, mask=LEFT)
    before = kept.bytes
    for more in (IDS[:, 2:4], IDS[:, 4:5]):
        ids, mask = torch.cat((IDS, more), 1), rows(LEFT, more.shape[1])
        found = generate(model, ids, mask, past_key_values=copy.deepcopy(kept))
        assert torch.equal(found, generate(model, ids, mask))
    assert (kept.get_seq_length(), kept.bytes) == (6, before)
    kept.batch_select_indices(torch.tensor([2, 0]))
    kept.batch_repeat_interleave(2)
    chosen = torch.tensor([2, 2, 0, 0])
    ids = torch.cat((IDS[chosen], torch.tensor([[3], [4], [5], [6]])), 1)
    mask = rows(LEFT[chosen], 1)
    found = generate(model, ids, mask, past_key_values=kept)
    assert torch.equal(found, generate(model, ids, mask))


def test_what_a_cache_says_of_itself(model: Any) -> None:
    kept = AzcCache(model.config.num_hidden_layers)
    assert not kept.is_initialized
    kept = cache_of(model)
    assert kept.is_initialized
    assert not kept.is_compileable
    assert (len(kept), kept.get_seq_length(), kept.get_query_offset()) == (
        model.config.num_hidden_layers,
        6,
        6,
    )
    assert kept.get_mask_sizes(2, 0) == (8, 0)
    assert kept.get_max_length() == -1
    if kept.is_croppable:  # all tokens and more: there is none
        kept.crop(-8)
    else:
        kept.reset()
    assert not kept.is_initialized
    assert torch.equal(generate(model, past_key_values=kept), generate(model))


def test_taking_back_more_than_there_is() -> None:
    model = decoder("sdpa")
    kept = cache_of(model)
    kept.crop(-20)
    assert kept.get_seq_length() == 0
    assert torch.equal(generate(model, past_key_values=kept), generate(model))


def test_no_cache_is_given_back_where_none_is_wanted(model: Any) -> None:
    with torch.no_grad():
        assert model(IDS, use_cache=False).past_key_values is None
        kept = cache_of(model)
        found = model(IDS, past_key_values=kept, use_cache=False)
        assert found.past_key_values is None
        close(found.logits, model(IDS.repeat(1, 2)).logits[:, 6:])


def test_layers_go_to_the_host_and_come_back() -> None:
    with FakeTensorMode():
        there = torch.device("cuda", 0)
        layer = AzcCache(1).memories[0]
        layer.extend("k", torch.empty(2, 3, 4, device=there), 1, False, None, None)
        layer.carry("s", (torch.empty(2, 3, 4, device=there),))
        for _ in range(2):
            layer.prefetch()  # nothing is away
            layer.offload()
            layer.offload()
            assert {x.device.type for x in layer.tensors()} == {"cpu"}
            layer.prefetch()
            assert {x.device for x in layer.tensors()} == {there}


def test_what_was_real_stays_so_where_it_counts(model: Any) -> None:
    """A row that ended early: it is padded, and the padding was seen as tokens."""
    kept = cache_of(model)
    mask = rows(torch.ones_like(IDS), 2)
    mask[1, 4:6] = 0
    more = IDS[:, :2]
    with pytest.raises(
        ValueError, match="token 4 of sequence 1 as padding; it was rea"
    ):
        model(more, attention_mask=mask, past_key_values=kept)
    kept = cache_of(model, mask=LEFT)
    every = torch.ones_like(mask)
    with pytest.raises(
        ValueError, match="token 0 of sequence 0 as real; it was paddin"
    ):
        model(more, attention_mask=every, past_key_values=kept)


@pytest.mark.parametrize("layers", ["sdpa; turned", "sdpa; alibi_keys"])
def test_what_was_real_may_change_where_all_is_kept(layers: str) -> None:
    model = decoder(layers)
    mask = rows(torch.ones_like(IDS), 2)
    mask[1, 4:6] = 0
    ids = torch.cat((IDS, IDS[:, :2]), 1)
    with torch.no_grad():
        wanted = model(ids, attention_mask=mask).logits[:, 6:]
        kept = cache_of(model)
        found = model(ids[:, 6:], attention_mask=mask, past_key_values=kept).logits
    close(found, wanted)


def test_generating_while_training_computes_nothing_twice(model: Any) -> None:
    trained = copy.deepcopy(model).train()
    trained.activation_checkpointing_enable()
    found = generate(trained, return_dict_in_generate=True)
    assert torch.equal(found.sequences, generate(model))
    assert found.past_key_values.get_seq_length() == 6 + NEW - 1
    trained(IDS, labels=IDS).loss.backward()


def test_no_sequence_is_as_many_as_any(model: Any) -> None:
    with torch.no_grad():
        found = model(IDS[:0], attention_mask=LEFT[:0])
    assert found.logits.shape == (0, 6, 50)


# The options that the document names


def options(heading: str) -> list[str]:
    """Those in the rows of the document's table whose second column begins so."""
    _, _, section = PAGE.read_text(encoding="utf-8").partition(
        "## What `generate` does"
    )
    found = re.findall(r"^\| (`.+) \| (.+) \|$", section, re.MULTILINE)
    assert found
    return [
        option
        for names, told in found
        if told.startswith(heading)
        for option in re.findall(r"`([^`]+)`", names)
    ]


def called(option: str, **values: Any) -> dict[str, Any]:
    """The arguments that the document writes."""
    given: dict[str, Any] = eval(f"dict({option})", values)
    return given


@pytest.mark.parametrize("option", options("the same tokens"))
def test_options_that_a_cache_changes_nothing_of(model: Any, option: str) -> None:
    given = called(option)
    found = generate(model, **given)
    for name in ("prefill_chunk_size", "cache_implementation"):
        given.pop(name, None)
    assert torch.equal(found, generate(model, use_cache=False, **given))


@pytest.mark.parametrize("option", options("one sequence"))
def test_options_that_take_tokens_back(model: Any, option: str) -> None:
    given = called(option, other=decoder("sdpa"))
    if model.model.sums:
        with pytest.raises(ValueError, match="assisted generation is not supported"):
            generate(model, IDS[:1], None, **given)
        return
    found = generate(model, IDS[:1], None, **given)
    assert torch.equal(found, generate(model, IDS[:1], None))
    with pytest.raises(ValueError, match="only supported for batch_size = 1"):
        generate(model, **given)


REFUSED = options("refused")


@pytest.mark.parametrize("option", REFUSED)
def test_options_that_are_refused_in_a_sentence(option: str) -> None:
    model = decoder("sdpa")
    static = StaticCache(config=model.config, max_cache_len=20)
    given = called(option, static=static)
    wanted = "is not supported|must be an AzcCache"
    if "cache_implementation" in option and "paged" not in option:
        wanted = f"cache_implementation must be one of {', '.join(CACHES)}; got "
    with pytest.raises(ValueError, match=wanted):
        generate(model, **given)


def test_every_cache_is_served_or_refused() -> None:
    served = [x for x in options("the same tokens") if "cache_implementation" in x]
    assert {called(x)["cache_implementation"] for x in served} == set(CACHES)
    known = set(ALL_CACHE_IMPLEMENTATIONS) - set(CACHES)
    for name in known:  # those that transformers has forgotten, too
        with pytest.raises(ValueError, match="must be one of dynamic, hyb"):
            generate(decoder("sdpa"), cache_implementation=name)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"input_ids": IDS[:, :0]},
            r"a sequence needs at least one token; input_ids is \[3, 0\]",
        ),
        ({"input_ids": IDS[0]}, r"input_ids must be \[B, N\]; got \[6\]"),
        ({"input_ids": [[3, 4]]}, r"input_ids must be a tensor \[B, N\]; got a list"),
        ({"input_ids": "abc"}, r"input_ids must be a tensor \[B, N\]; got a str"),
        ({"inputs_embeds": IDS}, r"inputs_embeds must be \[B, N, 16\]; got \[3, 6\]"),
        (
            {"input_ids": IDS, "mask": LEFT[0]},
            r"attention_mask must be \[B, N\]; got \[6\]",
        ),
        (
            {"input_ids": IDS[:0]},
            r"a batch needs at least one prompt; input_ids is \[0, 6\]",
        ),
        (
            {"inputs_embeds": torch.zeros(2, 4, 16), "prefill_chunk_size": 2},
            "prefill_chunk_size is not supported for inputs_embeds",
        ),
    ],
)
def test_prompts_that_there_are_not(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate(decoder("sdpa"), None, **{"mask": None, **given})


def test_caches_that_a_prompt_does_not_go_on_from(model: Any) -> None:
    for ids, said in ((IDS, "6 tokens and the prompt 6"), (IDS[:, 4:], "prompt 2: ")):
        with pytest.raises(ValueError, match=said):
            generate(model, ids, None, past_key_values=cache_of(model))
    ids = IDS.repeat(1, 2)
    with pytest.raises(ValueError, match="can't be used with use_cache = false"):
        generate(model, ids, None, past_key_values=cache_of(model), use_cache=False)
    if not model.model.sums:
        with pytest.raises(
            ValueError, match="assisted generation needs an empty cache"
        ):
            generate(
                model,
                ids[:1],
                None,
                past_key_values=cache_of(model, IDS[:1]),
                prompt_lookup_num_tokens=3,
            )
    with pytest.raises(ValueError, match="has 3 sequences; got 6 more"):
        generate(model, ids, None, past_key_values=cache_of(model), num_beams=2)
    with pytest.raises(ValueError, match="continuous batching"):
        model.generate_batch([[3, 4]])


# GPT-2's program beside transformers' GPT-2


@cache
def pair() -> tuple[Any, Any]:
    theirs = KINDS["gpt2"].theirs()
    return theirs, load_weights(KINDS["gpt2"].build(), theirs)


LONG = torch.randint(2, VOCAB, (1, 5), generator=torch.Generator().manual_seed(3))
SAME: list[dict[str, Any]] = [
    {"guidance_scale": 1.5},
    {"no_repeat_ngram_size": 2, "bad_words_ids": [[5, 6], [7]]},
    {
        "min_new_tokens": 8,
        "eos_token_id": 34,
        "exponential_decay_length_penalty": (2, 2),
    },
    {"do_sample": True, "typical_p": 0.9, "min_p": 0.01, "temperature": 0.7},
    {"num_beams": 4, "num_return_sequences": 3, "early_stopping": "never"},
    {"prompt_lookup_num_tokens": 4},
    {"prefill_chunk_size": 3},
    {"output_hidden_states": True},
]


@pytest.mark.parametrize("given", SAME, ids=lambda given: next(iter(given)))
def test_gpt_2_is_transformers_gpt_2(given: dict[str, Any]) -> None:
    told = {
        "return_dict_in_generate": True,
        "output_logits": True,
        "max_new_tokens": 12,
    }
    base = {"pad_token_id": PAD, "eos_token_id": None, **told, **given}
    outputs = []
    for each in pair():
        torch.manual_seed(0)
        outputs.append(each.generate(LONG.repeat(1, 3), **base))
    wanted, found = outputs
    assert torch.equal(found.sequences, wanted.sequences)
    for one, two in zip(found.logits, wanted.logits, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-5)
    past = found.past_key_values, wanted.past_key_values
    assert past[0].get_seq_length() == past[1].get_seq_length()
    if "output_hidden_states" in given:
        for one, two in zip(found.hidden_states, wanted.hidden_states, strict=True):
            for ours, theirs in zip(one, two, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
