"""The connection to a Ray cluster.

Codes: R051 the Ray cluster cannot be reached.
"""

from __future__ import annotations

import logging
import os
import socket
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import ray
from ray._private import utils as ray_utils
from ray._private import worker as ray_worker
from ray.exceptions import RayError

from azc.diagnostics import RunError

__all__ = ["Cluster", "last_line"]

_LONGEST_PROBE = 10.0  # seconds
_HELP = "set RAY_ADDRESS to its address, or start one with `ray start --head`"
# What a client of HTTP/2 says first, as gRPC does: a preface and empty settings (RFC 9113,
# section 3.4). A server answers with its settings, a frame of type 4.
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_HEADER, _SETTINGS = 9, 4

_log = logging.getLogger(__name__)


class Cluster:
    """A connection to the cluster that RAY_ADDRESS names or that runs on this machine,
    or else to one that is started here.

    A connection that the process already has is used, and left open.
    """

    def __init__(self) -> None:
        """Connect. Raises `RunError` R051, within 20 seconds where nothing answers."""
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            _connect()
        self._dead = _dead_nodes().keys()
        # Ray prints pages of its logs to standard output when a node dies.
        self._print: Any = ray_worker.print_to_stdstream
        if self._is_ours:
            ray_worker.print_to_stdstream = _say_nothing

    def report_deaths(self) -> None:
        """Log a sentence for each node that has died since the last call."""
        dead = _dead_nodes()
        for node in dead.keys() - self._dead:
            _log.warning(
                "a node of the Ray cluster died (%s); the run continues on the others",
                dead[node],
            )
        self._dead = dead.keys()

    def close(self) -> None:
        """Leave the cluster."""
        if self._is_ours:
            ray.shutdown()
            ray_worker.print_to_stdstream = self._print


def last_line(error: Exception) -> str:
    """Return the last line of the message of an error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _connect() -> None:
    address = _address()
    if address is not None:
        _probe(address)
    # Do not report usage statistics of a cluster that is started here.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError, RayError) as error:
        raise RunError(
            "R051", f"can't reach a Ray cluster: {last_line(error)}", _HELP
        ) from error


def _address() -> str | None:
    """Return the address that `ray.init` will connect to, None if there is none."""
    named = os.environ.get("RAY_ADDRESS", "")
    if named == "local":
        return None
    if named in ("", "auto"):
        found: str | None = ray_utils.read_ray_address(None)
        return found
    return named.removeprefix("ray://")


def _probe(address: str) -> None:
    """Raise `RunError` R051 if nothing at an address speaks gRPC: `ray.init` tries for
    minutes, in silence. Addresses of other kinds are left to Ray.
    """
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return
    if "/" in address or host is None or port is None:
        return
    found = [_late()]
    # Name resolution has no timeout, hence the thread.
    probe = Thread(
        target=lambda: found.append(_why_silent(host, port)), daemon=True, name="probe"
    )
    probe.start()
    probe.join(_LONGEST_PROBE)
    if found[-1]:
        raise RunError("R051", f"no Ray cluster is at {address}: {found[-1]}", _HELP)


def _why_silent(host: str, port: int) -> str:
    """Return why nothing at an address speaks gRPC, the empty string if something does."""
    try:
        with socket.create_connection((host, port), _LONGEST_PROBE) as connection:
            if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
                return ""  # it expects another greeting, with certificates
            connection.sendall(_GREETING)
            header = b""
            while len(header) < _HEADER:
                more = connection.recv(_HEADER - len(header))
                if not more:
                    return "it closed the connection"
                header += more
    except TimeoutError:
        return _late()
    except OSError as error:
        return error.strerror or str(error)
    return "" if header[3] == _SETTINGS else "another service answers there"


def _late() -> str:
    return f"it did not answer within {_LONGEST_PROBE:.0f} seconds"


def _dead_nodes() -> dict[str, str]:
    """Return the addresses of the nodes that have died, by their ids."""
    return {
        node["NodeID"]: node["NodeManagerAddress"]
        for node in ray.nodes()
        if not node["Alive"]
    }


def _say_nothing(*_: object, **__: object) -> None:
    """Take the place of what prints the error messages of a cluster."""
