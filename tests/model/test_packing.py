"""Documents in one row: each gives what it gives alone, in every random program, of decoders
and encoders, hidden states, losses and gradients, whatever the head.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from transformers import DataCollatorWithFlattening

from azc.model.tasks import Task
from tests.model.models import build
from tests.model.random_models import (
    EXAMPLES,
    VOCAB,
    Case,
    compare,
    counted,
    models,
    real_tokens,
)

Tensor = torch.Tensor
pytestmark = pytest.mark.usefixtures("short_chunks")


@dataclass
class Packed:
    """Rows of documents. `place` [B, N] tells a token's document, −1 in padding."""

    case: Case
    place: Tensor
    contiguous: bool

    @property
    def positions(self) -> Tensor:
        """Position ids that start again; anything in padding."""
        found = torch.full(self.place.shape, 3)
        for row, positions in zip(self.place, found, strict=True):
            for each in set(row.tolist()) - {-1}:
                there = row == each
                positions[there] = torch.arange(int(there.sum()))
        return found

    @property
    def told(self) -> dict[str, Tensor]:
        """How the model is told of documents: by number, or by positions."""
        if self.contiguous and self.case.number % 2:
            return {"position_ids": self.positions}
        # What stands in padding has no say.
        return {"document_ids": torch.where(self.place < 0, 1, self.place)}

    @property
    def documents(self) -> list[tuple[int, Tensor]]:
        """The row of each document, and where its tokens are, bool [N]."""
        found = []
        for b, row in enumerate(self.place):
            found += [(b, row == each) for each in sorted(set(row.tolist()) - {-1})]
        return found

    @property
    def classifies(self) -> bool:
        """Whether documents have labels, and not tokens."""
        return hasattr(self.case.model, "classifier")

    def output(self) -> Any:
        """That of the packed rows, with a loss."""
        # A decoder asks nothing of padding; an encoder what it is told to.
        labels = self.case.ids
        if not self.case.model.model.causal:
            labels = labels.masked_fill(self.place < 0, -100)
        if self.classifies:
            labels = torch.arange(len(self.documents)) % 3
        return self.case.model(
            self.case.ids,
            attention_mask=self.case.mask,
            labels=labels,
            output_hidden_states=True,
            **self.told,
        )

    def alone(self) -> Tensor:
        """The mean loss over all documents, each alone; their labels are weights."""
        case, total, count = self.case, torch.zeros((), dtype=torch.float64), 0
        for i, (b, there) in enumerate(self.documents):
            mine = case.ids[b : b + 1, there]
            labels, weight = mine, mine.shape[1]
            if self.classifies:
                labels, weight = torch.tensor([i % 3]), 1
            elif case.model.model.causal:
                weight -= 1
            if weight:
                total = total + case.model(mine, labels=labels).loss * weight
                count += weight
        return total / count


@st.composite
def packs(draw: st.DrawFn, task: Task) -> Packed:
    causal = {"causal-lm": True, "masked-lm": False}.get(task, draw(st.booleans()))
    text, model = draw(models(causal, task))
    tokens, batch = draw(st.integers(2, 9)), draw(st.integers(1, 2))
    contiguous = draw(st.integers(0, 3)) > 0
    place = []
    for _ in range(batch):
        row = draw(st.lists(st.integers(0, 3), min_size=tokens, max_size=tokens))
        place.append(sorted(row) if contiguous else row)
    places = torch.tensor(place)
    mask = torch.tensor([real_tokens(draw, tokens) for _ in range(batch)])
    number = draw(st.integers(0, 2**31))
    random = torch.Generator().manual_seed(number)
    ids = torch.randint(0, VOCAB, (batch, tokens), generator=random)
    case = Case(text, model, ids, mask, number)
    return Packed(case, torch.where(mask.bool(), places, -1), contiguous)


TASKS: tuple[Task, ...] = ("causal-lm", "masked-lm", "sequence-classification")


