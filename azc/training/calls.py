"""What a model is called with beside a batch."""

from __future__ import annotations

import inspect
from typing import Any

__all__ = ["extras"]


def extras(model: Any) -> dict[str, Any]:
    """What a model can be told beyond the batch: not to compute logits unasked for, and
    to keep nothing for later tokens.
    """
    accepted = inspect.signature(model.forward).parameters
    wanted = {"targets_only": True, "use_cache": False}
    return {name: value for name, value in wanted.items() if name in accepted}
