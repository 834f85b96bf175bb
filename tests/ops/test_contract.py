"""What every operation must fulfil, for every sample that it gives."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
import torch

from azc.facts.time import without_causal_meaning
from azc.ir.build import build_graph
from azc.ir.run import Interpreter
from azc.ir.text import format_graph, parse_graph
from azc.lower.attention import compile_graph
from azc.ops.axes import TimeFault
from azc.ops.contract import (
    Fill,
    Frame,
    Op,
    Sample,
    Sizes,
    State,
    TypeFault,
    Value,
    Weight,
)
from azc.ops.table import load_ops, signatures
from azc.shapes import ALL_SHAPES, N
from azc.source import Source
from azc.supernet.slots import Cut, Slot
from azc.syntax import ast
from azc.syntax.format import format_expr, format_text
from tests.ops.lowered import (
    ANYWHERE,
    CASES,
    CORE_CASES,
    HEADS,
    PACKED,
    WIDTH,
    Lowered,
    absent_places,
    axes,
    case_id,
    close,
    draw,
    lower,
    present,
    reference,
    states,
)
from tests.programs import spec_of

NAN, INF = math.nan, math.inf
ANYTHING = (NAN, INF, -INF, 1e30, -7.0, 0.0)
FINITE = (1e4, -1e4, 3.0, -1.0, 0.0)
# Where their slopes are, and their values at all.
POSITIVE = {"log", "sqrt"}

every_case = pytest.mark.parametrize(("op", "sample"), CASES, ids=map(case_id, CASES))


torch.set_num_threads(1)


def dirty(sample: Sample) -> tuple[State, ...]:
    """Nothing is known of absent entries."""
    return tuple(State(shape, None, frozenset()) for shape in sample.shapes)


def variants(
    sample: Sample,
) -> Iterator[tuple[tuple[State, ...], bool, torch.Tensor]]:
    """What may be known of absent entries, whether real tokens come first, the mask."""
    for known in states(sample.shapes):
        yield known, False, ANYWHERE
        if known == dirty(sample) or any(state.radius is not None for state in known):
            yield known, True, PACKED


@every_case
def test_absence(op: Op, sample: Sample) -> None:
    for known, packed, real in variants(sample):
        # A model knows the sizes of heads, and has real tokens first.
        made = lower(op, sample, known, packed, sized=packed)
        assert made.after.shape == op.result(sample.shapes)
        assert made.after.zero <= made.after.places
        _is_the_reference(made, real)
        _zero_is_zero(made, real)
        some = (1,) if packed else (1, 3)
        _gradients_are_those_alone(made, real, some)
        if op.absence.local:
            _absent_is_finite(made, real)
        if op.absence.local and len(op.operands) == 2:
            # What is present is so small that one over its square is out of range.
            _gradients_are_those_alone(made, real, some, 1e-170)


@pytest.mark.parametrize(("op", "sample"), CORE_CASES, ids=map(case_id, CORE_CASES))
def test_core_operations_are_their_operand(op: Op, sample: Sample) -> None:
    for known, packed, real in variants(sample):
        made = lower(op, sample, known, packed)
        made.module.eval()
        assert made.after.zero <= made.after.places
        _is_the_reference(made, real)
        if sample.attrs.get("fill", Fill(0.0, frozenset(), None)).value == 0.0:
            _zero_is_zero(made, real)
            _absent_is_finite(made, real)


def _is_the_reference(made: Lowered, real: torch.Tensor) -> None:
    operands, weights = draw(made, real, ANYTHING, made.op.name in POSITIVE)
    found = made(operands, real, weights)
    narrow = made([x.float() for x in operands], real, [w.float() for w in weights])
    for b in range(len(real)):
        head = b % HEADS
        mine = [operand[b, head] for operand in operands]
        value = reference(made, mine, real[b], head, weights)
        rows, cols = (axis.numpy() for axis in axes(made.after.shape, real[b]))
        wanted = present(made.after, real[b]).numpy()[rows][:, cols]
        np.testing.assert_array_equal(value.present, wanted)
        there = value.present
        close(found[b, head].numpy()[rows][:, cols][there], value.data[there], 1e-9)
        close(narrow[b, head].numpy()[rows][:, cols][there], value.data[there], 1e-4)


def _zero_is_zero(made: Lowered, real: torch.Tensor) -> None:
    """What the compiler takes to be 0 is 0."""
    if not made.after.zero:
        return
    operands, weights = draw(made, real, FINITE, made.op.name in POSITIVE)
    found = made(operands, real, weights)
    for b in range(len(real)):
        for place, gone in absent_places(made.after, real[b]).items():
            if place in made.after.zero:
                assert not found[b, :, gone].any(), place


def _absent_is_finite(made: Lowered, real: torch.Tensor) -> None:
    """However large what is present may be."""
    operands, weights = draw(made, real, FINITE, made.op.name in POSITIVE, 1e303)
    found = made(operands, real, weights)
    for b in range(len(real)):
        assert found[b, :, ~present(made.after, real[b])].isfinite().all()


def _gradients_are_those_alone(
    made: Lowered, real: torch.Tensor, some: tuple[int, ...], size: float = 1.0
) -> None:
    """Finite everywhere; those of some sequences are as without their padding."""
    operands, weights = draw(made, real, FINITE, made.op.name in POSITIVE, size)
    leaves = [x.requires_grad_() for x in (*operands, *weights)]
    found = made(operands, real, weights)
    up = torch.randn(found.shape, dtype=found.dtype)
    for b in range(len(real)):
        up[b].masked_fill_(~present(made.after, real[b]), 0.0)
    kept = torch.where(up == 0.0, 0.0, found)  # the rest of a program masks it
    grads = torch.autograd.grad((kept * up).sum(), leaves, allow_unused=True)
    for grad in grads:
        assert grad is None or torch.isfinite(grad).all()
    alone = _gradients_alone(made, operands, weights, real, up, some)
    for b, i in product(some, range(len(operands))):
        grad, state = grads[i], made.states[i]
        assert grad is not None
        there = present(state, real[b])
        # A gradient at what is known to be 0 is multiplied by 0 further up.
        for place, gone in absent_places(state, real[b]).items():
            if place not in state.zero:
                assert not grad[b, :, gone].any(), "absent entries take part"
        close(grad[b, :, there].numpy(), alone[b][i], 1e-9)


def _gradients_alone(
    made: Lowered,
    operands: list[torch.Tensor],
    weights: list[torch.Tensor],
    real: torch.Tensor,
    up: torch.Tensor,
    some: tuple[int, ...],
) -> dict[int, list[np.ndarray]]:
    """Gradients at present entries, each of some sequences without its padding."""
    found = {}
    for b in some:
        cut = []
        for state, operand in zip(made.states, operands, strict=True):
            rows, cols = axes(state.shape, real[b])
            data = operand[b : b + 1, :, rows][..., cols].detach().requires_grad_()
            cut.append(data)
        every = torch.ones(1, int(real[b].sum()), dtype=torch.bool)
        out = made(cut, every, weights)
        rows, cols = axes(made.after.shape, real[b])
        mine = up[b : b + 1, :, rows][..., cols]
        kept = torch.where(mine == 0.0, 0.0, out)
        grads = torch.autograd.grad((kept * mine).sum(), cut)
        there = [present(state, every[0]) for state in made.states]
        pairs = zip(grads, there, strict=True)
        found[b] = [grad[0, :, mask].numpy() for grad, mask in pairs]
    return found


@every_case
def test_padding_is_never_seen(op: Op, sample: Sample) -> None:
    known = dirty(sample)
    real = torch.tensor([[1, 0, 1, 1, 0]]).bool()
    made = lower(op, sample, known)
    operands, weights = draw(made, real, FINITE, op.name in POSITIVE)
    there = present(made.after, real[0])
    before = made(operands, real, weights)[..., there]
    for position, junk in product((1, 4), (5.0, NAN, INF, -INF)):
        for state, operand in zip(known, operands, strict=True):
            if state.shape.rows is N:
                operand[:, :, position] = junk
            if state.shape.cols is N:
                operand[..., position] = junk
        after = made(operands, real, weights)[..., there]
        assert torch.equal(before.nan_to_num(77.0), after.nan_to_num(77.0))
    if N in _axes(sample):
        _padding_alone_is_harmless(made)


def _padding_alone_is_harmless(made: Lowered) -> None:
    """A sequence without a real token makes nothing that is not finite."""
    real = torch.zeros(1, 4, dtype=torch.bool)
    operands, weights = draw(made, real, FINITE)
    leaves = [x.requires_grad_() for x in (*operands, *weights)]
    found = made(operands, real, weights)
    assert torch.isfinite(found).all()
    grads = torch.autograd.grad((found * 0.0).sum(), leaves, allow_unused=True)
    assert all(grad is None or torch.isfinite(grad).all() for grad in grads)


def _axes(sample: Sample) -> set[object]:
    """The axes that all operands have; one without an n has all of its entries."""
    sets = [{shape.rows, shape.cols} for shape in sample.shapes]
    return set.intersection(*sets)


# Whole programs around one operation

OPERANDS = {
    "[n, d]": ("q", "k"),
    "[d, n]": ("q.T", "k.T"),
    "[n, n]": ("q @ k.T", "k @ v.T"),
    "[d, d]": ("q.T @ k", "k.T @ v"),
    "[n, 1]": ("sum(q)", "mean(k)"),
    "[1, n]": ("sum(q).T", "mean(k).T"),
    "[d, 1]": ("sum(q.T)", "mean(k.T)"),
    "[1, d]": ("sum(q.T).T", "mean(k.T).T"),
    "[1, 1]": ("0.5", "sum(sum(q).T)"),
}
RESULTS = {
    "[n, d]": "x",
    "[d, n]": "x.T",
    "[n, n]": "x @ v",
    "[d, d]": "v @ x",
    "[n, 1]": "x * v",
    "[1, n]": "x.T * v",
    "[d, 1]": "x.T * v",
    "[1, d]": "x * v",
    "[1, 1]": "x * v",
}


def program_around(op: Op, sample: Sample) -> str:
    names = [OPERANDS[str(s)][i] for i, s in enumerate(sample.shapes)]
    if op.name in POSITIVE:
        names = [f"exp(0.01 * {name})" for name in names]
    names += [f"{name} = {value}" for name, value in sample.attrs.items()]
    result = RESULTS[str(op.result(sample.shapes))]
    call = f"x = {op.name}({', '.join(names)})"
    return f"attention a(q, k, v) {{\n    {call}\n    return {result}\n}}\n"


@every_case
def test_text_and_cost(op: Op, sample: Sample) -> None:
    _cost_is_positive_and_grows(op, sample)
    source = Source("test.azg", program_around(op, sample))
    spec = spec_of(source.text)
    assert dict(spec.bindings)["x"] == op.result(sample.shapes)
    canonical = format_text(source)
    again = spec_of(canonical)
    assert again == spec
    assert format_text(Source("test.azg", canonical)) == canonical
    bind = spec.body[0]
    assert isinstance(bind, ast.Bind)
    assert isinstance(bind.value, ast.Apply)
    assert bind.value.op == op.name
    assert f"x = {format_expr(bind.value)}" in canonical
    graph = format_graph(build_graph(spec))
    assert format_graph(parse_graph(graph)) == graph
    assert f" {op.name} %" in graph


def _cost_is_positive_and_grows(op: Op, sample: Sample) -> None:
    costs = [op.cost(Sizes(n, 8), sample.shapes, sample.attrs) for n in (4, 16, 64)]
    assert all(cost.flops >= 0 for cost in costs)
    assert costs[0].params == costs[2].params
    every = {axis for shape in sample.shapes for axis in (shape.rows, shape.cols)}
    totals = [cost.flops for cost in costs]
    if N in every and totals[0]:
        assert totals[0] < totals[1] < totals[2]
    else:
        assert totals[0] == totals[2]
    wider = op.cost(Sizes(16, 16), sample.shapes, sample.attrs)
    assert wider.flops >= costs[1].flops
    size = sum(math.prod(w.shape(1, 8)) for w in op.weights(sample.attrs))
    assert costs[0].params == size


@pytest.mark.parametrize("causal", [False, True], ids=["encoder", "causal"])
@every_case
def test_a_program_around_it_agrees(op: Op, sample: Sample, causal: bool) -> None:
    graph = build_graph(spec_of(program_around(op, sample)))
    if causal and without_causal_meaning(graph):
        # It reads the columns of scores, or its result's own are read here.
        with pytest.raises(TimeFault):
            compile_graph(graph, causal=True)
        assert "transpose" in {node.op for node in graph.nodes}
        return
    module = compile_graph(graph, heads=HEADS, width=WIDTH, causal=causal)
    random = torch.Generator().manual_seed(1)
    shape = (len(ANYWHERE), HEADS, ANYWHERE.shape[1], WIDTH)
    inputs = {
        name: torch.randn(shape, generator=random, dtype=torch.float64)
        for name in graph.inputs
    }
    for data in inputs.values():
        data[~ANYWHERE[:, None].expand(shape[:3])] = NAN
    module.double()
    weights = {}
    for name, parameter in module.named_parameters():
        with torch.no_grad():
            parameter.normal_(generator=random)
        weights[name.removesuffix(".weight")] = parameter.detach().numpy()
    with torch.no_grad():
        found = module(**inputs, mask=ANYWHERE)
    for b, head in product(range(len(ANYWHERE)), range(HEADS)):
        real = ANYWHERE[b]
        mine = {name: x[b, head, real].numpy() for name, x in inputs.items()}
        run = Interpreter(graph, causal)
        wanted = run(head=head, heads=HEADS, weights=weights, **mine)
        close(found[b, head, real].numpy(), wanted, 1e-9)
        assert not found[b, head, ~real].any()


# Axes


@every_case
def test_an_entry_depends_on_what_the_axes_say(op: Op, sample: Sample) -> None:
    """Every entry of every operand is moved; no entry of the result that has another
    place on an axis that both have moves with it.
    """
    tokens = 5
    random = np.random.default_rng(0)
    data = [
        random.uniform(0.5, 1.5, size=shape.sizes(tokens, WIDTH))
        for shape in sample.shapes
    ]
    weights = {
        spec.name: random.normal(size=spec.shape(HEADS, WIDTH))[1]
        for spec in op.weights(sample.attrs)
    }
    frame = Frame(np, tokens, WIDTH, 1, HEADS, weights)

    def run() -> Value:
        values = [Value(x, np.ones(x.shape, bool)) for x in data]
        return op.reference(frame, *values, **sample.attrs)

    before = run()
    for operand, pair in zip(data, op.axes.operands, strict=True):
        for place in np.ndindex(*operand.shape):
            kept = operand[place]
            operand[place] = kept + 0.25
            moved = (run().data != before.data) & before.present
            operand[place] = kept
            for axis in (0, 1):
                for other in (0, 1):
                    if pair[axis] != op.axes.result[other]:
                        continue
                    if operand.shape[axis] == before.data.shape[other]:
                        elsewhere = np.arange(moved.shape[other]) != place[axis]
                        assert not moved.take(np.flatnonzero(elsewhere), other).any()


# Types


@pytest.mark.parametrize("op", load_ops().values(), ids=lambda op: op.name)
def test_types(op: Op) -> None:
    taken = {sample.shapes for sample in op.samples}
    given = {
        shapes: result
        for result, rows in signatures().items()
        for name, shapes in rows
        if name == op.name
    }
    assert taken == set(given), "samples are all the types that it takes"
    for sample in op.samples:
        assert op.result(sample.shapes) == given[sample.shapes]
        assert set(sample.attrs) == {attribute.name for attribute in op.attrs}
        for attribute in op.attrs:
            value = sample.attrs[attribute.name]
            assert attribute.minimum <= value <= attribute.maximum
            assert not attribute.odd or value % 2
    for error in op.errors:
        assert error.message
        with pytest.raises(TypeFault) as caught:
            op.result(error.shapes)
        assert error.message in caught.value.message
        if caught.value.help:
            names = [f"<{i}>" for i in range(len(op.operands))]
            assert "{" not in caught.value.help.format(*names)
    everything = product(ALL_SHAPES, repeat=len(op.operands))
    if any(shapes not in given for shapes in everything):
        assert op.errors, "a refusal without a sample"


def test_the_table() -> None:
    assert len(load_ops()) == 38
    for op in load_ops().values():
        assert op.doc
        assert op.source
        assert ast.Name(op.name).id.isidentifier()


# Weights

LEARNED = [
    op for op in load_ops().values() if any(op.weights(s.attrs) for s in op.samples)
]


def cut(
    array: np.ndarray, spec: Weight, shape: tuple[int, ...], causal: bool
) -> np.ndarray:
    """The view of a shared weight that a smaller one is taken from."""
    taps: Cut = "last" if causal else "centre"
    cuts = tuple(taps if each == "taps" else each for each in spec.cut)
    slot = Slot(spec.name, shape, cuts)
    return array[slot.index(torch.Size(array.shape))]


@pytest.mark.parametrize("causal", [False, True], ids=["encoder", "causal"])
@pytest.mark.parametrize("op", LEARNED, ids=lambda op: op.name)
def test_a_cut_weight_is_the_narrower_one(op: Op, causal: bool) -> None:
    random = np.random.default_rng(0)
    samples = sorted(op.samples, key=lambda sample: sorted(sample.attrs.items()))
    widest = samples[-1]
    for sample in samples:
        for wide, narrow in zip(
            op.weights(widest.attrs), op.weights(sample.attrs), strict=True
        ):
            assert len(wide.axes) == len(wide.cut)
            large = random.normal(size=wide.shape(4, 6))
            small = cut(large, wide, narrow.shape(2, 3), causal)
            assert small.shape == narrow.shape(2, 3)
            # A large weight that is 0 but for the cut does what the small one does.
            padded = np.zeros(wide.shape(2, 3))
            cut(padded, wide, small.shape, causal)[...] = small
            x = random.normal(size=widest.shapes[0].sizes(7, 3))
            value = Value(x, np.ones(x.shape, bool))
            for head in range(2):
                wide_frame = _frame(wide.name, padded[head], causal)
                narrow_frame = _frame(narrow.name, small[head], causal)
                one = op.reference(wide_frame, value, **widest.attrs)
                two = op.reference(narrow_frame, value, **sample.attrs)
                np.testing.assert_allclose(one.data, two.data, rtol=1e-12, atol=1e-12)
            start_wide = wide.init(np, wide.shape(4, 6), causal)
            start_narrow = narrow.init(np, narrow.shape(2, 3), causal)
            np.testing.assert_array_equal(
                cut(start_wide, wide, start_narrow.shape, causal), start_narrow
            )


def _frame(name: str, weight: np.ndarray, causal: bool) -> Frame:
    return Frame(np, 7, 3, 0, 2, {name: weight}, causal)


def test_shapes_of_signatures() -> None:
    assert set(signatures()) == set(ALL_SHAPES)
    for result, rows in signatures().items():
        for name, shapes in rows:
            assert load_ops()[name].result(shapes) == result
