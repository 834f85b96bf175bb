"""Saved models come back the same, to the bit, in a process that only imports azc."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
)

from azc.diagnostics import DiagnosticError, UsageError
from azc.model.config import AzcConfig
from azc.model.modeling import AzcModel
from azc.model.tasks import AzcForMaskedLM, register
from azc.saved import AUTO_MAP
from tests.model.models import build, masks

MIXED = (
    "sdpa(heads = 4, ffn = 12); primer; conv(kernel = 3); "
    "conv(kernel = 5, kind = dynamic); conv(kernel = 3, kind = depthwise); alibi_keys"
)
IDS = torch.randint(0, 40, (3, 9), generator=torch.Generator().manual_seed(5))
MASK = masks([9, 4, 1], 9, "left")

SCRIPT = """
import json, sys
import torch
import transformers
from safetensors.torch import load_file, save_file
import azc
import transformers
torch.set_num_threads(1)
todo = json.loads(sys.argv[1])
inputs = load_file(sys.argv[2])
outputs = {}
for name, kind, folder in todo:
    torch.manual_seed(len(name))
    model = getattr(transformers, kind).from_pretrained(folder).eval()
    with torch.no_grad():
        out = model(inputs["ids"], attention_mask=inputs["mask"])
    key = "last_hidden_state" if kind == "AutoModel" else "logits"
    outputs[name] = out[key].clone()
    if name == "base":
        outputs["pooled"] = out.pooler_output.clone()
    outputs[name + ".vocab"] = torch.tensor(model.config.vocab_size)
    assert not model.training
save_file(outputs, sys.argv[3])
"""


def saved() -> dict[str, tuple[str, Any, dict[str, Any]]]:
    """By name: the class to load with, the model, and arguments of `save_pretrained`."""
    resized = build(MIXED)
    resized.resize_token_embeddings(57)
    smaller = build("sdpa", tie_embeddings=False)
    smaller.resize_token_embeddings(40)
    classifier = build(MIXED, task="sequence-classification", residual="pre")
    masked = "AutoModelForMaskedLM"
    return {
        "masked": (masked, build(MIXED), {}),
        "pre": (masked, build(MIXED, residual="pre", norm="rms_norm"), {}),
        "untied": (masked, build(MIXED, tie_embeddings=False), {}),
        "sharded": (masked, build(MIXED), {"max_shard_size": "10KB"}),
        "bfloat16": (masked, build(MIXED).bfloat16(), {}),
        "resized": (masked, resized, {}),
        "smaller": (masked, smaller, {}),
        "bare": (masked, build("sdpa", token_types=0, positions="none"), {}),
        "base": ("AutoModel", build(MIXED, task="base"), {}),
        "classifier": ("AutoModelForSequenceClassification", classifier, {}),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("saved")


@pytest.fixture(scope="module")
def outputs(folder: Path, root: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The models, and what a new process computed with what was saved of them."""
    models = saved()
    todo = []
    for name, (kind, model, options) in models.items():
        model.save_pretrained(folder / name, **options)
        todo.append((name, kind, str(folder / name)))
    save_file({"ids": IDS, "mask": MASK}, folder / "inputs.safetensors")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    arguments = [json.dumps(todo), "inputs.safetensors", "outputs.safetensors"]
    subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        check=True,
        cwd=folder,
        env={**environment, "PYTHONPATH": str(root)},
    )
    return models, load_file(folder / "outputs.safetensors")


def test_a_new_process_gives_identical_outputs(
    outputs: tuple[dict[str, Any], dict[str, torch.Tensor]],
) -> None:
    models, found = outputs
    for name, (_, model, _) in models.items():
        with torch.no_grad():
            wanted = model(IDS, attention_mask=MASK)
        assert torch.equal(found[name], wanted[0]), name
        assert found[name].dtype == wanted[0].dtype
        assert int(found[f"{name}.vocab"]) == model.config.vocab_size
        if name == "base":
            assert torch.equal(found["pooled"], wanted.pooler_output)
    assert found["resized"].shape[-1] == 57
    assert found["smaller"].shape[-1] == 40
    assert found["bfloat16"].dtype == torch.bfloat16


