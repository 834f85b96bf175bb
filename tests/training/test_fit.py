"""The fit: it learns, repeats to the bit, and says where it failed."""

from __future__ import annotations

import gc
import math
import os
import random
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState, PartialState
from transformers import (
    BertConfig,
    BertForMaskedLM,
    PreTrainedModel,
    get_scheduler,
    logging,
)

from azc.data.contract import IGNORED
from azc.data.corpus import Corpus
from azc.data.mixed import MixedData
from azc.data.mlm import MaskedLMData
from azc.data.tasks import Symbols, TaskData, find_task
from azc.data.tokenizer import load_tokenizer
from azc.data.tokens import encode
from azc.diagnostics import UsageError
from azc.training.fit import FitOptions, TrainingFailed, evaluate, fit, measure

OPTIONS = FitOptions(steps=30, batch_size=8, learning_rate=3e-3)
CORPUS = Corpus.of("topics", tuple(topics[name] for name in sorted(topics)))


@pytest.fixture(scope="module")
def data() -> MaskedLMData:
    tokenizer = load_tokenizer(CORPUS, vocab_size=300)
    return MaskedLMData(encode(CORPUS, tokenizer), tokenizer, length=16)


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
    losses: list[float] = []
    fit(model, data, OPTIONS, on_step=lambda _, loss: losses.append(loss), device="cpu")
    assert before == pytest.approx(math.log(300), abs=0.1)
    assert evaluate(model, data, device="cpu") < before - 0.1
    assert len(losses) == 30
    assert sum(losses[-3:]) < sum(losses[:3])
    assert not model.training


def test_a_fit_repeats_to_the_bit_with_dropout(data: MaskedLMData) -> None:
    models = [build(0), build(0), build(0)]
    fit(models[0], data, OPTIONS, device="cpu")
    torch.manual_seed(123)  # the caller's randomness plays no part
    fit(models[1], data, OPTIONS, device="cpu")
    fit(models[2], data, FitOptions(steps=30, batch_size=8, seed=1), device="cpu")
    assert same(weights(models[0]), weights(models[1]))
    assert not same(weights(models[0]), weights(models[2]))


@pytest.mark.parametrize(
    "options",
    [
        OPTIONS,
        FitOptions(steps=7, batch_size=4, clip=0, warmup=0, schedule="constant"),
        FitOptions(
            steps=9,
            batch_size=5,
            clip=0.1,
            weight_decay=0.5,
            schedule="cosine",
            seed=2**40,
        ),
        FitOptions(steps=9, batch_size=8, learning_rate=3e-3, schedule_steps=40),
    ],
)
def test_a_fit_is_what_a_plain_loop_does(
    data: MaskedLMData, options: FitOptions
) -> None:
    model, other = build(0), build(0).train()
    found: list[float] = []
    fit(model, data, options, on_step=lambda _, loss: found.append(loss), device="cpu")

    matrices = [p for p in other.parameters() if p.ndim > 1]
    rest = [p for p in other.parameters() if p.ndim == 1]
    groups = [{"params": matrices}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(
        groups, lr=options.learning_rate, weight_decay=options.weight_decay
    )
    whole = options.schedule_steps or options.steps
    warmup = round(options.warmup * whole)
    schedule = get_scheduler(options.schedule, optimizer, warmup, whole)
    batches, losses = data.batches(options.batch_size, seed=options.seed), []
    torch.manual_seed(options.seed)  # dropout
    for _ in range(options.steps):
        batch = next(batches)
        ids, real = batch.input_ids, batch.attention_mask
        loss = other(input_ids=ids, attention_mask=real, labels=batch.labels).loss
        optimizer.zero_grad()
        loss.backward()
        norm = options.clip or math.inf
        torch.nn.utils.clip_grad_norm_(other.parameters(), norm)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())

    for one, two in zip(weights(model), weights(other), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-6)
    assert found == pytest.approx(losses, abs=1e-5)


def state_of_the_process() -> dict[str, object]:
    return {
        "python": random.getstate(),
        "numpy": str(np.random.get_state()),
        "torch": torch.get_rng_state().tolist(),
        "verbosity": logging.get_verbosity(),
        "environment": dict(os.environ),
        "partial": dict(PartialState._shared_state),
        "accelerator": dict(AcceleratorState._shared_state),
    }


@pytest.mark.parametrize("fails", [False, True])
def test_the_process_is_left_as_it_was(data: MaskedLMData, fails: bool) -> None:
    model = build(0).eval()
    model.config.use_cache = True
    if fails:
        model.cls.predictions.bias.data.fill_(math.nan)
    random.seed(123)
    np.random.seed(123)
    torch.manual_seed(123)
    AcceleratorState._reset_state(reset_partial_state=True)
    before = state_of_the_process()
    settings, marks = dict(vars(model.config)), set(vars(model))
    options = FitOptions(steps=2, batch_size=4)
    if fails:
        with pytest.raises(TrainingFailed):
            fit(model, data, options, device="cpu")
    else:
        fit(model, data, options, device="cpu")
    assert state_of_the_process() == before
    assert vars(model.config) == settings
    assert set(vars(model)) == marks


