"""Trees in other processes, whose hashes of names are others."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

from azc.source import Source
from azc.syntax.parse import parse

TEXT = "attention a(q, k) { return softmax(q @ k.T) + window(q, radius = 3) }  # why\n"
PROGRAM = """
import pickle, sys
from azc.source import Source
from azc.syntax.parse import parse

there = pickle.loads(sys.stdin.buffer.read())
here = parse(Source("a.azg", sys.argv[1]))
assert there == here
assert hash(there) == hash(here)
assert there.declarations[0].comments == here.declarations[0].comments
assert there.declarations[0].body[0].value.span == here.declarations[0].body[0].value.span
"""


def test_a_tree_from_another_process_is_equal() -> None:
    tree = pickle.dumps(parse(Source("a.azg", TEXT)))
    root = str(Path(__file__).resolve().parents[2])
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, TEXT],
            input=tree,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": root},
            capture_output=True,
            check=False,
        )
        assert done.stderr == b""
