"""Models this small are slower on two threads than on one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from azc.lower import chunkwise, moments, softmaxes


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """States of decoders in chunks so short that few tokens fill several."""
    monkeypatch.setattr(chunkwise, "CHUNK", 2)
    monkeypatch.setattr(softmaxes, "CHUNK", 4)
    monkeypatch.setattr(moments, "ROWS", 5)