def test_a_fit_keeps_nothing_alive(data: MaskedLMData) -> None:
    options = FitOptions(steps=2, batch_size=4)
    fit(build(0), data, options, device="cpu")
    gc.collect()
    gc.disable()  # a collection comes too late where models are large
    try:
        model = build(0)
        alive = weakref.ref(model)
        fit(model, data, options, on_step=lambda step, loss: None, device="cpu")
        del model
        assert alive() is None
    finally:
        gc.enable()


SILENT = """
import threading
from pydoc_data.topics import topics
from transformers import BertConfig, BertForMaskedLM
from azc.data.corpus import Corpus
from azc.data.mlm import MaskedLMData
from azc.data.tokenizer import load_tokenizer
from azc.data.tokens import encode
from azc.training.fit import FitOptions, evaluate, fit

corpus = Corpus.of("topics", tuple(topics[name] for name in sorted(topics)))
tokenizer = load_tokenizer(corpus, vocab_size=300)
data = MaskedLMData(encode(corpus, tokenizer), tokenizer, length=16)
config = BertConfig(vocab_size=300, hidden_size=8, num_hidden_layers=1,
                    num_attention_heads=1, intermediate_size=8)
model = BertForMaskedLM(config)
for seed in range(2):
    fit(model, data, FitOptions(steps=2, batch_size=2, seed=seed), device="cpu")
evaluate(model, data, blocks=3, device="cpu")
assert threading.active_count() == 1
"""


def test_a_fit_prints_nothing_and_leaves_no_file(tmp_path: Path, root: Path) -> None:
    for name in ("work", "temporary", "cache"):
        (tmp_path / name).mkdir()
    found = subprocess.run(
        [sys.executable, "-W", "default", "-c", SILENT],
        cwd=tmp_path / "work",
        env={
            **os.environ,
            "PYTHONPATH": str(root),
            "TMPDIR": str(tmp_path / "temporary"),
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
        },
        capture_output=True,
        text=True,
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
    assert list((tmp_path / "work").iterdir()) == []
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_model_is_asked_for_no_more_than_is_used(data: MaskedLMData) -> None:
    model = build(0)
    forward = model.forward
    seen: list[set[str]] = []

    def frugal(*, targets_only: bool = False, **inputs: Any) -> Any:
        assert targets_only
        seen.append(set(inputs))
        return forward(**inputs)

    model.forward = frugal
    fit(model, data, replace(OPTIONS, steps=3), device="cpu")
    evaluate(model, data, blocks=1, device="cpu")
    # There is no padding in these, so there is no mask.
    assert seen == [{"input_ids", "labels"}] * 4


def test_each_step_is_told(data: MaskedLMData) -> None:
    seen: list[tuple[int, float]] = []
    fit(
        build(0),
        data,
        FitOptions(steps=3, batch_size=4),
        on_step=lambda step, loss: seen.append((step, loss)),
        device="cpu",
    )
    assert [step for step, _ in seen] == [1, 2, 3]
    assert seen[0][1] == pytest.approx(math.log(300), abs=0.2)


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


def test_parts_of_a_mix_weigh_the_same(data: MaskedLMData) -> None:
    """However many answers they ask for; and what is right is counted for each."""
    symbols = Symbols(first=200)
    task = TaskData(find_task("induction"), length=16, symbols=symbols)
    mix, model = MixedData([data, task]), build(1).eval()
    fit(model, mix, replace(OPTIONS, steps=6), device="cpu")
    found = measure(model, mix, "test", blocks=7, device="cpu")
    alone = [measure(model, part, "test", blocks=7, device="cpu") for part in mix.parts]
    assert found.loss == pytest.approx((alone[0].loss + alone[1].loss) / 2, rel=1e-6)
    assert found.right == alone[0].right | alone[1].right
    for part, name in zip(mix.parts, ("text", "task:induction"), strict=True):
        right, count = 0, 0
        for batch in part.held_out("test", 7, blocks=7):
            ids, real = batch.input_ids, batch.attention_mask
            with torch.no_grad():
                best = model(input_ids=ids, attention_mask=real).logits.argmax(-1)
            right += int(((best == batch.labels) & (batch.labels != IGNORED)).sum())
            count += batch.asked
        assert found.right[name] == pytest.approx(right / count)


def test_what_is_right_is_the_same_where_the_head_is_computed_for_targets_alone(
    data: MaskedLMData,
) -> None:
    model = build(2).eval()
    forward = model.forward
    whole = measure(model, data, "test", blocks=7, device="cpu")

    def frugal(*, targets_only: bool = False, **inputs: Any) -> Any:
        output = forward(**inputs)
        output.logits = output.logits[inputs["labels"] != IGNORED]
        return output

    model.forward = frugal
    assert measure(model, data, "test", blocks=7, device="cpu") == whole


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
        {"schedule_steps": 1},
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
