"""List the benchmarks, or run one of them.

python -m benchmarks                       list the benchmarks
python -m benchmarks NAME [OPTIONS]        run one; --help lists its options
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from azc.diagnostics import nearest

# Name on the command line: the module. Its `main` reads `sys.argv`, and the first line of
# its docstring is shown in the list.
BENCHMARKS: Mapping[str, str] = MappingProxyType(
    {
        "bert500": "bert500",
        "demo": "demo",
        "early-stopping": "early_stopping",
        "encoder": "encoder",
        "fidelity": "fidelity",
        "hostile": "hostile",
        "mutants": "mutants",
        "one-program": "one_program",
        "page": "page",
        "picture": "picture",
        "results": "pages",
        "scale": "scale",
        "scratch": "scratch",
        "speed": "speed",
        "strategies": "strategies",
        "tasks": "tasks",
    }
)


def listing() -> str:
    """Return a line for each benchmark."""
    width = max(map(len, BENCHMARKS))
    lines = [__doc__ or ""]
    for name, module in BENCHMARKS.items():
        text = Path(__file__).with_name(f"{module}.py").read_text(encoding="utf-8")
        about = (ast.get_docstring(ast.parse(text)) or "").split("\n", 1)[0]
        lines.append(f"  {name:<{width}}  {about}")
    return "\n".join(lines)


def main(args: Sequence[str]) -> int:
    """Run a benchmark. Return 2 if there is none of that name."""
    if not args or args[0] in ("-h", "--help"):
        print(listing())
        return 0
    name, *rest = args
    if name not in BENCHMARKS:
        near = nearest(name, BENCHMARKS)
        hint = f"did you mean {near}? " if near else ""
        print(
            f"there is no benchmark {name!r}: {hint}it is one of"
            f" {', '.join(BENCHMARKS)}",
            file=sys.stderr,
        )
        return 2
    module = importlib.import_module(f"benchmarks.{BENCHMARKS[name]}")
    sys.argv = [f"python -m benchmarks {name}", *rest]
    return int(module.main() or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
