"""transformers' Trainer: fit, measure, predict and come back to the best, for every task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import DataCollatorWithFlattening, Trainer, TrainingArguments
from transformers.trainer_pt_utils import LabelSmoother
from transformers.utils.generic import find_labels

from azc.model.modeling import AzcModel
from azc.model.tasks import (
    AzcForCausalLM,
    AzcForMaskedLM,
    AzcForSequenceClassification,
)
from tests.model.models import build

LAYERS = "sdpa; conv(kernel = 3)"
PROBLEMS: dict[str, Any] = {
    "masked-lm": lambda ids: ids.masked_fill(torch.arange(9) % 3 > 0, -100),
    "single_label_classification": lambda ids: ids[:, 0] % 3,
    "multi_label_classification": lambda ids: (ids[:, :3] > 25).float(),
    "regression": lambda ids: ids[:, :3] / 50,
}


def rows(problem: str) -> list[dict[str, torch.Tensor]]:
    """Sequences of 9 tokens, some padded on the right, with labels."""
    ids = torch.randint(0, 50, (8, 9), generator=torch.Generator().manual_seed(5))
    mask = torch.arange(9) < torch.tensor([9, 4, 9, 7, 9, 5, 9, 9])[:, None]
    batch = {"input_ids": ids, "attention_mask": mask.long()}
    if problem in PROBLEMS:
        batch["labels"] = PROBLEMS[problem](ids)
    return [{name: x[i] for name, x in batch.items()} for i in range(len(ids))]


def trainer(model: Any, problem: str, folder: Path) -> Trainer:
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=3,
        per_device_train_batch_size=4,
        per_device_eval_batch_size=3,
        learning_rate=0.05,
        lr_scheduler_type="constant",
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        logging_strategy="no",
        seed=1,
    )
    data: Any = rows(problem)
    return Trainer(model, arguments, train_dataset=data, eval_dataset=data)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_train_evaluate_predict_and_load_the_best(problem: str, tmp_path: Path) -> None:
    task: Any = "masked-lm" if problem == "masked-lm" else "sequence-classification"
    model = build(LAYERS, task=task)
    if task != "masked-lm":
        model.config.problem_type = problem
    run = trainer(model, problem, tmp_path)
    before = run.evaluate()["eval_loss"]
    run.train()
    losses = [
        entry["eval_loss"]
        for entry in run.state.log_history
        if "epoch" in entry and "eval_loss" in entry and entry["epoch"] >= 1
    ]
    assert len(losses) == 3
    assert min(losses) < before
    assert run.state.best_metric == pytest.approx(min(losses))
    # The weights of the best epoch are in the model now.
    assert run.evaluate()["eval_loss"] == pytest.approx(min(losses))
    found = run.predict(rows(problem))  # type: ignore[arg-type]
    assert found.metrics is not None
    assert found.metrics["test_loss"] == pytest.approx(min(losses))
    batch = {
        n: torch.stack([row[n] for row in rows(problem)]) for n in rows(problem)[0]
    }
    with torch.no_grad():
        wanted = model(**batch).logits
    assert isinstance(found.predictions, np.ndarray)
    real = batch["attention_mask"].bool().numpy() if task == "masked-lm" else ...
    np.testing.assert_allclose(
        found.predictions[real], wanted.numpy()[real], rtol=1e-4, atol=1e-5
    )
    assert np.array_equal(np.asarray(found.label_ids), batch["labels"].numpy())


def test_predictions_of_the_base_model(tmp_path: Path) -> None:
    model = build(LAYERS, task="base")
    found = trainer(model, "none", tmp_path).predict(rows("none"))  # type: ignore[arg-type]
    hidden, pooled = found.predictions
    assert hidden.shape == (8, 9, 16)
    assert pooled.shape == (8, 16)
    assert found.label_ids is None


def test_what_transformers_takes_for_labels() -> None:
    assert find_labels(AzcModel) == []
    assert find_labels(AzcForCausalLM) == ["labels"]
    assert find_labels(AzcForMaskedLM) == ["labels"]
    assert find_labels(AzcForSequenceClassification) == ["labels"]


# Accumulated batches


HEADS: dict[str, tuple[str, dict[str, Any]]] = {
    "masked-lm": ("masked-lm", {}),
    "single_label_classification": ("sequence-classification", {}),
    "multi_label_classification": ("sequence-classification", {}),
    "regression": ("sequence-classification", {}),
    "one number": ("sequence-classification", {"num_labels": 1}),
    "causal-lm": ("causal-lm", {"causal": True}),
    "documents in one row": ("causal-lm", {"causal": True}),
}


def ragged(problem: str) -> list[dict[str, Any]]:
    """Eight sequences, of which each has more labels than the one before, the first none."""
    if problem == "documents in one row":
        return [{"input_ids": list(range(1, 3 + i))} for i in range(8)]
    found = rows(problem)
    for i, row in enumerate(found):
        if problem in ("masked-lm", "causal-lm"):
            row["labels"] = row["input_ids"].clone()
            row["labels"][i:] = -100
        elif problem == "one number":
            row["labels"] = torch.tensor(i / 7)
        elif problem == "single_label_classification" and i % 3 == 0:
            row["labels"] = torch.tensor(-100)
    return found


def after_a_step(
    problem: str, batch: int, folder: Path, **more: Any
) -> tuple[float, torch.Tensor]:
    """The loss and the weights after one step of SGD on eight sequences, so many at a
    time.
    """
    task: Any
    task, settings = HEADS[problem]
    model = build(LAYERS, task=task, **settings)
    if task == "sequence-classification":
        model.config.problem_type = None if problem == "one number" else problem
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=1,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=8 // batch,
        learning_rate=0.1,
        lr_scheduler_type="constant",
        optim="sgd",
        max_grad_norm=0.0,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
        **more,
    )
    data: Any = ragged(problem)
    packed = problem == "documents in one row"
    collate = DataCollatorWithFlattening() if packed else None
    run = Trainer(model, arguments, train_dataset=data, data_collator=collate)
    loss = run.train().training_loss
    return loss, torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("problem", HEADS)
def test_accumulated_batches_are_one_batch(problem: str, tmp_path: Path) -> None:
    wanted, weights = after_a_step(problem, 8, tmp_path)
    for batch in (4, 1):
        loss, found = after_a_step(problem, batch, tmp_path)
        assert loss == pytest.approx(wanted, rel=1e-5)
        torch.testing.assert_close(found, weights, rtol=1e-5, atol=1e-6)
    # One batch is what the model says of it alone: a mean over its labels.
    if problem != "documents in one row":
        task: Any
        task, settings = HEADS[problem]
        model = build(LAYERS, task=task, **settings).requires_grad_(False)
        model.config.problem_type = None if problem not in PROBLEMS else problem
        data = ragged(problem)
        whole = {name: torch.stack([row[name] for row in data]) for name in data[0]}
        assert wanted == pytest.approx(float(model(**whole).loss), rel=1e-5)
        labelled = whole["labels"] != -100
        half = 2 * (labelled[:, 1:] if task == "causal-lm" else labelled).sum()
        for count in (half, int(half)):
            loss = float(model(**whole, num_items_in_batch=count).loss)
            assert loss == pytest.approx(wanted / 2, rel=1e-5)


def test_smoothed_labels_of_a_decoder_are_those_of_the_next_tokens(
    tmp_path: Path,
) -> None:
    model = build(LAYERS, task="causal-lm", causal=True)
    data = ragged("causal-lm")
    whole = {name: torch.stack([row[name] for row in data]) for name in data[0]}
    logits = {
        "logits": model(
            whole["input_ids"], attention_mask=whole["attention_mask"]
        ).logits
    }
    wanted = LabelSmoother(0.3)(logits, whole["labels"], shift_labels=True)
    for batch in (8, 1):
        loss, _ = after_a_step("causal-lm", batch, tmp_path, label_smoothing_factor=0.3)
        assert loss == pytest.approx(wanted.item(), rel=1e-5)
