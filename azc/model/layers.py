"""Compiled layers with gradient checkpointing."""

from __future__ import annotations

from typing import Any

from transformers.modeling_layers import GradientCheckpointingLayer

from azc.lower.layer import Layer

__all__ = ["CheckpointedLayer"]


class CheckpointedLayer(Layer, GradientCheckpointingLayer):
    """A layer with gradient checkpointing, which `gradient_checkpointing_enable` turns
    on.

    Hooks on the layer run once.
    """

    def recompile(self) -> Any:
        """Generate the `forward` of the graph, and wrap it for checkpointing."""
        code = super().recompile()
        # transformers wraps the `forward` of a class when the class is created, but fx
        # sets it only now.
        type(self).__init_subclass__()  # type: ignore[no-untyped-call]
        return code