def test_what_is_in_the_folder(outputs: Any, folder: Path) -> None:
    assert {p.name for p in (folder / "masked").iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
        "modeling_azc.py",
    }
    names = set(load_file(folder / "masked" / "model.safetensors"))
    assert "model.encoder.layers.1.attention.conv_0_kernel.weight" in names
    assert "head.decoder.weight" not in names  # tied: it is the embedding's
    assert "head.decoder.weight" in load_file(folder / "untied" / "model.safetensors")
    shards = list((folder / "sharded").glob("model-*.safetensors"))
    assert len(shards) > 2
    config = json.loads((folder / "masked" / "config.json").read_text())
    assert config["model_type"] == "azc"
    assert config["hidden_size"] == 16
    assert config["num_hidden_layers"] == 6
    assert "attention primer(q, k, v) {" in config["program"]
    assert "windowed" not in config["program"]  # this model does not use it


def test_one_task_s_weights_in_another(outputs: Any, folder: Path) -> None:
    register()
    models, _ = outputs
    masked = models["masked"][1]
    base = AutoModel.from_pretrained(folder / "masked").eval()
    assert type(base) is AzcModel
    with torch.no_grad():
        hidden = masked.model(IDS, attention_mask=MASK).last_hidden_state
        found = base(IDS, attention_mask=MASK)
    assert torch.equal(found.last_hidden_state, hidden)
    assert found.pooler_output.isfinite().all()
    # It was not saved and starts afresh, with 0.02·√(768 / 16) for standard deviation.
    assert 0.11 < base.pooler.weight.std() < 0.17
    whole = models["base"][1]
    other = AutoModelForMaskedLM.from_pretrained(folder / "base").eval()
    assert type(other) is AzcForMaskedLM
    for name, tensor in other.model.state_dict().items():
        assert torch.equal(tensor, whole.state_dict()[name]), name
    assert other.head.decoder.weight is other.model.embeddings.tokens.weight
    assert 0.11 < other.head.dense.weight.std() < 0.17
    assert torch.equal(other.head.norm.weight, torch.ones(16))
    five = AutoModelForSequenceClassification.from_pretrained(
        folder / "masked", num_labels=5
    )
    assert five(IDS).logits.shape == (3, 5)
    for name, tensor in masked.model.state_dict().items():
        assert torch.equal(tensor, five.model.state_dict()[name]), name


def test_loading_in_another_number_format(outputs: Any, folder: Path) -> None:
    register()
    models, _ = outputs
    half = AutoModelForMaskedLM.from_pretrained(
        folder / "masked", dtype=torch.bfloat16
    ).eval()
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    wanted = models["bfloat16"][1]  # the same weights, rounded before they were saved
    with torch.no_grad():
        assert torch.equal(half(IDS).logits, wanted(IDS).logits)


def test_fresh_weights_are_those_of_training() -> None:
    register()
    config = build(MIXED).config
    torch.manual_seed(3)
    model = AutoModelForMaskedLM.from_config(config)
    weights = dict(model.named_parameters())
    for name, tensor in weights.items():
        if name.endswith("norm.weight"):
            assert torch.equal(tensor, torch.ones_like(tensor)), name
        elif name.endswith("bias"):
            assert not tensor.any(), name
        elif name.endswith("_kernel.weight"):
            assert torch.equal(tensor.sum(-1), torch.ones(tensor.shape[:-1])), name
        elif name.endswith("mix.kernel"):
            assert 0.1 < tensor.std() < 0.6, name
        else:
            assert 0.1 < tensor.std() < 0.18, name
    assert config.initializer_range == pytest.approx(0.02 * math.sqrt(768 / 16))
    torch.manual_seed(3)
    again = AutoModelForMaskedLM.from_config(config)
    for name, tensor in again.named_parameters():
        assert torch.equal(tensor, weights[name])
    small = AutoConfig.for_model(
        "azc", program=config.program, model="m", initializer_range=0.001
    )
    assert AutoModel.from_config(small).embeddings.tokens.weight.std() < 0.002
    assert AutoConfig.for_model("azc").initializer_range == 0.02


@pytest.mark.parametrize("tied", [True, False])
def test_a_configuration_may_tie_and_untie(tied: bool, tmp_path: Path) -> None:
    register()
    model = build("sdpa", tie_embeddings=not tied)
    model.config.tie_word_embeddings = tied
    if tied:
        model.tie_weights()
    else:
        own = model.head.decoder.weight.detach().clone() + 1.0
        model.head.decoder.weight = torch.nn.Parameter(own)
    model.save_pretrained(tmp_path)
    again = AutoModelForMaskedLM.from_pretrained(tmp_path).eval()
    assert again.config.tie_word_embeddings is tied
    decoder, tokens = again.head.decoder.weight, again.model.embeddings.tokens.weight
    assert (decoder is tokens) is tied
    with torch.no_grad():
        assert torch.equal(again(IDS).logits, model(IDS).logits)


