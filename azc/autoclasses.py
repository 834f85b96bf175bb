"""Registration of compiled models with the Auto classes of transformers, in any import order.

`azc.model.register` needs transformers and torch, which `import azc` must not import. So
if transformers is not imported yet, a finder on `sys.meta_path` waits for it. It finds no
modules itself: other finders find transformers, or a module of `azc.model` (which imports
transformers while it is half imported itself). When the outermost of these imports is
done, the finder registers the models and removes itself.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["connect"]


def connect() -> None:
    """Register now if transformers is imported, or else as soon as it is."""
    module = sys.modules.get("transformers")
    if module is not None and not _importing(module):
        _register()
    elif not any(isinstance(finder, _Watch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watch())


def _importing(module: ModuleType) -> bool:
    return bool(getattr(module.__spec__, "_initializing", False))


def _register() -> None:
    try:
        import_module("azc.model").register()
    except Exception as error:  # an import of transformers must not fail because of azc
        message = f"the Auto classes of transformers don't know azc models: {error}"
        warnings.warn(message, RuntimeWarning, stacklevel=2)


class _Watch:
    """The finder that waits for transformers."""

    def __init__(self) -> None:
        self.thread = threading.local()

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return the spec that other finders find, with a loader that reports when it
        is done.
        """
        watched = fullname == "transformers" or f"{fullname}.".startswith("azc.model.")
        if not watched or getattr(self.thread, "busy", False):
            return None
        for finder in sys.meta_path:
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(fullname, path, target)
                if spec is not None:
                    if hasattr(spec.loader, "exec_module"):
                        spec.loader = _Loader(spec.loader, self)  # type: ignore[assignment]
                    return spec
        return None

    def done(self) -> None:
        """Register if transformers is imported by now."""
        if "transformers" in sys.modules and self in sys.meta_path:
            sys.meta_path.remove(self)
            _register()


class _Loader:
    """A wrapper of a loader that reports to the finder after the outermost import."""

    def __init__(self, loader: Any, watch: _Watch) -> None:
        self._loader = loader
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Create the module like the wrapped loader."""
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Run the module with the wrapped loader restored."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._watch.thread.busy = True
        try:
            self._loader.exec_module(module)
        finally:
            self._watch.thread.busy = False
        self._watch.done()
