"""The page in a real browser: what is clicked opens, and what is hostile is text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from azc.report.models import Models
from azc.report.page import page
from azc.search.view import RunView
from azc.source import visible
from tests.browser import Page

OPEN = "[...document.querySelectorAll('details.candidate[open]')].map(e => +e.dataset.number)"
SHOWN = (
    "[...document.querySelectorAll('details.candidate')].map(e => +e.dataset.number)"
)
WIDTHS = "[document.documentElement.scrollWidth, window.innerWidth]"


READY = "document.body.dataset.ready !== undefined"
INSIDE = "document.querySelector('#c{}') !== null"


def loaded(tab: Page, html: str, folder: Path, anchor: str = "") -> Page:
    tab.scripts(True)
    tab.resize(1280)
    (folder / "report.html").write_text(html, encoding="utf-8")
    tab.faults.clear()
    tab.requests.clear()
    tab.open(folder / "report.html", anchor)
    tab.until(READY)
    return tab


@pytest.fixture
def opened(tab: Page, html: str, tmp_path: Path) -> Page:
    """The page, open in the browser from a file."""
    return loaded(tab, html, tmp_path)


@pytest.fixture(scope="session")
def long(big: RunView) -> str:
    """The page of a run of which most is packed."""
    return page(big)


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


def on_dot(page: Page, number: int) -> None:
    """Clicks on the dot of a candidate in the first chart that has it."""
    place = page.run(
        f"""(() => {{
            for (const path of document.querySelectorAll(".chart path.dots")) {{
                const place = path.dataset.n.split(" ").indexOf("{number}");
                if (place < 0) continue;
                const svg = path.ownerSVGElement;
                svg.scrollIntoView({{block: "center", behavior: "instant"}});
                const box = svg.getBoundingClientRect();
                const dot = path.getAttribute("d").slice(1).split("M")[place];
                const [x, y] = dot.split("h")[0].split(",");
                const scale = box.width / svg.viewBox.baseVal.width;
                return [box.x + x * scale, box.y + y * scale];
            }}
        }})()"""
    )
    at = {"x": place[0], "y": place[1]}
    page.call("Input.dispatchMouseEvent", type="mouseMoved", **at)
    for kind in ("mousePressed", "mouseReleased"):
        page.call(
            "Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **at
        )


def test_a_dot_and_a_number_open_their_candidate(opened: Page, view: RunView) -> None:
    number = view.winner
    assert number is not None
    on_dot(opened, number)
    opened.until(f"{OPEN}.includes({number})")
    assert opened.run(OPEN) == [number]
    tip = opened.run("document.getElementById('tip').textContent")
    (score,) = [e.score for e in view.ranking() if e.candidate == number]
    assert tip == f"{number:04} · {score:.3f} nats"
    opened.until("document.activeElement.tagName === 'SUMMARY'")
    # A second time, though the address stays.
    opened.click(f"details[data-number='{number}'] > summary")
    assert opened.run(OPEN) == []
    opened.click(f".steps a[href='#c{number}']")
    opened.until(f"{OPEN}.includes({number})")
    assert opened.faults == []


def test_an_address_opens_its_candidate(tab: Page, html: str, tmp_path: Path) -> None:
    page = loaded(tab, html, tmp_path, "#c2")
    page.until(f"{OPEN}.length > 0")
    assert page.run(OPEN) == [2]
    page = loaded(tab, html, tmp_path, "#c2<img>")
    assert page.run(OPEN) == []
    assert page.faults == []


def test_the_list_is_searched_and_ordered(opened: Page, view: RunView) -> None:
    everything = list(view.candidates)
    best = [e.candidate for e in view.ranking()]
    assert opened.run(SHOWN)[: len(best)] == best
    choose(opened, "order", "number", "change")
    assert opened.run(SHOWN) == everything
    assert view.winner is not None
    line = [c.id for c in view.lineage(view.winner)]
    choose(opened, "fate", "line", "change")
    assert opened.run(SHOWN) == sorted(line)
    choose(opened, "fate", "", "change")
    choose(opened, "find", "CONV(KERNEL", "input")
    wanted = [n for n, c in view.candidates.items() if "conv(kernel" in c.program]
    opened.until(f"{SHOWN}.length < {len(everything)}")
    assert set(wanted) <= set(opened.run(SHOWN))
    shown = opened.run("document.getElementById('shown').textContent")
    assert shown == f"{len(opened.run(SHOWN))} of {len(everything)}"
    choose(opened, "find", "", "input")
    opened.until(f"{SHOWN}.length === {len(everything)}")
    choose(opened, "order", "parameters", "change")
    models = Models(view.model, view.options.length)
    models.compile(view.candidates.values())
    sizes = [models.known(number).parameters for number in opened.run(SHOWN)]
    assert sizes == sorted(sizes)
    assert opened.faults == []


def test_a_long_list_is_shown_bit_by_bit(
    tab: Page, long: str, big: RunView, tmp_path: Path
) -> None:
    """Of 320 candidates 100 are in the markup; every other comes out of the file."""
    page = loaded(tab, long, tmp_path)
    best = [e.candidate for e in big.ranking()]
    assert page.run(SHOWN) == best[:100]
    page.click("#more button")
    assert page.run(SHOWN) == best[:200]
    assert page.run("document.activeElement.parentElement.dataset.number") == str(
        best[100]
    )
    assert page.run("document.querySelector('#c5')") is None
    choose(page, "find", "# 177", "input")
    page.until(f"{SHOWN}.length === 1")
    page.click("details[data-number='177'] > summary")
    page.until(INSIDE.format(177))
    program = page.run("document.querySelector('#c177 pre.code').textContent")
    assert program == visible(big.candidates[177].program, "\n")
    # A way leads to what the list does not show.
    page.click("#c177 a[href='#c5']")
    page.until(INSIDE.format(5))
    assert page.run(SHOWN) == [177, 5]
    choose(page, "find", "", "input")
    page.until(f"{SHOWN}.length === 100")
    assert page.faults == []


NODES = "[...document.querySelectorAll('.tree .node > a:first-child')].map(a => +a.textContent)"


def test_the_tree_grows_where_it_is_opened(
    tab: Page, long: str, big: RunView, tmp_path: Path
) -> None:
    page = loaded(tab, long, tmp_path)
    assert big.winner is not None
    line = [c.id for c in big.lineage(big.winner)]
    # Open along the line to the winner, which comes first among its siblings.
    nodes = page.run(NODES)
    assert nodes[: len(line)] == line
    assert len(nodes) < 110
    parents = page.run(
        """[...document.querySelectorAll(".tree details")].flatMap(details =>
            [...details.querySelectorAll(":scope > ul > li")].map(li => [
                +li.querySelector(".node > a")?.textContent, +details.dataset.node]))"""
    )
    for number, parent in parents:
        if number is not None:
            assert big.candidates[number].parent == parent
    page.click("[data-node='1'] > ul > li > button")
    assert len(page.run(NODES)) == len(nodes) + 10  # all forty children of the start
    page.click("[data-node='2'] > summary")
    assert set(range(42, 72)) <= set(page.run(NODES))
    page.click("[data-node='1'] > summary")
    assert page.run("document.querySelector('.tree details').open") is False
    assert page.faults == []


def test_every_candidate_is_in_the_tree(opened: Page, view: RunView) -> None:
    for _ in view.candidates:
        opened.run(
            "document.querySelectorAll('.tree details').forEach(e => e.open = true)"
        )
        opened.run("new Promise(done => setTimeout(done))")  # what that has set off
    assert sorted(opened.run(NODES)) == list(view.candidates)
    open_ = [n for n, c in view.candidates.items() if c.parent is None]
    assert opened.run(NODES)[0] in open_


def test_the_keyboard_is_enough(opened: Page) -> None:
    opened.run("document.querySelector('details.candidate > summary').focus()")
    opened.key("Enter", 13, "\r")
    assert opened.run(OPEN) == opened.run(SHOWN)[:1]


def test_hostile_texts_are_text(opened: Page, view: RunView) -> None:
    for each in view.candidates:
        opened.click(f"details[data-number='{each}'] > summary")
    assert opened.run("window.owned") is None
    assert opened.run("document.querySelectorAll('script:not([type])').length") == 1
    assert opened.run("document.querySelectorAll('img, iframe, object').length") == 0
    named = "svg:not(.chart, .strip, .at)"
    assert opened.run(f"document.querySelectorAll('{named}').length") == 0
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


# What reaches out of the window, but for what scrolls and what is there for ears alone.
CUT = """(() => {
    const free = ".scroll, .aside, .skip, #tip, .cards thead, pre";
    return [...document.querySelectorAll("body *")].filter(e => {
        if (!e.checkVisibility() || e.closest(free)) return false;
        const box = e.getBoundingClientRect();
        return box.width > 0 && (box.left < -1 || box.right > innerWidth + 1);
    }).map(e => `${e.tagName} ${e.getAttribute("class")}: ${e.textContent.slice(0, 40)}`);
})()"""

# Text whose contrast with what is behind it is below 4.5 to 1 (WCAG 2.1, AA).
WEAK = """(() => {
    const light = rgb => rgb.slice(0, 3).map(x => x / 255)
        .map(x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4)
        .reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0);
    const parse = colour => colour.match(/[\\d.]+/g).map(Number);
    const ground = e => {
        for (; e; e = e.parentElement) {
            const found = parse(getComputedStyle(e).backgroundColor);
            if (found.length < 4 || found[3] > 0) return found;
        }
        return [255, 255, 255];
    };
    const weak = new Set();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const words = walker.currentNode.data.trim().slice(0, 30);
        const e = walker.currentNode.parentElement;
        if (!words || !e.checkVisibility() || e.closest("script")) continue;
        const style = getComputedStyle(e);
        const ink = light(parse(e.closest("svg") ? style.fill : style.color));
        const back = light(ground(e));
        const ratio = (Math.max(ink, back) + 0.05) / (Math.min(ink, back) + 0.05);
        if (ratio < 4.5) weak.add(`${e.tagName} ${ratio.toFixed(2)}: ${words}`);
    }
    return [...weak];
})()"""


def fits(page: Page, width: int, dark: bool) -> None:
    """Nothing is beside the window or too faint, with all opened."""
    page.resize(width, dark=dark)
    page.run("document.querySelectorAll('details').forEach(e => e.open = true)")
    page.run("document.getAnimations().forEach(a => a.finish())")
    whole, window = page.run(WIDTHS)
    assert whole <= window == width
    assert page.run(CUT) == []
    assert page.run(WEAK) == []


@pytest.mark.parametrize("width", [1280, 400, 320])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_fits_the_window_and_can_be_read(
    opened: Page, width: int, dark: bool, tmp_path: Path
) -> None:
    fits(opened, width, dark)
    background = opened.run("getComputedStyle(document.body).backgroundColor")
    light = sum(int(x) for x in background.strip("rgb()").split(",")) > 384
    assert light != dark


def test_what_can_be_clicked_shows_that_it_is_focused(opened: Page) -> None:
    """Each step of the keyboard has an outline, and a name."""
    seen = set()
    for _ in range(60):
        opened.key("Tab", 9)
        found = opened.run(
            """(() => {
                const e = document.activeElement, style = getComputedStyle(e);
                const name = e.getAttribute("aria-label") || e.textContent.trim()
                    || e.labels?.[0]?.textContent || "";
                return [e.tagName, style.outlineStyle, parseFloat(style.outlineWidth), name];
            })()"""
        )
        if found[0] == "BODY":
            break
        assert found[1] != "none", found
        assert found[2] >= 2, found
        assert found[3], found
        seen.add(found[0])
    assert {"A", "SUMMARY", "INPUT", "SELECT"} <= seen


def test_it_is_printed_in_ink_on_paper(opened: Page) -> None:
    """Also by who has a dark screen; what can only be clicked is left out."""
    opened.resize(1280, dark=True)
    scheme = {"name": "prefers-color-scheme", "value": "dark"}
    opened.call("Emulation.setEmulatedMedia", media="print", features=[scheme])
    try:
        assert opened.run(WEAK) == []
        ground = opened.run("getComputedStyle(document.body).backgroundColor")
        assert ground == "rgb(255, 255, 255)"
        for left_out in ("nav", ".tools", "#tree"):
            there = f"document.querySelector('{left_out}').checkVisibility()"
            assert opened.run(there) is False
        assert opened.run("document.querySelector('.compared').checkVisibility()")
    finally:
        opened.call("Emulation.setEmulatedMedia", media="", features=[])


def test_it_is_read_without_scripts(
    tab: Page, long: str, html: str, tmp_path: Path
) -> None:
    for text, has_more in ((html, False), (long, True)):
        loaded(tab, text, tmp_path)
        tab.scripts(False)
        tab.open(tmp_path / "report.html")
        try:
            tools = "[...document.querySelectorAll('form, button')]"
            assert tab.run(f"{tools}.some(e => e.checkVisibility())") is False
            assert tab.run("document.querySelector('.verdict').innerText")
            first = tab.run(SHOWN)[0]
            tab.click(f"details[data-number='{first}'] > summary")
            assert tab.run(OPEN) == [first]
            note = tab.run("document.querySelector('noscript')?.innerText ?? ''")
            assert ("To see the other 220, enable scripts" in note) == has_more
        finally:
            tab.scripts(True)


def test_a_browser_that_can_unpack_nothing_says_so(
    tab: Page, long: str, tmp_path: Path
) -> None:
    broken = re.sub('(data-block="rows">).{9}', r"\1AAAAAAAAA", long)
    assert broken != long
    (tmp_path / "report.html").write_text(broken, encoding="utf-8")
    tab.open(tmp_path / "report.html")
    tab.until("document.querySelector('#candidates .notice') !== null")
    assert tab.run(SHOWN) == tab.run(SHOWN)[:100] != []  # what is in the markup stays
