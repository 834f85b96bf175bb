"""transformers' Trainer: fit, measure, predict and come back to the best, for every task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Trainer, TrainingArguments
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
