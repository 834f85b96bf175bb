"""A page as a tree of elements, read with the parser of the standard library."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

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
