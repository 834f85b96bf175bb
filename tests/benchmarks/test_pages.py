"""Generated sections of the documentation, and the pages around them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import pages, tables
from benchmarks.tables import (
    holm,
    interval,
    marks,
    rho,
    section,
    tau,
    tau_interval,
    within,
)

STUDIES = [
    p for p in sorted((tables.DOCS / "studies").glob("*.md")) if p.stem != "README"
]
SECTION = re.compile(
    r"^<!-- generated: (.*) -->\n(.*?)^<!-- end of \1 -->$", re.M | re.S
)
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
# Numbers with a decimal point, or in scientific notation.
NUMBER = re.compile(r"\d+\.\d+(?:e[+-]?\d+)?|\d+e[+-]?\d+")
# Numbers that are no results: options, formulas and versions between backticks.
CODE = re.compile(r"`[^`]*`")


def of_pages() -> dict[str, list[Path]]:
    """Find the pages of every generated section."""
    found: dict[str, list[Path]] = {}
    for page in tables.pages():
        for name, _ in SECTION.findall(page.read_text(encoding="utf-8")):
            found.setdefault(name, []).append(page)
    return found


def test_every_section_is_on_one_page() -> None:
    found = of_pages()
    assert {name: each for name, each in found.items() if len(each) > 1} == {}
    claims = {"studies", *pages.CLAIMS}
    # A section without results is empty (below), and there is none without a section.
    assert {*pages.published(), *claims} <= found.keys()
    assert found.keys() - claims <= {*pages.published(), "demo"}
    assert {each.stem for name in pages.CLAIMS for each in found[name]} == {"results"}


@pytest.mark.parametrize("name", sorted(of_pages()))
def test_a_section_is_up_to_date(name: str) -> None:
    """It is what `python -m benchmarks results --publish` writes."""
    if name == "studies":
        text = pages.index()
    elif name in pages.CLAIMS:
        text = pages.CLAIMS[name]()
    else:
        text = pages.study_section(name)
    assert section(name) == (text.rstrip() + "\n" if text else "")


@pytest.mark.parametrize("page", STUDIES, ids=lambda page: page.stem)
def test_a_study_has_its_parts(page: Path) -> None:
    titles = re.findall(r"^## (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert titles[:2] == ["Method", "Results"]
    assert titles[-1] == "Limits"


@pytest.mark.parametrize(
    "page", [*STUDIES, tables.DOCS / "results.md"], ids=lambda page: page.stem
)
def test_a_number_in_the_text_has_a_source(page: Path) -> None:
    """It is in a generated section of the page, or its paragraph is marked with †, and a
    note says where it comes from.
    """
    text = page.read_text(encoding="utf-8")
    known = {
        number for _, rows in SECTION.findall(text) for number in NUMBER.findall(rows)
    }
    prose = CODE.sub("", FENCE.sub("", SECTION.sub("", text)))
    for part in re.split(r"\n\n|\n(?=- )", prose):
        if "†" not in part:
            assert set(NUMBER.findall(part)) <= known, part
    notes = re.findall(r"^† .*", text, re.MULTILINE)
    assert len(notes) == ("†" in text)


def test_a_number_without_a_source_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    first, last = marks("x")
    page = f"{first}| 0.12 |\n{last}\n\nIt is 0.12.\n\nIt is 0.13.\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: page)
    with pytest.raises(AssertionError, match=r"0\.13"):
        test_a_number_in_the_text_has_a_source(Path("page.md"))


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty documentation and results."""
    folder = tmp_path / "docs"
    (folder / "studies").mkdir(parents=True)
    monkeypatch.setattr(tables, "DOCS", folder)
    monkeypatch.setattr(tables, "RESULTS", tmp_path / "results")
    return folder


def test_publishing_touches_one_section(docs: Path) -> None:
    one, other = ("".join(marks(name)) for name in ("one", "other"))
    page, untouched = docs / "studies" / "page.md", docs / "other.md"
    page.write_text(f"# A\n\n{one}\n\nB\n\n{other}\n", encoding="utf-8")
    untouched.write_text("# C\n", encoding="utf-8")
    for text in ("old\n", "new"):
        tables.publish("one", {"x": 1}, text)
    first, last = marks("one")
    wanted = f"# A\n\n{first}new\n{last}\n\nB\n\n{other}\n"
    assert page.read_text(encoding="utf-8") == wanted
    assert untouched.read_text(encoding="utf-8") == "# C\n"
    assert tables.result("one") == {"x": 1}


