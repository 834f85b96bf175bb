"""The Auto classes of transformers know compiled models, in any order of imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import azc

PROGRAM = """
attention mix(q, k, v) { return softmax(scale(q @ k.T)) @ v }
model small {
    vocab = 50
    hidden = 8
    heads = 2
    layers { mix }
}
"""

LOAD = """
from transformers import AutoConfig, AutoModelForMaskedLM
model = AutoModelForMaskedLM.from_pretrained({folder!r})
assert type(model).__name__ == "AzcForMaskedLM", type(model)
assert AutoConfig.from_pretrained({folder!r}).model_type == "azc"
"""

CLEAN = """
import sys
assert not any(type(each).__module__ == "azc.autoclasses" for each in sys.meta_path)
loader = sys.modules["transformers"].__spec__.loader
assert type(loader).__module__ != "azc.autoclasses", loader
"""


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "small"
    azc.compile(azc.loads(PROGRAM)).save_pretrained(path)
    return path


@pytest.mark.parametrize(
    "imports",
    [
        "import azc",
        "import transformers\nimport azc",
        "from transformers import AutoModelForMaskedLM\nimport azc",
        # Here transformers is imported while azc.model is.
        "import azc.model.config",
    ],
)
def test_in_any_order_of_imports(folder: Path, imports: str) -> None:
    run(imports + LOAD.format(folder=str(folder)) + CLEAN)


def test_azc_alone_imports_neither() -> None:
    code = "import azc, sys\nprint([m for m in sys.modules if '.' not in m])"
    found = set(eval(run(code)))
    assert "azc" in found
    assert not found & {"torch", "transformers", "numpy", "lark", "rich", "typer"}


def test_azc_twice_waits_once() -> None:
    run(
        "import azc, sys, importlib\n"
        "importlib.reload(azc)\n"
        "names = [type(each).__name__ for each in sys.meta_path]\n"
        "assert names.count('_Watch') == 1, names\n"
    )


def test_what_goes_wrong_is_a_warning_and_not_an_error(tmp_path: Path) -> None:
    code = (
        "import warnings, sys, types\n"
        "warnings.simplefilter('always')\n"
        "import azc\n"
        "sys.modules['azc.model'] = types.ModuleType('azc.model')\n"
        "with warnings.catch_warnings(record=True) as found:\n"
        "    import transformers\n"
        "assert any('Auto classes' in str(each.message) for each in found), found\n"
    )
    run(code)


def test_other_imports_are_left_alone() -> None:
    run(
        "import azc, importlib.util\n"
        "spec = importlib.util.find_spec('transformers')\n"
        "assert spec.loader.get_filename('transformers').endswith('__init__.py')\n"
        "import json.tool\n"
        "assert type(json.tool.__spec__.loader).__name__ == 'SourceFileLoader'\n"
        "assert importlib.util.find_spec('azc.model.nothing') is None\n"
    )
