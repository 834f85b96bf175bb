"""Graph modules that can be copied and pickled whole."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache
from typing import Any

from torch import fx, nn
from torch.fx.graph_module import reduce_graph_module

from azc.lower import runtime

__all__ = ["CompiledModule", "Tracer"]


class Tracer(fx.Tracer):
    """Makes a graph again from its code, as unpickling does: what a compiled graph calls
    stays a call.
    """

    def __init__(self) -> None:
        called = tuple(getattr(runtime, name) for name in runtime.__all__)
        super().__init__(autowrap_functions=called)


class CompiledModule(fx.GraphModule):
    """A graph module that is copied and pickled with its class and with all that was set
    on it, hooks too. fx keeps code, submodules and parameters alone.

    Its graph is made with `fx.Graph(tracer_cls=Tracer)`.
    """

    def restore(self, own: Mapping[str, Any]) -> None:
        """Puts in what fx has left out of a copy."""
        for name, value in own.items():
            setattr(self, name, value)

    def _own(self) -> dict[str, Any]:
        """What fx would leave out."""
        hooks = ("_forward_", "_backward_", "_is_full_backward_hook")
        return {
            name: value
            for name, value in vars(self).items()
            if name.startswith(hooks) or name not in _kept_by_fx()
        }

    def __deepcopy__(self, memo: dict[int, Any]) -> fx.GraphModule:
        """A copy that shares nothing."""
        copied = super().__deepcopy__(memo)
        assert isinstance(copied, CompiledModule)
        copied.restore(copy.deepcopy(self._own(), memo))
        return copied

    def __reduce__(self) -> tuple[Any, ...]:
        """As fx does it, and a module of the same class in the end."""
        _, made_of = super().__reduce__()
        # The class of an instance is its own: fx makes one for each graph module.
        own = type(self)
        return _unpickle, (own.__mro__[1], own.__name__, self._own(), *made_of)


def _unpickle(
    kind: type[CompiledModule],
    name: str,
    own: Mapping[str, Any],
    body: dict[str, Any],
    imports: str,
) -> CompiledModule:
    found: Any = reduce_graph_module(body, imports)
    made = kind(found, found.graph, name)
    made.restore(own)
    return made


@cache
def _kept_by_fx() -> frozenset[str]:
    return frozenset(vars(fx.GraphModule(nn.Module(), fx.Graph(tracer_cls=Tracer))))
