"""A test that is skipped for our classes is skipped for BERT too, or is on the list."""

from __future__ import annotations

from collections import defaultdict

import pytest

skipped: dict[str, set[str]] = defaultdict(set)
CONTROL = "Bert"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and "::" in report.nodeid:
        _, owner, name = report.nodeid.split("::")
        skipped[owner].add(name)


def unlisted() -> list[str]:
    from tests.harness.models import inapplicable

    return [
        f"{owner}::{name}"
        for owner, names in skipped.items()
        if owner != CONTROL
        for name in sorted(names - skipped[CONTROL])
        if inapplicable(name) is None
    ]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if skipped[CONTROL] and exitstatus == pytest.ExitCode.OK and unlisted():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if skipped[CONTROL]:
        for name in unlisted():
            terminalreporter.write_line(f"skipped, neither listed nor by BERT: {name}")
