"""What help texts say holds: every expression, setting and command in them checks, what one
is said to be is computed, and what is said not to be there is refused.
"""

from __future__ import annotations

import ast as python
import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from typer.main import get_command

import azc
from azc.check import spaces, words
from azc.check.models import SETTINGS
from azc.cli.app import app
from azc.diagnostics import Diagnostic, DiagnosticError
from azc.mixing.convolution import CONV_KINDS
from azc.ops.contract import Frame, TypeFault, Value
from azc.ops.table import load_ops
from azc.resources import grammar_text
from azc.shapes import SCALAR, TOKENS, D, N, Shape
from azc.source import Source
from azc.syntax import ast
from azc.syntax.faults import KEYWORDS
from azc.syntax.parse import read_source
from tests.check.test_goldens import told
from tests.golden_files import GOLDEN

ROOT = Path(__file__).resolve().parents[2]
CODE = re.compile(r"`([^`]+)`")


def found(text: str) -> list[Diagnostic]:
    """Errors, or the warnings of a text without them."""
    return told(Source("test.azg", text))


def codes(text: str) -> list[str]:
    return [each.code for each in found(text) if each.severity == "error"]


# The texts


def tables() -> dict[str, str]:
    """Help by where it is kept and the word that it is for; other words are left out."""
    known = {
        "OPERATIONS": words.OPERATIONS,
        "ATTRIBUTES": words.ATTRIBUTES,
        "NAMES": words.NAMES,
        "SETTINGS": words.SETTINGS,
        "LAYERS": words.LAYERS,
        "ENTRIES": words.ENTRIES,
        **words.VALUES,
    }
    return {
        f"{table} {word}": text
        for table, entries in known.items()
        for word, text in entries.items()
        if " " in text
    }


def constants(path: Path) -> Iterator[str]:
    """The sentences that stand in a module: neither docstrings nor parts of others."""

    def below(node: python.AST) -> Iterator[str]:
        for child in python.iter_child_nodes(node):
            if isinstance(child, python.JoinedStr):
                continue
            if isinstance(child, python.Expr) and isinstance(
                child.value, python.Constant
            ):
                continue
            if isinstance(child, python.Constant) and isinstance(child.value, str):
                yield child.value
            yield from below(child)

    yield from below(python.parse(path.read_text("utf-8")))


def modules() -> list[Path]:
    inside = ("check", "syntax", "ops")
    return [path for name in inside for path in (ROOT / "azc" / name).rglob("*.py")]


@cache
def sentences() -> dict[str, str]:
    """Every text with code in it, of the tables and of the source, with its place."""
    texts = {text: place for place, text in tables().items()}
    for path in modules():
        for text in constants(path):
            if CODE.search(text) and text.count("`") % 2 == 0:
                texts.setdefault(text, path.name)
    assert len(texts) > 100
    return texts


@cache
def snippets() -> dict[str, str]:
    """The code in these texts, and where it stands."""
    return {
        code: place
        for text, place in sentences().items()
        for code in CODE.findall(text)
    }


# Expressions

SHAPES = {
    TOKENS: "q",
    TOKENS.T: "k.T",
    Shape(N, N): "q @ k.T",
    Shape(D, D): "k.T @ v",
    Shape(N, SCALAR.rows): "mean(q)",
    Shape(SCALAR.rows, D): "mean(q.T).T",
    SCALAR: "0.5",
}
# What the letters of help texts stand for.
LETTERS = {"q": TOKENS, "k": TOKENS, "v": TOKENS, "x": TOKENS}


@cache
def expression(text: str) -> ast.Expr | None:
    """The expression that a text is, if it is one."""
    try:
        file = azc.syntax.parse.parse(
            Source("help", f"attention a() {{\nreturn {text}\n}}\n")
        )
    except DiagnosticError:
        return None
    (program,) = file.declarations
    assert isinstance(program, ast.Attention)
    value = program.body[-1].value
    return value if isinstance(value, ast.Apply) and value.args else None


def names(expr: ast.Expr) -> list[str]:
    """The names in an expression, each once."""
    inside = (e.id for e in ast.expressions(expr) if isinstance(e, ast.Name))
    return list(dict.fromkeys(inside))


def typings(expr: ast.Expr) -> Iterator[dict[str, Shape]]:
    """The types of its names for which an expression has a type, common ones first."""
    free = names(expr)
    choices = [[LETTERS[n]] if n in LETTERS else list(SHAPES) for n in free]
    for shapes in product(*choices):
        types = dict(zip(free, shapes, strict=True))
        if typed(expr, types) is not None:
            yield types


