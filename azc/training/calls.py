"""Extra arguments of calls of a model."""

from __future__ import annotations

import inspect
from typing import Any

__all__ = ["extras"]


def extras(model: Any) -> dict[str, Any]:
    """Return the extra arguments that a model accepts: compute only the logits of
    targets, and keep no cache.
    """
    accepted = inspect.signature(model.forward).parameters
    wanted = {"targets_only": True, "use_cache": False}
    return {name: value for name, value in wanted.items() if name in accepted}
