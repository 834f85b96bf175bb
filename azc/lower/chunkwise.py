"""The chunkwise form of sums over the tokens so far: products of rows with states.

T moments [B, H, T, f] are computed as K chunks of C moments, [B, H, K, C, f]. Moments read
earlier moments of their own chunk by a product with C × C scores, and each earlier chunk by
its state (Hua et al. 2022; Yang et al. 2024). The number of torch operations does not depend
on T.

Compiled graphs call these functions. Values are in float32 or wider. `row_real` and
`leading`, [B, T], are the masks of `azc.lower.scans`; both are None if all tokens are real.
`carried` is the state that the previous moments left, None at the first moment.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from azc.lower.exact import matmul

__all__ = [
    "ProductSum",
    "in_chunks",
    "one_later",
    "present",
    "product_sum",
    "read_sum",
    "side_by_side",
]

CHUNK = 128  # moments in a chunk of products, a power of 2


# Chunks


def _chunks_of(tokens: int, most: int) -> tuple[int, int]:
    """Return the number of chunks, and the number of moments in each, a power of 2.

    A compiled graph, which must work for all lengths, has full chunks and at least two
    of them, the last one empty: `torch.compile` would specialize the graph to a single
    chunk.
    """
    if tokens == 1:
        return 1, 1
    if torch.compiler.is_compiling():
        return (tokens + 2 * most - 1) // most, most
    length = min(most, 1 << (tokens - 1).bit_length())
    return -(-tokens // length), length


def in_chunks(x: torch.Tensor, most: int, value: float = 0.0) -> torch.Tensor:
    """Split a tensor [B, H, T, …] into chunks, [B, H, K, C, …].

    C is `most` or less. `value` pads the last chunk.
    """
    tokens = x.shape[2]
    count, length = _chunks_of(tokens, most)
    if torch.compiler.is_compiling() or count * length != tokens:
        rest = (0, 0) * (x.dim() - 3)
        x = F.pad(x, (*rest, 0, count * length - tokens), value=value)
    chunks: torch.Tensor = x.unflatten(2, (count, length))
    return chunks


def side_by_side(x: torch.Tensor, tokens: int) -> torch.Tensor:
    """Join chunks [B, H, K, C, …] to a tensor [B, H, T, …]: undo `in_chunks`."""
    x = x.flatten(2, 3)
    if torch.compiler.is_compiling():
        # A slice would test whether it is the whole, which specializes the graph.
        return x.index_select(2, torch.arange(tokens, device=x.device))
    return x if x.shape[2] == tokens else x[:, :, :tokens]


def one_later(chunks: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
    """Move the entries of a tensor [B, H, K, …] one chunk later.

    `first` [B, H, 1, …] takes the place of the first entry. The last entry is dropped.
    """
    index = torch.arange(chunks.shape[2], device=chunks.device)
    # A slice of K − 1 entries would need another graph for K = 2.
    moved = chunks.index_select(2, (index - 1).clamp(min=0))
    is_first = (index == 0).view(-1, *(1,) * (chunks.dim() - 3))
    return torch.where(is_first, first, moved)


def present(
    x: torch.Tensor, row_real: torch.Tensor | None, value: float
) -> torch.Tensor:
    """Return rows [B, H, T, f] with `value` in padding."""
    if row_real is None:
        return x
    return x.masked_fill(~row_real[:, None, :, None], value)


class _CausalProduct(torch.autograd.Function):
    """The product tril(query @ leftᵀ) @ right.

    The backward pass computes the scores again, so that they need not be stored: C
    numbers for each moment.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        query: torch.Tensor, left: torch.Tensor, right: torch.Tensor
    ) -> torch.Tensor:
        return matmul(_scores(query, left), right)

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor
    ) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, ...]:
        query, left, right = ctx.saved_tensors
        up, scores = _scores(grad, right), _scores(query, left)
        of_left = matmul(up.transpose(-1, -2), query)
        return matmul(up, left), of_left, matmul(scores.transpose(-1, -2), grad)

    @staticmethod
    def jvp(ctx: Any, *tangents: torch.Tensor) -> torch.Tensor:
        query, left, right = ctx.saved_tensors
        moved = _scores(tangents[0], left) + _scores(query, tangents[1])
        return matmul(moved, right) + matmul(_scores(query, left), tangents[2])


def _scores(query: torch.Tensor, left: torch.Tensor) -> torch.Tensor:
    return matmul(query, left.transpose(-1, -2)).tril()


def _causal_product(
    query: torch.Tensor, left: torch.Tensor, right: torch.Tensor
) -> torch.Tensor:
    """Compute tril(query @ leftᵀ) @ right."""
    if torch.compiler.is_compiling():
        return matmul(_scores(query, left), right)
    made: torch.Tensor = _CausalProduct.apply(query, left, right)  # type: ignore[no-untyped-call]
    return made


# Sums of outer products


class ProductSum(NamedTuple):
    """The sum of leftᵀ right over the tokens so far.

    Attributes:
        left: The left rows in chunks, [B, H, K, C, f], 0 in padding.
        right: The right rows in chunks, [B, H, K, C, c], 0 in padding.
        before: The sum over everything before each chunk, [B, H, K, f, c]; None if there
            is only one chunk and nothing before it.
        last: The sum over all moments, [B, H, 1, f, c].
        rows: The left and right rows [B, H, T, …] with their padding.
    """

    left: torch.Tensor
    right: torch.Tensor
    before: torch.Tensor | None
    last: torch.Tensor
    rows: tuple[torch.Tensor, torch.Tensor]


def product_sum(
    left: torch.Tensor,
    right: torch.Tensor | None,
    row_real: torch.Tensor | None,
    carried: torch.Tensor | None,
) -> ProductSum:
    """Sum leftᵀ right over the real tokens so far.

    Args:
        left: The left rows, [B, H, T, f].
        right: The right rows, [B, H, T, c]; None for ones, [B, H, T, 1].
        row_real: Mask of real tokens, bool [B, T]; None if all are.
        carried: The sum over the previous moments, [B, H, 1, f, c]; None for 0.
    """
    if right is None:
        right = torch.ones_like(left[..., :1])
    own = left, right
    left, right = (in_chunks(present(x, row_real, 0.0), CHUNK) for x in own)
    sums = matmul(left.transpose(-1, -2), right)
    before, count = carried, sums.shape[2]
    if count > 1:
        if before is None:
            before = sums.new_zeros((*sums.shape[:2], 1, *sums.shape[3:]))
        before = one_later(sums, before).cumsum(2)
    last = sums.narrow(2, count - 1, 1)
    if before is not None:
        last = before.narrow(2, count - 1, 1) + last
    return ProductSum(left, right, before, last, own)


def read_sum(
    query: torch.Tensor, total: ProductSum, leading: torch.Tensor | None
) -> torch.Tensor:
    """Multiply a query with the sum so far, at every moment.

    Args:
        query: The query rows, [B, H, T, 1, f].
        total: The sum.
        leading: Mask of the moments up to which no token is real, bool [B, T]. They read
            only their own token.

    Returns:
        query @ total, [B, H, T, 1, c].
    """
    rows = query.squeeze(-2)
    chunks = in_chunks(rows, CHUNK)
    found = _causal_product(chunks, total.left, total.right)
    if total.before is not None:
        found = found + matmul(chunks, total.before)
    found = side_by_side(found, rows.shape[2])
    if leading is not None:
        left, right = total.rows
        alone = (rows * left).sum(-1, keepdim=True) * right
        found = torch.where(leading[:, None, :, None], alone, found)
    return found.unsqueeze(-2)
