"""The files of a saved model other than weights, and a check that azc wrote them.

`config.json` names `modeling_azc.py`, through which transformers finds azc if the caller
trusts the folder's code; without azc, it says what to install. A model card that was
edited belongs to its author: its last line has a digest of the rest.

Codes: U108 the folder contains no azc model and is not replaced; U110 the folder
contains files that azc did not write and is not replaced.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from azc.diagnostics import UsageError
from azc.files import remove_link, write_text

__all__ = [
    "AUTO_MAP",
    "owned_files",
    "remove_links",
    "write_card",
    "write_loader",
]

CONFIG, LOADER, CARD = "config.json", "modeling_azc.py", "README.md"
GENERATION = "generation_config.json"
_WEIGHTS = re.compile(
    r"model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json"
)

# Auto classes of transformers and the classes of azc.
_CLASSES = {
    "AutoConfig": "AzcConfig",
    "AutoModel": "AzcModel",
    "AutoModelForCausalLM": "AzcForCausalLM",
    "AutoModelForMaskedLM": "AzcForMaskedLM",
    "AutoModelForSequenceClassification": "AzcForSequenceClassification",
}
AUTO_MAP: Mapping[str, str] = {
    auto: f"{LOADER.removesuffix('.py')}.{own}" for auto, own in _CLASSES.items()
}

# Inside `try`, because transformers checks the packages of all other imports itself and
# would ask to install one that is called azc.
_LOADER_TEXT = f'''\
"""The classes of this model, which azc provides."""

try:
    from azc.model import {", ".join(sorted(_CLASSES.values()))}
except ModuleNotFoundError as error:
    if error.name != "azc":
        raise
    raise ImportError("this model needs azc: install its wheel or a checkout") from None
'''

_CARD_TEXT = """\
---
library_name: transformers
tags:
- azc
---

# {model}

A model compiled by azc from the program below. It needs azc, which is installed from a
wheel or a checkout of it.

```python
from transformers import {auto}

model = {auto}.from_pretrained("this folder", trust_remote_code=True)
```

With `import azc` before it, `trust_remote_code` is not needed.

```azg
{program}```
"""
# Cards of earlier versions have it too, and are replaced.
_SIGNATURE = "\n<!-- written by azc-lang, {} -->\n"


def remove_links(folder: Path, weights: bool) -> None:
    """Remove the symbolic links that transformers would write through.

    Args:
        folder: The folder that is going to be written.
        weights: Whether weights are written, and not only the configuration.

    Raises:
        OSError: If a link can't be removed.
    """
    remove_link(folder / CONFIG)
    if weights and folder.is_dir():
        for path in folder.iterdir():
            if path.name == GENERATION or _WEIGHTS.fullmatch(path.name):
                remove_link(path)


def write_loader(folder: Path) -> None:
    """Write the module that `AUTO_MAP` names.

    Raises:
        OSError: If it can't be written.
    """
    path = folder / LOADER
    if not _is_text(path, _LOADER_TEXT):
        write_text(path, _LOADER_TEXT)


def write_card(folder: Path, model: str, program: str, architecture: str) -> None:
    """Write the model card, unless the folder has one that azc did not write.

    Args:
        folder: The folder.
        model: The name of the model.
        program: The text of the program.
        architecture: The class that was saved.

    Raises:
        OSError: If it can't be written.
    """
    path = folder / CARD
    if path.exists() and not _is_signed(path):
        return
    auto = {own: auto for auto, own in _CLASSES.items()}.get(architecture, "AutoModel")
    text = _CARD_TEXT.format(model=model, auto=auto, program=program)
    write_text(path, text + _SIGNATURE.format(_digest(text)))


def owned_files(folder: Path, shown: Path) -> list[Path]:
    """Return the files of a folder, all of which must have been written by azc.

    Weights that were trained further are accepted.

    Args:
        folder: The folder.
        shown: The name of the folder in messages.

    Raises:
        UsageError: If the folder does not hold a model of azc, or holds other
            files, which the error names.
    """
    if not _is_config(folder / CONFIG):
        message = f"{shown} holds no azc model; --force replaces only azc models"
        raise UsageError("U108", message, "choose another folder, or empty this one")
    files = sorted(folder.iterdir())
    others = [file.name for file in files if not _is_own(file)]
    if others:
        more = f" and {len(others) - 8} more" if len(others) > 8 else ""
        names = f"{', '.join(others[:8])}{more}"
        message = f"{shown} holds files that azc did not write: {names}"
        raise UsageError("U110", message, "move it away, or choose another folder")
    return files


def _is_own(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    if path.name == LOADER:
        return _is_text(path, _LOADER_TEXT)
    if path.name == CARD:
        return _is_signed(path)
    return path.name in (CONFIG, GENERATION) or bool(_WEIGHTS.fullmatch(path.name))


def _is_config(path: Path) -> bool:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("model_type") == "azc"


def _is_text(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False


def _is_signed(path: Path) -> bool:
    try:
        text = path.read_bytes().decode()
    except (OSError, ValueError):
        return False
    start = text.rfind(_SIGNATURE.partition("{")[0])
    return start >= 0 and text[start:] == _SIGNATURE.format(_digest(text[:start]))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
