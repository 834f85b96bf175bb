"""Choice of one declaration of a checked file, by name or because it is the only one.

Codes: U101 the file has no declaration of this name; U102 the file has no declaration
of the required kind; U103 the file has several declarations of the required kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeVar

from azc.check.program import AttentionSpec, ModelSpec, Program, SpaceSpec
from azc.diagnostics import UsageError, listed, nearest

__all__ = ["choose_attention", "choose_model", "choose_space", "choose_start"]

_DECLARE: Mapping[str, str] = {
    "attention": "a block `attention` declares a program",
    "model": "a block `model` declares one, with its layers",
    "space": "a block `space` says what a search may change, and from which model it starts",
}
_Spec = TypeVar("_Spec", AttentionSpec, ModelSpec, SpaceSpec)


def choose_attention(
    program: Program, name: str | None = None
) -> tuple[str, AttentionSpec]:
    """Choose an attention program.

    Args:
        program: The checked file.
        name: The name in the file. By default, the only program that the file
            declares, or else the only one that it declares or imports.

    Returns:
        The name in the file, and the program.

    Raises:
        UsageError: If there is no such program, or several and no name.
    """
    return _choose("attention", program, program.attentions, name)


def choose_model(program: Program, name: str | None = None) -> tuple[str, ModelSpec]:
    """Choose a model and return its name in the file, too; see `choose_attention`."""
    return _choose("model", program, program.models, name)


def choose_space(program: Program, name: str | None = None) -> tuple[str, SpaceSpec]:
    """Choose a space and return its name in the file, too; see `choose_attention`."""
    return _choose("space", program, program.spaces, name)


def choose_start(program: Program, space: str | None = None) -> tuple[str, SpaceSpec]:
    """Choose a space; return the name in the file of the model it starts from, and the
    space.

    See `choose_attention`.
    """
    _, found = choose_space(program, space)
    for name, model in program.models.items():
        if model is found.start:
            return name, found
    return found.start.name, found


def _choose(
    kind: Literal["attention", "model", "space"],
    program: Program,
    known: Mapping[str, _Spec],
    name: str | None,
) -> tuple[str, _Spec]:
    file = program.source.name
    if name is not None:
        if name in known:
            return name, known[name]
        near = nearest(name, known)
        others = f"it has: {listed(known)}" if known else None
        help_ = f"did you mean `{near}`?" if near else others
        raise UsageError("U101", f"{file} has no {kind} `{name}`", help_)
    own = [each for each in known if each in program.declared]
    for names in (own, list(known)):
        if len(names) == 1:
            return names[0], known[names[0]]
    if not known:
        raise UsageError("U102", f"{file} has no {kind}", _DECLARE[kind])
    message = f"{file} has {len(known)} {kind}s; choose one"
    raise UsageError("U103", message, f"one of: {listed(known)}")
