"""The wheel holds what an installation outside the checkout needs."""

from __future__ import annotations

import configparser
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the checkout by the build back end of this environment."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
    built = subprocess.run(
        [*command, "--outdir", str(folder), str(root)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("*.whl")
    return path


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def metadata(wheel: Path) -> str:
    """The folder of the wheel's own metadata, named after what it is called."""
    distribution, version, *_ = wheel.name.split("-")
    assert distribution == "azc_lang"
    return f"{distribution}-{version}.dist-info"


@pytest.mark.parametrize(("folder", "suffix"), [("grammar", "lark"), ("stdlib", "azg")])
def test_shipped_folders_are_inside(
    wheel: Path, root: Path, folder: str, suffix: str
) -> None:
    expected = {
        f"azc/{path.relative_to(root).as_posix()}"
        for path in (root / folder).rglob(f"*.{suffix}")
    }
    assert expected, f"{folder}/ has no .{suffix} file"
    assert expected <= names(wheel)


def test_every_module_is_inside(wheel: Path, root: Path) -> None:
    expected = {
        path.relative_to(root).as_posix() for path in (root / "azc").rglob("*.py")
    }
    assert expected <= names(wheel)
    assert "azc/py.typed" in names(wheel)


def test_what_the_page_is_made_of_is_inside(wheel: Path, root: Path) -> None:
    folder = root / "azc" / "report" / "templates"
    expected = {path.relative_to(root).as_posix() for path in folder.iterdir()}
    assert expected, "azc/report/templates/ is empty"
    assert expected <= names(wheel)


def test_nothing_else_is_inside(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in names(wheel)}
    assert tops == {"azc", metadata(wheel)}


def test_the_command_is_declared(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"{metadata(wheel)}/entry_points.txt").decode()
    entries = configparser.ConfigParser()
    entries.read_string(text)
    assert entries["console_scripts"]["azc"] == "azc.cli.main:main"
