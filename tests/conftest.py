"""What every test may use: Hypothesis profiles, real data, goldens to rewrite."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Before anything imports torch: no hub, and no more threads than there are cores.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts what is to run in the background deaf to Ctrl-C, and processes that the
# tests start would be so too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A compilation takes as long as the machine is busy, so no example has a deadline.
settings.register_profile(
    "dev", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "ci", settings.get_profile("dev"), derandomize=True, print_blob=True
)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-goldens",
        action="store_true",
        help="write what is found to tests/golden instead of comparing with it",
    )


@pytest.fixture(scope="session")
def update_goldens(request: pytest.FixtureRequest) -> bool:
    """Whether a golden is to be rewritten rather than compared with."""
    return bool(request.config.getoption("--update-goldens"))


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """As the processes that tests start have: scores are the same then."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def root() -> Path:
    """The top of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def azc_data() -> Path:
    """The folder of real corpora that AZC_DATA names; without one, a skip."""
    named = os.environ.get("AZC_DATA")
    if named:
        folder = Path(named)
        if not folder.is_dir():
            pytest.fail(f"AZC_DATA names {folder}, which is not a folder")
        return folder
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real corpora here: AZC_DATA is not set")
    return folder
