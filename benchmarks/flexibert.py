"""The architectures of NAS-Bench-BERT (Serianni and Kalita 2023), a sample of FlexiBERT's
space (Tuli et al. 2022): read, written in azc's language, taken apart into fields.

docs/studies/training-free-scores.md lists what the language cannot express exactly.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

TEXT = """\
attention sdp(q, k, v) {{
    return softmax(scale(q @ k.T)) @ v
}}

attention wma(q, k, v) {{
    return softmax(scale(conv(q, kernel = 1) @ k.T)) @ v
}}

attention lt(v) {{
    wave = rope(0 * v + 1)
    return wave @ (wave.T @ v)
}}

attention dsc5(q, k, v) {{
    span = q * conv(k, kernel = 5)
    near = softmax(window(scale(span @ k.T), radius = 2))
    return softmax(scale(q @ k.T)) @ v + near @ v
}}

attention dsc9(q, k, v) {{
    span = q * conv(k, kernel = 9)
    near = softmax(window(scale(span @ k.T), radius = 4))
    return softmax(scale(q @ k.T)) @ v + near @ v
}}

model flexibert {{
    vocab = {vocab}
    hidden = {hidden}
    heads = 4

    layers {{
{layers}
    }}
}}
"""
PROGRAMS = {
    "SDP": "sdp",
    "WMA": "wma",
    "DFT": "lt",
    "DCT": "lt",
    "5": "dsc5",
    "9": "dsc9",
}
KINDS = {"SA": ("SDP", "WMA"), "LT": ("DFT", "DCT"), "DSC": ("5", "9")}
VOCAB, EMBEDDING, POSITIONS, TYPES = 30522, 128, 512, 2  # of ELECTRA-small


@dataclass(frozen=True)
class Layer:
    """One layer: `what` it mixes tokens with, as PROGRAMS names it."""

    what: str
    heads: int
    width: int
    networks: int


@dataclass(frozen=True)
class Architecture:
    """One architecture of the table, and its mean GLUE score."""

    hidden: int
    layers: tuple[Layer, ...]
    glue: float = 0.0

    @property
    def size(self) -> tuple[int, int]:
        """The number of layers and the hidden width."""
        return len(self.layers), self.hidden


def _architecture(entry: dict[str, Any], glue: float) -> Architecture:
    overrides = entry["hparams"]["model_hparam_overrides"]
    layers = tuple(
        Layer(
            str(each["operation_parameter"]),
            each["num_operation_heads"],
            each["feed_forward_dimension"],
            each["num_feed_forward"],
        )
        for each in overrides["nas_config"]["encoder_layers"]
    )
    return Architecture(overrides["hidden_size"], layers, glue)


def load_table(folder: Path) -> list[Architecture]:
    """Read all 500 architectures, in the order of the file; a few are there twice."""
    entries = json.loads((folder / "BERT_benchmark.json").read_text(encoding="utf-8"))
    return [_architecture(entry, entry["scores"]["glue"]) for entry in entries]


def load_repeated(folder: Path) -> list[tuple[float, float]]:
    """Read the GLUE scores of architectures that were trained twice.

    The first is that of the table, the second that of the authors' study of training
    steps, after its last step.
    """
    text = (folder / "BERT_benchmark_train_ablation.json").read_text(encoding="utf-8")
    known = {replace(each, glue=0.0): each.glue for each in load_table(folder)}
    found = []
    for entry in json.loads(text):
        scores = entry["scores"]
        if scores:
            last = scores[max(scores, key=int)]["glue"]
            found.append((known[_architecture(entry, 0.0)], last))
    return found


def program_text(arch: Architecture, vocab: int) -> str:
    """Return the architecture as a program with the model `flexibert`."""
    lines = []
    for layer in arch.layers:
        widths = ", ".join([str(layer.width)] * layer.networks)
        ffn = f"[{widths}]" if layer.networks > 1 else widths
        name = PROGRAMS[layer.what]
        lines.append(f"        {name}(heads = {layer.heads}, ffn = {ffn})")
    return TEXT.format(vocab=vocab, hidden=arch.hidden, layers="\n".join(lines))


def own_parameters(arch: Architecture) -> int:
    """Count the parameters of the original architecture, with embeddings."""
    h, e = arch.hidden, EMBEDDING
    total = (VOCAB + POSITIONS + TYPES + 2) * e
    if h != e:
        total += (e + 1) * h
    for layer in arch.layers:
        w = layer.width
        half = h // 2
        heads = layer.heads // 2
        mixing = {
            "SDP": 3 * (h * h + h),
            "WMA": 4 * h * h + 3 * h,
            "DFT": h * h + h,
            "DCT": h * h + h,
        }
        transformed = layer.what in ("DFT", "DCT")  # these have no output projection
        if layer.what in mixing:
            total += mixing[layer.what]
        else:
            kernel = int(layer.what)
            # Three projections and the output's, the separable convolution, the kernel.
            total += 4 * (h + 1) * half + h * kernel + (h + 1) * half
            total += (half + 1) * heads * kernel
        total += 0 if transformed else h * h + 3 * h
        total += (h + 1) * w + (layer.networks - 1) * (w + 1) * w + (w + 1) * h + 2 * h
    return total


# Fields, for a search in the table


def fields(arch: Architecture) -> dict[str, str]:
    """Return all choices that make the architecture, by name."""
    found = {"layers": str(len(arch.layers)), "hidden": str(arch.hidden)}
    for place, layer in enumerate(arch.layers):
        found[f"{place} what"] = layer.what
        found[f"{place} heads"] = str(layer.heads)
        found[f"{place} width"] = str(layer.width)
        found[f"{place} networks"] = str(layer.networks)
    return found