def typed(expr: ast.Expr, types: dict[str, Shape]) -> Shape | None:
    def visit(part: ast.Expr, shapes: list[Shape | None]) -> Shape | None:
        if isinstance(part, ast.Name):
            return types[part.id]
        if isinstance(part, ast.Number):
            return SCALAR
        op = load_ops().get(part.op)
        known = tuple(shape for shape in shapes if shape is not None)
        if op is None or not len(op.operands) == len(shapes) == len(known):
            return None
        if {a.name for a in op.attrs} != {a.name for a in part.attrs}:
            return None
        try:
            return op.result(known)
        except TypeFault:
            return None

    return ast.fold(expr, visit)


SIZES = {N: 5, D: 4, SCALAR.rows: 1}


def computed(expr: ast.Expr, arrays: dict[str, Any]) -> Any:
    """What an expression is, by the references of its operations; absent entries are 0."""

    def visit(part: ast.Expr, args: list[Value]) -> Value:
        if isinstance(part, ast.Name):
            data = arrays[part.id]
            return Value(data, np.ones(data.shape, bool))
        if isinstance(part, ast.Number):
            return Value(np.full((1, 1), float(part.value)), np.ones((1, 1), bool))
        attrs = {a.name: a.value.value for a in part.attrs}
        op = load_ops()[part.op]
        weights = {
            w.name: w.init(np, w.shape(1, SIZES[D]), False)[0]
            for w in op.weights(attrs)
        }
        frame = Frame(np, SIZES[N], SIZES[D], 0, 1, weights)
        return op.reference(frame, *args, **attrs)

    result = ast.fold(expr, visit)
    return np.where(result.present, result.data, 0.0)


def drawn(types: dict[str, Shape], positive: bool = False) -> dict[str, Any]:
    """Arrays of these types."""
    random = np.random.default_rng(0)
    sizes = {n: (SIZES[s.rows], SIZES[s.cols]) for n, s in types.items()}
    arrays = {n: random.normal(0.0, 1.5, size) for n, size in sizes.items()}
    return {n: abs(a) + 0.1 for n, a in arrays.items()} if positive else arrays


