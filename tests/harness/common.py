"""transformers' own tests of models, for our classes: what lies between the two.

Its source distribution carries `tests/test_modeling_common.py`, whose `ModelTesterMixin`
every model of transformers passes. It is read from the folder that the environment
variable AZC_TRANSFORMERS_TESTS names; `make test-transformers` fetches it.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
from pathlib import Path
from typing import Any

import torch
from transformers.models.auto import modeling_auto

FOLDER = os.environ.get("AZC_TRANSFORMERS_TESTS")
PACKAGE = "transformers_tests"

# Mixins of other files, which are not in the distribution. They add tests, no help.
ABSENT = {
    "exporters.test_export": "ExportTesterMixin",
    "generation.test_utils": "GenerationTesterMixin",
}

# What the tests know models' tasks by; our classes are registered when azc is imported.
TASKS = {
    "AzcModel": modeling_auto.MODEL_MAPPING_NAMES,
    "AzcForCausalLM": modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    "AzcForMaskedLM": modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    "AzcForSequenceClassification": (
        modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
    ),
}


def model_tests() -> Any:
    """The module with `ModelTesterMixin`."""
    if FOLDER is None or not Path(FOLDER, "test_modeling_common.py").is_file():
        raise SystemExit("AZC_TRANSFORMERS_TESTS names no folder with the tests")
    package = types.ModuleType(PACKAGE)
    package.__path__ = [FOLDER]
    sys.modules[PACKAGE] = package
    for name, mixin in ABSENT.items():
        parent = f"{PACKAGE}.{name.partition('.')[0]}"
        sys.modules.setdefault(parent, types.ModuleType(parent))
        module: Any = types.ModuleType(f"{PACKAGE}.{name}")
        setattr(module, mixin, type(mixin, (), {}))
        sys.modules[module.__name__] = module
    for name, known in TASKS.items():
        known["azc"] = name
    return importlib.import_module(f"{PACKAGE}.test_modeling_common")


class Tester:
    """What `ModelTesterMixin` asks for: the sizes of a small model, a batch for it."""

    batch_size = 5
    seq_length = 9
    is_training = True
    vocab_size = 40
    hidden_size = 16
    num_hidden_layers = 2
    num_attention_heads = 2

    def __init__(self, config: Any) -> None:
        self._config = config

    def get_config(self) -> Any:
        """A configuration of its own each time."""
        return self._config()

    def prepare_config_and_inputs_for_common(self) -> tuple[Any, dict[str, Any]]:
        """A configuration and a padded batch."""
        torch.manual_seed(0)
        shape = (self.batch_size, self.seq_length)
        mask = torch.ones(shape, dtype=torch.long)
        mask[0, -3:] = 0
        inputs = {
            "input_ids": torch.randint(1, self.vocab_size, shape),
            "attention_mask": mask,
            "token_type_ids": torch.randint(0, 2, shape),
        }
        return self.get_config(), inputs
