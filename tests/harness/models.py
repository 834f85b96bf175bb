"""The tests of `ModelTesterMixin` over our classes, and over BERT as the control.

Run by `make test-transformers`, not by the gate.
"""

from __future__ import annotations

import unittest
from typing import Any

from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
)

import azc
from azc.model import (
    AzcForCausalLM,
    AzcForMaskedLM,
    AzcForSequenceClassification,
    AzcModel,
)
from tests.harness.common import Tester, model_tests

Mixin: Any = model_tests().ModelTesterMixin

TEXT = """
attention sdpa(q, k, v) {{
    return softmax(scale(q @ k.T)) @ v
}}
attention sums(q, k, v) {{
    return q @ (k.T @ v) + mean(k.T).T * v
}}
attention primer(q, k, v) {{
    return softmax(alibi(conv(q, kernel = 3) @ k.T)) @ conv(v, kernel = 3)
}}
model m {{
    vocab = 40
    hidden = 16
    heads = 2
    ffn = 24
    max_length = 64
    causal = {causal}
    norm_eps = 1  # as the tests set it, so that rounding matters less
    layers {{
{layers}
    }}
}}
"""


def config(*layers: str, causal: bool = False) -> Any:
    """The configuration of a small model of these layers."""
    body = "\n".join(f"        {layer}" for layer in layers)
    text = TEXT.format(layers=body, causal=str(causal).lower())
    return azc.compile(azc.loads(text), "m", task="base").config


class Bert(Mixin, unittest.TestCase):
    """The control."""

    all_model_classes = (BertModel, BertForMaskedLM, BertForSequenceClassification)

    def setUp(self) -> None:
        self.model_tester = Tester(
            lambda: BertConfig(
                vocab_size=40,
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=24,
                max_position_embeddings=64,
            )
        )


_NO_WEIGHTS = "a program need not have attention weights"
_OWN_ATTENTION = (
    "attention is the program's: there are no implementations to choose from"
)
# Tests of the mixin, or the first letters of several, that say nothing of our classes.
INAPPLICABLE = {
    "test_attention_outputs": _NO_WEIGHTS,
    "test_can_set_attention_dynamically": _OWN_ATTENTION,
    "test_eager_matches_sdpa_inference": _OWN_ATTENTION,
    "test_sdpa_can_dispatch_non_composite_models": _OWN_ATTENTION,
    "test_can_capture_specific_layers_hidden_states": (
        "hidden states are the encoder's outputs, not captured from layers by hooks"
    ),
    "test_capture_outputs_decorator": "as above: nothing is captured",
    "test_generation_tester_mixin_inheritance": (
        "that mixin is not in the distribution; tests/model/test_gener*.py are ours"
    ),
    "test_feed_forward_chunking": (
        "config.chunk_size_feed_forward is refused in one sentence"
    ),
}


def inapplicable(name: str) -> str | None:
    """Why a test is not run; None if it is."""
    for start, reason in INAPPLICABLE.items():
        if name.startswith(start):
            return reason
    return None


class _Compiled(Mixin):
    all_model_classes = (AzcModel, AzcForMaskedLM, AzcForSequenceClassification)
    has_attentions = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in dir(cls):
            reason, test = inapplicable(name), getattr(cls, name)
            if reason is not None and callable(test):
                setattr(cls, name, unittest.skip(reason)(test))


class Attention(_Compiled, unittest.TestCase):
    """Layers of attention alone."""

    def setUp(self) -> None:
        self.model_tester = Tester(lambda: config("sdpa", "sdpa(heads = 4)"))


class Convolution(_Compiled, unittest.TestCase):
    """Convolutions as a layer and inside attention."""

    def setUp(self) -> None:
        self.model_tester = Tester(lambda: config("conv(kernel = 3)", "primer"))


class _Decoder(_Compiled):
    all_model_classes = (AzcModel, AzcForCausalLM, AzcForSequenceClassification)


class DecoderOfAttention(_Decoder, unittest.TestCase):
    """Keys and values are kept."""

    def setUp(self) -> None:
        self.model_tester = Tester(lambda: config("sdpa", "primer", causal=True))


class DecoderOfSums(_Decoder, unittest.TestCase):
    """Sums are kept, and rows of a convolution."""

    def setUp(self) -> None:
        self.model_tester = Tester(
            lambda: config("sums", "conv(kernel = 3)", causal=True)
        )
