"""Operations that depend on positions: rope, alibi, window, conv."""

from __future__ import annotations

from typing import Any

from azc.ops.axes import axes
from azc.ops.contract import (
    Absence,
    Attribute,
    Attrs,
    Builder,
    ErrorSample,
    Frame,
    FxNode,
    Number,
    Op,
    Operand,
    Sample,
    Sizes,
    State,
    TypeFault,
    Value,
    Weight,
)
from azc.ops.rules import (
    all_before,
    dirty,
    fill_nothing,
    fill_result,
    keep,
    no_weights,
    omit_nothing,
    per_entry,
)
from azc.shapes import TOKENS, D, N, Shape

__all__ = ["MAX_KERNEL", "MAX_RADIUS", "OPS", "ROPE_BASE"]

ROPE_BASE = 10000.0
MAX_RADIUS = 1_000_000
MAX_KERNEL = 1023

_SCORES = Shape(N, N)


def _tokens_only(x: Shape) -> Shape:
    if x != TOKENS:
        hint = (
            "it comes before the product of queries and keys" if x == _SCORES else None
        )
        raise TypeFault(f"takes [n, d], one row of features a token, not {x}", hint)
    return x


def _scores_only(x: Shape) -> Shape:
    if x != _SCORES:
        hint = "scores are a product such as `q @ k.T`"
        raise TypeFault(f"takes [n, n], an entry for every two tokens, not {x}", hint)
    return x


# rope


def _rope_reference(frame: Frame, x: Value) -> Value:
    np = frame.np
    half = frame.d // 2
    rate = ROPE_BASE ** (-np.arange(half) / max(half, 1))
    angle = np.arange(frame.n)[:, None] * rate
    cos, sin = np.cos(angle), np.sin(angle)
    a, b, rest = x.data[:, :half], x.data[:, half : 2 * half], x.data[:, 2 * half :]
    data = np.concatenate([a * cos - b * sin, b * cos + a * sin, rest], axis=1)
    return Value(data, x.present)


def _part(
    b: Builder, node: FxNode, start: Number | None, stop: Number | None
) -> FxNode:
    return b.call("operator.getitem", node, (Ellipsis, slice(start, stop)))


def _rope_lower(b: Builder, x: Operand, attrs: Attrs) -> FxNode:
    half = b.number("floordiv", b.width(), 2)
    even = b.number("mul", half, 2)
    positions = b.positions(x.node)
    index = b.call("torch.arange", half, device=b.call("getattr", x.node, "device"))
    index = b.method("to", index, positions)
    exponent = b.call("torch.div", index, b.number("neg", half))
    rate = b.call("torch.pow", ROPE_BASE, exponent)
    angle = b.call("torch.mul", positions, rate)
    cos = b.method("to", b.call("torch.cos", angle), x.node)
    sin = b.method("to", b.call("torch.sin", angle), x.node)
    left, right = _part(b, x.node, None, half), _part(b, x.node, half, even)
    turned_left = b.call(
        "torch.sub", b.call("torch.mul", left, cos), b.call("torch.mul", right, sin)
    )
    turned_right = b.call(
        "torch.add", b.call("torch.mul", right, cos), b.call("torch.mul", left, sin)
    )
    parts = [turned_left, turned_right, _part(b, x.node, even, None)]
    return b.call("torch.cat", parts, -1)


ROPE = Op(
    name="rope",
    doc="rotary position embedding, half-rotation form, base 10000; "
    "the last feature of an odd width is unchanged",
    source="Su et al. 2021, in the layout of GPT-NeoX",
    operands=("x",),
    attrs=(),
    axes=axes("a f -> a b"),
    reach=all_before,
    typing=_tokens_only,
    weights=no_weights,
    reference=_rope_reference,
    lower=_rope_lower,
    precision="same",
    flops=per_entry(3),
    absence=Absence(fill=fill_nothing, omits=omit_nothing, after=keep, local=True),
    samples=(Sample((TOKENS,), {}),),
    errors=(
        ErrorSample((_SCORES,), "takes [n, d]"),
        ErrorSample((Shape(D, N),), "takes [n, d]"),
    ),
)


# alibi


def _distance(frame: Frame) -> Any:
    index = frame.np.arange(frame.n)
    return frame.np.abs(index[:, None] - index[None, :])


def _alibi_reference(frame: Frame, x: Value) -> Value:
    # As the released code has it: the series of the nearest power of two, and then every
    # other one of the series of the next.
    head, power = frame.head + 1, 2 ** (frame.heads.bit_length() - 1)
    place = head if head <= power else head - power - 0.5
    slope = 2.0 ** (-8.0 * place / power)
    return Value(x.data - slope * _distance(frame), x.present)


def _alibi_lower(b: Builder, x: Operand, attrs: Attrs) -> FxNode:
    distance = b.distance(x.node)
    slope = b.call("azc.lower.runtime.alibi_slopes", b.heads(), distance)
    bias = b.method("to", b.call("torch.mul", slope, distance), x.node)
    return b.call("torch.sub", x.node, bias)


ALIBI = Op(
    name="alibi",
    doc="adds −m·|i−j| to scores, m = 2^(−8h/H) for head h = 1…H; if H is not a power of "
    "two, the slopes of the largest one below H, then every other slope of the next one",
    source="Press et al. 2022, and its released code",
    operands=("s",),
    attrs=(),
    axes=axes("a b -> a b"),
    reach=all_before,
    typing=_scores_only,
    weights=no_weights,
    reference=_alibi_reference,
    lower=_alibi_lower,
    precision="same",
    flops=per_entry(2),
    absence=Absence(fill=fill_nothing, omits=omit_nothing, after=dirty, local=True),
    samples=(Sample((_SCORES,), {}),),
    errors=(ErrorSample((TOKENS,), "takes [n, n]"),),
)


