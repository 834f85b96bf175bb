"""Loading of the data that `--data` specifies.

Codes: D030 a task is unknown, or is named twice; D032 a tokenizer was passed for data
without text; R034 the vocabulary of the model is too small for the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from azc.data.causal import CausalLMData
from azc.data.contract import TASK, Data, task_part
from azc.data.corpus import Corpus, load_corpus
from azc.data.documents import PARAGRAPH, check_undivided
from azc.data.mixed import MixedData
from azc.data.mlm import MaskedLMData
from azc.data.progress import Tell, silent
from azc.data.summary import TextSummary
from azc.data.tasks import Symbols, Task, TaskData, find_task
from azc.data.text import TextData, check_documents
from azc.data.tokenizer import SMALLEST, ends, load_tokenizer
from azc.data.tokens import encode
from azc.diagnostics import RunError, UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = ["DataSpec", "load_data"]


@dataclass(frozen=True)
class DataSpec:
    """A parsed data specification: a text (see `load_corpus`), tasks, or both, joined
    by `+`.

    Examples are `python`, `task:recall` and `python+task:recall`. The text comes first.
    Anything that begins with `task:` is a task rather than a path (`./task:recall` is a
    path).
    """

    text: str | None
    tasks: tuple[str, ...]

    @classmethod
    def parse(cls, spec: str) -> DataSpec:
        """Parse a specification, without checking that its parts exist."""
        if spec.startswith(TASK):
            return cls(None, tuple(spec.removeprefix(TASK).split(f"+{TASK}")))
        text, *tasks = spec.split(f"+{TASK}")
        return cls(text, tuple(tasks))

    def __str__(self) -> str:
        text = [] if self.text is None else [self.text]
        return "+".join([*text, *self.task_parts])

    @property
    def task_parts(self) -> tuple[str, ...]:
        """The names of the tasks as parts of the data."""
        return tuple(map(task_part, self.tasks))

    @property
    def held_out(self) -> str:
        """The kind of held-out data, in a word or two."""
        if not self.tasks:
            return "text"
        return "rows" if self.text is None else "text and rows"

    def unit(self, causal: bool = False) -> str:
        """Return what losses, in nats, are averaged over, such as "per masked token"."""
        token = "per token" if causal else "per masked token"
        if not self.tasks:
            return token
        return "per answer" if self.text is None else f"{token} or answer"


def load_data(
    spec: str,
    *,
    vocab: int,
    length: int,
    seed: int = 0,
    tokenizer: str | None = None,
    division: str = PARAGRAPH,
    cache: Path | None = None,
    mask_rate: float = 0.15,
    causal: bool = False,
    blocks: int | None = None,
    tell: Tell = silent,
) -> Data:
    """Load the data that `spec` names, for a model with a vocabulary of `vocab`.

    For an encoder, `mask_rate` of the text's tokens are masked in training (see
    `MaskedLMData`). A causal model predicts every token (see `CausalLMData`).

    In a mix, the symbols of tasks follow the tokens of the text. If a tokenizer is
    trained for the text, it leaves room for them.

    Args:
        spec: See `DataSpec`.
        vocab: Vocabulary size of the model.
        length: Sequence length in tokens.
        seed: Random seed of the splits and of everything that is drawn.
        tokenizer: A folder or a name; None trains one on the text.
        division: How text files are split into documents, see `load_corpus`.
        cache: Folder for tokenizers and tokens, see `azc.data.tokens`.
        mask_rate: Fraction of tokens that are masked in training.
        causal: Whether the model is causal.
        blocks: Number of validation sequences that scores are measured on; None for
            all.
        tell: Called with the progress.

    Returns:
        The data.

    Raises:
        UsageError: D030 and D032, and the errors of the parts.
        RunError: R034 if `vocab` is too small, D024 if a part of the data has nothing
            to predict, and the errors of the parts.
    """
    named = DataSpec.parse(spec)
    tasks = [find_task(name) for name in named.tasks]
    for name in named.tasks:
        if named.tasks.count(name) > 1:
            raise UsageError("D030", f"{task_part(name)} is named twice")
    taken = sum(task.symbols for task in tasks)
    if named.text is None:
        if tokenizer is not None:
            raise UsageError(
                "D032",
                f"a tokenizer is for text, and {spec} has none",
                "leave --tokenizer out",
            )
        check_undivided(spec, division)
        symbols = Symbols()
        _fits(spec, symbols.first + taken, vocab)
        parts = _tasks(tasks, symbols, length, seed, causal)
        return parts[0] if len(parts) == 1 else MixedData(parts)
    if tasks and tokenizer is None:
        _fits(spec, SMALLEST + taken, vocab)
    corpus = load_corpus(named.text, division=division, cache=cache, tell=tell)
    check_documents(corpus.documents)
    found = load_tokenizer(
        corpus,
        vocab_size=vocab - taken,
        name_or_path=tokenizer,
        cache=cache,
        causal=causal,
        tell=tell,
    )
    if len(found) > vocab - taken:
        also = f" and {'+'.join(named.tasks)} {taken} symbols" if tasks else ""
        raise RunError(
            "R034",
            f"the tokenizer has {len(found)} tokens{also}, the model {vocab}",
            f"set vocab = {len(found) + taken} in the model",
        )
    encoded = encode(corpus, found, cache=cache, tell=tell)
    text: TextData
    if causal:
        text = CausalLMData(encoded, found, length=length, seed=seed)
    else:
        text = MaskedLMData(
            encoded, found, length=length, seed=seed, mask_rate=mask_rate
        )
    text.check(blocks)
    text.summary = _summary(corpus, text, tokenizer)
    if not tasks:
        return text
    symbols = _symbols(found)
    return MixedData([text, *_tasks(tasks, symbols, length, seed, causal)])


def _summary(corpus: Corpus, data: TextData, tokenizer: str | None) -> TextSummary:
    text = data.text
    documents = len(text.sizes)
    return TextSummary.of(
        corpus.name,
        corpus.source,
        documents,
        documents - len(text.distinct),
        data.splits,
        data.vocab_size,
        tokenizer,
    )


def _symbols(tokenizer: PreTrainedTokenizerFast) -> Symbols:
    """Return the symbols of tasks that share a vocabulary with a text."""
    first, last = ends(tokenizer)
    pad, mask = tokenizer.pad_token_id, tokenizer.mask_token_id
    return Symbols(
        pad=last if pad is None else pad,
        cls=first,
        sep=last,
        mask=last if mask is None else mask,  # which no causal row has
        first=len(tokenizer),
    )


def _tasks(
    tasks: Sequence[Task], symbols: Symbols, length: int, seed: int, causal: bool
) -> list[Data]:
    """Create the data of each task. Its symbols follow those of the task before."""
    found: list[Data] = []
    for task in tasks:
        data = TaskData(task, length=length, seed=seed, symbols=symbols, causal=causal)
        found.append(data)
        symbols = replace(symbols, first=data.vocab_size)
    return found


def _fits(spec: str, least: int, vocab: int) -> None:
    if least > vocab:
        raise RunError(
            "R034",
            f"{spec} needs a vocabulary of at least {least}, the model has {vocab}",
            f"set vocab = {least} in the model",
        )
