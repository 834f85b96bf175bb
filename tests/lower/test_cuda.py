"""The same programs on a GPU: what they mean does not depend on the device."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from azc.api import load
from azc.check.resolve import check_source
from azc.ir.build import build_graph
from azc.lower.attention import compile_graph
from azc.model import AzcForMaskedLM, build_model
from azc.source import Source
from tests.programs import Batch, batches, programs, spec_of

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")

STANDARD = load("std.attention").attentions


def _both(
    text: str, name: str, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """The result on the CPU in float64 and on the GPU, of one padded random batch."""
    program = check_source(Source("p", text)) if text else None
    spec = (program.attentions if program else STANDARD)[name]
    graph = build_graph(spec)
    torch.manual_seed(0)
    inputs = {n: torch.randn(3, 2, 11, 8, dtype=torch.float64) for n in graph.inputs}
    mask = torch.arange(11) < torch.tensor([11, 7, 1])[:, None]
    module = compile_graph(graph, 2, 8)
    with torch.no_grad():
        wanted = module.double()(**inputs, mask=mask)
        there = {n: x.to("cuda", dtype) for n, x in inputs.items()}
        found = module.to("cuda", dtype)(**there, mask=mask.cuda())
    return found.cpu().double(), wanted


@pytest.mark.parametrize("name", sorted(STANDARD))
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-10), (torch.float32, 1e-4), (torch.bfloat16, 0.1)],
    ids=str,
)
def test_standard_programs_agree(
    name: str, dtype: torch.dtype, tolerance: float
) -> None:
    found, wanted = _both("", name, dtype)
    assert (found - wanted).abs().max() <= tolerance * wanted.abs().max()


@settings(max_examples=300)
@given(text=programs(), data=st.data())
def test_random_programs_agree(text: str, data: st.DataObject) -> None:
    graph = build_graph(spec_of(text))
    batch: Batch = data.draw(batches(graph.inputs))
    module = compile_graph(graph).double()
    inputs = {n: torch.from_numpy(x) for n, x in batch.inputs.items()}
    mask = torch.from_numpy(batch.mask)
    with torch.no_grad():
        wanted = module(**inputs, mask=mask)
        there = {n: x.cuda() for n, x in inputs.items()}
        found = module.cuda()(**there, mask=mask.cuda()).cpu()
    if not wanted.isfinite().all() or wanted.abs().max() > 1e6:
        return  # rounding is all there is to compare
    assert (found - wanted).abs().max() <= 1e-6 * max(wanted.abs().max(), 1e-30)


@pytest.mark.parametrize("name", ["bert_tiny", "autobert_zero_tiny"])
def test_models_agree_and_train(name: str) -> None:
    torch.manual_seed(0)
    model = build_model(load("std.models"), name).eval()
    assert isinstance(model, AzcForMaskedLM)
    ids = torch.randint(5, 1000, (3, 20))
    mask = torch.arange(20) < torch.tensor([20, 13, 4])[:, None]
    with torch.no_grad():
        wanted = model(ids, attention_mask=mask).logits[mask]
        model.cuda()
        found = model(ids.cuda(), attention_mask=mask.cuda()).logits.cpu()[mask]
    assert (found - wanted).abs().max() < 1e-3
    model.train()
    loss = model(ids.cuda(), attention_mask=mask.cuda(), labels=ids.cuda()).loss
    loss.backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(grad.isfinite().all() for grad in grads)
