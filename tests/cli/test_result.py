"""The result of a search, as the terminal shows it."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from azc.cli.result import final_table
from azc.report.comparison import last_table
from tests.search.test_view import view


@pytest.mark.parametrize("width", [80, 119, 120, 200])
def test_the_final_table_fits_the_terminal(width: int) -> None:
    rows = (4.0, 4.1, 4.2), (5.0, 5.1, 5.21), (4.0, 4.2, 4.15), (4.0, 4.1, 4.2)
    found = last_table(view(*rows))
    file = io.StringIO()
    Console(file=file, width=width, color_system=None).print(final_table(found, width))
    text = file.getvalue()
    assert all(len(line) <= width for line in text.splitlines())
    assert "\N{HORIZONTAL ELLIPSIS}" not in text  # no cell is cut
    assert ("4.200" in text) == (width >= 120)  # the loss of a seed
    words = re.sub(r"\W+", " ", text)
    for verdict in ("better", "significant", "the same"):
        assert verdict in words
