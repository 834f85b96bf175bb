"""Models of transformers and of the standard library that are to be equal, small."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
import transformers

from azc.check.models import SETTINGS
from azc.check.program import AttentionUse, Program
from azc.check.resolve import check_file
from azc.resources import stdlib_folder
from tests.model.models import build, shake

__all__ = ["DECODERS", "KINDS", "LAYERS", "PAD", "VOCAB", "Kind", "library"]

VOCAB, HIDDEN, HEADS, LAYERS, FFN, LENGTH, PAD = 99, 48, 6, 3, 192, 80, 1


@dataclass(frozen=True)
class Kind:
    """A kind of model: how transformers calls it, what the standard library calls one of
    them, and the sizes of that one; `first`: the number of the first position, None where
    it has none.
    """

    title: str
    ours: str
    small: dict[str, Any]
    true: dict[str, Any] = field(default_factory=dict)
    head: str = "ForMaskedLM"
    first: int | None = 0

    def theirs(self, head: str | None = None, **changes: Any) -> Any:
        """A small model of transformers, with weights that all matter."""
        given = {"vocab_size": VOCAB, "pad_token_id": PAD, **self.small, **changes}
        config = getattr(transformers, f"{self.title}Config")(**given)
        config._attn_implementation = "eager"
        torch.manual_seed(0)
        made = getattr(transformers, f"{self.title}{head or self.head}")(config)
        shake(made, 0.15)
        for name, parameter in made.named_parameters():
            if "word_embeddings_layernorm" in name:  # BLOOM's
                # Else layers add too little for any token to follow but the last again.
                parameter.data *= 0.1
        return made.eval()

    def build(self, task: Any = None, mixing: str | None = None, **changes: Any) -> Any:
        """The model of the standard library, with these small sizes."""
        spec = library().models[self.ours]
        use = spec.layers[0].mixing
        assert isinstance(use, AttentionUse)
        name = mixing or use.name
        sizes = {
            "vocab": VOCAB,
            "hidden": HIDDEN,
            "heads": HEADS,
            "ffn": FFN,
            "max_length": LENGTH,
            "dropout": 0,
            "attention_dropout": 0,
        }
        settings = {each: getattr(spec, each) for each in SETTINGS} | sizes | changes
        return build(
            "; ".join([name] * LAYERS),
            task=task or ("causal-lm" if settings["causal"] else "masked-lm"),
            attentions=f"from std.attention import {name}\n",
            **settings,
        )

    def places(self, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """What transformers has to be told of where tokens stand."""
        if self.first is None:
            return {"attention_mask": mask.long()}
        positions = (mask.long().cumsum(-1) - 1).clamp(min=0) + self.first
        return {"attention_mask": mask.long(), "position_ids": positions}


@cache
def library() -> Program:
    return check_file(stdlib_folder() / "models.azg")


BERT = {
    "hidden_size": HIDDEN,
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "intermediate_size": FFN,
    "max_position_embeddings": LENGTH,
}
DISTIL = {
    "dim": HIDDEN,
    "n_heads": HEADS,
    "n_layers": LAYERS,
    "hidden_dim": FFN,
    "max_position_embeddings": LENGTH,
}
ROBERTA = {"type_vocab_size": 1, "layer_norm_eps": 1e-5}
GPT2 = {
    "n_embd": HIDDEN,
    "n_head": HEADS,
    "n_layer": LAYERS,
    "n_inner": FFN,
    "n_positions": LENGTH,
}
NEOX = {"use_parallel_residual": False, "rotary_pct": 1.0}
KINDS = {
    "bert": Kind("Bert", "bert_base", BERT),
    "distilbert": Kind("DistilBert", "distilbert_base", DISTIL),
    "roberta": Kind(
        "Roberta",
        "roberta_base",
        {**BERT, **ROBERTA, "max_position_embeddings": LENGTH + PAD + 1},
        {**ROBERTA, "max_position_embeddings": 514},
        first=PAD + 1,
    ),
    "gpt2": Kind("GPT2", "gpt2", GPT2, head="LMHeadModel"),
    "bloom": Kind(
        "Bloom",
        "bloom_560m",
        {"hidden_size": HIDDEN, "n_head": HEADS, "n_layer": LAYERS},
        {"hidden_size": 1024, "n_head": 16, "n_layer": 24},
        head="ForCausalLM",
        first=None,
    ),
    "gpt_neox": Kind(
        "GPTNeoX",
        "redpajama_3b",
        {**BERT, **NEOX},
        {
            **NEOX,
            "hidden_size": 2560,
            "num_attention_heads": 32,
            "num_hidden_layers": 32,
            "intermediate_size": 10240,
        },
        head="ForCausalLM",
    ),
}
DECODERS = ("gpt2", "bloom", "gpt_neox")
