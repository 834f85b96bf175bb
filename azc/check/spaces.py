"""Search spaces (AZG4xx), and the membership of models in them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from types import MappingProxyType
from typing import Any

from azc.check.collect import Findings, Offer, Offers, renames
from azc.check.models import (
    LAYER_ARGUMENTS,
    MAX_LAYERS,
    SETTINGS,
)
from azc.check.program import (
    AttentionSpec,
    AttentionUse,
    ConvUse,
    LayerSpec,
    ModelSpec,
    SpaceSpec,
)
from azc.check.rewrite import operation_help
from azc.check.types import MAX_OPERATIONS
from azc.check.values import Choice, Kind, OddWhole, Whole, read_value
from azc.check.words import ENTRIES, RENAMED
from azc.diagnostics import Diagnostic, Fix, Note, listed, nearby
from azc.mixing.convolution import CONV_KINDS, DEFAULT_KIND
from azc.ops.defs.places import MAX_KERNEL
from azc.ops.table import load_ops
from azc.source import Span
from azc.syntax import ast
from azc.syntax.format import format_expr
from azc.syntax.parse import is_name

__all__ = ["MAX_SPACES", "check_space", "membership"]

MAX_SPACES = 100  # in one file and its imports
_SHOWN = 12  # values of a list shown in a message

_BLOCKS: Mapping[str, tuple[str, ...]] = {
    "attention": ("inputs", "ops", "size"),
    "conv": ("kernel", "kind"),
    "layer": tuple(LAYER_ARGUMENTS),
}


def check_space(
    node: ast.Space, models: Mapping[str, ModelSpec | None], findings: Findings
) -> SpaceSpec | None:
    """Check a space. The model it starts from must be in it.

    Returns:
        The space, or None if an error was found.
    """
    spec = _check(node, models, findings)

    def again(other: ast.Declaration, trial: Findings) -> None:
        assert isinstance(other, ast.Space)
        _check(other, models, trial)

    findings.settle(node, again)
    return spec


def _check(
    node: ast.Space, models: Mapping[str, ModelSpec | None], findings: Findings
) -> SpaceSpec | None:
    before = findings.count
    reader = _Reader(node, findings)
    settings = reader.unique(node.settings, ("start", "depth"), "space")
    start = reader.start(settings, models)
    depth = reader.depth(settings, start)
    blocks = reader.blocks()
    inputs, ops, size = reader.attention(blocks.get("attention"))
    kernels, kinds = reader.conv(blocks.get("conv"))
    layer = reader.layer(blocks.get("layer"))
    if start is None or findings.count > before:
        return None
    spec = SpaceSpec(
        name=node.name,
        start=start,
        depth=depth,
        inputs=inputs,
        ops=ops,
        size=size,
        kernels=kernels,
        kinds=kinds,
        layer=MappingProxyType(layer),
        node=node,
    )
    where = settings["start"].span
    for fault in membership(start, spec):
        if fault.code == "AZG411":
            _depth_fault(spec, settings["depth"], findings)
            continue
        message = f"the start `{start.name}` is not in the space: {fault.message}"
        assert fault.span is not None
        notes = (Note("here in the start model", fault.span), *fault.notes)
        findings.error("AZG405", message, where, fault.help, notes=notes)
    return spec if findings.count == before else None


def _depth_fault(spec: SpaceSpec, setting: ast.Setting, findings: Findings) -> None:
    """Report that the start model is outside the depth of its space, and suggest a
    range.
    """
    (low, high), count = spec.depth, len(spec.start.layers)
    depth = _shown_range(low, high)
    layers = "1 layer" if count == 1 else f"{count} layers"
    message = f"the start `{spec.start.name}` has {layers}; the depth is {depth}"
    low, high = min(low, count), max(high, count)
    new = ast.Range(ast.Number(str(low)), ast.Number(str(high)))

    def offers() -> Iterator[Offer]:
        text = format_expr(new)
        node = ast.swapped(spec.node, setting.value, new)
        yield Offer(node, Fix(setting.value.span, text), f"did you mean `{text}`?")

    help_ = f"a range that contains it: {format_expr(new)}"
    findings.error("AZG405", message, setting.value.span, help_, offers)


def _shown_range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}..{high}"


class _Reader:
    def __init__(self, node: ast.Space, findings: Findings) -> None:
        self.node = node
        self.findings = findings
        self.slips: set[str] = set()  # names that unknown entries may be meant as

    def unique(
        self, settings: tuple[ast.Setting, ...], known: tuple[str, ...], where: str
    ) -> dict[str, ast.Setting]:
        found: dict[str, ast.Setting] = {}
        for setting in settings:
            if setting.name not in known:
                if not self.findings.full:
                    self.slips.update(nearby(setting.name, known))
                self.slips.add(RENAMED.get(setting.name, setting.name))
                space = where == "space"
                what = "setting" if space else "entry"
                place = "of a space" if space else f"of `{where}`"
                self.findings.unknown(
                    "AZG401",
                    what,
                    setting.name,
                    known,
                    setting.span,
                    place,
                    help=ENTRIES.get(setting.name),
                    offers=self.renames(setting, known),
                )
            elif setting.name in found:
                message = f"`{setting.name}` is set twice"
                notes = (Note("it is first set here", found[setting.name].span),)
                self.findings.error("AZG402", message, setting.span, notes=notes)
            else:
                found[setting.name] = setting
        return found

    def renames(self, named: ast.Setting | ast.Block, known: Iterable[str]) -> Offers:
        """Offer other names for an entry or a block."""

        def renamed(name: str) -> ast.Space:
            return ast.swapped(self.node, named, replace(named, name=name))

        return renames(named.name, known, named.span, renamed, RENAMED)

    def named(self, value: ast.Name, known: Iterable[str]) -> Offers:
        """Offer other names for a name used as a value."""

        def renamed(name: str) -> ast.Space:
            return ast.swapped(self.node, value, replace(value, id=name))

        return renames(value.id, known, value.span, renamed, {})

    def missing(self, name: str, message: str, help_: str) -> None:
        """Report a missing entry, unless it may be there with a misspelled name."""
        if name not in self.slips:
            self.findings.error("AZG403", message, self.node.name_span, help_)

    def value(self, name: str, kind: Kind, value: ast.Value) -> Any | None:
        return read_value(name, kind, value, self.findings, "AZG404", self.node)

    def blocks(self) -> dict[str, dict[str, ast.Setting]]:
        found: dict[str, dict[str, ast.Setting]] = {}
        first: dict[str, Span] = {}
        for block in self.node.blocks:
            if block.name not in _BLOCKS:
                self.findings.unknown(
                    "AZG401",
                    "block",
                    block.name,
                    _BLOCKS,
                    block.span,
                    offers=self.renames(block, _BLOCKS),
                )
            elif block.name in found:
                message = f"duplicate block `{block.name}`"
                notes = (Note("the first one is here", first[block.name]),)
                self.findings.error("AZG402", message, block.span, notes=notes)
            else:
                first[block.name] = block.span
                known = _BLOCKS[block.name]
                found[block.name] = self.unique(block.items, known, block.name)
        return found

    def start(
        self,
        settings: dict[str, ast.Setting],
        models: Mapping[str, ModelSpec | None],
    ) -> ModelSpec | None:
        if "start" not in settings:
            message = f"`{self.node.name}` has no start"
            help_ = "start = NAME, the model that the search starts from"
            self.missing("start", message, help_)
            return None
        value = settings["start"].value
        if not isinstance(value, ast.Name):
            message = "`start` must be the name of a model"
            self.findings.error("AZG404", message, value.span)
            return None
        if value.id not in models:
            offers = self.named(value, models)
            self.findings.unknown(
                "AZG404", "model", value.id, models, value.span, offers=offers
            )
            return None
        return models[value.id]  # None where it has errors of its own

    def depth(
        self, settings: dict[str, ast.Setting], start: ModelSpec | None
    ) -> tuple[int, int]:
        if "depth" not in settings:
            count = len(start.layers) if start else 1
            return count, count
        return self.span_of("depth", settings["depth"].value, MAX_LAYERS)

    def span_of(
        self, name: str, value: ast.Value, high: int, least: int = 1
    ) -> tuple[int, int]:
        """Read a number or a range of numbers, at least `least`, which replaces invalid
        values.
        """
        kind = Whole(least, high)
        if isinstance(value, ast.Range):
            low = self.value(name, kind, value.low)
            top = self.value(name, kind, value.high)
            if low is not None and top is not None and low > top:
                message = f"the range {low}..{top} is empty"
                new = replace(value, low=value.high, high=value.low)

                def offers() -> Iterator[Offer]:
                    text = format_expr(new)
                    node = ast.swapped(self.node, value, new)
                    fix = Fix(value.span, text)
                    yield Offer(node, fix, f"did you mean `{text}`?")

                self.findings.error("AZG404", message, value.span, None, offers)
            return (least if low is None else low), (least if top is None else top)
        number = self.value(name, kind, value)
        return (least, least) if number is None else (number, number)

    def items(self, setting: ast.Setting) -> tuple[ast.Value, ...]:
        value = setting.value
        values = value.items if isinstance(value, ast.List) else (value,)
        if not values:
            message = f"`{setting.name}` is an empty list"
            self.findings.error("AZG404", message, value.span)
        return values

    def attention(
        self, block: dict[str, ast.Setting] | None
    ) -> tuple[tuple[str, ...] | None, frozenset[str] | None, tuple[int, int]]:
        if block is None:
            return None, None, (1, MAX_OPERATIONS)
        for name in ("inputs", "ops"):
            if name not in block:
                message = f"the block `attention` of `{self.node.name}` needs `{name}`"
                help_ = (
                    "inputs = [q, k, v]" if name == "inputs" else "ops = [matmul, …]"
                )
                self.missing(name, message, help_)
        inputs: list[str] = []
        ops: list[str] = []
        if "inputs" in block:
            for item in self.items(block["inputs"]):
                if isinstance(item, ast.Name) and is_name(item.id):
                    inputs.append(item.id)
                else:
                    message = "`inputs` must be names of parameters"
                    self.findings.error("AZG404", message, item.span)
        if "ops" in block:
            for item in self.items(block["ops"]):
                if isinstance(item, ast.Name) and item.id in load_ops():
                    ops.append(item.id)
                else:
                    self.unknown_operation(item)
        size = (1, MAX_OPERATIONS)
        if "size" in block:
            # `return v` has no operations.
            size = self.span_of("size", block["size"].value, MAX_OPERATIONS, least=0)
        return tuple(dict.fromkeys(inputs)), frozenset(ops), size

    def unknown_operation(self, item: ast.Value) -> None:
        known = sorted(load_ops())
        if not isinstance(item, ast.Name):
            message = "`ops` must be names of operations"
            self.findings.error("AZG404", message, item.span)
            return
        self.findings.unknown(
            "AZG404",
            "operation",
            item.id,
            known,
            item.span,
            help=operation_help(item.id),
            offers=self.named(item, known),
        )

    def conv(
        self, block: dict[str, ast.Setting] | None
    ) -> tuple[tuple[int, ...], tuple[str, ...]]:
        if block is None:
            return (), ()
        if "kernel" not in block:
            message = f"the block `conv` of `{self.node.name}` needs `kernel`"
            self.missing("kernel", message, "kernel = [3, 5, 7]")
            return (), ()
        odd = OddWhole(1, MAX_KERNEL)
        found = [
            self.value("kernel", odd, item) for item in self.items(block["kernel"])
        ]
        kernels = tuple(sorted({kernel for kernel in found if kernel is not None}))
        kinds: tuple[str, ...] = (DEFAULT_KIND,)
        if "kind" in block:
            choice = Choice(tuple(CONV_KINDS))
            read = [
                self.value("kind", choice, item) for item in self.items(block["kind"])
            ]
            kinds = tuple(dict.fromkeys(kind for kind in read if kind is not None))
        return kernels, kinds

    def layer(
        self, block: dict[str, ast.Setting] | None
    ) -> dict[str, tuple[int | str | tuple[int, ...], ...]]:
        found: dict[str, tuple[int | str | tuple[int, ...], ...]] = {}
        for name, setting in (block or {}).items():
            kind = LAYER_ARGUMENTS[name]
            values: list[int | str | tuple[int, ...]] = []
            for item in self.items(setting):
                value = self.value(name, kind, item)
                if value is not None:
                    values.append(_plain(value))
            found[name] = tuple(dict.fromkeys(values))
        return found


# Membership


def membership(model: ModelSpec, space: SpaceSpec) -> list[Diagnostic]:
    """Compare a model with a space (AZG41x).

    Returns:
        The reasons why the model is not in the space; empty if it is.
    """
    findings = Findings()
    start = space.start
    for name in SETTINGS:
        mine, theirs = getattr(model, name), getattr(start, name)
        # Settings that may vary by layer are compared layer by layer.
        if mine != theirs and name not in space.layer:
            message = (
                f"`{name}` is {_shown(mine)}; the space's start has {_shown(theirs)}"
            )
            findings.error("AZG410", message, _setting_span(model, name))
    low, high = space.depth
    if not low <= len(model.layers) <= high:
        wanted = _shown_range(low, high)
        message = f"{len(model.layers)} layers; the space has depth {wanted}"
        findings.error("AZG411", message, model.node.name_span)
    allowed = {name: frozenset(values) for name, values in space.layer.items()}
    inputs = frozenset(space.inputs or ())
    fixed = _fixed(start)
    found: dict[int, list[_Fault]] = {}  # by program, so that each is compared once
    for layer in _distinct(model.layers):
        if findings.full:
            break
        span = layer.node.span
        _layer_membership(model, layer, space, allowed, findings)
        if isinstance(layer.mixing, ConvUse):
            if space.kernels:
                _conv_membership(layer.mixing, span, space, findings)
            continue
        program = layer.mixing.program
        if space.ops is None and not fixed(program):
            message = "the space has no block `attention`, so its programs are fixed"
            findings.error("AZG412", message, span)
        elif space.ops is not None:
            if id(program) not in found:
                faults = _program_faults(program, inputs, space)
                found[id(program)] = list(islice(faults, Findings.LIMIT))
            for fault in found[id(program)]:
                message = f"`{layer.mixing.name}` {fault.message}"
                findings.error(fault.code, message, span, fault.help, notes=fault.notes)
    if not space.kernels and not findings.full:
        _fixed_convs(model, start, findings)
    return findings.found


def _distinct(layers: tuple[LayerSpec, ...]) -> list[LayerSpec]:
    """Return the layers without those that equal an earlier one."""
    found: dict[Hashable, LayerSpec] = {}
    for layer in layers:
        found.setdefault(layer.kind, layer)
    return list(found.values())


def _fixed(start: ModelSpec) -> Callable[[AttentionSpec], bool]:
    """Return a test for programs that the start has, under any name."""
    uses = [each.mixing for each in start.layers]
    programs = [use.program for use in uses if isinstance(use, AttentionUse)]
    same = set(map(id, programs))
    equal = cache(lambda: frozenset(programs))  # hashing them all takes long
    return lambda program: id(program) in same or program in equal()


def _plain(value: Any) -> Any:
    """Unwrap a tuple of one width."""
    return value[0] if isinstance(value, tuple) and len(value) == 1 else value


def _shown(value: object) -> str:
    """Format a value as in a program."""
    value = _plain(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{listed([*map(_shown, value[:_SHOWN]), *value[_SHOWN:]], _SHOWN)}]"
    return str(value)


def _setting_span(model: ModelSpec, name: str) -> Span:
    spans = [s.span for s in model.node.settings if s.name == name]
    return spans[0] if spans else model.node.name_span


def _layer_membership(
    model: ModelSpec,
    layer: LayerSpec,
    space: SpaceSpec,
    allowed: Mapping[str, frozenset[Any]],
    findings: Findings,
) -> None:
    for name in LAYER_ARGUMENTS:
        value = getattr(layer, name)
        if value == getattr(space.start, name):
            continue
        if name not in space.layer and value == getattr(model, name):
            continue  # reported at the setting
        if _plain(value) not in allowed.get(name, ()) and not findings.full:
            message = f"`{name} = {_shown(value)}` in a layer is not in the space"
            values = space.layer.get(name)
            help_ = f"the space allows {_shown(values)}" if values else None
            findings.error("AZG413", message, layer.node.span, help_)


def _convs(model: ModelSpec) -> list[tuple[ConvUse, Span]]:
    """Return the convolution layers of a model, from the lowest."""
    return [
        (layer.mixing, layer.node.span)
        for layer in model.layers
        if isinstance(layer.mixing, ConvUse)
    ]


def _fixed_convs(model: ModelSpec, start: ModelSpec, findings: Findings) -> None:
    """Check that a model has the start's convolutions in the same order: there is no
    `conv` block.
    """
    theirs = [conv for conv, _ in _convs(start)]
    mine = _convs(model)
    if [conv for conv, _ in mine] == theirs:
        return
    pairs = zip(mine, theirs, strict=False)
    spans = [span for (conv, span), other in pairs if conv != other]
    spans += [span for _, span in mine[len(theirs) :]]
    span = spans[0] if spans else model.node.name_span
    has = "no convolutions"
    if theirs:
        names = listed([f"{conv.kind} {conv.kernel}" for conv in theirs], _SHOWN)
        has = f"only the convolutions of its start: {names}"
    message = f"the space has no block `conv`, so it allows {has}"
    findings.error("AZG414", message, span)


def _conv_membership(
    conv: ConvUse, span: Span, space: SpaceSpec, findings: Findings
) -> None:
    if conv.kernel not in space.kernels:
        message = f"a convolution of width {conv.kernel}; the space allows "
        findings.error("AZG414", message + _shown(space.kernels), span)
    elif conv.kind not in space.kinds:
        message = f"a convolution of kind {conv.kind}; "
        message += f"the space allows {_shown(space.kinds)}"
        findings.error("AZG414", message, span)


@dataclass(frozen=True)
class _Fault:
    """A reason why a program is not in a space, with notes that show the place."""

    code: str
    message: str
    help: str | None
    notes: tuple[Note, ...] = ()


def _program_faults(
    program: AttentionSpec, inputs: frozenset[str], space: SpaceSpec
) -> Iterator[_Fault]:
    for param in program.node.params:
        name = param.name
        if name not in inputs:
            message = f"takes `{name}`, which is not an input of the space"
            note = Note(f"`{name}` is a parameter here", param.span)
            yield _Fault("AZG415", message, f"add `{name}` to `inputs`", (note,))
    used = program.operations
    for op in sorted(used.keys() - (space.ops or frozenset())):
        message = f"uses `{op}`, which is not among the space's ops"
        note = Note(f"`{op}` is used here", _first_use(op, program))
        yield _Fault("AZG416", message, f"add `{op}` to `ops`", (note,))
    low, high = space.size
    size = used.total()
    if not low <= size <= high:
        message = f"has {size} operations; the space allows {low}..{high}"
        yield _Fault("AZG417", message, None)


def _first_use(op: str, program: AttentionSpec) -> Span:
    """Return the span of the first use of an operation in a program."""
    return next(each.span for each in program.applied if each.op == op)