@pytest.mark.parametrize("task", TASKS)
def test_packed_documents_give_what_each_gives_alone(task: Task) -> None:
    def check(pack: Packed, count: Counter[str]) -> None:
        case = pack.case
        with torch.no_grad():
            output = pack.output()
        for i, (b, there) in enumerate(pack.documents):
            mine = case.ids[b : b + 1, there]

            def again(mine: Tensor = mine) -> Tensor:
                return case.run(mine)[0]

            def pooled(mine: Tensor = mine) -> Tensor:
                return case.output(mine).logits[0]

            found = output.hidden_states[-1][b, there]
            compare(case, found, again(), again, count)
            if pack.classifies:
                compare(case, output.logits[i], pooled(), pooled, count)
        with torch.no_grad():
            wanted = pack.alone()
        if bool(wanted.isfinite()):
            # The loss is of float32.
            torch.testing.assert_close(
                output.loss.double(), wanted.double(), rtol=1e-5, atol=1e-5
            )
            count["loss"] += 1

    count = counted(packs(task), check, EXAMPLES * 2 // 3)
    assert count["loss"] > EXAMPLES / 6


def gradients(model: Any, loss: Tensor) -> Tensor:
    """Those of all weights, in a row."""
    parameters = list(model.parameters())
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return torch.cat(
        [
            (torch.zeros_like(p) if g is None else g).flatten()
            for p, g in zip(parameters, found, strict=True)
        ]
    )


@pytest.mark.parametrize("task", TASKS)
def test_gradients_through_packed_rows_are_those_of_the_documents(task: Task) -> None:
    def check(pack: Packed, count: Counter[str]) -> None:
        case = pack.case
        wanted = gradients(case.model, pack.alone())
        output = pack.output()
        if not bool(wanted.isfinite().all()):
            count["not finite"] += 1
            return
        count["compared"] += 1
        found = gradients(case.model, output.loss)
        gap = float((found - wanted).abs().max() / max(1.0, float(wanted.abs().max())))
        if not gap < 1e-5:  # the loss is of float32

            def again() -> Tensor:
                return gradients(case.model, pack.alone())

            assert case.moved(again) > 1e-6
            count["forgiven"] += 1

    def follows(pack: Packed) -> bool:
        """Whether a document has a next token, and so a loss."""
        return any(int(there.sum()) > 1 for _, there in pack.documents)

    counted(packs(task).filter(follows), check, EXAMPLES // 3)


@pytest.mark.parametrize("causal", [True, False])
def test_what_transformers_flattens(causal: bool) -> None:
    collate = DataCollatorWithFlattening()

    @st.composite
    def flat(draw: st.DrawFn) -> tuple[Case, list[list[int]]]:
        text, model = draw(models(causal))
        row = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=5)
        rows = draw(st.lists(row, min_size=1, max_size=4))
        return Case(text, model, torch.tensor([[0]]), torch.tensor([[1]]), 0), rows

    def check(drawn: tuple[Case, list[list[int]]], count: Counter[str]) -> None:
        case, rows = drawn
        batch = dict(collate([{"input_ids": row} for row in rows]))
        output = case.output(batch.pop("input_ids"), **batch)
        start = 0
        for row in rows:
            mine = torch.tensor([row])

            def again(mine: Tensor = mine) -> Tensor:
                return case.run(mine)[0]

            found = output.hidden_states[-1][0, start : start + len(row)]
            compare(case, found, again(), again, count)
            start += len(row)

    counted(flat(), check, EXAMPLES // 2)


# What a row of documents has besides


ROW = torch.tensor([[4, 7, 9, 2, 5, 3]])
PLACES = torch.tensor([[0, 1, 2, 0, 1, 0]])


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("causal", [True, False])
def test_pooled_documents_of_the_base_model(causal: bool, implementation: str) -> None:
    model = build("sdpa; conv(kernel = 3); linear", task="base", causal=causal)
    model.set_attn_implementation(implementation)
    ids, types = ROW.repeat(2, 1), (ROW.repeat(2, 1) > 4).long()
    mask = torch.tensor([[1] * 6, [0] * 6])  # of which the second has no document
    with torch.no_grad():
        found = model(
            ids, attention_mask=mask, token_type_ids=types, position_ids=PLACES
        )
        assert found.pooler_output.shape == (3, 16)
        for part, pooled in zip(
            (slice(0, 3), slice(3, 5), slice(5, 6)), found[1], strict=True
        ):
            wanted = model(ROW[:, part], token_type_ids=types[:1, part])
            torch.testing.assert_close(found[0][:1, part], wanted[0])
            torch.testing.assert_close(pooled, wanted.pooler_output[0])


def test_predictions_at_labels_alone() -> None:
    model = build("sdpa; conv(kernel = 3)")
    labels = ROW.masked_fill(PLACES == 1, -100)
    given = {"labels": labels, "position_ids": PLACES}
    with torch.no_grad():
        every, few = model(ROW, **given), model(ROW, **given, targets_only=True)
    torch.testing.assert_close(few.logits, every.logits[labels != -100])
    torch.testing.assert_close(few.loss, every.loss)


@pytest.mark.parametrize("task", ["base", "masked-lm", "sequence-classification"])
def test_what_tells_no_documents_is_refused(task: Any) -> None:
    model = build("sdpa", task=task)
    for given, words in (
        (
            {"document_ids": ROW[0]},
            r"document_ids must be \[B, N\] = \[1, 6\]; got \[6\]",
        ),
        ({"document_ids": ROW.bool()}, "document_ids must be int64 or int32; got bool"),
        (
            {"position_ids": ROW.float()},
            "position_ids must be int64 or int32; got float32",
        ),
        ({"position_ids": ROW + 1}, "count the tokens of each document from 0"),
    ):
        with pytest.raises(ValueError, match=words):
            model(ROW, **given)
    if task == "sequence-classification":
        with pytest.raises(
            ValueError, match=r"labels must be \[B\] = \[3\]; got \[1\]"
        ):
            model(ROW, position_ids=PLACES, labels=torch.tensor([1]))
