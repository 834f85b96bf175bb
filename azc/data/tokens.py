"""Text as tokens: encoded once, then mapped into memory from a file.

The file is an Arrow stream like those of `datasets`, which reads it with
`Dataset.from_file`: a row for each document with `input_ids` and `bytes`, the size of
its text (UTF-8). The stream is followed by the sha256 of all bytes before. Processes
that map the same file share one copy of it in memory.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from azc.data.corpus import Corpus
from azc.data.pieces import pieces, reads_pieces_alike
from azc.data.progress import Tell, silent
from azc.data.store import read_cached
from azc.files import write_with

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerFast

__all__ = ["EncodedText", "encode"]

_FORMAT = 1  # raise it when the same text would produce other tokens or another file
_BATCH = 64  # pieces that are encoded at once
_BATCH_SIZE = 2**18  # approximate number of characters in them
_DIGEST = 64  # bytes after the stream

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class EncodedText:
    """Tokens of all documents of a text, concatenated.

    Attributes:
        ids: The tokens of all documents, [tokens], uint16 or uint32.
        starts: The start of each document in `ids`, followed by the end of the last
            one, [documents + 1], int64.
        sizes: Bytes of the documents' text (UTF-8), [documents], int64.
        distinct: Documents that are not equal to an earlier one, in order, int64.
        path: The file that the arrays are mapped from; None if they are held in memory.
    """

    ids: NDArray[Any]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    distinct: NDArray[np.int64]
    path: Path | None = None

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """The number of tokens in each document, [documents]."""
        return self.starts[1:] - self.starts[:-1]

    def in_memory(self) -> EncodedText:
        """Return the same text for another machine: its pickle has the tokens, not the
        path.
        """
        return replace(self, path=None)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.path is not None:
            return _mapped, (self.path,)
        return EncodedText, (self.ids, self.starts, self.sizes, self.distinct)


def encode(
    corpus: Corpus,
    tokenizer: PreTrainedTokenizerFast,
    *,
    cache: Path | None = None,
    tell: Tell = silent,
) -> EncodedText:
    """Encode the documents of a corpus, without special tokens around them.

    With a `cache`, the tokens are written to a file there and mapped into memory. An
    existing file is mapped without encoding again. A damaged file is created again. If
    it can't be written, the tokens are held in memory, and a warning is logged. `tell`
    is called with the progress.

    Raises:
        RunError: D003 for a text that changes while it is read.
    """
    backend: Any = tokenizer.backend_tokenizer
    # In tokenizers for sentences, these settings would truncate and pad documents.
    backend.no_truncation()
    backend.no_padding()
    if cache is None:
        return _encoded(corpus, backend, tell)
    path = cache / f"tokens-{_key(corpus, backend)}.arrow"
    found = read_cached(path, lambda: _kept(path))
    if found is not None:
        return found
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent) as spool:
            _write(path, _encoded(corpus, backend, tell, spool))
        return _mapped(path)
    except OSError as error:  # a disk that is full, or can't be written to
        _log.warning("%s can't be cached: %s", path, error.strerror or error)
    return _encoded(corpus, backend, tell)


def _key(corpus: Corpus, backend: Any) -> str:
    """Return a hash of everything that tokens depend on: text, tokenizer and its
    library.
    """
    from tokenizers import __version__

    parts = _FORMAT, __version__, corpus.fingerprint, backend.to_str()
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:32]


# Encoding


def _encoded(
    corpus: Corpus, backend: Any, tell: Tell, spool: IO[bytes] | None = None
) -> EncodedText:
    """Encode a corpus; its tokens are held in the file `spool`, or in memory without
    one.
    """
    import numpy as np

    most = max(backend.get_vocab().values(), default=0)
    kind = np.dtype(np.uint16 if most < 2**16 else np.uint32)
    file = BytesIO() if spool is None else spool
    documents = _Documents(corpus, tell, reads_pieces_alike(backend))
    starts = array("q", [0])
    count = 0
    for batch in _batches(documents):
        texts = [text for text, _ in batch]
        found = backend.encode_batch_fast(texts, add_special_tokens=False)
        for encoding, (_, is_last) in zip(found, batch, strict=True):
            ids = np.asarray(encoding.ids, kind)
            file.write(ids.data)
            count += len(ids)
            if is_last:
                starts.append(count)
    flat = np.empty(0, kind)  # an empty file can't be mapped
    if isinstance(file, BytesIO):
        flat = np.frombuffer(file.getbuffer(), kind)
    elif count:
        file.flush()
        flat = np.memmap(file, kind, "r")
    sizes = np.frombuffer(documents.sizes, np.int64)
    prints = np.frombuffer(documents.prints, np.uint64).reshape(-1, 2)
    return EncodedText(flat, np.frombuffer(starts, np.int64), sizes, _firsts(prints))


class _Documents:
    """Pieces of the documents of a corpus, as the tokenizer needs them.

    Iterating records the size of each document in bytes, and 128 bits that identify it.
    """

    def __init__(self, corpus: Corpus, tell: Tell, in_pieces: bool) -> None:
        self.corpus = corpus
        self.tell = tell
        self.in_pieces = in_pieces
        self.sizes = array("q")
        self.prints = array("Q")

    def __iter__(self) -> Iterator[tuple[str, bool]]:
        """Yield pieces, and whether they are the last of their document."""
        for document in self.corpus.read("encoding the text", self.tell):
            encoded = document.encode("utf-8", "surrogatepass")
            self.sizes.append(len(encoded))
            self.prints.frombytes(hashlib.blake2b(encoded, digest_size=16).digest())
            *first, last = pieces(document) if self.in_pieces else [document]
            for piece in first:
                yield piece, False
            yield last, True


def _batches(
    documents: Iterable[tuple[str, bool]],
) -> Iterator[list[tuple[str, bool]]]:
    batch, size = [], 0
    for piece, is_last in documents:
        batch.append((piece, is_last))
        size += len(piece)
        if len(batch) == _BATCH or size >= _BATCH_SIZE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _firsts(prints: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the places of the rows of `prints`, [rows, 2], that equal no earlier
    one.
    """
    import numpy as np

    order = np.lexsort((prints[:, 1], prints[:, 0]))  # stable for equal rows
    ordered = prints[order]
    is_new = np.ones(len(order), bool)
    is_new[1:] = (ordered[1:] != ordered[:-1]).any(1)
    return np.sort(order[is_new])


