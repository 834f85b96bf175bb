"""The page of a run at work, in a real browser: it follows, and what is clicked is done."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from azc.report.server import Limits, Server
from azc.search.events import Comparing, Event, Opened, Paused, Scored
from azc.search.steer import Desk
from azc.search.view import RunView, read_run
from tests.browser import Page
from tests.cli.test_acts import PROPOSAL
from tests.report.serving import eventually, served
from tests.report.test_browser import OPEN, READY, fits
from tests.runs import PROGRAM, run_here, tiny


@pytest.fixture
def server(view: RunView, tmp_path: Path) -> Iterator[Server]:
    """Of a copy of a run that is over."""
    with served(Path(shutil.copytree(view.folder, tmp_path / "run"))) as server:
        yield server


@pytest.fixture
def opened(tab: Page, server: Server) -> Page:
    tab.scripts(True)
    tab.resize(1280)
    tab.faults.clear()
    tab.requests.clear()
    tab.visit(server.url)
    tab.until(READY)
    return tab


def has(text: str, where: str) -> str:
    return f"document.querySelector({where!r}).innerText.includes({text!r})"


def said(page: Page, text: str) -> None:
    page.until(has(text, "#said"))


def fill(page: Page, field: str, value: str) -> None:
    page.run(f"document.getElementById({field!r}).value = {value!r}")


def test_the_token_leaves_the_address(opened: Page, server: Server) -> None:
    assert opened.run("location.href") == server.gate.address
    assert opened.run("document.cookie") == ""  # no script sees it
    assert opened.run(has("The run is complete", "#now"))
    assert opened.faults == []
    assert all(
        url.startswith((server.gate.address, "about:")) for url in opened.requests
    )


def test_an_operation_is_banned_favoured_and_left(opened: Page, server: Server) -> None:
    def pressed() -> object:
        return opened.run(
            "[...document.querySelectorAll('tr[data-feature=tanh] button')]"
            ".map(b => b.getAttribute('aria-pressed')).join()"
        )

    assert pressed() == "false,true,false"
    for times, words, shown in (
        (0, "ana bans tanh", "true,false,false"),
        (4, "ana draws tanh 4 times as often", "false,false,true"),
        (1, "ana leaves tanh to the strategy", "false,true,false"),
    ):
        opened.click(f"button[data-feature='tanh'][data-times='{times}']")
        said(opened, words)
        opened.until(has(words, "#acts"))
        assert pressed() == shown
        # Whoever uses the keyboard is where they were.
        focus = opened.run("document.activeElement.dataset.key")
        assert focus == f"draw {times} tanh"
        assert read_run(server.live.folder).acts[-1].words.replace("`", "") == words
    assert opened.faults == []


def test_a_program_is_refused_and_then_taken(opened: Page, server: Server) -> None:
    fill(opened, "program", PROPOSAL.replace("tanh(v)", "relu(v)"))
    opened.click("form[data-form=propose] button")
    opened.until(has("The program was refused.", "#refused"))
    assert opened.run(has("error[AZG416]", "#faults"))
    # What is wrong stands right below what was sent, in the window, with the keyboard.
    gap = opened.run(
        """document.getElementById("faults").getBoundingClientRect().top
        - document.querySelector("form[data-form=propose] button")
            .getBoundingClientRect().bottom"""
    )
    assert 0 < gap < 80
    shown = (
        "document.getElementById('faults').getBoundingClientRect().top < innerHeight"
    )
    assert opened.run(shown)
    assert opened.run("document.activeElement.id") == "faults"
    assert opened.run(has("your program:", "#faults"))
    assert read_run(server.live.folder).acts == ()
    # What was typed is still there.
    assert "relu(v)" in opened.run("document.getElementById('program').value")
    fill(opened, "program", PROPOSAL)
    opened.click("form[data-form=propose] button")
    said(opened, "ana proposes a program")
    assert opened.run("document.getElementById('program').value") == ""
    assert opened.run("document.getElementById('refused').checkVisibility()") is False
    (act,) = read_run(server.live.folder).acts
    assert act.kind == "propose"
    # The browser notes what a server refuses; nothing else was wrong.
    assert all("422" in fault for fault in opened.faults)


def test_a_budget_makes_a_run_that_is_over_one_to_go_on_with(
    opened: Page, server: Server
) -> None:
    fill(opened, "budget", "40")
    opened.click("form[data-form=budget] button")
    said(opened, "ana sets the budget to 40 evaluations")
    opened.until(has("of 40 evaluations", "#now"))
    assert opened.run(has("The run is stopped", "#now"))
    fill(opened, "budget", "3")  # fewer than were spent: the browser itself refuses
    opened.click("form[data-form=budget] button")
    assert len(read_run(server.live.folder).acts) == 1
    assert opened.faults == []


def test_hostile_texts_are_text(opened: Page, server: Server) -> None:
    hostile = "<img src=x onerror='window.owned = 1'></script><b>"
    Desk(server.live.folder, hostile).draw("tanh", 0)
    opened.until(has("<img src=x", "#acts"))
    assert opened.run("window.owned") is None
    assert opened.run("document.images.length") == 0
    assert opened.faults == []


def test_the_server_is_missed(tab: Page, view: RunView, tmp_path: Path) -> None:
    run = Path(shutil.copytree(view.folder, tmp_path / "run"))
    tab.resize(1280)
    with served(run) as server:
        tab.visit(server.url)
    said(tab, "The server does not answer")
    tab.visit("about:blank")


def test_a_page_too_many_says_so(
    tab: Page, view: RunView, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Limits, "STREAMS", 0)
    with served(view.folder) as server:
        tab.visit(server.url)
        said(tab, "Too many pages of this run are open")
        assert tab.run("document.querySelector('.verdict').innerText")
    tab.visit("about:blank")


@pytest.mark.parametrize("width", [1280, 400, 320])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_fits_the_window_and_can_be_read(
    opened: Page, width: int, dark: bool
) -> None:
    fits(opened, width, dark)


def test_the_result_comes_before_what_steers(opened: Page) -> None:
    order = "[...document.querySelectorAll('main > section')].map(e => e.id)"
    assert opened.run(order)[:4] == ["result", "search", "lineage", "steer"]
    place = "document.querySelector('.verdict').getBoundingClientRect().bottom"
    for width in (1280, 400):
        opened.resize(width)
        assert opened.run(f"{place} < innerHeight")


def test_a_page_that_nobody_sees_asks_for_nothing(opened: Page, server: Server) -> None:
    """A browser has six connections for a server, and a stream takes one."""
    opened.until("document.body.dataset.version !== undefined")

    def hide(hidden: bool) -> None:
        value = f"{{ value: {str(hidden).lower()}, configurable: true }}"
        opened.run(f"Object.defineProperty(document, 'hidden', {value}) && 0")
        opened.run("document.dispatchEvent(new Event('visibilitychange'))")

    eventually(lambda: server.feed.open == 1)
    hide(True)
    eventually(lambda: server.feed.open == 0)
    server.desk.draw("tanh", 0)
    hide(False)
    opened.until(has("ana bans tanh", "#acts"))
    assert opened.faults == []


def test_a_run_at_work_is_followed_and_steered(
    tab: Page, home: Path, tmp_path: Path
) -> None:
    """The run is in this thread, the server in another, the browser in its process: what
    an event is told for, the page shows while the loop waits.
    """
    run = tmp_path / "run"
    tab.scripts(True)
    tab.resize(1280)
    tab.faults.clear()
    done: list[str] = []
    servers: list[Server] = []

    def on_event(event: Event) -> None:
        if isinstance(event, Opened) and event.round == 0:
            stack.append(served(run))
            servers.append(stack[-1].__enter__())
            tab.visit(servers[0].url)
            assert tab.run(has("The run is in progress", "#now"))
            tab.until(READY)
            tab.click("details[data-number='1'] > summary")
            tab.until("document.querySelector('#c1') !== null")
            fill(tab, "program", "half a pro")
        if isinstance(event, Scored) and event.spent == 2:
            tab.until(has("2 of 8 evaluations", "#now"))
            tab.until("document.querySelectorAll('.chart path.dots').length > 0")
            # What was open and what was typed is as it was.
            assert tab.run(OPEN) == [1]
            assert tab.run("document.getElementById('program').value") == "half a pro"
            tab.click("button[data-key=pause]")
            said(tab, "ana pauses the run")
            done.append("pause")
        if isinstance(event, Paused):
            tab.until(has("The run is paused", "#now"))
            tab.click("details[data-number='3'] > summary")
            tab.until("document.querySelector('#c3') !== null")
            tab.click("button[data-key='stop 3']")
            said(tab, "ana stops candidate 0003")
            fill(tab, "program", PROPOSAL)
            tab.click("form[data-form=propose] button")
            said(tab, "ana proposes a program")
            fill(tab, "budget", "9")
            tab.click("form[data-form=budget] button")
            said(tab, "ana sets the budget to 9 evaluations")
            tab.click("button[data-key=pause]")
            said(tab, "ana continues the run")
            done.append("go on")
        if isinstance(event, Comparing):
            tab.until(has("9 of 9 evaluations", "#now"))
            tab.until("document.querySelector('[data-number=\"5\"]') !== null")
            assert "proposed by ana" in tab.run("document.body.textContent")
            shown = "[...document.querySelectorAll('details.candidate')].length"
            assert tab.run(shown) == len(read_run(run).candidates)
            tab.until(has("failed", 'details[data-number="3"] > summary'))
            done.append("compared")

    stack: list[object] = []
    options = tiny(home / "corpus.txt", evaluations=8, final_seeds=(1,))
    try:
        view = run_here(options, run, home / "cache", PROGRAM, on_event=on_event)
        tab.until(has("The run is complete", "#now"))
        tab.until("document.querySelector('#result table') !== null")
    finally:
        for each in stack:
            each.__exit__(None, None, None)  # type: ignore[attr-defined]
    assert done == ["pause", "go on", "compared"]
    assert view.spent == 9
    assert view.acts[2].candidate == 5
    reasons = {e.candidate: e.reason for e in view.evaluations}
    assert reasons[3] == "stopped by ana"
    tab.visit("about:blank")