@pytest.mark.parametrize("times", [0, 2])
def test_publishing_without_a_single_section_writes_nothing(
    docs: Path, times: int
) -> None:
    text = "# A\n" + "".join(marks("one")) * (times > 0)
    for page in range(2):
        (docs / f"{page}.md").write_text(text, encoding="utf-8")
    with pytest.raises(
        ValueError, match="several pages have" if times else "no page has"
    ):
        tables.publish("one", {}, "text")
    assert (docs / "0.md").read_text(encoding="utf-8") == text
    assert not tables.RESULTS.exists()


def test_the_index_has_the_answer_of_every_study() -> None:
    index = section("studies")
    assert len(index.splitlines()) == len(STUDIES)
    for page in STUDIES:
        text = page.read_text(encoding="utf-8")
        answer = (
            text.partition("**Answer.** ")[2].partition("\n\n")[0].replace("\n", " ")
        )
        assert f"]({page.name}): {answer}\n" in index


def test_p_values_are_corrected_by_holm() -> None:
    """An example by hand, and two properties: the order stays, Bonferroni is an upper bound."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
    values = sorted(np.random.default_rng(0).uniform(0, 0.2, 9).tolist())
    found = holm(values)
    assert found == sorted(found)
    assert all(p <= x <= 9 * p for p, x in zip(values, found, strict=True))


@pytest.mark.parametrize(("value", "text"), [(-0.001, "0.00"), (-0.25, "−0.25")])
def test_a_rounded_zero_has_no_sign(value: float, text: str) -> None:
    assert tables.format_value(value) == text


def pairs(x: list[float], y: list[float]) -> float:
    """Kendall's τ-b by its definition (Kendall 1945)."""
    signs = [
        (np.sign(x[i] - x[j]), np.sign(y[i] - y[j]))
        for i in range(len(x))
        for j in range(i)
    ]
    agree = sum(a * b for a, b in signs)
    return float(
        agree / np.sqrt(sum(a != 0 for a, _ in signs) * sum(b != 0 for _, b in signs))
    )


def test_correlations() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 6, 30).astype(float).tolist()
    y = (np.array(x) + rng.normal(0, 3, 30)).round().tolist()
    assert tau(x, y) == pytest.approx(pairs(x, y))
    ranks = [
        [sum(b < a for b in z) + sum(b == a for b in z) / 2 for a in z] for z in (x, y)
    ]
    assert rho(x, y) == pytest.approx(np.corrcoef(ranks)[0, 1])
    assert tau([1.0] * 30, y) == rho([1.0] * 30, y) == 0.0
    # Two groups in which the order is reversed, and one that says nothing.
    groups = ["a"] * 3 + ["b"] * 2 + ["c"]
    found = within(tau, [1, 2, 3, 11, 12, 0], [3, 2, 1, 12, 11, 0], groups)
    assert found == -1.0
    found = within(tau, [1, 2, 3, 11, 12], [1, 2, 3, 12, 11], groups[:5])
    assert found == pytest.approx((3 * 1 + 1 * -1) / 4)


def test_an_interval_covers_as_often_as_it_says() -> None:
    """The mean of 40 normal numbers: of 100 intervals about 95 have 0 in them."""
    covered = 0
    for seed in range(100):
        sample = np.random.default_rng(seed).normal(size=40)
        low, high = interval(40, lambda taken, x=sample: float(x[taken].mean()))
        covered += low <= 0.0 <= high
    assert 88 <= covered <= 99


def test_the_interval_of_a_correlation_is_that_of_its_resamples() -> None:
    """Drawn one by one, and counted: the same up to the noise of 1,000 resamples."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 8, 40).astype(float)
    y = (x + rng.normal(0, 4, 40)).round()
    groups = np.arange(40) % 2

    def whole(taken: np.ndarray[Any, Any]) -> float:
        return tau(x[taken], y[taken])

    def inside(taken: np.ndarray[Any, Any]) -> float:
        return within(tau, list(x[taken]), list(y[taken]), list(groups[taken]))

    found = [*tau_interval(x, y), *tau_interval(x, y, list(groups))]
    wanted = [*interval(40, whole), *interval(40, inside)]
    assert found == pytest.approx(wanted, abs=0.04)
