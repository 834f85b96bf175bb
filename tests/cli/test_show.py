from __future__ import annotations

import json
from collections.abc import Callable

import pytest

import azc as package
from azc.numbers import amount
from tests.cli.conftest import GOOD, Azc

Write = Callable[[str, str], str]


def test_a_model(azc: Azc, good: str) -> None:
    found = azc("show", good)
    assert (found.code, found.err) == (0, "")
    lines = [line.rstrip() for line in found.out.splitlines()]
    summary = package.summary(good)
    first, second, _, last = (f"{amount(each.flops):>6}" for each in summary.layers)
    total = amount(summary.flops)
    assert set(lines.pop(2)) == {"─"}
    assert lines == [
        "small: 4 layers, hidden 8, 2 heads, vocabulary 50, post-norm",
        "layer  mixing            heads  ffn  parameters  FLOPs/token  expression",
        f"1      softplus_key          2   32         800       {first}  "
        "softmax(scale(q @ (-logsigmoid(-k)).T)) @ (q + k)",
        f"2-3    sdpa                  2   32     2 × 872   2 × {second}  "
        "softmax(scale(q @ k.T)) @ v",
        f"4      conv(kernel = 3)      2   32         806       {last}",
        "",
        "       embeddings                           560",
        "       pooler                                72",
        f"       total                              3,982       {total}",
        "",
        "FLOPs at 16 tokens; a multiply-add counts as two.",
        "As a masked language model, without the pooler: 4,048 parameters.",
    ]


def test_the_sum_is_that_of_the_compiled_model(azc: Azc, good: str) -> None:
    from azc import compile

    found = azc("show", good, "--json").json
    numbers = found["parameters"]
    assert numbers["total"] == compile(good, task="base").num_parameters()
    masked = numbers["total"] - numbers["pooler"] + numbers["masked_lm_head"]
    assert masked == compile(good).num_parameters()
    layers = sum(layer["parameters"] for layer in found["layers"])
    assert numbers["total"] == layers + numbers["embeddings"] + numbers["pooler"]


def test_json_of_a_model(azc: Azc, good: str) -> None:
    found = azc("show", good, "--json", "--tokens", "8", "--ir", "--code").json
    assert found["command"] == "show"
    assert found["tokens"] == 8
    assert found["model"]["name"] == "small"
    assert found["model"]["ffn"] == [32]
    assert found["flops_per_token"] == sum(
        x["flops_per_token"] for x in found["layers"]
    )
    first, *_, last = found["layers"]
    assert first == {
        "index": 1,
        "mixing": "softplus_key",
        "expression": ["softmax(scale(q @ (-logsigmoid(-k)).T)) @ (q + k)"],
        "heads": 2,
        "ffn": [32],
        "activation": "gelu",
        "parameters": 800,
        "flops_per_token": first["flops_per_token"],
    }
    assert (last["mixing"], last["expression"]) == ("conv(kernel = 3)", None)
    assert set(found["ir"]) == {"softplus_key", "sdpa"}
    assert found["ir"]["sdpa"].startswith("graph sdpa(q, k, v) {\n")
    titles = [each["title"] for each in found["code"]]
    assert titles == ["encoder", "layer 1", "layers 2, 3", "layer 4"]


def test_more_tokens_cost_more(azc: Azc, good: str) -> None:
    few = azc("show", good, "--json", "--tokens", "8").json
    many = azc("show", good, "--json", "--tokens", "16").json
    assert few["flops_per_token"] < many["flops_per_token"]
    assert azc("show", good, "--json").json["tokens"] == 16  # the most it can take
    assert azc("show", "std.models:bert_tiny", "--json").json["tokens"] == 128


@pytest.mark.parametrize(
    "args",
    [
        ["std.models", "--model", "bert_base"],
        ["std.models:bert_base"],
    ],
)
def test_a_model_of_the_library(azc: Azc, args: list[str]) -> None:
    found = azc("show", *args)
    assert found.out.startswith("bert_base: 12 layers, hidden 768, 12 heads,")
    assert "12 × 7,087,872" in found.out
    assert "109,482,240" in found.out


def test_code_and_ir(azc: Azc, good: str) -> None:
    found = azc("show", good, "--code", "--ir").out
    assert "\ngraph sdpa(q, k, v) {\n" in found
    assert "\n# encoder\ndef forward(self, hidden, mask, positions, order):\n" in found
    assert (
        "\n# layers 2, 3\ndef forward(self, hidden, mask, positions, order):\n" in found
    )


def test_an_attention_program(azc: Azc, good: str) -> None:
    for args in (["good.azg:softplus_key"], [good, "--attention", "softplus_key"]):
        assert azc("show", *args).out == (
            "softplus_key(q, k): 9 operations\n"
            "    softmax(scale(q @ (-logsigmoid(-k)).T)) @ (q + k)\n"
        )
    found = azc("show", "good.azg:softplus_key", "--ir", "--code").out
    assert "\ngraph softplus_key(q, k) {\n" in found
    assert "\ndef forward(self, q, k, mask = None):\n" in found
    answer = azc("show", "good.azg:softplus_key", "--json").json
    assert answer["attention"]["params"] == ["q", "k"]


