"""CPU seconds that azc takes to refuse, or accept, the worst files that fit its limits.

    python -m benchmarks hostile [--size CHARACTERS] [--only WORDS]

Each row is one kind of hostile input, as long as a file may be (or as many files as may
be imported): the seconds of checking it with all its diagnostics written out, and those
of formatting it. What `azc` itself takes to start is not in them.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from azc.check.resolve import MAX_FILES, MAX_IMPORTED, check_file, check_source
from azc.diagnostics import DiagnosticError, render
from azc.source import Source
from azc.syntax.format import format_text
from azc.syntax.parse import MAX_TEXT, parse

LIMIT = 5.0  # CPU seconds that any input may take


def names(length: int = 4) -> Iterator[str]:
    """Different names of one length."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    for found in itertools.product(letters, repeat=length):
        yield "z" + "".join(found)


def filled(
    size: int, piece: Callable[[str], str], head: str = "", end: str = ""
) -> str:
    """A text of at most `size` characters: a piece for each of many names."""
    parts = [head]
    room = size - len(head) - len(end)
    for name in names():
        text = piece(name)
        room -= len(text)
        if room < 0:
            break
        parts.append(text)
    return "".join(parts) + end


def repeated(size: int, piece: str, head: str = "", end: str = "") -> str:
    """A text of at most `size` characters: the same piece over and over."""
    return head + piece * ((size - len(head) - len(end)) // len(piece)) + end


def program(size: int, line: Callable[[str], str], end: str = "return q\n}\n") -> str:
    """A file of one attention program."""
    return filled(size, line, "attention a(q, k, v) {\n", end)


def many_programs(size: int, body: str) -> str:
    """A file of many attention programs."""
    return filled(size, lambda name: f"attention {name}(q,k,v){{{body}}}\n")


LONG = "abcdefgh" * 25


def kinds(size: int) -> dict[str, str]:
    """Texts by what they are full of."""
    deep = "(" * 60 + "q" + ")" * 60
    programs = filled(size // 2, lambda n: f"attention {n}(q){{return q}}\n")
    layers = "".join(f"{n}\n" for n in itertools.islice(names(), programs.count("\n")))
    space_head = "attention a(q,k,v) {\nreturn q\n}\nmodel m {\nlayers { a }\n}\n"
    return {
        "nothing but spaces": " " * size,
        "empty lines": "\n" * size,
        "comments": repeated(size, "#\n"),
        "comments in an expression": repeated(
            size, "#\n", "attention a(q){return (q", ")}"
        ),
        "comments in a list": repeated(size, "1,#\n", "model m{ffn=[", "]}"),
        "nul": "\0" * size,
        "letters": "a" * size,
        "digits": "model m { vocab = " + "9" * (size - 30) + " }",
        "a file of minus signs": "-" * size,
        "opening brackets": "(" * size,
        "opening braces": "{" * size,
        "closing braces": "}" * size,
        "a program of minus signs": repeated(size, "-", "attention a(q){return ", "q}"),
        "nested parentheses": repeated(size, deep + "\n", "attention a(q){", "}"),
        "statements": program(size, lambda n: f"{n}=q\n"),
        "statements, deep": program(size, lambda n: f"{n}={'-' * 60}q\n"),
        "operations": program(size, lambda n: f"{n}={'q+' * 20}q\n"),
        "many programs": many_programs(size, "return q"),
        "programs of operations": filled(
            size,
            lambda n: f"attention {n}(q){{return {'+'.join('q' * 50)}}}\n",
        ),
        "unknown names": program(size, lambda n: f"x{n}={n}x\n"),
        "unknown names beside known": program(size // 2, lambda n: f"{n}=q\n", "")
        + filled(size // 2 - 20, lambda n: f"x={n[::-1]}\n", end="return q\n}\n"),
        "long unknown names": program(size, lambda n: f"x{n}={n}{LONG}\n"),
        "unknown operations": program(size, lambda n: f"x{n}={n}(q)\n"),
        "long unknown operations": program(
            size, lambda n: f"x{n}=softmax{n}{LONG}(q)\n"
        ),
        "unknown attributes": program(size, lambda n: f"x{n}=rope(q, {n}=1)\n"),
        "unknown attributes of one call": program(
            size, lambda n: f"{n}=1,", ") }"
        ).replace("{\n", "{ return rope(q,", 1),
        "wrong types": program(size, lambda n: f"x{n}=q@k\n"),
        "wrong types, deep": program(size, lambda n: f"x{n}=({'q+' * 30}q)@k\n"),
        "missing operands": program(size, lambda n: f"x{n}=softmax()\n"),
        "too many operands": program(size, lambda n: "q,", "q) }").replace(
            "{\n", "{ return softmax(", 1
        ),
        "one name bound again": program(size, lambda n: "q=q\n"),
        "unused names": program(size, lambda n: f"x{n}=k\n"),
        "after return": program(size, lambda n: "return q\n"),
        "parameters": filled(
            size, lambda n: f"{n},", "attention a(", "){return zaaaa}"
        ),
        "the same parameter": repeated(size, "q,", "attention a(", "){return q}"),
        "upper case": program(size, lambda n: f"{n.upper()}=q\n"),
        "syntax errors": program(size, lambda n: "q q\n"),
        "errors on one line": repeated(size, "q q ", "attention a(q){"),
        "broken declarations": repeated(size, "model m { = }\n"),
        "broken blocks": repeated(size, "model m {\n = {\n} }\n"),
        "strings": program(size, lambda n: f'{n}="q"\n'),
        "declarations twice": repeated(size, "attention a(q){return q}\n"),
        "settings": filled(size, lambda n: f"{n}=1\n", "model m{\n", "}"),
        "the same setting": repeated(size, "vocab=1\n", "model m{\n", "}"),
        "wrong values": repeated(size, "norm=lay\n", "model m{\n", "}"),
        "a list": repeated(size, "1,", "model m{ffn=[", "]}"),
        "nested lists": repeated(
            size, "[" * 60 + "]" * 60 + ",", "model m{ffn=[", "]}"
        ),
        "layers": repeated(
            size, "a\n", "attention a(q){return q}\nmodel m{layers{\n", "}}"
        ),
        "unknown layers": filled(size, lambda n: f"{n}\n", "model m{layers{\n", "}}"),
        "unknown layers beside known": programs
        + "model m { layers {\n"
        + filled(size // 2 - 20, lambda n: f"{n[::-1]}\n", end="}}"),
        "layers of many programs": programs + "model m { layers {\n" + layers + "}}",
        "repeat, deep": "attention a(q){return q}\nmodel m{layers{"
        + "repeat 1000000000 {" * 60
        + "a"
        + "}" * 62,
        "repeat without layers": "attention a(q){return q}\nmodel m{layers{a\n"
        + repeated(size - 80, "repeat 1000000000 {}\n")
        + "}}",
        "models of a thousand layers": filled(
            size,
            lambda n: f"model {n}{{layers{{repeat 1000{{a}}}}}}\n",
            "attention a(q){return q}\n",
        ),
        "models of many kinds of layers": filled(
            size,
            lambda n: f"model {n}{{layers{{repeat 300{{a\nb\nconv(kernel=3)}}}}}}\n",
            "attention a(q){return q}\nattention b(q){return -q}\n",
        ),
        "heads that do not divide": filled(
            size,
            lambda n: f"model {n}{{hidden=999983\nheads=65536\nlayers{{a}}}}\n",
            "attention a(q){return q}\n",
        ),
        "spaces": filled(size, lambda n: f"space {n}{{start=m}}\n", space_head),
        "spaces of a large model": filled(
            size,
            lambda n: f"space {n}{{start=m\nattention{{inputs=[k]\nops=[neg]}}}}\n",
            "attention a(q) {\nreturn " + "+".join("q" * 60) + "\n}\n"
            "model m {\nlayers {\n"
            + "".join(f"a(ffn={i})\n" for i in range(1, 1000))
            + "}\n}\n",
        ),
        "a space of many inputs": filled(
            size,
            lambda n: f"{n},",
            space_head + "space s{start=m\nattention{ops=[neg]\ninputs=[",
            "]}}",
        ),
        "a space of unknown operations": filled(
            size,
            lambda n: f"{n},",
            space_head + "space s{start=m\nattention{inputs=[q]\nops=[",
            "]}}",
        ),
        "a space of many values": space_head.replace(
            "layers { a }",
            "layers {\n" + "".join(f"a(ffn={i})\n" for i in range(1, 1000)) + "}",
        )
        + "space s{start=m\nlayer{ffn=["
        + ",".join(str(i) for i in range(2000, 2000 + (size - 16000) // 7))
        + "]}}",
        "imports of nothing": repeated(size, "from .x import y\n"),
        "names from the library": filled(
            size, lambda n: f"{n},", "from std.attention import (", ")"
        ),
        "unknown libraries": filled(size, lambda n: f"from {n} import y\n"),
        "unknown files": filled(size, lambda n: f"from std.{n} import y\n"),
        "long unknown files": filled(size, lambda n: f"from std.{n}{LONG} import y\n"),
        "parts of a module": repeated(size, ".a", "from std", " import b"),
    }


def folders(size: int, folder: Path) -> dict[str, Path]:
    """Files that import many others, by what those are full of."""
    found: dict[str, Path] = {}
    each = min(MAX_TEXT, MAX_IMPORTED // (MAX_FILES - 2), size)
    bodies = {
        "imports": many_programs(each, "return q"),
        "imports of operations": filled(
            each, lambda n: f"attention {n}(q){{return {'+'.join('q' * 50)}}}\n"
        ),
        "imports of unknown names": program(each, lambda n: f"x{n}={n}x\n"),
        "imports of syntax errors": program(each, lambda n: "q q\n"),
        "imports of too much": many_programs(MAX_TEXT, "return q"),
    }
    for kind, body in bodies.items():
        path = folder / kind.replace(" ", "_")
        path.mkdir()
        for number in range(MAX_FILES - 2):
            (path / f"f{number}.azg").write_text(body)
        lines = [f"from .f{n} import zaaaa as b{n}\n" for n in range(MAX_FILES - 2)]
        (path / "main.azg").write_text("".join(lines))
        found[kind] = path / "main.azg"
    return found


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of a call, whatever it says of a program."""
    before = time.process_time()
    try:
        work()
    except DiagnosticError as error:
        render(error.diagnostics)
    return time.process_time() - before


def main() -> None:
    reader = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    reader.add_argument(
        "--size", type=int, default=MAX_TEXT, help="characters of a file"
    )
    reader.add_argument(
        "--only", default="", help="kinds whose names have this in them"
    )
    given = reader.parse_args()
    seconds(lambda: parse(Source("first", "# builds the parser\n")))
    print(f"{'':<32} {'check':>8} {'fmt':>8}   seconds of CPU")
    rows: list[tuple[str, float, float]] = []

    def row(kind: str, check: Callable[[], object], form: Callable[[], object]) -> None:
        if given.only in kind:
            rows.append((kind, seconds(check), seconds(form)))
            slow = "  <- too slow" if max(rows[-1][1:]) > LIMIT else ""
            print(f"{kind:<32} {rows[-1][1]:8.2f} {rows[-1][2]:8.2f}{slow}", flush=True)

    for kind, text in kinds(given.size).items():
        source = Source("hostile.azg", text)
        row(kind, lambda s=source: check_source(s), lambda s=source: format_text(s))
    with tempfile.TemporaryDirectory() as folder:
        for kind, path in folders(given.size, Path(folder)).items():
            row(kind, lambda p=path: check_file(p), lambda: None)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    worst = max(max(row[1:]) for row in rows)
    print(f"the worst takes {worst:.2f} s of CPU; {memory} MiB of memory at most")


if __name__ == "__main__":
    main()
