"""Models of the standard library are transformers' own, with the same weights: hidden
states, logits, gradients, and what is generated.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from azc.model.config import spec_of
from azc.model.converters import ARCHITECTURES, convert
from azc.model.tasks import build_model
from azc.model.weights import load_weights
from tests.model.kinds import DECODERS, KINDS, LAYERS, PAD, VOCAB, library
from tests.model.models import masks

each_kind = pytest.mark.parametrize("kind", KINDS)
each_decoder = pytest.mark.parametrize("kind", DECODERS)


@cache
def pair(kind: str, attention: str = "auto") -> tuple[Any, Any]:
    """Transformers' model and ours with its weights; nobody changes them."""
    theirs, ours = KINDS[kind].theirs(), KINDS[kind].build()
    ours.set_attn_implementation(attention)
    return theirs, load_weights(ours, theirs)


def batch(layout: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids, and where tokens are real; the rest has the id of padding."""
    mask = masks([17, 5, 11], 17, layout)
    ids = torch.randint(
        2, VOCAB, mask.shape, generator=torch.Generator().manual_seed(3)
    )
    return ids.masked_fill(~mask, PAD), mask


@each_kind
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("layout", ["right", "left"])
def test_hidden_states_and_logits(kind: str, attention: str, layout: str) -> None:
    theirs, ours = pair(kind, attention)
    ids, mask = batch(layout)
    with torch.no_grad():
        wanted = theirs(ids, output_hidden_states=True, **KINDS[kind].places(mask))
        found = ours(ids, attention_mask=mask, output_hidden_states=True)
    assert len(found.hidden_states) == len(wanted.hidden_states) == LAYERS + 1
    for one, other in zip(found.hidden_states, wanted.hidden_states, strict=True):
        torch.testing.assert_close(one[mask], other[mask], rtol=0, atol=1e-5)
    torch.testing.assert_close(
        found.logits[mask], wanted.logits[mask], rtol=0, atol=1e-5
    )


@each_kind
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_gradients(kind: str, attention: str) -> None:
    """Those of our parameters, taken back through the conversion, are theirs."""
    theirs, ours = pair(kind, attention)
    ids, mask = batch("right")
    labels = ids.masked_fill(~mask, -100)
    for model in (theirs, ours):
        model.zero_grad()
    wanted = theirs(ids, labels=labels, **KINDS[kind].places(mask)).loss
    found = ours(ids, attention_mask=mask, labels=labels).loss
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=0)
    wanted.backward()
    found.backward()
    own = dict(ours.named_parameters(remove_duplicate=False))
    parameters = dict(theirs.named_parameters(remove_duplicate=False))
    made = convert(
        ARCHITECTURES[kind], parameters, theirs.config, spec_of(ours.config), own
    )
    flows = {}
    for name, tensor in made.items():
        target = own.get(name, own.get(f"model.{name}"))
        if target is not None and target.grad is not None:
            flows.setdefault(id(target), (tensor, target.grad))
    outputs, gradients = zip(*flows.values(), strict=True)
    given = {n: p for n, p in theirs.named_parameters() if p.grad is not None}
    back = torch.autograd.grad(
        outputs, tuple(given.values()), gradients, allow_unused=True
    )
    largest = max(float(p.grad.abs().max()) for p in given.values())
    for (name, parameter), gradient in zip(given.items(), back, strict=True):
        assert gradient is not None, name
        error = float((gradient - parameter.grad).abs().max())
        own_largest = float(parameter.grad.abs().max())
        assert error <= max(1e-4 * own_largest, 1e-6 * largest), name


# Generation


def generate(model: Any, mask: torch.Tensor, **options: Any) -> torch.Tensor:
    """What a model makes of ragged prompts, padded on the left."""
    generator = torch.Generator().manual_seed(4)
    ids = torch.randint(2, VOCAB, mask.shape, generator=generator)
    ids = ids.masked_fill(~mask, PAD)
    torch.manual_seed(5)
    made: torch.Tensor = model.generate(
        ids, attention_mask=mask.long(), pad_token_id=PAD, **options
    )
    return made[:, mask.shape[1] :]


@each_decoder
def test_greedy_generation(kind: str) -> None:
    prompts = masks([9, 2, 6], 9, "left")
    theirs, ours = pair(kind)
    options = {"max_new_tokens": 64, "do_sample": False, "eos_token_id": None}
    wanted = generate(theirs, prompts, **options)
    assert wanted.shape == (3, 64)
    assert len({tuple(row) for row in wanted.tolist()}) == 3
    assert min(len(set(row)) for row in wanted.tolist()) > 4
    for use_cache in (True, False):
        found = generate(ours, prompts, use_cache=use_cache, **options)
        assert torch.equal(found, wanted), use_cache


BEAMS = {"num_beams": 4, "length_penalty": 0.7, "early_stopping": True}
GENERATIONS: list[tuple[str, dict[str, Any]]] = [
    ("gpt2", BEAMS),
    ("gpt2", {"num_beams": 4, "num_return_sequences": 3}),
    ("gpt2", {"do_sample": True, "temperature": 0.8, "top_k": 20, "top_p": 0.95}),
    *((kind, {"do_sample": True, "num_beams": 3}) for kind in DECODERS),
]


@pytest.mark.parametrize(("kind", "options"), GENERATIONS)
def test_beams_and_samples(kind: str, options: dict[str, Any]) -> None:
    theirs, ours = pair(kind)
    prompts = masks([9, 2, 6], 9, "left")
    options = {"do_sample": False, "max_new_tokens": 24, "eos_token_id": 7, **options}
    wanted = generate(theirs, prompts, **options)
    assert torch.equal(generate(ours, prompts, **options), wanted)


# True sizes


@each_kind
def test_the_library_s_model_has_the_true_sizes(kind: str) -> None:
    """Parameters are as many as transformers', each of the shape that ours has."""
    made = KINDS[kind]
    config = getattr(transformers, f"{made.title}Config")(**made.true)
    with torch.device("meta"):
        theirs: Any = getattr(transformers, f"{made.title}{made.head}")(config)
        ours: Any = build_model(library(), made.ours)
    own = dict(ours.named_parameters(remove_duplicate=False))
    weights = dict(theirs.state_dict())
    found = convert(ARCHITECTURES[kind], weights, config, spec_of(ours.config), own)
    shapes = {
        name if name in own else f"model.{name}": tensor.shape
        for name, tensor in found.items()
    }
    assert shapes == {name: parameter.shape for name, parameter in own.items()}
    for model in (ours, theirs):
        model.tie_weights()
    spare = {
        "roberta": 2 * 768,  # positions that no token has
        "bloom": 2 * 1024 - 250880 * 1024,  # two norms; the output matrix is the table
    }
    assert theirs.num_parameters() - spare.get(kind, 0) == ours.num_parameters()
    assert (
        ours.num_parameters()
        == {
            "bert": 109_514_298,
            "distilbert": 66_985_530,
            "roberta": 124_695_897,
            "gpt2": 124_439_808,
            "bloom": 816_113_664,
            "gpt_neox": 2_775_864_320,
        }[kind]
    )


@each_decoder
def test_texts_end_and_are_padded_with_the_tokens_of_the_source(
    kind: str, tmp_path: Path
) -> None:
    """Nothing but the weights' own configuration says which."""
    prompts = masks([9, 2, 6], 9, "left")
    ids = torch.randint(2, VOCAB, prompts.shape).masked_fill(~prompts, PAD)
    call = {"attention_mask": prompts.long(), "max_new_tokens": 24, "do_sample": False}
    free = pair(kind)[0].generate(ids, eos_token_id=None, pad_token_id=PAD, **call)
    end = int(free[0, 12])  # so that one ends early
    theirs = KINDS[kind].theirs(eos_token_id=end, bos_token_id=5, pad_token_id=None)
    theirs.save_pretrained(tmp_path)
    wanted = theirs.generate(ids, **call)
    for source in (theirs, tmp_path):
        ours = load_weights(KINDS[kind].build(), source)
        assert torch.equal(ours.generate(ids, **call), wanted)
    assert (wanted[:, 9:] == end).sum() > 1
    # Where the weights' folder says more than their configuration, that holds.
    theirs.generation_config.eos_token_id = [end, 7]
    theirs.generation_config.save_pretrained(tmp_path)
    ours = load_weights(KINDS[kind].build(), tmp_path)
    assert ours.generation_config.eos_token_id == [end, 7]
    assert ours.generation_config.pad_token_id == end
    state = load_weights(KINDS[kind].build(), theirs.state_dict(), theirs.config)
    assert state.generation_config.eos_token_id == end
