"""Speed of compiled programs relative to handwritten PyTorch, on one thread.

    python -m benchmarks speed [--seconds 1.0] [--publish]

Attention programs of the standard library beside PyTorch's function or the same formula by
hand, forward and with gradients; the memory that causal programs add with n tokens; models
beside transformers' own, and a decoding step. The two of a pair alternate, and the least
time of each counts, so that other work on the machine affects both alike. A ratio below 1
means that azc is faster.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import torch.nn.functional as F

import azc
from azc.lower.attention import compile_graph
from azc.passes.pipeline import program_graph
from benchmarks.tables import add_publish_option, made_with, publish, table, versions

Hand = Callable[..., torch.Tensor]
BATCH, HEADS, WIDTH = 4, 4, 64


def _euclidean(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    exact = "donot_use_mm_for_euclid_dist"
    far = torch.cdist(q, k, compute_mode=exact).square()
    return torch.softmax(-far / math.sqrt(WIDTH), -1) @ v


def _linear(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    q, k = F.elu(q) + 1, F.elu(k) + 1
    total = q @ k.sum(-2, keepdim=True).transpose(-1, -2)
    return q @ (k.transpose(-1, -2) @ v) / total.clamp(min=1e-6)


def _cosine(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    q, k = (F.normalize(x, dim=-1, eps=1e-8) for x in (q, k))
    return torch.softmax(10 * (q @ k.transpose(-1, -2)), -1) @ v


HANDS: Mapping[str, Hand] = {
    "sdpa": F.scaled_dot_product_attention,
    "sdpa, causal": lambda q, k, v: F.scaled_dot_product_attention(
        q, k, v, is_causal=True
    ),
    "sdpa, plain": lambda q, k, v: (
        torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(WIDTH), -1) @ v
    ),
    "cosine": _cosine,
    "euclidean": _euclidean,
    "linear_attention": _linear,
    "efficient_attention": lambda q, k, v: (
        torch.softmax(q, -1) @ (torch.softmax(k, -2).transpose(-1, -2) @ v)
    ),
    "attention_free": lambda q, k, v: (
        torch.sigmoid(q) * (torch.softmax(k, -2) * v).sum(-2, keepdim=True)
    ),
    "mean_mixing": lambda v: v + v.mean(-2, keepdim=True),
}


def compared(
    ours: Callable[[], Any], theirs: Callable[[], Any], seconds: float
) -> float:
    """Return the least time of ours over the least of theirs, alternating."""
    best = [math.inf, math.inf]
    ours(), theirs()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or math.inf in best:
        for place, run in enumerate((ours, theirs)):
            start = time.process_time()
            run()
            best[place] = min(best[place], time.process_time() - start)
    return best[0] / best[1]


def _run(function: Callable[[], torch.Tensor], back: bool) -> None:
    out = function()
    if back:
        out.sum().backward()


def attentions(seconds: float) -> dict[str, dict[str, float]]:
    """Return ratios by program, and by length and direction."""
    library = azc.load("std.attention")
    found: dict[str, dict[str, float]] = {}
    for title, hand in HANDS.items():
        name, _, how = title.partition(", ")
        spec = library.attentions[name]
        fn = compile_graph(
            program_graph(spec),
            HEADS,
            WIDTH,
            causal=how == "causal",
            backends=() if how == "plain" else ("sdpa",),
        )
        row = found[title] = {}
        for tokens in (64, 512):
            for back in (False, True):
                shape = (BATCH, HEADS, tokens, WIDTH)
                given = {p: torch.randn(shape, requires_grad=back) for p in spec.params}
                ours = partial(_run, partial(fn, **given), back)
                theirs = partial(_run, partial(hand, *given.values()), back)
                kind = "both" if back else "forward"
                row[f"{tokens} {kind}"] = compared(ours, theirs, seconds)
        print(title, row, flush=True)
    return found


_MEMORY = """
import sys, torch, azc
torch.set_num_threads(1)
name, n = sys.argv[1], int(sys.argv[2])
if name == "by PyTorch":
    attend = torch.nn.functional.scaled_dot_product_attention
    fn, params = (lambda q, k, v: attend(q, k, v, is_causal=True)), "qkv"
else:
    fn = azc.compile_attention("std.attention", name, 4, 64, causal=True)
    params = azc.load("std.attention").attentions[name].params