def test_saving_twice_is_the_same(outputs: Any, folder: Path, tmp_path: Path) -> None:
    register()
    again = AutoModelForMaskedLM.from_pretrained(folder / "resized")
    again.save_pretrained(tmp_path)
    for path in (folder / "resized").iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("change", "fault", "words"),
    [
        ({"program": "model m {"}, DiagnosticError, "config.json: program"),
        ({"program": "model m {\n layers {\n  x\n }\n}\n"}, DiagnosticError, "AZG307"),
        ({"model": "bert"}, UsageError, "no model `bert`"),
    ],
)
def test_a_broken_configuration(
    outputs: Any, folder: Path, tmp_path: Path, change: Any, fault: Any, words: str
) -> None:
    register()
    config = json.loads((folder / "masked" / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    weights = (folder / "masked" / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights)
    for load in (AutoConfig, AutoModel, AutoModelForMaskedLM):
        with pytest.raises(fault, match=words):
            load.from_pretrained(tmp_path)


def test_sizes_in_the_file_are_the_program_s(outputs: Any, folder: Path) -> None:
    config = AzcConfig.from_pretrained(folder / "masked")
    assert config.hidden_size == 16
    assert config.num_attention_heads == 2
    assert config.max_position_embeddings == 40
    assert config.type_vocab_size == 2
    assert config.tie_word_embeddings is True
    untied = AzcConfig.from_pretrained(folder / "untied")
    assert untied.tie_word_embeddings is False
    labels = AutoConfig.from_pretrained(folder / "classifier")
    assert labels.num_labels == 3


# Without azc imported, and without azc

TRUSTING = """
import json, sys
import torch
import transformers
from safetensors.torch import load_file, save_file
import transformers
torch.set_num_threads(1)
assert "azc" not in sys.modules
todo = json.loads(sys.argv[1])
inputs = load_file(sys.argv[2])
outputs = {}
for name, kind, folder in todo:
    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=True)
    assert type(config).__name__ == "AzcConfig"
    config.save_pretrained(folder + ".config")
    auto = getattr(transformers, kind)
    model = auto.from_pretrained(folder, trust_remote_code=True).eval()
    assert type(model).__module__ in ("azc.model.modeling", "azc.model.tasks")
    with torch.no_grad():
        outputs[name] = model(inputs["ids"], attention_mask=inputs["mask"])[0].clone()
    model.save_pretrained(folder + ".again")
save_file(outputs, sys.argv[3])
"""

# No package of that name is found, wherever azc is installed.
ALONE = """
import sys

class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "azc":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Nowhere())
import json
import transformers
for auto, folder in json.loads(sys.argv[1]):
    try:
        getattr(transformers, auto).from_pretrained(folder, trust_remote_code=True)
    except ImportError as error:
        print(error)
"""


def process(script: str, *arguments: str, home: Path) -> str:
    """What a new process printed, with a cache of its own for code of models."""
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "HF_MODULES_CACHE": str(home / "modules"),
    }
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_new_process_that_does_not_import_azc(
    outputs: tuple[dict[str, Any], dict[str, torch.Tensor]],
    folder: Path,
    tmp_path: Path,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    models, found = outputs
    todo = []
    for name in ("masked", "base", "classifier"):
        shutil.copytree(folder / name, tmp_path / name)
        todo.append((name, models[name][0], str(tmp_path / name)))
    save_file({"ids": IDS, "mask": MASK}, tmp_path / "inputs")
    monkeypatch.setenv("PYTHONPATH", str(root))
    files = (str(tmp_path / "inputs"), str(tmp_path / "outputs"))
    process(TRUSTING, json.dumps(todo), *files, home=tmp_path)
    again = load_file(tmp_path / "outputs")
    for name, _, _ in todo:
        assert torch.equal(again[name], found[name])
        for path in (folder / name).iterdir():
            saved = tmp_path / f"{name}.again" / path.name
            assert saved.read_bytes() == path.read_bytes(), path
        # Nothing of azc is copied along.
        assert {path.name for path in (tmp_path / f"{name}.config").iterdir()} == {
            "README.md",
            "config.json",
            "modeling_azc.py",
        }


def test_a_new_process_without_azc_is_told_what_to_install(
    outputs: Any, folder: Path, tmp_path: Path
) -> None:
    models, _ = outputs
    todo = [
        (auto, str(folder / name))
        for name in ("masked", "base", "classifier")
        for auto in ("AutoConfig", models[name][0])
    ]
    told = process(ALONE, json.dumps(todo), home=tmp_path)
    assert told == len(todo) * "this model needs azc: install its wheel or a checkout\n"


def test_the_classes_that_a_folder_names_are_those_registered() -> None:
    register()
    modules = {auto: name.split(".") for auto, name in AUTO_MAP.items()}
    assert {module for module, _ in modules.values()} == {"modeling_azc"}
    for auto, (_, name) in modules.items():
        if auto == "AutoConfig":
            assert name == AzcConfig.__name__
        else:
            mapping = getattr(transformers, auto)._model_mapping
            assert mapping[AzcConfig].__name__ == name


def test_somebody_else_s_card_stays(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    build("sdpa").save_pretrained(tmp_path)
    assert "attention sdpa(q, k, v) {" in card.read_text()
    assert "import AutoModelForMaskedLM\n" in card.read_text()
    build("primer", task="base").save_pretrained(tmp_path)  # azc's own is renewed
    assert "attention primer(q, k, v) {" in card.read_text()
    assert "import AutoModel\n" in card.read_text()
    edited = card.read_text().replace("# m\n", "# My model\n")
    for text in (edited, "mine", "", "\ufeff\r\n"):
        card.write_bytes(text.encode())
        build("sdpa").save_pretrained(tmp_path)
        assert card.read_bytes() == text.encode()
    card.write_bytes(b"\xff")
    build("sdpa").save_pretrained(tmp_path)
    assert card.read_bytes() == b"\xff"


@pytest.mark.parametrize("shards", [{}, {"max_shard_size": "2KB"}])
def test_links_in_a_folder_are_replaced(shards: Any, tmp_path: Path) -> None:
    """As in a cache of a hub, whose folders have links alone."""
    model = build("sdpa; turned", task="causal-lm", causal=True)
    model.save_pretrained(tmp_path / "one", **shards)
    (tmp_path / "blobs").mkdir()
    for path in (tmp_path / "one").iterdir():
        blob = path.rename(tmp_path / "blobs" / path.name)
        path.symlink_to(blob)
    before = {p.name: p.read_bytes() for p in (tmp_path / "blobs").iterdir()}
    assert "generation_config.json" in before
    other = build("sdpa; primer", task="causal-lm", causal=True, max_length=50)
    other.generation_config.pad_token_id = 3
    other.save_pretrained(tmp_path / "one", **shards)
    assert {p.name: p.read_bytes() for p in (tmp_path / "blobs").iterdir()} == before
    links = {path.name for path in (tmp_path / "one").iterdir() if path.is_symlink()}
    assert links == {
        "modeling_azc.py"
    }  # it was as it is to be, and nothing was written
    other.save_pretrained(tmp_path / "two", **shards)
    for path in (tmp_path / "two").iterdir():
        assert path.read_bytes() == (tmp_path / "one" / path.name).read_bytes(), path
    # Somebody else's card, or a place for one, is no place of ours.
    (tmp_path / "mine").write_text("mine")
    for name in ("README.md", "modeling_azc.py", "config.json"):
        (tmp_path / "two" / name).unlink()
        (tmp_path / "two" / name).symlink_to(tmp_path / "mine")
    other.config.save_pretrained(tmp_path / "two")
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / "two" / "README.md").is_symlink()
    assert AzcConfig.from_pretrained(tmp_path / "two").vocab_size == 50


def test_a_configuration_from_a_repository_names_what_is_beside_it() -> None:
    config = build("sdpa").config.to_dict()
    config["auto_map"] = {n: f"some/repo--{each}" for n, each in AUTO_MAP.items()}
    config["auto_map"]["AutoModelForTokenClassification"] = "mine.Tagger"
    found = AzcConfig(**config).auto_map
    assert found == {**AUTO_MAP, "AutoModelForTokenClassification": "mine.Tagger"}