# window


def _window_reference(frame: Frame, x: Value, radius: int) -> Value:
    return Value(x.data, x.present & (_distance(frame) <= radius))


def _window_lower(b: Builder, x: Operand, attrs: Attrs) -> FxNode:
    return x.node  # nothing to compute: only what counts as present changes


def _after_window(states: tuple[State, ...], result: Shape, attrs: Attrs) -> State:
    before = states[0].radius
    radius = attrs["radius"] if before is None else min(before, attrs["radius"])
    zero = states[0].zero if radius == before else states[0].zero - {"band"}
    return State(result, radius, zero)


WINDOW = Op(
    name="window",
    doc="entries with |i−j| > radius become absent",
    source="Beltagy et al. 2020 (sliding window)",
    operands=("s",),
    attrs=(
        Attribute(
            "radius",
            "tokens read on each side",
            minimum=0,
            maximum=MAX_RADIUS,
            odd=False,
        ),
    ),
    axes=axes("a b -> a b"),
    reach=all_before,
    typing=_scores_only,
    weights=no_weights,
    reference=_window_reference,
    lower=_window_lower,
    precision="same",
    flops=per_entry(0),
    absence=Absence(
        fill=fill_nothing, omits=omit_nothing, after=_after_window, local=True
    ),
    samples=(
        Sample((_SCORES,), {"radius": 0}),
        Sample((_SCORES,), {"radius": 2}),
        Sample((_SCORES,), {"radius": 100}),
    ),
    errors=(
        ErrorSample((TOKENS,), "takes [n, n]"),
        ErrorSample((Shape(N, D),), "takes [n, n]"),
    ),
)


# conv


def _identity(np: Any, shape: tuple[int, ...], causal: bool) -> Any:
    kernel = np.zeros(shape)
    kernel[..., -1 if causal else shape[-1] // 2] = 1.0
    return kernel


def _conv_weights(attrs: Attrs) -> tuple[Weight, ...]:
    return (
        Weight(
            name="kernel",
            axes=("heads", "d", attrs["kernel"]),
            cut=("first", "first", "taps"),
            init=_identity,
        ),
    )


def _conv_reference(frame: Frame, x: Value, kernel: int) -> Value:
    np = frame.np
    taps = np.broadcast_to(frame.weights["kernel"], (frame.d, kernel))
    before = kernel - 1 if frame.causal else kernel // 2
    rows = np.pad(frame.filled(x, 0.0), ((before, kernel - 1 - before), (0, 0)))
    data = sum(rows[i : i + frame.n] * taps[:, i] for i in range(kernel))
    return Value(data, x.present)


def _conv_lower(b: Builder, x: Operand, attrs: Attrs) -> FxNode:
    kernel = attrs["kernel"]
    heads, width = b.heads(), b.width()
    channels = b.number("mul", heads, width)
    weight = b.method("to", b.weight("kernel"), x.node)
    weight = b.method("expand", weight, heads, width, kernel)
    weight = b.method("reshape", weight, channels, 1, kernel)
    packed = b.packed(x.node)
    rows = b.method("transpose", packed, -1, -2)  # [B, H, d, N]
    rows = b.method("flatten", rows, 1, 2)
    # Padded beforehand a causal one: `conv1d` itself pads both sides alike.
    padding = 0 if b.causal else kernel // 2
    if b.causal:
        rows = b.call("torch.nn.functional.pad", rows, (kernel - 1, 0))
    target = "azc.lower.exact.conv1d" if x.wide else "torch.nn.functional.conv1d"
    mixed = b.call(target, rows, weight, padding=padding, groups=channels)
    mixed = b.method("unflatten", mixed, 1, (heads, width))
    return b.unpacked(b.method("transpose", mixed, -1, -2))


def _conv_reach(attrs: Attrs) -> int:
    return attrs["kernel"] - 1


def _conv_flops(
    sizes: Sizes, shapes: tuple[Shape, ...], result: Shape, attrs: Attrs
) -> int:
    return 2 * attrs["kernel"] * sizes.n * sizes.d


CONV = Op(
    name="conv",
    doc="learned depthwise convolution over the tokens: centered, or over the token and "
    "those before it in a causal model; the kernel starts as the identity",
    source="So et al. 2021 (Primer)",
    operands=("x",),
    attrs=(
        Attribute("kernel", "width in tokens", minimum=1, maximum=MAX_KERNEL, odd=True),
    ),
    axes=axes("f b -> a b"),
    reach=_conv_reach,
    typing=_tokens_only,
    weights=_conv_weights,
    reference=_conv_reference,
    lower=_conv_lower,
    precision="same",
    flops=_conv_flops,
    absence=Absence(
        fill=fill_result(0.0), omits=omit_nothing, after=dirty, local=False
    ),
    samples=(
        Sample((TOKENS,), {"kernel": 1}),
        Sample((TOKENS,), {"kernel": 3}),
        Sample((TOKENS,), {"kernel": 9}),
    ),
    errors=(
        ErrorSample((_SCORES,), "takes [n, d]"),
        ErrorSample((Shape(D, N),), "takes [n, d]"),
    ),
)

OPS = (ROPE, ALIBI, WINDOW, CONV)