given = {p: torch.randn(1, 4, n, 64, requires_grad=True) for p in params}
def most():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith("VmHWM"))
open("/proc/self/clear_refs", "w").write("5")  # what is in use now is the most so far
before = most()
fn(**given).sum().backward()
print((most() - before) / 1024)
"""


def memory() -> dict[str, dict[str, float]]:
    """Return the MiB that causal programs add, forward and backward, by length."""
    found: dict[str, dict[str, float]] = {}
    for name in ("by PyTorch", "sdpa", "linear_attention", "efficient_attention"):
        for tokens in (4096, 8192, 16384):
            words = [sys.executable, "-c", _MEMORY, name, str(tokens)]
            out = subprocess.run(words, capture_output=True, text=True, check=True)
            found.setdefault(name, {})[str(tokens)] = float(out.stdout)
    return found


def models(seconds: float) -> dict[str, float]:
    """Return the ratios of a small BERT and GPT-2 to those of transformers."""
    from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel

    found: dict[str, float] = {}
    sizes = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4}
    bert = BertModel(BertConfig(vocab_size=1000, intermediate_size=1024, **sizes))
    gpt2 = GPT2LMHeadModel(
        GPT2Config(vocab_size=1000, n_embd=256, n_layer=4, n_head=4, n_positions=512)
    )
    common = "vocab = 1000\n hidden = 256\n heads = 4\n layers { repeat 4 { sdpa } }"
    text = "from std.attention import sdpa\n"
    own = azc.loads(
        f"{text}model bert {{\n {common}\n}}\n"
        f"model gpt2 {{\n causal = true\n residual = pre\n token_types = 0\n"
        f" activation = gelu_tanh\n norm_eps = 1e-5\n {common}\n}}\n"
    )
    ours = azc.compile(own, "bert", task="base").eval()
    decoder = azc.compile(own, "gpt2").eval()
    bert, gpt2 = bert.eval(), gpt2.eval()
    ids = torch.randint(1, 1000, (4, 256))
    mask = torch.ones_like(ids)
    mask[1:, 200:] = 0
    with torch.no_grad():
        for title, given in (("", {}), (", padded", {"attention_mask": mask})):
            found[f"BERT{title}"] = compared(
                lambda given=given: ours(ids, **given),
                lambda given=given: bert(ids, **given),
                4 * seconds,
            )
            found[f"GPT-2{title}"] = compared(
                lambda given=given: decoder(ids, use_cache=False, **given),
                lambda given=given: gpt2(ids, use_cache=False, **given),
                4 * seconds,
            )

        def steps(model: Any) -> None:
            model.generate(ids[:, :32], max_new_tokens=32, do_sample=False)

        found["GPT-2, 32 tokens generated"] = compared(
            lambda: steps(decoder), lambda: steps(gpt2), 4 * seconds
        )
    base = f"{text}model base {{\n layers {{ repeat 12 {{ sdpa }} }}\n}}\n"
    with torch.device("meta"):
        found["BERT-base, text to module"] = compared(
            lambda: azc.compile(azc.loads(base), task="base"),
            lambda: BertModel(BertConfig()),
            2 * seconds,
        )
    return found


def _column(name: str) -> str:
    tokens, what = name.split(" ")
    return f"n = {tokens}, {'with gradients' if what == 'both' else what}"


def render(figures: dict[str, Any]) -> str:
    """Render the tables."""
    columns = next(iter(figures["attentions"].values()))
    rows = [
        [f"`{name}`", *(f"{row[column]:.2f}" for column in columns)]
        for name, row in figures["attentions"].items()
    ]
    parts = [table(["time relative to handwritten", *map(_column, columns)], rows)]
    lengths = next(iter(figures["memory"].values()))
    rows = [
        [f"`{name}`", *(f"{row[n]:.0f}" for n in lengths)]
        for name, row in figures["memory"].items()
    ]
    parts.append(table(["MiB added, causal", *(f"n = {n}" for n in lengths)], rows))
    rows = [[name, f"{ratio:.2f}"] for name, ratio in figures["models"].items()]
    parts.append(table(["model", "time relative to transformers"], rows))
    return "\n\n".join([*parts, *versions(figures)]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0)
    add_publish_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    figures = {
        "made_with": made_with(),
        "attentions": attentions(options.seconds),
        "memory": memory(),
        "models": models(options.seconds),
    }
    text = render(figures)
    print(text)
    if options.publish:
        publish("speed", figures, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
