"""Compiled layers as transformers wants them: with gradient checkpointing."""

from __future__ import annotations

from typing import Any

from transformers.modeling_layers import GradientCheckpointingLayer

from azc.lower.layer import Layer

__all__ = ["CheckpointedLayer"]


class CheckpointedLayer(Layer, GradientCheckpointingLayer):
    """A layer whose activations can be computed again on the way back, as
    `gradient_checkpointing_enable` of a model asks for; hooks on it run once.
    """

    def recompile(self) -> Any:
        """New code from the graph: the `forward` to checkpoint."""
        code = super().recompile()
        # transformers wraps the `forward` of a class when the class is made, and fx
        # gives the class its own only now.
        type(self).__init_subclass__()  # type: ignore[no-untyped-call]
        return code
