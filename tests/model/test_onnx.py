"""Models in ONNX compute what they compute in torch, for any padding and length."""

from __future__ import annotations

import io
import warnings
from typing import Any

import pytest
import torch

from tests.model.models import LAYOUTS, build, masks

runtime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

# Everything that asks where a token stands or which is real, and a distance, which the
# exporter does not know as torch has it.
CASES: list[tuple[str, Any, dict[str, Any]]] = [
    ("sdpa", "base", {}),
    (
        "primer; conv(kernel = 3); distances; turned; conv(kernel = 3, kind = dynamic)",
        "masked-lm",
        {"residual": "pre", "positions": "sinusoidal"},
    ),
]


@pytest.mark.parametrize(("layers", "task", "settings"), CASES)
def test_exported_models_agree(
    layers: str, task: Any, settings: dict[str, Any]
) -> None:
    model = build(layers, task=task, **settings)
    mask = masks([9, 4, 1], 9, "left")
    ids = torch.randint(0, 50, mask.shape)
    shape = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens", max=40)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            (),
            kwargs={"input_ids": ids, "attention_mask": mask.long()},
            dynamic_shapes={"input_ids": shape, "attention_mask": shape},
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    file = io.BytesIO()
    program.save(file)
    session = runtime.InferenceSession(file.getvalue())
    for lengths, tokens in (([9, 4, 1], 9), ([3, 17, 8, 1], 17), ([5], 5), ([2, 0], 4)):
        for layout in LAYOUTS:
            mask = masks(lengths, tokens, layout)
            ids = torch.randint(0, 50, mask.shape)
            given = {"input_ids": ids.numpy(), "attention_mask": mask.long().numpy()}
            with torch.no_grad():
                wanted = model(ids, attention_mask=mask).to_tuple()
            for one, other in zip(session.run(None, given), wanted, strict=True):
                found = torch.from_numpy(one)
                assert found.shape == other.shape
                if other.shape[:2] == mask.shape:
                    found, other = found[mask], other[mask]
                torch.testing.assert_close(found, other, rtol=1e-4, atol=1e-4)
