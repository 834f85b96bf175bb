"""azc: attention programs, compiled and evolved.

    program = azc.load("file.azg")
    fn = azc.compile_attention(program, "name")
    model = azc.compile(program, "name", task="masked-lm")

Importing azc is cheap: each name below is imported on first use, and torch when it is
needed. The Auto classes of transformers then know compiled models, whichever of the two
packages is imported first.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from azc.api import (
        compile,
        compile_attention,
        diff,
        evolve,
        format,
        interpret_attention,
        load,
        loads,
        resume,
        summary,
    )
    from azc.check.program import Program
    from azc.diagnostics import (
        AzcError,
        Diagnostic,
        DiagnosticError,
        InternalError,
        RunError,
        UsageError,
    )
    from azc.model.weights import load_weights

__all__ = [
    "AzcError",
    "Diagnostic",
    "DiagnosticError",
    "InternalError",
    "Program",
    "RunError",
    "UsageError",
    "__version__",
    "compile",
    "compile_attention",
    "diff",
    "evolve",
    "format",
    "interpret_attention",
    "load",
    "load_weights",
    "loads",
    "resume",
    "summary",
]

_ERRORS = (
    "AzcError Diagnostic DiagnosticError InternalError RunError UsageError"
).split()
_WHERE = {
    **dict.fromkeys(_ERRORS, "azc.diagnostics"),
    "Program": "azc.check.program",
    "load_weights": "azc.model",
}


def __getattr__(name: str) -> object:
    """Import a public name on first use (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            found: object = version("azc-lang")
        except PackageNotFoundError:  # a checkout on the path, not installed
            found = "0+unknown"
    elif name in __all__:
        found = getattr(import_module(_WHERE.get(name, "azc.api")), name)
    else:
        raise AttributeError(f"module 'azc' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


import_module("azc.autoclasses").connect()
