"""Size of a decoder's cache, as text and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from azc.lower.explain import CacheSize

__all__ = ["as_json", "words"]


def words(size: CacheSize) -> str:
    """Describe the size of a cache in one sentence."""
    rows = " and a row of all scores" if size.grows else ""
    parts = []
    if size.each_token or rows:
        parts.append(f"{size.each_token:,} bytes{rows} for each token of a sequence")
    if size.in_all:
        parts.append(f"{size.in_all:,} bytes regardless of sequence length")
    if not parts:
        return "Its cache keeps nothing of earlier tokens."
    return f"Its cache takes {', and '.join(parts)}, in float32."


def as_json(size: CacheSize | None) -> dict[str, Any] | None:
    """Return the value of the JSON field `cache`, or None for an encoder."""
    if size is None:
        return None
    return {
        "bytes_a_token": size.each_token,
        "bytes_in_all": size.in_all,
        "rows_of_scores": size.grows,
    }
