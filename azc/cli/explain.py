"""`azc explain`: show how programs are computed, and the size of a decoder's cache.

JSON: `attentions`, each with name; encoder and decoder (null if the program has no
causal meaning), both with backends, memory, in_the_way (the reason why n × n numbers are
kept, or null), and at (its file and positions, or null); reason, and refusal as in
`azc check`; cache: bytes_a_token, and bytes_of_windows and bytes_of_states, which do not
grow with the number of tokens, for one layer in float32 with the requested `hidden` and
`heads`.

Codes: U012 a number is not a whole number, or is out of range; U102 the file has no
declaration of the required kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from azc.check.choose import choose_attention
from azc.check.models import MAX_HEADS, MAX_WIDTH
from azc.cli.completion import programs
from azc.cli.files import load, split_name
from azc.cli.options import Json
from azc.cli.output import out
from azc.diagnostics import Note, UsageError, positions, render

if TYPE_CHECKING:
    from azc.lower.explain import Explanation, Form

__all__ = ["explain"]


def explain(
    context: typer.Context,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A program, or `std.attention`; FILE:NAME selects an attention "
            "program in it.",
            autocompletion=programs,
        ),
    ],
    hidden: Annotated[
        int,
        typer.Option(
            "--hidden", min=1, max=MAX_WIDTH, metavar="N", help="Width of the layer."
        ),
    ] = 768,
    heads: Annotated[
        int,
        typer.Option(
            "--heads",
            min=1,
            max=MAX_HEADS,
            metavar="N",
            help="Number of heads of the layer.",
        ),
    ] = 12,
    as_json: Json = False,
) -> None:
    """Show how attention programs are computed.

    For each program: the backends that compute it, whether memory grows with n² and
    which operation causes that, and what the cache of a decoder keeps for each token.

    Example: azc explain std.attention:linear_attention
    """
    from rich.table import Table

    from azc.lower.explain import explain as explained

    output = out(context)
    file, name = split_name(file)
    if hidden % heads:
        raise UsageError("U012", f"--hidden {hidden} is not divisible by {heads} heads")
    program = load(file)
    if name is not None:
        specs = {name: choose_attention(program, name)[1]}
    else:
        specs = dict(program.attentions)
    if not specs:
        raise UsageError("U102", f"{file} has no attention program")
    found = {each: explained(spec) for each, spec in specs.items()}
    output.result(
        hidden=hidden,
        heads=heads,
        attentions=[_json(n, each, hidden, heads) for n, each in found.items()],
    )
    if output.as_json:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("program", "encoder", "decoder", "cache per token", "fixed cache"):
        table.add_column(head, overflow="fold")
    for each, explanation in found.items():
        table.add_row(each, *_row(explanation, hidden, heads))
    console = output.console()
    console.print(table)
    console.print()
    console.print(
        f"Cache sizes are for one layer in float32, {hidden} wide with {heads} heads."
    )
    if len(found) == 1:
        for text in places(*found.values()):
            output.line()
            output.line(text)


def places(explanation: Explanation) -> list[str]:
    """Describe what makes memory grow with n², and what has no causal meaning, with
    excerpts.
    """
    found = {}
    for form in (explanation.encoder, explanation.decoder):
        if form is not None and form.why is not None and form.place is not None:
            message = f"n × n numbers are kept: {form.why}"
            found[message] = str(Note(message, form.place))
    if explanation.refusal is not None:
        found[explanation.refusal.message] = render([explanation.refusal])
    return list(found.values())


def memory(form: Form) -> str:
    """Return how memory grows with n tokens: "n" or "n²"."""
    return "n²" if form.squared else "n"


def words(form: Form | None) -> str:
    """Describe a form in one line."""
    if form is None:
        return "no causal meaning"
    text = f"{', '.join(form.backends)}; memory {memory(form)}"
    return f"{text} ({form.why})" if form.why else text


def kept(explanation: Explanation, hidden: int, heads: int) -> tuple[str, str]:
    """Describe what a decoder's cache keeps for each token, and in total."""
    if explanation.decoder is None:
        return "", ""
    token = f"{explanation.bytes_a_token(hidden, heads):,} bytes"
    if explanation.grows:
        token += " and a row of scores"
    return token, f"{explanation.bytes_in_all(hidden, heads):,} bytes"


def _row(explanation: Explanation, hidden: int, heads: int) -> tuple[str, ...]:
    return (
        words(explanation.encoder),
        words(explanation.decoder),
        *kept(explanation, hidden, heads),
    )


def _json(
    name: str, explanation: Explanation, hidden: int, heads: int
) -> dict[str, Any]:
    def form(each: Form | None) -> dict[str, Any] | None:
        if each is None:
            return None
        return {
            "backends": list(each.backends),
            "memory": memory(each),
            "in_the_way": each.why,
            "at": None if each.place is None else positions(each.place),
        }

    cache = None
    if explanation.decoder is not None:
        cache = {
            "bytes_a_token": explanation.bytes_a_token(hidden, heads),
            "bytes_of_windows": explanation.bytes_of_windows(hidden, heads),
            "bytes_of_states": explanation.bytes_of_states(hidden, heads),
            "rows_of_scores": explanation.grows,
        }
    return {
        "name": name,
        "encoder": form(explanation.encoder),
        "decoder": form(explanation.decoder),
        "reason": explanation.refusal and explanation.refusal.message,
        "refusal": explanation.refusal and explanation.refusal.as_json(),
        "cache": cache,
    }
