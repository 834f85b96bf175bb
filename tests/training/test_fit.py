"""The fit: it learns, repeats to the bit, and says where it failed."""

from __future__ import annotations

import json
import math
import pickle
from pydoc_data.topics import topics

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, PreTrainedModel

from azc.data.corpus import Corpus
from azc.data.mlm import IGNORED, MaskedLMData
from azc.data.tokenizer import load_tokenizer
from azc.diagnostics import AzcError, UsageError
from azc.training.compare import Alone, Comparison, compare_alone
from azc.training.fit import FitOptions, TrainingFailed, evaluate, fit

OPTIONS = FitOptions(steps=30, batch_size=8, learning_rate=3e-3)
CORPUS = Corpus("topics", tuple(topics[name] for name in sorted(topics)), "topics")


@pytest.fixture(scope="module")
def data() -> MaskedLMData:
    return MaskedLMData(CORPUS, load_tokenizer(CORPUS, vocab_size=300), length=16)


def build(seed: int, layers: int = 1) -> BertForMaskedLM:
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=300,
        hidden_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
    )
    return BertForMaskedLM(config)


def weights(model: PreTrainedModel) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in model.state_dict().values()]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_fit_lowers_the_held_out_loss(data: MaskedLMData) -> None:
    model = build(0)
    before = evaluate(model, data, device="cpu")
    result = fit(model, data, OPTIONS, device="cpu")
    assert before == pytest.approx(math.log(300), abs=0.1)
    assert evaluate(model, data, device="cpu") < before - 0.1
    assert result.steps == result.curve[-1][0] == 30
    assert result.curve[-1][1] < result.curve[0][1]
    assert 0 < result.tokens <= 30 * 8 * 16
    assert not model.training


def test_a_fit_repeats_to_the_bit_with_dropout(data: MaskedLMData) -> None:
    models = [build(0), build(0), build(0)]
    fit(models[0], data, OPTIONS, device="cpu")
    torch.manual_seed(123)  # the caller's randomness plays no part
    fit(models[1], data, OPTIONS, device="cpu")
    fit(models[2], data, FitOptions(steps=30, batch_size=8, seed=1), device="cpu")
    assert same(weights(models[0]), weights(models[1]))
    assert not same(weights(models[0]), weights(models[2]))


def test_the_callers_randomness_is_left_alone(data: MaskedLMData) -> None:
    model = build(0)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit(model, data, FitOptions(steps=2, batch_size=4), device="cpu")
    assert torch.equal(torch.rand(3), expected)


def test_each_step_is_told(data: MaskedLMData) -> None:
    seen: list[tuple[int, float]] = []
    result = fit(
        build(0),
        data,
        FitOptions(steps=3, batch_size=4),
        on_step=lambda step, loss: seen.append((step, loss)),
        device="cpu",
    )
    assert [step for step, _ in seen] == [1, 2, 3]
    assert tuple(seen) == result.curve


def test_evaluation_is_the_mean_over_masked_tokens(data: MaskedLMData) -> None:
    model = build(1).eval()
    total, count = 0.0, 0
    for batch in data.held_out("test", 5, blocks=13):
        with torch.no_grad():
            ids, real = batch.input_ids, batch.attention_mask
            logits = model(input_ids=ids, attention_mask=real).logits
        asked = batch.labels != IGNORED
        losses = torch.nn.functional.cross_entropy(
            logits[asked], batch.labels[asked], reduction="sum"
        )
        total += float(losses)
        count += int(asked.sum())
    model.train()
    for size in (3, 64):
        found = evaluate(model, data, "test", blocks=13, batch_size=size, device="cpu")
        assert found == pytest.approx(total / count, rel=1e-5)
    assert model.training


def test_a_loss_that_is_no_number_stops_before_the_weights(data: MaskedLMData) -> None:
    model = build(0)
    forward, calls = model.forward, []
    kept: list[list[torch.Tensor]] = []

    def failing(**inputs: torch.Tensor) -> object:
        output = forward(**inputs)
        calls.append(1)
        if len(calls) == 3:
            kept.append(weights(model))
            output.loss = output.loss * float("nan")
        return output

    model.forward = failing
    with pytest.raises(TrainingFailed) as caught:
        fit(model, data, OPTIONS, device="cpu")
    assert (caught.value.code, caught.value.step) == ("T001", 3)
    assert "step 3" in caught.value.message
    assert same(kept[0], weights(model))


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("full")])
def test_memory_that_runs_out_is_told(data: MaskedLMData, error: Exception) -> None:
    model = build(0)

    def full(**inputs: torch.Tensor) -> object:
        raise error

    model.forward = full
    with pytest.raises(TrainingFailed) as caught:
        fit(model, data, OPTIONS, device="cpu")
    assert (caught.value.code, caught.value.step) == ("T002", 1)
    with pytest.raises(TrainingFailed) as caught:
        evaluate(model, data, device="cpu")
    assert caught.value.code == "T002"


def test_another_error_is_not_swallowed(data: MaskedLMData) -> None:
    model = build(0)

    def broken(**inputs: torch.Tensor) -> object:
        raise RuntimeError("a bug")

    model.forward = broken
    with pytest.raises(RuntimeError, match="a bug"):
        fit(model, data, OPTIONS, device="cpu")


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0},
        {"batch_size": 0},
        {"learning_rate": math.nan},
        {"warmup": 1.5},
        {"clip": -1.0},
        {"schedule": "linaer"},
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError) as caught:
        FitOptions(**options)
    assert caught.value.code == "T003"
    assert next(iter(options)) in caught.value.message


def test_a_comparison_is_of_fits_alone(data: MaskedLMData) -> None:
    options = FitOptions(steps=5, batch_size=4)
    builders = {"one": build, "two": lambda seed: build(seed, layers=2)}
    found = compare_alone(builders, data, options, [0, 1], device="cpu")
    model = build(1)
    fit(model, data, FitOptions(steps=5, batch_size=4, seed=1), device="cpu")
    assert found["one"].losses[1] == evaluate(model, data, "test", device="cpu")
    assert len(set(found["one"].losses + found["two"].losses)) == 4
    assert pickle.loads(pickle.dumps(found)) == found
    assert json.loads(json.dumps(found.as_json()))["results"]["two"]["losses"]


def test_better_is_by_more_than_the_seeds_differ() -> None:
    def comparison(*losses: float) -> Comparison:
        start, winner = Alone("a", (5.0, 5.1), 1.0), Alone("b", losses, 1.0)
        return Comparison((0, 1), OPTIONS, (start, winner))

    assert comparison(4.9, 4.92).is_better("b", "a")
    assert not comparison(4.98, 5.0).is_better("b", "a")
    assert not comparison(4.5, 4.99).is_better("b", "a")
    assert comparison(4.9, 4.92).gain("b", "a") == pytest.approx(0.14)
    assert comparison(4.9, 4.92)["a"].spread == pytest.approx(0.1)


def test_a_comparison_needs_seeds(data: MaskedLMData) -> None:
    for seeds in ([], [1, 1]):
        with pytest.raises(AzcError) as caught:
            compare_alone({"one": build}, data, OPTIONS, seeds)
        assert caught.value.code == "T003"