# Files


def _write(path: Path, text: EncodedText) -> None:
    """Write a file, completely or not at all. Raise `OSError` if that fails."""
    import numpy as np
    import pyarrow as pa

    repeated = np.ones(len(text.sizes), bool)
    repeated[text.distinct] = False
    batch = pa.record_batch(
        {
            "input_ids": pa.LargeListArray.from_arrays(text.starts, text.ids),
            "bytes": text.sizes,
            "is_repeated": repeated,
        }
    )

    def write(beside: Path) -> None:
        with (
            pa.OSFile(str(beside), "wb") as sink,
            pa.ipc.new_stream(sink, batch.schema) as stream,
        ):
            stream.write_batch(batch)
        with beside.open("r+b") as file:
            digest = _digest(file, beside.stat().st_size)
            file.write(digest)

    write_with(path, write)


def _kept(path: Path) -> EncodedText | None:
    """Map the tokens stored at a path, or return None if they are damaged.

    Raises:
        OSError: If the file can't be read.
    """
    with path.open("rb") as file:
        size = path.stat().st_size - _DIGEST
        whole = size > 0 and _digest(file, size) == file.read()
    return _mapped(path) if whole else None


def _digest(file: IO[bytes], size: int) -> bytes:
    """Return the sha256 of the next `size` bytes of a file, in 64 hexadecimal
    digits.
    """
    digest = hashlib.sha256()
    while size and (part := file.read(min(size, 2**20))):
        digest.update(part)
        size -= len(part)
    return digest.hexdigest().encode()


def _mapped(path: Path) -> EncodedText:
    """Map the text in a file. Raise `OSError` or `ValueError` if that fails."""
    import numpy as np
    import pyarrow as pa

    with pa.memory_map(str(path)) as file:
        batch = pa.ipc.open_stream(file).read_next_batch()
    ids = batch.column("input_ids")
    repeated = batch.column("is_repeated").to_numpy(zero_copy_only=False)
    return EncodedText(
        ids.values.to_numpy(),
        ids.offsets.to_numpy(),
        batch.column("bytes").to_numpy(),
        np.flatnonzero(~repeated),
        path,
    )
