"""Searches of decoders: the objective that they take, what they say, and refuse."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner, Result

from azc.cli.app import app
from azc.data.load import load_data
from azc.search.run import read_run
from azc.supernet.supernet import Supernet
from tests.runs import CAUSAL, PROGRAM, arguments, result, scored, tiny, write_corpus

pytestmark = pytest.mark.usefixtures("one_thread")

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "decoder.azg"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("causal")
    (folder / "tiny.azg").write_text(CAUSAL, encoding="utf-8")
    write_corpus(folder / "corpus.txt")
    return folder


def here(*words: str | Path, home: Path) -> Result:
    """`azc` in this process."""
    environment = {"AZC_CACHE": str(home / "cache"), "COLUMNS": "220"}
    return CliRunner().invoke(app, [*map(str, words)], env=environment)


def words(home: Path, data: str | Path, run: Path, **changes: object) -> list[str]:
    options = tiny(data, **{"evaluations": 6, "round_size": 3, **changes})
    return [
        str(w) for w in ("evolve", home / "tiny.azg", *arguments(options), "-o", run)
    ]


@pytest.fixture(scope="module")
def whole(home: Path) -> tuple[Path, str]:
    """A run from shared weights, and what it said."""
    run = home / "whole"
    answer = here(*words(home, home / "corpus.txt", run, by_hand=True), home=home)
    assert answer.exit_code == 0, answer.output
    return run, answer.stdout


def test_a_decoder_learns_to_tell_the_next_token(
    whole: tuple[Path, str], home: Path
) -> None:
    run, output = whole
    view = read_run(run)
    assert view.causal
    assert {e.status for e in view.evaluations} == {"done"}
    assert "validation loss per token after a few steps from shared weights" in output
    assert "loss on held-out text, nats per token\n" in output
    assert "masked" not in output
    log = here("log", run, home=home)
    assert re.search(r"round 1: \d\.\d{3} nats per token$", log.stdout, re.MULTILINE)


def test_perplexity_and_bits_a_byte(whole: tuple[Path, str], home: Path) -> None:
    run, output = whole
    corpus = str(home / "corpus.txt")
    data = load_data(corpus, vocab=96, length=16, causal=True)
    assert data.bytes_per_token is not None
    answer = json.loads(here("resume", run, "--json", home=home).stdout)
    assert answer["unit"] == "per token"
    for row in answer["comparison"]["rows"]:
        assert len(row["losses"]) == 2
        told = zip(row["losses"], row["perplexity"], row["bits_per_byte"], strict=True)
        for loss, perplexity, bits in told:
            assert perplexity == pytest.approx(math.exp(loss))
            wanted = loss / math.log(2) / data.bytes_per_token
            assert bits == pytest.approx(wanted)
        shown = (
            f"{sum(row['perplexity']) / 2:.2f}",
            f"{sum(row['bits_per_byte']) / 2:.3f}",
        )
        assert all(each in output for each in shown)
    assert re.search(r"perplexity\W+bits per byte", output)
    page = here("report", run, home=home)
    assert page.exit_code == 0, page.output
    html = (run / "report.html").read_text(encoding="utf-8")
    assert ">perplexity</th>" in html
    assert f">{shown[0]}</td>" in html


def test_shared_kernels_keep_the_taps_that_are_nearest(whole: tuple[Path, str]) -> None:
    """What a narrower convolution begins with is the end of the widest one."""
    run, _ = whole
    view = read_run(run)
    assert any("conv(kernel = 5)" in c.program for c in view.candidates.values())
    last = max(number for number, closed in view.rounds if closed) + 1
    supernet = Supernet.read(run / "supernet" / f"{last:04}.safetensors")
    keys = [key for key in supernet.tensors if "conv.light" in key]
    assert keys
    assert {supernet.tensors[key].shape[-1] for key in keys} == {5}


def test_the_same_seed_gives_the_same_run(
    whole: tuple[Path, str], home: Path, tmp_path: Path
) -> None:
    """Also where it is continued with a larger budget."""
    few = words(
        home, home / "corpus.txt", tmp_path / "few", by_hand=True, evaluations=3
    )
    assert here(*few, home=home).exit_code == 0
    assert len(scored(tmp_path / "few")) == 3
    more = here("resume", tmp_path / "few", "--evaluations", "6", home=home)
    assert more.exit_code == 0, more.output
    assert result(tmp_path / "few")["evaluation"] == result(whole[0])["evaluation"]
    again = words(home, home / "corpus.txt", tmp_path / "again", by_hand=True)
    assert here(*again, home=home).exit_code == 0
    assert result(tmp_path / "again") == result(whole[0])


@pytest.mark.parametrize("data", ["task:recall", "corpus.txt+task:induction"])
def test_tasks(data: str, home: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    named = data.replace("corpus.txt", str(home / "corpus.txt"))
    (tmp_path / "tiny.azg").write_text(CAUSAL.replace("= 96", "= 128"), "utf-8")
    answer = here(*words(tmp_path, named, run, weights="fresh"), home=home)
    assert answer.exit_code == 0, answer.output
    assert "masked" not in answer.stdout
    unit = "per answer" if data.startswith("task:") else "per token or answer"
    assert f"nats {unit}" in answer.stdout
    assert "perplexity" not in answer.stdout
    task = data.partition("task:")[2]
    assert f"task:{task} right" in answer.stdout


def test_a_mask_rate_is_refused(home: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    mine = words(home, home / "corpus.txt", run)
    answer = here(*mine, "--mask-rate", "0.4", "--json", home=home)
    error = json.loads(answer.stdout)["error"]
    assert (answer.exit_code, error["code"]) == (2, "D033")
    assert not run.exists()


def test_membership(home: Path, tmp_path: Path) -> None:
    """What has no causal meaning, and an encoder, are not in the space."""
    space = f"{home / 'tiny.azg'}:tiny"
    model = CAUSAL[CAUSAL.index("model start") : CAUSAL.index("space tiny")]
    future = "attention sdpa(q, k, v) {\n    return softmax((q @ k.T).T) @ v\n}\n\n"
    standard = "from std.attention import sdpa\n\n"
    encoder = model.replace("    causal = true\n", "")
    for text, code in (
        (future + model, "AZG310"),
        (standard + encoder, "AZG410"),
        (standard + model, None),
    ):
        file = tmp_path / "model.azg"
        file.write_text(text, encoding="utf-8")
        answer = here("check", "--space", space, file, home=home)
        assert answer.exit_code == (0 if code is None else 1), answer.output
        assert code is None or code in answer.output


def test_an_encoder_says_nothing_of_this(home: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.azg").write_text(PROGRAM, encoding="utf-8")
    run = tmp_path / "run"
    mine = words(tmp_path, home / "corpus.txt", run, evaluations=1, warm_up=0)
    answer = here(*mine, "--json", home=home)
    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.stdout)
    assert told["unit"] == "per masked token"
    for row in told["comparison"]["rows"]:
        assert (row["perplexity"], row["bits_per_byte"]) == ([], [])


def test_the_example_generates(home: Path, tmp_path: Path) -> None:
    """`azc compile` makes what `generate` of transformers runs: each token the best of a
    pass over all before it.
    """
    folder = tmp_path / "decoder"
    answer = here("compile", EXAMPLE, "-o", folder, home=home)
    assert answer.exit_code == 0, answer.output
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = torch.randint(5, 1024, (2, 7), generator=torch.Generator().manual_seed(0))
    found = model.generate(ids, max_new_tokens=9, do_sample=False, eos_token_id=None)
    assert found.shape == (2, 16)
    with torch.no_grad():
        logits = model(input_ids=found).logits
    assert torch.equal(logits[:, 6:-1].argmax(-1), found[:, 7:])
