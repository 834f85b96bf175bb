"""The page in a real browser: what is clicked opens, and what is hostile is text."""

from __future__ import annotations

from pathlib import Path

import pytest

from azc.search.view import RunView
from azc.source import visible
from tests.browser import Page

OPEN = "[...document.querySelectorAll('details.candidate[open]')].map(e => +e.dataset.number)"
SHOWN = (
    "[...document.querySelectorAll('details.candidate')]"
    ".filter(e => e.checkVisibility()).map(e => +e.dataset.number)"
)
WIDTHS = "[document.documentElement.scrollWidth, window.innerWidth]"


@pytest.fixture
def opened(tab: Page, html: str, tmp_path: Path) -> Page:
    """The page, open in the browser from a file; afterwards nothing was wrong."""
    tab.scripts(True)
    tab.resize(1280)
    (tmp_path / "report.html").write_text(html, encoding="utf-8")
    tab.faults.clear()
    tab.requests.clear()
    tab.open(tmp_path / "report.html")
    return tab


def choose(page: Page, field: str, value: str, event: str) -> None:
    page.run(
        f"(() => {{ const x = document.getElementById('{field}'); x.value = '{value}';"
        f" x.dispatchEvent(new Event('{event}')); }})()"
    )


def test_a_candidate_opens_with_its_program(opened: Page, view: RunView) -> None:
    assert opened.run(OPEN) == []
    number = max(view.candidates)
    opened.click(f"details[data-number='{number}'] > summary")
    assert opened.run(OPEN) == [number]
    program = opened.run(
        f"document.querySelector('details[data-number=\"{number}\"] pre.code').innerText"
    )
    assert program.strip() == visible(view.candidates[number].program, "\n").strip()
    assert opened.faults == []


def test_a_dot_and_a_number_open_their_candidate(opened: Page, view: RunView) -> None:
    number = view.evaluations[-1].candidate
    opened.click(f".chart a[href='#c{number}'] circle")
    assert opened.run(OPEN) == [number]
    assert opened.run("document.activeElement.tagName") == "SUMMARY"
    # A second time, though the address stays.
    opened.click(f"details[data-number='{number}'] > summary")
    assert opened.run(OPEN) == []
    opened.click("button[data-open]")
    opened.click(f".tree a[href='#c{number}']")
    assert opened.run(OPEN) == [number]
    assert opened.faults == []


def test_an_address_opens_its_candidate(opened: Page, tmp_path: Path) -> None:
    opened.open(tmp_path / "report.html", "#c2")
    assert opened.run(OPEN) == [2]
    opened.open(tmp_path / "report.html", "#c2<img>")
    assert opened.run(OPEN) == []
    assert opened.faults == []


def test_the_list_is_searched_and_ordered(opened: Page, view: RunView) -> None:
    everything = list(view.candidates)
    assert opened.run(SHOWN) == everything
    assert view.winner is not None
    line = [c.id for c in view.lineage(view.winner)]
    choose(opened, "fate", "line", "change")
    assert sorted(opened.run(SHOWN)) == sorted(line)
    choose(opened, "fate", "", "change")
    choose(opened, "find", "CONV(KERNEL", "input")
    wanted = [n for n, c in view.candidates.items() if "conv(kernel" in c.program]
    assert set(wanted) <= set(opened.run(SHOWN))
    assert len(opened.run(SHOWN)) < len(everything)
    shown = opened.run("document.getElementById('shown').textContent")
    assert shown == f"{len(opened.run(SHOWN))} of {len(everything)}"
    choose(opened, "find", "", "input")
    choose(opened, "order", "parameters", "change")
    sizes = opened.run(
        "[...document.querySelectorAll('details.candidate')]"
        ".map(e => +e.dataset.parameters)"
    )
    assert sizes == sorted(sizes)
    assert opened.faults == []


def test_the_tree_opens_and_closes(opened: Page) -> None:
    closed = "document.querySelectorAll('.tree details:not([open])').length"
    opened.click("button[data-open]")
    assert opened.run(closed) == 0
    opened.click("button[data-close]")
    assert opened.run(closed) == opened.run(
        "document.querySelectorAll('.tree details').length"
    )


def test_the_keyboard_is_enough(opened: Page) -> None:
    opened.run("document.querySelector('details.candidate > summary').focus()")
    opened.key("Enter", 13, "\r")
    assert opened.run(OPEN) == [1]


def test_hostile_texts_are_text(opened: Page, view: RunView) -> None:
    for each in view.candidates:
        opened.click(f"details[data-number='{each}'] > summary")
    assert opened.run("window.owned") is None
    assert opened.run("document.scripts.length") == 1
    assert opened.run("document.querySelectorAll('img, iframe, object').length") == 0
    assert opened.run("document.querySelectorAll('svg:not(.chart)').length") == 0
    assert opened.run("document.querySelector('h1').textContent") == view.folder.name
    assert opened.run("document.title") == f"{view.folder.name} – azc"
    # The policy has refused nothing, and nothing was asked of any network.
    assert opened.faults == []
    assert all(url.startswith(("file:", "about:")) for url in opened.requests)


def test_the_policy_refuses_what_an_escape_would_have_missed(
    opened: Page, html: str, tmp_path: Path
) -> None:
    broken = html.replace("</main>", "<img src=x onerror='window.owned = 1'></main>")
    broken = broken.replace("</main>", "<script>window.owned = 2</script></main>")
    (tmp_path / "broken.html").write_text(broken, encoding="utf-8")
    opened.open(tmp_path / "broken.html")
    assert opened.run("document.images.length") == 1
    assert opened.run("window.owned") is None
    assert any("Content Security Policy" in fault for fault in opened.faults)


@pytest.mark.parametrize("width", [1280, 390, 320])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_fits_the_window(
    opened: Page, width: int, dark: bool, tmp_path: Path
) -> None:
    opened.resize(width, dark=dark)
    opened.run("document.querySelectorAll('details').forEach(e => e.open = true)")
    page, window = opened.run(WIDTHS)
    assert page <= window == width
    opened.picture(tmp_path / "shot.png")
    assert (tmp_path / "shot.png").read_bytes().startswith(b"\x89PNG")
    background = opened.run("getComputedStyle(document.body).backgroundColor")
    light = sum(int(x) for x in background.strip("rgb()").split(",")) > 384
    assert light != dark


def test_it_is_read_without_scripts(
    opened: Page, view: RunView, tmp_path: Path
) -> None:
    opened.scripts(False)
    opened.open(tmp_path / "report.html")
    try:
        tools = "[...document.querySelectorAll('form, button')]"
        assert opened.run(f"{tools}.some(e => e.checkVisibility())") is False
        assert opened.run("document.querySelector('.verdict').innerText")
        opened.click("details[data-number='1'] > summary")
        assert opened.run(OPEN) == [1]
        # The browser itself opens what a way leads into.
        opened.click(".tree a[href='#c2']")
        assert opened.run(OPEN) == [1, 2]
    finally:
        opened.scripts(True)
