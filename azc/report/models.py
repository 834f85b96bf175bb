"""Models of a run's candidates: layers and costs, compiled on demand.

Compiling a program takes milliseconds, and a run has thousands of them. So each is
compiled once, and only the needed results are kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from azc.check.program import ConvUse
from azc.check.resolve import check_source
from azc.compare.summary import summarise
from azc.diagnostics import DiagnosticError
from azc.search.records import Candidate
from azc.source import Source

__all__ = ["Chip", "Layer", "Model", "Models"]


@dataclass(frozen=True)
class Layer:
    """A layer of a model.

    Attributes:
        mixing: Token mixing of the layer.
        kind: "conv" or "attention".
        parameters: Number of parameters.
        flops: FLOPs of a forward pass per token.
        lines: The expression that the attention program computes; empty for a
            convolution.
    """

    mixing: str
    kind: str
    parameters: int
    flops: float
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Chip:
    """Consecutive layers with the same token mixing, for the picture of a model."""

    text: str
    times: int
    kind: str


@dataclass(frozen=True)
class Model:
    """The base model of a candidate: embeddings, layers and pooler.

    Attributes:
        parameters: Number of parameters.
        flops: FLOPs of a forward pass through all layers, per token.
        layers: The layers.
    """

    parameters: int
    flops: float
    layers: tuple[Layer, ...]

    @property
    def chips(self) -> list[Chip]:
        """The layers from the input to the output."""
        pairs = [
            (
                each.mixing.replace("conv(kernel = ", "conv(").replace("kind = ", ""),
                each.kind,
            )
            for each in self.layers
        ]
        return [
            Chip(text, len(list(same)), kind) for (text, kind), same in groupby(pairs)
        ]


class Models:
    """The models of the candidates of one run, by number.

    Args:
        name: Name of the model in each program.
        tokens: Sequence length that costs are computed for.
    """

    def __init__(self, name: str, tokens: int) -> None:
        self._name = name
        self._tokens = tokens
        self._found: dict[int, Model | None] = {}

    def __contains__(self, number: int) -> bool:
        """Return whether the candidate was compiled, or can't be."""
        return number in self._found

    def known(self, number: int) -> Model | None:
        """Return the model of a candidate; None if it was not compiled, or can't be."""
        return self._found.get(number)

    def compile(self, candidates: Iterable[Candidate]) -> None:
        """Compile the candidates that were not compiled yet.

        A program that this version of azc can't read has no model.
        """
        for each in candidates:
            if each.id not in self._found:
                self._found[each.id] = self._compiled(each.program)

    def _compiled(self, text: str) -> Model | None:
        try:
            program = check_source(Source("candidate.azg", text, own=True))
        except DiagnosticError:  # written by another version of azc, say
            return None
        spec = program.models.get(self._name)
        if spec is None:
            return None
        found = summarise(spec, self._tokens)
        layers = tuple(
            Layer(
                mixing=each.mixing,
                kind="conv" if isinstance(each.layer.mixing, ConvUse) else "attention",
                parameters=each.parameters,
                flops=each.flops,
                lines=() if each.expression is None else each.expression.lines,
            )
            for each in found.layers
        )
        return Model(found.parameters, found.flops, layers)
