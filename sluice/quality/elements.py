"""Header elements that are no column, from the blocks that headers are stored in (migration 0012)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.quality.suites import Tag

Element = dict[str, Any]  # DICOM JSON (PS3.18 F): vr, Value


class Elements:
    """The asked elements of some blocks.

    Args:
        tags: eight hex digits each.
    """

    def __init__(self, connection: Connection, blocks: Iterable[int], tags: Sequence[str]) -> None:
        self._shared: dict[int, dict[str, Element]] = {}
        self._different: dict[int, dict[str, list[Element | None]]] = {}
        asked = {"blocks": sorted(set(blocks)), "tags": sorted(set(tags))}
        with connection.cursor() as cursor:
            cursor.execute(
                """
                select b.block_id, jsonb_object_agg(t.tag, b.shared -> t.tag)
                  from header_block b
                  join unnest(%(tags)s::text[]) as t(tag) on b.shared ? t.tag
                 where b.block_id = any(%(blocks)s)
                 group by b.block_id
                """,
                asked,
            )
            self._shared.update(cursor.fetchall())
            cursor.execute(
                "select block_id, tag, elements from header_difference "
                "where block_id = any(%(blocks)s) and tag = any(%(tags)s)",
                asked,
            )
            for block, tag, elements in cursor:
                self._different.setdefault(block, {})[tag] = elements

    def at(self, block: int | None, position: int | None, tag: str) -> Element | None:
        """An instance's element, None where it has none or its header is in no block."""
        if block is None or position is None:
            return None
        different = self._different.get(block, {}).get(tag)
        if different is not None:
            return different[position] if position < len(different) else None
        return self._shared.get(block, {}).get(tag)

    def values(self, block: int | None, position: int | None, path: Sequence[str]) -> list[Any] | None:
        """The values behind a path of tags; None where the element is absent, empty where it has no value."""
        element = self.at(block, position, path[0])
        for tag in path[1:]:
            items = element.get("Value") if element else None
            element = items[0].get(tag) if items and isinstance(items[0], dict) else None
        if element is None:
            return None
        found = element.get("Value")
        return found if isinstance(found, list) else []


def numbers(values: Sequence[Any] | None, count: int) -> tuple[float, ...] | None:
    """So many values as numbers; None where there are others."""
    if values is None or len(values) != count:
        return None
    try:
        return tuple(float(value) for value in values)
    except (TypeError, ValueError):
        return None


def as_column(values: Sequence[Any] | None, kind: str) -> Any:
    """What a tag's column holds (`sluice.quality.suites.Tag`)."""
    if kind == "present":
        return values is not None
    if kind == "count":
        return None if values is None else float(len(values))
    first = values[0] if values else None
    if first is None or isinstance(first, dict):
        return None
    if kind == "text":
        return str(first).strip() or None
    found = numbers([first], 1)
    return found[0] if found else None


def roots(tags: Iterable[Tag]) -> list[str]:
    """The elements that have to be read for these columns."""
    return sorted({tag.path[0] for tag in tags})
