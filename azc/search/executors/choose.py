"""Choice of the executor that the options name.

Codes: U028 jobs cannot run in this way on this machine.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

from azc.data.contract import Data
from azc.diagnostics import UsageError
from azc.search.executors.base import Executor
from azc.search.options import EvolveOptions
from azc.search.score import Bench, Scorer, check_device

__all__ = ["check_executor", "choose_executor"]


def check_executor(options: EvolveOptions) -> None:
    """Raise `UsageError` U028 or `RunError` R041 if the options can't be used on this
    machine.
    """
    if options.memory_limit is not None and sys.platform != "linux":
        raise UsageError(
            "U028", f"a memory limit needs Linux, and this is {sys.platform}"
        )
    if options.executor == "ray":
        if find_spec("ray") is None:
            raise UsageError("U028", "Ray is not installed", "pip install ray")
    else:
        check_device(options.device)  # of a cluster, each worker looks for itself


def choose_executor(bench: Bench, data: Data) -> Executor:
    """Create the executor for the jobs of a bench, with its data."""
    options = bench.options
    if options.executor == "ray":
        from azc.search.executors.ray import RayExecutor

        return RayExecutor(bench, data, options.workers)
    # The memory of this process itself must not be limited.
    if options.workers > 1 or options.memory_limit is not None:
        from azc.search.executors.pool import PoolExecutor

        return PoolExecutor(bench, data, options.workers)
    from azc.search.executors.serial import SerialExecutor

    return SerialExecutor(Scorer(bench, data))
