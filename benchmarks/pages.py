"""Write docs/results.md and the tables of docs/studies from the published results.

    python -m benchmarks results [--publish]

Nothing is measured. Without `--publish` the sections of docs/results.md are printed.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import claims, findings
from benchmarks.__main__ import BENCHMARKS
from benchmarks.tables import DOCS, RESULTS, result, write_section

# Results that are rendered by a benchmark of another name.
_RENDERED_BY: Mapping[str, str] = {claims.EARLIER: claims.DEMO}

CLAIMS: Mapping[str, Callable[[], str]] = {
    "results-short": findings.short,
    "results-demo": partial(claims.demo_claims, claims.DEMO),
    "results-demo-earlier": partial(claims.demo_claims, claims.EARLIER),
    "results-strategies": claims.table_claims,
    "results-scratch": claims.scratch_claims,
    "results-program": claims.program_claims,
    "results-proxies": claims.proxy_claims,
    "results-cheap": claims.cheap_claims,
    "results-speed": claims.speed_claims,
    "results-refuted": findings.refuted,
}


# The studies in the order of the index: searches, proxies, programs.
STUDIES = (
    *("demo", "strategies", "scratch", "one-program", "decoder"),
    *("fidelity", "proxy", "early-stopping", "training-free-scores"),
    *("tasks", "mutants", "workers", "speed"),
)

# The beginning of a study.
_STUDY = re.compile(
    r"# (?P<title>.+)\n\n\*\*Question\.\*\* .+?\?\n\n\*\*Answer\.\*\* (?P<answer>.+?)\n\n",
    re.DOTALL,
)


def published() -> list[str]:
    """Return the names of the published results."""
    return sorted(file.stem for file in RESULTS.glob("*.json"))


def study_section(name: str) -> str:
    """Render the section of a study, empty before its results are published."""
    if not claims.is_published(name):
        return ""
    module = BENCHMARKS[_RENDERED_BY.get(name, name)]
    text: str = importlib.import_module(f"benchmarks.{module}").render(result(name))
    return text


def index() -> str:
    """Render a line for each study: its title and its short answer.

    Raises:
        ValueError: If a study has no title, or no question and answer.
    """
    lines = []
    for name in STUDIES:
        page = DOCS / "studies" / f"{name}.md"
        found = _STUDY.match(page.read_text(encoding="utf-8"))
        if found is None:
            raise ValueError(f"{page.name} has no title, question and answer")
        answer = " ".join(found["answer"].split())
        lines.append(f"- [{found['title']}]({page.name}): {answer}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--publish", action="store_true", help="write the pages")
    options = parser.parse_args()
    found = {name: render() for name, render in CLAIMS.items()}
    if not options.publish:
        print("\n\n".join(found.values()))
        return 0
    found |= {name: study_section(name) for name in published()}
    found["studies"] = index()
    for name, text in found.items():
        write_section(name, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
