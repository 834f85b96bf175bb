"""Every attention program of the library is one graph for all batches and lengths, as an
encoder and as a decoder: in `torch.export`, in ONNX, and under `torch.compile`.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import fx, nn
from torch._dynamo.testing import CompileCounter

import azc
from azc.check.resolve import check_file
from azc.resources import stdlib_folder

Tensor = torch.Tensor

HEADS, WIDTH = 2, 4
LIBRARY = stdlib_folder() / "attention.azg"
PROGRAM = check_file(LIBRARY)
NAMES = sorted(PROGRAM.declared)
PARAMS = {name: PROGRAM.attentions[name].params for name in NAMES}
ROWS = sorted({param for params in PARAMS.values() for param in params})
# Their decoders carry a state from token to token.
STATES = ["attention_free", "efficient_attention", "linear_attention", "mean_mixing"]
EXAMPLE = (3, 9)
# None of them a multiple of a chunk but one, and one token.
SIZES = [(3, 9), (1, 1), (2, 1), (4, 17), (1, 128), (2, 129), (2, 300)]
CAUSAL = pytest.mark.parametrize("causal", [False, True], ids=["encoder", "decoder"])


class Attentions(nn.Module):
    """Programs side by side: `forward(rows, mask)` gives the result of each; `rows` are
    tensors by the name of a parameter.
    """

    def __init__(self, names: list[str], causal: bool) -> None:
        super().__init__()
        program = azc.load(LIBRARY)
        self.params = [PARAMS[name] for name in names]
        torch.manual_seed(0)
        self.made = nn.ModuleList(
            azc.compile_attention(program, name, HEADS, WIDTH, causal) for name in names
        )

    def forward(
        self, rows: dict[str, Tensor], mask: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        return tuple(
            made(**{param: rows[param] for param in params}, mask=mask)
            for made, params in zip(self.made, self.params, strict=True)
        )


def inputs(batch: int, tokens: int, padded: bool = True) -> dict[str, Any]:
    """Rows and a mask with padding at the left of one sequence, and at the right and in
    the middle of another.
    """
    random = torch.Generator().manual_seed(tokens)
    shape = (batch, HEADS, tokens, WIDTH)
    rows = {name: torch.randn(shape, generator=random) for name in ROWS}
    if not padded:
        return {"rows": rows}
    mask = torch.ones(batch, tokens, dtype=torch.bool)
    mask[0, : tokens // 3] = False
    mask[-1, tokens // 2 :: 3] = False
    mask[:, tokens // 2] = True
    return {"rows": rows, "mask": mask}


def agree(found: Any, wanted: Any, names: list[str]) -> None:
    """Results in float32 differ by its rounding, of which some programs make more."""
    for name, one, two in zip(names, found, wanted, strict=True):
        assert one.shape == two.shape
        far = float((one - two).abs().max())
        assert far <= 1e-4 * float(two.abs().max()) + 1e-6, name


@cache
def exported(causal: bool) -> Any:
    """All programs in ONNX, and as `torch.export` has them."""
    batch, tokens = torch.export.Dim("batch"), torch.export.Dim("tokens", max=4096)
    shapes = {
        "rows": {name: {0: batch, 2: tokens} for name in ROWS},
        "mask": {0: batch, 1: tokens},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            Attentions(NAMES, causal).eval(),
            (),
            kwargs=inputs(*EXAMPLE),
            dynamic_shapes=shapes,
            dynamo=True,
            verbose=False,
        )
    assert made is not None
    return made


def check_everywhere(run: Callable[[dict[str, Any]], Any], causal: bool) -> None:
    """Compare what an export computes with what the programs do."""
    plain = Attentions(NAMES, causal)
    for size in SIZES:
        given = inputs(*size)
        with torch.no_grad():
            agree(run(given), plain(**given), NAMES)


@CAUSAL
def test_one_export_does_for_all_sizes(causal: bool) -> None:
    module = exported(causal).exported_program.module()
    check_everywhere(lambda given: module(**given), causal)


@CAUSAL
def test_onnx_gives_what_torch_does(causal: bool) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    file = io.BytesIO()
    exported(causal).save(file)
    session = runtime.InferenceSession(file.getvalue())

    names = [each.name for each in session.get_inputs()]

    def run(given: dict[str, Any]) -> list[Tensor]:
        # Inputs have no names of their own in a dictionary, but their order.
        arrays = [x.numpy() for x in (*given["rows"].values(), given["mask"])]
        found = session.run(None, dict(zip(names, arrays, strict=True)))
        return [torch.from_numpy(each) for each in found]

    check_everywhere(run, causal)


@pytest.mark.parametrize(
    ("causal", "padded"), [(False, True), (True, False), (True, True)]
)
def test_two_compiled_graphs_do_for_eight_lengths(causal: bool, padded: bool) -> None:
    """One of the first length, and one of all others."""
    model = Attentions(NAMES, causal)
    torch._dynamo.reset()
    counter = CompileCounter()
    run = torch.compile(model, fullgraph=True, backend=counter)
    for tokens in (16, 24, 37, 128, 129, 200, 256, 300):
        given = inputs(2, tokens, padded)
        with torch.no_grad():
            agree(run(**given), model(**given), NAMES)
    assert counter.frame_count <= 2


@pytest.mark.parametrize("name", STATES)
def test_a_graph_has_as_many_nodes_for_any_length(name: str) -> None:
    sizes: list[int] = []

    def count(graph: fx.GraphModule, _: Any) -> Callable[..., Any]:
        sizes.append(len(graph.graph.nodes))
        return graph.forward

    torch._dynamo.reset()
    run = torch.compile(Attentions([name], True), backend=count, dynamic=False)
    for tokens in (40, 640):
        run(**inputs(1, tokens))
    assert len(sizes) == 2
    assert sizes[0] == sizes[1]