def of_rows(fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: fn(x, axis=-1, keepdims=True)


def of_tokens(fn: Callable[..., Any]) -> Callable[[Any], Any]:
    return lambda x: fn(x, axis=0, keepdims=True)


def softmax(x: Any) -> Any:
    return torch.softmax(torch.tensor(x), -1).numpy()


def gated(a: Any, b: Any) -> Any:
    return b / (1 + np.exp(-a))


# What code in help texts is said to be. Letters are its names, in order.
MEANS: dict[str, Callable[..., Any]] = {
    "1 + x": lambda x: np.ones_like(x) + x,
    "30 * tanh(s / 30)": lambda s: 30 * np.tanh(s / 30),
    "-amax(-x)": of_rows(np.min),
    "a @ x + b @ y": lambda a, x, b, y: np.hstack([a, b]) @ np.vstack([x, y]),
    "a @ b.T": lambda a, b: np.outer(a[:, 0], b[:, 0]),
    "amax(x)": of_rows(np.max),
    "amax(x.T).T": of_tokens(np.max),
    "c * x + (1 - c) * y": lambda c, x, y: np.where(c == 1, x, y),
    "conv(x - x + 1, kernel = 1)": np.ones_like,  # what it starts as
    "conv(x, kernel = 1)": lambda x: x,
    "cosine(a, b)": lambda a, b: np.array(
        [[r @ s / np.linalg.norm(r) / np.linalg.norm(s) for s in b] for r in a]
    ),
    "cosine(q, k)": lambda q, k: MEANS["cosine(a, b)"](q, k),
    "elu(x) + 1": lambda x: np.where(x > 0, x + 1, np.exp(x)),
    "euclidean(q, k)": lambda q, k: np.array(
        [[np.linalg.norm(r - s) for s in k] for r in q]
    ),
    "exp(s) / (1 + sum(exp(s)))": lambda s: softmax(
        np.hstack([s, np.zeros((len(s), 1))])
    )[:, :-1],
    "exp(sum(log(x).T).T)": of_tokens(np.prod),
    "exp(x)": np.exp,
    "exp(y * log(x))": lambda y, x: x**y,
    "gelu(x)": lambda x: x * (1 + torch.erf(torch.tensor(x) / 2**0.5).numpy()) / 2,
    "k.T @ v": lambda k, v: sum(np.outer(a, b) for a, b in zip(k, v, strict=True)),
    "layer_norm(x)": lambda x: F.layer_norm(torch.tensor(x), x.shape[-1:]).numpy(),
    "log(x)": np.log,
    "maximum(x, y)": np.maximum,
    "mean(square(x - mean(x)))": of_rows(np.var),
    "mean(x)": lambda x: x.sum(-1, keepdims=True) / x.shape[-1],
    "mean(x.T).T": of_tokens(np.mean),
    "minimum(x, y)": np.minimum,
    "q @ k.T": lambda q, k: np.array([[r @ s for s in k] for r in q]),
    "reciprocal(x)": lambda x: 1 / x,
    "relu(s) / (sum(relu(s)) + 1e-6)": lambda s: (
        np.maximum(s, 0) / (np.maximum(s, 0).sum(-1, keepdims=True) + 1e-6)
    ),
    "relu(x)": lambda x: np.where(x > 0, x, 0),
    "rms_norm(x)": lambda x: F.rms_norm(
        torch.tensor(x), x.shape[-1:], eps=2**-23
    ).numpy(),
    "scale(x)": lambda x: x / SIZES[D] ** 0.5,
    "sigmoid(a) * b": gated,
    "softmax(s / 2)": lambda s: softmax(s / 2),
    "softmax(s)": softmax,
    "softmax(window(s, radius = 0))": lambda s: np.eye(len(s)),
    "softmax(x)": softmax,
    "softsign(x)": lambda x: x / (1 + abs(x)),
    "sqrt(mean(square(x - mean(x))))": of_rows(np.std),
    "sqrt(x)": np.sqrt,
    "square(x)": lambda x: x**2,
    "square(x) * x": lambda x: x**3,
    "sum((x - x + 1).T).T": lambda x: np.full((1, x.shape[1]), x.shape[0]),
    "sum(window(s, radius = 0))": lambda s: np.diag(s)[:, None],
    "sum(x - x + 1)": lambda x: np.full((x.shape[0], 1), x.shape[1]),
    "sum(x)": of_rows(np.sum),
    "sum(x.T).T": of_tokens(np.sum),
    "tanh(x)": np.tanh,
    "x / abs(x)": np.sign,
    "x.T": np.transpose,
}
# What is only said to be there, or where it goes: by the name of what it shows.
SHOWN = {
    *("alibi(s)", "rope(x)", "conv(x, kernel = 3)", "window(s, radius = 16)"),
    *("rope(q) @ rope(k).T", "softmax(alibi(scale(q @ k.T)))"),
    # A result of another type, made [n, d]; a program that has a causal meaning.
    *("2 * v", "q @ s", "s * v", "s.T", "s.T * v", "softmax(s) @ v"),
    *("softmax(q @ k.T) @ v", "softmax(k.T) @ v"),
}
POSITIVE = {"log(x)", "sqrt(x)", "exp(sum(log(x).T).T)", "exp(y * log(x))"}
COLUMNS = {"a @ b.T"}  # said of columns


def expressions() -> list[str]:
    return sorted(code for code in snippets() if expression(code) is not None)


def test_all_that_is_said_is_computed() -> None:
    assert set(expressions()) == MEANS.keys() | SHOWN
    assert not MEANS.keys() & SHOWN


@pytest.mark.parametrize("code", sorted(MEANS))
def test_an_expression_is_what_it_is_said_to_be(code: str) -> None:
    expr = expression(code)
    assert expr is not None
    types = next(typings(expr))
    if code in COLUMNS:
        types = {name: Shape(N, SCALAR.rows) for name in types}
    arrays = drawn(types, positive=code in POSITIVE)
    if code.startswith("c *"):
        arrays["c"] = (arrays["c"] > 0).astype(float)
    wanted = MEANS[code](*(arrays[name] for name in names(expr)))
    np.testing.assert_allclose(computed(expr, arrays), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("code", "running"),
    [
        ("sum(x.T).T", np.cumsum),
        ("exp(sum(log(x).T).T)", np.cumprod),
        ("amax(x.T).T", lambda x, axis: np.maximum.accumulate(x, axis)),
    ],
)
def test_in_a_causal_model_it_is_of_the_tokens_so_far(
    code: str, running: Callable[..., Any]
) -> None:
    (text,) = {t for t in tables().values() if f"`{code}`" in t}
    assert "so far where the model has `causal = true`" in text
    program = azc.loads(f"attention a(x) {{\n    return 0 * x + {code}\n}}\n")
    x = drawn({"x": TOKENS}, positive=True)["x"]
    result = azc.interpret_attention(program, causal=True)(x=x)
    np.testing.assert_allclose(result, running(x, axis=0), rtol=1e-12)


# Everything else that is shown as code

SETTING = "model m {{\n    hidden = 12\n    {}\n    layers {{\n        {}\n    }}\n}}\n"
SPACE = "space s {{\n    start = m\n    {}\n}}\n"
WHOLE = SETTING.format("", "conv(kernel = 3)")


def is_setting(code: str) -> bool:
    return codes(SETTING.format(code, "conv(kernel = 3)")) == []


def is_layer(code: str) -> bool:
    text = "from std.attention import sdpa\n"
    return codes(text + SETTING.format("", code.replace("…", "sdpa"))) == []


def is_declared(code: str) -> bool:
    """A declaration with its inside left out, or a block of one."""
    inside = {"attention": "return q", "model": "layers { conv(kernel = 3) }"}
    word = code.split()[0]
    text = code.replace("…", inside.get(word, "conv(kernel = 3)"))
    if word == "layers":
        text = text.replace("sdpa", "conv(kernel = 3)")
        return codes(f"model m {{\n{text}\n}}\n") == []
    return "{" in code and codes(text.replace("{", "{\n", 1)) == []


def is_import(code: str) -> bool:
    text = code.replace("MODULE", "std.attention").replace("NAME", "sdpa")
    if " as " in text:
        text = f"from std.attention import {text.replace('…', 'other')}"
    return text.startswith("from ") and codes(f"{text}\n") == []


def is_command(code: str) -> bool:
    """A command, and options that it has."""
    first, *rest = code.split()
    if first != "azc":
        return False
    found = get_command(app).commands[rest[0]]
    options = {each for param in found.params for each in param.opts} | {"--help"}
    return set(rest[1:]) <= options


@cache
def known_words() -> frozenset[str]:
    """Names of the language: operations, settings, entries, values, library programs."""
    library = {node.name for node in library_programs()}
    values = {"none", "true", "false", *CONV_KINDS}
    blocks = {
        *spaces._BLOCKS,
        *(name for block in spaces._BLOCKS.values() for name in block),
    }
    entries = {"start", "depth", "kernel", "kind", "layers", "std"}
    return frozenset(
        {*load_ops(), *SETTINGS, *library, *values, *blocks, *entries, *KEYWORDS}
    )


def library_programs() -> list[ast.Attention]:
    source = read_source(ROOT / "stdlib" / "attention.azg")
    file = azc.syntax.parse.parse(source)
    return [node for node in file.declarations if isinstance(node, ast.Attention)]


def is_symbol(code: str) -> bool:
    return all(
        f'"{part}"' in grammar_text() or f"{part} below" in grammar_text()
        for part in code.split()
    )


# Forms with words for their parts.
FORMS = {"name = expression": "x = exp(q)"}


def holds(code: str) -> bool:
    """Whether code in a help text is of the language, or a command."""
    expr = expression(code)
    if expr is not None:
        return next(typings(expr), None) is not None
    if code in FORMS:
        return codes(f"attention a(q) {{\n    {FORMS[code]}\n    return x\n}}\n") == []
    ways = (is_symbol, is_import, is_command, is_setting, is_layer, is_declared)
    return code in known_words() or any(way(code) for way in ways)


@pytest.mark.parametrize("code", sorted(snippets()))
def test_all_code_in_help_texts_checks(code: str) -> None:
    assert holds(code)


def test_code_that_does_not_check_is_found() -> None:
    for code in ("softmax(q @ k)", "cumsum(x)", "causal = yes", "repeat { … }"):
        assert not holds(code)


GOLDENS = [p for p in GOLDEN.rglob("*.azg") if p.with_suffix(".err").exists()]
# Said of a text's own names, or of what is written elsewhere.
_QUOTED = re.compile(
    r"`[^`]+` is (?:a value|an attention|an operation)|instead of `[^`]+`"
    r"|write `\w+_`, say"
)


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_all_code_in_the_help_of_goldens_checks(path: Path) -> None:
    source = read_source(path, path.name)
    own = set(re.findall(r"\w+", source.text))
    for each in told(source):
        if each.help is None or each.fix is not None:
            continue  # mends are made by another test
        for code in CODE.findall(_QUOTED.sub("", each.help)):
            assert code in own or holds(code), (each.help, code)


# What is said not to be there

Q = "attention a(q, k, v) {{\n    return {}\n}}\n"


def expr(*texts: str) -> list[str]:
    return [Q.format(text) for text in texts]


# By what a text says, programs that are refused, as long as it is true.
DENIED: dict[str, list[str]] = {
    "`.T` is the only way to reshape": expr("reshape(q, 1)", "q[0]"),
    "there are no other axes": expr("permute(q, 1, 2, 0)"),
    "can't be put side by side": expr("cat(q, k)", "[q, k] @ v"),
    "inverts a matrix": expr("q @ inverse(k.T @ v)", "q @ (k.T @ v).inv()"),
    "sorts, or picks by number": expr("sort(q)", "q[0]", "gather(q, 1)", "topk(q)"),
    "no sine or cosine of numbers": expr("sin(q)", "cos(q)"),
    "of an x that is not 0": expr("sign(q)"),
    "no operation rounds": expr("floor(q)", "round(q)", "q // 2"),
    "without rounding": expr("q // 2"),
    "nothing in a program is random": expr("rand(q)", "randn()", "dropout(q)"),
    "there is no Fourier transform": expr("dft(q)", "fft(q)"),
    "has no name": expr("q * n", "q * d", "q * seq_len"),
    "without a prefix": expr("torch.softmax(q)", "softmax.x(q)"),
    "a program has no self": expr("self.q"),
    "the model has a number type": expr("float(q)", "q.half()"),
    "no settings for training": [SETTING.format("lr = 0.1", "conv(kernel = 3)")],
    "there is no remainder": expr("q % 2"),
    "no conditions and no comparisons": expr(
        "q if q > 0 else k", "q > 0", "where(q > 0, q, k)", "q == k", "not q"
    ),
    "no recurrence": [
        "attention a(q, k) {\n    scan s: [d, d] = 0 {\n        s = s + k.T @ q\n    }\n"
        "    return q @ s\n}\n"
    ],
    "no loops": ["attention a(q) {\n    for x in q {\n    }\n    return q\n}\n"],
    "can't be indexed": expr("q[0]", "q[:, 1]"),
    "have no return type": ["attention a(q) -> x {\n    return q\n}\n"],
    "not as methods": expr("q.softmax()", "q.mean()"),
    "nothing else follows a dot": expr("q.mean()", "q.t", "q.H"),
    "takes no parentheses": expr("q @ k.T() @ v"),
    "there are no tuples": expr("(q, k)"),
    "written without quotes": expr('"q"', "'q'"),
    "only inside `( )` or `[ ]`": expr("q +\n    k"),
    "without a keyword before it": [
        "attention a(q) {\n    let x = q\n    return x\n}\n"
    ],
    "nothing runs after": ["attention a(q) {\n    return q\n    x = q\n}\n"],
    "only one `layers` block": [
        "model m {\nlayers { conv(kernel = 3) }\nlayers {}\n}\n"
    ],
    "can be bound only once": ["attention a(q) {\n    q = q\n    return q\n}\n"],
    "so its programs are fixed": [],  # in the goldens of membership
    "matches no": ["attention a(q) {\n    return q\n}}\n"],
    "match no": ["attention a(q) {\n    return q\n}}}\n"],
    "only an odd width": [SETTING.format("", "conv(kernel = 4)")],
}
_DENIES = re.compile(r"\b(no|not|never|nothing|none|only|neither|without|can't)\b")


@cache
def denials() -> dict[str, str]:
    """The texts that say that something is not there, with their place."""
    texts = {text: place for place, text in tables().items()}
    for name in ("faults", "values", "rewrite", "causality", "models", "types"):
        (path,) = [p for p in modules() if p.stem == name]
        texts.update((text, path.name) for text in constants(path) if " " in text)
    texts.update((text, place) for text, place in sentences().items())
    return {t: p for t, p in texts.items() if _DENIES.search(CODE.sub("", t))}


def test_every_denial_has_a_proof() -> None:
    unproved = [text for text in denials() if not any(key in text for key in DENIED)]
    assert unproved == []
    unused = [key for key in DENIED if not any(key in text for text in denials())]
    assert unused == []


@pytest.mark.parametrize(
    "text", sorted({text for texts in DENIED.values() for text in texts})
)
def test_what_is_denied_is_refused(text: str) -> None:
    assert codes(text) != []