def test_the_only_program_of_a_file(azc: Azc, write: Write) -> None:
    name = write("a.azg", "attention only(q) {\n    x = exp(q)\n    return x * x\n}\n")
    assert azc("show", name).out == "only(q): 2 operations\n    exp(q) * exp(q)\n"
    assert "graph only(q)" in azc("show", name, "--ir").out


def test_a_file_with_several(azc: Azc) -> None:
    found = azc("show", "std.models")
    assert "bert_base" in found.out
    assert "109,482,240" in found.out
    assert found.out.endswith("\nTo show one of them: azc show std.models:bert_tiny\n")
    assert "softmax(10 * cosine(q, k)) @ v" in azc("show", "std.attention").out
    answer = azc("show", "std.models", "--json").json
    tiny = answer["models"][0]
    assert (tiny["name"], tiny["layers"], tiny["hidden"]) == ("bert_tiny", 2, 128)
    assert answer["attentions"] == []


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["std.models", "--code"], 2, "choose one"),
        (["std.models", "--model", "bert_bas"], 2, "did you mean `bert_base`?"),
        (["std.models:nothing"], 2, "it has: bert_tiny"),
        (["std.modls"], 1, "did you mean `std.models`?"),
        (["std.models:bert_tiny", "--model", "bert_tiny"], 2, "give only one of"),
        (["std.models", "--tokens", "0"], 2, "--tokens"),
        (["std.models", "--tokens", "many"], 2, "--tokens"),
        ([], 2, "FILE"),
    ],
)
def test_wrong_usage(azc: Azc, args: list[str], code: int, words: str) -> None:
    found = azc("show", *args)
    assert found.code == code
    assert words in found.err
    assert found.out == ""


def test_a_file_with_nothing_to_show(azc: Azc, write: Write) -> None:
    found = azc("show", write("empty.azg", "# Nothing.\n"))
    assert found.code == 2
    assert "declares no model and no attention program" in found.err


def test_a_name_with_a_colon_may_be_a_file(azc: Azc, write: Write) -> None:
    write("a:b", GOOD)
    assert azc("show", "a:b").out.startswith("small: 4 layers")


@pytest.mark.parametrize("tokens", ["0", "-5", "1.5", "x", "1000000000000", "nan", ""])
@pytest.mark.parametrize(
    "words",
    [["show", "good.azg"], ["diff", "good.azg", "good.azg"]],
    ids=["show", "diff"],
)
def test_tokens_that_make_no_sense(
    azc: Azc, good: str, words: list[str], tokens: str
) -> None:
    found = azc(*words, f"--tokens={tokens}")
    assert found.code == 2
    assert "--tokens" in found.err


def test_a_decoder(azc: Azc, write: Write) -> None:
    text = (
        "model m {\n causal = true\n hidden = 8\n heads = 2\n vocab = 10\n"
        " layers { conv(kernel = 3) }\n}\n"
    )
    file = write("decoder.azg", text)
    told = json.loads(azc("show", file, "--json").out)["parameters"]
    model = package.compile(file)
    own = told["total"] - told["pooler"] + told["lm_head"]
    assert own == model.num_parameters()
    words = f"As a causal language model, without the pooler: {own:,} parameters."
    assert words in azc("show", file).out


def test_a_decoder_says_what_its_cache_takes(azc: Azc, write: Write) -> None:
    text = GOOD.replace("vocab = 50", "vocab = 50\n    causal = true")
    assert "causal" in text
    file = write("decoder.azg", text)
    found = azc("show", file)
    model = package.load(file).models["small"]
    size = package.api.cache_size(model)
    assert size is not None
    told = f"{size.each_token:,} bytes for each token of a sequence"
    assert f"Its cache takes {told}" in found.out
    cache = azc("show", file, "--json").json["cache"]
    assert cache["bytes_a_token"] == size.each_token
    assert cache["bytes_in_all"] == size.in_all == 2 * 8 * 4  # the convolution's
    made = azc("compile", file, "-o", "made")
    assert (made.code, told in made.out) == (0, True)
    assert azc("show", "std.models:bert_tiny", "--json").json["cache"] is None


@pytest.mark.parametrize(
    ("layers", "told"),
    [
        (
            "conv(kernel = 3)",
            "Its cache takes 64 bytes regardless of sequence length, in float32.",
        ),
        ("conv(kernel = 1)", "Its cache keeps nothing of earlier tokens."),
    ],
)
def test_caches_that_do_not_grow(
    azc: Azc, write: Write, layers: str, told: str
) -> None:
    settings = "causal = true\n hidden = 8\n heads = 2\n"
    text = f"model m {{\n {settings} layers {{\n {layers}\n }}\n}}\n"
    found = azc("show", write("m.azg", text))
    assert (found.code, found.out.splitlines()[-1]) == (0, told)
