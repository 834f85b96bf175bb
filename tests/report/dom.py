"""A page as a tree of elements, read with the parser of the standard library."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "br", "input", "link", "img", "hr"}


@dataclass
class Node:
    """An element; `inside` has texts and elements in order."""

    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    inside: list[Node | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(x if isinstance(x, str) else x.text for x in self.inside)

    def __iter__(self) -> Iterator[Node]:
        """All elements below, in order."""
        for each in self.inside:
            if isinstance(each, Node):
                yield each
                yield from each

    def all(self, name: str, class_: str | None = None) -> list[Node]:
        return [
            each
            for each in self
            if each.name == name
            and (class_ is None or class_ in each.attributes.get("class", "").split())
        ]

    def one(self, name: str, class_: str | None = None) -> Node:
        (found,) = self.all(name, class_)
        return found

    def id(self, name: str) -> Node:
        (found,) = [each for each in self if each.attributes.get("id") == name]
        return found


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Node("page")]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"an attribute twice: {tag} {names}"
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.open[-1].inside.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].name == tag, f"</{tag}> ends <{self.open[-1].name}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].inside.append(data)


def parse(html: str) -> Node:
    """The tree; every element that is opened must be closed, in order."""
    parser = _Parser()
    parser.feed(html)
    parser.close()
    assert len(parser.open) == 1, f"<{parser.open[-1].name}> is not closed"
    return parser.open[0]


FIELDS = "number fate line score place parameters flops parents row node".split()


def block(page: Node, name: str) -> Any:
    """What is packed into a page under a name."""
    (found,) = [s for s in page.all("script") if s.attributes.get("data-block") == name]
    return json.loads(gzip.decompress(base64.b64decode(found.text, validate=True)))


def rows(values: list[list[Any]]) -> dict[int, dict[str, Any]]:
    """What the script of a page has of the candidates, by number."""
    return {each[0]: dict(zip(FIELDS, each, strict=True)) for each in values}


def dots(chart: Node) -> dict[str, list[tuple[int, float, float]]]:
    """By what they are, the dots of a chart: candidates with their places."""
    found = {}
    for path in chart.all("path", "dots"):
        kind = " ".join(path.attributes["class"].split()[2:])
        places = path.attributes["d"].removeprefix("M").removesuffix("h0").split("h0M")
        numbers = path.attributes["data-n"].split()
        found[kind] = [
            (int(n), *(float(value) for value in place.split(",")))
            for n, place in zip(numbers, places, strict=True)
        ]
    return found
