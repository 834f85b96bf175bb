"""Compiled encoders beside transformers' BertModel, in one run and with equal weights.

    python -m benchmarks encoder [--json out.json] [--device cuda] [--seconds 170]

1. Time of a forward pass, and of one with its backward pass, of models of the standard
   library and of BertModel with its two ways to attend (sdpa, eager). What is compared
   takes turns; a ratio is azc's time over the other's (below 1: azc is faster).
2. How far compiled attention programs are from the reference interpreter, on ragged
   batches with NaN in the padding. Above 1e-4 of the largest entry the script fails.
3. What `torch.compile` makes of it (CUDA, or with --compile).

Parts that do not begin within --seconds are left out, and listed.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import transformers
from torch import nn
from transformers import BertConfig, BertModel

import azc
from azc.api import load

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TOLERANCE = 1e-4


class Bench:
    """One run: the clock, what was measured, what was left out."""

    def __init__(self, device: torch.device, seconds: float) -> None:
        self.device = device
        self.end = time.monotonic() + seconds
        self.skipped: list[str] = []
        self.failed: list[str] = []

    def late(self, what: str, needs: float = 0.0) -> bool:
        """Whether there is no time left for something, which is then noted."""
        if time.monotonic() + needs < self.end:
            return False
        self.skipped.append(what)
        return True

    def once(self, run: Callable[[], object], times: int = 1) -> float:
        """Seconds of one call, as the mean of so many."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(times):
            run()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / times

    def turns(
        self, runs: dict[str, Callable[[], object]], rounds: int, least: float
    ) -> dict[str, float]:
        """The median seconds of each over rounds in which they take turns; each turn
        lasts `least` seconds or one call."""
        for run in runs.values():
            run()
        times = {
            name: max(1, min(50, int(least / max(self.once(run), 1e-6))))
            for name, run in runs.items()
        }
        seen: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                seen[name].append(self.once(run, times[name]))
        return {name: statistics.median(each) for name, each in seen.items()}


@contextmanager
def section(name: str) -> Iterator[None]:
    start = time.monotonic()
    print(f"\n== {name}", flush=True)
    yield
    print(f"   ({time.monotonic() - start:.0f} s)", flush=True)


# 1 encoders


def encoders(name: str, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Our encoder and both of transformers', with the same weights, no pooler used."""
    torch.manual_seed(0)
    ours: Any = azc.compile("std.models", name, task="base")
    spec = load("std.models").models[name]
    config = BertConfig(
        vocab_size=spec.vocab,
        hidden_size=spec.hidden,
        num_hidden_layers=len(spec.layers),
        num_attention_heads=spec.heads,
        intermediate_size=spec.ffn[0],
        max_position_embeddings=spec.max_length,
        type_vocab_size=spec.token_types,
        layer_norm_eps=spec.norm_eps,
    )
    made: dict[str, Any] = {"azc": ours}
    state: dict[str, torch.Tensor] | None = None
    for way in ("sdpa", "eager"):
        own = copy.deepcopy(config)
        own._attn_implementation = way
        theirs = BertModel(own)
        assert theirs.config._attn_implementation == way
        if state is None:
            azc.load_weights(ours, theirs)
            state = theirs.state_dict()
        theirs.load_state_dict(state)
        made[way] = theirs
    return {way: model.to(device, dtype).eval() for way, model in made.items()}


def inputs(
    batch: int, tokens: int, ragged: bool, vocab: int, device: torch.device
) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, vocab, (batch, tokens), generator=generator)
    given = {"input_ids": ids.to(device)}
    if ragged:
        lengths = torch.randint(
            tokens // 4, tokens + 1, (batch, 1), generator=generator
        )
        lengths[0] = tokens
        given["attention_mask"] = (torch.arange(tokens) < lengths).long().to(device)
    return given


