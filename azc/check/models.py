"""Models: settings and layers (AZG3xx; limits AZG504, AZG505)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import isqrt
from typing import Any

from azc.check.causality import causal_faults
from azc.check.collect import Findings, Offers, renames
from azc.check.params import model_parameters
from azc.check.program import (
    AttentionSpec,
    AttentionUse,
    ConvUse,
    LayerSpec,
    ModelSpec,
)
from azc.check.values import (
    Choice,
    Kind,
    OddWhole,
    OneOrMore,
    Real,
    Truth,
    Whole,
    read_value,
)
from azc.check.words import LAYERS, RENAMED
from azc.check.words import SETTINGS as SETTING_WORDS
from azc.diagnostics import Diagnostic, Fix, Note, nearby
from azc.mixing.convolution import CONV_KINDS, DEFAULT_KIND
from azc.ops.defs.places import MAX_KERNEL
from azc.ops.table import load_ops
from azc.source import Span
from azc.syntax import ast

__all__ = [
    "ACTIVATIONS",
    "LAYER_ARGUMENTS",
    "MAX_HEADS",
    "MAX_LAYERS",
    "MAX_LENGTH",
    "MAX_PARAMETERS",
    "MAX_WIDTH",
    "SETTINGS",
    "VOCAB",
    "Library",
    "check_model",
]

MAX_LAYERS = 1000  # after `repeat`
MAX_WIDTH = 1_000_000
MAX_HEADS = 65_536
MAX_LENGTH = 100_000_000
MAX_PARAMETERS = 10**11

ACTIVATIONS = ("gelu", "gelu_tanh", "relu", "relu2", "silu", "geglu", "swiglu")

VOCAB = Whole(1, 100_000_000)
_FFN = OneOrMore(Whole(1, MAX_WIDTH))
_HEADS = Whole(1, MAX_HEADS)

SETTINGS: Mapping[str, tuple[Kind, Any]] = {
    "vocab": (VOCAB, 30522),
    "hidden": (Whole(1, MAX_WIDTH), 768),
    "heads": (_HEADS, 12),
    "ffn": (_FFN, None),  # 4 · hidden
    "activation": (Choice(ACTIVATIONS), "gelu"),
    "norm": (Choice(("layer_norm", "rms_norm")), "layer_norm"),
    "norm_eps": (Real(0.0, 1.0, open_low=True), 1e-12),
    "residual": (Choice(("post", "pre")), "post"),
    "positions": (Choice(("learned", "sinusoidal", "none")), "learned"),
    "max_length": (Whole(1, MAX_LENGTH), 512),
    "token_types": (Whole(0, 65536), 2),
    "dropout": (Real(0.0, 1.0, open_high=True), 0.1),
    "attention_dropout": (Real(0.0, 1.0, open_high=True), 0.1),
    "causal": (Truth(), False),
    "bias": (Truth(), True),
    "tie_embeddings": (Truth(), True),
}

LAYER_ARGUMENTS: Mapping[str, Kind] = {
    "heads": _HEADS,
    "ffn": _FFN,
    "activation": Choice(ACTIVATIONS),
}
_CONV_ARGUMENTS: Mapping[str, Kind] = {
    "kernel": OddWhole(1, MAX_KERNEL),
    "kind": Choice(tuple(CONV_KINDS)),
    **LAYER_ARGUMENTS,
}


# Returns the edit that imports a program of the standard library, or None.
Library = Callable[[str], Fix | None]


@dataclass
class _Scope:
    """Context for reading the layers of one model."""

    node: ast.Model
    findings: Findings
    attentions: Mapping[str, AttentionSpec | None]
    settings: dict[str, Any]
    library: Library | None
    causal: dict[str, bool] = field(
        default_factory=dict
    )  # has the program such meaning


def check_model(
    node: ast.Model,
    attentions: Mapping[str, AttentionSpec | None],
    findings: Findings,
    library: Library | None = None,
) -> ModelSpec | None:
    """Check a model and fill in its defaults.

    Args:
        node: The declaration.
        attentions: The programs in scope by name, None for those with errors of
            their own.
        findings: Collects the diagnostics.
        library: Returns the edit that imports a program that is not in scope.

    Returns:
        The model, or None if an error was found.
    """
    spec = _check(node, attentions, findings, library)

    def again(other: ast.Declaration, trial: Findings) -> None:
        assert isinstance(other, ast.Model)
        _check(other, attentions, trial, None)

    findings.settle(node, again)
    return spec


def _check(
    node: ast.Model,
    attentions: Mapping[str, AttentionSpec | None],
    findings: Findings,
    library: Library | None,
) -> ModelSpec | None:
    before = findings.count
    settings = _settings(node, findings)
    if findings.count == before:  # else a default may replace an invalid value
        _divides(node, settings, findings)
    _whole(node, settings, findings)
    scope = _Scope(node, findings, attentions, settings, library)
    count = _count(node.layers)
    layers: list[LayerSpec | None] = []
    if not any(isinstance(item, ast.Layers) for item in node.items) or count == 0:
        message = f"`{node.name}` has no layers"
        findings.error("AZG304", message, node.name_span, "layers { sdpa }")
    elif count > MAX_LAYERS:
        # Nested repeats make numbers too long to read.
        shown = f"{count:,}" if count < 10**12 else "more than 10¹²"
        message = f"`{node.name}` has {shown} layers; the limit is {MAX_LAYERS:,}"
        findings.error("AZG504", message, node.name_span)
        _layers(node.layers, scope, expand=False)
    else:
        layers = _layers(node.layers, scope)
    if findings.count > before or any(layer is None for layer in layers):
        return None
    spec = ModelSpec(
        name=node.name,
        layers=tuple(layer for layer in layers if layer is not None),
        node=node,
        **settings,
    )
    total = model_parameters(spec)
    if total > MAX_PARAMETERS:
        message = f"`{node.name}` has {total:,} parameters; "
        message += f"the limit is {MAX_PARAMETERS:,}"
        findings.error("AZG505", message, node.name_span)
        return None
    return spec


def _settings(node: ast.Model, findings: Findings) -> dict[str, Any]:
    """Return the value of every setting, as written or by default."""
    values: dict[str, Any] = {name: default for name, (_, default) in SETTINGS.items()}
    given: dict[str, Span] = {}
    for setting in node.settings:
        if setting.name not in SETTINGS:
            findings.unknown(
                "AZG301",
                "setting",
                setting.name,
                SETTINGS,
                setting.span,
                help=_setting_help(setting.name),
                offers=_renames(node, setting, SETTINGS),
            )
            continue
        if setting.name in given:
            message = f"`{setting.name}` is set twice"
            notes = (Note("it is first set here", given[setting.name]),)
            findings.error("AZG302", message, setting.span, notes=notes)
            continue
        given[setting.name] = setting.span
        kind, default = SETTINGS[setting.name]
        value = read_value(setting.name, kind, setting.value, findings, "AZG303", node)
        values[setting.name] = default if value is None else value
    if values["ffn"] is None:
        values["ffn"] = (4 * values["hidden"],)
    return values


def _setting_help(name: str) -> str | None:
    """Return help for an unknown setting."""
    hint = SETTING_WORDS.get(name)
    if name in RENAMED:
        hint = f"azc calls it `{RENAMED[name]}`"
    return f"{hint}; the settings are {', '.join(SETTINGS)}" if hint else None


def _argument_help(name: str, known: Iterable[str]) -> str | None:
    """Return help for an argument of a layer that is a setting of the model."""
    name = RENAMED.get(name, name)
    if name not in SETTINGS or name in known:
        return None
    return f"`{name}` is a setting of the model; a layer takes {', '.join(known)}"


def _renames(
    node: ast.Model, named: ast.Setting | ast.Attr, known: Iterable[str]
) -> Offers:
    """Offer other names for a setting or an argument."""

    def renamed(name: str) -> ast.Model:
        return ast.swapped(node, named, replace(named, name=name))

    return renames(named.name, known, named.span, renamed, RENAMED)


def _place(node: ast.Model, *names: str) -> Span:
    """Return the span of the last of these settings that is written, or of the model's
    name.
    """
    spans = [s.span for s in node.settings if s.name in names]
    return spans[-1] if spans else node.name_span


def _divides(node: ast.Model, settings: dict[str, Any], findings: Findings) -> None:
    """Check that heads have equal width."""
    hidden, heads = settings["hidden"], settings["heads"]
    if hidden % heads:
        message = f"hidden = {hidden} does not divide into {heads} heads"
        help_ = f"heads = {_divisor(hidden, heads)}"
        findings.error("AZG305", message, _place(node, "hidden", "heads"), help_)


def _whole(node: ast.Model, settings: dict[str, Any], findings: Findings) -> None:
    """Check that there is one block of layers."""
    blocks = [item for item in node.items if isinstance(item, ast.Layers)]
    for extra in blocks[1:]:
        message = "a model can have only one `layers` block"
        notes = (Note("the first one is here", blocks[0].span),)
        findings.error("AZG302", message, extra.span, notes=notes)


def _divisor(hidden: int, wanted: int) -> int:
    """Return the divisor of `hidden` nearest to `wanted`, the smaller one of two."""
    small = [each for each in range(1, isqrt(hidden) + 1) if hidden % each == 0]
    divisors = [*small, *(hidden // each for each in small)]
    return min(divisors, key=lambda each: (abs(each - wanted), each))


def _count(items: tuple[ast.LayerItem, ...]) -> int:
    total = 0
    for item in items:
        if isinstance(item, ast.Repeat):
            count = item.count.value
            # An invalid count is reported when the layers are read.
            times = count if isinstance(count, int) and count > 0 else 1
            total += times * _count(item.items)
        else:
            total += 1
    return total


def _layers(
    items: tuple[ast.LayerItem, ...], scope: _Scope, expand: bool = True
) -> list[LayerSpec | None]:
    """Return every layer, with repeats expanded if `expand`."""
    found: list[LayerSpec | None] = []
    for item in items:
        if isinstance(item, ast.Repeat):
            count = item.count.value
            inner = _layers(item.items, scope, expand)
            if not isinstance(count, int) or count < 1:
                message = "`repeat` takes a whole number, at least 1"
                scope.findings.error("AZG306", message, item.count.span)
                count = 1
            found.extend(inner * (count if expand else 1))
        else:
            found.append(_layer(item, scope))
    return found


def _layer(node: ast.Layer, scope: _Scope) -> LayerSpec | None:
    findings = scope.findings
    before = findings.count
    conv = node.name == "conv"
    known = _CONV_ARGUMENTS if conv else LAYER_ARGUMENTS
    if not conv and node.name not in scope.attentions:
        _unknown_layer(node, scope)
    values: dict[str, Any] = {}
    slips: set[str] = set()
    for arg in node.args:
        if arg.name not in known:
            where = f"of `{node.name}`"
            offers = _renames(scope.node, arg, known)
            help_ = _argument_help(arg.name, known)
            findings.unknown(
                "AZG308", "argument", arg.name, known, arg.span, where, help_, offers
            )
            if not findings.full:
                slips.update([*nearby(arg.name, known), RENAMED.get(arg.name, "")])
        elif arg.name in values:
            message = f"`{arg.name}` is passed twice"
            first = next(each for each in node.args if each.name == arg.name)
            notes = (Note("it is first passed here", first.span),)
            findings.error("AZG308", message, arg.span, notes=notes)
        else:
            kind = known[arg.name]
            values[arg.name] = read_value(
                arg.name, kind, arg.value, findings, "AZG303", scope.node
            )
    if conv and "kernel" not in values.keys() | slips:
        findings.error("AZG308", "`conv` needs a kernel", node.span, "conv(kernel = 9)")
    heads = values.get("heads") or scope.settings["heads"]
    if "heads" in values and scope.settings["hidden"] % heads:
        hidden = scope.settings["hidden"]
        message = f"hidden = {hidden} does not divide into {heads} heads"
        help_ = f"heads = {_divisor(hidden, heads)}"
        findings.error("AZG305", message, node.span, help_)
    if findings.count > before:
        return None
    mixing: AttentionUse | ConvUse
    if conv:
        mixing = ConvUse(values["kernel"], values.get("kind") or DEFAULT_KIND)
    else:
        program = scope.attentions[node.name]
        if program is None:
            return None  # its errors are reported where it is declared
        if scope.settings["causal"] and not _has_causal_meaning(program, node, scope):
            return None
        mixing = AttentionUse(node.name, program)
    return LayerSpec(
        mixing=mixing,
        heads=heads,
        ffn=values.get("ffn") or scope.settings["ffn"],
        activation=values.get("activation") or scope.settings["activation"],
        node=node,
    )


def _has_causal_meaning(program: AttentionSpec, node: ast.Layer, scope: _Scope) -> bool:
    """Return whether a causal model can compute a layer; report faults once per
    program.
    """
    if node.name not in scope.causal:
        away = program.node.span.source is not node.span.source
        faults = causal_faults(program, node.span if away else None)
        scope.causal[node.name] = not faults
        for fault in faults:
            scope.findings.add(fault)
    return scope.causal[node.name]


def _unknown_layer(node: ast.Layer, scope: _Scope) -> None:
    name = node.name
    if scope.findings.full:
        scope.findings.error("AZG307", f"unknown layer `{name}`", node.span)
        return
    known = ["conv", *scope.attentions]
    fix = scope.library(name) if scope.library else None
    message = f"unknown layer `{name}`"
    if fix is not None:
        help_ = f"import it: `from std.attention import {name}`"
        found = Diagnostic("AZG307", message, node.span, help_, fix=fix)
        scope.findings.add(found)
        return
    hint = LAYERS.get(name)
    if hint is None and name in load_ops():
        hint = f"`{name}` is an operation; a layer is `conv` or an attention program"

    def renamed(near: str) -> ast.Model:
        return ast.swapped(scope.node, node, replace(node, name=near))

    offers = renames(name, known, node.span, renamed, {})
    scope.findings.unknown(
        "AZG307", "layer", name, known, node.span, help=hint, offers=offers
    )
