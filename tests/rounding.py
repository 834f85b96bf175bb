"""Compiled programs run value by value: in which type each is, and how far rounding to a
type moves what comes out.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.utils._pytree import tree_map

from azc.lower import rows
from azc.lower.moments import Moments

__all__ = ["ROUNDING", "Kept", "Seen", "Shaken", "interpreted"]

ROUNDING = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
Types = dict[str, torch.dtype]


class _Named(fx.Interpreter):
    """Runs a module, with a name for each value that is another in each body."""

    def __init__(self, module: fx.GraphModule, path: str) -> None:
        super().__init__(module)
        self.path = path

    def label(self, n: fx.Node) -> str:
        return f"{self.path}.{n.name}"


class Seen(_Named):
    """Runs a module and notes the type of every value."""

    def __init__(self, module: fx.GraphModule, path: str, types: Types) -> None:
        super().__init__(module, path)
        self.types = types

    def run_node(self, n: fx.Node) -> Any:
        found = super().run_node(n)
        if isinstance(found, torch.Tensor):
            self.types[self.label(n)] = found.dtype
        return found


class Kept(_Named):
    """Runs a module and keeps the values that are of a type in another run, with their
    gradients.
    """

    def __init__(
        self,
        module: fx.GraphModule,
        path: str,
        types: Types,
        dtype: torch.dtype,
        kept: list[torch.Tensor],
    ) -> None:
        super().__init__(module, path)
        self.types, self.dtype, self.kept = types, dtype, kept

    def run_node(self, n: fx.Node) -> Any:
        found = super().run_node(n)
        if self.types.get(self.label(n)) == self.dtype and found.requires_grad:
            found.retain_grad()
            self.kept.append(found)
        return found


class _Slope(torch.autograd.Function):
    """A tensor as it is, with its gradient times a factor."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(factor)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        (factor,) = ctx.saved_tensors
        return grads[0] * factor, None


class Shaken(_Named):
    """Runs a module in float64 with each value, and its gradient at each use, off by as
    much as a type rounds it or less. `types`: those of the values in that type.

    What is small in that type may become 0; not so what is made of softmaxes alone, which
    are for float32.
    """

    def __init__(
        self,
        module: fx.GraphModule,
        path: str,
        types: Types,
        dtype: torch.dtype,
        seed: int,
    ) -> None:
        super().__init__(module, path)
        self.types, self.dtype, self.seed = types, dtype, seed
        self.order = {node.name: i for i, node in enumerate(module.graph.nodes)}
        self.weights: set[fx.Node] = set()

    def factor(self, n: fx.Node, x: torch.Tensor, use: int) -> torch.Tensor:
        """What rounding may multiply a value by."""
        place = 100 * self.order[n.name] + use
        random = torch.Generator().manual_seed(1000 * place + self.seed)
        # Each entry on its own, all alike, or all of a row or of a column alike.
        shape = list(x.shape)
        kind = self.seed % 4
        if kind == 1:
            shape = [1] * x.dim()
        elif kind > 1:
            shape[-1 if kind == 2 else -2] = 1
        noise = torch.rand(shape, generator=random, dtype=x.dtype) * 2 - 1
        return 1 + ROUNDING[self.dtype] * noise

    def fetch_args_kwargs_from_env(self, n: fx.Node) -> Any:
        given = super().fetch_args_kwargs_from_env(n)
        uses = iter(range(1, 100))

        def shaken(x: Any) -> Any:
            if not isinstance(x, torch.Tensor) or not x.requires_grad or x.dim() < 3:
                return x
            return _Slope.apply(x, self.factor(n, x, next(uses)))

        return given if n.op == "output" else tree_map(shaken, given)

    def is_of_weights(self, n: fx.Node) -> bool:
        given = [(node, self.env.get(node)) for node in n.all_input_nodes]
        numbers = [
            node
            for node, x in given
            if isinstance(x, torch.Tensor) and x.is_floating_point()
        ]
        return bool(numbers) and self.weights.issuperset(numbers)

    def run_node(self, n: fx.Node) -> Any:
        found = super().run_node(n)
        if not isinstance(found, torch.Tensor) or not found.is_floating_point():
            return found
        if n.op == "output" or found.dim() < 3:
            return found
        shaken = found * self.factor(n, found, 0)
        if n.target is rows.softmax or self.is_of_weights(n):
            self.weights.add(n)
            return shaken
        if self.types.get(self.label(n)) != self.dtype:
            return shaken
        rounded = shaken.to(self.dtype).double()
        return shaken + torch.where(rounded.isinf(), 0.0, rounded - shaken).detach()


class _Body(nn.Module):
    """The body of a region, run by an interpreter."""

    def __init__(self, run: Callable[..., Any]) -> None:
        super().__init__()
        self.run = run

    def forward(self, *args: Any) -> Any:
        return self.run(*args)


def interpreted(
    module: fx.GraphModule, make: Callable[[fx.GraphModule, str], fx.Interpreter]
) -> Callable[..., Any]:
    """A module, copied, run by interpreters; those of its regions have paths."""
    module = copy.deepcopy(module)
    for path, part in module.named_modules():
        if isinstance(part, Moments):
            part.body = _Body(make(part.body, path).run)  # type: ignore[assignment]
    return make(module, "").run
