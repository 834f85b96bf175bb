"""Fetches the tests that transformers' source distribution carries, as it is installed.

    python tests/harness/fetch.py FOLDER

puts them, and the one package that they need and the project does not, under FOLDER, and
prints where they are. What is there already is not fetched again.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PARAMETERIZED = "parameterized==0.9.0"


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*command, *arguments], check=True)


def fetch(cache: Path) -> Path:
    """The folder, with `tests/` and `packages/` in it."""
    version = importlib.metadata.version("transformers")
    folder = cache.absolute() / f"transformers-{version}"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as name:
        beside = Path(name) / folder.name
        source = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation"]
        pip("download", f"transformers=={version}", *source, "-d", name)
        (archive,) = Path(name).glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            top = f"transformers-{version}/tests/"
            parts = [each for each in tar.getmembers() if each.name.startswith(top)]
            tar.extractall(name, parts, filter="data")
        packages = str(beside / "packages")
        pip("install", PARAMETERIZED, "--no-deps", "--target", packages)
        beside.rename(folder)
    return folder


if __name__ == "__main__":
    print(fetch(Path(sys.argv[1])))
