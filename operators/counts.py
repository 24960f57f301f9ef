"""Counts that tasks return: small dicts of whole numbers, added up over batches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Counts = dict[str, Any]


class NothingPlanned(RuntimeError):  # noqa: N818
    """The plan of a step failed, so there is nothing to sum up."""

    permanent = True


def add_counts(parts: Iterable[dict[str, Any]]) -> Counts:
    """Sums of the whole numbers of several dicts, key by key; everything else is left out."""
    sums: Counts = {}
    for part in parts:
        for name, value in part.items():
            if isinstance(value, int) and not isinstance(value, bool):
                sums[name] = sums.get(name, 0) + value
    return sums


def summarise(window: str, planned: list[dict[str, Any]] | None, done: Iterable[dict[str, Any]] | None) -> Counts:
    """Counts of a step over all its batches.

    Raises:
        NothingPlanned: the plan failed.
    """
    if planned is None:
        raise NothingPlanned("The plan of this step failed; see its log, repair, and clear the task plan.")
    results = [part for part in done or () if part]
    return {
        "window_key": window,
        "batches": len(planned),
        "failed_batches": len(planned) - len(results),
        **add_counts(results),
    }
