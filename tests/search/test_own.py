"""A strategy of a user's own: it runs, it goes on after kills, its faults are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from azc.cli.app import app
from azc.diagnostics import RunError, UsageError
from azc.search.options import EvolveOptions
from azc.search.run import resume
from azc.search.strategies.choose import choose_strategy, strategy_text
from azc.search.view import RunView
from tests.runs import (
    PROGRAM,
    Killed,
    arguments,
    cut_at,
    result,
    run_here,
    scored,
    tiny,
)

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")
_, _, EXAMPLE = PAGE.partition("```python\n")
EXAMPLE, _, _ = EXAMPLE.partition("```")


@pytest.fixture
def own(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "my.py"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def options_for(home: Path, file: Path, kind: str = "Mine") -> EvolveOptions:
    data = home / "corpus.txt"
    return tiny(data, evaluations=8, final_seeds=(), strategy=f"{file}:{kind}")


def test_the_example_of_the_page_runs(
    home: Path, own: Callable[[str], Path], tmp_path: Path
) -> None:
    assert len(EXAMPLE.splitlines()) <= 32
    options = options_for(home, own(EXAMPLE))
    view = run_here(options, tmp_path / "run", home / "cache")
    assert view.is_over
    assert view.spent == 8
    assert view.options.strategy == f"{tmp_path / 'my.py'}:Mine"
    parents = {view.candidates[n].parents for n in view.candidates if n > 4}
    assert len(parents) == 1


def test_it_resumes_without_the_file_it_was_begun_with(
    home: Path, own: Callable[[str], Path], tmp_path: Path
) -> None:
    file = own(EXAMPLE)
    options = options_for(home, file)
    whole = run_here(options, tmp_path / "whole", home / "cache")
    run = tmp_path / "run"
    with pytest.raises(Killed):
        run_here(options, run, home / "cache", on_event=cut_at(5))

    file.write_text(EXAMPLE + "\n# Changed.\n", encoding="utf-8")
    before = scored(run)
    with pytest.raises(
        RunError, match=r"my\.py has changed since the run started"
    ) as caught:
        resume(run, cache=home / "cache")
    assert caught.value.code == "R031"
    assert scored(run) == before

    file.unlink()
    resume(run, cache=home / "cache")
    assert result(run) == result(whole.folder)


def test_the_copy_of_the_run_may_not_change(
    home: Path, own: Callable[[str], Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with pytest.raises(Killed):
        run_here(
            options_for(home, own(EXAMPLE)), run, home / "cache", on_event=cut_at(5)
        )
    (tmp_path / "my.py").unlink()
    config = json.loads((run / "run.json").read_text("utf-8"))
    config["strategy"] += "\n# Changed.\n"
    (run / "run.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(RunError, match=r"run\.json has changed since the run wrote it"):
        resume(run, cache=home / "cache")


# What is refused before anything is written


def refused(home: Path, strategy: str, tmp_path: Path) -> UsageError | RunError:
    options = tiny(home / "corpus.txt", strategy=strategy)
    with pytest.raises((UsageError, RunError)) as caught:
        run_here(options, tmp_path / "run", home / "cache")
    assert not (tmp_path / "run").exists()
    return caught.value


@pytest.mark.parametrize(
    ("name", "help_"),
    [
        ("regularised", "did you mean regularized? strategies: op-nas, regularized,"),
        ("", "strategies: op-nas,"),
        ("my.py", "a class in a file, my.py:Mine"),
        ("my.txt:Mine", "a class in a file, my.py:Mine"),
    ],
)
def test_names_that_are_none(home: Path, tmp_path: Path, name: str, help_: str) -> None:
    error = refused(home, name, tmp_path)
    assert error.code == "U024"
    assert error.message == f"there is no strategy {name!r}"
    assert help_ in str(error.help)


@pytest.mark.parametrize(
    ("text", "kind", "code", "said"),
    [
        (None, "Mine", "U024", "there is no file {}"),
        (EXAMPLE, "mine", "U024", "{} has no class mine"),
        (EXAMPLE, "", "U024", "{} has no class without a name"),
        (EXAMPLE, "Member2", "U024", "{} has no class Member2"),
        ("Mine = 3\n", "Mine", "U024", "{} has no class Mine"),
        (
            "class Mine:\n    def ask(self): ...\n    tell = state = ask\n",
            "Mine",
            "U024",
            "Mine in {} is not a strategy: it has no restore, no display",
        ),
        (
            "x = 1\nclass Mine\n",
            "Mine",
            "R045",
            "{}, line 2, while loading it: SyntaxError: expected ':'",
        ),
        (
            "import nothing_of_that_name\n",
            "Mine",
            "R045",
            "{}, line 1, while loading it: ModuleNotFoundError: No module named"
            " 'nothing_of_that_name'",
        ),
        (
            "import sys\n\nsys.exit(3)\n",
            "Mine",
            "R045",
            "{}, line 3, while loading it: SystemExit: 3",
        ),
        (
            EXAMPLE.replace("self.idle = 0", "self.idle = options.nothing", 1),
            "Mine",
            "R045",
            "{}, line 10, in Mine: AttributeError: 'EvolveOptions' object has no"
            " attribute 'nothing'",
        ),
        (
            "class Mine:\n    ask = tell = state = restore = display = print\n",
            "Mine",
            "R045",
            "{}, in Mine: TypeError: Mine() takes no arguments",
        ),
    ],
)
def test_files_that_are_no_strategy(
    home: Path, tmp_path: Path, text: str | None, kind: str, code: str, said: str
) -> None:
    file = tmp_path / "my.py"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    error = refused(home, f"{file}:{kind}", tmp_path)
    assert (error.code, error.message) == (code, said.format(file))


def test_a_file_that_is_no_text(home: Path, tmp_path: Path) -> None:
    (tmp_path / "my.py").write_bytes(b"\xff\xfe\x00")
    error = refused(home, f"{tmp_path / 'my.py'}:Mine", tmp_path)
    assert error.message == f"{tmp_path / 'my.py'} is not UTF-8 text"
    (tmp_path / "folder.py").mkdir()
    error = refused(home, f"{tmp_path / 'folder.py'}:Mine", tmp_path)
    assert error.message == f"can't read {tmp_path / 'folder.py'}: is a directory"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("strategy", None),
        ("strategy", 3),
        ("mutations", 0),
        ("mutations", 1.5),
        ("population", 0),
        ("population", None),
        ("tournament", 0),
        ("temperature", 0.0),
        ("temperature", float("nan")),
    ],
)
def test_options_that_make_no_sense(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"{name} is .*, it must be") as caught:
        tiny("python", **{name: value})
    assert caught.value.code == "U020"


def test_a_byte_order_mark_is_no_part_of_it(tmp_path: Path) -> None:
    file = tmp_path / "my.py"
    file.write_bytes(b"\xef\xbb\xbf" + EXAMPLE.encode())
    name = f"{file}:Mine"
    assert callable(choose_strategy(name, strategy_text(name)))


def test_its_dataclasses_work(own: Callable[[str], Path]) -> None:
    head = "from __future__ import annotations\nfrom dataclasses import dataclass\n"
    text = head + "@dataclass\nclass Point:\n    x: int\n" + EXAMPLE
    assert callable(choose_strategy(f"{own(text)}:Mine", text))


# What goes wrong while it searches


FAULT = "        1 / 0\n"
BROKEN = {  # before which line the fault is
    "ask": "        variation = ",
    "tell": "        for top in",
    "state": '        return {"best": self.best.candidate,',
    "display": '        return {"best": f',
}


def broken(method: str) -> str:
    line = BROKEN[method]
    assert line in EXAMPLE
    return EXAMPLE.replace(line, FAULT + line, 1)


@pytest.mark.parametrize("method", BROKEN)
def test_an_error_in_it_is_told_with_its_line(
    go: Callable[..., RunView],
    home: Path,
    own: Callable[[str], Path],
    method: str,
) -> None:
    text = broken(method)
    line = text.splitlines(keepends=True).index(FAULT) + 1
    file = own(text)
    with pytest.raises(RunError) as caught:
        go(options_for(home, file))
    assert caught.value.code == "R045"
    assert caught.value.message == (
        f"{file}, line {line}, in {method}: ZeroDivisionError: division by zero"
    )
    assert caught.value.help == "the line is `1 / 0`"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("return layout((self.best,), children) if children else []", "return ['a']",
         "ask of Mine returned 'a', it must return candidate numbers or Child objects"),
        ("return layout((self.best,), children) if children else []", "return [True]",
         "ask of Mine returned True, it must return candidate numbers or Child objects"),
        ("return layout((self.best,), children) if children else []",
         "from azc.search.strategies.base import Child\n"
         "        return [Child('a', 1, 'b')]",
         "ask of Mine returned Child(genome='a', parents=1, description='b'), it must return a"
         " Child of a Genome, a tuple of candidate numbers and a text"),
        ("return layout((self.best,), children) if children else []",
         "from azc.search.strategies.base import Child\n"
         "        return [Child(self.best.genome, (1,), 'b', 'conv kind')]",
         "ask of Mine returned 'conv kind', it must return a tuple of texts as kinds"),
        ('return {"best": self.best.candidate, "idle": self.idle}', "return {1, 2}",
         "state of Mine returned {1, 2}, it must return a JSON value"),
        ('return {"best": self.best.candidate, "idle": self.idle}',
         'return float("nan")', "state of Mine returned nan, it must return a JSON value"),
        ('return {"best": self.best.candidate, "idle": self.idle}',
         "deep = 0\n        for _ in range(100_000):\n            deep = [deep]\n"
         "        return deep", "state of Mine returned a list, it must return a JSON value"),
        ("return layout((self.best,), children) if children else []",
         "from azc.search.strategies.base import Child\n"
         "        return [Child(self.best.genome, (1,), 'b', ('\\ud800',))]",
         "ask of Mine returned ('\\ud800',), it must return a tuple of texts as kinds"),
        ("str(1 + self.idle)", "'\\ud800'",
         "display of Mine returned {'best': '0001', 'mutations': '\\ud800'}, it must return a"
         " mapping of texts to texts"),
        ("str(1 + self.idle)", "1 + self.idle",
         "display of Mine returned {'best': '0001', 'mutations': 1}, it must return a mapping"
         " of texts to texts"),
    ],
)  # fmt: skip
def test_what_can_not_be_used_is_told(
    go: Callable[..., RunView],
    home: Path,
    own: Callable[[str], Path],
    old: str,
    new: str,
    said: str,
) -> None:
    file = own(EXAMPLE.replace(old, new, 1))
    with pytest.raises(RunError) as caught:
        go(options_for(home, file))
    assert (caught.value.code, caught.value.message) == ("R038", f"{file}: {said}")


def test_a_description_that_can_not_be_written_is_told(
    go: Callable[..., RunView], home: Path, own: Callable[[str], Path]
) -> None:
    old = "return layout((self.best,), children) if children else []"
    new = (
        "from azc.search.strategies.base import Child\n"
        "        return [Child(self.best.genome, (1,), '\\ud800')]"
    )
    assert old in EXAMPLE
    with pytest.raises(RunError, match="candidate numbers and a text") as caught:
        go(options_for(home, own(EXAMPLE.replace(old, new, 1))))
    assert caught.value.code == "R038"


def test_a_state_that_it_does_not_take_back(
    home: Path, own: Callable[[str], Path], tmp_path: Path
) -> None:
    text = EXAMPLE.replace('self.idle = state["idle"]', 'self.idle = state["idler"]')
    options, run = options_for(home, own(text)), tmp_path / "run"
    with pytest.raises(Killed):
        run_here(options, run, home / "cache", on_event=cut_at(5))
    with pytest.raises(RunError, match="in restore: KeyError: 'idler'") as caught:
        resume(run, cache=home / "cache")
    assert caught.value.code == "R045"


# On the command line


def command(home: Path, folder: Path, *words: str) -> Result:
    (home / "tiny.azg").write_text(PROGRAM, encoding="utf-8")
    options = tiny(home / "corpus.txt", evaluations=5, final_seeds=())
    environment = {"AZC_CACHE": str(home / "cache"), "COLUMNS": "200"}
    given = ["evolve", str(home / "tiny.azg"), *arguments(options), *words]
    return CliRunner().invoke(app, [*given, "-o", str(folder)], env=environment)


def test_the_command_says_what_is_wrong_in_words(
    home: Path, own: Callable[[str], Path], tmp_path: Path
) -> None:
    answer = command(home, tmp_path / "a", "--strategy", "rondom")
    assert answer.exit_code == 2
    assert answer.stderr.startswith("error[U024]: there is no strategy 'rondom'\n")
    file = own(broken("tell"))
    answer = command(home, tmp_path / "b", "--strategy", f"{file}:Mine")
    assert answer.exit_code == 1
    assert f"error[R045]: {file}, line" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_preset_gives_way_to_what_is_given(home: Path, tmp_path: Path) -> None:
    answer = command(home, tmp_path / "run", "--preset", "paper", "--mutations", "3")
    assert answer.exit_code == 0, answer.output
    options = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))["options"]
    # `--round` and `--parents` are given too, by the helper above.
    assert {n: options[n] for n in ("round_size", "parents", "mutations")} == {
        "round_size": 4,
        "parents": 2,
        "mutations": 3,
    }
    assert (options["inter_rate"], options["intra_rate"]) == (1.0, 1.0)
    answer = command(home, tmp_path / "other", "--preset", "papers")
    assert answer.exit_code == 2
    assert "there is no preset 'papers'" in answer.stderr
