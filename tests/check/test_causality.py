"""What has no causal meaning is refused, and what is offered instead has one."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import azc
from azc.check.causality import causal_faults
from azc.check.program import AttentionSpec
from azc.diagnostics import DiagnosticError
from azc.facts.time import without_causal_meaning
from azc.ir.build import build_graph
from azc.ir.run import Interpreter
from azc.syntax.parse import read_source
from tests.golden_files import GOLDEN
from tests.programs import programs, spec_of

OFFER = re.compile(r"write `(.+)`: its rows are computed token by token")


def rewritten(text: str, spec: AttentionSpec) -> list[tuple[str, int]]:
    """The text with each rewrite that is offered, and how many faults were told."""
    found = []
    faults = causal_faults(spec)
    for fault in faults:
        offer = OFFER.fullmatch(fault.help or "")
        if offer is None or "…" in offer[1] or fault.span is None:
            continue
        span = fault.span
        new = f"{text[: span.start]}({offer[1]}){text[span.end :]}"
        found.append((new, len(faults)))
    return found


def is_the_same(first: AttentionSpec, second: AttentionSpec) -> bool:
    """Whether two programs give the same in an encoder."""
    random = np.random.default_rng(0)
    inputs = {name: random.normal(size=(5, 3)) for name in first.params}
    one, two = (Interpreter(build_graph(each))(**inputs) for each in (first, second))
    return bool(np.allclose(one, two, rtol=1e-6, atol=1e-9, equal_nan=True))


def golden_programs() -> list[AttentionSpec]:
    path = GOLDEN / "check" / "causal.azg"
    text = read_source(path, path.name).text.partition("model encoder")[0]
    return [
        spec_of(f"attention {each}")
        for each in re.split(r"^attention ", text, flags=re.M)[1:]
    ]


@pytest.mark.parametrize("spec", golden_programs(), ids=lambda spec: spec.name)
def test_rewrites_check_and_mean_the_same(spec: AttentionSpec) -> None:
    text = spec.node.span.source.text
    for new, count in rewritten(text, spec):
        mended = spec_of(new)
        assert len(causal_faults(mended)) < count
        assert is_the_same(spec, mended)
    assert without_causal_meaning(build_graph(spec)) == bool(causal_faults(spec))


def test_every_rewrite_of_random_programs() -> None:
    count = {"refused": 0, "offered": 0, "causal": 0}

    @settings(max_examples=300, derandomize=True)
    @example("attention a(q, k, v) { return (q @ k.T).T @ v }\n", None)
    @given(programs(), st.none())
    def check(text: str, _: None) -> None:
        spec = spec_of(text)
        faults = causal_faults(spec)
        # The checker over the text and the compiler over the graph agree.
        assert without_causal_meaning(build_graph(spec)) == bool(faults)
        count["refused" if faults else "causal"] += 1
        for new, before in rewritten(text, spec):
            mended = spec_of(new)
            assert len(causal_faults(mended)) < before
            if "alibi" not in new and "conv" not in new:
                assert is_the_same(spec, mended)
            count["offered"] += 1

    check()
    # One is given, few are drawn: of what, depends on what else was imported.
    assert count["refused"] > 1
    assert count["causal"] > 100
    assert count["offered"] > 0  # few are drawn; the goldens have one of each kind


def test_from_python_a_program_without_causal_meaning_is_refused() -> None:
    program = azc.loads("attention a(q, v) { return (q @ v.T).T @ v }")
    for make in (azc.compile_attention, azc.interpret_attention):
        with pytest.raises(DiagnosticError, match="has no causal meaning"):
            make(program, "a", causal=True)
        make(program, "a")