def forward(model: nn.Module, given: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        out: torch.Tensor = model(**given).last_hidden_state
    return out


def both_ways(model: nn.Module, given: dict[str, torch.Tensor]) -> None:
    model.zero_grad(set_to_none=True)
    hidden = model(**given).last_hidden_state
    hidden.float().square().mean().backward()


def apart(models: dict[str, Any], given: dict[str, torch.Tensor]) -> float:
    """The largest difference from sdpa at real tokens."""
    ours, theirs = (forward(models[way], given) for way in ("azc", "sdpa"))
    gap = (ours - theirs).abs().float()
    if "attention_mask" in given:
        gap = gap[given["attention_mask"].bool()]
    return float(gap.max())


def time_encoders(bench: Bench, options: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    print(
        f"{'model':10} {'type':8} {'tokens':>11} {'padding':7} {'pass':8} "
        f"{'azc ms':>8} {'/ sdpa':>7} {'/ eager':>7} {'apart':>8}"
    )
    for name in options.models:
        for dtype in options.types:
            what = f"{name} {dtype}"
            if bench.late(what, 5):
                continue
            models = encoders(name, bench.device, DTYPES[dtype])
            vocab = models["azc"].config.vocab_size
            for tokens in options.lengths:
                batch = max(1, options.tokens // tokens)
                for ragged in (False, True):
                    if bench.late(f"{what} {batch}x{tokens}", 2):
                        continue
                    given = inputs(batch, tokens, ragged, vocab, bench.device)
                    gap = apart(models, given)
                    for label, work in (("forward", forward), ("both", both_ways)):
                        runs = {
                            way: (lambda m=model, g=given, w=work: w(m, g))
                            for way, model in models.items()
                        }
                        found = bench.turns(runs, options.rounds, options.least)
                        row = {
                            "model": name,
                            "type": dtype,
                            "batch": batch,
                            "tokens": tokens,
                            "ragged": ragged,
                            "pass": "forward" if label == "forward" else "and back",
                            "ms": {way: 1e3 * s for way, s in found.items()},
                            "over_sdpa": found["azc"] / found["sdpa"],
                            "over_eager": found["azc"] / found["eager"],
                            "apart": gap,
                        }
                        rows.append(row)
                        print(
                            f"{name:10} {dtype:8.8} {batch:5}x{tokens:<5}"
                            f" {'ragged' if ragged else 'none':7} {row['pass']:8}"
                            f" {1e3 * found['azc']:8.2f} {row['over_sdpa']:7.2f}"
                            f" {row['over_eager']:7.2f} {gap:8.1e}",
                            flush=True,
                        )
                    for model in models.values():
                        model.zero_grad(set_to_none=True)
            del models
    return rows


# 2 agreement


def agreement(bench: Bench) -> list[dict[str, Any]]:
    """Every attention program of the standard library against the interpreter."""
    program = load("std.attention")
    heads, width, lengths, tokens = 4, 16, [37, 1, 20], 41
    batch = len(lengths)
    generator = torch.Generator().manual_seed(2)
    mask = torch.zeros(batch, tokens, dtype=torch.bool)
    for row, length in zip(mask, lengths, strict=True):
        row[torch.randperm(tokens, generator=generator)[:length]] = True
    rows = []
    for name, spec in program.attentions.items():
        if bench.late(f"agreement of {name}"):
            continue
        values = {
            param: torch.randn(batch, heads, tokens, width, generator=generator)
            for param in spec.params
        }
        given = {
            param: x.masked_fill(~mask[:, None, :, None], torch.nan).to(bench.device)
            for param, x in values.items()
        }
        compiled = azc.compile_attention(program, name).to(bench.device)
        with torch.no_grad():
            found = compiled(**given, mask=mask.to(bench.device)).cpu().double()
        reference = azc.interpret_attention(program, name)
        gap = largest = 0.0
        for b in range(batch):
            for h in range(heads):
                alone = {p: x[b, h, mask[b]].numpy() for p, x in values.items()}
                wanted = torch.as_tensor(reference(**alone, head=h, heads=heads))
                gap = max(gap, float((found[b, h, mask[b]] - wanted).abs().max()))
                largest = max(largest, float(wanted.abs().max()))
        far = gap / max(largest, 1e-30)
        if not far <= TOLERANCE:
            bench.failed.append(f"{name}: {far:.1e} from the interpreter")
        rows.append({"program": name, "relative": far})
        print(f"{name:24} {far:.1e}", flush=True)
    return rows


# 3 torch.compile


def compiled_programs(
    bench: Bench, options: argparse.Namespace
) -> list[dict[str, Any]]:
    program = load("std.attention")
    tokens = 512 if bench.device.type == "cpu" else 2048
    rows = []
    for name in ("sdpa", "autobert_zero_2", "autobert_zero_10", "local_attention"):
        if bench.late(f"torch.compile of {name}", 15):
            continue
        shape = (4, 4, tokens, 64)
        given = {
            param: torch.randn(shape, device=bench.device)
            for param in program.attentions[name].params
        }
        plain = azc.compile_attention(program, name).to(bench.device)
        faster = torch.compile(plain)
        with torch.no_grad():
            gap = float((plain(**given) - faster(**given)).abs().max())
            found = bench.turns(
                {
                    "plain": lambda p=plain, g=given: p(**g),
                    "compiled": lambda f=faster, g=given: f(**g),
                },
                options.rounds,
                options.least,
            )
        speedup = found["plain"] / found["compiled"]
        rows.append({"program": name, "shape": shape, "speedup": speedup, "apart": gap})
        print(f"{name:24} {speedup:6.2f} times as fast, {gap:.1e} apart", flush=True)
    return rows


def compiled_encoders(
    bench: Bench, options: argparse.Namespace
) -> list[dict[str, Any]]:
    rows = []
    dtype, tokens = options.types[-1], options.lengths[-1]
    for name in options.models[:1]:
        if bench.late(f"torch.compile of {name}", 45):
            continue
        models = encoders(name, bench.device, DTYPES[dtype])
        vocab = models["azc"].config.vocab_size
        batch = max(1, options.tokens // tokens)
        given = inputs(batch, tokens, True, vocab, bench.device)
        runs: dict[str, Callable[[], object]] = {}
        for way in ("azc", "sdpa"):
            if bench.late(f"torch.compile of {name} ({way})", 20):
                continue
            model = models[way]
            faster = torch.compile(model)
            forward(faster, given)
            runs[f"{way} plain"] = lambda m=model, g=given: forward(m, g)
            runs[f"{way} compiled"] = lambda m=faster, g=given: forward(m, g)
        found = bench.turns(runs, options.rounds, options.least)
        ms = {way: 1e3 * s for way, s in found.items()}
        rows.append(
            {"model": name, "type": dtype, "batch": batch, "tokens": tokens, "ms": ms}
        )
        shown = ", ".join(f"{way} {each:.2f} ms" for way, each in ms.items())
        print(f"{name} {dtype} {batch}x{tokens}, ragged, forward: {shown}", flush=True)
    return rows


def environment(device: torch.device) -> dict[str, Any]:
    cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name()
        if cuda
        else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "tf32": torch.backends.cuda.matmul.allow_tf32,
    }


def arguments() -> argparse.Namespace:
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--device", default="cuda" if cuda else "cpu")
    parser.add_argument("--seconds", type=float, default=170.0)
    known, _ = parser.parse_known_args()
    big = known.device.startswith("cuda")
    parser.add_argument(
        "--models", nargs="+", default=["bert_base", "minilm"] if big else ["minilm"]
    )
    parser.add_argument(
        "--types",
        nargs="+",
        choices=list(DTYPES),
        default=list(DTYPES) if big else ["float32"],
    )
    parser.add_argument(
        "--lengths", nargs="+", type=int, default=[32, 128, 512] if big else [32, 128]
    )
    parser.add_argument(
        "--tokens", type=int, default=16384 if big else 512, help="tokens in a batch"
    )
    parser.add_argument("--rounds", type=int, default=7 if big else 5)
    parser.add_argument(
        "--least", type=float, default=0.05, help="seconds of one turn, at least"
    )
    parser.add_argument("--compile", action="store_true", default=big)
    parser.add_argument("--threads", type=int)
    return parser.parse_args()


def main() -> int:
    options = arguments()
    device = torch.device(options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    bench = Bench(device, options.seconds)
    figures: dict[str, Any] = {"environment": environment(device)}
    print(", ".join(f"{k} {v}" for k, v in figures["environment"].items()))
    with section("compiled programs beside the interpreter, largest entry 1"):
        figures["agreement"] = agreement(bench)
    with section("encoders beside BertModel"):
        figures["encoders"] = time_encoders(bench, options)
    if options.compile:
        with section("torch.compile, encoders"):
            figures["compiled_encoders"] = compiled_encoders(bench, options)
        with section("torch.compile, attention programs"):
            figures["compiled_programs"] = compiled_programs(bench, options)
    figures["skipped"], figures["failed"] = bench.skipped, bench.failed
    for what in bench.skipped:
        print(f"no time left for {what}")
    for what in bench.failed:
        print(f"FAILED {what}", file=sys.stderr)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 1 if bench.failed else 0


if __name__ == "__main__":
    sys.exit(main())
